"""An Airflow on loopback in processes of its own, for the demo and the tests: each needs one that is its alone.

Nothing of an Airflow that the developer may have reaches it: its settings, connections and variables come from here and
from whoever starts it, its files lie in one folder, its ports are free ones of 127.0.0.1. It is made for one machine and
for a short time: everybody is an admin, the database is SQLite.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Whatever ends a command: Ctrl-C, a supervisor, a terminal that is closed."""

_MIGRATE_SECONDS = 300
_POLL_SECONDS = 0.5
_KILL_SECONDS = 5
_HEALTH = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


class StandaloneError(Exception):
    """Why a process or Airflow cannot be had, in a sentence, with the end of the log that may say more."""


class Processes:
    """Processes that end together, each with a session and a log of its own. Leaving the block stops them all.

    :param logs: folder of their logs, `<name>.log`.
    :param cwd: where they run; where their starter does if left out.
    :param patience: seconds that they have to end by themselves. A scheduler takes all of them if a task is under way,
        since it waits for its end, and that task may wait for an API server that has ended.
    """

    def __init__(self, logs: Path, cwd: Path | None = None, patience: float = 10) -> None:
        self.logs = logs
        self._patience = patience
        self._cwd = cwd
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process. A Ctrl-C in the terminal does not reach it: it is stopped in order instead."""
        self.logs.mkdir(parents=True, exist_ok=True)
        # An exception between the start and the note of it would leave a process that nobody stops.
        with (self.logs / f"{name}.log").open("wb") as log, _signals_held_back():
            self._running[name] = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> None:
        """Run a process to its end.

        :raises StandaloneError: if it fails, or takes longer.
        """
        self.start(name, command, environment)
        try:
            code = self._running[name].wait(seconds)
        except subprocess.TimeoutExpired:
            raise StandaloneError(f"The {name} did not end within {seconds:.0f} s.{self.end_of_log(name)}") from None
        if code:
            raise StandaloneError(f"The {name} failed with exit code {code}.{self.end_of_log(name)}")
        del self._running[name]

    def leader(self, name: str) -> int:
        """The number of a process, which is that of its process group as well."""
        return self._running[name].pid

    def check(self) -> None:
        """Raise StandaloneError if one of them has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                end = self.end_of_log(name)
                raise StandaloneError(f"The {name} ended by itself with exit code {process.returncode}.{end}")

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Return when the condition holds; an answer of a server that does not come yet is a no.

        :raises StandaloneError: if it does not hold in time, or one of the processes ends meanwhile.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                if condition():
                    return
            time.sleep(_POLL_SECONDS)
        raise StandaloneError(f"Waited {seconds:.0f} s for {what}, in vain.")

    def end_of_log(self, name: str, count: int = 15) -> str:
        """Return the last lines of a process's log, to be put behind a sentence."""
        lines = (self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
        return "".join(f"\n  | {line}" for line in lines)

    def stop(self) -> None:
        """Ask all of them to end, then kill what is left of their sessions; a second time does nothing."""
        with _signals_held_back():
            for process in reversed(self._running.values()):
                with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses what has ended
                    os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + self._patience
            for process in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
            # Again and again: it takes a moment to go, and some may have been forked meanwhile.
            deadline = time.monotonic() + _KILL_SECONDS
            while time.monotonic() < deadline and self._kill():
                time.sleep(0.05)
            self._running.clear()

    def _kill(self) -> bool:
        """Kill what there is, and return whether there was anything."""
        left = [member for process in self._running.values() for member in session_of(process.pid)]
        for member in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        for process in self._running.values():
            process.wait()
        return bool(left)


class Standalone:
    """The Airflow. `start()` returns before it is healthy; its processes are stopped with the others.

    :param processes: what its processes are started with.
    :param home: its folder.
    :param dags: the folder of its DAGs.
    :param environment: connections, variables and settings, beside or in place of its own.
    :param components: what is started, by the names of Airflow's commands.
    :param prefix: the path below which it lies, such as ``/team/airflow``, as where several share one host.
    :param python: the interpreter whose Airflow it is.
    """

    def __init__(
        self,
        processes: Processes,
        home: Path,
        dags: Path,
        environment: Mapping[str, str],
        components: Sequence[str] = ("api-server", "scheduler", "dag-processor", "triggerer"),
        prefix: str = "",
        python: str = sys.executable,
    ) -> None:
        self.home = home
        self.python = python
        self.processes = processes
        self._components = components
        self._port = free_port()
        self._token = ""
        self.url = f"http://127.0.0.1:{self._port}{prefix}"
        self.task_logs = processes.logs / "airflow"
        self.environment = {
            **without_airflow(os.environ),
            **settings(home, dags),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "16",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.task_logs),
            **environment,
        }
        # Without compiled files every process of Airflow starts ten seconds later.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def migrate(self) -> None:
        """Make its database.

        :raises StandaloneError: if that fails.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self.processes.run("migration", self._airflow("db", "migrate"), self.environment, _MIGRATE_SECONDS)

    def start(self) -> None:
        """Start its components, whose database is there."""
        for component in self._components:
            # The scheduler and the triggerer would serve their logs on fixed ports.
            options = {
                "api-server": ("--host", "127.0.0.1", "--port", str(self._port)),
                "dag-processor": (),
            }.get(component, ("--skip-serve-logs",))
            self.processes.start(component, self._airflow(component, *options), self.environment)

    def _airflow(self, *arguments: str) -> list[str]:
        return [self.python, "-m", "airflow", *arguments]

    def wait_until_healthy(self, seconds: float) -> None:
        """Return when every component says that it is well.

        :raises StandaloneError: if that takes longer, or one of them ends.
        """
        parts = ["metadatabase", *(_HEALTH[component] for component in self._components if component in _HEALTH)]

        def healthy() -> bool:
            health = self.api("GET", "/monitor/health")
            return all(health[part]["status"] == "healthy" for part in parts)

        self.processes.wait_for("Airflow to be healthy", healthy, seconds)

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None, root: str = "/api/v2") -> Any:
        """Call Airflow's REST API; everybody is an admin here.

        An error of the server's own is asked about again: what it says then is that its database was locked.

        :param root: where the path begins; the pages of the UI ask below another one, ``/ui``.
        :raises urllib.error.URLError: if it refuses, or cannot be reached.
        """
        for _ in range(5):
            try:
                return self._call(method, f"{root}{path}", body)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise
            time.sleep(1)
        return self._call(method, f"{root}{path}", body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            return self._send(method, path, body)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
        # Some releases of Airflow 3.1 want the token that they hand to everybody.
        self._token = self._send("GET", "/auth/token")["access_token"]
        return self._send(method, path, body)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=90) as answer:
            return json.load(answer)


def without_airflow(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the settings, connections and variables of whatever Airflow it was made for."""
    return {name: value for name, value in environment.items() if not name.lstrip("_").startswith("AIRFLOW")}


def settings(home: Path, dags: Path) -> dict[str, str]:
    """Return what every Airflow of our own is told, also one that is only a library."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # SQLite lets one process write at a time; on a busy machine the others wait longer than its usual 5 s.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        # Whoever asks the API server waits for that as well, or a task fails that only had to wait.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # No proxy stands between processes of one machine.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def session_of(leader: int) -> list[int]:
    """Return the processes of a session that still run. Its number is given to no other while any of them is left.

    A process group would not do: Airflow gives each task a group of its own, to be signalled as a whole.
    """
    found = []
    if Path("/proc/self/stat").exists():
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: the name in front may hold anything
                state, _parent, _group, session = stat.read_bytes().rpartition(b")")[2].split()[:4]
                if int(session) == leader and state != b"Z":
                    found.append(int(stat.parent.name))
        return found
    listed = subprocess.run(["/bin/ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        pid, flags = line.split()[:2]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if not flags.startswith("Z") and os.getsid(int(pid)) == leader:
                found.append(int(pid))
    return found


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let what asks us to end wait until the block is done: half a start and half a stop would leave processes behind.

    Masking them would not do, since a child inherits the mask.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        came.append(number)

    handlers = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for one in came:
            signal.raise_signal(one)
