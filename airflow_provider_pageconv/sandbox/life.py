"""What happens on the Page while somebody reads it: messages arrive, threads open, move, lose messages, go."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from airflow_provider_pageconv.sandbox.nodes import FOLDERS, INSTAGRAM, INSTAGRAM_FOLDER, MESSENGER, Thread
from airflow_provider_pageconv.sandbox.page import Page
from airflow_provider_pageconv.sandbox.rules import between, one_of
from airflow_provider_pageconv.sandbox.times import Moment

EVENTS = ("any", "message", "new", "move", "unsend", "delete", "call")
_USUAL = ("message",) * 6 + ("new",) * 2 + ("move", "unsend")  # What "any" draws from: people seldom delete.


@dataclass
class Life:
    """One kind of event, just before the `at`-th call, before every `every`-th, or before each with probability `p`.

    :param event: one of `EVENTS`; "any" draws one, "call" calls `do(page)`.
    :param thread: the thread's id; one is drawn if left out.
    :param folder: where the thread is drawn from or opened; for "move" where it goes.
    :param time: when the message was sent: ISO text, a datetime, seconds since 1970; now if left out.
    :param lag: how many seconds before now, by the Page's clock, the message was sent that only arrives now. Its thread
        moves to where that time puts it, if this is the newest message of the thread.
    :param messages: with "new": how many.
    :param times: how often at most; with `at` alone it is once, else without end.
    """

    event: str = "any"
    at: int | None = None
    every: int | None = None
    p: float | None = None
    times: int | None = None
    thread: str = ""
    folder: str = ""
    platform: str = MESSENGER
    time: Moment | None = None
    lag: float | None = None
    text: str | None = None
    messages: int = 1
    do: Callable[[Page], object] | None = None
    seen: int = field(default=0, compare=False)
    happened: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        one_of("event", self.event, EVENTS)
        if (self.event == "call") != (self.do is not None):
            raise ValueError("the event 'call' and do= belong together")
        for name, value in (("at", self.at), ("every", self.every), ("times", self.times)):
            if value is not None and value < 1:
                raise ValueError(f"{name} of an event counts from 1")
        if self.p is not None:
            between("p of an event", self.p, 0, 1)
        if self.lag is not None and (self.time is not None or self.lag < 0):
            raise ValueError("lag of an event is a number of seconds from 0 on, and goes without time")
        self.platform = self.platform.lower()
        if self.times is None and self.at is not None and self.every is None and self.p is None:
            self.times = 1

    @property
    def is_scheduled(self) -> bool:
        """Whether this waits for calls, or is to happen at once."""
        return self.at is not None or self.every is not None or self.p is not None

    @classmethod
    def from_json(cls, order: Mapping[str, Any]) -> Life:
        """Return the event that a JSON object orders."""
        known = [item.name for item in fields(cls) if item.name not in ("do", "seen", "happened")]
        for name in order:
            if name not in known:
                raise ValueError(f"an event has no {name!r}: {', '.join(known)}")
        return cls(**order)

    def as_json(self) -> dict[str, Any]:
        """Return the order and how often it happened, without what was not given."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "do"}
        return {
            name: str(value) if name == "time" else value for name, value in plain.items() if value not in (None, "")
        }


class LifeBook:
    """All events that are ordered, and all that happened. The sandbox calls it under its lock.

    :param page: the Page on which they happen.
    """

    def __init__(self, seed: int, page: Page) -> None:
        self._random = random.Random(f"{seed}/life")
        self._page = page
        self._orders: list[Life] = []
        self.happened: list[dict[str, Any]] = []

    def add(self, life: Life) -> Life:
        """Order an event."""
        self._orders.append(life)
        return life

    def clear(self) -> None:
        """Take back all orders; what happened stays as it is."""
        self._orders.clear()

    def __iter__(self) -> Any:
        return iter(list(self._orders))

    def before_call(self) -> None:
        """Let everything happen that is due before the next call."""
        for life in list(self._orders):
            life.seen += 1
            if life.times is not None and life.happened >= life.times:
                continue
            if (life.at is not None and life.seen < life.at) or (life.every is not None and life.seen % life.every):
                continue
            if life.p is None or self._random.random() < life.p:
                self.happen(life)

    def happen(self, life: Life) -> dict[str, Any]:
        """Let one event happen now and return what it was."""
        event = self._random.choice(_USUAL) if life.event == "any" else life.event
        did: dict[str, Any] = {"event": event, **self._do(event, life)}
        life.happened += 1
        self.happened.append(did)
        return did

    def _do(self, event: str, life: Life) -> dict[str, Any]:
        page = self._page
        sent = life.time if life.lag is None else page.clock() - timedelta(seconds=life.lag)
        if life.do is not None:
            life.do(page)
            return {}
        if event == "new":
            opened = page.new_thread(
                life.folder or "inbox", at=sent, messages=life.messages, platform=life.platform, text=life.text
            )
            return {"thread": opened.id, "folder": opened.folder}
        thread = self._thread(life, from_folder=event != "move")
        if thread is None:
            return {"nothing": "there is no such thread"}
        if event == "message":
            return {"thread": thread.id, "message": page.add_message(thread.id, at=sent, text=life.text).id}
        if event == "move":
            if thread.platform == INSTAGRAM:
                return {"nothing": "Instagram has one list"}
            others = [folder for folder in FOLDERS if folder != thread.folder]
            target = life.folder or self._random.choice(others)
            return {"thread": page.move(thread.id, target).id, "folder": target}
        if event == "unsend":
            if not thread.messages:
                return {"nothing": "the thread has no message"}
            message = thread.messages[self._random.randrange(len(thread.messages))]
            page.unsend(message.id)
            return {"thread": thread.id, "message": message.id}
        page.delete_thread(thread.id)
        return {"thread": thread.id}

    def _thread(self, life: Life, *, from_folder: bool) -> Thread | None:
        if life.thread:
            return self._page.find_thread(life.thread)
        if life.platform == INSTAGRAM:
            folders = [INSTAGRAM_FOLDER]
        else:
            folders = [life.folder] if life.folder and from_folder else list(FOLDERS)
        lists = [rows for folder in folders if (rows := self._page.rows(life.platform, folder))]
        total = sum(len(rows) for rows in lists)
        if not total:
            return None
        place = self._random.randrange(total)
        for rows in lists:
            if place < len(rows):
                return self._page.thread_at(rows.serial(place))
            place -= len(rows)
        return None
