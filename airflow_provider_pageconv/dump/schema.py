"""The columns of both streams in Parquet: one schema each, whatever a Page happened to leave out, and nothing is lost in it.

A record becomes a row of cells by the names of columns, and the row becomes the same record again, value by value. What the
columns do not tell of a value (a field that they do not know, ``null``, a list where an object is expected, half an emoji, a
number that is too large, a time in another form) stands in the column ``_extra``: a JSON object of such values, each whole as
the API gave it. What of it fits its column stands there as well; what does not is null there. ``_extra`` is right where both
tell of the same.

This is plain data, and known without pyarrow. ``docs/schema.md`` is held against it by a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES
from airflow_provider_pageconv.times import AHEAD, EARLIEST, seconds

VERSION = 1
"""Of the columns and of what they mean; anything else than a new text in the documentation is a new one."""

EXTRA = "_extra"
FETCHED_AT = "_fetched_at"


@dataclass(frozen=True)
class Plain:
    """A kind of value that has a column of its own, by the name of its type in Parquet's own words."""

    type: str


@dataclass(frozen=True)
class Time:
    """A moment, in microseconds since 1970.

    :param pattern: the text of which the moment tells all.
    :param timespec: how :meth:`datetime.isoformat` writes that, but for the zone.
    :param zone: how the zone is written behind it.
    :param length: characters before the zone.
    """

    pattern: re.Pattern[str]
    timespec: str
    zone: str
    length: int
    type: str = "timestamp"


@dataclass(frozen=True)
class Struct:
    """A JSON object of which some keys are known; one that is null is not there."""

    fields: Mapping[str, Kind]

    @property
    def type(self) -> str:
        return f"struct<{', '.join(f'{name} {kind.type}' for name, kind in self.fields.items())}>"


@dataclass(frozen=True)
class Items:
    """A list.

    :param item: what it holds.
    :param edge: whether it comes as an edge of the API does, ``{"data": […]}``.
    :param only: each item is an object of this key alone, and its value is what the list holds.
    """

    item: Kind
    edge: bool = True
    only: str | None = None

    @property
    def type(self) -> str:
        return f"list<{self.item.type}>"


Kind = Plain | Time | Struct | Items

TEXT, INT, BOOL = Plain("string"), Plain("bigint"), Plain("boolean")
JSON = Plain("string (JSON)")
"""Any value as JSON text, for what has no shape that one could write down."""

_DATE, _CLOCK = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d:\d\d"
GRAPH_TIME = Time(re.compile(rf"{_DATE}T{_CLOCK}\+0000\Z", re.ASCII), "seconds", "+0000", 19)
OUR_TIME = Time(re.compile(rf"{_DATE}T{_CLOCK}\.\d\d\dZ\Z", re.ASCII), "milliseconds", "Z", 23)

_PERSON = Struct({"id": TEXT, "name": TEXT, "email": TEXT, "username": TEXT})
_IMAGE = Struct(
    {
        "width": INT,
        "height": INT,
        "max_width": INT,
        "max_height": INT,
        "url": TEXT,
        "preview_url": TEXT,
        "animated_gif_url": TEXT,
        "animated_gif_preview_url": TEXT,
        "image_type": INT,
        "render_as_sticker": BOOL,
    }
)
_VIDEO = Struct(
    {
        "width": INT,
        "height": INT,
        "length": INT,
        "video_type": INT,
        "url": TEXT,
        "preview_url": TEXT,
        "rotation": INT,
    }
)
_ATTACHMENT = Struct(
    {
        "id": TEXT,
        "type": TEXT,
        "name": TEXT,
        "title": TEXT,
        "mime_type": TEXT,
        "size": INT,
        "url": TEXT,
        "file_url": TEXT,
        "image_data": _IMAGE,
        "video_data": _VIDEO,
        "generic_template": Struct({"title": TEXT, "subtitle": TEXT, "media_url": TEXT, "cta": JSON}),
    }
)
_SHARE = Struct(
    {
        "id": TEXT,
        "type": TEXT,
        "url": TEXT,
        "title": TEXT,
        "link": TEXT,
        "name": TEXT,
        "description": TEXT,
        "template": JSON,
    }
)
_STORY = Struct({"link": TEXT, "id": TEXT})

_ADDED: dict[str, Kind] = {
    "_page_id": TEXT,
    "_platform": TEXT,
    "_folder": TEXT,
    FETCHED_AT: OUR_TIME,
    "_export_id": TEXT,
    "_unavailable": BOOL,
    "_carried": BOOL,
}

COLUMNS: Mapping[str, Mapping[str, Kind]] = {
    CONVERSATIONS: {
        "id": TEXT,
        "updated_time": GRAPH_TIME,
        "message_count": INT,
        "unread_count": INT,
        "snippet": TEXT,
        "name": TEXT,
        "link": TEXT,
        "scoped_thread_key": TEXT,
        "can_reply": BOOL,
        "is_owner": BOOL,
        "is_subscribed": BOOL,
        "participants": Items(_PERSON),
        "former_participants": Items(_PERSON),
        "senders": Items(_PERSON),
        "linked_group": Struct({"id": TEXT, "name": TEXT}),
        "wallpaper": TEXT,
        **_ADDED,
        EXTRA: JSON,
    },
    MESSAGES: {
        "id": TEXT,
        "_conversation_id": TEXT,
        "created_time": GRAPH_TIME,
        "from": _PERSON,
        "to": Items(_PERSON),
        "message": TEXT,
        "tags": Items(TEXT, only="name"),
        "attachments": Items(_ATTACHMENT),
        "shares": Items(_SHARE),
        "sticker": TEXT,
        "story": Struct({"mention": _STORY, "reply_to": _STORY}),
        "reactions": Items(Struct({"reaction": TEXT, "emoji": TEXT, "users": Items(_PERSON, edge=False)})),
        "is_unsupported": BOOL,
        "reply_to": Struct({"mid": TEXT, "is_self_reply": BOOL}),
        **_ADDED,
        EXTRA: JSON,
    },
}
"""Of each stream the columns in their order. The names are those of the records, so that one query reads both formats."""

Lost = list[None]
"""Grows where a cell does not tell all of its value."""

_Write = Callable[[Any, Lost], Any]
_Read = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all are in UTC, and without zones it is quicker
_MICROSECOND = timedelta(microseconds=1)
FOREVER = datetime(9999, 12, 30, 23, 59, 59, tzinfo=timezone.utc).timestamp()
"""Nothing a day later than this is in the calendar."""

_LARGEST = 2**63


# ---- from a record to a row


def to_row(stream: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a record by the names of columns; columns that are not named are null.

    :param record: as JSON was read.
    """
    write, times = _WRITE[stream], _TIMES[stream]
    row: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    lost: Lost = []
    for name, value in record.items():
        if (make := write.get(name)) is not None:
            cell = make(value, lost)
        elif (kind := times.get(name)) is not None:
            latest = FOREVER if name == FETCHED_AT else _latest(record.get(FETCHED_AT))
            cell = _moment(kind, value, latest, lost)
        else:
            extra[name] = value
            continue
        if lost:
            extra[name] = value
            lost.clear()
        if cell is not None:
            row[name] = cell
    if extra:
        row[EXTRA] = json_text.write(extra).decode()
    return row


def _latest(fetched_at: object) -> float:
    """The last moment that a time may name in a record that was fetched then: it is how a window is cut."""
    return _seconds_of(fetched_at) if isinstance(fetched_at, str) else FOREVER


@lru_cache(256)  # all records of an answer have the same
def _seconds_of(fetched_at: str) -> float:
    fetched = seconds(fetched_at, FOREVER)
    return FOREVER if fetched is None else min(fetched, FOREVER)


def _moment(kind: Time, value: object, now: float, lost: Lost) -> int | None:
    """Microseconds since 1970; what counts as no time anywhere here is none."""
    if isinstance(value, str) and kind.pattern.match(value):
        try:
            moment = datetime.fromisoformat(value[: kind.length]) - _EPOCH
        except ValueError:
            pass  # no day of the calendar
        else:
            if EARLIEST <= moment.total_seconds() <= now + AHEAD:
                return moment // _MICROSECOND
        lost.append(None)
        return None
    lost.append(None)
    found = seconds(value, now)
    return None if found is None else round(found * 1_000_000)


def _text(value: Any, lost: Lost) -> str | None:
    if type(value) is str:
        if value.isascii():
            return value
        try:
            value.encode()
        except UnicodeEncodeError:  # half an emoji: Parquet holds Unicode only
            pass
        else:
            return value
    lost.append(None)
    return None


def _int(value: Any, lost: Lost) -> int | None:
    if type(value) is int and -_LARGEST <= value < _LARGEST:
        return value
    lost.append(None)
    return None


def _bool(value: Any, lost: Lost) -> bool | None:
    if type(value) is bool:
        return value
    lost.append(None)
    return None


def _json(value: Any, lost: Lost) -> str | None:
    if value is not None:
        return json_text.write(value).decode()
    lost.append(None)
    return None


_PLAIN: Mapping[Plain, _Write] = {TEXT: _text, INT: _int, BOOL: _bool, JSON: _json}


def _writer(kind: Kind) -> _Write:
    """What makes cells of a kind."""
    if isinstance(kind, Plain):
        return _PLAIN[kind]
    if isinstance(kind, Struct):
        return _struct({name: _writer(inner) for name, inner in kind.fields.items()})
    assert isinstance(kind, Items)
    return _items(_writer(kind.item), kind)


def _struct(fields: Mapping[str, _Write]) -> _Write:
    def write(value: Any, lost: Lost) -> dict[str, Any] | None:
        if type(value) is not dict:
            lost.append(None)
            return None
        cell = {}
        for name, inner in value.items():
            field = fields.get(name)
            if field is None:
                lost.append(None)
            else:
                cell[name] = field(inner, lost)
        return cell

    return write


def _items(item: _Write, kind: Items) -> _Write:
    only = None if kind.only is None else _struct({kind.only: item})

    def write(value: Any, lost: Lost) -> list[Any] | None:
        rows = value
        if kind.edge and type(value) is dict:
            rows = value.get("data")
            if len(value) > 1:
                lost.append(None)
        elif kind.edge:
            rows = None
        if type(rows) is not list:
            lost.append(None)
            return None
        if only is None:
            return [item(row, lost) for row in rows]
        cells = []
        for row in rows:
            cell = only(row, lost)
            if not cell:  # an object without it, of which nothing would be told
                lost.append(None)
            cells.append(cell.get(kind.only) if cell else None)
        return cells

    return write


# ---- from a row to a record


def from_row(stream: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The record that a row was made of.

    :param row: cells by the names of columns; keys of structs and columns may be missing or ``None`` where they are null.
    :raises ValueError: ``_extra`` is no JSON object, or another cell is none that :func:`to_row` makes.
    """
    read = _READ[stream]
    record: dict[str, Any] = {}
    extra = json_text.read(row[EXTRA].encode()) if row.get(EXTRA) is not None else {}
    if not isinstance(extra, dict):
        raise ValueError(f"{EXTRA} is no JSON object")
    for name, cell in row.items():
        if cell is not None and name != EXTRA and name not in extra:
            record[name] = read[name](cell)
    record.update(extra)
    return record


def _reader(kind: Kind) -> _Read:
    """What makes values of cells of a kind."""
    if isinstance(kind, Time):
        return _written(kind)
    if isinstance(kind, Struct):
        return _object({name: _reader(inner) for name, inner in kind.fields.items()})
    if isinstance(kind, Items):
        return _list(_reader(kind.item), kind)
    return (lambda cell: json_text.read(cell.encode())) if kind is JSON else (lambda cell: cell)


def _written(kind: Time) -> _Read:
    def read(cell: int) -> str:
        try:
            moment = _EPOCH + cell * _MICROSECOND
        except OverflowError:
            raise ValueError("a time lies beyond the calendar") from None
        return moment.isoformat(timespec=kind.timespec) + kind.zone

    return read


def _object(fields: Mapping[str, _Read]) -> _Read:
    def read(cell: Mapping[str, Any]) -> dict[str, Any]:
        return {name: fields[name](inner) for name, inner in cell.items() if inner is not None}

    return read


def _list(item: _Read, kind: Items) -> _Read:
    def read(cell: list[Any]) -> Any:
        rows = [None if one is None else item(one) for one in cell]
        if kind.only:
            rows = [{kind.only: one} for one in rows]
        return {"data": rows} if kind.edge else rows

    return read


_TIMES: Mapping[str, Mapping[str, Time]] = {
    stream: {name: kind for name, kind in columns.items() if isinstance(kind, Time)}
    for stream, columns in COLUMNS.items()
}
_WRITE: Mapping[str, Mapping[str, _Write]] = {
    stream: {name: _writer(kind) for name, kind in columns.items() if name != EXTRA and name not in _TIMES[stream]}
    for stream, columns in COLUMNS.items()
}
_READ: Mapping[str, Mapping[str, _Read]] = {
    stream: {name: _reader(kind) for name, kind in columns.items() if name != EXTRA}
    for stream, columns in COLUMNS.items()
}
