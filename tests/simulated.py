"""Hands for the engine that ships, without threads, sockets or sleep: time passes only when nothing else can happen.

The order in which calls and the store's work come back is drawn from a seed; answers may be late, or never come.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from airflow_provider_pageconv.dump.engine import Event, Lane
from airflow_provider_pageconv.graph.errors import GraphError
from airflow_provider_pageconv.graph.protocol import Request, Response

START = datetime(2026, 11, 21, 10, 0, 0, tzinfo=timezone.utc)


class SimulatedTime:
    """The time of day and a monotonic clock, which go on together."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now
        self.passed = 0.0

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.passed += seconds

    def clock(self) -> datetime:
        """The worker's clock."""
        return self.now


class Time(Protocol):
    """A time that passes when it is told to."""

    @property
    def passed(self) -> float: ...

    def pass_(self, seconds: float) -> None: ...

    def clock(self) -> datetime: ...


Exchange = Callable[[Request], Response]


class SimulatedHands:
    """Does what the engine wants done when the engine waits for it.

    :param exchange: answers a request, or raises what the client raises.
    :param time: passes by the engine's sleep where nothing is under way.
    :param seed: permutes what comes back; ``None``: everything comes back in the order in which it was handed over.
    :param seconds: how long a call takes.
    :param loses: the chance that an answer never comes.
    :param asleep: told of every sleep, with its length, before the time passes.
    """

    def __init__(
        self,
        exchange: Exchange,
        time: Time,
        *,
        seed: int | None = None,
        seconds: float = 0.0,
        loses: float = 0.0,
        asleep: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._exchange = exchange
        self._time = time
        self._random = random.Random(seed) if seed is not None else None
        self._seconds = seconds
        self._loses = loses
        self.asleep = asleep
        self._sent: deque[Event] = deque()
        self._calls: dict[int, Callable[[], Any]] = {}
        self._files: dict[int, Callable[[], Any]] = {}
        self._lost: set[int] = set()
        self._lanes: dict[Lane, deque[tuple[int, Callable[[], Any]]]] = {lane: deque() for lane in Lane}
        self.most_at_once = 0
        self.most_files_at_once = 0
        self.naps: list[float] = []

    def call(self, number: int, request: Request, *, tells: bool) -> None:
        """The server sees the call at once, or only just before its answer comes back."""
        if tells:
            self._sent.append(Event(number, sent=self.monotonic()))

        def answer() -> Any:
            try:
                return self._exchange(request)
            except GraphError as error:
                return error

        if self._random is not None and self._random.random() < 0.5:
            came = answer()
            self._calls[number] = lambda: came
        else:
            self._calls[number] = answer
        if self._random is not None and self._random.random() < self._loses:
            self._lost.add(number)
        self.most_at_once = max(self.most_at_once, len(self._calls))

    def abandon(self, number: int) -> None:
        self._calls.pop(number, None)
        self._lost.discard(number)

    def run(self, number: int, lane: Lane, work: Callable[[], Any]) -> None:
        self._lanes[lane].append((number, work))

    def fetch(self, number: int, work: Callable[[], Any]) -> None:
        """A file comes at once, or only when it is waited for; now and then never."""

        def come() -> Any:
            try:
                return work()
            except Exception as error:  # noqa: BLE001 - as the worker threads do
                return error

        if self._random is not None and self._random.random() < self._loses:
            self._files[number] = come
            self._lost.add(number)  # and nothing of it ever arrives on the worker's disk
        elif self._random is not None and self._random.random() < 0.5:
            came = come()
            self._files[number] = lambda: came
        else:
            self._files[number] = come
        self.most_files_at_once = max(self.most_files_at_once, len(self._files))

    def next(self, timeout: float) -> Event | None:
        if self._sent:
            return self._sent.popleft()
        lanes = [lane for lane in Lane if self._lanes[lane]]
        calls = [number for number in self._calls if number not in self._lost]
        files = [number for number in self._files if number not in self._lost]
        choices: list[Any] = [*lanes, *calls, *files]
        if not choices:
            self._sleep(timeout)
            return None
        if self._random is None:
            chosen = choices[0]
        else:
            if self._random.random() < 0.2 and timeout > 0:  # nothing comes for a while
                self._time.pass_(min(timeout, self._random.choice([0.01, 1.0, 20.0])))
                return None
            chosen = self._random.choice(choices)
        if isinstance(chosen, Lane):
            number, work = self._lanes[chosen].popleft()
            try:
                return Event(number, work())
            except Exception as error:  # noqa: BLE001 - as the worker threads do
                return Event(number, error)
        if chosen in self._files:
            return Event(chosen, self._files.pop(chosen)())
        self._time.pass_(self._seconds)
        return Event(chosen, self._calls.pop(chosen)())

    def _sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.asleep(seconds)
        self._time.pass_(seconds)

    def clock(self) -> datetime:
        return self._time.clock()

    def monotonic(self) -> float:
        return self._time.passed
