"""The demo: a made-up Page, a real Airflow, one daily export, and a look at the result. Not a DAG.

`make demo` runs it. Everything that it starts listens on loopback alone, keeps its files in `.demo` (or in the folder
that is given as the argument), and is stopped in the end, also on Ctrl-C and when something fails.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else REPOSITORY / ".demo"
LOGS = FOLDER / "logs"
EXPORT = FOLDER / "export"
DRAWN = FOLDER / "page.json"  # what the sandbox has drawn, to compare the export with
DAILY, CONSUMER = "pageconv_daily", "pageconv_consumer"

START_SECONDS = 120
RUN_SECONDS = 180
STOP_SECONDS = 8


class DemoError(Exception):
    """Why the demo cannot go on, in a sentence for whoever watches it."""


class Servers:
    """The processes of the demo, each with a log of its own; leaving the block stops them all."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt and self._running:
            print("\nStopping everything.", flush=True)
        self.stop()

    def start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        """Start a process that a Ctrl-C in the terminal does not reach: it is stopped in order instead."""
        with (LOGS / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=FOLDER,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise DemoError if one of them has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise DemoError(f"The {name} ended by itself with exit code {process.returncode}.{last_lines(name)}")

    def wait(self, name: str) -> int:
        """Return the exit code of one of them when it has ended."""
        return self._running[name].wait()

    def stop(self) -> None:
        """Stop the last one that was started first; who does not end in time is killed, with its children."""
        family = []
        for process in self._running.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                family += [parent, *parent.children(recursive=True)]
        for process in reversed(list(self._running.values())):
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for member in family:
            # psutil compares the time of creation: a number that was given to another process is left alone.
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        for process in self._running.values():
            process.wait()
        self._running.clear()


def main() -> int:
    """Run the demo and return its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if any(FOLDER.iterdir()) and not (FOLDER / "lock").exists():
        print(f"{shown(FOLDER)} is not a folder of the demo, and not empty: name another one.", file=sys.stderr)
        return 1
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another demo is running here: wait for it, or stop it.", file=sys.stderr)
            return 1
        try:
            with Servers() as servers:
                demonstrate(servers)
                say("Stopping everything.")
        except KeyboardInterrupt:
            print(f"Stopped, and with it everything that was started. The logs are in {shown(LOGS)}.")
            return 130
        except DemoError as error:
            print(f"\n{error}\nEverything that was started is stopped. The logs are in {shown(LOGS)}.", file=sys.stderr)
            return 1
    print(f"\nYours to look at: {shown(EXPORT)} (the export), {shown(LOGS)} (the logs), example_dags (the DAGs).")
    return 0


def interrupt(number: int, _frame: object) -> None:
    """End on a signal as on Ctrl-C, once: whatever comes while things are being stopped does not disturb that."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def demonstrate(servers: Servers) -> None:
    """The whole story."""
    for leftover in (EXPORT, LOGS, FOLDER / "airflow"):
        shutil.rmtree(leftover, ignore_errors=True)
    LOGS.mkdir()
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    since, until = midnight - timedelta(days=1), midnight

    page = start_sandbox(servers, now=midnight)
    say(f"A Graph API on loopback, {page['url']}, serves the made-up Page {page['page_id']}.")

    say("Airflow sets up its database: SQLite, in a folder of the demo.")
    environment, port = airflow_environment(page)
    airflow = [sys.executable, "-m", "airflow"]
    run_once("migrate", [*airflow, "db", "migrate"], environment)

    say("Airflow starts: API server, scheduler, DAG processor.")
    servers.start("api-server", [*airflow, "api-server", "--host", "127.0.0.1", "--port", str(port)], environment)
    servers.start("scheduler", [*airflow, "scheduler", "--skip-serve-logs"], environment)
    servers.start("dag-processor", [*airflow, "dag-processor"], environment)
    api = Api(f"http://127.0.0.1:{port}/api/v2")
    wait_for("Airflow to be healthy", lambda: healthy(api), servers, START_SECONDS)
    api.post("/pools", {"name": "pageconv", "slots": 1, "description": "one task for each Page"})
    wait_for("the DAGs to be read", lambda: {DAILY, CONSUMER} <= set(dags(api)), servers, START_SECONDS)

    say(f"Airflow is up: {api.base.removesuffix('/api/v2')} while the demo runs. The DAG {DAILY} is switched on,")
    say(f"so the scheduler starts the run for yesterday, {since:%Y-%m-%d}. What its task says:")
    api.patch(f"/dags/{CONSUMER}", {"is_paused": False})
    api.patch(f"/dags/{DAILY}", {"is_paused": False})
    follow_run(api, servers, DAILY)
    say(f"The run is a success. {CONSUMER}, which waits for the asset, starts by itself:")
    follow_run(api, servers, CONSUMER)

    show_tree()
    show_counts()
    show_records()
    show_query()
    compare(since, until)


# ---- the servers


def start_sandbox(servers: Servers, now: datetime) -> dict[str, str]:
    """Start the sandbox, with a Page whose newest conversations are from just before `now`; say where it is."""
    options = {
        "--port": "0",
        "--seed": "1",
        "--conversations": "400",
        "--now": now.isoformat(),
        "--span-days": "2",
        "--data-file": str(DRAWN),
    }
    command = [sys.executable, "-m", "airflow_provider_pageconv.sandbox"]
    servers.start("sandbox", [*command, *(part for option in options.items() for part in option)], os.environ)
    greeting: re.Match[str] | None = None

    def greeted() -> bool:
        nonlocal greeting
        said = (LOGS / "sandbox.log").read_text(encoding="utf-8", errors="replace")
        greeting = re.search(r"at (http://[\d.:]+) for Page (\d+), token (\S+)", said)
        return greeting is not None

    wait_for("the sandbox to start", greeted, servers, START_SECONDS)
    assert greeting is not None
    return {"url": greeting[1], "page_id": greeting[2], "token": greeting[3]}


def airflow_environment(page: Mapping[str, Any]) -> tuple[dict[str, str], int]:
    """Return the settings of an Airflow of the demo's own, and the port of its API server."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    # Without compiled files every process of Airflow starts ten seconds later.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    connection = {
        "conn_type": "pageconv",
        "host": page["url"],
        "password": page["token"],
        # A made-up Page needs no pause between two calls; a real one does, and 2 a second is the default.
        "extra": {"page_id": page["page_id"], "calls_per_second": 20},
    }
    environment |= {
        "AIRFLOW_HOME": str(FOLDER / "airflow"),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # SQLite lets one process write at a time; on a busy machine the others wait longer than its usual 5 s.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{FOLDER / 'airflow' / 'airflow.db'}?timeout=60",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(LOGS / "airflow"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(connection),
        "AIRFLOW_VAR_PAGECONV_DESTINATION": EXPORT.as_uri(),
        "PAGECONV_POOL": "pageconv",
        # No proxy stands between processes of one machine.
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    return environment, port


def free_port() -> int:
    """Return a port on loopback that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def run_once(name: str, command: list[str], environment: Mapping[str, str]) -> None:
    """Run a command to its end."""
    with Servers() as servers:
        servers.start(name, command, environment)
        code = servers.wait(name)
    if code:
        raise DemoError(f"`{' '.join(command[2:])}` failed with exit code {code}.{last_lines(name)}")


class Api:
    """Airflow's REST API. Everybody is an admin in the demo's Airflow, so there is no token."""

    def __init__(self, base: str) -> None:
        self.base = base

    def get(self, path: str) -> Any:
        """Return what is there."""
        return self._call("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Make something."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something."""
        return self._call("PATCH", path, body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data=content, headers=headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=90) as answer:
            return json.load(answer)


def healthy(api: Api) -> bool:
    """Whether all parts of Airflow that the demo uses say so."""
    health = api.get("/monitor/health")
    return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))


def dags(api: Api) -> list[str]:
    """Return the DAGs that Airflow has read so far; a DAG that does not import ends the demo."""
    for error in api.get("/importErrors")["import_errors"]:
        raise DemoError(f"{error['filename']} does not import:\n{error['stack_trace']}")
    return [dag["dag_id"] for dag in api.get("/dags")["dags"]]


def wait_for(what: str, condition: Callable[[], bool], servers: Servers, seconds: float) -> None:
    """Return when the condition holds; an answer that does not come yet is a no."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        servers.check()
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if condition():
                return
        time.sleep(0.5)
    raise DemoError(f"Waited {seconds:.0f} s for {what}, in vain.")


def follow_run(api: Api, servers: Servers, dag: str) -> None:
    """Show what the tasks of the DAG's only run say, until it is a success."""
    shown_lines: Counter[Path] = Counter()
    state = "none"

    def finished() -> bool:
        nonlocal state
        runs = api.get(f"/dags/{dag}/dagRuns")["dag_runs"]
        state = runs[0]["state"] if runs else "none"
        for log in sorted((LOGS / "airflow").glob(f"dag_id={dag}/**/*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
            for line in lines[shown_lines[log] :]:
                show_log_line(line)
            shown_lines[log] = len(lines)
        if runs:
            refuse_retries(api, dag, runs[0]["dag_run_id"])
        return state in ("success", "failed")

    wait_for(f"the run of {dag} to end", finished, servers, RUN_SECONDS)
    if state != "success":
        raise DemoError(f"The run of {dag} is in state {state}.")


def refuse_retries(api: Api, dag: str, run: str) -> None:
    """Raise DemoError if a task of the run failed: its next try would come in ten minutes, which nobody watches."""
    for task in api.get(f"/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances")["task_instances"]:
        if task["state"] == "up_for_retry":
            raise DemoError(f"The task {task['task_id']} of {dag} has failed; its log says why.")


def show_log_line(line: str) -> None:
    """Print a line of a task's log if the task itself said it, and every warning."""
    try:
        entry = json.loads(line)
    except ValueError:
        return
    source = str(entry.get("logger", ""))
    said_by_task = any(name in source for name in ("pageconv", "Pageconv", "PageConversations"))
    if said_by_task or entry.get("level") in ("warning", "error", "critical"):
        reasons = [detail["exc_value"] for detail in entry.get("error_detail") or []]
        print("          | " + ": ".join([entry.get("event", ""), *reasons[:1]]), flush=True)


# ---- the result


def show_tree() -> None:
    """Print the folders of the export, with what lies in each."""
    say("The export:")
    print(f"  {shown(EXPORT)}")
    for path in sorted(EXPORT.rglob("*")):
        indent = "  " * (len(path.relative_to(EXPORT).parts) + 1)
        size = f"  ({path.stat().st_size:,} bytes)" if path.is_file() else "/"
        print(f"{indent}{path.name}{size}")


def manifests() -> list[dict[str, Any]]:
    """Return what was published: there is nothing else to go by."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(EXPORT.glob("_manifests/**/*.json"))]


def records(stream: str) -> Iterator[dict[str, Any]]:
    """Return the records of a stream, from the files that the manifests name."""
    for manifest in manifests():
        for file in manifest["files"]:
            if file["stream"] == stream:
                with gzip.open(EXPORT / file["path"]) as lines:
                    for line in lines:
                        yield json.loads(line)


def show_counts() -> None:
    """Print what each folder's manifest says."""
    say("What the manifests say:")
    print(f"  {'folder':<12}{'conversations':>14}{'messages':>10}{'calls':>7}")
    for manifest in manifests():
        numbers = f"{manifest['conversations']:>14,}{manifest['messages']:>10,}{manifest['api_calls']:>7,}"
        print(f"  {manifest['folder']:<12}{numbers}")


def show_records() -> None:
    """Print the first conversation and the first message."""
    say("Two records:")
    for stream in ("conversations", "messages"):
        for record in records(stream):
            print(f"  {stream}: {json.dumps(record, ensure_ascii=False)}")
            break


def show_query() -> None:
    """Ask the export a question as a user would: with DuckDB, or with Python where DuckDB is not installed."""
    try:
        import duckdb
    except ImportError:
        say("A question in plain Python (DuckDB is not installed): messages by folder and hour of the day.")
        hours = Counter((record["_folder"], record["created_time"][11:13]) for record in records("messages"))
        for (folder, hour), count in sorted(hours.items(), key=lambda item: -item[1])[:5]:
            print(f"  {folder:<12}{hour} h{count:>7,}")
        return
    query = (
        "SELECT folder, count(DISTINCT _conversation_id) AS threads, count(*) AS messages, "
        "min(created_time) AS first, max(created_time) AS last\n"
        f"  FROM read_json('{EXPORT / 'messages'}/**/*.jsonl.gz', hive_partitioning = true)\n"
        "  GROUP BY folder ORDER BY messages DESC"
    )
    say("A question in SQL, asked with DuckDB:")
    print(f"  {query.replace(str(EXPORT), shown(EXPORT))}")
    print(duckdb.sql(query))


def compare(since: datetime, until: datetime) -> None:
    """Hold the export against the document that the sandbox wrote of its Page."""
    conversations: set[str] = set()
    messages: dict[str, str | None] = {}
    for thread in json.loads(DRAWN.read_text(encoding="utf-8"))["threads"]:
        # `visible` is what the API still tells: only the 20 newest messages of a thread have a date and details.
        dated = {
            message["id"]: message.get("message")
            for message in thread["visible"]
            if "created_time" in message and since <= moment(message["created_time"]) < until
        }
        messages |= dated
        if dated or since <= moment(thread["node"]["updated_time"]) < until:
            conversations.add(thread["node"]["id"])
    found_conversations = [record["id"] for record in records("conversations")]
    found_messages = [(record["id"], record.get("message")) for record in records("messages")]

    say("Compared with the document that the sandbox wrote of its Page:")
    print(f"  {len(conversations):,} conversations and {len(messages):,} messages belong to {since:%Y-%m-%d}.")
    if sorted(found_conversations) != sorted(conversations) or dict(found_messages) != messages:
        raise DemoError(
            f"The export holds others: {len(found_conversations):,} conversations and {len(found_messages):,} messages."
        )
    if len(found_messages) != len(messages):
        raise DemoError(f"The export holds some messages twice: {len(found_messages):,} instead of {len(messages):,}.")
    print("  The export holds exactly those, each once, and their texts are the same.")
    undated = sum(manifest["messages_undated"] for manifest in manifests())
    print(f"  {undated:,} older messages of long threads came without a date; the manifests count them.")


def moment(wire_time: str) -> datetime:
    """Read a time as the Graph API writes it."""
    return datetime.strptime(wire_time, "%Y-%m-%dT%H:%M:%S%z")


# ---- what is printed

_started = time.monotonic()


def say(text: str) -> None:
    """Print a line with the seconds since the demo began."""
    print(f"{time.monotonic() - _started:6.1f} s  {text}", flush=True)


def shown(path: Path) -> str:
    """Return a path as seen from where the user stands."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def last_lines(name: str, count: int = 15) -> str:
    """Return the end of a process's log, to be put behind a sentence."""
    lines = (LOGS / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    return "".join(f"\n  | {line}" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
