"""Lists that are bent by a fault: which rows a page has, what stands between them, and where it says the list goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_pageconv.sandbox.cursors import Cursors, Rows, Window
from airflow_provider_pageconv.sandbox.encoding import EncodedRow, dumps


@dataclass(frozen=True)
class Twist:
    """How a fault bends the list that is answered; see `faults.KINDS`.

    :param size: what the fault says, None if nothing.
    :param salt: differs from answer to answer, so that cursors can.
    """

    kind: str
    size: int | None
    salt: int


@dataclass(frozen=True)
class _Asked:
    """A page that is about to be answered."""

    cursors: Cursors
    rows: Rows
    window: Window
    limit: int
    cursor: str | None
    scope: str

    @property
    def places(self) -> list[int]:
        return list(range(self.window.start, self.window.end))


def bend(
    twist: Twist | None, cursors: Cursors, rows: Rows, window: Window, limit: int, cursor: str | None, scope: str
) -> tuple[Window, list[int]]:
    """Return what is answered in place of a page: its window and the places of its rows.

    :param cursor: the one that was used.
    """
    asked = _Asked(cursors, rows, window, limit, cursor, scope)
    if twist is None or twist.kind not in _BENDS:
        return window, asked.places
    return _BENDS[twist.kind](twist, asked)


def intrude(twist: Twist | None, data: list[Any]) -> list[Any]:
    """Return a page's rows with one more among them that nobody can use, where a fault wants that."""
    if twist is None or twist.kind not in _INTRUDERS:
        return data
    middle = len(data) // 2
    intruder = _INTRUDERS[twist.kind](data[middle]) if data else _INTRUDERS[twist.kind]({})
    if data and isinstance(data[0], EncodedRow):
        intruder = EncodedRow(dumps(intruder))
    return [*data[:middle], intruder, *data[middle:]]


def _empty(twist: Twist, asked: _Asked) -> tuple[Window, list[int]]:
    after = asked.cursors.write(asked.rows, asked.window.start - 1, asked.scope, twist.salt)
    return replace(asked.window, before=after, after=after, has_next=True), []


def _short(twist: Twist, asked: _Asked) -> tuple[Window, list[int]]:
    places = asked.places
    if len(places) < 2:
        return asked.window, places
    places = places[: max(1, min(twist.size or len(places) // 2, len(places) - 1))]
    after = asked.cursors.write(asked.rows, places[-1], asked.scope)
    return replace(asked.window, after=after, has_next=True), places


def _loop(twist: Twist, asked: _Asked) -> tuple[Window, list[int]]:
    back = max(0, (twist.size or 1) - 1) * asked.limit
    after = asked.cursor or asked.window.after
    if back:
        after = asked.cursors.write(asked.rows, max(-1, asked.window.start - 1 - back), asked.scope)
    return replace(asked.window, after=after, has_next=True), asked.places


def _repeat(twist: Twist, asked: _Asked) -> tuple[Window, list[int]]:  # noqa: ARG001 - as all of them
    places = asked.places
    if places:
        places = [places[0] - 1, *places] if places[0] else [*places, places[-1]]
    return asked.window, places


def _disorder(twist: Twist, asked: _Asked) -> tuple[Window, list[int]]:  # noqa: ARG001 - as all of them
    return asked.window, asked.places[::-1]


def _swap(twist: Twist, asked: _Asked) -> tuple[Window, list[int]]:
    places = asked.places
    first = (len(places) - 1) // 2 if twist.size is None else twist.size
    if 0 <= first < len(places) - 1:
        places[first], places[first + 1] = places[first + 1], places[first]
    return asked.window, places


def _circle(twist: Twist, asked: _Asked) -> tuple[Window, list[int]]:
    """Answer the rows above the depth of `size`, over and over; the cursors' own depth grows on."""
    size = twist.size or 1
    if size > len(asked.rows):
        return asked.window, asked.places
    depth = asked.cursors.depth(asked.cursor) if asked.cursor else 0
    if depth < size:
        end = min(asked.window.end, size)
        after = asked.cursors.write(asked.rows, end - 1, asked.scope, twist.salt)
        return replace(asked.window, end=end, after=after, has_next=True), list(range(asked.window.start, end))
    start = (depth - size) % size
    end = min(start + asked.limit, size)
    window = Window(
        start,
        end,
        asked.cursors.write(asked.rows, start, asked.scope, twist.salt, depth + 1),
        asked.cursors.write(asked.rows, end - 1, asked.scope, twist.salt, depth + end - start),
        has_previous=True,
        has_next=True,
    )
    return window, list(range(start, end))


def _without_id(row: Any) -> Any:
    node = json.loads(row) if isinstance(row, EncodedRow) else row
    return {name: value for name, value in node.items() if name != "id"}


_BENDS: dict[str, Callable[[Twist, _Asked], tuple[Window, list[int]]]] = {
    "empty": _empty,
    "short": _short,
    "loop": _loop,
    "repeat": _repeat,
    "disorder": _disorder,
    "swap": _swap,
    "circle": _circle,
}
_INTRUDERS: dict[str, Callable[[Any], Any]] = {
    "null_row": lambda row: None,  # noqa: ARG005 - whatever the row is
    "text_row": lambda row: "t_0",  # noqa: ARG005
    "row_without_id": _without_id,
}
TWISTS = frozenset(_BENDS) | frozenset(_INTRUDERS)
"""The kinds of faults that bend lists."""
