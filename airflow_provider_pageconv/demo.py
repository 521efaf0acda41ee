"""The demo: a made-up Page, a real Airflow, one daily export, and a look at the result.

    python -m airflow_provider_pageconv.demo [--pages N] [folder]

`make demo` runs it; with `--pages` it tells of many Pages instead (`demo_pages`). The story is told from outside, as whoever
uses the provider would see it: a Graph API and an Airflow are started, a DAG is switched on, and its results are read by the
manifests. Everything that it starts listens on loopback alone, keeps its files in one folder, and is stopped in the end, also
on Ctrl-C and when something fails.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any, NoReturn

from airflow_provider_pageconv import demo_pages, sql
from airflow_provider_pageconv.demo_stage import (
    CHECKOUT,
    EXAMPLE_DAGS,
    RUN_SECONDS,
    SETTLE,
    DemoError,
    Folder,
    FolderError,
    environment,
    first_run,
    follow_run,
    moment,
    say,
    shown,
    start_airflow,
    start_sandbox,
)
from airflow_provider_pageconv.standalone import STOP_SIGNALS, Processes, Standalone, StandaloneError

DAILY, CONSUMER = "pageconv_daily", "pageconv_consumer"

STOP_SECONDS = 3  # nothing that is under way in the demo is worth a longer wait


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code.

    0: all is as it should be; 1: something is not; 2: nothing was started, and why; 130: it was asked to stop.
    """
    options = _parser().parse_args(arguments)
    with contextlib.suppress(AttributeError):  # people write what not every terminal shows
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    dags = (demo_pages.ALL_PAGES,) if options.pages else (DAILY, CONSUMER)
    missing = [name for name in dags if not (EXAMPLE_DAGS / f"{name}.py").is_file()]
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
            run(folder, partial(demo_pages.demonstrate, count=options.pages) if options.pages else demonstrate)
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
    parser = Parser(
        prog="python -m airflow_provider_pageconv.demo",
        description="Export a made-up Page with a real Airflow, and look at the result: about a minute.",
    )
    parser.add_argument(
        "--pages", type=_many, metavar="N", help="show so many Pages under one token, in place of one Page"
    )
    parser.add_argument("folder", nargs="?", type=Path, help="where its files go; .demo in the checkout if left out")
    return parser


def _many(text: str) -> int:
    fewest, most = demo_pages.FEWEST, demo_pages.MOST
    if not (text.isdecimal() and fewest <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {fewest} to {most}")
    return int(text)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; the help is there for those who ask for it."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and end."""
        sys.exit(refuse(f"{message[:1].upper()}{message[1:]}. --help shows what there is."))


def refuse(sentence: str) -> int:
    """Say why nothing was started, and return the exit code."""
    print(sentence, file=sys.stderr)
    return 2


def interrupt(number: int, _frame: object) -> None:
    """End on a signal as on Ctrl-C, once: whatever comes while things are being stopped does not disturb that."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def run(folder: Folder, story: Callable[[Folder, Processes], None]) -> None:
    """Tell a story, and stop whatever was started for it."""
    processes = Processes(folder.logs, cwd=folder.path, patience=STOP_SECONDS)
    try:
        try:
            story(folder, processes)
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
    options = {
        "--conversations": "400",
        "--now": now.replace(hour=0, minute=0, second=0, microsecond=0).isoformat(),
        "--span-days": "2",
        "--data-file": str(folder.drawn),
    }
    page = start_sandbox(folder, processes, [part for option in options.items() for part in option])
    say(f"A Graph API on loopback, {page.url}, serves the made-up Page {page.page_id}.")
    airflow = start_airflow(folder, processes, environment(folder, page), {DAILY, CONSUMER})

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


def day_of_run(airflow: Standalone) -> tuple[datetime, datetime]:
    """Return the data interval for which the scheduler starts the daily run."""
    run = first_run(airflow, DAILY)
    since, until = (
        datetime.fromisoformat(run[f"data_interval_{end}"].replace("Z", "+00:00")) for end in ("start", "end")
    )
    return since, until


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


QUESTION = """\
SELECT _folder, count(DISTINCT _conversation_id) AS conversations, count(*) AS messages,
    min(created_time) AS first, max(created_time) AS last
FROM messages GROUP BY _folder ORDER BY messages DESC;"""


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
    say(
        f"A question in SQL, asked with DuckDB of the views that `python -m {sql.__name__} {shown(result.root)}` prints:"
    )
    print(indent(QUESTION, "  "))
    connection = duckdb.connect()
    connection.execute(sql.views(result.root))
    print(connection.sql(QUESTION))


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


if __name__ == "__main__":
    sys.exit(main())
