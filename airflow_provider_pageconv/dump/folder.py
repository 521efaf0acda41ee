"""A folder's export as a state: what it asks next, what an answer does to it. No thread, no lock, no sleep, no I/O of its own.

The engine owns it. It offers :class:`Ask`\\ s; one that the engine takes up is :meth:`~FolderExport.start`\\ ed, and ends
with :meth:`~FolderExport.got`, :meth:`~FolderExport.failed` or :meth:`~FolderExport.put_back`. What the store has to do it
hands over as functions, which the engine lets run elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_pageconv.dump.attaching import Attaching
from airflow_provider_pageconv.dump.carrying import Carrier, Listed, asks_for_details
from airflow_provider_pageconv.dump.checkpoint import Checkpoints, ClosedPart, Resumed, StagedPart
from airflow_provider_pageconv.dump.destination import Destination
from airflow_provider_pageconv.dump.downloads import Downloads, Job, MediaSource, Prepared, Result, prepare
from airflow_provider_pageconv.dump.fast import FastReader
from airflow_provider_pageconv.dump.listing import Listing
from airflow_provider_pageconv.dump.manifest import describe
from airflow_provider_pageconv.dump.media import MEDIA
from airflow_provider_pageconv.dump.output import Output
from airflow_provider_pageconv.dump.packing import Packing
from airflow_provider_pageconv.dump.progress import Phase
from airflow_provider_pageconv.dump.publishing import Publication, list_query
from airflow_provider_pageconv.dump.readers import Moments, Readers, Target, note_dropped, pause
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store_errors import told
from airflow_provider_pageconv.dump.threads import Scope
from airflow_provider_pageconv.graph.edges import ConversationsQuery
from airflow_provider_pageconv.graph.errors import (
    GraphCursorError,
    GraphError,
    GraphRequestError,
    GraphTransientError,
    GraphUnavailableError,
)
from airflow_provider_pageconv.graph.media_client import Watch
from airflow_provider_pageconv.graph.paging import Pager
from airflow_provider_pageconv.graph.protocol import Answer, PageReader, Request
from airflow_provider_pageconv.times import iso, moment, round_up, utc

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 40.0
"""A kill may cost the calls of the last 60 seconds; this leaves time for the calls and the checkpoint themselves."""

_OVERDUE_SECONDS = 15.0
"""A checkpoint that takes longer than this lets no further call be made until it is safe."""

_CHECKPOINT_BYTES = 256 * 1024
"""New hashes in one checkpoint; writing it takes some six times that memory, however fast the server is."""

_MOST_CHECKS = 1000
"""So many conversations that the walk did not meet are asked for by their own ids; the others are held to be there."""

_LIST_PAUSES = (30.0, 60.0, 90.0, 120.0)
"""Seconds after which a list that says that it does not exist is asked the same again."""


class Rank(IntEnum):
    """What goes first: a list is a chain of calls, each of which needs the answer to the one before."""

    LISTS = 0
    THREADS = 1


class Ask(NamedTuple):
    """A call that a folder wants to be made.

    :param at: not before this moment of the monotonic clock.
    :param target: what its readers ask; ``None``: the list.
    """

    folder: FolderExport
    rank: Rank
    at: float
    target: Target | None = None


class FolderExport:
    """Exports one folder's window.

    :param rank: the folder's place among those of its task.
    :param checkpoints: of this try.
    :param resumed: what an earlier try left, or a beginning.
    :param scratch: a local folder for what is not put yet.
    :param packing: compresses and writes it.
    :param now: the monotonic clock's present.
    :param replaces: whether there is a published export whose records are carried over.
    :param is_first: whether nothing is published, and no try of the run was before this one.
    :param media: fetches the files of attachments; ``None``: they are not wanted.
    :param staged: tells the size of a file that earlier tries left in the staging area, if it is there.
    """

    def __init__(
        self,
        spec: Spec,
        folder: str,
        rank: int,
        destination: Destination,
        checkpoints: Checkpoints,
        resumed: Resumed,
        scratch: Path,
        packing: Packing,
        now: float,
        *,
        replaces: bool = False,
        is_first: bool = False,
        media: MediaSource | None = None,
        staged: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.rank = rank
        self.destination = destination
        self.progress = resumed.progress
        self.replaces = replaces
        self._is_first = is_first
        self._checkpoints = checkpoints
        self._parts: list[StagedPart] = resumed.parts
        self._earlier = len(resumed.parts)
        self._media, self._staged = media, staged
        self._downloads: Downloads | None = None
        self._preparing = False
        self._output = Output(
            self.progress,
            scratch=scratch,
            packing=packing,
            marks={"_page_id": spec.page_id, "_platform": spec.platform, "_folder": folder},
            file_format=spec.file_format,
            compression=spec.compression,
            max_part_records=spec.max_part_records,
            asks_for_details=asks_for_details(spec),
            attached=self._attached if media is not None else None,
        )
        if media is not None:
            store, staging = destination.store, destination.staging
            self._downloads = Downloads(media, self.progress, store, staging, scratch, self._output.fetched)
        self._scratch = scratch
        self._whole = scratch / f"whole-{folder}"
        self._note_whole(resumed.whole)
        query = list_query(spec, folder).dropping(self.progress.dropped)
        self._pager = Pager(query, spec.page_size, self.progress.walk.pager)
        self._fast = FastReader(query, self._pager.nested, files=media is not None)
        scope, self._listing = self._rules()
        self._readers = Readers(spec, self.progress, scope, self._output, resumed.seen, self._ids_of_list)
        left = self._readers.resume(resumed.readings, resumed.read)
        self._list_busy = False
        self._list_at = 0.0
        self._list_missing = 0
        self._looking = False
        self._changed = left or not resumed.sequence
        self._saving = False
        self._saved_at = now

    def _ids_of_list(self, rows: int) -> Request:
        query = self._pager.query
        assert isinstance(query, ConversationsQuery)
        return query.ids(rows)

    def _rules(self) -> tuple[Scope, Listing]:
        began = moment(self.progress.began).timestamp()
        scope = Scope(self.spec.window, began, self.spec.messages)
        return scope, Listing(self.progress.walk, scope.since, began)

    # ---- what it asks

    @property
    def phase(self) -> Phase:
        """How far the list is."""
        return self.progress.walk.phase

    @property
    def list_is_walked(self) -> bool:
        """Whether the list was walked, from its head to where nothing of the window can follow."""
        return self.phase is not Phase.WALK

    @property
    def _has_looked(self) -> bool:
        """Whether all that there is to be asked of the API was asked."""
        return self.needs_no_call and (self.progress.looked or self.spec.keep_deleted or self.spec.overwrite)

    @property
    def is_read(self) -> bool:
        """Whether all that is to be published is known."""
        return self._has_looked and not self.is_fetching

    @property
    def needs_no_call(self) -> bool:
        """Whether the list was walked and all its threads were read."""
        return self.phase is Phase.DONE and not len(self._readers)

    @property
    def pending(self) -> int:
        """How many threads are still to be read."""
        return len(self._readers)

    @property
    def reached(self) -> float | None:
        """The time down to which the list was walked, seconds since 1970; the oldest rows may be pinned ones and say nothing."""
        oldest = self.progress.walk.order.oldest
        return oldest[-1] if oldest else None

    @property
    def _listed(self) -> int:
        """How many rows the list brought, of whatever age, usable or not."""
        return self._readers.known + self.progress.unusable

    @property
    def is_empty(self) -> bool:
        """Whether the list was walked and held nothing."""
        return self.list_is_walked and not self._listed

    def walk_again(self, now: float) -> None:
        """Walk the list anew, for it was empty the last time, and that is suspicious.

        :param now: seconds since 1970.
        """
        self.progress.began = iso(round_up(utc(now)))
        self._readers.scope, self._listing = self._rules()
        self._listing.walk_again()
        self._pager.restart()
        self._changed = True

    def lists_are_walked(self, now: float) -> None:
        """The lists of all folders were walked.

        :param now: seconds since 1970, by the API's clock.
        """
        if self._listing.all_walked(now):
            self._pager.restart()
            self._changed = True

    def offers(self, times: Moments) -> Iterator[Ask]:
        """The calls that may be made next: of the list, and of its threads."""
        if self._saving and times.monotonic - self._saved_at > _OVERDUE_SECONDS:
            return
        goes_on = self.phase in (Phase.WALK, Phase.HEAD, Phase.AGAIN) and not self._readers.are_crowded
        if goes_on and not self._list_busy:
            yield Ask(self, Rank.LISTS, self._list_at)
        self._changed |= self._readers.settle(times, idle=not goes_on)
        for target in self._readers.offers(times, idle=not goes_on):
            yield Ask(self, Rank.THREADS, target.at, target)

    def start(self, ask: Ask) -> Request:
        """Begin a call.

        :raises GraphError: it cannot be made; to be told to :meth:`failed`.
        """
        if ask.target is not None:
            return self._readers.start(ask.target)
        self._list_busy = True
        self._pager.drop(self.progress.dropped)
        return self._pager.request()

    def count_call(self) -> None:
        """A call is made."""
        self.progress.api_calls += 1
        self._changed = True

    def put_back(self, ask: Ask) -> None:
        """A call ended without an answer that says anything: it is offered again."""
        if ask.target is not None:
            self._readers.put_back(ask.target)
        else:
            self._list_busy = False

    # ---- what an answer does

    def got(self, ask: Ask, answer: Answer, times: Moments) -> bool:
        """Take a good answer.

        :return: whether it shows that calls are to go slower.
        :raises GraphRateLimitError: it is a limit in disguise.
        :raises GraphError: the folder cannot go on.
        """
        self._changed = True
        self.progress.graph_version = answer.version or self.progress.graph_version
        fetched_at = iso(utc(times.api), "milliseconds")
        if ask.target is not None:
            return self._readers.got(ask.target, answer, times, fetched_at)
        self._take_list(ask, answer, times, fetched_at)
        return False

    def reader(self, ask: Ask) -> PageReader | None:
        """What reads the answer to a call first; ``None``: nothing does."""
        if ask.target is not None or self.spec.people:
            return None
        query, nested = self._pager.query, self._pager.nested
        assert isinstance(query, ConversationsQuery)
        if self._fast.query != query or self._fast.nested != nested:
            self._fast = FastReader(query, nested, files=self._media is not None)
        return self._fast.read

    def _take_list(self, ask: Ask, answer: Answer, times: Moments, fetched_at: str) -> None:
        try:
            page = self._pager.got(answer)
        except GraphTransientError as error:
            self.failed(ask, error, times)
            return
        self._list_busy, self._list_missing, self._list_at = False, 0, 0.0
        walk = self.progress.walk
        if walk.phase is Phase.WALK and walk.pages == 0:
            self._correct_began(times.api - times.clock)
        self.progress.unusable += page.unusable
        rows = self._readers.begin_all(page, self._fast, times, fetched_at)
        known, size = self._readers.known, self.spec.page_size
        again = True
        try:
            again = self._listing.page(rows, ended=self._pager.done, known=known, page_size=size, now=times.api)
        finally:
            if again:
                self._pager.restart()

    def _correct_began(self, ahead: float) -> None:
        """A walk begins when it does for the API, where the worker's clock says something quite different.

        :param ahead: seconds that the API's clock is ahead.
        """
        if ahead:
            self.progress.began = iso(round_up(moment(self.progress.began) + timedelta(seconds=ahead)))
            self._readers.scope, self._listing = self._rules()

    def failed(self, ask: Ask, error: GraphError, times: Moments) -> None:
        """Take a refusal, or the lack of an answer.

        :raises GraphRateLimitError: it is a limit in disguise.
        :raises GraphError: the folder cannot go on.
        """
        self._changed = True
        if ask.target is not None:
            self._readers.failed(ask.target, error, times)
            return
        self._list_busy = False
        if isinstance(error, GraphUnavailableError) and error.may_be_limit:
            if self._list_missing < len(_LIST_PAUSES):
                self._list_at = times.monotonic + _LIST_PAUSES[self._list_missing]
                self._list_missing += 1
                log.warning("Folder %s: %s It is asked again.", self.folder, error)
                return
            self._list_missing = 0
            error = self._missing_for_good(error)
        if isinstance(error, GraphCursorError):
            self._pager.restart(fewer=not error.too_deep)
            self._listing.refused_cursor(error, self.folder)
            log.warning("Folder %s: %s Reading again past what is done.", self.folder, error)
        elif self._pager.failed(error):
            note_dropped(self.progress, self._pager)
        else:
            self._list_at = times.monotonic + pause(error, self._pager.failures)

    def void_round(self, now: float) -> None:
        """A control was refused, in this folder or in another: whoever was asked meanwhile may have met the same limit.

        :param now: seconds since 1970, by the worker's clock.
        """
        self._readers.void_round(now)

    def _missing_for_good(self, error: GraphError) -> GraphRequestError:
        """What a list that says again and again that it does not exist means."""
        facts: dict[str, Any] = {
            name: getattr(error, name) for name in ("code", "subcode", "http_status", "fbtrace_id", "is_transient")
        }
        if self._pager.after is not None:
            return GraphCursorError("the cursor is not valid any more", **facts)
        return GraphRequestError(
            "the list does not exist or the token may not see it, or a limit is reached that does not say so",
            remedy="Check the page id, that the token is the Page's and what it may do; else try again later",
            **facts,
        )

    # ---- the files of attachments

    def _attached(self, message: Mapping[str, Any]) -> bool:
        assert self._downloads is not None
        return self._downloads.add(message)

    @property
    def is_fetching(self) -> bool:
        """Whether files of attachments are still to be fetched, as far as anybody knows."""
        return self._downloads is not None and not self._downloads.is_done

    @property
    def may_fetch(self) -> bool:
        """Whether it is known what earlier tries and exports left."""
        return self._downloads is not None and self._downloads.is_prepared

    @property
    def files_waiting(self) -> int:
        """How many files are still to be fetched."""
        return self._downloads.waiting if self._downloads is not None else 0

    def prepare(self) -> Callable[[], Prepared] | None:
        """What finds out which files earlier tries and the replaced export left; once, else ``None``."""
        media, spec, destination, scratch = self._media, self.spec, self.destination, self._scratch
        if media is None or self._preparing:
            return None
        self._preparing = True
        carrier, parts, staged, left = self._carrier(), self._parts[: self._earlier], self._staged, spec.people.left_out

        def look(published: Mapping[str, Any] | None) -> Prepared:
            predecessor = None if spec.overwrite else published
            return prepare(carrier.records, parts, staged, destination.staging, predecessor, scratch, media.rules, left)

        return lambda: destination.steadily(look)

    def prepared(self, found: Prepared) -> None:
        """Files may be fetched from now on."""
        assert self._downloads is not None
        self._downloads.prepared(found)

    def file_at(self) -> float:
        """From when on there is a file to be fetched, by the monotonic clock."""
        return self._downloads.next_at() if self._downloads is not None else float("inf")

    def start_file(self) -> tuple[Job, Callable[[Watch], Result]]:
        """Begin to fetch one; what is returned does it elsewhere."""
        assert self._downloads is not None
        job = self._downloads.take()
        return job, self._downloads.work(job)

    def got_file(self, job: Job, result: Result, now: float) -> None:
        """Take what came of it.

        :param now: the monotonic clock's present.
        """
        assert self._downloads is not None
        self._downloads.got(job, result, now)
        self._changed = True

    def leave_file(self, job: Job) -> None:
        """Nobody waits for one any more."""
        assert self._downloads is not None
        self._downloads.put_back(job)

    # ---- what the store does

    def save_due_at(self) -> float:
        """When a checkpoint has to follow, by the monotonic clock."""
        if self._saving:
            return float("inf")
        if self._readers.unsaved_bytes >= _CHECKPOINT_BYTES or self._output.has_full_parts:
            return float("-inf")
        return self._saved_at + CHECKPOINT_SECONDS if self._changed else float("inf")

    @property
    def is_safe(self) -> bool:
        """Whether all that was fetched is in a checkpoint."""
        return not self._changed and not self._saving

    @property
    def is_saving(self) -> bool:
        """Whether a checkpoint is on its way into the store."""
        return self._saving

    @property
    def is_brief(self) -> bool:
        """Whether it may be published with nothing of it safe before: there is so little that this takes no time."""
        return self._is_first and self.is_read and self._output.is_little

    def save(self, now: float) -> Callable[[], None]:
        """Compose a checkpoint of all that was fetched; what is returned puts it into the store.

        :param now: the monotonic clock's present.
        """
        put, _ = self._compose()
        self._saving, self._saved_at = True, now
        return put

    def _compose(self) -> tuple[Callable[[], None], list[ClosedPart]]:
        """Compose a checkpoint; returns what puts it, and the parts on the worker's disk that it puts with it."""
        self._is_first = False
        self.progress.walk.pager = self._pager.state()
        kept = self._readers.hand_over()
        self._note_whole(kept["whole"])
        closed = self._output.close()
        put, parts = self._checkpoints.compose(self.progress, closed=closed, number=len(self._parts), **kept)
        self._parts += parts
        self._changed = False
        return put, closed

    def _note_whole(self, hashes: bytes) -> None:
        """Keep the hashes of threads that were read to their end, on the worker's disk: only the carrying needs them."""
        with (
            told(f"write {self._whole}, which lies among the temporary files of the worker"),
            self._whole.open("ab") as file,
        ):
            file.write(hashes)

    def saved(self) -> None:
        """The checkpoint that was under way is in the store."""
        self._saving = False

    def look(self) -> Callable[[], list[str]] | None:
        """Where what is gone is to leave: what finds out which conversations the walk should have met; once, else ``None``."""
        if not self.needs_no_call or self._has_looked or self._looking:
            return None
        self._looking = True
        carrier, destination = self._carrier(), self.destination

        def find() -> list[str]:
            return destination.steadily(
                lambda published: carrier.missing(published, _MOST_CHECKS) if published is not None else []
            )

        return find

    def looked(self, missing: list[str]) -> None:
        """Ask for them by their own ids; a list that came back empty says nothing of what it should have held."""
        self.progress.looked = self._changed = True
        if self._readers.known:
            self._readers.check(missing)

    def _carrier(self) -> Carrier:
        gone = frozenset(bytes.fromhex(one) for one in self.progress.gone)
        listed = Listed(self._whole, gone, moment(self.progress.began))
        destination = self.destination
        parts, staging = list(self._parts), destination.staging
        media = self._attaching if self._media is not None else None
        store, scratch, earlier = destination.store, self._scratch, self._earlier
        return Carrier(self.spec, store, staging, scratch, parts, listed, earlier=earlier, media=media)

    def _attaching(self) -> AbstractContextManager[Attaching]:
        assert self._media is not None
        destination = self.destination
        stream = destination.place.stream(MEDIA)
        return Attaching.at(self._media.rules, stream, self.progress.export_id, self._scratch)

    def publish(self, now: float, stopped: Callable[[], bool]) -> Callable[[], dict[str, Any]]:
        """Describe what was exported; what is returned publishes it, and returns the manifest.

        :param now: seconds since 1970.
        :param stopped: whether nothing may be published any more.
        """
        spec, destination = self.spec, self.destination
        query = self._pager.query
        assert isinstance(query, ConversationsQuery)
        note = destination.note_other_secret(spec.hides[1])
        document = describe(spec, self.folder, self.progress, query, utc(now), listed=self._listed, note=note)
        save, closed = self._compose() if self.is_brief else (None, [])
        return Publication(
            spec, self.folder, destination, self._checkpoints, self._carrier(), document, stopped, closed, save
        ).publish

    def discard(self) -> None:
        """Leave what is not finished."""
        self._output.discard()
        if self._downloads is not None:
            self._downloads.close()
