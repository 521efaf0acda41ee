"""The walk of a folder's list: where it stops, what is read again, and when that is enough. Pure rules.

The list is newest first and lives while it is walked: a thread that gets a message jumps to its top, perhaps in another
folder. So the lists of all folders are walked, then their heads are read again, until a reading shows that nothing was
missed. The numbers are stated here, and every loop has its bound.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

import msgspec

from airflow_provider_pageconv.dump.progress import Order, Phase, Walk
from airflow_provider_pageconv.dump.window import STOP_MARGIN
from airflow_provider_pageconv.graph.errors import GraphCursorError, GraphRequestError, GraphTransientError

RUN = 25
"""Rows one after the other that show that nothing new follows, however small the pages are."""

MESSAGE_RUN = 10
"""The same inside a thread."""

_MISPLACED = 10
"""Rows over an hour older that may stand above a newer one, pinned ones for example, before a list is not newest first."""

_MARGIN = STOP_MARGIN.total_seconds()
_LATE = 600.0
"""Seconds that a thread may land below the head of its list."""

_MOST_READINGS, _MOST_FULL_READINGS, _IDLE_READINGS = 20, 5, 2
_MOST_DEATHS, _MOST_TOO_DEEP = 5, 2


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A row as the walk sees it.

    :param time: ``updated_time``, seconds since 1970; ``None`` where there is none that can be used.
    :param known: whether it was met before.
    :param was_there: whether it may have been there when the walk began.
    """

    time: float | None
    known: bool
    was_there: bool = True


def run_on(run: int, belongs: Iterable[bool | None]) -> tuple[int, bool]:
    """Go on with a run of rows over a page.

    :param belongs: for each row whether it belongs to the run; ``None`` neither makes nor breaks it.
    :return: its length now, and whether the page belongs to it as a whole.
    """
    whole = False
    broken = False
    for one in belongs:
        if one is None:
            continue
        run = run + 1 if one else 0
        broken = broken or not one
        whole = True
    return run, whole and not broken


def note_order(order: Order, time: float) -> None:
    """Take in the time of the next row, which is neither known nor from after the walk began."""
    oldest = order.oldest
    if len(oldest) > _MISPLACED:
        if oldest[_MISPLACED] < time - _MARGIN:
            order.newest_first = False
        if time >= oldest[_MISPLACED]:
            return
        oldest.pop()
    bisect.insort(oldest, time)


def note_orders(order: Order, times: list[float]) -> None:
    """Take in the times of the rows of a page, as :func:`note_order` does one by one; a page in order takes one step."""
    oldest = order.oldest
    if times and sorted(times, reverse=True) == times and (not oldest or times[0] <= oldest[0]):
        order.oldest = sorted([*times, *oldest])[: _MISPLACED + 1]
        return
    for time in times:
        note_order(order, time)


class Listing:
    """Goes along one list and says what comes next.

    :param walk: how far it is; it is changed.
    :param since: what is older by an hour need not be read; ``None``: everything is read.
    :param began: when the walk began, seconds since 1970.
    """

    def __init__(self, walk: Walk, since: float | None, began: float) -> None:
        self.walk = walk
        self._old = since - _MARGIN if since is not None else None
        self.began = began

    def is_old(self, time: float | None) -> bool:
        """Whether a time is so much older than the window that a walk may stop there."""
        return self._old is not None and time is not None and time < self._old

    def page(self, rows: Sequence[Seen], *, ended: bool, known: int, page_size: int, now: float) -> bool:
        """Take in a page.

        :param ended: whether it was the list's last one.
        :param known: how many rows are known in all.
        :param now: seconds since 1970.
        :return: whether the list has to be begun again, from its top.
        :raises GraphTransientError: the list goes on and on over rows that are known.
        """
        walk = self.walk
        walk.pages += 1
        walk.rows += len(rows)
        walk.repeated += sum(row.known for row in rows)
        if rows:
            walk.fresh = any(not row.known and self._leads_on(row, len(rows)) for row in rows)
        if walk.repeated > known + page_size and not ended:
            repeated = walk.repeated
            self.begun_anew()
            raise GraphTransientError(
                f"the list has brought {repeated} rows that were there before, and goes on", remedy="Try again later"
            )
        if walk.newest is None:  # of the first page that has rows: one before it may be empty
            walk.newest = max((row.time for row in rows if row.time is not None), default=None)
        if walk.phase is Phase.WALK:
            return self._walked(rows, ended)
        walk.found += sum(row.was_there and not row.known for row in rows)
        if walk.phase is Phase.HEAD:
            walk.run, _ = run_on(walk.run, map(self._is_passed, rows))
            ended = ended or walk.run >= RUN
        return self._read_again(now) if ended else False

    def _leads_on(self, row: Seen, size: int) -> bool:
        """Whether a row that is not known shows that the walk came deeper: one that is new stands at the head."""
        return row.time < self.began if row.time is not None else self.walk.rows > size

    def _walked(self, rows: Sequence[Seen], ended: bool) -> bool:
        walk = self.walk
        note_orders(
            walk.order, [row.time for row in rows if not row.known and row.time is not None and row.time < self.began]
        )
        whole = False
        if self._old is not None:
            walk.run, whole = run_on(walk.run, (None if row.time is None else self.is_old(row.time) for row in rows))
        if ended or (whole and walk.run >= RUN and walk.order.newest_first):
            walk.phase = Phase.DONE if walk.pages == 1 else Phase.WALKED
        return False

    def _is_passed(self, row: Seen) -> bool | None:
        """Whether a row shows that the head of the list lies behind."""
        if row.time is None:
            return None
        goal = self.walk.goal
        return (row.known or self.is_old(row.time)) and (goal is None or row.time < goal - _LATE)

    def all_walked(self, now: float) -> bool:
        """The lists of all folders were walked: the heads are read again, or all of a list that is not newest first.

        :return: whether the list has to be begun again, from its top.
        """
        if self.walk.phase is not Phase.WALKED:
            return False
        self.walk.phase = Phase.HEAD if self.walk.order.newest_first else Phase.AGAIN
        self._begin_reading(self.began, now)
        return True

    def _begin_reading(self, before: float, now: float) -> None:
        """Set the goal: what was newest the last time, but no later than when that began."""
        walk = self.walk
        walk.goal = min(walk.newest, before) if walk.newest is not None else walk.goal
        walk.newest, walk.reading_began = None, now
        walk.readings += 1
        walk.pages = walk.found = 0
        self.begun_anew()

    def walk_again(self) -> None:
        """The list is walked as if it had not been yet."""
        self.walk.phase, self.walk.pages, self.walk.newest = Phase.WALK, 0, None
        self.begun_anew()

    def begun_anew(self) -> None:
        """The list is read from its top again."""
        walk = self.walk
        walk.rows = walk.repeated = walk.run = 0
        walk.fresh = False

    def _read_again(self, now: float) -> bool:
        """A reading has ended: see whether it was the last one."""
        walk = self.walk
        walk.idle = 0 if walk.found else walk.idle + 1
        if walk.phase is Phase.HEAD:
            enough, most = walk.pages == 1 or walk.idle >= _IDLE_READINGS, _MOST_READINGS
        else:
            enough, most = walk.idle >= 1, _MOST_FULL_READINGS
        if enough or walk.readings >= most:
            walk.unsettled = not enough
            walk.phase = Phase.DONE
            return False
        walk.fruitless = 0
        self._begin_reading(walk.reading_began, now)
        return True

    def refused_cursor(self, error: GraphCursorError, folder: str) -> None:
        """A cursor was refused: the list is to be begun again, in a later try if the last times came no deeper.

        :raises GraphRequestError: it is refused for its depth.
        :raises GraphTransientError: cursors die again and again.
        """
        walk = self.walk
        depth, fresh, fruitless = f"{walk.rows} conversations deep in the folder {folder}", walk.fresh, walk.fruitless
        if walk.phase is not Phase.WALK:
            walk.pages = 0
        self.begun_anew()
        walk.fruitless = 0
        walk.fruitless = count_fruitless(error, fruitless, fresh=fresh, depth=depth)


def count_fruitless(error: GraphCursorError, fruitless: int, *, fresh: bool, depth: str) -> int:
    """Count a refused cursor.

    :param fresh: whether the page before it brought something new, so that the walk came deeper than ever.
    :param depth: how deep it came, for the sentence.
    :return: how many there were in a row that came no deeper.
    :raises GraphRequestError: it is refused for its depth.
    :raises GraphTransientError: cursors die again and again.
    """
    fruitless = 1 if fresh else fruitless + 1
    if error.too_deep and fruitless >= _MOST_TOO_DEEP:
        raise GraphRequestError(
            f"{error.meaning}, {depth}, twice without a new one in between",
            remedy="Export a window that begins later (since), which does not go as deep",
            code=error.code,
            subcode=error.subcode,
            http_status=error.http_status,
            fbtrace_id=error.fbtrace_id,
        )
    if fruitless >= _MOST_DEATHS:
        raise GraphTransientError(
            f"the cursors died {_MOST_DEATHS} times, {depth}, without a new one in between", remedy="Try again later"
        )
    return fruitless
