"""What time it is on the Page."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone


class Clock:
    """What time it is on the Page: it stands still, or goes on from where it was set.

    :param start: where it starts; real time if left out.
    :param ticking: whether it goes on by itself.
    """

    def __init__(self, start: datetime | None = None, *, ticking: bool = True) -> None:
        self._start = datetime.now(timezone.utc) if start is None else start
        self._since = time.monotonic()
        self.ticking = ticking

    def __call__(self) -> datetime:
        """Return the time, with zone."""
        if not self.ticking:
            return self._start
        return self._start + timedelta(seconds=time.monotonic() - self._since)

    def advance(self, by: timedelta) -> None:
        """Put the clock forward."""
        self._start += by
