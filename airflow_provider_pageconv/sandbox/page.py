"""The Page: its threads, their messages, and what happens to them while somebody reads.

Nothing is stored but the order of the threads: one integer for each. Threads and messages are drawn from the seed
whenever they are asked for; what a test or a life event has touched is kept from then on.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_pageconv.sandbox import words
from airflow_provider_pageconv.sandbox.drawing import Drawing, DrawnMessages, Shape
from airflow_provider_pageconv.sandbox.nodes import (
    FOLDERS,
    INSTAGRAM,
    INSTAGRAM_FOLDER,
    MESSENGER,
    Message,
    Person,
    Thread,
)
from airflow_provider_pageconv.sandbox.rows import PinnedRows, ThreadRows
from airflow_provider_pageconv.sandbox.times import Moment, epoch

ORDERS = ("newest", "oldest", "shuffled", "mostly")
MOST_PINS = 200
_SHARES = (70, 10, 15, 5)
_MISPLACED_EVERY = 40
_MISPLACED_BY = 30

TASKS = ("ADVERTISE", "ANALYZE", "CREATE_CONTENT", "MESSAGING", "MODERATE", "MANAGE")
_READING = frozenset({"MESSAGING", "MODERATE"})  # One of these has to be among them for conversations to be seen.
_IDLE_SECONDS = 30 * 86400

_SHARED_PERSON = 50  # Every so many people have a second thread.


class Page:
    """A Page of a chosen size, the same for the same seed, which can be changed while it is read.

    Every method that changes something expects the caller to hold the sandbox's lock if a server is running.

    :param clock: what time it is for messages that arrive without a time.

    Two of its attributes decide, without a word of refusal, whether its lists of conversations hold anything for those
    who ask: `tasks`, those of the person who gave the tokens, and `advanced_access`, whether the app may read the
    messages of people without a role in it.
    """

    def __init__(
        self,
        *,
        seed: int,
        page_id: str,
        name: str,
        now: int,
        span: timedelta,
        conversations: int,
        folders: Mapping[str, int] | None,
        instagram: int,
        messages: int,
        long_every: int,
        short_messages: int,
        ties: bool,
        order: str,
        crowded_every: int,
        clock: Callable[[], datetime],
    ) -> None:
        self.tasks: tuple[str, ...] = TASKS
        self.advanced_access = True
        self.id = page_id
        self.name = name
        self.now = now
        self.clock = clock
        self._seed = seed
        self._span = int(span.total_seconds())
        self._messages = messages
        self._long_every = long_every
        self._short_messages = short_messages
        self._ties = ties
        self._order = order
        counts = _folder_counts(conversations, folders)
        self._messenger = sum(counts.values())
        self._instagram = instagram
        self._drawn = self._messenger + instagram
        for size in (self._messenger, instagram):
            if size > self._span and not ties:
                raise ValueError(
                    f"{size} conversations do not fit into a span of {self._span} seconds with a second for each: "
                    "a longer span or ties is needed"
                )
        self.instagram_id = str(17841400000000000 + int(page_id) % 10**9)
        self._self = Person(page_id, name, f"{page_id}@facebook.com", "sandbox.page")
        account = replace(self._self, id=self.instagram_id)
        self._drawing = Drawing(seed, self._self, account, ties=ties, crowded_every=crowded_every)
        self._ids = self._drawing.ids
        self._folder_of = bytearray()
        for index, folder in enumerate(FOLDERS):
            self._folder_of += bytes([index]) * counts[folder]
        random.Random(f"{seed}/folders").shuffle(self._folder_of)
        self._tick = self._drawn
        self._next_serial = self._drawn
        self._touched: dict[int, Thread] = {}
        self._deleted: set[int] = set()
        self._new_threads_of: dict[str, list[int]] = {}
        self._misplaced: dict[int, int] = {}
        self._pins: dict[int, int] = {}
        self._lists: dict[tuple[str, str], list[int]] = {(MESSENGER, folder): [] for folder in FOLDERS}
        self._lists[MESSENGER, "pending"] = []
        self._lists[INSTAGRAM, INSTAGRAM_FOLDER] = []
        # Oldest first, so that the lists are nearly sorted as they grow.
        for serial in range(self._messenger - 1, -1, -1):
            key = self._rank(serial, self._drawn_updated(serial), self._drawn - serial)
            self._lists[MESSENGER, FOLDERS[self._folder_of[serial]]].append(key)
        for serial in range(self._drawn - 1, self._messenger - 1, -1):
            key = self._rank(serial, self._drawn_updated(serial), self._drawn - serial)
            self._lists[INSTAGRAM, INSTAGRAM_FOLDER].append(key)
        for keys in self._lists.values():
            keys.sort()
            if order == "mostly":
                self._misplace(keys)

    # ---- what is asked

    @property
    def is_open(self) -> bool:
        """Whether the lists of conversations hold what is there; if not, they are empty and look as if nobody wrote."""
        return self.advanced_access and not _READING.isdisjoint(self.tasks)

    def rows(self, platform: str, folder: str, user_id: str | None = None) -> ThreadRows | None:
        """Return a list in the order in which it is served, or None where there is no such folder."""
        keys = self._lists.get((platform, folder))
        if keys is None:
            return None
        if user_id is None:
            pins = [
                (serial, place)
                for serial, place in self._pins.items()
                if (self._touched[serial].platform, self._touched[serial].folder) == (platform, folder)
            ]
            return PinnedRows(keys, pins) if pins else ThreadRows(keys)
        found = [self._find(serial) for serial in self._serials_of(user_id)]
        return ThreadRows(
            sorted(
                self._rank(thread.serial, thread.updated, thread.tick)
                for thread in found
                if thread and thread.platform == platform and thread.folder == folder
            )
        )

    def without_idle_requests(self, rows: ThreadRows, every: int) -> ThreadRows:
        """Return a list of Instagram without its Requests that are idle.

        :param every: every so many threads is a Request.
        """
        before = epoch(self.clock()) - _IDLE_SECONDS
        listed = [rows.serial(place) for place in range(len(rows))]
        kept = [self.thread_at(serial) for serial in listed]
        kept = [thread for thread in kept if (thread.serial + 1) % every or thread.updated > before]
        return ThreadRows(sorted(self._rank(thread.serial, thread.updated, thread.tick) for thread in kept))

    def thread_at(self, serial: int) -> Thread:
        """Return the thread that a row stands for."""
        thread = self._find(serial)
        if thread is None:
            raise KeyError(serial)
        return thread

    def find_thread(self, thread_id: str) -> Thread | None:
        """Return a thread to read, or None."""
        serial = self._serial_of_thread(thread_id)
        return None if serial is None else self._find(serial)

    def find_message(self, message_id: str) -> tuple[Thread, int] | None:
        """Return a message's thread and its place there (0 = newest), or None; unsent ones are not found."""
        place = self._ids.read_message(message_id)
        if place is None:
            return None
        serial, seq = place
        thread = self._find(serial)
        if thread is None:
            return None
        if isinstance(thread.messages, DrawnMessages):
            index = thread.messages.shape.count - 1 - seq
            return (thread, index) if 0 <= index < len(thread.messages) else None
        for index, message in enumerate(thread.messages):
            if message.seq == seq:
                return thread, index
        return None

    def was_message(self, message_id: str) -> bool:
        """Tell whether this is, or was once, a message of this Page."""
        place = self._ids.read_message(message_id)
        return place is not None and place[0] < self._next_serial

    def is_touched(self, serial: int) -> bool:
        """Tell whether something may have happened to a thread since it was drawn."""
        return serial in self._touched

    def threads(self) -> Iterator[Thread]:
        """Yield every thread, list by list, newest first."""
        for (platform, folder), _ in list(self._lists.items()):
            rows = self.rows(platform, folder)
            if rows is not None:
                for place in range(len(rows)):
                    yield self.thread_at(rows.serial(place))

    def as_person(self) -> Person:
        """Return the Page itself as a sender."""
        return self._self

    def thread_node(self, thread: Thread) -> dict[str, Any]:
        """Return every field of a thread that is not empty, inner lists complete; without its messages."""
        messages = thread.messages
        node: dict[str, Any] = {"id": thread.id, "updated_time": thread.updated_time, "message_count": len(messages)}
        node.update(thread.fields)
        if thread.platform == MESSENGER:
            node["folder"] = thread.folder
            if messages and "snippet" not in thread.fields and thread.serial % 11:
                text = messages[0].body.get("message")
                if text:
                    node["snippet"] = text[:80]
        return node

    # ---- what happens

    def thread(self, thread_id: str) -> Thread:
        """Return a thread to work on: kept from now on, with its messages in a list. `KeyError` if there is none."""
        serial = self._serial_of_thread(thread_id)
        if serial is None:
            raise KeyError(thread_id)
        return self._keep(serial)

    def add_message(
        self,
        thread_id: str,
        *,
        at: Moment | None = None,
        text: str | None = None,
        from_page: bool = False,
        by: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> Message:
        """Put a message into a thread, which jumps to the top of its list if that is its newest now.

        :param at: when it was sent; now by the sandbox's clock if left out. An older one is sorted in by its time.
        :param text: what it says; drawn from the seed if left out.
        :param by: who wrote it, of those who joined the thread.
        :param fields: further fields of the message node (`attachments={"data": [...]}` and so on).
        """
        thread = self.thread(thread_id)
        created = epoch(self.clock() if at is None else at)
        seq = thread.next_seq
        thread.next_seq += 1
        shape = Shape(thread.serial, thread.platform, created, seq + 1, 1, self._ties)
        person = thread.person if by is None else self.person(by)
        message = self._drawing.message(shape, person, seq, created, from_page=from_page, text=text)
        for one in (thread.person, *thread.joined):
            if one.id != person.id:
                message.body["to"]["data"].append(one.as_sender(thread.platform))
        message.body.update(fields or {})
        messages = _own(thread)
        place = 0
        while place < len(messages) and messages[place].key > message.key:
            place += 1
        messages.insert(place, message)
        if created >= thread.updated:
            self._bump(thread, created)
        return message

    def new_thread(
        self,
        folder: str = "inbox",
        *,
        at: Moment | None = None,
        messages: int = 1,
        platform: str = MESSENGER,
        user_id: str | None = None,
        text: str | None = None,
    ) -> Thread:
        """Open a thread with so many messages, the newest sent `at` (now if left out).

        :param user_id: the person, if it has to be one who is there already.
        """
        platform = platform.lower()
        folder = INSTAGRAM_FOLDER if platform == INSTAGRAM else folder
        keys = self._lists.get((platform, folder))
        if keys is None:
            raise ValueError(f"there is no folder {folder!r} on {platform}: {', '.join(FOLDERS)}")
        serial = self._next_serial
        self._next_serial += 1
        self._tick += 1
        updated = epoch(self.clock() if at is None else at)
        person = self._drawing.person(serial if user_id is None else self._ids.read_person(user_id))
        if user_id is not None:
            self._new_threads_of.setdefault(user_id, []).append(serial)
        thread = self._drawing.thread(serial, platform, folder, updated, messages, person, self._tick)
        thread.messages = list(thread.messages)
        if text is not None and messages:
            thread.messages[0].body["message"] = text
        self._touched[serial] = thread
        insort(keys, self._rank(serial, updated, thread.tick))
        return thread

    def person(self, user_id: str) -> Person:
        """Return somebody by their id, whether or not they have written yet."""
        return self._drawing.person(self._ids.read_person(user_id))

    def join(self, thread_id: str, user_id: str) -> Person:
        """Let somebody take part in a thread, which is a group then: all its lists name them, and all its messages went to
        them as well.
        """
        thread = self.thread(thread_id)
        person = self.person(user_id)
        thread.joined.append(person)
        node = person.as_sender(thread.platform)
        for name in ("participants", "senders"):
            if name in thread.fields:
                thread.fields[name]["data"].append(node)
        for message in thread.messages:
            message.body["to"]["data"].append(node)
        return person

    def move(self, thread_id: str, folder: str) -> Thread:
        """Put a thread into another folder; its time stays as it is, and so nothing jumps."""
        thread = self.thread(thread_id)
        target = self._lists.get((thread.platform, folder))
        if target is None:
            raise ValueError(f"there is no folder {folder!r} on {thread.platform}")
        self._take_out(thread)
        thread.folder = folder
        self._put_in(thread)
        return thread

    def unsend(self, message_id: str, *, leaves: str = "nothing") -> None:
        """Take a message back. Asked for by its id it answers 9000001 from now on.

        :param leaves: "nothing" takes its row out of the thread, "bare" leaves a row with the id alone.
        """
        found = self.find_message(message_id)
        if found is None:
            raise KeyError(message_id)
        thread = self._keep(found[0].serial)
        if leaves == "bare":
            thread.messages[found[1]].bare = True
        else:
            del _own(thread)[found[1]]

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread: it leaves its list, and whoever asks for it gets 100/33."""
        thread = self.thread(thread_id)
        self._take_out(thread)
        self._pins.pop(thread.serial, None)
        del self._touched[thread.serial]
        self._deleted.add(thread.serial)

    def pin(self, thread_id: str, place: int = 0) -> Thread:
        """Let a thread stand at this place of its list (0 = the top) from now on, whatever its time.

        What jumps to the top lands below the threads that are pinned there. Of several that are pinned to the same
        place, the one that was pinned first stands there and the others below it.
        """
        if place < 0:
            raise ValueError(f"a place counts from 0, not {place}")
        thread = self.thread(thread_id)
        if thread.serial not in self._pins and len(self._pins) >= MOST_PINS:
            raise ValueError(f"no more than {MOST_PINS} threads can be pinned")
        self._take_out(thread)
        self._pins[thread.serial] = place
        self._put_in(thread)
        return thread

    def unpin(self, thread_id: str) -> Thread:
        """Let a thread stand where its time puts it again; `KeyError` if it was not pinned."""
        thread = self.thread(thread_id)
        if thread.serial not in self._pins:
            raise KeyError(thread_id)
        del self._pins[thread.serial]
        self._put_in(thread)
        return thread

    def show_updated(self, thread_id: str, value: Any) -> None:
        """Answer any JSON value as a thread's `updated_time` (None = left out); its place in the list stays."""
        thread = self.thread(thread_id)
        thread.shown = {**(thread.shown or {}), "updated_time": value}

    def show_created(self, message_id: str, value: Any) -> None:
        """Answer any JSON value as a message's `created_time` (None = left out); its place in the thread stays."""
        found = self.find_message(message_id)
        if found is None:
            raise KeyError(message_id)
        message = self._keep(found[0].serial).messages[found[1]]
        message.shown = {**(message.shown or {}), "created_time": value}

    # ---- who is who

    def _serial_of_thread(self, thread_id: str) -> int | None:
        found = self._ids.read_thread(thread_id)
        if found is None or found[0] >= self._next_serial or self._platform_of(found[0]) != found[1]:
            return None
        return found[0]

    def _platform_of(self, serial: int) -> str:
        if serial < self._drawn:
            return MESSENGER if serial < self._messenger else INSTAGRAM
        thread = self._touched.get(serial)
        return thread.platform if thread else MESSENGER

    def _who(self, serial: int) -> int:
        """Return whose thread this is: now and then somebody has two, one after the other."""
        first = 0 if serial < self._messenger else self._messenger
        shared = first < serial < self._drawn and serial % _SHARED_PERSON == 7
        return serial - 1 if shared else serial

    def _serials_of(self, user_id: str) -> list[int]:
        who = self._ids.read_person(user_id)
        if not 0 <= who < self._next_serial:
            return []
        return [serial for serial in (who, who + 1) if serial < self._next_serial and self._who(serial) == who] + (
            self._new_threads_of.get(user_id, [])
        )

    # ---- how it is drawn

    def _drawn_updated(self, serial: int) -> int:
        first, size = (0, self._messenger) if serial < self._messenger else (self._messenger, self._instagram)
        place = serial - first
        if self._ties:
            place -= place % 3
        lower = place * self._span // size
        slack = max(1, (place + 1) * self._span // size - lower)
        return self.now - 1 - lower - words.draw(self._seed, "when", first + place) % slack

    def _drawn_count(self, serial: int) -> int:
        return self._messages if self._long_every and serial % self._long_every == 0 else self._short_messages

    def _rank(self, serial: int, updated: int, tick: int) -> int:
        """Return the integer by which the lists are sorted: higher is served first."""
        if self._order == "newest":
            first = updated
        elif self._order == "mostly":
            # Who gets a message is misplaced no longer: its tick is higher than any that was drawn.
            first = self._misplaced.get(serial, updated) if tick <= self._drawn else updated
        elif self._order == "oldest":
            first = (1 << 40) - updated
        else:
            first = words.draw(self._seed, "order", serial) & 0xFFFFFFFF
        return (first << 72) | (tick << 32) | serial

    def _misplace(self, keys: list[int]) -> None:
        """Let every so-many-th row of a sorted list stand up to so many places too high or too low."""
        for place in range(7, len(keys), _MISPLACED_EVERY):
            serial = keys[place] & 0xFFFFFFFF
            bits = words.draw(self._seed, "misplaced", serial)
            by = (1 + bits % _MISPLACED_BY) * (1 if (bits >> 64) % 2 else -1)
            other = place + by if 0 <= place + by < len(keys) else place - by
            self._misplaced[serial] = keys[min(max(other, 0), len(keys) - 1)] >> 72
        keys[:] = sorted(
            (self._misplaced[key & 0xFFFFFFFF] << 72) | (key & ((1 << 72) - 1))
            if key & 0xFFFFFFFF in self._misplaced
            else key
            for key in keys
        )

    def _take_out(self, thread: Thread) -> None:
        """Take a thread out of its list; a pinned one stands beside it already."""
        if thread.serial not in self._pins:
            rank = self._rank(thread.serial, thread.updated, thread.tick)
            _remove(self._lists[thread.platform, thread.folder], rank)

    def _put_in(self, thread: Thread) -> None:
        if thread.serial not in self._pins:
            insort(self._lists[thread.platform, thread.folder], self._rank(thread.serial, thread.updated, thread.tick))

    def _find(self, serial: int) -> Thread | None:
        thread = self._touched.get(serial)
        if thread is not None:
            return thread
        if serial in self._deleted or not 0 <= serial < self._drawn:
            return None
        if serial < self._messenger:
            platform, folder = MESSENGER, FOLDERS[self._folder_of[serial]]
        else:
            platform, folder = INSTAGRAM, INSTAGRAM_FOLDER
        updated, count = self._drawn_updated(serial), self._drawn_count(serial)
        person = self._drawing.person(self._who(serial))
        return self._drawing.thread(serial, platform, folder, updated, count, person, self._drawn - serial)

    def _keep(self, serial: int) -> Thread:
        thread = self._find(serial)
        if thread is None:
            raise KeyError(f"thread {serial} is gone")
        if not isinstance(thread.messages, list):
            thread.messages = list(thread.messages)
        self._touched[serial] = thread
        return thread

    def _bump(self, thread: Thread, updated: int) -> None:
        self._take_out(thread)
        self._tick += 1
        thread.updated, thread.tick = updated, self._tick
        self._put_in(thread)


def _own(thread: Thread) -> list[Message]:
    if not isinstance(thread.messages, list):
        thread.messages = list(thread.messages)
    return thread.messages


def _remove(keys: list[int], key: int) -> None:
    place = bisect_left(keys, key)
    if place == len(keys) or keys[place] != key:
        raise KeyError(key)
    del keys[place]


def _folder_counts(conversations: int, folders: Mapping[str, int] | None) -> dict[str, int]:
    """Return how many threads each folder gets: as asked, or 70, 10, 15 and 5 of a hundred."""
    if folders is not None:
        unknown = sorted(set(folders) - set(FOLDERS))
        if unknown:
            raise ValueError(f"there is no folder {unknown[0]!r}: {', '.join(FOLDERS)}")
        if min(folders.values(), default=0) < 0:
            raise ValueError("a folder cannot hold fewer than 0 conversations")
        return {folder: folders.get(folder, 0) for folder in FOLDERS}
    if conversations < 0:
        raise ValueError("conversations must be 0 or more")
    counts = {folder: conversations * share // 100 for folder, share in zip(FOLDERS, _SHARES, strict=True)}
    counts["inbox"] += conversations - sum(counts.values())
    return counts
