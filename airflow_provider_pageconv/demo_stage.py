"""What the demo's stories are told with: a folder, a made-up Graph API, an Airflow, and lines that say what happens."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_provider_pageconv.standalone import Processes, Standalone, without_airflow

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLE_DAGS = CHECKOUT / "example_dags"

START_SECONDS = 120
RUN_SECONDS = 180
SETTLE = timedelta(minutes=5)  # the operator's own: so long after midnight does the task begin at the earliest

COMPONENTS = ("api-server", "scheduler", "dag-processor")
_NAMES = {"api-server": "API server", "dag-processor": "DAG processor"}

_started = time.monotonic()


class DemoError(Exception):
    """Why the demo cannot go on, in a sentence for whoever watches it."""


class FolderError(Exception):
    """Why the folder cannot be used, in a sentence."""


@dataclass(frozen=True)
class Folder:
    """The demo's folder, and what lies in it."""

    path: Path

    @property
    def export(self) -> Path:
        """The destination of the export."""
        return self.path / "export"

    @property
    def logs(self) -> Path:
        """A log for each process, and those of the tasks."""
        return self.path / "logs"

    @property
    def airflow(self) -> Path:
        """Airflow's home."""
        return self.path / "airflow"

    @property
    def drawn(self) -> Path:
        """What the sandbox has drawn, to compare the export with."""
        return self.path / "page.json"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Make it, if it is not there, and keep other demos out.

        :raises FolderError: if it is not ours to use.
        """
        if {"?", "$"} & set(str(self.path)):
            raise FolderError(f"Airflow reads ? and $ in {shown(self.path)} as signs of its own: name another folder.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()) and not (self.path / "lock").exists():
                raise FolderError(f"{shown(self.path)} is not a folder of the demo, and not empty: name another one.")
            lock = (self.path / "lock").open("w")
        except FileExistsError:
            raise FolderError(f"{shown(self.path)} is not a folder: name one for the demo's files.") from None
        except OSError as error:
            raise FolderError(f"{shown(self.path)} cannot be the demo's folder: {error.strerror}.") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderError("Another demo is running here: wait for it, or stop it.") from None
            self._clear()
            yield

    def _clear(self) -> None:
        try:
            for leftover in (self.export, self.logs, self.airflow):
                if leftover.exists():
                    shutil.rmtree(leftover)
            self.logs.mkdir()
        except OSError as error:
            raise FolderError(f"{shown(self.path)} cannot be cleared of an earlier demo: {error.strerror}.") from error


@dataclass(frozen=True)
class Page:
    """Where the made-up Page is served; without an id, the Pages that a token reaches."""

    url: str
    page_id: str | None
    token: str


# ---- the servers


def start_sandbox(folder: Folder, processes: Processes, options: Sequence[str]) -> Page:
    """Start the sandbox with further options, the same Pages every time; say where it is."""
    command = [sys.executable, "-m", "airflow_provider_pageconv.sandbox", "--port", "0", "--seed", "1", *options]
    processes.start("sandbox", command, of_the_checkout())
    greeting: re.Match[str] | None = None

    def greeted() -> bool:
        nonlocal greeting
        said = (folder.logs / "sandbox.log").read_text(encoding="utf-8", errors="replace")
        greeting = re.search(r"at (http://[\d.:]+) for Page (\d+), token (\S+)", said)
        return greeting is not None

    processes.wait_for("the sandbox to start", greeted, START_SECONDS)
    assert greeting is not None
    return Page(url=greeting[1], page_id=greeting[2], token=greeting[3])


def start_airflow(
    folder: Folder,
    processes: Processes,
    environment: Mapping[str, str],
    dags: Collection[str],
    components: Sequence[str] = COMPONENTS,
) -> Standalone:
    """Start an Airflow with the example DAGs, and return when it has read those that are named."""
    say("Airflow sets up its database: SQLite, in a folder of the demo.")
    airflow = Standalone(processes, folder.airflow, EXAMPLE_DAGS, environment, components)
    airflow.migrate()

    say(f"Airflow starts: {', '.join(_NAMES.get(component, component) for component in components)}.")
    airflow.start()
    airflow.wait_until_healthy(START_SECONDS)
    processes.wait_for("the DAGs to be read", lambda: set(dags) <= set(known_dags(airflow)), START_SECONDS)
    return airflow


def environment(folder: Folder, page: Page) -> dict[str, str]:
    """Return what the demo's Airflow is told beside what every one of ours is."""
    connection = {
        "conn_type": "pageconv",
        "host": page.url,
        "password": page.token,
        # A made-up Page needs no pause between two calls; a real one does, and 2 a second is the default.
        "extra": {"calls_per_second": 20, **({"page_id": page.page_id} if page.page_id else {})},
    }
    return {
        **of_the_checkout(),
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(connection),
        # Not as_uri(): what it quotes is read as it stands.
        "AIRFLOW_VAR_PAGECONV_DESTINATION": f"file://{folder.export}",
        # The DAGs read it; the developer's own may name a pool that is not here.
        "PAGECONV_POOL": "default_pool",
    }


def of_the_checkout() -> dict[str, str]:
    """Return an environment in which the package is the one whose DAGs are run, whatever is installed."""
    path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    return {**without_airflow(os.environ), "PYTHONPATH": path}


def known_dags(airflow: Standalone) -> list[str]:
    """Return the DAGs that Airflow has read so far; a DAG that does not import ends the demo."""
    for error in airflow.api("GET", "/importErrors")["import_errors"]:
        raise DemoError(f"{error['filename']} does not import:\n{error['stack_trace']}")
    return [dag["dag_id"] for dag in airflow.api("GET", "/dags")["dags"]]


def first_run(airflow: Standalone, dag: str) -> dict[str, Any]:
    """Return the run that the scheduler starts when a DAG is switched on."""
    runs: list[dict[str, Any]] = []

    def started() -> bool:
        runs[:] = airflow.api("GET", f"/dags/{dag}/dagRuns")["dag_runs"]
        return bool(runs)

    airflow.processes.wait_for(f"the scheduler to start a run of {dag}", started, START_SECONDS)
    return runs[0]


def follow_run(airflow: Standalone, dag: str, seconds: float) -> None:
    """Show what the tasks of the DAG's only run say, until it is a success."""
    shown_lines: Counter[Path] = Counter()
    state = "none"

    def finished() -> bool:
        nonlocal state
        runs = airflow.api("GET", f"/dags/{dag}/dagRuns")["dag_runs"]
        state = runs[0]["state"] if runs else "none"
        for log in sorted(airflow.task_logs.glob(f"dag_id={dag}/**/*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
            for line in lines[shown_lines[log] :]:
                show_log_line(line)
            shown_lines[log] = len(lines)
        if runs:
            refuse_retries(airflow, dag, runs[0]["dag_run_id"])
        return state in ("success", "failed")

    airflow.processes.wait_for(f"the run of {dag} to end", finished, seconds)
    if state != "success":
        raise DemoError(f"The run of {dag} is in state {state}.")


def refuse_retries(airflow: Standalone, dag: str, run_id: str) -> None:
    """Raise DemoError if a task of the run failed: its next try would come in ten minutes, which nobody watches."""
    path = f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}/taskInstances"
    for task in airflow.api("GET", path)["task_instances"]:
        if task["state"] == "up_for_retry":
            raise DemoError(f"The task {task['task_id']} of {dag} has failed; its log says why.")


def show_log_line(line: str) -> None:
    """Print a line of a task's log if the task itself said it, and every warning."""
    try:
        entry = json.loads(line)
    except ValueError:
        return
    source, said = str(entry.get("logger", "")), str(entry.get("event", ""))
    said_by_task = any(name in source for name in ("pageconv", "Pageconv", "PageConversations"))
    folds = said.startswith(("::group::", "::endgroup::"))  # for Airflow's UI, which makes folds of them
    if (said_by_task and not folds) or entry.get("level") in ("warning", "error", "critical"):
        reasons = [detail["exc_value"] for detail in entry.get("error_detail") or []]
        print("          | " + ": ".join([said, *reasons[:1]]), flush=True)


def moment(wire_time: str) -> datetime:
    """Read a time as the Graph API writes it."""
    return datetime.strptime(wire_time, "%Y-%m-%dT%H:%M:%S%z")


# ---- what is printed


def say(text: str) -> None:
    """Print a line with the seconds since the demo began."""
    print(f"{time.monotonic() - _started:6.1f} s  {text}", flush=True)


def shown(path: Path) -> str:
    """Return a path as seen from where the user stands."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
