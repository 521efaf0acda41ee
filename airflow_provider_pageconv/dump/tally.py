"""How many records go out of an export, or would: counted alike wherever some do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from airflow_provider_pageconv import lines
from airflow_provider_pageconv.dump.media import media_of
from airflow_provider_pageconv.dump.records import MESSAGES


@dataclass
class Tally:
    """What went, or would go.

    :param changed: records that stay, without those who are in them no more.
    :param expected: of what ``message_count`` says, by the messages that went.
    :param incomplete: ids of conversations that went.
    :param media_failed: attachments that went whose files could not be had, by reason.
    """

    conversations: int = 0
    messages: int = 0
    changed: int = 0
    media_files: int = 0
    media_bytes: int = 0
    files_rewritten: int = 0
    files_deleted: int = 0
    conversations_carried: int = 0
    messages_carried: int = 0
    conversations_unavailable: int = 0
    messages_unavailable: int = 0
    expected: int = 0
    incomplete: set[str] = field(default_factory=set, repr=False)
    media_failed: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add what another one counted, but for the ids."""
        for one in fields(self):
            if isinstance(getattr(self, one.name), int):
                setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def count(self, stream: str, record: Mapping[str, Any], *, whole: bool) -> None:
        """Count a record that goes.

        :param whole: whether all of its conversation does.
        """
        unavailable, carried = bool(record.get("_unavailable")), bool(record.get("_carried"))
        if stream == MESSAGES:
            self.messages += 1
            self.messages_unavailable += unavailable
            self.messages_carried += carried
            self.expected += not whole
            self.media_failed.update(str(value["error"]) for _, value in media_of(record) if "error" in value)
            return
        self.conversations += 1
        self.conversations_unavailable += unavailable
        self.conversations_carried += carried
        self.incomplete.add(record["id"])
        number = record.get("message_count")
        self.expected += number if isinstance(number, int) else 0

    @property
    def went(self) -> bool:
        """Whether anything did."""
        return bool(self.conversations or self.messages or self.changed or self.files_deleted)

    def __str__(self) -> str:
        told = [lines.count(getattr(self, name), name[:-1]) for name in ("conversations", "messages")]
        return ", ".join(told) + (f" ({self.changed:,} more changed)" if self.changed else "")
