"""What a task does about limits: one decision for all its folders."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from airflow_provider_pageconv.dump.checkpoint import Progress, Waiting, moment
from airflow_provider_pageconv.dump.walk import Save
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.errors import (
    CallsStopped,
    GraphCursorError,
    GraphFieldError,
    GraphRateLimitError,
    GraphTooLargeError,
    GraphUnavailableError,
)
from airflow_provider_pageconv.graph.protocol import ABUSE_CODE, Answer, Request
from airflow_provider_pageconv.graph.usage import time_to_wait

log = logging.getLogger(__name__)

IN_PLACE = timedelta(minutes=1)
"""Waits up to this are slept where they are: to let go of a worker and come back takes as long."""

_BREATH = timedelta(seconds=20)
"""How long a task stays away that lets go only to free its worker: Airflow 3.3 fails one that is queued again before the
scheduler has read that its process ended."""

_JITTER = 30.0
_PACE_CODE = 613
_GRACE = 2.0
"""Seconds that a call under way gets when the task is killed; Airflow gives the task about 5."""


class LetGo(Exception):  # noqa: N818 - what was asked for, not a fault
    """Everything is safe; the task may let go of its worker and come back.

    :param moment: when to come back.
    """

    def __init__(self, moment: datetime, reason: str) -> None:
        super().__init__(reason)
        self.moment = moment


class WaitedTooLong(Exception):  # noqa: N818 - an end that was asked for
    """The limit lasted longer than the task is willing to wait."""


class _StepBack(Exception):  # noqa: N818 - no fault
    """A limit was met while this call waited for its turn."""


@dataclass(frozen=True)
class Policy:
    """What to do about limits.

    :param fail: raise at once.
    :param stay: sleep through every wait, and never let go.
    :param timeout: how long to wait without a single new page.
    :param release_after: after how long to let go of the worker anyway.
    """

    fail: bool = False
    stay: bool = False
    timeout: timedelta = timedelta(hours=24)
    release_after: timedelta | None = None


class Patience:
    """Makes the calls of all folders of a task, and waits for all of them together.

    While one folder waits, the others make no call: they make safe what they have, and stand behind it. After the wait, as
    at the beginning, one call is made before the others go on.

    :param clear_number: the run's number of clears.
    :param jitter: seconds to put on top of a wait.
    """

    def __init__(
        self,
        client: GraphClient,
        policy: Policy,
        *,
        clear_number: int = 0,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        jitter: Callable[[], float] = lambda: random.uniform(0, _JITTER),  # noqa: S311 - no secret
    ) -> None:
        self._client = client
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._started = time.monotonic()
        self._gate = threading.Lock()
        self._closed = threading.Event()
        self._incident = 0
        self._killed = threading.Event()
        self._progresses: list[Progress] = []
        self.waiting = Waiting(clear_number=clear_number)
        self._ahead: GraphRateLimitError | None = None
        self._after_wait = True  # as after a wait, the first call shows whether the others may come

    def take_up(self, progresses: Sequence[Progress]) -> None:
        """Go on with what the checkpoints of the folders say of an earlier try, and wait out what is left of its wait.

        :raises LetGo: the wait is not over yet.
        """
        self._progresses = list(progresses)
        earlier = [
            progress.waiting for progress in progresses if progress.waiting.clear_number == self.waiting.clear_number
        ]
        # The folder that met the limit knows of it; the others may have had nothing to save after that.
        self.waiting = max(earlier, key=lambda waiting: waiting.changes, default=self.waiting)
        for progress in progresses:
            progress.waiting = self.waiting
        if self.waiting.until is None:
            return
        until = moment(self.waiting.until)
        left = until - self._clock()
        if left > timedelta(0):
            if left > IN_PLACE and not self._policy.stay:
                raise LetGo(until, "the limit has not been waited out yet")
            self._sleep(left)
        self._end_wait()
        self._after_wait = True

    def kill(self) -> None:
        """Make no further call and let nothing be published."""
        self._killed.set()
        self._client.abandon(_GRACE)

    def stopped(self) -> bool:
        return self._killed.is_set()

    def get(self, request: Request, on_call: Callable[[], None], save: Save) -> Answer:
        """Make one call; see :class:`~airflow_provider_pageconv.dump.walk.Caller`.

        :raises LetGo: it is time to let go of the worker; what was fetched is safe.
        :raises WaitedTooLong: the limit lasts too long.
        :raises GraphRateLimitError: a limit is reached, and the policy says to fail.
        """

        def leave() -> None:
            # Whoever waited for a turn of the pace has passed the gate before it was closed.
            if self._closed.is_set() or self._ahead is not None:
                raise _StepBack
            on_call()

        self._let_go_in_time(save)
        while True:
            if self._closed.is_set():
                save()  # another folder waits: what this one has is made safe before it stands behind
            with self._gate:
                incident = self._incident
                if self._ahead is not None or self._after_wait:
                    return self._call_alone(self._ahead, request, on_call, save)
            try:
                answer = self._client.get(request, leave)
            except _StepBack:
                continue
            except GraphRateLimitError as error:
                with self._gate:
                    if incident != self._incident:
                        continue  # another folder has waited this limit out meanwhile
                    return self._call_alone(error, request, on_call, save)
            self._note_good(answer)
            return answer

    def _let_go_in_time(self, save: Save) -> None:
        after = self._policy.release_after
        if after is None or self._policy.stay or time.monotonic() - self._started < after.total_seconds():
            return
        save()
        raise LetGo(self._clock() + _BREATH, f"the export has run for {after}; it lets go of its worker and comes back")

    def _call_alone(
        self, error: GraphRateLimitError | None, request: Request, on_call: Callable[[], None], save: Save
    ) -> Answer:
        """Wait if there is a limit, and make a call until it meets none; the gate is held, so that this is the only one."""
        if self._client.stop.is_set():
            raise CallsStopped
        try:
            while True:
                if error is not None:
                    self._closed.set()
                    try:
                        self._wait(error, save)
                    except BaseException:
                        self._client.stop.set()  # before the gate opens: the others are not to meet the same limit again
                        raise
                self._ahead = None
                try:
                    answer = self._client.get(request, on_call)
                except GraphRateLimitError as next_error:
                    error = next_error
                    continue
                except (GraphCursorError, GraphFieldError, GraphTooLargeError, GraphUnavailableError):
                    self._note_over()  # the walk asks in another way, and goes on
                    raise
                except BaseException:
                    self._client.stop.set()
                    raise
                self._note_over()
                self._note_good(answer)
                return answer
        finally:
            self._closed.clear()

    def _note_over(self) -> None:
        """The limit is over, whatever else the answer says: those that stand behind the gate may call."""
        self._incident += 1
        self._after_wait = False

    def _note_good(self, answer: Answer) -> None:
        """A new page ends the count of the waiting; at the usage that counts as a limit the next call waits."""
        self.waiting.seconds = 0.0
        self.waiting.changes += 1
        if answer.usage is None or answer.usage.percent < self._client.stop_percent:
            self.waiting.refusals = 0
        else:  # one more limit in a row: each time there is a longer wait, so that the usage can fall
            self._ahead = GraphRateLimitError(
                f"{answer.usage.percent:.0f} % of the allowance is used up",
                remedy="Waiting before the API has to refuse",
                retry_after=answer.usage.regain,
                usage=answer.usage,
            )

    def _wait(self, error: GraphRateLimitError, save: Save) -> None:
        """Wait, or let go until the wait is over."""
        if self._policy.fail:
            save()
            raise error
        waiting = self.waiting
        waiting.refusals += 1
        waiting.changes += 1
        if error.code == ABUSE_CODE:
            waiting.abuses += 1
            if waiting.abuses > 1:
                save(even_if_unchanged=True)
                raise WaitedTooLong(f"The calls were held to be abusive again after a long wait: {error}")
        if error.code == _PACE_CODE and error.retry_after is None and waiting.refusals == 1:
            self._client.pace.slow_down()
            log.warning("%s Going slower.", error)
            return
        wait = self._time_to_wait(error, save)
        now = self._clock()
        waiting.since, waiting.until = now.isoformat(), (now + wait).isoformat()
        waiting.changes += 1
        save(even_if_unchanged=True)
        log.warning("%s Waiting until %s.", error, (now + wait).isoformat(timespec="seconds"))
        if wait > IN_PLACE and not self._policy.stay:
            raise LetGo(now + wait, str(error))
        self._sleep(wait)
        self._end_wait()

    def _time_to_wait(self, error: GraphRateLimitError, save: Save) -> timedelta:
        waiting, timeout = self.waiting, self._policy.timeout
        refusals = waiting.refusals - (error.code == _PACE_CODE)
        wait = time_to_wait(error.retry_after, refusals, abuse=error.code == ABUSE_CODE)
        left = timeout - timedelta(seconds=waiting.seconds)
        if wait > left and (error.retry_after is not None or left <= timedelta(0)):
            save(even_if_unchanged=True)
            named = f", and names another {_readable(error.retry_after)}" if error.retry_after is not None else ""
            raise WaitedTooLong(
                f"Waited {_readable(timedelta(seconds=waiting.seconds))} for the limit without a single new page, and "
                f"rate_limit_timeout is {_readable(timeout)}. Meta last said{named}: {error}"
            )
        # Without the server's word one last look is taken when the time is up.
        return min(wait, left) + timedelta(seconds=self._jitter())

    def _end_wait(self) -> None:
        """Count what was waited, of which no page came."""
        waiting = self.waiting
        if waiting.since is not None and waiting.until is not None:
            # What comes after the wait's end, an Airflow that was down for one, was no waiting for Meta.
            end = min(self._clock(), moment(waiting.until))
            waited = max((end - moment(waiting.since)).total_seconds(), 0.0)
            waiting.seconds += waited
            for progress in self._progresses:
                progress.waited_seconds += waited
        waiting.since = waiting.until = None
        waiting.changes += 1

    def _sleep(self, wait: timedelta) -> None:
        end = self._clock() + wait
        while (left := (end - self._clock()).total_seconds()) > 0:
            if self._client.stop.wait(min(left, 60.0)):
                raise CallsStopped


def _readable(span: timedelta) -> str:
    return str(timedelta(seconds=round(span.total_seconds())))
