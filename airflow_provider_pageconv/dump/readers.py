"""The threads of a folder that are being read at their own edge, and what becomes of each. Pure but for what it hands out.

What of a thread's messages came with the list is taken at once; what else there may be is asked for here.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from msgspec import UNSET

from airflow_provider_pageconv.dump.fast import Bounds, FastPage, FastReader
from airflow_provider_pageconv.dump.idset import IdSet, digest
from airflow_provider_pageconv.dump.listing import Seen, count_fruitless
from airflow_provider_pageconv.dump.output import Output
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.records import CONVERSATIONS
from airflow_provider_pageconv.dump.records import MESSAGES as STREAM_OF_MESSAGES
from airflow_provider_pageconv.dump.rounds import Rounds, Stage
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.threads import Reading, Scope, Thread
from airflow_provider_pageconv.graph.client import pause_after
from airflow_provider_pageconv.graph.edges import EdgePage, MessagesQuery, Query, Row, read_page
from airflow_provider_pageconv.graph.errors import (
    GraphCursorError,
    GraphError,
    GraphFieldError,
    GraphPermissionError,
    GraphRateLimitError,
    GraphRequestError,
    GraphTransientError,
    GraphUnavailableError,
)
from airflow_provider_pageconv.graph.fields import MESSAGES, Fields, message_fields
from airflow_provider_pageconv.graph.limits import PACE_CODE
from airflow_provider_pageconv.graph.paging import ATTEMPTS, Pager, attempts
from airflow_provider_pageconv.graph.protocol import Answer, Request
from airflow_provider_pageconv.times import seconds

log = logging.getLogger(__name__)

READERS = 4
"""Threads of one folder that are read at the same time: at 2 calls a second enough for answers that take 2 s."""

_LAST = 2 * READERS
"""So many threads are the last ones of a folder."""

_SHORT_IN_VAIN = 20
"""So often in a row a thread's own edge may bring no more than the short list inside the row; then such are believed."""

_MOST_ENDLESS = 3
"""So often a thread's list may bring more messages that are known than there are; pages that repeat rows do so once."""

_REFUSED_IN_ROW = 20
"""So many threads in a row may be refused for themselves alone; then it is the folder that is refused."""

_NAMED = 20
"""So many conversations that lack messages are named in the manifest."""

_CONTROLS = 8

_LISTED = 25
"""Rows of the list among which a control is sought where all that were known are refused."""

_UNREAD = Thread()


class Target(NamedTuple):
    """What is asked: a thread's messages, or, with ``None``, a control.

    :param at: not before this moment of the monotonic clock.
    """

    thread: bytes | None
    at: float


class Moments(NamedTuple):
    """What time it is.

    :param clock: seconds since 1970, by the worker's clock.
    :param api: the same by the API's.
    :param monotonic: seconds of the monotonic clock.
    """

    clock: float
    api: float
    monotonic: float


class Readers:
    """Reads the threads of a folder.

    :param progress: counts, and what else a checkpoint keeps; it is changed.
    :param ids_of_list: makes the request for the ids of so many rows of the folder's list.
    :param seen: hashes of the threads that are done; it is changed.
    """

    def __init__(
        self,
        spec: Spec,
        progress: Progress,
        scope: Scope,
        output: Output,
        seen: IdSet,
        ids_of_list: Callable[[int], Request],
    ) -> None:
        self._spec = spec
        self._progress = progress
        self.scope = scope
        self._output = output
        self._ids_of_list = ids_of_list
        self._people = spec.people
        self._seen, self._new_seen, self._new_whole = seen, bytearray(), bytearray()
        self._readings: dict[bytes, Reading] = {}
        self._ready: deque[bytes] = deque()
        self._later: dict[bytes, float] = {}
        self._pagers: dict[bytes, Pager] = {}
        self._busy: set[bytes] = set()
        self._rounds = Rounds()
        self._refused: dict[bytes, GraphError] = {}
        """Threads that were refused in a row, each for itself alone as far as anybody can tell yet."""
        self._control: str | None = None
        self._control_busy = False
        self._control_attempts = 0
        self._control_at = 0.0
        self._note_fields()

    def resume(self, states: Sequence[Mapping[str, Any]], read: Mapping[str, IdSet]) -> bool:
        """Take up the threads that an earlier try left half read.

        :return: whether people are left out of some of them who were not when they were begun.
        """
        changed = False
        for state in states:
            reading = Reading.resumed(state, read[state["node"]["id"]])
            hashed = digest(reading.id)
            if (left := self._people.left_out) is not None and left.are_in(reading.node):
                changed, whole = True, left.goes_whole(reading.node)
                self._output.left_out(reading.id, whole=whole)
                if whole:
                    self._pass(hashed)
                    continue
                reading.node = left.take_out(CONVERSATIONS, reading.node)
                reading.thread.shared = True
            self._readings[hashed] = reading
            if reading.thread.refused_at is None:
                self._ready.append(hashed)
            else:
                self._rounds.set_aside(hashed, reading.thread.refused_at)
        return changed

    def _pass(self, hashed: bytes) -> None:
        """A thread is done with."""
        self._forget(hashed)
        self._seen.add(hashed)
        self._new_seen += hashed

    def check(self, ids: Iterable[str]) -> None:
        """Ask for threads by their own ids, to see whether they still exist; those that were met do."""
        for one in ids:
            hashed = digest(one)
            if not self.knows(hashed):
                self._readings[hashed] = Reading({"id": one}, {}, "", Thread(check=True))
                self._ready.append(hashed)

    def _note_fields(self) -> None:
        fields = self._spec.fields_of_messages.dropping(self._progress.dropped, MESSAGES)
        self._dropped = len(self._progress.dropped)
        self._asks_for_sender = "from" in fields.names

    # ---- what is known

    def __len__(self) -> int:
        """How many threads are still to be read."""
        return len(self._readings)

    @property
    def are_crowded(self) -> bool:
        """Whether so many threads wait to be read that the list is to bring no more: memory and checkpoints stay small.

        Where a page of them is set aside and no thread is known that could be their control, the list may bring one.
        """
        waiting = len(self._readings) - len(self._rounds.aside) - len(self._refused)
        return waiting >= self._spec.page_size or (self._are_aside and bool(self._progress.controls))

    @property
    def _are_aside(self) -> bool:
        """Whether as many threads are set aside as may be."""
        return len(self._rounds.aside) >= self._spec.page_size

    @property
    def known(self) -> int:
        """How many threads were met."""
        return len(self._seen) + len(self._readings)

    def knows(self, hashed: bytes) -> bool:
        """Whether a thread was met before."""
        return hashed in self._seen or hashed in self._readings

    @property
    def unsaved_bytes(self) -> int:
        """Hashes that no checkpoint has yet."""
        return len(self._new_seen)

    def hand_over(self) -> dict[str, Any]:
        """What the next checkpoint keeps of threads; see :meth:`~airflow_provider_pageconv.dump.checkpoint.Checkpoints.compose`."""
        for hashed, pager in self._pagers.items():
            self._readings[hashed].thread.pager = pager.state()
        readings = list(self._readings.values())
        kept = {
            "seen": bytes(self._new_seen),
            "whole": bytes(self._new_whole),
            "readings": [reading.state() for reading in readings],
            "read": {reading.id: bytes(reading.fresh) for reading in readings},
        }
        self._new_seen.clear()
        self._new_whole.clear()
        for reading in readings:
            reading.fresh.clear()
        return kept

    # ---- what is asked

    def settle(self, times: Moments, *, idle: bool) -> bool:
        """End the threads that need no call any more.

        :param idle: whether the list brings no further threads for now.
        :return: whether there were any, which no checkpoint has yet.
        """
        before = len(self._readings)
        if self._progress.short_in_vain >= _SHORT_IN_VAIN:
            for hashed in [one for one in self._ready if one not in self._pagers]:
                if self._readings[hashed].thread.short:
                    self._ready.remove(hashed)
                    self._end(hashed, self._readings[hashed], times)
        if self._refused and idle and not (self._ready or self._later or self._busy or self._rounds.aside):
            self._end_refused(times)
        return len(self._readings) < before

    def offers(self, times: Moments, *, idle: bool) -> Iterator[Target]:
        """What may be asked next.

        :param idle: whether the list brings no further threads for now.
        """
        if len(self._busy) + self._control_busy >= READERS:
            return
        if self._later:
            for hashed in [one for one, at in self._later.items() if at <= times.monotonic]:
                del self._later[hashed]
                self._offer(hashed)
        if self._ready and not self._are_aside:
            yield Target(self._next_ready(idle=idle), 0.0)
        elif self._later:
            thread = min(self._later, key=self._later.__getitem__)
            yield Target(thread, self._later[thread])
        if self._rounds.aside:
            at_rest = self._are_aside or not (self._ready or self._later or self._busy)
            yield from self._offers_of_round(times, due=idle and at_rest)

    def _next_ready(self, *, idle: bool) -> bytes:
        """One that is being read goes before one that is not; of the last ones that of which most is missing.

        So they end about at the same time: each is a chain of calls, and one alone is slower than the pace.
        """
        if not idle or len(self._ready) > _LAST:
            return self._ready[0]
        return max(self._ready, key=lambda hashed: self._readings[hashed].missing)

    def _offers_of_round(self, times: Moments, *, due: bool) -> Iterator[Target]:
        rounds = self._rounds
        if rounds.stage is Stage.ASKING:
            thread = next((one for one in rounds.asked if one not in self._busy), None)
            if thread is not None and thread not in self._later:
                yield Target(thread, 0.0)
        elif self._control_busy:
            return
        elif rounds.stage is not Stage.NONE:
            yield Target(None, self._control_at)
        elif due:
            early = rounds.begins_at() - times.clock
            yield Target(None, times.monotonic + early if early > 0 else 0.0)

    def start(self, target: Target) -> Request:
        """Begin a call.

        :raises GraphError: it cannot be made; to be told to :meth:`failed`.
        """
        if target.thread is None:
            self._control_busy = True
            if self._rounds.stage is Stage.NONE:
                self._rounds.begin()
            return self._control_request()
        hashed = target.thread
        self._busy.add(hashed)
        self._later.pop(hashed, None)
        if hashed in self._ready:
            self._ready.remove(hashed)
        pager = self._pagers.get(hashed)
        if pager is None:
            reading = self._readings[hashed]
            thread, check = reading.thread, reading.thread.check
            fields = Fields(("id",), (), False) if check else self._spec.fields_of_messages
            query: Query = MessagesQuery(reading.id, fields, self._spec.platform)
            size = 1 if check else self._spec.page_size
            pager = self._pagers[hashed] = Pager(query, size, thread.pager, thread.after)
        pager.drop(self._progress.dropped)
        return pager.request()

    def _control_request(self) -> Request:
        """Something that gave an answer before: messages of a thread, or, where none did or does any more, the list."""
        controls = self._progress.controls
        self._control = next((one for one in controls if one not in self._progress.controls_refused), None)
        if self._control is None:
            return self._ids_of_list(_LISTED if controls else 1)
        return MessagesQuery(self._control, message_fields(None), self._spec.platform).ids(1)

    def put_back(self, target: Target) -> None:
        """A call ended without an answer that says anything: it is offered again."""
        if target.thread is None:
            self._control_busy = False
            return
        self._busy.discard(target.thread)
        self._offer(target.thread)

    def _offer(self, hashed: bytes) -> None:
        """Let a thread be asked next; one that is set aside is the round's to ask."""
        if hashed not in self._rounds.aside:
            self._ready.appendleft(hashed)

    # ---- what came

    def begin_all(self, page: EdgePage | FastPage, reader: FastReader, times: Moments, fetched_at: str) -> list[Seen]:
        """Take all threads of a page of the list, in their order.

        :param fetched_at: when it came, ISO 8601.
        """
        if not isinstance(page, FastPage):
            return [self.begin(row, page.asked, times, fetched_at) for row in page.rows]
        bounds, now, holds_all = Bounds.of(self.scope, times.api), times.api, self.scope.holds_all
        taken: list[Any] = []
        found = []
        expected = 0
        bare, new_seen = not (reader.nested or page.paged), self._new_seen
        for thread in page.rows:  # a line more in here is felt
            updated = seconds(thread.updated_time, now) if thread.updated_time is not UNSET else None
            messages: int | None = 0
            if not bare:
                messages = None if page.paged and reader.is_paged(thread) else reader.messages(thread, bounds)
            if messages is None or not (messages or holds_all or self.scope.holds(_UNREAD, updated)):
                found.append(self.begin(reader.row(thread), page.asked, times, fetched_at))
                continue
            hashed = digest(thread.id)
            known = hashed in self._readings or not self._seen.add(hashed)
            found.append(Seen(updated, known))
            if not known:
                new_seen += hashed
                if messages:
                    self._new_whole += hashed
                    self._note_control(thread.id, proven=False)
                    expected += thread.message_count
                taken.append(thread)
        self._progress.counts.messages_expected += expected
        self._output.ordinary(taken, fetched_at, messages=reader.nested > 0)
        return found

    def begin(self, row: Row, asked: int, times: Moments, fetched_at: str) -> Seen:
        """Take a thread that came with the list.

        :param asked: how many messages were asked for inside it.
        :param fetched_at: when, ISO 8601.
        """
        updated = seconds(row.node.get("updated_time"), times.api)
        hashed = digest(row.id)
        if self.knows(hashed):
            return Seen(updated, known=True)
        nested, wanted, left = row.nested, False, self._people.left_out
        node = self._people.shown(CONVERSATIONS, row.node) if self._people else row.node
        reading = Reading(node, row.truncated, fetched_at)
        if left is not None:
            if left.goes_whole(row.node, [inner.node for inner in nested.rows] if nested is not None else ()):
                return self._leave_out(hashed, reading, updated, nested, times)
            reading.thread.shared = left.are_in(row.node)
        if self._spec.messages:
            if nested is not None:
                self._write(reading, nested, times, fetched_at)
            believed = self._progress.short_in_vain >= _SHORT_IN_VAIN
            more = self.scope.needs_own_edge(reading, nested, asked, believed=believed)
            wanted = more and (reading.thread.exported > 0 or self.scope.may_hold_messages(updated))
        was_there = self.scope.was_there(reading, nested, times.api)
        if wanted:
            self._readings[hashed] = reading
            self._ready.append(hashed)
        else:
            if nested is not None and nested.rows:
                self._note_control(reading.id, proven=False)
            self._end(hashed, reading, times)
        return Seen(updated, known=False, was_there=was_there)

    def _leave_out(
        self, hashed: bytes, reading: Reading, updated: float | None, nested: EdgePage | None, times: Moments
    ) -> Seen:
        """Leave out a thread as a whole: it is known, and nothing is kept of it."""
        for _ in self.scope.take(reading, nested.rows if nested is not None else (), times.api):
            pass
        self._pass(hashed)
        return Seen(updated, known=False, was_there=self.scope.was_there(reading, nested, times.api))

    def _write(self, reading: Reading, page: EdgePage, times: Moments, fetched_at: str) -> None:
        """Write those of some messages that fall into the window."""
        if self._dropped != len(self._progress.dropped):
            self._note_fields()
        self._progress.unusable += page.unusable
        people, thread = self._people, reading.thread
        for row, owed in self.scope.take(reading, page.rows, times.api):
            if people:
                if people.left_out is not None and people.left_out.goes(row.node, shared=thread.shared):
                    thread.left_out += 1
                    thread.held = thread.held or bool(owed)
                    continue
                row = replace(row, node=people.shown(STREAM_OF_MESSAGES, row.node))
            reading.thread.undated += owed is None
            if owed is not False:
                self._output.message(reading, row, fetched_at, owed=bool(owed), asks_for_sender=self._asks_for_sender)

    def got(self, target: Target, answer: Answer, times: Moments, fetched_at: str) -> bool:
        """Take a good answer.

        :return: whether it shows that calls are to go slower.
        :raises GraphRateLimitError: it is a limit in disguise.
        :raises GraphError: the folder cannot go on.
        """
        if target.thread is None:
            return self._take_control(answer, times)
        hashed = target.thread
        reading, pager = self._readings[hashed], self._pagers[hashed]
        thread = reading.thread
        try:
            page = pager.got(answer)
        except GraphTransientError as error:
            self.failed(target, error, times)
            return False
        self._busy.discard(hashed)
        thread.refused_at = None
        self._rounds.answered(hashed)
        self._end_refused(times)
        if thread.check:
            self._forget(hashed)
            return False
        self._write(reading, page, times, fetched_at)
        if page.rows:
            self._note_control(reading.id, proven=True)
        thread.whole = pager.done
        if thread.fresh:
            thread.endless = 0
        if thread.repeated > len(reading.seen) + self._spec.page_size and not pager.done:
            thread.endless += 1
            if thread.endless < _MOST_ENDLESS:
                pager.restart()
                thread.begun_anew()
            else:
                log.warning("The messages of a conversation come again without end: it is left as it is.")
                thread.unavailable = thread.ended = True
        if not (thread.ended or pager.done):
            self._ready.appendleft(hashed)
            return False
        if thread.short:
            fruitful = len(reading.seen) > thread.came
            self._progress.short_in_vain = 0 if fruitful else self._progress.short_in_vain + 1
        self._end(hashed, reading, times)
        return False

    def _note_control(self, thread: str, *, proven: bool) -> None:
        """Remember a thread that gave messages; those that did so at their own edge first."""
        controls = self._progress.controls
        if thread in controls:
            return
        if proven:
            controls.insert(0, thread)
        elif len(controls) < _CONTROLS:
            controls.append(thread)
        del controls[_CONTROLS:]

    def _end(self, hashed: bytes, reading: Reading, times: Moments) -> None:
        """A thread is done: its record is written if it belongs into the window."""
        counts, thread = self._progress.counts, reading.thread
        held = self.scope.holds(thread, seconds(reading.node.get("updated_time"), times.api))
        counts.conversations_undated += held is None
        counts.conversations_unavailable += thread.unavailable and bool(held)
        if held and thread.whole and reading.lacks and not thread.unavailable:
            counts.conversations_incomplete += 1
            if len(self._progress.incomplete) < _NAMED:
                self._progress.incomplete.append(reading.id)
        expected = max((reading.message_count or 0) - thread.left_out, 0)
        counts.messages_expected += expected if held and self._spec.messages else 0
        counts.messages_undated += thread.undated
        counts.threads_undated += thread.undated > 0
        self._progress.threads_unordered += not thread.order.newest_first
        self._progress.threads_cut += thread.cut and not thread.whole
        if held:
            self._output.conversation(reading)
        self._pass(hashed)
        if thread.whole and reading.message_count is not None and not reading.lacks:
            self._new_whole += hashed

    def _forget(self, hashed: bytes) -> None:
        self._readings.pop(hashed, None)
        self._pagers.pop(hashed, None)

    # ---- what was refused

    def failed(self, target: Target, error: GraphError, times: Moments) -> None:
        """Take a refusal, or the lack of an answer.

        :raises GraphRateLimitError: it is a limit in disguise.
        :raises GraphError: the folder cannot go on.
        """
        if target.thread is None:
            self._fail_control(error, times)
            return
        hashed = target.thread
        reading, pager = self._readings[hashed], self._pagers[hashed]
        thread = reading.thread
        self._busy.discard(hashed)
        if isinstance(error, GraphUnavailableError) and error.may_be_limit:
            thread.refused_at = times.clock
            self._rounds.set_aside(hashed, times.clock)
        elif isinstance(error, GraphUnavailableError):
            self._give_up(hashed, times)
        elif isinstance(error, GraphCursorError):
            self._begin_again(hashed, error)
        elif isinstance(error, (GraphRequestError, GraphPermissionError)) and _is_about_the_thread(error):
            self._refuse(hashed, error)
        elif pager.failed(error):
            note_dropped(self._progress, pager)
            self._offer(hashed)
        else:
            self._later[hashed] = times.monotonic + pause(error, pager.failures)

    def _begin_again(self, hashed: bytes, error: GraphCursorError) -> None:
        """A cursor of a thread was refused: it is read from its newest message again."""
        reading, pager = self._readings[hashed], self._pagers[hashed]
        thread = reading.thread
        fresh, fruitless = thread.fresh, thread.fruitless
        pager.restart(fewer=not error.too_deep)
        thread.begun_anew()
        self._offer(hashed)
        depth = f"{len(reading.seen)} messages deep in a conversation"
        thread.fruitless = 0
        thread.fruitless = count_fruitless(error, fruitless, fresh=fresh, depth=depth)
        log.warning("%s Reading the conversation again past what is done.", error)

    def _refuse(self, hashed: bytes, error: GraphError) -> None:
        """A refusal of one thread alone ends that thread; of many in a row, the folder: then all of them are still to be read."""
        self._rounds.leave(hashed)
        self._refused[hashed] = error
        if len(self._refused) >= _REFUSED_IN_ROW:
            self._ready.extend(self._refused)
            self._refused.clear()
            raise error

    def _end_refused(self, times: Moments) -> None:
        """Others are given, or there are no others: the threads that were refused were so for themselves alone."""
        for hashed, error in self._refused.items():
            if not self._readings[hashed].thread.check:
                code = str(error.code)
                self._progress.refused[code] = self._progress.refused.get(code, 0) + 1
                log.warning("The messages of a conversation are refused: %s", error)
            self._give_up(hashed, times)
        self._refused.clear()

    def _give_up(self, hashed: bytes, times: Moments) -> None:
        reading = self._readings[hashed]
        self._rounds.leave(hashed)
        if reading.thread.check:
            self._forget(hashed)
            return
        reading.thread.unavailable = True
        self._end(hashed, reading, times)

    # ---- controls

    def _take_control(self, answer: Answer, times: Moments) -> bool:
        """A control was answered; an empty list is an answer, too: what was in it may be gone."""
        self._control_busy, self._control_attempts, self._control_at = False, 0, 0.0
        if self._control is not None:
            self._progress.controls_refused.clear()
        elif self._progress.controls_refused and (listed := self._listed(answer)):
            self._note_control(listed, proven=True)
            self._progress.controls_refused.clear()
            return False
        gone, was_limit = self._rounds.control_answered(times.monotonic)
        for hashed in gone:
            if self._readings[hashed].thread.check:
                self._progress.gone.append(hashed.hex())
            self._give_up(hashed, times)
        return was_limit

    def _listed(self, answer: Answer) -> str | None:
        """A thread that the list shows now, one that is not set aside if there is any: all that was known may be gone."""
        try:
            names = [row.id for row in read_page(answer.data).rows]
        except GraphTransientError:
            return None
        return min(names, key=lambda name: digest(name) in self._rounds.aside, default=None)

    def _fail_control(self, error: GraphError, times: Moments) -> None:
        self._control_busy = False
        self._control_attempts += 1
        if not isinstance(error, GraphTransientError) or self._control_attempts >= ATTEMPTS:
            self._refuse_control()
        self._control_at = times.monotonic + pause(error, self._control_attempts)

    def void_round(self, now: float) -> None:
        """There was a limit in disguise meanwhile.

        :param now: seconds since 1970, by the worker's clock.
        """
        self._rounds.void(now)

    def _refuse_control(self) -> None:
        """A control that is not answered well is a limit; the next one is another, should this one be gone itself."""
        self._control_attempts = 0
        controls = self._progress.controls
        if self._control in controls:
            controls.remove(self._control)
            controls.append(self._control)
            self._progress.controls_refused.append(self._control)
        raise GraphRateLimitError(
            "what was given before is not given now: a limit that does not say so",
            remedy="Stop calling and come back later",
            code=PACE_CODE,
        )


def _is_about_the_thread(error: GraphError) -> bool:
    """Whether a refusal is about the thread that was asked for: one with a code, and not of a field that the user named."""
    return error.code is not None and not isinstance(error, GraphFieldError)


def note_dropped(progress: Progress, pager: Pager) -> None:
    """Take note of fields that the API refused."""
    for name in pager.dropped:
        if name not in progress.dropped:
            progress.dropped.append(name)
            log.warning("The API refuses the documented field %r: it is left out.", name)


def pause(error: GraphError, failures: int) -> float:
    """Seconds to wait after passing trouble."""
    seconds = pause_after(max(failures, 1))
    log.warning("%s Trying again in %.1f s (%d of %d).", error, seconds, max(failures, 1), attempts(error) - 1)
    return seconds
