"""The pace of calls: evenly spaced, without a burst after a pause."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from airflow_provider_pageconv.graph.usage import SLOW_PERCENT, STOP_PERCENT, Usage, slow_factor

_DOCUMENTED_INTERVAL = 0.5
_MARGIN = 1.02
"""What a thread and a connection take to get going differs from call to call by some milliseconds. So that the server does not
see a call too many in a second all the same, the calls of a second are spread over 20 ms more."""

_INSTANT = 1e-6
_MOST_SLEEPS = 1000
"""So that a clock that stands still cannot hold a call for ever."""

_FAIR_TURNS = 12
"""Every so many calls the one goes first that has waited longest among those of the first class: a list whose answers come
fast would else keep all others from beginning."""

_GREATEST_PENALTY = 16.0
_FORGIVEN_AFTER = 20


class Pace:
    """Lets one call through per interval, over all threads that share it.

    https://developers.facebook.com/docs/graph-api/overview/rate-limiting names 2 calls a second for one Page.

    :param calls_per_second: 0 lets every call through while nothing asks to go slower.
    :param clock: a monotonic clock, in seconds.
    :param sleep: waits for some seconds, or less if it is interrupted.
    :param slow_percent: usage from which on calls become slower.
    :param stop_percent: usage at which they are slowest.
    """

    def __init__(
        self,
        calls_per_second: float,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        *,
        slow_percent: float = SLOW_PERCENT,
        stop_percent: float = STOP_PERCENT,
    ) -> None:
        self._interval = _MARGIN / calls_per_second if calls_per_second > 0 else 0.0
        self._clock = clock
        self._sleep = sleep
        self._percents = slow_percent, stop_percent
        self._last = float("-inf")
        self._line = threading.Condition()
        self._tickets: list[tuple[tuple[int, int], int]] = []
        self._numbers = itertools.count()
        self._passed = 0
        self._usage_factor = 1.0
        self._penalty = 1.0
        self._good = 0

    @property
    def interval(self) -> float:
        """Seconds between two calls now."""
        factor = max(self._usage_factor, self._penalty)
        return self._interval if factor == 1.0 else max(self._interval, _DOCUMENTED_INTERVAL) * factor

    def _first(self) -> tuple[tuple[int, int], int]:
        """Who goes next; it changes only where somebody comes or goes, which :meth:`wait` tells all others."""
        first = min(self._tickets)
        if self._passed % _FAIR_TURNS:
            return first
        return min((ticket for ticket in self._tickets if ticket[0][0] == first[0][0]), key=lambda ticket: ticket[1])

    def wait(self, rank: tuple[int, int] = (0, 0)) -> None:
        """Wait for one's turn. Only the first in line waits at the clock: no two wake together.

        :param rank: class, and place in it: the lowest goes first, whoever came first among equals; but now and then
            whoever has waited longest in its class.
        """
        ticket = (rank, next(self._numbers))
        with self._line:
            self._tickets.append(ticket)
        slept = 0
        try:
            while True:
                with self._line:
                    self._line.wait_for(lambda: self._first() == ticket)
                    early = self._last + self.interval - self._clock()
                    # Again and again, for others may go first, and the call before may leave late: see sent().
                    if early <= _INSTANT or slept == _MOST_SLEEPS:
                        # Counted from when the call is let through, so that a late one is not followed by a hurried one.
                        self._last = self._clock()
                        self._passed += 1
                        return
                slept += 1
                if self._sleep(early):  # interrupted: nobody is to call any more
                    return
        finally:
            with self._line:
                self._tickets.remove(ticket)
                self._line.notify_all()

    def sent(self) -> None:
        """Count the interval from now on: the call that was let through leaves only now. Callable from any thread."""
        self._last = max(self._last, self._clock())

    def heed(self, usage: Usage | None) -> None:
        """Take in what a good answer's headers say; forgives a refusal after some good answers."""
        self._usage_factor = slow_factor(usage.percent, *self._percents) if usage else 1.0
        self._good += 1
        if self._good >= _FORGIVEN_AFTER:
            self._good, self._penalty = 0, max(self._penalty / 2, 1.0)

    def slow_down(self) -> None:
        """Go half as fast, since the pace was refused."""
        self._good, self._penalty = 0, min(self._penalty * 2, _GREATEST_PENALTY)
