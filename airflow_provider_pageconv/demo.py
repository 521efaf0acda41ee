"""The demo: a made-up Page, a real Airflow, one daily export, and a look at the result.

    python -m airflow_provider_pageconv.demo [folder]

`make demo` runs it. The story is told from outside, as whoever uses the provider would see it: a Graph API and an Airflow
are started, a DAG is switched on, and its results are read by the manifests. Everything that it starts listens on loopback
alone, keeps its files in one folder, and is stopped in the end, also on Ctrl-C and when something fails.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gzip
import json
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from airflow_provider_pageconv.standalone import (
    STOP_SIGNALS,
    Processes,
    Standalone,
    StandaloneError,
    without_airflow,
)

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLE_DAGS = CHECKOUT / "example_dags"
DAILY, CONSUMER = "pageconv_daily", "pageconv_consumer"

START_SECONDS = 120
RUN_SECONDS = 180
STOP_SECONDS = 3  # nothing that is under way in the demo is worth a longer wait
SETTLE = timedelta(minutes=5)  # the operator's own: so long after midnight does the task begin at the earliest

COMPONENTS = ("api-server", "scheduler", "dag-processor")

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
    """Where the made-up Page is served."""

    url: str
    page_id: str
    token: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code.

    0: all is as it should be; 1: something is not; 2: nothing was started, and why; 130: it was asked to stop.
    """
    options = _parser().parse_args(arguments)
    with contextlib.suppress(AttributeError):  # people write what not every terminal shows
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    missing = [name for name in (DAILY, CONSUMER) if not (EXAMPLE_DAGS / f"{name}.py").is_file()]
    if missing:
        wanted = EXAMPLE_DAGS / f"{missing[0]}.py"
        return refuse(
            f"The demo runs the DAGs of a checkout of the repository, and there is no {wanted}: run it in one."
        )
    try:
        folder = Folder((options.folder or CHECKOUT / ".demo").resolve())
    except (OSError, RuntimeError) as error:  # a loop of links; a current folder that was removed
        return refuse(f"{options.folder} cannot be the demo's folder: {error}.")
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means what it says
            signal.signal(number, interrupt)
    try:
        with folder.taken():
            run(folder)
    except FolderError as error:
        return refuse(str(error))
    except KeyboardInterrupt:
        print(f"Stopped, and with it everything that was started. The logs are in {shown(folder.logs)}.")
        return 130
    except (DemoError, StandaloneError) as error:
        sentence = f"\n{error}\nEverything that was started is stopped. The logs are in {shown(folder.logs)}."
        print(sentence, file=sys.stderr)
        return 1
    except BrokenPipeError:  # nobody reads on, as in `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    print(f"\nYours to look at: {shown(folder.export)} (the export), {shown(folder.logs)} (the logs),")
    print(f"{shown(EXAMPLE_DAGS)} (the DAGs). How to export a Page of your own is in README.md.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m airflow_provider_pageconv.demo",
        description="Export a made-up Page with a real Airflow, and look at the result: about a minute.",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="where its files go; .demo in the checkout if left out")
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; the help is there for those who ask for it."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and end."""
        sys.exit(refuse(f"{message[:1].upper()}{message[1:]}"))


def refuse(sentence: str) -> int:
    """Say why nothing was started, and return the exit code."""
    print(sentence, file=sys.stderr)
    return 2


def interrupt(number: int, _frame: object) -> None:
    """End on a signal as on Ctrl-C, once: whatever comes while things are being stopped does not disturb that."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def run(folder: Folder) -> None:
    """Tell the story, and stop whatever was started for it."""
    processes = Processes(folder.logs, cwd=folder.path, patience=STOP_SECONDS)
    try:
        try:
            demonstrate(folder, processes)
        except KeyboardInterrupt:
            print()  # behind the ^C of the terminal
            raise
        finally:
            say("Stopping everything.")
            processes.stop()
    finally:
        # An interrupt comes once: if it came between the lines above, this stops everything undisturbed.
        processes.stop()


def demonstrate(folder: Folder, processes: Processes) -> None:
    """The whole story."""
    # In the last minutes of a day the Page already has the messages of the whole day: it may be the next one when the
    # scheduler gets to it.
    now = datetime.now(timezone.utc) + SETTLE
    page = start_sandbox(folder, processes, now=now.replace(hour=0, minute=0, second=0, microsecond=0))
    say(f"A Graph API on loopback, {page.url}, serves the made-up Page {page.page_id}.")

    say("Airflow sets up its database: SQLite, in a folder of the demo.")
    airflow = Standalone(processes, folder.airflow, EXAMPLE_DAGS, environment(folder, page), COMPONENTS)
    airflow.migrate()

    say("Airflow starts: API server, scheduler, DAG processor.")
    airflow.start()
    airflow.wait_until_healthy(START_SECONDS)
    processes.wait_for("the DAGs to be read", lambda: {DAILY, CONSUMER} <= set(dags(airflow)), START_SECONDS)

    say(f"Airflow is up: {airflow.url} while the demo runs. The DAG {DAILY} is switched on,")
    airflow.api("PATCH", f"/dags/{CONSUMER}", {"is_paused": False})
    airflow.api("PATCH", f"/dags/{DAILY}", {"is_paused": False})
    since, until = day_of_run(airflow)
    say(f"and the scheduler starts its run for yesterday, {since:%Y-%m-%d}. What its task says:")
    settles = max(0.0, (until + SETTLE - datetime.now(timezone.utc)).total_seconds())
    follow_run(airflow, DAILY, RUN_SECONDS + settles)
    say(f"The run is a success. {CONSUMER}, which waits for the asset, starts by itself:")
    follow_run(airflow, CONSUMER, RUN_SECONDS)

    result = Result(folder.export)
    show_tree(folder.export)
    show_counts(result)
    show_records(result)
    show_query(result)
    compare(result, json.loads(folder.drawn.read_text(encoding="utf-8")), since, until)


# ---- the servers


def start_sandbox(folder: Folder, processes: Processes, now: datetime) -> Page:
    """Start the sandbox, with a Page whose newest conversations are from just before `now`; say where it is."""
    options = {
        "--port": "0",
        "--seed": "1",
        "--conversations": "400",
        "--now": now.isoformat(),
        "--span-days": "2",
        "--data-file": str(folder.drawn),
    }
    command = [sys.executable, "-m", "airflow_provider_pageconv.sandbox"]
    processes.start("sandbox", [*command, *(part for option in options.items() for part in option)], of_the_checkout())
    greeting: re.Match[str] | None = None

    def greeted() -> bool:
        nonlocal greeting
        said = (folder.logs / "sandbox.log").read_text(encoding="utf-8", errors="replace")
        greeting = re.search(r"at (http://[\d.:]+) for Page (\d+), token (\S+)", said)
        return greeting is not None

    processes.wait_for("the sandbox to start", greeted, START_SECONDS)
    assert greeting is not None
    return Page(url=greeting[1], page_id=greeting[2], token=greeting[3])


def environment(folder: Folder, page: Page) -> dict[str, str]:
    """Return what the demo's Airflow is told beside what every one of ours is."""
    connection = {
        "conn_type": "pageconv",
        "host": page.url,
        "password": page.token,
        # A made-up Page needs no pause between two calls; a real one does, and 2 a second is the default.
        "extra": {"page_id": page.page_id, "calls_per_second": 20},
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


def dags(airflow: Standalone) -> list[str]:
    """Return the DAGs that Airflow has read so far; a DAG that does not import ends the demo."""
    for error in airflow.api("GET", "/importErrors")["import_errors"]:
        raise DemoError(f"{error['filename']} does not import:\n{error['stack_trace']}")
    return [dag["dag_id"] for dag in airflow.api("GET", "/dags")["dags"]]


def day_of_run(airflow: Standalone) -> tuple[datetime, datetime]:
    """Return the data interval for which the scheduler starts the daily run."""
    runs: list[dict[str, Any]] = []

    def started() -> bool:
        runs[:] = airflow.api("GET", f"/dags/{DAILY}/dagRuns")["dag_runs"]
        return bool(runs)

    airflow.processes.wait_for(f"the scheduler to start a run of {DAILY}", started, START_SECONDS)
    since, until = (
        datetime.fromisoformat(runs[0][f"data_interval_{end}"].replace("Z", "+00:00")) for end in ("start", "end")
    )
    return since, until


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


# ---- the result


@dataclass(frozen=True)
class Result:
    """What was published below a root, as its manifests have it: there is nothing else to go by."""

    root: Path

    def manifests(self) -> list[dict[str, Any]]:
        """Return the manifest of each folder."""
        found = sorted(self.root.glob("_manifests/**/*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]

    def records(self, stream: str) -> Iterator[dict[str, Any]]:
        """Yield the records of a stream, from the files that the manifests name."""
        for manifest in self.manifests():
            for file in manifest["files"]:
                if file["stream"] == stream:
                    with gzip.open(self.root / file["path"]) as lines:
                        for line in lines:
                            yield json.loads(line)


def show_tree(root: Path) -> None:
    """Print the folders of the export, with what lies in each."""
    say("The export:")
    print(f"  {shown(root)}/")

    def show(folder: Path, depth: int) -> None:
        for path in sorted(folder.iterdir()):
            inner, name = path, path.name
            while inner.is_dir() and len(content := list(inner.iterdir())) == 1 and content[0].is_dir():
                inner = content[0]
                name += f"/{inner.name}"
            size = f"  ({inner.stat().st_size:,} bytes)" if inner.is_file() else "/"
            print("  " * depth + name + size)
            if inner.is_dir():
                show(inner, depth + 1)

    show(root, 2)


def show_counts(result: Result) -> None:
    """Print what each folder's manifest says."""
    say("What the manifests say:")
    print(f"  {'folder':<12}{'conversations':>14}{'messages':>10}{'calls':>7}")
    for manifest in result.manifests():
        numbers = f"{manifest['conversations']:>14,}{manifest['messages']:>10,}{manifest['api_calls']:>7,}"
        print(f"  {manifest['folder']:<12}{numbers}")


def show_records(result: Result) -> None:
    """Print the first conversation and the first message."""
    say("A conversation and a message, each a line of JSON:")
    for stream in ("conversations", "messages"):
        for record in result.records(stream):
            print(f"  {stream}: {json.dumps(record, ensure_ascii=False)}")
            break


def show_query(result: Result) -> None:
    """Ask the export a question as a user would: with DuckDB, or with Python where DuckDB is not installed."""
    try:
        import duckdb
    except ImportError:
        say("A question in plain Python (DuckDB is not installed): messages by folder and hour of the day.")
        hours = Counter((record["_folder"], record["created_time"][11:13]) for record in result.records("messages"))
        for (folder, hour), count in sorted(hours.items(), key=lambda item: -item[1])[:5]:
            print(f"  {folder:<12}{hour} h{count:>7,}")
        return
    root = str(result.root).replace("'", "''")
    # As in the README: what the manifests name, so that nothing half-done and nothing twice is counted.
    files = (
        "SET VARIABLE files = (\n"
        f"    SELECT list('{root}/' || file.path)\n"
        f"    FROM (SELECT unnest(files) AS file FROM read_json('{root}/_manifests/**/*.json'))\n"
        "    WHERE file.stream = 'messages');"
    )
    question = (
        "SELECT folder, count(DISTINCT _conversation_id) AS conversations, count(*) AS messages,\n"
        "      min(created_time) AS first, max(created_time) AS last\n"
        "  FROM read_json(getvariable('files'), format = 'newline_delimited', hive_partitioning = true)\n"
        "  GROUP BY folder ORDER BY messages DESC;"
    )
    say("A question in SQL, asked with DuckDB:")
    print(f"  {files}\n  {question}".replace(root, shown(result.root)))
    connection = duckdb.connect()
    connection.execute(files)
    print(connection.sql(question))


def compare(result: Result, drawn: dict[str, Any], since: datetime, until: datetime) -> None:
    """Hold the export against the document that the sandbox wrote of its Page."""
    conversations: set[str] = set()
    messages: dict[str, str | None] = {}
    for thread in drawn["threads"]:
        # `visible` is what the API still tells: only the 20 newest messages of a thread have a date and details.
        dated = {
            message["id"]: message.get("message")
            for message in thread["visible"]
            if "created_time" in message and since <= moment(message["created_time"]) < until
        }
        messages |= dated
        if dated or since <= moment(thread["node"]["updated_time"]) < until:
            conversations.add(thread["node"]["id"])
    found_conversations = [record["id"] for record in result.records("conversations")]
    found_messages = [(record["id"], record.get("message")) for record in result.records("messages")]

    say("Compared with the document that the sandbox wrote of its Page:")
    print(f"  {len(conversations):,} conversations and {len(messages):,} messages belong to {since:%Y-%m-%d}.")
    if sorted(found_conversations) != sorted(conversations) or dict(found_messages) != messages:
        raise DemoError(
            f"The export holds others: {len(found_conversations):,} conversations and {len(found_messages):,} messages."
        )
    if len(found_messages) != len(messages):
        raise DemoError(f"The export holds some messages twice: {len(found_messages):,} instead of {len(messages):,}.")
    print("  The export holds exactly those, each once, and their texts are the same.")
    undated = sum(manifest["messages_undated"] for manifest in result.manifests())
    print(f"  {undated:,} older messages of long conversations came without a date; the manifests count them.")


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


if __name__ == "__main__":
    sys.exit(main())
