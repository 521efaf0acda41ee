"""The operator's four ways to wait: for a limit, for the window to settle, and because it has run for long."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    TaskDeferred,
)

from airflow_provider_pageconv import operators
from airflow_provider_pageconv.dump import engine, store, workers
from airflow_provider_pageconv.graph import limits
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.triggers import PageConversationsRateLimitTrigger
from tests.dump.exporting import least_calls
from tests.waiting.fakes import SlowStore

WAYS = ("reschedule", "defer", "wait", "fail")
LETS_GO: dict[str, type[BaseException]] = {
    "reschedule": AirflowRescheduleException,
    "defer": TaskDeferred,
    "fail": AirflowRescheduleException,
}
MINUTE = timedelta(minutes=1)


def now() -> datetime:
    return datetime.now(timezone.utc)


def moment_of(pause: BaseException) -> datetime:
    """Until when a task let go of its worker."""
    if isinstance(pause, AirflowRescheduleException):
        return pause.reschedule_date
    assert isinstance(pause, TaskDeferred)
    assert isinstance(pause.trigger, PageConversationsRateLimitTrigger)
    assert pause.method_name == "_resume"
    return pause.trigger.moment


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A Page with two pages of results in its inbox."""
    with Sandbox(seed=9, conversations=150, long_every=0, short_messages=1) as running:
        yield running


def pass_by(monkeypatch: pytest.MonkeyPatch, box: Sandbox, span: timedelta) -> None:
    """Let time pass, for the export and for the API."""
    monkeypatch.setattr(workers.Workers, "clock", lambda _: now() + span)
    box.clock = lambda: now() + span


class Task:
    """A task of the sandbox's Page, which can be run several times as Airflow would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, root: Path, way: str, **options: Any) -> None:
        connection = {
            "conn_type": "pageconv",
            "host": box.url,
            "password": box.token,
            "extra": {"page_id": box.page.id, "calls_per_second": 0},
        }
        monkeypatch.setenv("AIRFLOW_CONN_PAGECONV_DEFAULT", json.dumps(connection))
        self.options = {"task_id": "export", "destination": root.as_uri(), "on_rate_limit": way, **options}
        self.clear_number = 0

    def context(self) -> Any:
        ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="export", map_index=-1)
        return {"ti": ti, "dag_run": SimpleNamespace(clear_number=self.clear_number, run_after=now())}

    def operator(self) -> PageConversationsToObjectStorageOperator:
        return PageConversationsToObjectStorageOperator(**self.options)

    def run(self, *, resumed: bool = False) -> Any:
        """One stretch of work, in a process of its own as it were."""
        operator = self.operator()
        if resumed:
            return operator.resume_execution("_resume", {"event": now()}, self.context())
        return operator.execute(self.context())


class Working:
    """A stretch of work that sleeps."""

    def __init__(self, task: Task) -> None:
        self.operator = task.operator()
        self.error: BaseException | None = None
        self.result: Any = None
        self._worker = threading.Thread(target=self._run, args=(task.context(),), daemon=True)
        self._worker.start()

    def _run(self, context: Any) -> None:
        try:
            self.result = self.operator.execute(context)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def kill(self) -> float:
        """Kill it as Airflow does, and return after how many seconds it ended."""
        assert self._worker.is_alive()
        began = time.monotonic()
        self.operator.on_kill()
        assert self.ends_within(10)
        return time.monotonic() - began

    def ends_within(self, seconds: float) -> bool:
        self._worker.join(seconds)
        return not self._worker.is_alive()


def until(box: Sandbox, calls: int) -> None:
    """Wait for calls."""
    deadline = time.monotonic() + 20
    while len(box.requests) < calls:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def inbox(box: Sandbox) -> int:
    """How many conversations the sandbox drew for it."""
    return sum(thread["folder"] == "inbox" for thread in box.data()["threads"])


class TestLimit:
    """A limit that names 10 minutes, met at the second call."""

    @pytest.fixture
    def limited(self, box: Sandbox) -> Sandbox:
        box.faults.add(Fault("error", code=80006, regain=10, at=2))
        return box

    @pytest.mark.parametrize("way", ["reschedule", "defer"])
    def test_it_lets_go_and_goes_on(
        self, monkeypatch: pytest.MonkeyPatch, limited: Sandbox, tmp_path: Path, way: str
    ) -> None:
        """Until the server's moment and up to 30 s more; woken sooner it lets go again until then, without a call."""
        task = Task(monkeypatch, limited, tmp_path, way, folders=["inbox"])
        with pytest.raises(LETS_GO[way]) as caught:
            task.run()
        moment = moment_of(caught.value)
        assert 10 * MINUTE - timedelta(seconds=5) < moment - now() <= 10 * MINUTE + timedelta(seconds=30)
        calls = len(limited.requests)
        assert calls == 2
        with pytest.raises(LETS_GO[way]) as caught:
            task.run(resumed=way == "defer")
        assert moment_of(caught.value) == moment
        assert len(limited.requests) == calls

        pass_by(monkeypatch, limited, 11 * MINUTE)
        result = task.run(resumed=way == "defer")
        good = [request.target for request in limited.requests if request.code is None]
        assert len(good) == len(set(good)) + 1, "only the head of the list is read twice"
        assert result["conversations"] == inbox(limited)
        assert result["api_calls"] == len(limited.requests)
        assert 590 < result["waited_seconds"] <= 630

    def test_what_the_folders_waited_together_counts_once(
        self, monkeypatch: pytest.MonkeyPatch, limited: Sandbox, tmp_path: Path
    ) -> None:
        """For the task; the manifest of each folder that was not finished before has it too."""
        task = Task(monkeypatch, limited, tmp_path, "reschedule", page_size=10)
        with pytest.raises(LETS_GO["reschedule"]):
            task.run()
        pass_by(monkeypatch, limited, 11 * MINUTE)
        result = task.run()
        waited = {folder: numbers["waited_seconds"] for folder, numbers in result["folders"].items()}
        assert sum(590 < seconds <= 630 for seconds in waited.values()) > 1
        assert result["waited_seconds"] == max(waited.values())

    def test_wait_sleeps_and_a_kill_ends_it_at_once(
        self, monkeypatch: pytest.MonkeyPatch, limited: Sandbox, tmp_path: Path
    ) -> None:
        """No call, nothing published; the next try of the run waits for the rest of it."""
        task = Task(monkeypatch, limited, tmp_path, "wait", folders=["inbox"])
        working = Working(task)
        until(limited, 2)
        time.sleep(0.3)
        assert working.kill() < 3
        assert type(working.error) is AirflowException
        assert "what was fetched is safe" in str(working.error)
        assert not (tmp_path / "_manifests").exists()
        again = Working(task)
        time.sleep(0.5)
        assert again.kill() < 3
        assert len(limited.requests) == 2

    def test_a_short_wait_is_slept_and_a_kill_ends_it_at_once(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path
    ) -> None:
        """Whatever the way."""
        box.faults.add(Fault("error", code=4, retry_after=25, at=2))
        monkeypatch.setattr(limits, "_JITTER", 0.0)
        monkeypatch.setattr(limits, "_APP_SPREAD", 0.0)
        working = Working(Task(monkeypatch, box, tmp_path, "reschedule", folders=["inbox"]))
        until(box, 2)
        time.sleep(0.3)
        assert working.kill() < 3
        assert type(working.error) is AirflowException

    def test_fail_ends_the_try_with_the_limit_s_sentence(
        self, monkeypatch: pytest.MonkeyPatch, limited: Sandbox, tmp_path: Path
    ) -> None:
        """And no `AirflowFailException`: Airflow's retries go on where it stopped."""
        task = Task(monkeypatch, limited, tmp_path, "fail", folders=["inbox"])
        with pytest.raises(AirflowException, match=r"^inbox: Graph API error 80006: ") as caught:
            task.run()
        assert not isinstance(caught.value, AirflowFailException)
        result = task.run()
        assert result["conversations"] == inbox(limited)
        assert result["waited_seconds"] == 0
        good = [request.target for request in limited.requests if request.code is None]
        assert len(good) == len(set(good)) + 1

    @pytest.mark.parametrize("way", ["reschedule", "defer", "wait"])
    def test_waiting_too_long_ends_the_run(
        self, monkeypatch: pytest.MonkeyPatch, limited: Sandbox, tmp_path: Path, way: str
    ) -> None:
        """Without further tries, in one sentence; what was fetched stays for a Clear, which counts afresh."""
        task = Task(monkeypatch, limited, tmp_path, way, folders=["inbox"], rate_limit_timeout=5 * MINUTE)
        with pytest.raises(AirflowFailException) as caught:
            task.run()
        assert str(caught.value).startswith(
            "inbox: Waited 0:00:00 for the limit without a single new page, and rate_limit_timeout is 0:05:00. Meta last said, and "
            "names another 0:10:00: Graph API error 80006: there have been too many Messenger API calls to this Page account."
        )
        task.clear_number = 1
        result = task.run()
        assert (result["conversations"], result["api_calls"]) == (inbox(limited), 4)

    @pytest.mark.parametrize("way", WAYS)
    def test_all_folders_are_safe(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path, way: str
    ) -> None:
        """One of four meets the limit. Nothing that any of them got is fetched twice."""
        box.faults.add(Fault("error", code=80006, regain=10, at=4))
        box.latency = 0.2
        task = Task(monkeypatch, box, tmp_path, way)
        if way == "wait":
            working = Working(task)
            until(box, 4)
            time.sleep(1)
            working.kill()
            task.options["on_rate_limit"] = "reschedule"
        else:
            with pytest.raises((AirflowRescheduleException, TaskDeferred, AirflowException)):
                task.run()
        pass_by(monkeypatch, box, 11 * MINUTE)
        result = task.run()
        good = [request.target for request in box.requests if request.code is None]
        assert len(good) == len(set(good)) + 1
        assert result["conversations"] == 150


class TestKill:
    """Airflow kills a task: SIGTERM, `on_kill`, and SIGKILL some five seconds later."""

    def test_on_kill_returns_at_once_and_all_is_safe_within_five_seconds(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path
    ) -> None:
        """While a call hangs, and the store is slow."""
        hanging = box.faults.add(Fault("silence", seconds=60, at=4, every=1))
        with monkeypatch.context() as slow:
            slow.setattr(store, "LocalStore", SlowStore)
            task = Task(monkeypatch, box, tmp_path, "wait", folders=["inbox"], page_size=10)
            working = Working(task)
            until(box, 4)
            time.sleep(0.3)
            began = time.monotonic()
            working.operator.on_kill()
            assert time.monotonic() - began < 0.2
            assert working.ends_within(5 - (time.monotonic() - began))
        assert type(working.error) is AirflowException
        assert not (tmp_path / "_manifests").exists()
        box.faults.remove(hanging)
        box.forget()
        assert task.run()["conversations"] == inbox(box)
        assert len(box.requests) == least_calls(box.data(), "inbox", 10) - 3, "what came before the kill is asked again"


class TestSettle:
    """The walk begins at `until + settle`, not before."""

    @pytest.mark.parametrize("way", ["reschedule", "defer", "fail"])
    def test_it_lets_go_until_then(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path, way: str
    ) -> None:
        """`fail` is about limits: it reschedules here."""
        end = now().replace(microsecond=0) - MINUTE
        task = Task(monkeypatch, box, tmp_path, way, until=end, settle=10 * MINUTE)
        for resumed in (False, way == "defer"):
            with pytest.raises(LETS_GO[way]) as caught:
                task.run(resumed=resumed)
            assert moment_of(caught.value) == end + 10 * MINUTE
        assert box.requests == []
        assert list(tmp_path.iterdir()) == []

    def test_wait_sleeps_and_a_kill_ends_it_at_once(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path
    ) -> None:
        """No call was made."""
        working = Working(Task(monkeypatch, box, tmp_path, "wait", until=now() - MINUTE, settle=10 * MINUTE))
        time.sleep(1)
        assert working.kill() < 3
        assert isinstance(working.error, AirflowException)
        assert box.requests == []

    def test_a_task_that_holds_its_worker_says_again_what_it_waits_for(
        self,
        monkeypatch: pytest.MonkeyPatch,
        box: Sandbox,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Every ten minutes in earnest: `until` may lie a month ahead, and a silent log looks like a task that hangs."""
        assert operators._SILENT_SECONDS == 600.0
        monkeypatch.setattr(operators, "_SILENT_SECONDS", 1.0)
        end = now().replace(microsecond=0) + 30 * 24 * 60 * MINUTE
        with caplog.at_level(logging.INFO):
            working = Working(Task(monkeypatch, box, tmp_path, "wait", until=end))
            time.sleep(4.5)
            assert working.kill() < 3
        said = [record.getMessage() for record in caplog.records if "aiting until" in record.getMessage()]
        assert said[0].startswith(f"Waiting until {end + 5 * MINUTE:%Y-%m-%d %H:%M:%S} UTC (720 h")
        assert len(said[1:]) >= 2
        assert all(
            line.startswith("Still waiting until ") and line.endswith(": the window settles.") for line in said[1:]
        )

    @pytest.mark.parametrize("way", WAYS)
    def test_a_minute_or_less_is_slept(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path, way: str
    ) -> None:
        """In each way; the first call comes after that."""
        end = now().replace(microsecond=0) - MINUTE
        settled = now() + timedelta(seconds=0.7)
        task = Task(monkeypatch, box, tmp_path, way, until=end, settle=settled - end)
        task.run()
        assert box.requests[0].at >= settled.timestamp()

    def test_a_window_that_is_long_over_is_not_waited_for(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path
    ) -> None:
        """Nor one without an end."""
        monkeypatch.setattr(threading.Event, "wait", _no_long_sleep(threading.Event.wait))
        Task(monkeypatch, box, tmp_path / "a", "wait", until=now() - 20 * MINUTE, settle=10 * MINUTE).run()
        Task(monkeypatch, box, tmp_path / "b", "wait").run()


def _no_long_sleep(wait: Any) -> Any:
    def checked(self: threading.Event, timeout: float | None = None) -> bool:
        assert timeout is None or timeout < 5
        return bool(wait(self, timeout))

    return checked


class TestReleaseSlotAfter:
    """A long export lets go of its worker, and comes back soon."""

    @pytest.mark.parametrize("way", ["reschedule", "defer", "fail"])
    def test_it_lets_go_and_goes_on(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path, way: str
    ) -> None:
        """Nothing is fetched twice, and no wait is counted."""
        box.latency = 0.1
        # However fast the machine is, one folder's 12 calls follow each other.
        task = Task(monkeypatch, box, tmp_path, way, release_slot_after=timedelta(seconds=0.25), page_size=10)
        pauses = []
        for stretch in range(30):
            try:
                result = task.run(resumed=way == "defer" and stretch > 0)
                break
            except LETS_GO[way] as pause:
                pauses.append(abs(moment_of(pause) - now()))
        assert pauses
        assert timedelta(seconds=15) < min(pauses) <= max(pauses) < timedelta(seconds=25)
        assert result["conversations"] == 150
        assert result["waited_seconds"] == 0
        assert result["api_calls"] == len(box.requests)
        targets = [request.target for request in box.requests]
        # Two readings of the lists that have several pages, each until 25 rows are passed.
        assert len(targets) == len(set(targets)) + 2 * (3 + 2 + 3)

    @pytest.mark.parametrize("way, after", [("wait", timedelta(microseconds=1)), ("reschedule", None)])
    def test_it_stays(
        self, monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path, way: str, after: timedelta | None
    ) -> None:
        """`wait` never lets go, and `None` is never."""
        assert Task(monkeypatch, box, tmp_path, way, release_slot_after=after).run()["conversations"] == 150


def test_the_deployment_s_percentages_reach_the_client(
    monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path
) -> None:
    """`[pageconv] usage_slow_percent` and `usage_stop_percent`, here as environment variables."""
    Task(monkeypatch, box, tmp_path, "wait")
    by_default = PageConversationsHook().get_conn()
    assert by_default.stop_percent == 95
    monkeypatch.setenv("AIRFLOW__PAGECONV__USAGE_SLOW_PERCENT", "30")
    monkeypatch.setenv("AIRFLOW__PAGECONV__USAGE_STOP_PERCENT", "55.5")
    client = PageConversationsHook().get_conn()
    assert client.stop_percent == 55.5
    box.limits.percent = 40
    assert list(PageConversationsHook().conversations())
    hook = PageConversationsHook()
    next(hook.conversations(page_size=1))
    assert hook.usage is not None
    assert hook.usage.percent == 40
    assert hook.get_conn().pace.interval > 1
    assert by_default.pace.interval == 0


def test_the_deployment_s_stop_is_heeded_by_an_export(
    monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path
) -> None:
    """One page of each list, whose headers say more than that, and it waits; nothing was refused."""
    monkeypatch.setenv("AIRFLOW__PAGECONV__USAGE_STOP_PERCENT", "50")
    box.limits.percent = 60
    monkeypatch.setattr(limits, "_JITTER", 0.0)
    monkeypatch.setattr(limits, "_APP_SPREAD", 0.0)
    monkeypatch.setattr(engine, "IN_PLACE", timedelta(0))
    with pytest.raises(AirflowRescheduleException) as caught:
        Task(monkeypatch, box, tmp_path, "reschedule").run()
    assert MINUTE - timedelta(seconds=5) < moment_of(caught.value) - now() <= MINUTE
    assert [request.code for request in box.requests] == [None] * 4
