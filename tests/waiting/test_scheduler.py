"""Each way of waiting, on a real scheduler with LocalExecutor and the triggerer, to a local folder or to S3."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_pageconv.sandbox import Fault, Limits, Sandbox
from tests.dump.exporting import assert_tidy
from tests.servers.deployment import Deployment, Seen
from tests.servers.destinations import S3_CONNECTION, Destination, local, on_s3
from tests.servers.seaweedfs import S3Server

WAYS = ("reschedule", "defer", "wait", "fail")
MODES = ("poke", "reschedule", "deferrable")
CALLS, WINDOW = 8, 50.0
LATENCY = 0.2
# Half of them are told in headers when to come back, the others have to find out.
TOLD = ("reschedule", "wait")
ON_S3 = ("reschedule", "defer")


@dataclass
class Run:
    """How one DAG's run went."""

    box: Sandbox
    run_id: str
    state: str
    task: list[Seen]

    def states(self) -> list[str | None]:
        return [seen.state for seen in self.task]

    def pauses(self) -> list[tuple[float, float]]:
        """Begin and end of the times without a call that are longer than any pace."""
        times = [request.at for request in self.box.requests]
        return [(before, after) for before, after in itertools.pairwise(times) if after - before > 20]


@dataclass
class Ran:
    """All runs, and the Airflow in which they were made."""

    airflow: Deployment
    places: dict[str, Destination]
    runs: dict[str, Run]


def _sandbox(name: str) -> Sandbox:
    if name.startswith("sense_"):
        refusal = Fault("error", code=80006, regain=1, at=1)
        return Sandbox(seed=7, conversations=4, faults=[refusal])
    told = name.removeprefix("export_") in TOLD
    limits = Limits(
        calls=CALLS,
        window=WINDOW,
        code=80006 if told else 4,
        regain=told,
        prolongs=False,
        headers=("business",) if told else (),
        refusal_headers=told,
    )
    limits.percent = 10  # says nothing of the limit before it is met
    return Sandbox(
        seed=7, conversations=240, messages=40, long_every=30, short_messages=2, limits=limits, latency=LATENCY
    )


@pytest.fixture(scope="module")
def ran(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """All ways and modes at the same time, each with a limit of its own; the sensors are refused at their first look."""
    home = tmp_path_factory.mktemp("deployment")
    places = {way: on_s3(seaweedfs, f"waiting/{way}") if way in ON_S3 else local(home / "export" / way) for way in WAYS}
    dags = Path(__file__).parent / "dags"
    names = [f"export_{way}" for way in WAYS] + [f"sense_{mode}" for mode in MODES]
    with ExitStack() as stack:
        boxes = {name: stack.enter_context(_sandbox(name)) for name in names}
        environment = {
            "PAGECONV_TEST_PLACES": json.dumps({way: place.url for way, place in places.items()}),
            f"AIRFLOW_CONN_{S3_CONNECTION.upper()}": seaweedfs.connection(),
        }
        for name, box in boxes.items():
            environment[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(
                {
                    "conn_type": "pageconv",
                    "host": box.url,
                    "password": box.token,
                    "extra": {"page_id": box.page.id, "calls_per_second": 4},
                }
            )
        airflow = stack.enter_context(Deployment(home / "airflow", dags, environment).running())
        started = {}
        for name in boxes:
            started[name] = airflow.trigger(name)
        ended = {name: airflow.wait_for_end(name, run_id, timeout=420) for name, run_id in started.items()}
        time.sleep(1)  # the database is looked at once more
        yield Ran(
            airflow,
            places,
            {
                name: Run(
                    boxes[name],
                    started[name],
                    ended[name],
                    airflow.states(name, "export" if name.startswith("export_") else "sense"),
                )
                for name in names
            },
        )


@pytest.mark.parametrize("way", WAYS)
def test_export_that_meets_a_limit_ends_complete(ran: Ran, way: str) -> None:
    """Whatever the way, each conversation and message is exported once, and nothing else is left."""
    run = ran.runs[f"export_{way}"]
    assert run.state == "success", ran.airflow.logs(f"export_{way}")
    data = run.box.data()["threads"]
    conversations = [record["id"] for record in ran.places[way].records("conversations")]
    messages = [record["id"] for record in ran.places[way].records("messages")]
    assert sorted(conversations) == sorted(thread["node"]["id"] for thread in data)
    assert sorted(messages) == sorted(message["id"] for thread in data for message in thread["messages"])
    assert_tidy(ran.places[way])


@pytest.mark.parametrize("way", WAYS)
def test_no_call_is_made_twice_and_none_while_waiting(ran: Ran, way: str) -> None:
    """Each page is fetched once, a refusal is followed by one wait of a minute or more, and refusals are few."""
    run = ran.runs[f"export_{way}"]
    good = [(request.path, tuple(sorted(request.params.items()))) for request in run.box.requests if not request.code]
    assert len(good) == len(set(good)) + 1, "only the head of the one folder that has several pages is read twice"
    refused = [request for request in run.box.requests if request.code]
    # A call that was under way when another one was refused is refused too; those that wait for their turn are not made.
    assert 1 <= len(run.pauses()) <= len(refused) <= 2 * len(run.pauses())
    assert all(end - begin >= 60 for begin, end in run.pauses())


@pytest.mark.parametrize("way", WAYS)
def test_after_a_wait_calls_come_one_by_one(ran: Ran, way: str) -> None:
    """No burst follows a wait: the first call has its answer before a second one comes, and the pace holds."""
    run = ran.runs[f"export_{way}"]
    times = [request.at for request in run.box.requests]
    assert run.pauses()
    for _, end in run.pauses():
        first, *later = [at for at in times if at >= end]
        assert not later or later[0] >= first + LATENCY
        assert sum(at < first + 0.9 for at in [first, *later]) <= 4


@pytest.mark.parametrize("way, waiting", [("reschedule", "up_for_reschedule"), ("defer", "deferred")])
def test_worker_is_free_while_the_export_waits(ran: Ran, way: str, waiting: str) -> None:
    """Between two calls that are a wait apart the task holds no worker, and the try stays the first."""
    run = ran.runs[f"export_{way}"]
    assert waiting in run.states()
    assert {seen.try_number for seen in run.task} <= {0, 1}
    rows = [row for row in ran.airflow.seen if row.dag_id == f"export_{way}"]
    for begin, end in run.pauses():
        # It takes a moment to make everything safe before it lets go, and one to start again.
        during = {row.state for row in rows if begin + 10 < row.at < begin + 55 < end}
        assert during == {waiting}


def test_wait_sleeps_in_the_worker(ran: Ran) -> None:
    """With `wait` the task runs from its beginning to its end."""
    run = ran.runs["export_wait"]
    states = [state for state in run.states() if state not in (None, "scheduled", "queued")]
    assert states == ["running", "success"]


def test_fail_uses_up_a_retry(ran: Ran) -> None:
    """With `fail` the limit ends the try; Airflow's retry goes on where it stopped."""
    run = ran.runs["export_fail"]
    assert "up_for_retry" in run.states()
    assert max(seen.try_number for seen in run.task) == 2


@pytest.mark.parametrize("way", WAYS)
def test_the_task_state_store_shows_the_wait_and_the_end(ran: Ran, way: str) -> None:
    """While it waits the store says until when and why, on the worker and off it; in the end it says what was exported."""
    shown = [value for dag_id, value in ran.airflow.shown if dag_id == f"export_{way}"]
    waits = [value for value in shown if value["state"] == "waiting"]
    if way == "fail":
        assert not waits
        assert [value for value in shown if value["state"] == "failed"], shown
    else:
        assert waits, shown
        assert all("limit is reached" in value["waiting"]["reason"] for value in waits if value["waiting"]), waits
        # Before its end, and not only when it is over.
        assert any(value["waiting"]["until"] > value["at"] for value in waits if value["waiting"])
    result = ran.airflow.xcom(f"export_{way}", ran.runs[f"export_{way}"].run_id, "export")
    assert shown[-1]["state"] == "exported"
    assert {name: shown[-1][name] for name in ("conversations", "messages", "api_calls", "page_id")} == {
        name: result[name] for name in ("conversations", "messages", "api_calls", "page_id")
    }
    path = f"/dags/export_{way}/dagRuns/{ran.runs[f'export_{way}'].run_id}/taskInstances/export/state-store"
    assert ran.airflow.api("GET", path)["total_entries"] == 1


@pytest.mark.parametrize("way", WAYS)
def test_waiting_is_told_in_the_result(ran: Ran, way: str) -> None:
    """The result counts the calls of all tries, and what was waited."""
    run = ran.runs[f"export_{way}"]
    result = ran.airflow.xcom(f"export_{way}", run.run_id, "export")
    assert result["api_calls"] == len(run.box.requests)
    assert (result["waited_seconds"] >= 60) == (way != "fail")


@pytest.mark.parametrize("mode", MODES)
def test_sensor_wakes_when_meta_said_and_not_before(ran: Ran, mode: str) -> None:
    """It looks once, is told a minute, and looks again after that minute, though its own interval is 5 s."""
    run = ran.runs[f"sense_{mode}"]
    assert run.state == "success", ran.airflow.logs(f"sense_{mode}")
    refused = [request.at for request in run.box.requests if request.code]
    [good] = [request.at for request in run.box.requests if not request.code]
    assert refused
    assert all(later - earlier >= 60 for earlier, later in zip(refused, [*refused[1:], good], strict=True))
    # 30 s, and what a busy machine takes to start a task.
    assert good - refused[-1] < 60 + 30 + 45
    value = ran.airflow.xcom(f"sense_{mode}", run.run_id, "sense")
    assert set(value) == {"usage_percent", "checked_at"}


@pytest.mark.parametrize("mode, waiting", [("reschedule", "up_for_reschedule"), ("deferrable", "deferred")])
def test_sensor_frees_its_worker(ran: Ran, mode: str, waiting: str) -> None:
    """In `reschedule` mode and when deferrable the sensor holds no worker while it waits."""
    assert waiting in ran.runs[f"sense_{mode}"].states()
