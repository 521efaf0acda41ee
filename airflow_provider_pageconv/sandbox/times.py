"""Moments: what callers hand in, and all the ways in which an API may write one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, TypeAlias

Moment: TypeAlias = datetime | int | float | str

_AHEAD = 5 * 3600 + 1800  # +05:30, an offset that no full hour gets right


def epoch(moment: Moment) -> int:
    """Return whole seconds since 1970 for a datetime with zone, a number, or ISO text with zone."""
    if isinstance(moment, str):
        text = moment[:-1] + "+00:00" if moment.endswith("Z") else moment
        if text.endswith("+0000"):
            text = text[:-5] + "+00:00"
        moment = datetime.fromisoformat(text)
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{moment.isoformat()} has no time zone")
        return int(moment.timestamp())
    return int(moment)


def wire_time(moment: int) -> str:
    """Return a moment as the Graph API writes it: UTC, to the second, `+0000`."""
    return _clock_face(moment) + "+0000"


def _clock_face(moment: int) -> str:
    days, seconds = divmod(moment, 86400)
    minutes, seconds = divmod(seconds, 60)
    return f"{_wire_day(days)}T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


@lru_cache(maxsize=1024)
def _wire_day(days: int) -> str:
    return datetime.fromtimestamp(days * 86400, timezone.utc).strftime("%Y-%m-%d")


TIME_FORMS: dict[str, Callable[[int], Any]] = {
    "graph": wire_time,
    "z": lambda moment: _clock_face(moment) + "Z",
    "colon": lambda moment: _clock_face(moment) + "+00:00",
    "offset": lambda moment: _clock_face(moment + _AHEAD) + "+0530",
    "fraction": lambda moment: _clock_face(moment) + ".000+0000",
    "seconds": lambda moment: moment,
    "millis": lambda moment: moment * 1000,
    "text_seconds": str,
    "unreadable": lambda moment: "yesterday",  # noqa: ARG005 - that is what makes it unreadable
}
"""How a moment is answered, by the name of the form."""
