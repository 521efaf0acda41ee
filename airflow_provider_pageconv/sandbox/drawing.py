"""Threads, people and messages, drawn from the seed whenever they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from airflow_provider_pageconv.sandbox import words
from airflow_provider_pageconv.sandbox.ids import Ids
from airflow_provider_pageconv.sandbox.nodes import INSTAGRAM, MESSENGER, Message, Person, Thread

_MENTION, _STORY_REPLY, _UNSUPPORTED = 20, 21, 22  # of a hundred messages of Instagram, one each
_WORDLESS = (_MENTION, _UNSUPPORTED)


@dataclass(frozen=True)
class Shape:
    """How the messages of an untouched thread lie in time: all that is needed to make the j-th of them."""

    serial: int
    platform: str
    newest: int
    count: int
    gap: int
    ties: bool

    def created(self, place: int) -> int:
        """Return when the message at this place (0 = newest) was sent; never later than the one before it."""
        if self.ties:
            return self.newest - (place // 3) * self.gap
        if place == 0:
            return self.newest
        # The jitter is below the gap, so that the order is strict without looking at any other message.
        return self.newest - place * self.gap - words.draw("jitter", self.serial, place, self.gap) % self.gap

    def key(self, place: int) -> int:
        return (self.created(place) << 32) | (self.count - 1 - place)


class DrawnMessages(Sequence[Message]):
    """The messages of an untouched thread, made when they are looked at."""

    def __init__(self, drawing: Drawing, person: Person, shape: Shape) -> None:
        self._drawing = drawing
        self._person = person
        self.shape = shape

    def __len__(self) -> int:
        return self.shape.count

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        seq = self.shape.count - 1 - index
        return self._drawing.message(self.shape, self._person, seq, self.shape.created(index))


class Drawing:
    """Draws what is on one Page.

    :param page: the Page as a sender.
    :param account: its Instagram account as a sender, which has an id of its own.
    :param ties: whether messages share seconds.
    :param crowded_every: one in so many messages has long inner lists; 0 = none.
    """

    def __init__(self, seed: int, page: Person, account: Person, *, ties: bool, crowded_every: int) -> None:
        self.ids = Ids(seed)
        self._seed = seed
        self._page = page
        self._account = account
        self._ties = ties
        self._crowded_every = crowded_every

    def person(self, who: int) -> Person:
        """Return a person by number."""
        scoped = self.ids.person(who)
        return Person(
            scoped,
            words.person_name(self._seed, who),
            words.person_email(self._seed, who, scoped),
            words.person_username(self._seed, who),
        )

    def _page_as_sender(self, platform: str) -> dict[str, Any]:
        return (self._page if platform == MESSENGER else self._account).as_sender(platform)

    def thread(
        self, serial: int, platform: str, folder: str, updated: int, count: int, person: Person, tick: int
    ) -> Thread:
        """Return an untouched thread; its messages are made when they are looked at."""
        bits = words.draw(self._seed, "thread", serial)
        shape = Shape(serial, platform, updated, count, 30 + bits % 7200, self._ties)
        thread_id = self.ids.thread(serial, platform)
        sender, page = person.as_sender(platform), self._page_as_sender(platform)
        fields: dict[str, Any] = {"participants": {"data": [sender, page]}}
        if platform == MESSENGER:
            fields["link"] = f"/{self._page.id}/inbox/{thread_id[2:]}/?section=messages"
            fields["can_reply"] = bits % 5 != 0
            fields["is_owner"] = bits % 3 == 0
            fields["is_subscribed"] = bits % 13 != 0
            fields["scoped_thread_key"] = thread_id
            if bits % 7:
                fields["senders"] = {"data": [sender, page]}
            if bits % 17 == 0:
                fields["former_participants"] = {"data": [self.person(serial + 1).as_sender(platform)]}
            if bits % 23 == 0:
                fields["name"] = f"Grupo de {person.name}"
            if bits % 29 == 0:
                fields["wallpaper"] = "https://lookaside.fbsbx.com/wallpaper/?id=" + str(bits % 10**9)
        else:
            fields["name"] = person.username
        if bits % 6 == 0:
            fields["unread_count"] = 1 + bits % 4
        return Thread(
            thread_id,
            platform,
            folder,
            serial,
            updated,
            tick,
            person,
            DrawnMessages(self, person, shape),
            fields,
            count,
        )

    def message(
        self,
        shape: Shape,
        person: Person,
        seq: int,
        created: int,
        *,
        from_page: bool | None = None,
        text: str | None = None,
    ) -> Message:
        """Return a message; what is not said is drawn."""
        platform, serial = shape.platform, shape.serial
        bits = words.draw(self._seed, "message", serial, seq)
        sender, other = person.as_sender(platform), self._page_as_sender(platform)
        if bits % 3 == 0 if from_page is None else from_page:
            sender, other = other, sender
        body: dict[str, Any] = {"from": sender, "to": {"data": [other]}}
        kind = (bits >> 8) % 100
        wordless = kind < 6 or (platform == INSTAGRAM and kind in _WORDLESS)
        if text is not None or not wordless:
            body["message"] = words.text_for(bits >> 24, f"{bits >> 88:x}") if text is None else text
        body.update(_content(kind, bits) if platform == MESSENGER else _instagram_content(kind, bits))
        if 30 <= kind < 38:
            body["reactions"] = {"data": [{"reaction": "love", "emoji": "❤️", "users": [other]}]}
        if 36 <= kind < 44 and seq > 0:
            body["reply_to"] = {"mid": self.ids.message(serial, seq - 1, platform), "is_self_reply": bits % 2 == 0}
        if platform == MESSENGER and kind % 4:
            names = ["inbox", "sent" if sender["id"] == self._page.id else "read", "source:web"]
            body["tags"] = {"data": [{"name": name} for name in names]}
        if self._crowded_every and (bits >> 40) % self._crowded_every == 0:
            body["attachments"] = {"data": [words.attachment(bits >> 12, n) for n in range(30)]}
            body["reactions"] = {
                "data": [{"reaction": "other", "emoji": "🎉", "users": [{"id": str(10**15 + n)}]} for n in range(60)]
            }
        return Message(self.ids.message(serial, seq, platform), created, seq, body)


def _content(kind: int, bits: int) -> dict[str, Any]:
    """Return what a message brings beside its text, if anything: `kind` is a number below 100."""
    if kind < 12:
        return {"attachments": {"data": [words.attachment(bits >> 12, n) for n in range(1 + bits % 3)]}}
    if kind < 15 and (bits >> 50) % 2:
        return {"attachments": {"data": [words.sticker(bits)]}}
    if kind < 15:
        return {"sticker": "https://scontent.xx.fbcdn.net/v/t39.1997-6/" + str(bits % 10**9)}
    if kind < 20:
        return {"shares": {"data": [words.share(bits)]}}
    if kind < 22:
        link = f"https://lookaside.fbsbx.com/story/{bits % 10**9}"
        return {"story": {"mention": {"link": link, "id": str(bits % 10**12)}}}
    return {"is_unsupported": True} if kind < 23 else {}


def _instagram_content(kind: int, bits: int) -> dict[str, Any]:
    """Return what a message of Instagram brings beside its text, if anything.

    Posts that are shared come with their link; a story stands for who mentions the account in theirs, and for who answers
    to one of the account's; and what the API cannot show is called unsupported, without a word of what it is.
    https://developers.facebook.com/docs/messenger-platform/conversations
    """
    if 15 <= kind < 20:
        return {"shares": {"data": [words.shared_post(bits)]}}
    if kind in (_MENTION, _STORY_REPLY):
        link = f"https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id={bits % 10**15}&signature={bits >> 64:x}"
        told = "mention" if kind == _MENTION else "reply_to"
        return {"story": {told: {"link": link, "id": str(bits % 10**12)}}}
    return {"is_unsupported": True} if kind == _UNSUPPORTED else _content(kind, bits)
