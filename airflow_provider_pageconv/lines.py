"""What is said in the log: lines that are whole where Airflow's UI shows some 110 characters of each.

What, until when, why, in this order; one line for each event. The figures stand beside the text as well, as fields of their
own, for whoever searches logs by machine.
"""

from __future__ import annotations

import logging
import sys
import textwrap
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta, timezone
from typing import Any

LONGEST = 110
"""Characters that Airflow's UI shows of a line, at 1500 pixels; it does not wrap."""


def tell(log: logging.Logger, level: int, text: str, **fields: Any) -> None:
    """Log a line, and its figures as fields of the record that Airflow writes.

    :param fields: neither secrets nor texts of people.
    """
    with _fields(fields):
        log.log(level, "%s", text, stacklevel=2)


def _fields(fields: dict[str, Any]) -> AbstractContextManager[Any]:
    """Airflow puts what is bound to the context into each record, and drops the ``extra`` of the standard library."""
    structlog = sys.modules.get("structlog.contextvars")
    if structlog is None:  # where Airflow has not loaded it nobody writes records with fields
        return nullcontext()
    found: AbstractContextManager[Any] = structlog.bound_contextvars(**fields)
    return found


def wrapped(text: str) -> list[str]:
    """A text in lines that are not longer than what is shown."""
    return textwrap.wrap(text, LONGEST, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def clock(moment: datetime, now: datetime) -> str:
    """A moment in UTC, with its day where that is another one."""
    moment, now = moment.astimezone(timezone.utc), now.astimezone(timezone.utc)
    return f"{moment:%H:%M:%S} UTC" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def length(time: timedelta) -> str:
    """How long something takes, in two units at the most.

    >>> length(timedelta(seconds=80)), length(timedelta(minutes=61)), length(timedelta(hours=47))
    ('80 s', '1 h 1 min', '47 h')
    """
    seconds = max(0, round(time.total_seconds()))
    if seconds < 180:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(part for part in (f"{hours} h" * (hours > 0), f"{minutes} min" * (minutes > 0)) if part)


def until(moment: datetime, now: datetime) -> str:
    """Until when, and how long that is: ``until 08:24:22 UTC (80 s)``."""
    return f"until {clock(moment, now)} ({length(moment - now)})"


def window(since: datetime | None, end: datetime | None) -> str:
    """A window as people read it, without what is the same in both ends.

    >>> window(datetime(2026, 11, 21, tzinfo=timezone.utc), datetime(2026, 11, 22, tzinfo=timezone.utc))
    '2026-11-21 to 2026-11-22'
    """
    if end is None:
        return "all messages" if since is None else f"from {_day(since)}"
    return f"everything before {_day(end)}" if since is None else f"{_day(since)} to {_day(end)}"


def _day(moment: datetime) -> str:
    moment = moment.astimezone(timezone.utc)
    if moment.hour == moment.minute == moment.second == 0:
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment.second else f"{moment:%Y-%m-%d %H:%M} UTC"


def count(number: int, noun: str) -> str:
    """A number of things: ``1 message``, ``1,204 messages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """A number of bytes as people read it."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.1f} {unit}"
