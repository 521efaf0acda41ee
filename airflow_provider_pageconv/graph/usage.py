"""Usage headers of the Graph API, read into a value.

Every value in these headers is a percentage of the allowance, and the time until access is regained is in minutes:
https://developers.facebook.com/docs/graph-api/overview/rate-limiting. Any header may be absent.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

SLOW_PERCENT, STOP_PERCENT = 75.0, 95.0
"""From where on calls become slower, and from where on they wait before the API has to refuse them."""

_SCHEDULE = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 20, 30))
_ABUSE_WAIT = timedelta(hours=1)
_SLOWEST = 4.0

APP_HEADERS = ("x-app-usage", "x-page-usage")
BUSINESS_HEADER = "x-business-use-case-usage"

_LONGEST_REGAIN = timedelta(days=7)
_PERCENT_CEILING = 10_000.0


@dataclass(frozen=True)
class Usage:
    """What the headers of one answer said.

    :param percent: the greatest percentage that any of the headers names.
    :param regain: the greatest time until access is regained that any of them names; ``None`` where none is named or it
        is 0, which is also sent at 95 % and therefore does not mean "now".
    :param by_type: the greatest percentage by limit: ``app``, ``page``, and the types of the business use case header.
    """

    percent: float
    regain: timedelta | None
    by_type: Mapping[str, float]


def read_usage(headers: Mapping[str, str], types: Collection[str] = ()) -> Usage | None:
    """Read the usage headers of one answer.

    :param headers: header names in lower case.
    :param types: which types of the business use case header count, for it tells of other products too; empty: all.
    :return: ``None`` where no header says anything readable.
    """
    by_type: dict[str, float] = {}
    regain_minutes = 0.0
    for kind, row in _rows(headers, types):
        shares = [value for key in ("call_count", "total_time", "total_cputime") if (value := _number(row.get(key)))]
        by_type[kind] = max([by_type.get(kind, 0.0), *shares])
        regain_minutes = max(regain_minutes, _number(row.get("estimated_time_to_regain_access")))
    if not by_type:
        return None
    regain = min(timedelta(minutes=min(regain_minutes, 1e6)), _LONGEST_REGAIN) or None
    return Usage(percent=max(by_type.values()), regain=regain, by_type=by_type)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read a ``Retry-After`` header given in seconds; a date in it is left aside, Meta sends none."""
    seconds = _number(headers.get("retry-after"))
    return min(timedelta(seconds=min(seconds, 1e8)), _LONGEST_REGAIN) or None


def slow_factor(percent: float, slow_percent: float, stop_percent: float) -> float:
    """How many times as long the pause between two calls is at some usage: 1 below ``slow_percent``, then 2 to 4."""
    if percent < slow_percent:
        return 1.0
    span = max(stop_percent - slow_percent, 1.0)
    return min(2.0 + (_SLOWEST - 2.0) * (percent - slow_percent) / span, _SLOWEST)


def time_to_wait(named: timedelta | None, refusals: int, *, abuse: bool = False) -> timedelta:
    """How long to stop calling after a refusal, never less than the server's word.

    Where it names no time: 1, 2, 5, 10, 20, 30, 30 … minutes; an hour if the calls were held to be abusive.

    :param named: the time that the server names.
    :param refusals: how many there were in a row, this one included.
    """
    least = _ABUSE_WAIT if abuse else timedelta(0)
    if named is None and not abuse:
        return _SCHEDULE[min(max(refusals, 1), len(_SCHEDULE)) - 1]
    return max(named or timedelta(0), least)


def _rows(headers: Mapping[str, str], types: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in APP_HEADERS:
        row = _json(headers.get(name))
        if isinstance(row, dict):
            yield name.split("-")[1], row
    business = _json(headers.get(BUSINESS_HEADER))
    for rows in business.values() if isinstance(business, dict) else ():
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict):
                kind = row.get("type")
                named = kind if isinstance(kind, str) and kind.replace("_", "").isalnum() else "other"
                if not types or named in types:
                    yield named, row


def _json(text: str | None) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _number(value: Any) -> float:
    """Read a number that may come as text; what is no number, negative or not finite counts as 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0.0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return min(number, _PERCENT_CEILING * 10_000) if 0 < number < float("inf") else 0.0
