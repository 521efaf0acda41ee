"""The pace of calls: evenly spaced, without a burst after a pause. Pure: it says when, and nobody sleeps in here."""

from __future__ import annotations

from airflow_provider_pageconv.graph.usage import SLOW_PERCENT, STOP_PERCENT, Usage, slow_factor

_DOCUMENTED_INTERVAL = 0.5
_MARGIN = 1.02
"""What a connection takes to get going differs from call to call by some milliseconds. So that the server does not see a
call too many in a second all the same, the calls of a second are spread over 20 ms more."""

_GREATEST_PENALTY = 16.0
_FORGIVEN_AFTER = 20


class Pace:
    """When the next call may leave.

    https://developers.facebook.com/docs/graph-api/overview/rate-limiting names 2 calls a second for one Page.

    :param calls_per_second: 0 lets every call through while nothing asks to go slower.
    :param slow_percent: usage from which on calls become slower.
    :param stop_percent: usage at which they are slowest.
    """

    def __init__(
        self, calls_per_second: float, *, slow_percent: float = SLOW_PERCENT, stop_percent: float = STOP_PERCENT
    ) -> None:
        self._interval = _MARGIN / calls_per_second if calls_per_second > 0 else 0.0
        self._tolerance = (_MARGIN - 1) / 4 / calls_per_second if calls_per_second > 0 else 0.0
        self._percents = slow_percent, stop_percent
        self._last = float("-inf")
        self._usage_factor = 1.0
        self._penalty = 1.0
        self._good = 0

    @property
    def interval(self) -> float:
        """Seconds between two calls now."""
        factor = max(self._usage_factor, self._penalty)
        return self._interval if factor == 1.0 else max(self._interval, _DOCUMENTED_INTERVAL) * factor

    @property
    def due(self) -> float:
        """When the next call may leave, by the clock that :meth:`left` is told."""
        return self._last + self.interval

    def left(self, at: float) -> None:
        """Take note that a call leaves; one that leaves late is not followed by a hurried one.

        One that is late by no more than a part of the margin counts as on time: waking up takes a moment each time, and
        these moments would add up.
        """
        if self.due <= at <= self.due + self._tolerance:
            self._last = self.due
        elif at > self._last + self._tolerance:
            self._last = at

    def heed(self, usage: Usage | None) -> None:
        """Take in what a good answer's headers say; forgives a refusal after some good answers."""
        self._usage_factor = slow_factor(usage.percent, *self._percents) if usage else 1.0
        self._good += 1
        if self._good >= _FORGIVEN_AFTER:
            self._good, self._penalty = 0, max(self._penalty / 2, 1.0)

    def slow_down(self) -> None:
        """Go half as fast, since the pace was refused."""
        self._good, self._penalty = 0, min(self._penalty * 2, _GREATEST_PENALTY)
