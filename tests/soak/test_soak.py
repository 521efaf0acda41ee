"""A Page that lives, exported every hour of its own for as long as is asked (`make soak`), through limits and faults.

`PAGECONV_SOAK_MINUTES` says how long (30). An hour of the Page is half a minute here.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airflow_provider_pageconv.sandbox import Fault, Limits, Sandbox
from tests.dump.exporting import assert_tidy
from tests.servers.deployment import Deployment
from tests.servers.destinations import Destination, local
from tests.soak.measuring import MIB, Measuring, thirds

MINUTES = float(os.environ.get("PAGECONV_SOAK_MINUTES", "30"))
SPEED = 120
CATCH_UP_SECONDS = 900
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

FAULTS = (
    Fault(code=2, p=0.03),
    Fault("reset", p=0.02),
    Fault("html", p=0.02),
    Fault("cut", p=0.02),
    Fault("slow", p=0.03, seconds=3),
    Fault("short", p=0.05, size=1),
    Fault("unavailable", p=0.005, lasts=1800),
    Fault(code=80006, p=0.01, regain=1),
)


@dataclass
class Soaked:
    """What is there when the Page has come to rest and all of it was exported."""

    airflow: Deployment
    box: Sandbox
    place: Destination
    measured: Measuring
    states: Counter[str]
    waited: Counter[str]
    scratch: Path


def living(box: Sandbox, stop: threading.Event) -> None:
    """Let people write to the Page, and the Page answer, about twice a second."""
    draw = random.Random(16)
    threads: list[str] = []
    while not stop.wait(draw.expovariate(2.0)):
        with box.lock:
            # Of a conversation with more than 20 messages in an hour the API would not give the times of the older ones.
            if len(threads) < 30 or draw.random() < 0.2:
                threads.append(box.page.new_thread(draw.choice(["inbox", "inbox", "other"]), messages=1).id)
            else:
                # The newest ones talk most, as people do.
                thread = threads[-1 - min(int(draw.expovariate(0.1)), len(threads) - 1)]
                box.page.add_message(thread, from_page=draw.random() < 0.4)


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soaked]:
    """The whole run; the limit is tight for a minute of every five."""
    home = tmp_path_factory.mktemp("soak")
    place, scratch = local(home / "export"), home / "scratch"
    scratch.mkdir()
    start = datetime.now(timezone.utc).replace(microsecond=0)
    rest = start + timedelta(minutes=MINUTES)
    # In the past all the time, or an export would wait for its window's end by the machine's own clock.
    page_start = start - (timedelta(minutes=MINUTES) + timedelta(seconds=CATCH_UP_SECONDS)) * SPEED
    limits = Limits(calls=10_000, window=60.0, code=80006)
    with ExitStack() as stack:
        box = stack.enter_context(Sandbox(seed=16, conversations=0, date="page", limits=limits, faults=FAULTS))
        box.clock = lambda: page_start + (datetime.now(timezone.utc) - start) * SPEED
        extra = {"page_id": box.page.id, "calls_per_second": 5, "timeout": 20}
        environment = {
            "TMPDIR": str(scratch),
            "PAGECONV_TEST_START": start.isoformat(),
            "PAGECONV_TEST_PAGE_START": page_start.isoformat(),
            "PAGECONV_TEST_END": (rest + timedelta(minutes=1)).isoformat(),
            "PAGECONV_TEST_SPEED": str(SPEED),
            "PAGECONV_TEST_DESTINATION": place.url,
            "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(
                {"conn_type": "pageconv", "host": box.url, "password": box.token, "extra": extra}
            ),
        }
        airflow = Deployment(home / "airflow", Path(__file__).parent / "dags", environment)
        stack.enter_context(airflow.running())
        stop = threading.Event()
        writing = threading.Thread(target=living, args=(box, stop), name="life", daemon=True)
        leaders = {name: airflow.processes.leader(name) for name in ("scheduler", "triggerer", "api-server")}
        with Measuring(leaders) as measured:
            writing.start()
            while (left := (rest - datetime.now(timezone.utc)).total_seconds()) > 0:
                with box.lock:
                    limits.calls = 6 if left % 300 < 60 else 10_000
                time.sleep(1)
        limits.calls = 10_000
        stop.set()
        writing.join()
        runs = catch_up(airflow, datetime.now(timezone.utc))
        yield Soaked(
            airflow,
            box,
            place,
            measured,
            Counter(run["state"] for run in runs),
            Counter(str(seen.state) for seen in airflow.states("hourly", "export")),
            scratch,
        )


def all_runs(airflow: Deployment) -> list[dict[str, str]]:
    """The runs of the DAG."""
    found: list[dict[str, str]] = []
    while more := airflow.api("GET", f"/dags/hourly/dagRuns?limit=100&offset={len(found)}")["dag_runs"]:
        found += more
    return found


def catch_up(airflow: Deployment, rest: datetime) -> list[dict[str, str]]:
    """Wait until all runs have ended, of which the last reach beyond the Page's rest; return them."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        runs = all_runs(airflow)
        ends = [datetime.fromisoformat(run["data_interval_end"].replace("Z", "+00:00")) for run in runs]
        if max(ends) > rest and all(run["state"] in ("success", "failed") for run in runs):
            return runs
        assert time.monotonic() < deadline, airflow.logs("hourly")[-5000:]
        time.sleep(5)


def test_every_message_is_exported_once(soaked: Soaked) -> None:
    """Whatever limits, faults and the Page's life did, each message lies in the window in which it was sent, once.

    A conversation of which the API says, again and again, that it is not there, is withheld: its record says so.
    """
    assert set(soaked.states) == {"success"}, soaked.states
    threads = soaked.box.data()["threads"]
    thread_of = {message["id"]: thread["node"]["id"] for thread in threads for message in thread["messages"]}
    exported = Counter(record["id"] for record in soaked.place.records("messages"))
    withheld = {record["id"] for record in soaked.place.records("conversations") if record["_unavailable"]}
    missing = thread_of.keys() - exported.keys()
    print(f"\n{len(thread_of)} messages, {len(missing)} of {len(withheld)} conversations withheld")  # noqa: T201
    assert len(thread_of) > MINUTES * 60
    assert exported == Counter(thread_of.keys() - missing)
    assert {thread_of[message] for message in missing} <= withheld


def test_limits_were_met_and_waited_for(soaked: Soaked) -> None:
    """Else the run would have shown little."""
    refused = sum(call.code == 80006 for call in soaked.box.requests)
    faults = sum(fault.fired for fault in soaked.box.faults)
    print(f"\n{len(soaked.box.requests)} calls, {refused} refused, {faults} faults; states {dict(soaked.waited)}")  # noqa: T201
    assert refused
    assert faults
    assert soaked.waited["deferred"]


@pytest.mark.parametrize("group", ["scheduler", "triggerer", "api-server", "tasks"])
def test_nothing_grows(soaked: Soaked, group: str) -> None:
    """Memory, files and threads of the last third of the time are those of the third before; of tasks, the most of each."""
    held = soaked.measured.held[group]
    usual = max if group == "tasks" else statistics.median  # a task begins and ends within a few looks
    memory, files, threads = (thirds(held, what, usual) for what in ("memory", "files", "threads"))
    print(  # noqa: T201
        f"\n{group}: {memory[0] / MIB:.0f} MiB, then {memory[1] / MIB:.0f}; "
        f"{files[0]:.0f} files, then {files[1]:.0f}; {threads[0]:.0f} threads, then {threads[1]:.0f}; "
        f"at most {max(one.memory for one in held) / MIB:.0f} MiB"
    )
    assert memory[1] < 1.1 * memory[0] + 8 * MIB
    assert files[1] <= files[0] + (16 if group == "tasks" else 4)  # a try that meets an error opens more
    assert threads[1] <= threads[0] + 2


def test_nothing_is_left_over(soaked: Soaked) -> None:
    """No staging in the destination, no scratch file of a task."""
    assert_tidy(soaked.place)
    assert not [path for path in soaked.scratch.rglob("*") if "pageconv" in path.name]


def test_the_windows_have_no_gap(soaked: Soaked) -> None:
    """They follow each other from the first hour to the last."""
    windows = sorted(
        (manifest["since"], manifest["until"])
        for manifest in soaked.place.manifests().values()
        if manifest["folder"] == "inbox"
    )
    assert len(windows) >= MINUTES * SPEED / 60 - 1
    assert all(before[1] == after[0] for before, after in itertools.pairwise(windows))
