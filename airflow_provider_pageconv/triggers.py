"""Waits for a moment, in the triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

_NAP_SECONDS = 60.0
"""How long it sleeps at most before it looks at the clock again, which may have been set."""


class PageConversationsRateLimitTrigger(BaseTrigger):
    """Holds the moment at which a limit of the Graph API is looked at again, and nothing else.

    No client, no secret and no call gets into the triggerer. That the class is one of ours shows in the UI what a deferred
    task waits for; until when, the task's own log has said, so it says nothing itself.

    :param moment: with a time zone.
    :raises TypeError: it is no moment.
    :raises ValueError: it has no time zone.
    """

    def __init__(self, moment: datetime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not isinstance(moment, datetime):
            raise TypeError(f"moment is {moment!r}: it takes a datetime.")
        if moment.utcoffset() is None:
            raise ValueError(f"moment is {moment!r}: it takes a datetime with a time zone.")
        self.moment = moment.astimezone(timezone.utc)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, reading the clock again and again."""
        while (left := (self.moment - _now()).total_seconds()) > 0:
            await asyncio.sleep(min(left, _NAP_SECONDS))
        yield TriggerEvent(self.moment)  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"moment": self.moment}


def _now() -> datetime:
    return datetime.now(timezone.utc)
