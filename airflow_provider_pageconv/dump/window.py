"""The half-open stretch of time that an export covers, and its name in the destination."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(?:(\d{8}T\d{6}Z)|begin)--(\d{8}T\d{6}Z)\Z")

STOP_MARGIN = timedelta(hours=1)
"""How much older than ``since`` rows have to be before a walk stops there."""


@dataclass(frozen=True)
class Window:
    """``[since, until)`` in UTC, whole seconds; ``None`` is an open end. With both open it is a dump of everything."""

    since: datetime | None = None
    until: datetime | None = None

    @property
    def name(self) -> str:
        """What stands behind ``window=`` in the destination."""
        if self.until is None:
            return "all"
        return f"{_stamp(self.since) if self.since else 'begin'}--{_stamp(self.until)}"

    @classmethod
    def named(cls, name: str) -> Window | None:
        """Read :attr:`name` back; ``None`` for what is no window's name."""
        if name == "all":
            return cls()
        match = _NAME.match(name)
        if not match:
            return None
        try:
            since, until = (
                datetime.strptime(stamp, _STAMP).replace(tzinfo=timezone.utc) if stamp else None
                for stamp in match.groups()
            )
        except ValueError:
            return None
        return cls(since, until)

    def overlaps(self, other: Window) -> bool:
        """Whether a message could fall into both; ``all`` overlaps every window."""
        if self.until is None or other.until is None:
            return True
        return (self.since is None or self.since < other.until) and (other.since is None or other.since < self.until)


def _stamp(time: datetime) -> str:
    return f"{time.year:04d}{time:%m%dT%H%M%SZ}"  # %Y does not fill up with zeros everywhere


def overlapping(window: Window, names: Sequence[str]) -> str | None:
    """The first of some window names, in their order, that overlaps a window without being the same."""
    for name in sorted(names):
        other = Window.named(name)
        if other is not None and other != window and window.overlaps(other):
            return name
    return None
