"""Waits for a moment, in the triggerer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger


class PageConversationsRateLimitTrigger(DateTimeTrigger):
    """Holds the moment at which a limit of the Graph API is looked at again, and nothing else.

    Airflow's own trigger waits, re-reading the clock; no client, no secret and no call gets into the triggerer. That the
    class is one of ours shows in the UI what a deferred task waits for.

    :param moment: with a time zone.
    """

    def __init__(self, moment: datetime) -> None:
        super().__init__(moment=moment)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"moment": self.moment}
