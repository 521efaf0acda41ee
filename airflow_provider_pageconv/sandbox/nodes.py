"""What is on a Page: people, messages and threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_pageconv.sandbox.times import wire_time

FOLDERS = ("inbox", "other", "page_done", "spam")
MESSENGER = "messenger"
INSTAGRAM = "instagram"
INSTAGRAM_FOLDER = "all"  # Instagram knows one list; this is its name in the data document, never on the wire.


@dataclass(frozen=True)
class Person:
    """Somebody who writes to the Page, with the id that only this Page knows them by."""

    id: str
    name: str
    email: str
    username: str

    def as_sender(self, platform: str) -> dict[str, Any]:
        """Return the node that stands in `from` and `participants`."""
        if platform == INSTAGRAM:
            return {"username": self.username, "id": self.id}
        return {"name": self.name, "email": self.email, "id": self.id}


@dataclass
class Message:
    """One message: `body` holds every field but id and created_time, inner lists complete as `{"data": [...]}`.

    `bare` marks a message of which only the id is left, whatever its place in the thread. `shown` holds fields that
    the API answers in place of the true ones (None = left out).
    """

    id: str
    created: int
    seq: int
    body: dict[str, Any] = field(default_factory=dict)
    bare: bool = False
    shown: dict[str, Any] | None = None

    @property
    def key(self) -> int:
        """The place in the thread: by time, then by arrival."""
        return (self.created << 32) | self.seq

    @property
    def created_time(self) -> str:
        """The time as the API writes it."""
        return wire_time(self.created)

    def node(self) -> dict[str, Any]:
        """Return the full node."""
        if self.bare:
            return {"id": self.id}
        return {"id": self.id, "created_time": wire_time(self.created), **self.body}


@dataclass
class Thread:
    """One conversation; `messages` is newest first. Change folder, time and messages through the Page only.

    `shown` holds fields that the API answers in place of the true ones (None = left out). `joined` are those who take part
    beside `person`.
    """

    id: str
    platform: str
    folder: str
    serial: int
    updated: int
    tick: int
    person: Person
    messages: Sequence[Message]
    fields: dict[str, Any]
    next_seq: int
    shown: dict[str, Any] | None = None
    joined: list[Person] = field(default_factory=list)

    @property
    def updated_time(self) -> str:
        """The time as the API writes it."""
        return wire_time(self.updated)
