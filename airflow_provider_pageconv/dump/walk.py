"""The whole story of one folder's export: walk the list, read its threads, read the head again, publish."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_pageconv.dump.checkpoint import Checkpoints, Progress, Resumed, StagedPart, moment
from airflow_provider_pageconv.dump.destination import Destination, Superseded
from airflow_provider_pageconv.dump.idset import IdSet, digest
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.manifest import describe
from airflow_provider_pageconv.dump.output import Output
from airflow_provider_pageconv.dump.scratch import scratch_folder
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store import Store, StoreError
from airflow_provider_pageconv.dump.threads import Reading, Scope, Split, Thread, iso, prepared, split
from airflow_provider_pageconv.dump.window import seconds
from airflow_provider_pageconv.graph.edges import (
    ConversationsQuery,
    EdgePage,
    MessagesQuery,
    Pager,
    conversation_fields,
    message_fields,
)
from airflow_provider_pageconv.graph.errors import (
    CallsStopped,
    GraphAuthError,
    GraphCursorError,
    GraphPermissionError,
    GraphRequestError,
    GraphTransientError,
    GraphUnavailableError,
)
from airflow_provider_pageconv.graph.protocol import Answer, Request

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 40.0
"""A kill may cost the calls of the last 60 seconds; this leaves time for the call and the checkpoint themselves."""

_CHECKPOINT_BYTES = 512 * 1024
"""New hashes in one checkpoint; writing it takes some six times that memory, however fast the server is."""

_LOOK_SECONDS = 1.0
_MOST_DEATHS = 5
_LISTS, _THREADS = 0, 1
READERS = 4
"""Threads of one folder that are read at the same time: at 2 calls a second enough for answers that take 2 s."""


class Save(Protocol):
    """Makes safe what was fetched."""

    def __call__(self, *, even_if_unchanged: bool = False) -> None: ...


class Caller(Protocol):
    """Makes the calls of a folder's export."""

    def get(self, request: Request, on_call: Callable[[], None], save: Save) -> Answer:
        """Make one call, whatever has to be waited for before and after.

        :param on_call: told of every try of it.
        :param save: :meth:`FolderExport.checkpoint`, called before a wait.
        """

    def stopped(self) -> bool:
        """Whether somebody asked to publish nothing any more."""


class FolderExport:
    """Exports one folder's window.

    :param caller: makes calls.
    :param store: the destination's store.
    :param clock: the time of day, in UTC.
    :param monotonic: a monotonic clock, in seconds.
    :param report: told of every call, for the progress that a task shows.
    :param rank: the folder's place among those of its task. A list is a chain of calls, each of which needs the answer to
        the one before, so lists go before threads, and the first folder's mostly before the others'.
    :param readers: threads that are read at the same time; 0 does everything in one thread, one call after the other.
    """

    def __init__(
        self,
        spec: Spec,
        folder: str,
        caller: Caller,
        store: Store,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        monotonic: Callable[[], float] = time.monotonic,
        report: Callable[[FolderExport], None] = lambda _: None,
        readers: int = READERS,
        rank: int = 0,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self._caller = caller
        self._clock = clock
        self._monotonic = monotonic
        self._report = report
        self._readers = readers
        self._rank = rank
        place = Place(spec.platform, spec.page_id, folder, spec.window.name)
        staging = f"{place.staging}/{spec.staging_name()}"
        self._store = store.with_scratch(staging)
        self.place = place
        self.destination = Destination(self._store, place, staging)
        self._attempt = secrets.token_hex(4)
        self._checkpoints = Checkpoints(self._store, staging, self._attempt)

        self.progress = Progress(export_id=secrets.token_hex(8), began="")
        # Held while anything below is read or changed, never during a call.
        self._turn = threading.Condition()
        self._parts: list[StagedPart] = []
        self._seen, self._new_seen = IdSet(), bytearray()
        self._readings: dict[bytes, Reading] = {}
        self._listed = False
        self._error: BaseException | None = None
        self._torn = False
        self._saved_at = monotonic()
        self._changed = False

    # The story

    def done_before(self) -> Mapping[str, Any] | None:
        """The manifest, if this run has published the folder already; refuses what must not be exported here.

        :raises DumpRefused: the export would break what lies in the destination.
        """
        published = self.destination.published()
        if published is not None and self._is_ours(published):
            self.destination.tidy()
            return published
        self.destination.refuse_conflicts(self.spec.window, self.spec.user_id)
        return None

    def run(self) -> tuple[Mapping[str, Any], bool]:
        """Export the folder, going on where an earlier try of this run stopped.

        :return: the manifest that is published now, and whether it is this export's: one that holds more messages stays.
        :raises DumpRefused: another run has published meanwhile what this export would break.
        :raises GraphError: a call was refused; what was fetched is safe.
        :raises CallsStopped: somebody asked for the stop; what was fetched is safe.
        :raises Superseded: a later try of this run is at work.
        """
        with scratch_folder() as scratch:
            self._output = self._open_output(scratch)
            try:
                self._walk()
                self.checkpoint()
            except Superseded:
                raise
            except BaseException as error:
                if not self._torn:
                    self._save_at_the_end(error)
                raise
            finally:
                self._output.discard()
        return self._publish()

    def _save_at_the_end(self, error: BaseException) -> None:
        try:
            self.checkpoint()
        except StoreError as trouble:
            if not isinstance(error, (GraphAuthError, GraphPermissionError, GraphRequestError)):
                raise
            log.warning("%s", trouble)  # beside what no further try can change it is no news

    def begin(self) -> None:
        """Take up what an earlier try of this run left, or begin; comes before :meth:`run`."""
        self.destination.sweep(self._clock())
        resumed = self._checkpoints.load()
        self._checkpoints.claim()
        published = self.destination.published()
        if resumed and published and published.get("export_id") == resumed.progress.export_id:
            # Finished before the run was cleared; only the sweeping up is missing.
            self._checkpoints.begin_anew()
            resumed = None
        if resumed is None:
            self._start()
        else:
            self._resume(resumed)
        self._note_what_is_asked()
        self._scope = Scope(self.spec.window, moment(self.progress.began).timestamp(), self.spec.messages)

    def _start(self) -> None:
        now = self._clock()
        began = now.replace(microsecond=0) + timedelta(seconds=1 if now.microsecond else 0)
        published = self.destination.published()
        self.progress.began = iso(began)
        if published is not None:
            self.progress.against = {"export_id": published.get("export_id"), "until": published.get("until")}
        self._pager = Pager(self._list_query(), self.spec.page_size)
        self.progress.pager = self._pager.state()
        self._save([])

    def _resume(self, resumed: Resumed) -> None:
        self.progress = resumed.progress
        self._parts = resumed.parts
        self._seen = resumed.seen
        for state in resumed.readings:
            reading = Reading.resumed(state, resumed.read[state["node"]["id"]])
            self._readings[digest(reading.id)] = reading
        self._pager = Pager.resumed(self._list_query(), self.spec.page_size, self.progress.pager)
        log.info(
            "Folder %s: going on after %d conversations and %d messages.",
            self.folder,
            self.progress.counts.conversations,
            self.progress.counts.messages,
        )

    def _open_output(self, scratch: Path) -> Output:
        against = self.progress.against
        return Output(
            self._checkpoints,
            self.progress,
            scratch=scratch,
            marks={"_page_id": self.spec.page_id, "_platform": self.spec.platform, "_folder": self.folder},
            against=moment(against["until"]).timestamp() if against and against["until"] else None,
            compression=self.spec.compression,
            max_part_records=self.spec.max_part_records,
            asks_for_sender=lambda: self._asks_for_sender,
            asks_for_details=lambda: self._asks_for_details,
            parts=self._parts,
        )

    def _walk(self) -> None:
        """Walk the list; what its threads hold beyond it is read at the same time, for the API answers slowly."""
        ended = threading.Event()
        with ThreadPoolExecutor(self._readers + 1, thread_name_prefix=f"read-{self.folder}") as pool:
            readers = [pool.submit(self._end_with_error, self._read_threads) for _ in range(self._readers)]
            if self._readers:
                pool.submit(self._end_with_error, lambda: self._save_in_time(ended))
            try:
                self._end_with_error(self._walk_list)
                wait(readers)
            finally:
                ended.set()
        if not self._readers:
            self._end_with_error(self._read_threads)
        if self._error is not None:
            raise self._error

    def _end_with_error(self, work: Callable[[], None]) -> None:
        """Do a part of the work; what ends it ends the other parts after the call that each is in."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for all parts
            with self._turn:
                # What was merely told to stop is not what went wrong.
                if self._error is None or isinstance(self._error, CallsStopped):
                    self._error = error
                self._turn.notify_all()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Change the state as a whole, or not in a way that a checkpoint could keep."""
        with self._turn:
            if self._torn:
                raise CallsStopped
            self._torn = self._changed = True
            yield
            self._torn = False
            self._turn.notify_all()

    # The list

    def _list_query(self) -> ConversationsQuery:
        spec = self.spec
        return ConversationsQuery(
            page_id=spec.page_id,
            platform=spec.platform,
            folder=self.folder,
            user_id=spec.user_id,
            fields=conversation_fields(spec.platform, spec.conversation_fields),
            message_fields=message_fields(spec.message_fields) if spec.messages else None,
        ).dropping(self.progress.dropped)

    def _walk_list(self) -> None:
        while True:
            with self._turn:
                # No more than a page of threads waits to be read: memory and checkpoints stay small.
                crowded = len(self._readings) >= self.spec.page_size
                if crowded and self._readers:
                    self._turn.wait_for(lambda: self._error or len(self._readings) < self.spec.page_size)
                if self._error:
                    return
            if crowded and not self._readers and (taken := self._next_reading()):
                self._read_thread(*taken)
                continue
            with self._turn:
                if self.progress.last_page and self.progress.phase != "done":
                    self._next_phase()
                if self.progress.phase == "done":
                    self._listed = True
                    self._turn.notify_all()
                    return
            self._next_page()

    def _next_page(self) -> None:
        try:
            page = self._fetch(self._pager)
        except GraphCursorError as error:
            self._walk_again(error)
            return
        with self._changing():
            self.progress.pager = self._pager.state()
            self._note_page(page)
            fetched_at = iso(self._clock(), "milliseconds")
            for node in page.nodes:
                self._begin_thread(prepared(node, page.nested, fetched_at))
        self._save_if_due()

    def _note_page(self, page: EdgePage) -> None:
        """See how far the list was read, and whether this was its last page."""
        progress = self.progress
        progress.pages += 1
        progress.depth += len(page.nodes)
        dated = [seconds(node.get("updated_time")) for node in page.nodes]
        newest = max((time for time in dated if time is not None), default=None)
        if progress.phase == "walk":
            if progress.mark is None:  # of the first page that has rows: one before it may be empty
                progress.mark = newest
            self._check_order(page, dated)
            too_old = progress.list_ordered and bool(dated) and all(self._scope.is_old(time) for time in dated)
            progress.last_page = self._pager.done or too_old
        else:
            progress.newest = max((time for time in (progress.newest, newest) if time is not None), default=None)
            progress.last_page = self._pager.done or self._reaches_mark(page, dated)

    def _check_order(self, page: EdgePage, dated: list[float | None]) -> None:
        """See whether the list is newest first, leaving aside what came since the walk began and what was seen before."""
        progress = self.progress
        for node, updated in zip(page.nodes, dated, strict=True):
            if updated is None or updated >= self._scope.began or self._knows(digest(node["id"])):
                continue
            if progress.previous is not None and updated > progress.previous and progress.list_ordered:
                progress.list_ordered = False
                log.warning("Folder %s: the list is not newest first, it is read to its end.", self.folder)
            progress.previous = updated

    def _reaches_mark(self, page: EdgePage, dated: list[float | None]) -> bool:
        mark, times = self.progress.mark, [time for time in dated if time is not None]
        if mark is None or any(time < mark for time in times):
            return True
        # Threads that share the mark's second may stand on either side of it: a page of them shows that it is passed only
        # if it brings none that is new.
        all_known = all(self._knows(digest(node["id"])) for node in page.nodes)
        return bool(times) and times[-1] == mark == max(times) and all_known

    def _next_phase(self) -> None:
        """After the walk the head is read again, until one reading fits one page: what jumped there meanwhile is there."""
        progress = self.progress
        first_reading = progress.phase == "walk"
        if progress.pages <= 1:
            progress.phase = "done"
        else:
            progress.mark = progress.mark if first_reading else max(progress.newest or 0, progress.mark or 0)
            progress.phase, progress.newest, progress.fruitless = "head", None, 0
            self._pager.restart()
            progress.pager = self._pager.state()
        progress.pages, progress.depth, progress.last_page = 0, 0, False
        self._changed = True

    def _walk_again(self, error: GraphCursorError) -> None:
        """Begin the list again past what is done, unless the last time brought nothing new."""
        progress = self.progress
        depth = f"{progress.depth} conversations deep in the folder {self.folder}"
        with self._turn:
            self._begin_again(self._pager, error, progress, depth)
            progress.pager = self._pager.state()
            progress.pages = progress.pages if progress.phase == "walk" else 0
            progress.depth, progress.previous = 0, None

    def _begin_again(self, pager: Pager, error: GraphCursorError, state: Progress | Thread, depth: str) -> None:
        """Send a pager back to the beginning, unless the last times brought nothing new.

        :param state: counts the refused cursors in a row that brought nothing new.
        :param depth: how far it had come, for the sentence.
        """
        state.fruitless += 1
        self._changed = True
        if error.too_deep and state.fruitless >= 2:
            raise GraphRequestError(
                f"{error.meaning}, {depth}, twice without a new one in between",
                remedy="Export a window that begins later (since), which does not go as deep",
                code=error.code,
                subcode=error.subcode,
                http_status=error.http_status,
                fbtrace_id=error.fbtrace_id,
            ) from error
        if not error.too_deep and state.fruitless >= _MOST_DEATHS:
            state.fruitless = 0
            raise GraphTransientError(
                f"the cursors died {_MOST_DEATHS} times, {depth}, without a new one in between",
                remedy="Try again later",
            ) from error
        log.warning("Folder %s: %s Reading again past what is done.", self.folder, error)
        pager.restart()
        if not error.too_deep:
            # The pages end elsewhere now, and with them the cursors, should one of them be dead for good.
            pager.limit = max(1, pager.limit - 1)

    # The threads

    def _knows(self, hashed: bytes) -> bool:
        return hashed in self._seen or hashed in self._readings

    def _begin_thread(self, item: dict[str, Any]) -> None:
        """Take what came with the list; what else there may be of the thread is left to the readers."""
        reading = Reading(item)
        hashed = digest(reading.id)
        if self._knows(hashed):
            return
        self.progress.fruitless = 0
        if self.spec.messages:
            complete = self._take(reading, item["messages"], item["fetched_at"]) or item["complete"]
            if not complete and (reading.thread.exported or self._scope.may_hold_messages(item["node"])):
                self._readings[hashed] = reading
                return
        self._end_thread(hashed, reading)

    def _end_thread(self, hashed: bytes, reading: Reading) -> None:
        counts = self.progress.counts
        held = self._scope.holds(reading.thread, reading.item["node"])
        counts.conversations_undated += held is None
        counts.conversations_unavailable += reading.thread.unavailable and bool(held)
        self.progress.threads_unordered += not reading.thread.ordered
        if held:
            self._output.conversation(reading)
        self._readings.pop(hashed, None)
        self._seen.add(hashed)
        self._new_seen += hashed

    def _read_threads(self) -> None:
        while (taken := self._next_reading()) is not None:
            self._read_thread(*taken)

    def _next_reading(self) -> tuple[bytes, Reading] | None:
        """Take a thread that nobody reads yet; ``None`` when there will be none any more."""
        with self._turn:
            while not self._error:
                for hashed, reading in self._readings.items():
                    if not reading.taken:
                        reading.taken = True
                        return hashed, reading
                if self._listed:
                    break
                self._turn.wait()
            return None

    def _read_thread(self, hashed: bytes, reading: Reading) -> None:
        """Read a thread to its end, or to where nothing of the window can follow."""
        thread = reading.thread
        query = MessagesQuery(reading.id, message_fields(self.spec.message_fields)).dropping(self.progress.dropped)
        pager = (
            Pager.resumed(query, self.spec.page_size, thread.pager)
            if thread.pager
            else Pager(query, self.spec.page_size, after=reading.item["after"])
        )
        finished = False
        while not finished:
            page = None
            try:
                page = self._fetch(pager)
            except GraphCursorError as error:
                with self._turn:
                    depth = f"{len(reading.seen)} messages deep in a conversation of the folder {self.folder}"
                    self._begin_again(pager, error, thread, depth)
                    thread.pager, thread.last_dated = pager.state(), None
                continue
            except GraphUnavailableError:
                thread.unavailable = finished = True
            with self._changing():
                if page is not None:
                    messages = [split(message) for message in page.nodes]
                    ended = self._take(reading, messages, iso(self._clock(), "milliseconds"))
                    finished = ended or pager.done
                    thread.pager = pager.state()
                if finished:
                    self._end_thread(hashed, reading)
            self._save_if_due()

    def _take(self, reading: Reading, messages: Sequence[Split], fetched_at: str) -> bool:
        """Write those of some messages that fall into the window.

        :return: whether nothing of the window can follow.
        """
        last_dated = reading.thread.last_dated
        for message, owed in self._scope.take(reading, messages):
            if owed is None:
                self.progress.counts.messages_undated += 1
            elif owed:
                self._output.message(reading, message, fetched_at)
        return self._scope.ends_with(reading.thread, last_dated, messages)

    # Calls and checkpoints

    def _note_what_is_asked(self) -> None:
        query = self._list_query()
        self._asks_for_sender, self._asks_for_details = query.asks_for_sender, query.asks_for_details

    def _fetch(self, pager: Pager) -> EdgePage:
        rank = (_LISTS if pager is self._pager else _THREADS, self._rank)
        page = pager.fetch(lambda request: self._get(replace(request, rank=rank)))
        with self._turn:
            for name in pager.dropped:
                if name not in self.progress.dropped:
                    self.progress.dropped.append(name)
                    log.warning("The API refuses the documented field %r: it is left out.", name)
                    self._note_what_is_asked()
        return page

    def _get(self, request: Request) -> Answer:
        answer = self._caller.get(request, self._count_call, self.checkpoint)
        with self._turn:
            self.progress.graph_version = answer.version or self.progress.graph_version
        self._report(self)
        return answer

    def _count_call(self) -> None:
        with self._turn:
            self.progress.api_calls += 1
            self._changed = True

    def _save_if_due(self) -> None:
        late = self._monotonic() - self._saved_at >= CHECKPOINT_SECONDS
        if (self._changed and late) or len(self._new_seen) >= _CHECKPOINT_BYTES:
            self.checkpoint()

    def _save_in_time(self, ended: threading.Event) -> None:
        """Make safe what was fetched also while every call waits: for a silent server, or for others to go first."""
        while not ended.wait(_LOOK_SECONDS) and self._error is None:
            self._save_if_due()

    def checkpoint(self, *, even_if_unchanged: bool = False) -> None:
        """Make what was fetched since the last checkpoint safe.

        :param even_if_unchanged: also if nothing was fetched, for the sake of what is known of limits.
        :raises Superseded: a later try of this run is at work; this one must not add to what that one does.
        """
        with self._turn:
            if self._checkpoints.is_superseded():
                raise Superseded(f"A later try exports the folder {self.folder}.")
            if self._torn:
                raise CallsStopped
            if self._changed or even_if_unchanged:
                self._torn = True
                self._output.close_all()
                self._torn = False
                self._save(self._output.stage_all())
                self._output.note_saved()

    def _save(self, parts: Sequence[StagedPart]) -> None:
        self._checkpoints.save(
            self.progress,
            parts=parts,
            seen=bytes(self._new_seen),
            readings=[reading.state() for reading in self._readings.values()],
            read={reading.id: bytes(reading.fresh) for reading in self._readings.values()},
        )
        self._new_seen.clear()
        for reading in self._readings.values():
            reading.fresh.clear()
        self._saved_at = self._monotonic()
        self._changed = False

    # The end

    def _publish(self) -> tuple[Mapping[str, Any], bool]:
        self._may_publish()
        self.destination.refuse_conflicts(self.spec.window, self.spec.user_id)
        predecessor = self.destination.published()
        if predecessor is not None and not self.spec.overwrite and self._holds_fewer(predecessor):
            log.warning(
                "Folder %s: the export that is published holds more, since the API forgets: it stays.", self.folder
            )
            return predecessor, False
        document = describe(self.spec, self.folder, self.progress, self._list_query(), self._clock())
        manifest = self.destination.publish(document, self._parts, predecessor, self._may_publish)
        self.destination.tidy()
        return manifest, True

    def _may_publish(self) -> None:
        if self._caller.stopped():
            raise CallsStopped
        if self._checkpoints.is_superseded():
            raise Superseded(f"A later try exports the folder {self.folder}; this one publishes nothing.")

    def _holds_fewer(self, published: Mapping[str, Any]) -> bool:
        counts = self.progress.counts
        available = int(published.get("messages", 0)) - int(published.get("messages_unavailable", 0))
        theirs = int(published.get("messages_detailed", available))
        if not self._asks_for_details:
            if theirs:
                return True  # bare ids, or conversations alone, do not stand for details
            theirs = available
        if not self.spec.messages and not theirs:
            return counts.conversations < int(published.get("conversations", 0))
        comparable = counts.comparable
        against = self.progress.against
        if against is None or against["export_id"] != published.get("export_id"):
            # Another run has published since this walk began: what was counted meanwhile was counted for its predecessor.
            until = moment(published["until"]).timestamp() if published.get("until") else None
            comparable = self.destination.count_comparable(self._parts, until, asks_for_details=self._asks_for_details)
        return comparable < theirs

    def _is_ours(self, published: Mapping[str, Any]) -> bool:
        return (
            published.get("run_key") == dict(self.spec.run_key)
            and published.get("fingerprint") == self.spec.fingerprint()
        )
