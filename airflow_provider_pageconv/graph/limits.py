"""What a refusal means for all calls of a Page: go on, go slower, wait until a moment, or give up. Pure rules.

https://developers.facebook.com/docs/graph-api/overview/rate-limiting: once limited, stop calling, for calls made
meanwhile prolong the block.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from airflow_provider_pageconv.graph.errors import GraphRateLimitError
from airflow_provider_pageconv.graph.protocol import ABUSE_CODE
from airflow_provider_pageconv.graph.usage import STOP_PERCENT, Usage, time_to_wait
from airflow_provider_pageconv.times import moment

PACE_CODE = 613
_APP_CODES = (4, 17, 32, 341)
"""Limits that the calls of many Pages share: whoever met one met it together with the tasks of the other Pages."""
_JITTER = 30.0
_APP_SPREAD = 0.25


class WaitedTooLong(Exception):  # noqa: N818 - an end that was asked for
    """The limit lasted longer than the task is willing to wait."""


@dataclass(frozen=True)
class Policy:
    """What a task wants done about limits.

    :param fail: raise at the first one.
    :param stay: sleep through every wait, and never let go.
    :param timeout: how long to wait without a single new page.
    :param release_after: after how long to let go of the worker anyway.
    """

    fail: bool = False
    stay: bool = False
    timeout: timedelta = timedelta(hours=24)
    release_after: timedelta | None = None


@dataclass
class Waiting:
    """How the task has been waiting for limits, alike in the checkpoints of all its folders.

    :param refusals: limits in a row without a new page in between.
    :param abuses: how often the calls were held to be abusive.
    :param seconds: waited in all without a new page.
    :param since: when the wait under way began, ISO 8601; ``None`` if none is.
    :param until: when it ends.
    :param clear_number: the run's number of clears when this was counted; a Clear counts afresh.
    :param changes: how often this was changed; of what several folders' checkpoints say, the newest counts.
    """

    refusals: int = 0
    abuses: int = 0
    seconds: float = 0.0
    since: str | None = None
    until: str | None = None
    clear_number: int = 0
    changes: int = 0


class Gate(Enum):
    """Whether calls may leave."""

    OPEN = "open"
    PROBING = "probing"
    """One call shows whether the others may follow: after a wait, and at the beginning."""
    CLOSED = "closed"


class Limits:
    """Decides for all calls of a task together.

    :param waiting: what is known of earlier tries; it is changed, and belongs into every checkpoint.
    :param stop_percent: usage that counts as a limit.
    :param jitter: draws the seconds to put on top of a wait, from the most that there may be.
    """

    def __init__(
        self,
        policy: Policy,
        waiting: Waiting,
        *,
        stop_percent: float = STOP_PERCENT,
        jitter: Callable[[float], float] = lambda most: random.uniform(0, most),  # noqa: S311 - no secret
    ) -> None:
        self.waiting = waiting
        self._policy = policy
        self._stop_percent = stop_percent
        self._jitter = jitter
        self._ahead: GraphRateLimitError | None = None
        self.incident = 0
        """Counts the limits; a refusal of a call that left before the last one is no other."""
        self.gate = Gate.PROBING if waiting.until is None else Gate.CLOSED
        self.reason = "the limit has not been waited out yet"
        """Why the wait under way is waited; of one that an earlier try began no more is known."""

    @staticmethod
    def newest(records: Iterable[Waiting], clear_number: int) -> Waiting:
        """Of what several checkpoints say, what counts: the folder that met the limit knows of it, others may not."""
        ours = [one for one in records if one.clear_number == clear_number]
        return max(ours, key=lambda one: one.changes, default=Waiting(clear_number=clear_number))

    @property
    def until(self) -> datetime | None:
        """When the wait under way ends."""
        return moment(self.waiting.until) if self.waiting.until else None

    def over(self, now: datetime) -> float:
        """Open for one call when the wait is over.

        :return: the seconds that were waited, of which no page came; 0 where no wait has ended.
        """
        until = self.until
        if self.gate is not Gate.CLOSED or until is None or now < until:
            return 0.0
        waiting, waited = self.waiting, 0.0
        if waiting.since is not None:
            # What comes after the wait's end, an Airflow that was down for one, was no waiting for Meta.
            waited = max((min(now, until) - moment(waiting.since)).total_seconds(), 0.0)
            waiting.seconds += waited
        waiting.since = waiting.until = None
        waiting.changes += 1
        self.gate = Gate.PROBING
        return waited

    def due(self) -> GraphRateLimitError | None:
        """What has to be waited out before the next call though nothing was refused: the usage is that of a limit."""
        error, self._ahead = self._ahead, None
        return error

    def good(self, usage: Usage | None, *, page: bool = True) -> None:
        """Take in a good answer.

        :param page: whether it brought a page; a look at whether there is a limit brings none.
        """
        self.passed()
        if page:
            self.waiting.seconds = 0.0
            self.waiting.changes += 1
        if usage is None or usage.percent < self._stop_percent:
            if page:
                self.waiting.refusals = 0
        else:  # one more limit in a row: each time there is a longer wait, so that the usage can fall
            self._ahead = GraphRateLimitError(
                f"{usage.percent:.0f} % of the allowance is used up",
                remedy="Waiting before the API has to refuse",
                retry_after=usage.regain,
                usage=usage,
            )

    def passed(self) -> None:
        """No limit was met, whatever else the answer says: the others may call."""
        if self.gate is Gate.PROBING:
            self.gate = Gate.OPEN

    def refused(self, error: GraphRateLimitError, now: datetime) -> datetime | None:
        """Take in a limit.

        :return: until when to wait; ``None``: go on slower, with one call alone first.
        :raises GraphRateLimitError: the policy says to fail.
        :raises WaitedTooLong: it lasts too long.
        """
        self._ahead = None
        self.incident += 1
        if self._policy.fail:
            raise error
        waiting = self.waiting
        waiting.refusals += 1
        waiting.changes += 1
        if error.code == ABUSE_CODE:
            waiting.abuses += 1
            if waiting.abuses > 1:
                raise WaitedTooLong(f"The calls were held to be abusive again after a long wait: {error}")
        if error.code == PACE_CODE and error.retry_after is None and waiting.refusals == 1:
            self.gate = Gate.PROBING
            return None
        until = now + self._time_to_wait(error)
        waiting.since, waiting.until = now.isoformat(), until.isoformat()
        self.reason = error.brief
        self.gate = Gate.CLOSED
        return until

    def wait(self, until: datetime, reason: str) -> None:
        """Close until a moment for a reason of one's own: nothing was refused, and nothing is counted."""
        self.reason = reason
        self.waiting.since, self.waiting.until = None, until.isoformat()
        self.waiting.changes += 1
        self.gate = Gate.CLOSED

    def _time_to_wait(self, error: GraphRateLimitError) -> timedelta:
        waiting, timeout = self.waiting, self._policy.timeout
        refusals = waiting.refusals - (error.code == PACE_CODE)
        wait = time_to_wait(error.retry_after, refusals, abuse=error.code == ABUSE_CODE)
        left = timeout - timedelta(seconds=waiting.seconds)
        if wait > left and (error.retry_after is not None or left <= timedelta(0)):
            named = f", and names another {_readable(error.retry_after)}" if error.retry_after is not None else ""
            raise WaitedTooLong(
                f"Waited {_readable(timedelta(seconds=waiting.seconds))} for the limit without a single new page, and "
                f"rate_limit_timeout is {_readable(timeout)}. Meta last said{named}: {error}"
            )
        # Without the server's word one last look is taken when the time is up.
        return min(wait, left) + timedelta(seconds=self._jitter(self._most_jitter(error, wait, left)))

    def _most_jitter(self, error: GraphRateLimitError, wait: timedelta, left: timedelta) -> float:
        """The most seconds to come back later than the wait asks for.

        A limit of the app sends the tasks of all Pages to wait at the same time, and 200 of them that come back within half
        a minute use it up again: they come back spread over a quarter of the wait, as far as the time-out leaves room.
        """
        if not self._is_of_the_app(error):
            return _JITTER
        spread = min(_APP_SPREAD * wait, left - wait)
        return max(spread.total_seconds(), _JITTER)

    def _is_of_the_app(self, error: GraphRateLimitError) -> bool:
        if error.code is not None or error.usage is None:
            return error.code in _APP_CODES
        # Nothing was refused: which limit it would have been, the usage says.
        return error.usage.by_type.get("app", 0.0) >= self._stop_percent


def _readable(span: timedelta) -> str:
    return str(timedelta(seconds=round(span.total_seconds())))
