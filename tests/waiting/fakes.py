"""A time that passes only when somebody sleeps, and a client that answers by a script."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_pageconv.dump.checkpoint import Progress, Waiting
from airflow_provider_pageconv.dump.patience import Patience, Policy
from airflow_provider_pageconv.graph.errors import CallsStopped, GraphError
from airflow_provider_pageconv.graph.protocol import Answer, Request
from airflow_provider_pageconv.graph.usage import STOP_PERCENT, Usage

START = datetime(2026, 11, 21, 10, 0, 0, tzinfo=timezone.utc)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ASKED = Request("100/conversations", {"platform": "messenger"})


class FakeTime:
    """The time of day and a monotonic clock, which go on together, and only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = START
        self.naps: list[float] = []

    def clock(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return (self.now - START).total_seconds()

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += timedelta(seconds=seconds)


class FakeStop(threading.Event):
    """The event that ends a sleep; waiting for it lets the time pass."""

    def __init__(self, time: FakeTime, asleep: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._time = time
        self.asleep = asleep

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if not self.is_set():
            self.asleep()
        if not self.is_set():
            self._time.sleep(timeout)
        return self.is_set()


class FakePace:
    """Counts how often it is told to go slower."""

    def __init__(self) -> None:
        self.slowed = 0

    def slow_down(self) -> None:
        self.slowed += 1


def page(percent: float | None = None, regain: timedelta | None = None) -> Answer:
    """A good answer, with what its headers say of usage."""
    usage = None if percent is None else Usage(percent=percent, regain=regain, by_type={"messenger": percent})
    return Answer({"data": []}, usage, "v26.0")


class FakeClient:
    """Answers with what the script says, one after the other, and with good pages from then on.

    :param script: answers, and errors to raise.
    """

    def __init__(self, time: FakeTime, script: Iterable[Answer | GraphError] = ()) -> None:
        self.time = time
        self.stop = FakeStop(time)
        self.stop_percent = STOP_PERCENT
        self.pace = FakePace()
        self.script = list(script)
        self.calls: list[datetime] = []
        self.abandoned = False
        self.under_way: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def abandon(self, grace: float) -> None:
        self.abandoned = True
        self.stop.set()

    def get(self, request: Request, on_call: Callable[[], object] | None = None) -> Answer:
        if self.stop.is_set():
            raise CallsStopped
        with self._lock:
            if on_call:
                on_call()
            self.calls.append(self.time.now)
            said = self.script.pop(0) if self.script else page()
        self.under_way()
        if isinstance(said, GraphError):
            raise said
        return said


class FakeTry:
    """One try of a task with one folder, as far as waiting goes.

    :param progress: what the checkpoint of an earlier try says.
    """

    def __init__(
        self,
        time: FakeTime,
        script: Iterable[Answer | GraphError] = (),
        *,
        progress: Progress | None = None,
        policy: Policy | None = None,
        clear_number: int = 0,
        jitter: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.time = time
        self.client = FakeClient(time, script)
        self.progress = progress or Progress(export_id="e", began=START.isoformat())
        self.saved: list[Progress] = []
        self.patience = Patience(
            self.client,  # type: ignore[arg-type]
            policy or Policy(),
            clear_number=clear_number,
            clock=time.clock,
            jitter=jitter,
        )

    def begin(self) -> FakeTry:
        """Take up what is known from an earlier try."""
        self.patience.take_up([self.progress])
        return self

    def save(self, *, even_if_unchanged: bool = False) -> None:
        self.saved.append(copy.deepcopy(self.progress))

    def call(self) -> Answer:
        """Make one call of the folder."""
        return self.patience.get(ASKED, self._count, self.save)

    def _count(self) -> None:
        self.progress.api_calls += 1

    def next(self, script: Iterable[Answer | GraphError] = (), **options: Any) -> FakeTry:
        """The try after this one: what it knows went through the last checkpoint, and nothing else."""
        document = json.loads(json.dumps(asdict(self.saved[-1])))
        return FakeTry(self.time, script, progress=Progress.read(document), **options)

    @property
    def waiting(self) -> Waiting:
        """What the last checkpoint says of waiting."""
        return self.saved[-1].waiting
