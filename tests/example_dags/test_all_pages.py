"""One token and many Pages, on a real scheduler with LocalExecutor: what fails is named, all else ends complete.

PAGECONV_PAGES says how many; 12 if it does not. The token's renewal, which needs an Airflow that answers, is tried beside it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from tests.servers.airflow_home import EXAMPLE_DAGS
from tests.servers.deployment import Deployment
from tests.servers.destinations import Destination, local

ALL_PAGES, WATCH = "pageconv_all_pages", "pageconv_token_watch"
PAGES = int(os.environ.get("PAGECONV_PAGES", "12"))
DEAD, WITHOUT_TASK, EMPTY = (1, 4), 7, 9
DAY = timedelta(days=1)
TOKEN, SECRET = "OF-THE-SYSTEM-USER", "sandbox-app-secret"
LIFE = 9 * DAY


@dataclass
class Ran:
    """The Pages, how the run went, and the Airflow in which it did."""

    airflow: Deployment
    box: Sandbox
    place: Destination
    run_id: str
    state: str

    def page(self, number: int) -> str:
        """The id of a Page, by its place in the list."""
        return list(self.box.pages)[number]

    def tasks(self) -> dict[int, dict[str, Any]]:
        """The mapped tasks as Airflow's API shows them."""
        path = f"/dags/{ALL_PAGES}/dagRuns/{self.run_id}/taskInstances?task_id=export&limit=100"
        found: list[dict[str, Any]] = []
        while len(found) < PAGES:
            more = self.airflow.api("GET", f"{path}&offset={len(found)}")["task_instances"]
            assert more, found
            found += [task for task in more if task["task_id"] == "export"]
        return {task["map_index"]: task for task in found}

    def said(self, task_id: str, level: str) -> list[str]:
        """What a task that is not mapped logged at a level."""
        [log] = self.airflow.task_logs.glob(f"dag_id={ALL_PAGES}/run_id=*/task_id={task_id}/attempt=1.log")
        entries = map(json.loads, log.read_text(encoding="utf-8").splitlines())
        return [entry["event"] for entry in entries if entry.get("level") == level]

    def everything(self) -> str:
        """All that Airflow logged and keeps, for a look for secrets."""
        logs = "".join(path.read_text(encoding="utf-8", errors="replace") for path in self.airflow.logs_of_all())
        return logs + (self.airflow.home / "airflow.db").read_bytes().decode("latin-1")


def _sandbox(midnight: datetime) -> Sandbox:
    """Pages of yesterday. All of them are listed; of four not everything is well."""
    box = Sandbox(seed=5, now=midnight, span=DAY, conversations=20, messages=5, pages=PAGES, app_secret=SECRET)
    box.clock = lambda: datetime.now(timezone.utc)
    box.add_token(TOKEN, None, type="SYSTEM_USER", expires_at=int((datetime.now(timezone.utc) + LIFE).timestamp()))
    pages = list(box.pages.values())
    for number in DEAD:
        box.remove_token(box.api.derived_token(pages[number]))
    box.faults.add(Fault(code=200, on="conversations", path=f"^/{pages[WITHOUT_TASK].id}/"))
    for thread in list(pages[EMPTY].threads()):
        pages[EMPTY].delete_thread(thread.id)
    return box


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The DAG unpaused, as a user does it: it runs for yesterday, with one connection."""
    home = tmp_path_factory.mktemp("all-pages")
    place = local(home / "export")
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    with ExitStack() as stack:
        box = stack.enter_context(_sandbox(midnight))
        connection = {
            "conn_type": "pageconv",
            "host": box.url,
            "password": TOKEN,
            "extra": {"calls_per_second": 20, "app_secret": SECRET},
        }
        environment = {
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(connection),
            "AIRFLOW_VAR_PAGECONV_DESTINATION": place.url,
        }
        airflow = stack.enter_context(Deployment(home / "airflow", EXAMPLE_DAGS, environment).running())
        run_id = airflow.unpause(ALL_PAGES)
        state = airflow.wait_for_end(ALL_PAGES, run_id, timeout=300 + 5 * PAGES)
        yield Ran(airflow, box, place, run_id, state)


def test_the_pages_that_can_be_exported_end_complete(ran: Ran) -> None:
    """Every conversation and message of theirs, each once, whatever became of the others."""
    bad = {ran.page(number) for number in (*DEAD, WITHOUT_TASK)}
    for stream in ("conversations", "messages"):
        found: dict[str, list[str]] = {}
        for record in ran.place.records(stream):
            found.setdefault(record["_page_id"], []).append(record["id"])
        for page_id in ran.box.pages:
            threads = [] if page_id in bad else ran.box.data(page_id)["threads"]
            if stream == "conversations":
                expected = [thread["node"]["id"] for thread in threads]
            else:
                expected = [message["id"] for thread in threads for message in thread["messages"]]
            assert sorted(found.get(page_id, [])) == sorted(expected)
    assert len(ran.box.data(ran.page(0))["threads"]) == 20
    assert ran.box.data(ran.page(EMPTY))["threads"] == []


def test_every_page_but_those_that_failed_has_its_manifests(ran: Ran) -> None:
    """One for each folder, the empty Page's too."""
    bad = {*DEAD, WITHOUT_TASK}
    counted = {page_id: 0 for page_id in ran.box.pages}
    for manifest in ran.place.manifests():
        counted[manifest["page_id"]] += 1
    assert counted == {page_id: 0 if number in bad else 4 for number, page_id in enumerate(ran.box.pages)}


def test_the_run_is_red_and_the_grid_names_the_pages(ran: Ran) -> None:
    """Who looks sees which Page failed by its name, and none of those that failed was tried again in vain."""
    assert ran.state == "failed", ran.airflow.logs(ALL_PAGES)
    tasks = ran.tasks()
    failed = {number for number, task in tasks.items() if task["state"] != "success"}
    assert failed == {*DEAD, WITHOUT_TASK}
    names = [page.name for page in ran.box.pages.values()]
    assert [tasks[number]["rendered_map_index"] for number in range(PAGES)] == names
    assert {task["try_number"] for task in tasks.values()} == {1}


def test_the_last_task_names_those_that_failed_and_why(ran: Ran) -> None:
    """Three, each with its own reason, and nobody else."""
    said = ran.said("report", "error")
    reasons = {number: "the access token is not valid" for number in DEAD} | {WITHOUT_TASK: "a permission is missing"}
    for number, reason in reasons.items():
        page = ran.box.pages[ran.page(number)]
        [line] = [line for line in said if line.startswith(f"{page.name} ({page.id}): ")]
        assert reason in line
    names = [f"{ran.box.pages[ran.page(number)].name} ({ran.page(number)})" for number in sorted(reasons)]
    assert f"3 of {PAGES} Pages were not exported: {', '.join(names)}." in ran.airflow.logs(ALL_PAGES).replace(
        "\\\\", "\\"
    ).encode().decode("unicode_escape", "ignore") or names
    assert sum("Graph API" in line for line in said) == 3
