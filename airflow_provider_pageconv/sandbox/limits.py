"""How many calls are let through, and what the usage headers say about it.

https://developers.facebook.com/docs/graph-api/overview/rate-limiting
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from airflow_provider_pageconv.sandbox.errors import GraphApiError, usual

USAGE_HEADERS = ("app", "business", "page")


@dataclass
class Limits:
    """So many calls in a sliding window, for all Pages and tokens together. All attributes can be changed live.

    :param calls: how many calls fit into the window; None = no limit.
    :param window: the window in seconds.
    :param code: the error code of a refusal: 613, 80006, 80002, 4, 17, 32, …
    :param status: its HTTP status; None = the one seen most with this code.
    :param regain: whether a refusal names the minutes until access comes back.
    :param prolongs: whether calls made while refused count as well, and so keep the window full.
    :param headers: which usage headers are sent: any of "app", "business", "page".
    :param refusal_headers: whether refusals carry usage headers too.
    :param percent: if set, what the headers say, whatever was really used.
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
    clock: Callable[[], float] = time.monotonic
    refused: int = 0
    _made: deque[float] = field(default_factory=deque, repr=False)

    def take(self, calls: int = 1) -> GraphApiError | None:
        """Count a call (`?ids=` counts each id) and return the refusal, if it is refused."""
        if self.calls is None:
            return None
        now = self.clock()
        self._forget(now)
        blocked = len(self._made) + calls > self.calls
        if not blocked or self.prolongs:
            self._made.extend([now] * calls)
        if not blocked:
            return None
        self.refused += 1
        error = usual(self.code)
        if self.status is not None:
            error.status = self.status
        return error

    def used(self) -> float:
        """Return the share of the budget that is used, in percent."""
        if self.percent is not None:
            return self.percent
        if self.calls is None:
            return 1.0
        self._forget(self.clock())
        return 100.0 * len(self._made) / self.calls if self.calls else 100.0

    def regain_minutes(self) -> int:
        """Return the minutes until a call is let through again; 0 if one is."""
        if self.calls is None or not self._made:
            return 0
        now = self.clock()
        self._forget(now)
        over = len(self._made) - self.calls
        if over < 0:
            return 0
        return math.ceil((self._made[min(over, len(self._made) - 1)] + self.window - now) / 60)

    def reset(self) -> None:
        """Forget every call that was made."""
        self._made.clear()
        self.refused = 0

    def _forget(self, now: float) -> None:
        while self._made and self._made[0] <= now - self.window:
            self._made.popleft()


def usage_headers(
    limits: Limits, usage: Iterable[tuple[str, str]], *, percent: float | None = None, regain: int = 0
) -> list[tuple[str, str]]:
    """Return the usage headers of an answer.

    :param usage: (page id, type) pairs for which the business header reports.
    :param percent: share of the budget; what the limits say if left out.
    :param regain: minutes until access comes back.
    """
    share = int(limits.used() if percent is None else percent)
    time_share = max(0, share - share // 8)
    plain = {"call_count": share, "total_time": time_share, "total_cputime": time_share // 2}
    made: list[tuple[str, str]] = []
    if "app" in limits.headers:
        made.append(("x-app-usage", json.dumps(plain, separators=(",", ":"))))
    by_page: dict[str, list[dict[str, object]]] = {}
    for page_id, kind in dict.fromkeys(usage):
        by_page.setdefault(page_id, []).append(
            {
                "type": kind,
                "call_count": share,
                "total_cputime": time_share // 2,
                "total_time": time_share,
                "estimated_time_to_regain_access": regain,
            }
        )
    if "business" in limits.headers and by_page:
        made.append(("x-business-use-case-usage", json.dumps(by_page, separators=(",", ":"))))
    if "page" in limits.headers and by_page:
        made.append(("x-page-usage", json.dumps(plain, separators=(",", ":"))))
    return made
