"""One token and many Pages, on a real scheduler with LocalExecutor: what fails is named, all else ends complete.

PAGECONV_PAGES says how many; 12 if it does not. 200 take two and a half minutes on two cores. The token's renewal, which needs
an Airflow that answers, is tried beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from tests.servers.airflow_home import EXAMPLE_DAGS
from tests.servers.deployment import Deployment
from tests.servers.destinations import Destination, local

ALL_PAGES, WATCH = "pageconv_all_pages", "pageconv_token_watch"
PAGES = int(os.environ.get("PAGECONV_PAGES", "12"))
DEAD, WITHOUT_TASK, EMPTY, ODD = (1, 4), 7, 9, 10
DAY = timedelta(days=1)
TOKEN, SECRET = "OF-THE-SYSTEM-USER", "sandbox-app-secret"


@dataclass
class Ran:
    """The Pages, how the run went, and the Airflow in which it did."""

    airflow: Deployment
    box: Sandbox
    place: Destination
    midnight: datetime
    run_id: str
    state: str

    def page(self, number: int) -> str:
        """The id of a Page, by its place in the list."""
        return list(self.box.pages)[number]

    def yesterday(self, page_id: str) -> list[str]:
        """The ids of what the sandbox drew for yesterday: all threads, and those of their messages that were sent then."""
        threads = self.box.data(page_id)["threads"]
        first = (self.midnight - DAY).strftime("%Y-%m-%dT%H:%M:%S")
        messages = [message for thread in threads for message in thread["messages"] if message["created_time"] >= first]
        return [node["id"] for node in (*(thread["node"] for thread in threads), *messages)]

    def tasks(self) -> dict[int, dict[str, Any]]:
        """The mapped tasks, as Airflow's API shows them."""
        path = f"/dags/{ALL_PAGES}/dagRuns/{self.run_id}/taskInstances?limit=100"
        found: list[dict[str, Any]] = []
        while more := self.airflow.api("GET", f"{path}&offset={len(found)}")["task_instances"]:
            found += more
        return {task["map_index"]: task for task in found if task["task_id"] == "export"}

    def reported(self, level: str) -> list[str]:
        """What the last task logged at a level, and, with "error", what it failed with."""
        [log] = self.airflow.task_logs.glob(f"dag_id={ALL_PAGES}/run_id=*/task_id=report/attempt=1.log")
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        entries = [entry for entry in entries if entry.get("level") == level]
        return [
            text
            for entry in entries
            for text in (entry["event"], *(error["exc_value"] for error in entry.get("error_detail") or ()))
        ]


def _sandbox(midnight: datetime) -> Sandbox:
    """Pages of yesterday. All of them are listed; three cannot be exported, one is empty, and one has a row without id.

    The token ends soon, which concerns all of them.
    """
    box = Sandbox(seed=5, now=midnight, span=DAY, conversations=20, messages=5, pages=PAGES, app_secret=SECRET)
    box.clock = lambda: datetime.now(timezone.utc)
    ends = datetime.now(timezone.utc) + 9 * DAY
    box.add_token(TOKEN, None, type="SYSTEM_USER", expires_at=int(ends.timestamp()))
    pages = list(box.pages.values())
    for number in DEAD:
        box.end_tokens(pages[number])
    pages[WITHOUT_TASK].tasks = ()
    box.faults.add(Fault("row_without_id", on="conversations", path=f"^/{pages[ODD].id}/", folder="inbox"))
    pages[EMPTY].advanced_access = False
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
            # With both, an export looks at the token first, and takes the Page's own from the list of Pages.
            "extra": {"calls_per_second": 20, "app_id": APP_ID, "app_secret": SECRET},
        }
        environment = {
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(connection),
            "AIRFLOW_VAR_PAGECONV_DESTINATION": place.url,
        }
        airflow = Deployment(home / "airflow", EXAMPLE_DAGS, environment)
        # Everybody is an admin there: any login will do.
        entry = {"conn_type": "http", "host": airflow.url, "login": "renewer", "password": "any"}
        airflow.environment["AIRFLOW_CONN_AIRFLOW_API"] = json.dumps(entry)
        stack.enter_context(airflow.running())
        run_id = airflow.unpause(ALL_PAGES)
        state = airflow.wait_for_end(ALL_PAGES, run_id, timeout=300 + 5 * PAGES)
        yield Ran(airflow, box, place, midnight, run_id, state)


def test_the_pages_that_can_be_exported_end_complete(ran: Ran) -> None:
    """Every conversation of yesterday and every message, each once, whatever became of the others."""
    nothing = {ran.page(number) for number in (*DEAD, WITHOUT_TASK, EMPTY)}
    found: dict[str, list[str]] = {page_id: [] for page_id in ran.box.pages}
    for stream in ("conversations", "messages"):
        for record in ran.place.records(stream):
            found[record["_page_id"]].append(record["id"])
    for page_id in ran.box.pages:
        expected = [] if page_id in nothing else ran.yesterday(page_id)
        assert sorted(found[page_id]) == sorted(expected)
    assert len(ran.yesterday(ran.page(0))) > 40


def test_every_page_but_those_that_failed_has_its_manifests(ran: Ran) -> None:
    """One for each folder, the empty Page's too."""
    bad = {*DEAD, WITHOUT_TASK}
    counted = dict.fromkeys(ran.box.pages, 0)
    for manifest in ran.place.manifests().values():
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
    reasons = dict.fromkeys(DEAD, "the access token is not valid") | {WITHOUT_TASK: "has no task on the Page"}
    pages = {number: ran.box.pages[ran.page(number)] for number in sorted(reasons)}
    *lines, event, failure = ran.reported("error")
    assert len(lines) == 3, lines
    for line, (number, page) in zip(lines, pages.items(), strict=True):
        assert line.startswith(f"{page.name} ({page.id}): ")
        assert reasons[number] in line
        assert "Give the person or the system user" in line
    names = ", ".join(f"{page.name} ({page.id})" for page in pages.values())
    assert failure == f"3 of {PAGES} Pages were not exported: {names}.", event


def test_what_a_good_export_warns_of_is_said_again(ran: Ran) -> None:
    """By the last task, with the name of the Page; it does not count as failed."""
    page = ran.box.pages[ran.page(ODD)]
    [line] = [line for line in ran.reported("warning") if str(page.id) in line]
    assert line.startswith(f"{page.name} ({page.id}): inbox: ")
    assert "id" in line


def test_the_last_task_warns_of_the_page_that_is_empty(ran: Ran) -> None:
    """No thread at all, of whatever age, is suspicious, though it is no failure."""
    page = ran.box.pages[ran.page(EMPTY)]
    [line] = [line for line in ran.reported("warning") if page.id in line]
    assert line.startswith(f"{page.name} ({page.id}): ")
    assert "hold no conversation at all, of whatever age" in line
    assert "the app has no Advanced Access" in line


def test_what_every_page_warns_of_is_said_once(ran: Ran) -> None:
    """The token that all of them use ends in some days."""
    [line] = [line for line in ran.reported("warning") if "The access token ends on" in line]
    first = ran.box.pages[ran.page(0)]
    assert line.startswith(f"{PAGES - 3} Pages, {first.name} ({first.id}) for one: The access token ends on ")


def test_no_token_is_logged_or_kept(ran: Ran) -> None:
    """Neither that of the connection nor one that it was exchanged for, in the database or in any log."""
    secrets = [TOKEN, SECRET, *(ran.box.api.derived_token(page) for page in ran.box.pages.values())]
    kept = [*ran.airflow.processes.logs.rglob("*.log"), *ran.airflow.home.glob("airflow.db*")]
    assert kept
    for path in kept:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path


def test_a_token_that_ends_soon_is_renewed_where_the_connection_is_kept(ran: Ran) -> None:
    """With `renew` on: the next look finds sixty days, the rest of the connection is as it was, no log shows a token."""
    extra = {"calls_per_second": 20, "app_id": APP_ID, "app_secret": SECRET}
    ran.airflow.api(
        "POST",
        "/connections",
        {
            "connection_id": "pageconv_kept",
            "conn_type": "pageconv",
            "host": ran.box.url,
            "password": TOKEN,
            "extra": json.dumps(extra),
        },
    )
    ran.airflow.api("PATCH", f"/dags/{WATCH}", {"is_paused": False})
    states = []
    for renew in (False, True, False):
        run_id = ran.airflow.trigger(WATCH, conf={"connections": ["pageconv_kept"], "renew": renew})
        states.append(ran.airflow.wait_for_end(WATCH, run_id, timeout=180))
    logs = ran.airflow.logs(WATCH)
    assert states == ["failed", "success", "success"], logs
    assert "The token of the connection pageconv_kept was renewed." in logs
    ends = datetime.now(timezone.utc) + 60 * DAY
    assert f"is valid and ends on {ends:%Y-%m-%d}." in logs
    [renewed] = [token for token in ran.box.api.accesses if token.startswith("SANDBOX-RENEWED-")]
    for secret in (TOKEN, SECRET, renewed):
        assert secret not in logs
    kept = ran.airflow.api("GET", "/connections/pageconv_kept")
    assert (kept["host"], set(json.loads(kept["extra"]))) == (ran.box.url, set(extra))
