"""A whole Airflow on loopback: API server, scheduler with LocalExecutor, DAG processor and triggerer, each a process."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.ports import free_ports

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


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


class Deployment:
    """The Airflow; its database is watched all the time.

    :param home: its folder.
    :param dags: the folder of its DAGs.
    :param environment: connections and settings beside its own.
    """

    def __init__(self, home: Path, dags: Path, environment: Mapping[str, str]) -> None:
        [self._port] = free_ports(1)
        self.home = home
        self.seen: list[Seen] = []
        self._stop = threading.Event()
        base = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        base.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environment = base | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{self._port}",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self._port}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "16",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            # SQLite lets one process write at a time; on a busy machine the others wait longer than its usual 5 s.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **environment,
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[Deployment]:
        """Start all of it, and stop it by its own process groups."""
        started: list[subprocess.Popen[bytes]] = []
        watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
        try:
            self._run("db", "migrate").wait(300)
            for component in COMPONENTS:
                extra = {
                    "api-server": ["--host", "127.0.0.1", "--port", str(self._port)],
                    "dag-processor": [],
                }.get(component, ["--skip-serve-logs"])
                started.append(self._run(component, *extra))
            watcher.start()
            self._wait_until_healthy()
            yield self
        finally:
            self._stop.set()
            for number in (signal.SIGTERM, signal.SIGKILL):
                for process in started:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
                deadline = time.monotonic() + 10
                while time.monotonic() < deadline and any(process.poll() is None for process in started):
                    time.sleep(0.1)

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_healthy(self) -> None:
        parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, urllib.error.URLError):
                health = self.api("GET", "/monitor/health")
                if all(health[part]["status"] == "healthy" for part in parts):
                    return
            time.sleep(0.5)
        raise AssertionError("Airflow did not become healthy within 180 s")

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call Airflow's REST API; everybody is an admin here.

        An error of the server's own is asked about again: what it says then is that its database was locked.
        """
        for _ in range(5):
            try:
                return self._call(method, path, body)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise
            time.sleep(1)
        return self._call(method, path, body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/api/v2{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=90) as answer:
            return json.load(answer)

    def trigger(self, dag_id: str, timeout: float = 120) -> str:
        """Start a run as soon as the DAG is known, and return its id."""
        deadline = time.monotonic() + timeout
        run_id = f"test-{secrets.token_hex(4)}"
        while True:
            try:
                self.api("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "dag_run_id": run_id})
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
        found = sorted((self.home / "logs").glob(f"dag_id={dag_id}/**/*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(encoding='utf-8', errors='replace')}" for path in found)

    def states(self, dag_id: str, task_id: str) -> list[Seen]:
        """Return the states that a task went through, each once, in their order."""
        rows = [row for row in self.seen if row.dag_id == dag_id and row.task_id == task_id]
        return [row for at, row in enumerate(rows) if at == 0 or row.state != rows[at - 1].state]

    def _watch(self) -> None:
        """Look into the metadata database several times a second."""
        uri = f"file:{self.home / 'airflow.db'}?mode=ro"
        while not self._stop.wait(0.25):
            with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
                rows = database.execute("select dag_id, task_id, map_index, state, try_number from task_instance")
                now = time.time()
                self.seen += [Seen(now, *row) for row in rows.fetchall()]
