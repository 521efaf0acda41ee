"""What goes wrong: orders for faults, and the book that decides when each one strikes."""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from airflow_provider_pageconv.sandbox.cursors import Cursors
from airflow_provider_pageconv.sandbox.errors import (
    BAD_CURSOR,
    TOO_DEEP,
    TOO_MUCH_DATA,
    UNKNOWN,
    GraphApiError,
    does_not_exist,
    not_found,
    usual,
)
from airflow_provider_pageconv.sandbox.graph_api import DEFAULT_LIMIT, Call, nested_limit
from airflow_provider_pageconv.sandbox.nodes import FOLDERS, INSTAGRAM, MESSENGER
from airflow_provider_pageconv.sandbox.rules import MOST, between, one_of
from airflow_provider_pageconv.sandbox.twists import TWISTS

KINDS: dict[str, str] = {
    "error": "an error in Meta's shape: code, subcode, status (200 gives a 200 with an error inside), message …",
    "too_much_data": "error 1 where limit, or limit × limit of nested messages, is above size",
    "heavy": "where too_much_data would strike, but nothing says why: error 1 (or code), or, with a status alone, HTML",
    "does_not_exist": "error 100 without a subcode, which says that the object does not exist",
    "dead_cursor": "error 100 for the cursor that is used, from then on for good",
    "deep_cursor": "error 100 for every cursor with size or more rows above it",
    "dead_at": "error 100 for every cursor with size rows above it, or fewer than a page (limit) more than that",
    "unavailable": "error 100/33 for the thread whose messages are asked for, from then on for good",
    "loop": "the answer names the cursor again that was used (size=2: the one before that, and so on)",
    "empty": "a page without rows that has a next one, where the rows follow",
    "short": "a page of only size rows (half of them if left out) that has a next one",
    "repeat": "a page that repeats a row: the last of the page before",
    "disorder": "a page with its rows oldest first",
    "swap": "a page in which two neighbours changed places: rows size and size + 1 from 0, or those in the middle",
    "circle": "from depth size on the rows above it once more, with ever new cursors, without end",
    "null_row": "a page with a null among its rows",
    "text_row": "a page with a text among its rows",
    "row_without_id": "a page with a row more that has no id",
    "html": "an HTML page (status 502 if left out)",
    "not_json": "a body that is no JSON (status 200 if left out; message says which body, if given)",
    "cut": "a body that ends before its Content-Length (after size bytes; half of it if left out)",
    "drip": "a body that comes a byte at a time, one every so many seconds (1 if left out)",
    "slow": "the answer, after so many seconds (1 if left out)",
    "silence": "no answer for so many seconds (3600 if left out), then the connection ends",
    "reset": "the connection is reset",
    "redirect": "302 to location (without a path it gets the call's own; this sandbox as `localhost` if left out)",
    "version": "the answer with a facebook-api-version header that says version (none: v21.0)",
    "no_headers": "the answer without any usage header",
}
MANGLED = frozenset({"not_json", "cut", "drip", "slow", "version", "no_headers"})
_SIZED = frozenset({"too_much_data", "heavy", "deep_cursor", "dead_at", "circle"})
_OF_CURSORS = frozenset({"dead_cursor", "deep_cursor", "dead_at", "loop"})
_LIST_EDGES = frozenset({"conversations", "messages", "accounts"})
_NOT_ORDERED = frozenset({"when", "seen", "fired", "since"})
EDGES = ("conversations", "messages", "node", "accounts", "me", "debug_token", "inner")
_CHOICES: dict[str, tuple[str, ...]] = {
    "on": EDGES,
    "folder": (*FOLDERS, "pending"),
    "platform": (MESSENGER, INSTAGRAM),
    "pages": ("first", "later"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "at": (1, MOST),
    "every": (1, MOST),
    "times": (1, MOST),
    "p": (0, 1),
    "lasts": (0, MOST),
    "status": (200, 599),
    "regain": (0, MOST),
    "retry_after": (0, MOST),
    "size": (0, MOST),
    "seconds": (0, 86_400),
}


@dataclass
class Fault:
    """One order. It strikes calls that match all of `on`, `path`, `folder`, `platform`, `thread`, `pages` and `when`.

    Which of the matching calls: the `at`-th (counted from 1), or every `every`-th, or each with probability `p`, or, if
    none of the three is given, each. `times` says how often at most; with `at` alone it is once, else without end.
    A fault that `lasts` strikes for so many seconds by the Page's clock, counted from its first strike, and then never
    again: with `at` alone it strikes from there on, and what "dead_cursor" and "unavailable" ended lives again then.

    :param kind: one of `KINDS`.
    :param on: "conversations", "messages", "node", "accounts", "me", "debug_token", "inner".
    :param path: a regular expression that is found in the path.
    :param pages: "first" (calls without a cursor), "later" (calls with one) or "" for both.
    :param when: any further condition, for Python.
    :param regain: minutes in the usage header of the error.
    :param retry_after: seconds in a Retry-After header.
    :param headers: False takes all usage headers off the answer.
    :param size: rows, bytes or depth, as `KINDS` says.
    :param seconds: how long, for "silence", "drip" and "slow".
    :param lasts: seconds by the Page's clock.
    """

    kind: str = "error"
    on: str = ""
    path: str = ""
    folder: str = ""
    platform: str = ""
    thread: str = ""
    pages: str = ""
    when: Callable[[Call], bool] | None = None
    at: int | None = None
    every: int | None = None
    p: float | None = None
    times: int | None = None
    lasts: float | None = None
    code: int | None = None
    subcode: int | None = None
    status: int | None = None
    message: str | None = None
    type: str | None = None
    is_transient: bool | None = None
    user_title: str | None = None
    user_msg: str | None = None
    regain: int | None = None
    retry_after: int | None = None
    headers: bool = True
    size: int | None = None
    seconds: float | None = None
    location: str = ""
    version: str = "v21.0"
    seen: int = field(default=0, compare=False)
    fired: int = field(default=0, compare=False)
    since: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        self.platform = self.platform.lower()
        one_of("kind of a fault", self.kind, tuple(KINDS))
        if self.kind == "error" and self.code is None:
            raise ValueError("a fault of kind 'error' needs a code, such as code=613")
        if self.kind in _SIZED and self.size is None:
            raise ValueError(f"a fault of kind {self.kind!r} needs a size, such as size=50")
        for name, allowed in _CHOICES.items():
            if getattr(self, name):
                one_of(f"{name} of a fault", getattr(self, name), allowed)
        for name, (least, most) in _RANGES.items():
            if getattr(self, name) is not None:
                between(f"{name} of a fault", getattr(self, name), least, most)
        if self.lasts == 0:
            raise ValueError("lasts of a fault is a number of seconds above 0")
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"path of a fault is a regular expression, not {self.path!r}: {error}") from None
        if self.times is None and self.at is not None and self.every is None and self.p is None and self.lasts is None:
            self.times = 1

    @property
    def is_html(self) -> bool:
        """Whether what is answered is a page for people, and no answer of the API."""
        return self.kind == "html" or (self.kind == "heavy" and self.code is None and self.status is not None)

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Return the fault that a command line orders: `code=613,on=conversations,at=5,times=3`."""
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = ",", True, ""
        try:
            pairs = [part.partition("=") for part in lexer]
        except ValueError:
            raise ValueError("a quotation mark of the fault is not closed") from None
        if not pairs or not all(equals for _, equals, _ in pairs):
            raise ValueError("a fault is written K=V,… such as code=613,on=conversations,at=5")
        return cls.from_json({name.strip(): value for name, _, value in pairs})

    @classmethod
    def from_json(cls, order: Mapping[str, Any]) -> Fault:
        """Return the fault that a JSON object orders; numbers and booleans may come as text."""
        known = {item.name: str(item.type) for item in fields(cls) if item.name not in _NOT_ORDERED}
        given: dict[str, Any] = {}
        for name, value in order.items():
            if name not in known:
                raise ValueError(f"a fault has no {name!r}, but {', '.join(known)}")
            given[name] = _converted(name, value, known[name])
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the order and how often it was seen and struck, without what was not given."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("when", "since")}
        return {name: value for name, value in plain.items() if value is not None and value != ""}

    def error(self, call: Call) -> GraphApiError:
        """Return the error that this fault answers with."""
        made = self._base_error(call)
        if self.status is not None:
            made.status = self.status
        for name in ("message", "type", "is_transient", "user_title", "user_msg"):
            if getattr(self, name) is not None:
                setattr(made, name, getattr(self, name))
        return made

    def _base_error(self, call: Call) -> GraphApiError:
        if self.code is not None:
            return usual(self.code, self.subcode, (call.parts or ["0"])[0])
        if self.kind == "too_much_data":
            return GraphApiError(1, TOO_MUCH_DATA, 500)
        if self.kind == "heavy":
            return GraphApiError(1, UNKNOWN, 500)
        if self.kind == "does_not_exist":
            return does_not_exist((call.parts or ["0"])[0])
        if self.kind == "deep_cursor":
            return GraphApiError(100, f"(#100) {TOO_DEEP}")
        if self.kind in ("dead_cursor", "dead_at"):
            return GraphApiError(100, BAD_CURSOR)
        return not_found((call.parts or ["0"])[0])


class FaultBook:
    """All faults that are ordered. Not locked by itself: the sandbox calls it under its lock.

    :param seed: decides for faults with a probability.
    :param clock: the Page's, for faults that last.
    """

    def __init__(self, seed: int, cursors: Cursors, clock: Callable[[], datetime]) -> None:
        self._random = random.Random(f"{seed}/faults")
        self._cursors = cursors
        self._clock = clock
        self._faults: list[Fault] = []
        self.dead_cursors: dict[str, Fault] = {}
        self.dead_threads: dict[str, Fault] = {}
        self.counts: dict[str, int] = {}

    def add(self, fault: Fault) -> Fault:
        """Order a fault; the one that is returned counts what it does in `seen` and `fired`."""
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Take back one order."""
        self._faults = [other for other in self._faults if other is not fault]

    def clear(self) -> None:
        """Take back all orders, and forgive cursors and threads."""
        self._faults.clear()
        self.dead_cursors.clear()
        self.dead_threads.clear()

    def __iter__(self) -> Any:
        return iter(list(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def strike(self, call: Call, edge: str) -> Fault | None:
        """Count the call in every order and return the fault that strikes it, the first ordered first."""
        struck: Fault | None = None
        cursor = call.params.get("after") or call.params.get("before") or ""
        for ended, name in ((self.dead_cursors, cursor), (self.dead_threads, (call.parts or [""])[0])):
            ending = ended.get(name)
            if struck is None and ending is not None and not self._is_over(ending):
                struck = ending
        for fault in self._faults:
            if not self._matches(fault, call, edge, cursor):
                continue
            fault.seen += 1
            if struck is None and self._is_due(fault):
                struck = fault
                fault.fired += 1
                fault.since = fault.since or self._clock()
                self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
                if fault.kind == "dead_cursor":
                    self.dead_cursors[cursor] = fault
                elif fault.kind == "unavailable":
                    self.dead_threads[call.parts[0]] = fault
        return struck

    def _is_over(self, fault: Fault) -> bool:
        """Whether a fault has lasted as long as it was to last."""
        if fault.lasts is None or fault.since is None:
            return False
        return (self._clock() - fault.since).total_seconds() >= fault.lasts

    def _is_due(self, fault: Fault) -> bool:
        if self._is_over(fault):
            return False
        if fault.times is not None and fault.fired >= fault.times:
            return False
        if fault.at is not None and fault.seen < fault.at:
            return False
        if fault.every is not None and fault.seen % fault.every:
            return False
        return fault.p is None or self._random.random() < fault.p

    def _matches(self, fault: Fault, call: Call, edge: str, cursor: str) -> bool:
        if (fault.on and fault.on != edge) or (fault.path and not re.search(fault.path, call.path)):
            return False
        if not self._kind_matches(fault, call, edge, cursor):
            return False
        if fault.folder and (edge != "conversations" or call.params.get("folder", "inbox") != fault.folder):
            return False
        if fault.platform and call.params.get("platform", "messenger").lower() != fault.platform.lower():
            return False
        if fault.thread and call.parts[:1] != [fault.thread]:
            return False
        if fault.pages and (fault.pages == "later") != bool(cursor):
            return False
        return fault.when is None or fault.when(call)

    def _kind_matches(self, fault: Fault, call: Call, edge: str, cursor: str) -> bool:
        """Whether this is a call that a fault of this kind can strike at all."""
        kind, size = fault.kind, fault.size or 0
        if kind in TWISTS and edge not in _LIST_EDGES:
            return False
        if kind == "unavailable" and edge != "messages":
            return False
        if kind in _OF_CURSORS and not cursor:
            return False
        if kind in ("too_much_data", "heavy"):
            return _rows(call) * max(1, nested_limit(call.params)) > size
        if kind == "deep_cursor":
            return self._cursors.depth(cursor) >= size
        if kind == "dead_at":
            return size <= self._cursors.depth(cursor) < size + _rows(call)
        return kind != "circle" or self._cursors.depth(cursor) + _rows(call) >= size


def _rows(call: Call) -> int:
    """Return how many rows a call asks for."""
    text = call.params.get("limit", "")
    return int(text) if text.isdigit() else DEFAULT_LIMIT


def _converted(name: str, value: Any, annotation: str) -> Any:
    if value is None or "str" in annotation:
        return value if value is None else str(value)
    kind = "on or off" if "bool" in annotation else "a number" if "float" in annotation else "a whole number"
    try:
        if "bool" in annotation:
            return _boolean(value)
        return float(value) if "float" in annotation else int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} of a fault is {kind}, not {value!r}") from None


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "on", "yes", "1"):
        return True
    if str(value).lower() in ("false", "off", "no", "0"):
        return False
    raise ValueError(value)
