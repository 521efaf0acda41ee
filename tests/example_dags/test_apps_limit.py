"""The limit that an app has for all its Pages, met by the exports of many at once, on a real scheduler with LocalExecutor.

PAGECONV_PAGES says how many Pages; 12 if it does not. The DAG's clock goes faster where it waits: see the DAG.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airflow_provider_pageconv.sandbox import Limits, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from tests.servers.deployment import Deployment
from tests.servers.destinations import Destination, local

PAGES = int(os.environ.get("PAGECONV_PAGES", "12"))
DAG = "pageconv_all_pages"
DAY = timedelta(days=1)
TOKEN, SECRET = "OF-THE-SYSTEM-USER", "sandbox-app-secret"
CALLS, WINDOW = 300, 20.0
STEPS, JITTER = (20.0, 40.0, 80.0, 120.0), 2.0
"""What the DAG's clock makes of 5, 10, 20 and 30 minutes, and of the half minute within which the tasks of one Page come back."""

ROUNDED = 2.0
"""Seconds that a wait may look shorter: its log cuts the end to whole ones, and is written a moment after the beginning."""

_WAITING = re.compile(r"^Waiting until .*: the app's limit is reached \(4\)\.$")


@dataclass(frozen=True)
class Wait:
    """An export's wait for the limit, as it was logged."""

    begin: datetime
    seconds: float


@dataclass
class Ran:
    """The Pages, where they were exported to, how the run ended, and the waits that there were."""

    box: Sandbox
    place: Destination
    midnight: datetime
    state: str
    logs: str
    waits: list[Wait]


def _waits(airflow: Deployment) -> list[Wait]:
    """What the exports logged as they were refused."""
    waits = []
    for log in airflow.task_logs.glob(f"dag_id={DAG}/run_id=*/task_id=export/**/*.log"):
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if _WAITING.search(entry["event"]):
                begin = _moment(entry["timestamp"])
                waits.append(Wait(begin, (_moment(entry["until"]) - begin).total_seconds()))
    return waits


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _sandbox(midnight: datetime) -> Sandbox:
    """Pages of about 65 calls each. No header tells of the app's limit: who runs into it learns of it by being refused."""
    box = Sandbox(
        seed=5, now=midnight, span=DAY, conversations=60, long_every=1, messages=60, details="all", pages=PAGES,
        app_secret=SECRET, app_limits=Limits(calls=CALLS, window=WINDOW, code=4), usage_headers=["business"],
    )  # fmt: skip
    box.clock = lambda: datetime.now(timezone.utc)
    box.add_token(TOKEN, None, type="SYSTEM_USER")
    return box


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The DAG unpaused; its connection has an app, so that each look at the token counts against the limit too."""
    home = tmp_path_factory.mktemp("apps-limit")
    place = local(home / "export")
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    with ExitStack() as stack:
        box = stack.enter_context(_sandbox(midnight))
        extra = {"calls_per_second": 20, "app_id": APP_ID, "app_secret": SECRET}
        environment = {
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(
                {"conn_type": "pageconv", "host": box.url, "password": TOKEN, "extra": extra}
            ),
            "AIRFLOW_VAR_PAGECONV_DESTINATION": place.url,
        }
        airflow = stack.enter_context(
            Deployment(home / "airflow", Path(__file__).parent / "dags", environment).running()
        )
        run_id = airflow.unpause(DAG)
        state = airflow.wait_for_end(DAG, run_id, timeout=300 + 20 * PAGES)
        yield Ran(box, place, midnight, state, airflow.logs(DAG), _waits(airflow))


def _yesterday(box: Sandbox, page_id: str, midnight: datetime) -> list[str]:
    """The ids of what the sandbox drew for yesterday: all threads, and those of their messages that were sent then."""
    threads = box.data(page_id)["threads"]
    first = (midnight - DAY).strftime("%Y-%m-%dT%H:%M:%S")
    sent = [message["id"] for thread in threads for message in thread["messages"] if message["created_time"] >= first]
    return [thread["node"]["id"] for thread in threads] + sent


def test_all_pages_end_complete(ran: Ran) -> None:
    """Every conversation and message of yesterday, each once, however often its export was sent to wait."""
    assert ran.state == "success", ran.logs
    found: dict[str, list[str]] = {page_id: [] for page_id in ran.box.pages}
    for stream in ("conversations", "messages"):
        for record in ran.place.records(stream):
            found[record["_page_id"]].append(record["id"])
    for page_id, ids in found.items():
        assert sorted(ids) == sorted(_yesterday(ran.box, page_id, ran.midnight))
        assert len(ids) > 60


def test_the_limit_is_met_several_times_and_few_calls_are_refused(ran: Ran) -> None:
    """Less than one in twenty, over all Pages, although no task knows what the others were told; of a dozen one in ten, for
    each that is at work when the limit is met has to learn of it, and they make few calls in between.
    """
    refused = [request.at for request in ran.box.requests if request.code == 4]
    met = [at for number, at in enumerate(refused) if number == 0 or at - refused[number - 1] > WINDOW / 2]
    assert len(met) >= 2, refused
    most = 0.05 if PAGES >= 50 else 0.1
    assert len(refused) < most * len(ran.box.requests), f"{len(refused)} of {len(ran.box.requests)}"


def test_tasks_come_back_from_the_limit_spread_over_a_quarter_of_the_wait(ran: Ran) -> None:
    """None before the wait is over, and not all within what half a minute is by this clock: 200 would use it up at once."""
    late = []
    for wait in ran.waits:
        step = max(step for step in STEPS if step <= wait.seconds + ROUNDED)
        assert wait.seconds <= step * 1.25
        late.append((step, wait.seconds - step))
    assert len(late) > 8
    assert max(seconds for step, seconds in late if step == STEPS[0]) > JITTER
