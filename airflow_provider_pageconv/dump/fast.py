"""The fast way for what is ordinary: a page of threads whose messages all came along, whole, dated and inside the window.

:mod:`msgspec` reads such a page into structures whose values stay the bytes that they were, and writes them again as they
came. Whatever is not ordinary, a page or one thread of it, goes the plain way (:func:`~airflow_provider_pageconv.graph.edges.read_page`,
:meth:`~airflow_provider_pageconv.dump.readers.Readers.begin`), which is always right; this one is shown to bring the same.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from airflow_provider_pageconv.dump.threads import Scope
from airflow_provider_pageconv.graph.edges import ConversationsQuery, Row, next_cursor, read_page
from airflow_provider_pageconv.graph.errors import GraphTransientError
from airflow_provider_pageconv.times import AHEAD, EARLIEST, utc

_MOST_KEYS, _MOST_MISSES = 200, 20
"""Keys of a node that are learnt, and pages in a row that were not ordinary, before the fast way is not tried any more."""

# The documented form of a time. Two of them compare as texts like the moments; the last days of a month are left out where
# they would have to be looked up.
_TIMES = re.compile(
    r"(?:\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\+0000)*\Z",
    re.ASCII,
)
_LENGTH = 24
_ESCAPED_LETTER = re.compile(rb"\\u00[67]")
_SEPARATORS = "\x85\u2028\u2029"
_encoder = msgspec.json.Encoder()


class _List(msgspec.Struct, forbid_unknown_fields=True):
    """The shape of an edge; the structures of a query have their own kinds of nodes in it."""

    data: list[Any]
    paging: Raw | UnsetType = UNSET


@dataclass(frozen=True)
class FastPage:
    """A page of a list; see :class:`~airflow_provider_pageconv.graph.edges.EdgePage`.

    :param rows: the threads, as structures.
    :param paged: whether something inside their values may be ``paging``.
    """

    rows: Sequence[Any]
    after: str | None
    asked: int
    paged: bool
    unusable: int = 0


@dataclass(frozen=True)
class Bounds:
    """What the texts of times are compared with.

    :param since: nothing older is ordinary.
    :param until: nothing as new is.
    :param began: when the walk began.
    """

    since: str
    until: str
    began: str

    @classmethod
    def of(cls, scope: Scope, now: float) -> Bounds:
        """Those of a window.

        :param now: the present, seconds since 1970.
        """
        since = max(scope.since or EARLIEST, EARLIEST)
        return cls(*(_text(math.floor(moment)) for moment in (since, min(scope.until, now + AHEAD), scope.began)))


@functools.lru_cache(maxsize=16)  # asked for each page; most come within the second of another one
def _text(second: int) -> str:
    return utc(second).strftime("%Y-%m-%dT%H:%M:%S+0000")


class FastReader:
    """Reads pages of one query.

    :param nested: whether messages are asked for inside each thread.
    :param files: whether messages with attachments are not ordinary, since the files behind their links are fetched.
    """

    def __init__(self, query: ConversationsQuery, nested: int, *, files: bool = False) -> None:
        self.query = query
        self.nested = nested
        self._files = files
        # What cannot be told from the sender's absence is the plain way's to judge.
        self._tries = query.asks_for_sender if nested else query.message_fields is None
        inner = query.message_fields.all_names if query.message_fields else ()
        self._keys: dict[str, list[str]] = {"threads": list(query.fields.all_names), "messages": list(inner)}
        self._misses = 0
        self._make_decoder()

    def _make_decoder(self) -> None:
        looked_at = {"created_time": str, "from": Raw, **({"attachments": Raw} if self._files else {})}
        message = _structure("Message", self._keys["messages"], looked_at)
        inner = msgspec.defstruct("Messages", [("data", list[message])], bases=(_List,))  # type: ignore[valid-type]
        typed = {
            "updated_time": str | int | float | None,
            "message_count": int,
            **({"messages": inner} if self.nested else {}),
        }
        thread = _structure("Thread", self._keys["threads"], typed)
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Page", [("data", list[thread])], bases=(_List,)))  # type: ignore[valid-type]

    def read(self, body: bytes) -> FastPage | None:
        """Read a page; ``None`` where it has to go the plain way."""
        if not self._tries or not _is_plain_text(body):
            return None
        try:
            page = self._decode(body)
            after = next_cursor(msgspec.json.decode(page.paging) if page.paging is not UNSET else None)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, GraphTransientError):
            self._misses += 1
            self._tries = self._misses < _MOST_MISSES
            return None
        self._misses = 0
        pagings = (page.paging is not UNSET) + (sum(map(self._pagings, page.data)) if self.nested else 0)
        return FastPage(page.data, after, self.nested, body.count(b'paging"') != pagings)

    def _decode(self, body: bytes) -> Any:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            if not self._learn(msgspec.json.decode(body)):
                raise
        return self._decoder.decode(body)

    def _learn(self, document: Any) -> bool:
        """Take note of keys that nodes have beside the fields that were asked for; whether there are any."""
        rows = [row for row in _rows(document) if isinstance(row, dict)]
        messages = [message for row in rows for message in _rows(row.get("messages")) if isinstance(message, dict)]
        before = sum(map(len, self._keys.values()))
        for kind, nodes in (("threads", rows), ("messages", messages)):
            keys = self._keys[kind]
            for name in dict.fromkeys(name for node in nodes for name in node):
                if name not in keys and _may_be_learnt(name) and len(keys) < _MOST_KEYS:
                    keys.append(name)
        if sum(map(len, self._keys.values())) == before:
            return False
        self._make_decoder()
        return True

    # ---- one thread

    def messages(self, thread: Any, bounds: Bounds) -> int | None:
        """How many messages a thread has that is ordinary; ``None`` where it is not."""
        if not self.nested:
            return 0
        inner = thread.messages
        if inner is UNSET or not inner.data or (inner.paging is not UNSET and b'next"' in bytes(inner.paging)):
            return None
        count = len(inner.data)
        if thread.message_count is UNSET or thread.message_count > count:
            return None
        if self._files and any(message.attachments is not UNSET for message in inner.data):
            return None
        times = [message.created_time for message in inner.data]
        if UNSET in times or UNSET in [message.sender for message in inner.data]:
            return None
        newest, oldest = times[0], times[-1]
        inside = bounds.since <= oldest < bounds.began and newest < bounds.until
        if not inside or sorted(times, reverse=True) != times:
            return None
        text = "".join(times)
        if len(text) != _LENGTH * count or not _TIMES.match(text):
            return None
        return count if len({message.id for message in inner.data}) == count else None

    def is_paged(self, thread: Any) -> bool:
        """Whether something inside a thread's values may be ``paging``."""
        return _encoder.encode(thread).count(b'paging"') != self._pagings(thread)

    def _pagings(self, thread: Any) -> int:
        return self.nested and thread.messages is not UNSET and thread.messages.paging is not UNSET

    def row(self, thread: Any) -> Row:
        """The same for the plain way."""
        document = msgspec.json.decode(_encoder.encode(thread))
        return read_page({"data": [document]}, self.nested).rows[0]


def _may_be_learnt(key: str) -> bool:
    """Whether a key may be one of a field: ours begin with an underscore, and ``paging`` is cut out."""
    return key.isascii() and key.isidentifier() and not key.startswith("_") and key != "paging"


def _rows(document: Any) -> list[Any]:
    rows = document.get("data") if isinstance(document, dict) else None
    return rows if isinstance(rows, list) else []


def _is_plain_text(body: bytes) -> bool:
    """Whether the values of a page can be written as they came: each stays on its line, and no key hides behind escapes."""
    if b"\n" in body or b"\r" in body:
        return False
    if b"\\" in body and _ESCAPED_LETTER.search(body):
        return False
    if body.isascii():
        return True
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    return not any(separator in text for separator in _SEPARATORS)


def _structure(name: str, keys: Sequence[str], typed: Mapping[str, Any]) -> type[msgspec.Struct]:
    """A kind of node: its id, what is looked at, and any other value as its bytes."""
    attributes = {"id": "id", "from": "sender"}
    fields: list[Any] = [("id", Annotated[str, msgspec.Meta(min_length=1)])]
    for number, key in enumerate(dict.fromkeys((*typed, *keys))):
        if key != "id":
            attribute = attributes.get(key, key if key in typed else f"value_{number}")
            attributes[key] = attribute
            fields.append((attribute, typed.get(key, Raw) | UnsetType, UNSET))
    rename = {attribute: key for key, attribute in attributes.items()}
    return msgspec.defstruct(name, fields, rename=rename, forbid_unknown_fields=True, gc=False)


def written(nodes: Sequence[Any], marks: Mapping[str, Any]) -> bytes:
    """The records of some nodes, each on a line.

    :param marks: what stands at the end of each.
    """
    # No value of a plain text holds a line break, so that each of these is the end of a record.
    return _encoder.encode_lines(nodes).replace(b"}\n", b"," + _encoder.encode(marks)[1:] + b"\n")
