"""How many calls are let through, and what the usage headers say about it.

https://developers.facebook.com/docs/graph-api/overview/rate-limiting
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from airflow_provider_pageconv.sandbox.errors import GraphApiError, usual

USAGE_HEADERS = ("app", "business", "page")
LIMIT_CODES = (4, 17, 32, 341, 368, 613, 80001, 80002, 80006)
APP_CODES = (4, 17, 32, 341)
BUSINESS_CODES = {"messenger": 80006, "instagram": 80002, "pages": 80001}
"""The code of each type's business limit."""
Account = tuple[str, str]
"""Whose calls are counted: (page id, type of the business header)."""
OTHER_BUSINESS = "1012345678909876"
MOST_OBJECTS = 32


@dataclass
class Limits:
    """So many calls in a sliding window. All attributes can be changed live.

    They hold for all Pages and tokens together, or, as a box's `account_limits`, for the Messenger and the Instagram
    account of each Page apart.

    :param calls: how many calls fit into the window; None = no limit.
    :param window: the window in seconds.
    :param code: the error code of a refusal: 613, 80006, 80002, 4, 17, 32, …
    :param status: its HTTP status; None = the one seen most with this code.
    :param regain: whether a refusal names the minutes until access comes back.
    :param prolongs: whether calls made while refused count as well, and so keep the window full.
    :param headers: which usage headers are sent: any of "app", "business", "page".
    :param refusal_headers: whether refusals carry usage headers too.
    :param percent: if set, what the headers say, whatever was really used.
    :param foreign: percent by type, such as `{"ads_management": 100.0}`: the business header of every answer reports
        these too, for the Page and for a business that is not ours, in as many of 32 objects as are left.
    :param foreign_regain: minutes that are reported for a foreign type at 100 % or more.
    :param garbled: whether the usage headers are cut in the middle, so that nobody can read them.
    :param clock: seconds; for tests.
    """

    calls: int | None = None
    window: float = 60.0
    code: int = 613
    status: int | None = None
    regain: bool = True
    prolongs: bool = True
    headers: Iterable[str] = ("app", "business")
    refusal_headers: bool = True
    percent: float | None = None
    foreign: Mapping[str, float] = field(default_factory=dict)
    foreign_regain: int = 45
    garbled: bool = False
    clock: Callable[[], float] = time.monotonic
    refused: int = 0
    _made: dict[Account | None, deque[float]] = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """Raise `ValueError` for numbers that no limit has."""
        if self.calls is not None and self.calls < 0:
            raise ValueError(f"calls of the limits count from 0, not {self.calls}")
        if not self.window > 0:
            raise ValueError(f"window of the limits is a number of seconds above 0, not {self.window}")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status of the limits is from 200 to 599, not {self.status}")
        if not isinstance(self.foreign, Mapping):
            raise ValueError(f'foreign of the limits is written {{"ads_management": 100}}, not {self.foreign!r}')

    def copy(self) -> Limits:
        """Return limits that go their own way from now on."""
        return replace(self, foreign=dict(self.foreign), _made={of: deque(made) for of, made in self._made.items()})

    @property
    def says_something(self) -> bool:
        """Whether there is a budget of which a share can be used."""
        return self.calls is not None or self.percent is not None

    def take(self, account: Account | None = None) -> GraphApiError | None:
        """Count a call and return the refusal, if it is refused.

        :param account: whose call it is, where each account is counted apart; a business limit then answers with the
            code of the account's type.
        """
        if self.calls is None:
            return None
        made, now = self._calls_of(account), self.clock()
        blocked = len(made) >= self.calls
        if not blocked or self.prolongs:
            made.append(now)
        if not blocked:
            return None
        self.refused += 1
        code = self.code
        if account is not None and code in BUSINESS_CODES.values():
            code = BUSINESS_CODES.get(account[1], code)
        error = usual(code)
        if self.status is not None:
            error.status = self.status
        return error

    def used(self, account: Account | None = None) -> float:
        """Return the share of the budget that is used, in percent."""
        if self.percent is not None:
            return self.percent
        if self.calls is None:
            return 1.0
        return 100.0 * len(self._calls_of(account)) / self.calls if self.calls else 100.0

    def regain_minutes(self, account: Account | None = None) -> int:
        """Return the minutes until a call is let through again; 0 if one is."""
        if self.calls is None:
            return 0
        made = self._calls_of(account)
        over = len(made) - self.calls
        if not made or over < 0:
            return 0
        return math.ceil((made[min(over, len(made) - 1)] + self.window - self.clock()) / 60)

    def reset(self) -> None:
        """Forget every call that was made."""
        self._made.clear()
        self.refused = 0

    def _calls_of(self, account: Account | None) -> deque[float]:
        """Return when the calls were made that still lie in the window."""
        made, begins = self._made.setdefault(account, deque()), self.clock() - self.window
        while made and made[0] <= begins:
            made.popleft()
        return made


@dataclass(frozen=True)
class Share:
    """How much of a budget is used, in percent, and in how many minutes there is some of it again."""

    percent: float
    regain: int = 0


def usage_headers(limits: Limits, app: Share, accounts: Mapping[Account, Share]) -> list[tuple[str, str]]:
    """Return the usage headers of an answer.

    :param limits: say which headers are sent, what other products use, and whether all that is readable.
    :param app: what the app's header reports.
    :param accounts: for whom the business header reports, and what; the Page's header says the same as for the first.
    """
    made: list[tuple[str, object]] = []
    if "app" in limits.headers:
        made.append(("x-app-usage", _plain(app)))
    by_page: dict[str, list[dict[str, object]]] = {}
    for (page_id, kind), share in accounts.items():
        by_page.setdefault(page_id, []).append(_object(kind, share))
    pages = list(by_page)
    _add_foreign(limits, by_page)
    if "business" in limits.headers and by_page:
        made.append(("x-business-use-case-usage", by_page))
    if "page" in limits.headers and pages:
        made.append(("x-page-usage", _plain(next(iter(accounts.values())))))
    written = [(name, json.dumps(value, separators=(",", ":"))) for name, value in made]
    return [(name, text[: len(text) // 2]) for name, text in written] if limits.garbled else written


def _add_foreign(limits: Limits, by_page: dict[str, list[dict[str, object]]]) -> None:
    """Add what other products use, turn by turn for a foreign business and for the Pages, until there is no room."""
    for kind, percent in limits.foreign.items():
        found = _object(kind, Share(percent, limits.foreign_regain if percent >= 100 else 0))
        for ident in dict.fromkeys((OTHER_BUSINESS, *by_page)):
            if sum(len(objects) for objects in by_page.values()) < MOST_OBJECTS:
                by_page.setdefault(ident, []).append(dict(found))


def _plain(share: Share) -> dict[str, object]:
    """Return what stands in the header of the app or of the Page."""
    calls = int(share.percent)
    seconds = max(0, calls - calls // 8)
    return {"call_count": calls, "total_time": seconds, "total_cputime": seconds // 2}


def _object(kind: str, share: Share) -> dict[str, object]:
    """Return one object of the business header."""
    used = _plain(share)
    return {
        "type": kind,
        "call_count": used["call_count"],
        "total_cputime": used["total_cputime"],
        "total_time": used["total_time"],
        "estimated_time_to_regain_access": share.regain,
    }
