"""Published windows, gone through and written anew or taken away: what erasure and retention have in common.

A window is replaced as an export replaces one (see :mod:`~airflow_provider_pageconv.dump.destination`): new files under new
names, those that do not change as copies, then the manifest as one PUT, if the one that was read is still published, and only
then the old files go. So who goes by the manifests sees at every instant one whole export, and notes in the staging area
tell what a crash left behind.
"""

from __future__ import annotations

import gzip
import itertools
import logging
import re
import secrets
import zlib
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from logging import INFO
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from airflow_provider_pageconv import json_text, lines
from airflow_provider_pageconv.dump.checkpoint import StagedPart
from airflow_provider_pageconv.dump.destination import Destination
from airflow_provider_pageconv.dump.endings import DumpRefused, Stopped
from airflow_provider_pageconv.dump.file_table import FileTable, Row, in_pieces
from airflow_provider_pageconv.dump.formats import DamagedFile, Part, PartWriter, read_records, stored_records
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.leftovers import LEFTOVERS_AFTER, Leftovers, Staging
from airflow_provider_pageconv.dump.manifest import recounted
from airflow_provider_pageconv.dump.manifest_file import (
    Manifest,
    Rows,
    named_in,
    paths_in,
    read_manifest,
    refuse_unreadable,
    without_media,
)
from airflow_provider_pageconv.dump.media import MEDIA, media_of
from airflow_provider_pageconv.dump.parquet import MAGIC
from airflow_provider_pageconv.dump.records import CONVERSATIONS, STREAMS
from airflow_provider_pageconv.dump.store import Entry, Store
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.dump.tally import Tally
from airflow_provider_pageconv.dump.window import Window

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Files that are read, or windows that are written, at the same time."""

_MANIFESTS_AT_ONCE = 64

_TOPS = (*STREAMS, MEDIA)
_FOLDER = re.compile(r"[^/]+/platform=([^/]+)/page_id=([^/]+)/folder=([^/]+)/(?:window=([^/]+)/)?")

_PIECE, _OVERLAP = 1 << 20, 128
"""Bytes of a text that are looked through at once, and those that are looked through twice; no id is longer."""

_T = TypeVar("_T")
_R = TypeVar("_R")


class Rule(Protocol):
    """What stays of a window."""

    def kept(self, stream: str, record: dict[str, Any]) -> Mapping[str, Any] | None:
        """What is kept of a record; the very same object where that is all of it, ``None`` where it goes."""

    def goes_whole(self, conversation: str) -> bool:
        """Whether all of a conversation goes.

        :param conversation: its id.
        """


class Moved(Exception):  # noqa: N818 - what was found, not a fault
    """Another run replaced the window while it was read: it is looked at again."""


@dataclass(frozen=True)
class Published:
    """A published window of a folder."""

    place: Place
    manifest: Manifest

    @property
    def page(self) -> tuple[str, str]:
        return self.place.platform, self.place.page_id

    def files(self, stream: str) -> list[Mapping[str, Any]]:
        """The rows of its files of a stream."""
        return [file for file in self.manifest["files"] if file["stream"] == stream]


@dataclass
class Look:
    """What lies in a data set, by one listing.

    :param windows: those whose manifests can be read, without their rows of attachments.
    :param unreadable: what is to be said of the others, by the key of their manifest.
    :param staging: what lies in the staging areas, by folder; its window has no name.
    :param strangers: files of the streams that no manifest names, marked with when they were written, in seconds since 1970.
    """

    windows: list[Published]
    unreadable: dict[str, str]
    staging: dict[Place, Staging]
    strangers: FileTable


class DataSet:
    """A destination, or some Pages of it.

    :param scratch: a folder on the worker's disk.
    :param platform: only this one.
    :param page_id: only this Page.
    :param doing: what is done, as a verb, for sentences.
    :param stopped: whether nothing may be changed any more.
    """

    def __init__(
        self,
        store: Store,
        scratch: Path,
        *,
        platform: str | None,
        page_id: str | None,
        doing: str,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._scratch = scratch
        self._platform, self._page_id = platform, page_id
        self._doing = doing
        self._stopped = stopped

    # ---- looking

    def look(self) -> Look:
        """See what is there.

        :raises StoreError: the destination does not tell.
        """
        self._go_on()
        places = {entry.key: place for entry in self._listed("_manifests") if (place := Place.of(entry.key))}
        windows: list[Published] = []
        unreadable: dict[str, str] = {}
        named = FileTable()
        for some in in_pieces(sorted(places), _MANIFESTS_AT_ONCE):  # not all of their rows at the same time
            for key, found in self.each(self._manifest, some):
                if isinstance(found, Exception):
                    unreadable[key] = str(found)
                elif found is not None:
                    named.update(map(Row, paths_in(found)))
                    windows.append(Published(places[key], without_media(found)))
        strangers = FileTable()
        # The streams before the staging area, and both before anything is deleted: see Leftovers.awaited.
        for entry in (one for top in _TOPS for one in self._listed(top)):
            place = _place_of(entry.key)
            # What belongs to a manifest that cannot be read is nobody's to judge.
            if place is not None and place.window and place.manifest not in unreadable and entry.key not in named:
                strangers.add(entry.key, entry.size, entry.modified.timestamp() if entry.modified else None)
        staging: dict[Place, Staging] = {}
        for entry in self._listed("_staging"):
            if (place := _place_of(entry.key)) is not None:
                if place not in staging:
                    staging[place] = Staging(place.staging)
                staging[place].add(entry)
        return Look(windows, unreadable, staging, strangers)

    def _listed(self, top: str) -> Iterator[Entry]:
        prefix = top
        if self._platform is not None:
            prefix += f"/platform={self._platform}" + (f"/page_id={self._page_id}" if self._page_id else "")
        return (entry for entry in self._store.list(prefix) if self._is_meant(entry.key))

    def _is_meant(self, key: str) -> bool:
        found = _FOLDER.match(key)
        return found is not None and self._platform in (None, found[1]) and self._page_id in (None, found[2])

    def _manifest(self, key: str) -> Manifest | None:
        manifest = read_manifest(self._store, key)
        if manifest is not None:
            refuse_unreadable(key, manifest, "", self._doing)
        return manifest

    def each(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[tuple[_T, _R | Moved | DumpRefused]]:
        """Do something with many things, some at a time; what else it raises ends all.

        :return: each with what came of it, or with why nothing did.
        """

        def attempt(item: _T) -> _R | Moved | DumpRefused:
            try:
                return work(item)
            except (Moved, DumpRefused) as error:
                return error

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=self._doing) as pool:
            try:
                return list(zip(items, pool.map(attempt, items), strict=True))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def records(self, one: Published, file: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The records of a file.

        :param file: its row in the manifest.
        :raises Moved: another run has replaced the window.
        :raises DumpRefused: it is damaged, or missing.
        :raises Stopped: somebody asked for the stop.
        """
        self._go_on()
        key = str(file["path"])
        try:
            yield from stored_records(self._store, key, self._scratch, file["sha256"])
        except (FileNotFoundError, DamagedFile) as error:
            self._still(one)
            reason = "it is gone" if isinstance(error, FileNotFoundError) else str(error)
            raise DumpRefused(
                f"{key}, which the manifest {one.place.manifest} names, is damaged: {reason}. Nobody can tell what is in it: "
                "export the window anew with overwrite=True, or delete the manifest and the files of its window."
            ) from None

    def _whole(self, one: Published) -> Manifest:
        """The manifest of a window with the rows of attachments.

        :raises Moved: another run has replaced the window.
        """
        return self._still(one) if isinstance(one.manifest["files"], Rows) else one.manifest

    def _still(self, one: Published) -> Manifest:
        """The manifest of a window, if that still is the one.

        :raises Moved: another run has replaced the window.
        """
        manifest = read_manifest(self._store, one.place.manifest)
        if manifest is None or manifest != one.manifest:
            raise Moved from None
        return manifest

    def holds(self, key: str, mentions: Callable[[bytes], bool]) -> bool:
        """Whether a file that no manifest names, of whatever kind, has somebody in it; one that is gone has nobody.

        :param mentions: whether somebody is named in a text.
        """
        self._go_on()
        local = self._scratch / f"look-{secrets.token_hex(4)}"
        try:
            self._store.fetch(key, local)
            with closing(_texts(local)) as texts:
                return any(map(mentions, texts))
        except FileNotFoundError:
            return False
        finally:
            local.unlink(missing_ok=True)

    # ---- changing

    def _go_on(self) -> None:
        if self._stopped():
            raise Stopped("It was stopped; what was changed until then is whole, and the next try does the rest.")

    def _destination(self, place: Place) -> Destination:
        staging = f"{place.staging}/{self._doing}-{secrets.token_hex(8)}"
        return Destination(self._store.with_scratch(staging), place, staging)

    def rewrite(
        self, one: Published, rule: Rule, untouched: Collection[str], marks: Mapping[str, Any], *, dry: bool
    ) -> Tally:
        """Write a window anew, without what goes.

        :param untouched: paths of files of which everything is known to stay.
        :param marks: keys that the manifest gets.
        :param dry: only count.
        :return: what went.
        :raises Moved: another run published the window meanwhile; nothing is changed.
        """
        destination, tally, manifest = self._destination(one.place), Tally(), self._whole(one)
        has_media = any(file["stream"] not in STREAMS for file in manifest["files"])
        parts: list[StagedPart] = []
        pointed, stay = FileTable(), FileTable()
        try:
            for file in manifest["files"]:
                if file["stream"] not in STREAMS:
                    continue
                if file["path"] in untouched and not has_media:
                    parts.append(_as_it_is(file))
                else:
                    parts += self._without(one, file, rule, destination, tally, pointed, dry=dry)
            for file in manifest["files"]:
                if file["stream"] in STREAMS:
                    continue
                if file["path"] in pointed:
                    stay.add(file["path"], file["bytes"])
                else:
                    tally.media_files += 1
                    tally.media_bytes += file["bytes"]
            tally.files_deleted += tally.media_files
            if not tally.went or dry:
                return tally
            made = {**recounted(manifest, tally), **marks}
            published = destination.publish(made, parts, manifest, self._go_on, overwrite=False, media=stay)
        except Exception as error:
            with suppress(StoreError, DumpRefused):
                destination.leftovers.tidy()
            # A file that was to be copied is gone where another run has replaced the window.
            if isinstance(error, (FileNotFoundError, StoreError)) and destination.published() != one.manifest:
                raise Moved from None
            raise
        destination.leftovers.tidy()
        if published is None:
            raise Moved
        self._tell(one.place, str(tally))
        return tally

    def _without(
        self,
        one: Published,
        file: Mapping[str, Any],
        rule: Rule,
        destination: Destination,
        tally: Tally,
        pointed: FileTable,
        *,
        dry: bool,
    ) -> list[StagedPart]:
        """A file without what goes, in the staging area; the file itself where all stays.

        :param pointed: gets the paths that records point to which stay.
        """
        stream, manifest = str(file["stream"]), one.manifest
        local = self._scratch / f"kept-{secrets.token_hex(4)}"
        writer = PartWriter(local, stream, manifest["compression"], file_format=manifest["file_format"])
        changed, stays = False, 0
        try:
            for record in self.records(one, file):
                kept = rule.kept(stream, record)
                if kept is None:
                    conversation = str(record["id" if stream == CONVERSATIONS else "_conversation_id"])
                    tally.count(stream, record, whole=rule.goes_whole(conversation))
                else:
                    stays += 1
                    tally.changed += kept is not record
                    pointed.update(Row(str(value["path"])) for _, value in media_of(kept) if "path" in value)
                changed = changed or kept is not record
                if kept is not None and not dry:
                    writer.write(kept)
        except BaseException:
            writer.discard()
            raise
        if not changed:
            writer.discard()
            return [_as_it_is(file)]
        part = writer.close()
        tally.files_deleted += 1
        staged = StagedPart(f"{destination.staging}/kept-{secrets.token_hex(4)}", part)
        if part.records and not dry:
            destination.store.put(local, staged.key)
        local.unlink()
        tally.files_rewritten += bool(stays)
        return [staged] if part.records else []

    def withdraw(self, one: Published, *, dry: bool) -> Tally:
        """Take a window away whole, its manifest first.

        :raises Moved: another run published the window meanwhile; nothing is changed.
        """
        tally = Tally(files_deleted=len(one.manifest["files"]))
        for name in ("conversations", "messages", "media_files", "media_bytes"):
            setattr(tally, name, int(one.manifest.get(name) or 0))
        if dry:
            return tally
        destination = self._destination(one.place)
        gone = destination.withdraw(self._whole(one), self._go_on)
        destination.leftovers.tidy()
        if not gone:
            raise Moved
        self._tell(one.place, f"{tally}, the whole window")
        return tally

    def _tell(self, place: Place, went: str) -> None:
        window = Window.named(place.window)
        stretch = lines.window(window.since, window.until) if window else place.window
        text = f"Page {place.page_id} ({place.platform}), {place.folder}, {stretch}: {went}."
        lines.tell(log, INFO, text, page_id=place.page_id, platform=place.platform, folder=place.folder)

    # ---- what others left

    def sweep(self, look: Look, now: datetime) -> tuple[int, int]:
        """Delete what no manifest names and nobody goes on with: what killed runs have replaced, what runs have lost to one
        another, and what was not touched for :data:`~airflow_provider_pageconv.dump.leftovers.LEFTOVERS_AFTER`.

        :param now: the present.
        :return: of how many runs there was something in the staging area, and how many files of the streams went.
        """
        swept, gone, awaited = 0, FileTable(), FileTable()
        for place, staging in look.staging.items():
            self._go_on()
            leftovers = Leftovers(self._store, place, f"{place.staging}/{self._doing}")
            leftovers.awaited(staging, awaited)
            leftovers.delete_replaced(staging, gone)
            swept += leftovers.sweep(now, staging)
        oldest = (now - LEFTOVERS_AFTER).timestamp()
        for found, rows in itertools.groupby(look.strangers, lambda row: _place_of(row.path)):
            is_dead = (row for row in rows if row.path not in awaited or (row.mark is not None and row.mark < oldest))
            dead = FileTable(row for row in is_dead if row.path not in gone)
            if not dead or found is None:
                continue
            self._go_on()
            published = named_in(read_manifest(self._store, found.manifest))  # it may have been put since
            self._store.delete(path for path in dead.paths if path not in published)
            gone.update(row for row in dead if row.path not in published)
        return swept, len(gone)


def _place_of(key: str) -> Place | None:
    """The folder's window in which a file lies; the window has no name in the staging area."""
    found = _FOLDER.match(key)
    return Place(found[1], found[2], found[3], found[4] or "") if found else None


def _as_it_is(file: Mapping[str, Any]) -> StagedPart:
    part = Part(stream=file["stream"], records=file["records"], bytes=file["bytes"], sha256=file["sha256"])
    return StagedPart(str(file["path"]), part)


def _texts(path: Path) -> Generator[bytes]:
    """What is written in a file of whatever kind, in pieces that overlap, so that no id is cut in two."""
    with path.open("rb") as raw:
        begins = raw.read(len(MAGIC))
        raw.seek(0)
        if begins == MAGIC:
            with suppress(DamagedFile):
                yield from map(json_text.write, read_records(path))
            return
        file: IO[bytes] = gzip.GzipFile(fileobj=raw) if begins[:2] == b"\x1f\x8b" else raw  # type: ignore[assignment]
        end = b""
        with suppress(EOFError, OSError, zlib.error):  # what is damaged is not read on by anybody
            while piece := file.read(_PIECE):
                yield end + piece
                end = (end + piece)[-_OVERLAP:]
