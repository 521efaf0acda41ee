"""One place for moments: as the Graph API writes them, and as this package does."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

EARLIEST = datetime(2004, 1, 1, tzinfo=timezone.utc).timestamp()
"""Before that there was no Facebook, so no thread and no message."""

AHEAD = timedelta(days=1).total_seconds()
"""Seconds that a time may lie in the future."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - both are in UTC, and without zones it is quicker
_MILLISECONDS_FROM = 1e11
"""As seconds this would be the year 5138."""

# As texts: compiled when they are first used, they cost a DAG file that is only parsed nothing.
_ISO = r"(\d{4})-?(\d\d)-?(\d\d)[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?\s?(?:([Zz])|([+-])(\d\d):?(\d\d)?)?\Z"
_NUMBER = r"\d{9,14}(\.\d+)?\Z"


def seconds(time: object, now: float) -> float | None:
    """Read a time of the Graph API as seconds since 1970.

    It is documented as ``2026-11-21T10:00:00+0000``; other offsets, fractions of a second, and seconds or milliseconds
    since 1970 were seen too.

    :param now: the present, seconds since 1970.
    :return: ``None`` for what cannot be read, lies before 2004 or more than a day ahead.
    """
    value = None
    if isinstance(time, str) and len(time) == 24 and time.endswith("+0000"):
        try:  # the form that is documented; to suppress the error would take longer than all the rest
            value = (datetime.fromisoformat(time[:19]) - _EPOCH).total_seconds()
        except ValueError:
            value = None
    if value is None:
        value = _read(time)
    return value if value is not None and EARLIEST <= value <= now + AHEAD else None


def _read(time: object) -> float | None:
    if isinstance(time, str):
        text = time.strip()
        return _read_number(float(text)) if re.match(_NUMBER, text, re.ASCII) else _read_iso(text)
    if isinstance(time, (int, float)) and not isinstance(time, bool):
        try:
            return _read_number(float(time))
        except OverflowError:
            return None
    return None


def _read_number(number: float) -> float:
    return number / 1000 if number >= _MILLISECONDS_FROM else number


def _read_iso(text: str) -> float | None:
    match = re.match(_ISO, text, re.ASCII)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, ahead_hours, ahead_minutes = match.groups()
    if int(second or 0) > 60 or int(ahead_hours or 0) > 23 or int(ahead_minutes or 0) > 59:
        return None
    ahead = timedelta(hours=int(ahead_hours or 0), minutes=int(ahead_minutes or 0))
    try:
        plain = datetime(int(year), int(month), int(day), int(hour), int(minute), tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
    offset = ahead.total_seconds() * (-1 if sign == "-" else 1)
    return plain + int(second or 0) + float(f"0.{fraction or 0}") - offset


def round_up(time: datetime) -> datetime:
    """A moment with a zone in UTC, rounded up to whole seconds.

    :raises OverflowError: it lies at the end of the calendar.
    """
    utc = datetime.fromtimestamp(0, timezone.utc) + (time - datetime.fromtimestamp(0, timezone.utc))
    return utc.replace(microsecond=0) + timedelta(seconds=1 if utc.microsecond else 0)


def utc(seconds: float) -> datetime:
    """A moment as a datetime, from seconds since 1970."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def iso(time: datetime, timespec: str = "seconds") -> str:
    """A moment as records, manifests and checkpoints have it."""
    return time.astimezone(timezone.utc).isoformat(timespec=timespec).replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """Read a moment that this package wrote.

    :raises ValueError: it is none.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def from_header(text: str) -> datetime | None:
    """Read an HTTP ``Date`` header (RFC 9110, section 5.6.7); ``None`` for what is none."""
    from email.utils import parsedate_to_datetime  # operators are imported whenever a DAG file is parsed

    try:
        time = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
