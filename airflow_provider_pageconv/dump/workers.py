"""The threads that know nothing: they make calls and write to the store, and put what comes of it into one queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from airflow_provider_pageconv.dump.engine import Event, Lane
from airflow_provider_pageconv.graph.protocol import Request, Response

Exchange = Callable[[Request, threading.Event], Response]


class Workers:
    """Hands of the engine; as many worker threads as calls are under way at once, and one for each lane.

    :param exchange: makes one call; it looks at the event to see whether anybody still waits.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[tuple[int, Request, bool] | None] = queue.SimpleQueue()
        self._under_way: dict[int, threading.Event] = {}
        self._callers = 0
        self._lanes: dict[Lane, queue.SimpleQueue[tuple[int, Callable[[], Any]] | None]] = {}

    # ---- what the engine wants

    def call(self, number: int, request: Request, *, tells: bool) -> None:
        """Make a call; a worker thread that is left behind with one is replaced."""
        self._under_way[number] = threading.Event()
        if self._callers < len(self._under_way):
            self._callers += 1
            self._thread(self._make_calls, "graph-call")
        self._requests.put((number, request, tells))

    def abandon(self, number: int) -> None:
        """Wait no longer for a call: its thread ends when it comes back."""
        self._under_way.pop(number).set()
        self._callers -= 1

    def run(self, number: int, lane: Lane, work: Callable[[], Any]) -> None:
        """Run a function behind the others of its lane."""
        if lane not in self._lanes:
            self._lanes[lane] = queue.SimpleQueue()
            self._thread(lambda: self._run_works(self._lanes[lane]), f"export-{lane.value}")
        self._lanes[lane].put((number, work))

    def fetch(self, number: int, work: Callable[[], Any]) -> None:
        """Run a function at once, in a thread of its own; one that nobody waits for any more ends when it comes back."""
        self._thread(lambda: self._run_work(number, work), "export-file")

    def next(self, timeout: float) -> Event | None:
        """The next event of a call that is not abandoned, or of a function."""
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if event is not None and event.sent is None:
            self._under_way.pop(event.number, None)
        return event

    def clock(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """A monotonic clock, in seconds."""
        return time.monotonic()

    # ---- what others want

    def wake(self) -> None:
        """Let :meth:`next` return. Callable from a signal handler: putting into this kind of queue is reentrant."""
        self._events.put(None)

    def close(self) -> None:
        """Let all worker threads end after what they are at."""
        for abandoned in self._under_way.values():
            abandoned.set()
        for _ in range(self._callers):
            self._requests.put(None)
        for lane in self._lanes.values():
            lane.put(None)

    # ---- in the worker threads

    def _thread(self, target: Callable[[], None], name: str) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def _make_calls(self) -> None:
        while (taken := self._requests.get()) is not None:
            number, request, tells = taken
            abandoned = self._under_way.get(number)
            if abandoned is None:
                continue
            if tells:
                self._events.put(Event(number, sent=time.monotonic()))
            result: Response | BaseException
            try:
                result = self._exchange(request, abandoned)
            except BaseException as error:  # noqa: BLE001 - it is the owner's to judge
                result = error
            if abandoned.is_set():
                return
            self._events.put(Event(number, result))

    def _run_works(self, works: queue.SimpleQueue[tuple[int, Callable[[], Any]] | None]) -> None:
        while (taken := works.get()) is not None:
            self._run_work(*taken)

    def _run_work(self, number: int, work: Callable[[], Any]) -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is the owner's to judge
            result = error
        self._events.put(Event(number, result))
