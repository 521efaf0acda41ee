"""Tasks side by side within one limit, on a real scheduler: both example DAGs end complete, and are hardly ever refused."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Limits, Sandbox
from tests.servers.airflow_home import EXAMPLE_DAGS
from tests.servers.deployment import Deployment, Seen

MANY_PAGES, FOLDERS = "pageconv_many_pages", "pageconv_folders"
NAMES = (MANY_PAGES, FOLDERS)
WAITING = {MANY_PAGES: "up_for_reschedule", FOLDERS: "deferred"}
DAY = timedelta(days=1)
CALLS, WINDOW = 100, 60.0
PAGES = 3
END_SECONDS = 1200  # on a machine that stands still for a while a task may fail, and comes back after ten minutes
pytestmark = pytest.mark.timeout(END_SECONDS + 300)


@dataclass
class Run:
    """How one DAG's run went."""

    box: Sandbox
    root: Path
    state: str
    seen: list[Seen]

    def records(self, stream: str) -> list[dict[str, Any]]:
        """The records that the manifests name."""
        return [
            json.loads(line)
            for manifest in self.root.glob("_manifests/**/*.json")
            for file in json.loads(manifest.read_text(encoding="utf-8"))["files"]
            if file["stream"] == stream
            for line in gzip.decompress((self.root / file["path"]).read_bytes()).split(b"\n")[:-1]
        ]

    def states(self, map_index: int) -> list[str | None]:
        """The states that a mapped task went through, each once, in their order."""
        states = [seen.state for seen in self.seen if seen.map_index == map_index]
        return [state for state, _ in itertools.groupby(states)]


@dataclass
class Ran:
    """Both runs, and the Airflow in which they were made."""

    airflow: Deployment
    runs: dict[str, Run]


def _sandbox(name: str, midnight: datetime) -> Sandbox:
    """A Page, or several, with one limit for all; of yesterday, since that is what the DAGs export."""
    limits = Limits(calls=CALLS, window=WINDOW, code=80006)
    options: dict[str, Any] = {"conversations": 1500, "page_id": "900800700600500"}
    if name == MANY_PAGES:
        options = {"conversations": 500, "pages": PAGES}
    box = Sandbox(
        seed=11, now=midnight, span=DAY, long_every=0, short_messages=1, max_limit=10, limits=limits, **options
    )
    box.clock = lambda: datetime.now(timezone.utc)  # a window has settled when it has by the API's clock
    return box


def _connection(box: Sandbox, page_id: str, token: str) -> str:
    extra = {"page_id": page_id, "calls_per_second": 5}
    return json.dumps({"conn_type": "pageconv", "host": box.url, "password": token, "extra": extra})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Both at the same time, each with a Graph API of its own; unpaused, as a user does it, they run for yesterday."""
    home = tmp_path_factory.mktemp("side-by-side")
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    with ExitStack() as stack:
        boxes = {name: stack.enter_context(_sandbox(name, midnight)) for name in NAMES}
        many, one = boxes[MANY_PAGES], boxes[FOLDERS]
        names = [f"pageconv_page_{number}" for number in range(PAGES)]
        environment = {
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW_CONN_PAGECONV_DEFAULT": _connection(one, one.page.id, one.token),
            "AIRFLOW_VAR_PAGECONV_CONNECTIONS": json.dumps(names),
            "AIRFLOW_VAR_PAGECONV_DESTINATION": (home / "export").as_uri(),
        }
        for name, page in zip(names, many.pages.values(), strict=True):
            token = many.api.derived_token(page)
            environment[f"AIRFLOW_CONN_{name.upper()}"] = _connection(many, page.id, token)
        airflow = stack.enter_context(Deployment(home / "airflow", EXAMPLE_DAGS, environment).running())
        started = {name: airflow.unpause(name) for name in NAMES}
        ended = {name: airflow.wait_for_end(name, run_id, timeout=END_SECONDS) for name, run_id in started.items()}
        time.sleep(1)  # the database is looked at once more
        yield Ran(
            airflow,
            {
                name: Run(
                    boxes[name],
                    home / "export",
                    ended[name],
                    [seen for seen in airflow.seen if seen.dag_id == name and seen.task_id == "export"],
                )
                for name in NAMES
            },
        )


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_complete(ran: Ran, name: str) -> None:
    """Every conversation and message of yesterday, each once, and nothing is left in the staging area."""
    run = ran.runs[name]
    assert run.state == "success", ran.airflow.logs(name)
    for page_id in run.box.pages:
        threads = run.box.data(page_id)["threads"]
        conversations = [row["id"] for row in run.records("conversations") if row["_page_id"] == page_id]
        messages = [row["id"] for row in run.records("messages") if row["_page_id"] == page_id]
        assert sorted(conversations) == sorted(thread["node"]["id"] for thread in threads)
        assert sorted(messages) == sorted(message["id"] for thread in threads for message in thread["messages"])
    assert not (run.root / "_staging").exists()


@pytest.mark.parametrize("name", NAMES)
def test_hardly_a_call_is_refused(ran: Ran, name: str) -> None:
    """Under 2 %, although several times as many calls are needed as the limit lets through at once."""
    requests = ran.runs[name].box.requests
    refused = sum(request.code is not None for request in requests)
    print(f"{name}: {len(requests)} calls, {refused} refused")  # noqa: T201
    assert len(requests) > CALLS * 1.5
    assert refused / len(requests) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_waiting_holds_no_worker_and_costs_no_try(ran: Ran, name: str) -> None:
    """Each way in its own state, and all of it in the first try."""
    run = ran.runs[name]
    assert WAITING[name] in {seen.state for seen in run.seen}
    assert max(seen.try_number for seen in run.seen) == 1


def test_folders_take_turns(ran: Ran) -> None:
    """One at a time is under way, and while it is deferred no other one begins."""
    run = ran.runs[FOLDERS]
    busy: dict[float, set[int]] = {}
    for seen in run.seen:
        if seen.state in ("queued", "running", "deferred"):
            busy.setdefault(seen.at, set()).add(seen.map_index)
    assert {len(indexes) for indexes in busy.values()} == {1}
    assert set().union(*busy.values()) == {0, 1, 2, 3}


def test_pages_are_exported_side_by_side(ran: Ran) -> None:
    """Not one after the other."""
    run = ran.runs[MANY_PAGES]
    running: dict[float, set[int]] = {}
    for seen in run.seen:
        if seen.state == "running":
            running.setdefault(seen.at, set()).add(seen.map_index)
    assert max(len(indexes) for indexes in running.values()) > 1
