"""A walk along an edge, page by page, without doing any I/O: it is asked for a request, and told what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from airflow_provider_pageconv.graph.edges import EdgePage, Query, Row, read_page
from airflow_provider_pageconv.graph.errors import (
    GraphCursorError,
    GraphError,
    GraphFieldError,
    GraphTooLargeError,
    GraphTransientError,
    GraphUnreachableError,
)
from airflow_provider_pageconv.graph.protocol import Answer, Request

_GROW_AFTER, _GROW_AFTER_AT_MOST = 5, 80
ATTEMPTS = 6
"""Calls that are made for one request, of the smallest size, before passing trouble ends the walk."""

_UNREACHED_ATTEMPTS = 8
"""The same where the server is not reached, whatever the size: with the pauses between, a minute or so."""

_FAILURES_PER_SIZE = 2
"""So many passing failures of the same request, and less is asked for: not every answer that is too large says so."""

_MOST_EMPTY_PAGES = 500


@dataclass
class PagerState:
    """All that is needed to go on with a walk later.

    :param after: where to go on.
    :param limit: nodes to ask for at once now; halved when an answer is too large, doubled again after some good ones.
    :param nested: messages to ask for inside each node now; halved when a single node is too large.
    :param good: good pages since the size last changed.
    :param patience: good pages that it takes to ask for more again; doubled where more was too much.
    :param failures: passing failures of the present request in a row.
    :param before: what was asked for before passing failures made it less: nodes, and messages inside each.
    :param anchor: a cursor to compare later ones with (Brent's way of finding a loop in constant memory).
    :param dropped: fields that the API refused.
    """

    limit: int
    nested: int
    after: str | None = None
    good: int = 0
    patience: int = _GROW_AFTER
    grown: bool = False
    failures: int = 0
    before: list[int] | None = None
    empty: int = 0
    anchor: str | None = None
    steps: int = 0
    power: int = 1
    done: bool = False
    looped: bool = False
    dropped: list[str] = field(default_factory=list)


class Pager:
    """One walk along an edge. One request at a time: :meth:`request`, then :meth:`got` or :meth:`failed`.

    :param query: what to ask.
    :param ceiling: the greatest number of nodes to ask for at once.
    :param state: where to go on, as :meth:`state` told it; from the beginning if left out.
    :param after: begin behind this cursor.
    """

    def __init__(self, query: Query, ceiling: int, state: PagerState | None = None, after: str | None = None) -> None:
        self._ceiling = ceiling
        self._most_nested = query.nested
        if state is None:
            self._state = PagerState(ceiling, query.nested, after)
        else:
            # Each try may come upon as many empty pages.
            self._state = replace(state, dropped=list(state.dropped), limit=min(state.limit, ceiling), empty=0)
        self.query = query.dropping(self._state.dropped)

    def state(self) -> PagerState:
        """What a later :class:`Pager` on the same edge needs to go on."""
        return replace(self._state, dropped=list(self._state.dropped))

    @property
    def done(self) -> bool:
        """Whether the list has ended."""
        return self._state.done

    @property
    def after(self) -> str | None:
        """The cursor that the next request goes on behind; ``None`` at the beginning."""
        return self._state.after

    @property
    def limit(self) -> int:
        """Nodes to ask for at once now."""
        return self._state.limit

    @property
    def nested(self) -> int:
        """Messages to ask for inside each node now."""
        return self._state.nested

    @property
    def failures(self) -> int:
        """Passing failures of the present request in a row."""
        return self._state.failures

    @property
    def dropped(self) -> list[str]:
        """Fields that the API refused, each with its kind before it."""
        return self._state.dropped

    def drop(self, names: list[str]) -> None:
        """Leave out what another walk saw to be refused."""
        fresh = [name for name in names if name not in self._state.dropped]
        if fresh:
            self._state.dropped += fresh
            self.query = self.query.dropping(fresh)

    def restart(self, *, fewer: bool = False) -> None:
        """Begin the list again, as after a refused cursor.

        :param fewer: ask for one node less: the pages end elsewhere then, should one of their cursors be dead for good.
        """
        state = self._state
        state.after, state.anchor, state.steps, state.power, state.empty = None, None, 0, 1, 0
        state.done = state.looped = False
        state.failures = 0
        if fewer:
            state.limit = max(1, state.limit - 1)

    def request(self) -> Request:
        """The next request.

        :raises GraphCursorError: the API's cursors go round in a circle: what it would bring was there before.
        :raises GraphUnavailableError: no address can be made of the id.
        """
        if self._state.looped:
            raise GraphCursorError("the API's cursors go round in a circle", remedy="Walk the list again")
        return self.query.request(self._state.limit, self._state.nested, self._state.after)

    def got(self, answer: Answer) -> EdgePage:
        """Read the answer to :meth:`request`, and go on behind it.

        :return: the answer's own page, where it has one.
        :raises GraphTransientError: it cannot be used; the request stays the same.
        """
        page: EdgePage = answer.page or read_page(answer.data, self._state.nested)
        self._advance(page)
        self._state.failures, self._state.before = 0, None
        self._grow()
        return page

    def failed(self, error: GraphError) -> bool:
        """Take a refusal of :meth:`request`.

        :return: whether it may be asked for at once, in another way; else a pause is due.
        :raises GraphError: this one, if neither another way nor patience helps.
        """
        if isinstance(error, GraphTooLargeError):
            if not self._shrink():
                raise error
            self._state.failures = 0
            return True
        if isinstance(error, GraphFieldError):
            smaller = self.query.without(error)
            if smaller is None:
                raise error
            self.query = smaller[0]
            self._state.dropped += smaller[1]
            self._state.failures = 0
            return True
        if isinstance(error, GraphTransientError):
            self._take_trouble(error)
            return False
        raise error

    def _take_trouble(self, error: GraphTransientError) -> None:
        state = self._state
        state.failures += 1
        if state.before is None:
            state.before = [state.limit, state.nested]
        is_reached = not isinstance(error, GraphUnreachableError)
        if is_reached and state.failures >= _FAILURES_PER_SIZE and self._shrink():
            state.failures = 0
        elif state.failures >= attempts(error):  # it was not the size
            state.limit, state.nested = state.before
            state.failures, state.before = 0, None
            raise error

    def _shrink(self) -> bool:
        state = self._state
        if state.grown:  # what was asked for before was good, and more is too much: the next try at it comes later
            state.patience = min(state.patience * 2, _GROW_AFTER_AT_MOST)
        state.good, state.grown = 0, False
        if state.limit > 1:
            state.limit //= 2
        elif state.nested:
            state.nested //= 2
        else:
            return False
        return True

    def _grow(self) -> None:
        state = self._state
        state.good += 1
        if state.good >= state.patience and (state.limit < self._ceiling or state.nested < self._most_nested):
            state.good, state.grown = 0, True
            if state.nested < self._most_nested:
                state.nested = min(max(state.nested * 2, 1), self._most_nested)
            else:
                state.limit = min(state.limit * 2, self._ceiling)

    def _advance(self, page: EdgePage) -> None:
        state = self._state
        if page.after is None:
            state.done = True
            return
        if page.after in (state.after, state.anchor):
            state.looped = True  # this page is good; the next would be one that was there before
            return
        state.empty = 0 if page.rows else state.empty + 1
        if state.empty >= _MOST_EMPTY_PAGES:
            raise GraphTransientError(f"{_MOST_EMPTY_PAGES} empty pages in a row", remedy="Try again later")
        state.after = page.after
        state.steps += 1
        if state.steps == state.power:
            state.anchor, state.steps, state.power = page.after, 0, state.power * 2


def attempts(error: GraphError) -> int:
    """Calls that are made for one request of one size while there is such trouble."""
    return _UNREACHED_ATTEMPTS if isinstance(error, GraphUnreachableError) else ATTEMPTS


def all_rows(pager: Pager, get: Callable[[Request], Answer]) -> Iterator[Row]:
    """Every row of an edge once, over all pages; a refused cursor costs a walk past what was given.

    :param get: makes one call, again if need be while trouble is passing.
    :raises GraphError: what the API refuses; a cursor error once two walks in a row gave nothing new.
    """
    seen: set[str] = set()
    fruitless = 0
    while not pager.done:
        try:
            page = fetch(pager, get)
        except GraphCursorError:
            fruitless += 1
            if fruitless >= 2:
                raise
            pager.restart()
            continue
        for row in page.rows:
            if row.id not in seen:
                seen.add(row.id)
                fruitless = 0
                yield row


def fetch(pager: Pager, get: Callable[[Request], Answer]) -> EdgePage:
    """Get the next page, asking for less where the answer would be too large.

    :raises GraphError: what the API refuses.
    """
    while True:
        try:
            return pager.got(get(pager.request()))
        except (GraphTooLargeError, GraphFieldError) as error:  # noqa: PERF203 - the loop is there for it
            pager.failed(error)
