"""The trigger: a moment and nothing else, in whatever form Airflow keeps it, and never in the way of the others."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import logging
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.models.trigger import Trigger
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.serde import deserialize, serialize
from airflow.triggers.base import TriggerEvent

from airflow_provider_pageconv import triggers
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.triggers import PageConversationsRateLimitTrigger

PATH = "airflow_provider_pageconv.triggers.PageConversationsRateLimitTrigger"
MOMENT = datetime(2026, 11, 21, 10, 30, 15, 250_000, tzinfo=timezone.utc)


async def events(trigger: PageConversationsRateLimitTrigger) -> list[TriggerEvent]:
    """Run a trigger to its end."""
    return [event async for event in trigger.run()]


class TestSerialized:
    """What lies in the metadata database while a task waits."""

    def test_it_is_the_moment_and_nothing_else(self) -> None:
        """No connection, no token, no Page."""
        assert PageConversationsRateLimitTrigger(MOMENT).serialize() == (PATH, {"moment": MOMENT})

    def test_another_zone_is_the_same_moment(self) -> None:
        """It is kept in UTC, with its fractions of a second."""
        moment = MOMENT.astimezone(timezone(timedelta(hours=-5)))
        [kept] = PageConversationsRateLimitTrigger(moment).serialize()[1].values()
        assert kept == MOMENT
        assert kept.utcoffset() == timedelta(0)

    @pytest.mark.parametrize("moment", [MOMENT, pendulum.datetime(2026, 11, 21, tz="America/Lima")])
    def test_it_comes_back_from_a_deferral_as_it_was(self, moment: datetime) -> None:
        """The road of a deferred task: the worker's serialization, JSON, the database, the triggerer."""
        path, kwargs = PageConversationsRateLimitTrigger(moment).serialize()
        sent = json.loads(json.dumps(serialize(kwargs)))
        row = Trigger(classpath=path, kwargs=deserialize(sent))
        module, _, name = row.classpath.rpartition(".")
        restored = getattr(importlib.import_module(module), name)(**row.kwargs)
        assert type(restored) is PageConversationsRateLimitTrigger
        assert restored.moment == moment
        assert restored.serialize() == (PATH, {"moment": moment})

    @pytest.mark.parametrize("moment", ["2026-11-21T10:00:00Z", 1.0, None, datetime(2026, 11, 21)])  # noqa: DTZ001
    def test_what_is_no_moment_is_refused(self, moment: Any) -> None:
        """Nor one without a zone: nobody knows when that is."""
        with pytest.raises((TypeError, ValueError)):
            PageConversationsRateLimitTrigger(moment)

    def test_the_operator_defers_to_its_resume(self) -> None:
        """Without a time-out of its own, and with nothing to hand on: the checkpoint knows."""
        operator = PageConversationsToObjectStorageOperator(
            task_id="export", destination="file:///nowhere", on_rate_limit="defer"
        )
        with pytest.raises(TaskDeferred) as caught:
            operator._let_go(MOMENT, "a limit")
        deferral = caught.value
        assert (deferral.method_name, deferral.kwargs, deferral.timeout) == ("_resume", None, None)
        assert deferral.trigger.serialize() == (PATH, {"moment": MOMENT})


class FakeTime:
    """The clock and the sleep of the trigger; the clock may jump."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, jumps: dict[int, timedelta] | None = None) -> None:
        self.now = MOMENT - timedelta(hours=3)
        self.naps: list[float] = []
        self._jumps = jumps or {}

        async def sleep(seconds: float) -> None:
            self.naps.append(seconds)
            self.now += timedelta(seconds=seconds) + self._jumps.get(len(self.naps), timedelta(0))

        monkeypatch.setattr(triggers, "asyncio", SimpleNamespace(sleep=sleep))
        monkeypatch.setattr(triggers, "_now", lambda: self.now)


def test_it_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Until when it waits is in the task's log before it begins; Airflow's own trigger says every second that it sleeps."""
    moment = datetime.now(timezone.utc) + timedelta(seconds=0.05)
    with caplog.at_level(logging.INFO):
        asyncio.run(events(PageConversationsRateLimitTrigger(moment)))
    assert caplog.records == []


class TestClock:
    """It is read again and again."""

    def test_it_fires_at_the_moment_and_not_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second later at most."""
        clock = FakeTime(monkeypatch)
        [event] = asyncio.run(events(PageConversationsRateLimitTrigger(MOMENT)))
        assert event.payload == MOMENT
        assert MOMENT <= clock.now <= MOMENT + timedelta(seconds=1)

    def test_a_clock_that_is_put_back_makes_it_wait_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is no sum of naps."""
        clock = FakeTime(monkeypatch, {1: timedelta(hours=-2), 5: timedelta(minutes=-7)})
        asyncio.run(events(PageConversationsRateLimitTrigger(MOMENT)))
        assert MOMENT <= clock.now <= MOMENT + timedelta(seconds=1)
        assert sum(clock.naps) > 5 * 3600

    def test_a_moment_that_is_over_fires_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As after a triggerer that was down."""
        clock = FakeTime(monkeypatch)
        clock.now = MOMENT + timedelta(hours=1)
        assert len(asyncio.run(events(PageConversationsRateLimitTrigger(MOMENT)))) == 1
        assert clock.naps == []


def test_the_triggerer_s_loop_is_never_blocked(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred of them in one loop: in debug mode asyncio reports nothing slow, and another task keeps ticking.

    What blocks does so each time; that a busy machine stands still for so long is not to happen three times in a row.
    """

    async def triggerer() -> tuple[float, list[float]]:
        # A trigger that sleeps and does not await does so for a second at a time; a busy machine holds a loop up for less.
        asyncio.get_running_loop().slow_callback_duration = 0.8
        ticks: list[float] = []

        async def heartbeat() -> None:
            while True:
                ticks.append(time.monotonic())
                await asyncio.sleep(0.01)

        beating = asyncio.create_task(heartbeat())
        moment = datetime.now(timezone.utc) + timedelta(seconds=1.2)
        triggers = [PageConversationsRateLimitTrigger(moment) for _ in range(100)]
        fired = await asyncio.gather(*(events(trigger) for trigger in triggers))
        late = (datetime.now(timezone.utc) - moment).total_seconds()
        beating.cancel()
        assert [len(one) for one in fired] == [1] * 100
        return late, ticks

    for _ in range(3):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="asyncio"):
            late, ticks = asyncio.run(triggerer(), debug=True)
        assert late >= 0
        slow = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
        if not slow and max(after - before for before, after in itertools.pairwise(ticks)) < 0.8:
            break
    else:
        pytest.fail(f"the loop was held up: {slow}")


def test_the_check_of_the_loop_would_notice(caplog: pytest.LogCaptureFixture) -> None:
    """What a trigger that sleeps in the loop looks like there."""

    class Blocking(PageConversationsRateLimitTrigger):
        async def run(self) -> Any:
            time.sleep(1)
            yield TriggerEvent(None)

    async def triggerer() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.8
        await asyncio.create_task(events(Blocking(MOMENT)))

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        asyncio.run(triggerer(), debug=True)
    assert any("took" in record.getMessage() for record in caplog.records if record.name == "asyncio")
