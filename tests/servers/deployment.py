"""The Airflow that the package starts for itself, all of it, with what tests want of it: to start runs, wait, and watch."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
import sqlalchemy.exc
import sqlalchemy.pool

from airflow_provider_pageconv.standalone import Processes, Standalone

START_SECONDS = 180
UNWELL_SECONDS = 120
"""How long a component may say that it is not well, or nothing at all, until it is killed."""


@dataclass(frozen=True)
class Seen:
    """A task instance as the metadata database had it.

    :param at: when it was looked at, as `time.time()`.
    """

    at: float
    dag_id: str
    task_id: str
    map_index: int
    state: str | None
    try_number: int


class Restartable(Processes):
    """Processes of which one may end alone, as by a crash; what it has started lives on until all are stopped."""

    def __init__(self, logs: Path) -> None:
        super().__init__(logs)
        self._orders: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}
        self._ended: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._orders[name] = command, environment
        super().start(name, command, environment)

    def restart(self, name: str, by: int) -> None:
        """End a process by a signal, and start it anew, which has a log of its own."""
        process = self._running.pop(name)
        self._ended.append(process)
        process.send_signal(by)  # does nothing where it is gone already
        process.wait(60)
        (self.logs / f"{name}.log").rename(self.logs / f"{name}.ended-{len(self._ended)}.log")
        self.start(name, *self._orders[name])

    def revive(self) -> None:
        """Start anew what has ended by itself, as whatever watches over a deployment does."""
        for name in [name for name, process in self._running.items() if process.poll() is not None]:
            self.restart(name, signal.SIGTERM)

    def stop(self) -> None:
        """Stop all, with what the ended ones have left."""
        self._running |= {f"ended {number}": process for number, process in enumerate(self._ended)}
        super().stop()


class Deployment(Standalone):
    """The Airflow; its database is watched all the time.

    :param home: its folder, and that of its logs.
    :param dags: the folder of its DAGs.
    :param environment: connections and settings beside its own.
    :param prefix: the path below which it lies.
    :param python: the interpreter whose Airflow it is.
    """

    def __init__(
        self, home: Path, dags: Path, environment: Mapping[str, str], prefix: str = "", python: str = sys.executable
    ) -> None:
        unpaused = {"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False"}
        super().__init__(
            Restartable(home / "logs"), home, dags, unpaused | dict(environment), prefix=prefix, python=python
        )
        self.seen: list[Seen] = []
        self.shown: list[tuple[str, dict[str, Any]]] = []
        """What tasks showed in the Task State Store, by their DAG, each value once."""
        self._stop = threading.Event()
        self._unwell: dict[str, float] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[Deployment]:
        """Start all of it, and stop it again."""
        watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
        try:
            with self.processes:
                self.migrate()
                self.start()
                watcher.start()
                self.wait_until_healthy(START_SECONDS)
                yield self
        finally:
            self._stop.set()

    def start_command(self, name: str, *arguments: str) -> None:
        """Start another process of its Airflow, such as one of Celery's workers.

        :param arguments: of the command line ``airflow``.
        """
        self.processes.start(name, self._airflow(*arguments), self.environment)

    def look_after(self) -> None:
        """Start anew what has ended by itself, and what was not well for long, as whatever watches over a deployment does.

        A scheduler that has lost its database first waits until the processes of its tasks end, however long that takes.
        """
        self.processes.revive()
        unwell = {component for component, status in self._health().items() if status != "healthy"}
        self._unwell = {component: self._unwell.get(component, time.monotonic()) for component in unwell}
        for component, since in list(self._unwell.items()):
            if time.monotonic() - since > UNWELL_SECONDS:
                print(f"{component} was not well for long: {self.processes.end_of_log(component)}")  # noqa: T201
                self.processes.restart(component, signal.SIGKILL)
                del self._unwell[component]

    def _health(self) -> dict[str, str]:
        """What each component says of itself; where the API server says nothing, nobody knows of the others."""
        try:
            health = self.api("GET", "/monitor/health")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return {"api-server": "silent"}
        return {
            component: str(health[component.replace("-", "_")]["status"])
            for component in ("scheduler", "dag-processor", "triggerer")
        }

    def situation(self, dag_id: str) -> str:
        """What there is to be said where a DAG does not come to its end: who does what, and what was logged last."""
        states = {(seen.task_id, seen.map_index): seen.state for seen in self.seen if seen.dag_id == dag_id}
        told = [f"tasks: {states}", f"components: {self._health()}"]
        told += [
            f"{path.name}:{self.processes.end_of_log(path.stem)}" for path in sorted(self.processes.logs.glob("*.log"))
        ]
        tasks = sorted(self.task_logs.glob(f"dag_id={dag_id}/**/*.log"))
        told += [f"{path.parent.name}/{path.name}: {path.read_text('utf-8', 'replace')[-600:]}" for path in tasks]
        return "\n".join(told)

    def log_in(self, user: str, password: str) -> str:
        """Use the API as a user, where not everybody is an admin.

        :return: the token that stands for the login, as the UI keeps it in its cookie.
        """
        self._token = str(self._send("POST", "/auth/token", {"username": user, "password": password})["access_token"])
        return self._token

    def unpause(self, dag_id: str, timeout: float = 120) -> str:
        """Unpause a DAG as soon as it is known, and return the id of the run that the scheduler starts."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            known = {dag["dag_id"] for dag in self.api("GET", "/dags?limit=100")["dags"]}
            if dag_id in known:
                self.api("PATCH", f"/dags/{dag_id}", {"is_paused": False})
                runs = self.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
                if runs:
                    return str(runs[0]["dag_run_id"])
            time.sleep(1)
        raise AssertionError(f"no run of {dag_id} was started within {timeout:.0f} s")

    def trigger(self, dag_id: str, timeout: float = 120, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run as soon as the DAG is known, and return its id."""
        deadline = time.monotonic() + timeout
        run_id = f"test-{secrets.token_hex(4)}"
        order = {"logical_date": None, "dag_run_id": run_id, "conf": dict(conf or {})}
        while True:
            try:
                self.api("POST", f"/dags/{dag_id}/dagRuns", order)
                return run_id
            except urllib.error.HTTPError as error:
                if error.code == 409:  # an earlier request came through, though its answer was an error
                    return run_id
                if error.code != 404 or time.monotonic() > deadline:
                    raise AssertionError(f"{dag_id}: {error.read().decode()}") from error
            time.sleep(1)

    def wait_for_end(self, dag_id: str, run_id: str, timeout: float) -> str:
        """Return the state in which a run ends."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            if state in ("success", "failed"):
                return str(state)
            time.sleep(1)
        raise AssertionError(f"{dag_id} did not end within {timeout:.0f} s:\n{self.logs(dag_id)}")

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.api("GET", path)["value"]

    def logs(self, dag_id: str) -> str:
        """Return what the tasks of a DAG logged."""
        found = sorted(self.task_logs.glob(f"dag_id={dag_id}/**/*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(encoding='utf-8', errors='replace')}" for path in found)

    def states(self, dag_id: str, task_id: str) -> list[Seen]:
        """Return the states that a task went through, each once, in their order."""
        rows = [row for row in self.seen if row.dag_id == dag_id and row.task_id == task_id]
        return [row for at, row in enumerate(rows) if at == 0 or row.state != rows[at - 1].state]

    def _watch(self) -> None:
        """Look into the metadata database several times a second."""
        # Each look has a connection of its own: the database may go and come back.
        engine = sqlalchemy.create_engine(
            self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], poolclass=sqlalchemy.pool.NullPool
        )
        tasks = sqlalchemy.text("select dag_id, task_id, map_index, state, try_number from task_instance")
        kept = sqlalchemy.text("select dag_id, value from task_state_store")
        while not self._stop.wait(0.25):
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError), engine.connect() as database:
                rows = database.execute(tasks)
                now = time.time()
                self.seen += [Seen(now, *row) for row in rows]
                for dag_id, value in database.execute(kept):
                    shown = dag_id, json.loads(value)
                    if shown not in self.shown[-20:]:
                        self.shown.append(shown)
