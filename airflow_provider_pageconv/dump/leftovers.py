"""What runs leave behind in a folder, and how it goes.

What a run is about to publish or to replace it writes down beforehand, in a note in its staging area; so whoever comes after a
crash knows which files are nobody's.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections.abc import Collection, Container, Iterable, Iterator
from datetime import datetime, timedelta
from typing import BinaryIO

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.file_table import FileTable, Row
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.long_files import opened, put_pieces
from airflow_provider_pageconv.dump.manifest_file import Manifest, named_in, read_manifest
from airflow_provider_pageconv.dump.media import MEDIA, is_file
from airflow_provider_pageconv.dump.records import STREAMS
from airflow_provider_pageconv.dump.store import Entry, Store

log = logging.getLogger(__name__)

_STRANGERS = "strangers"

LEFTOVERS_AFTER = timedelta(days=7)
"""How long after its last write what another run left in the staging area is swept."""

_UNUSABLE = (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a damaged or missing note ends with."""


class Staging:
    """What lies in a folder's staging area, of whatever runs.

    :param area: its prefix.
    :ivar entries: all but files of attachments.
    :ivar files: these, of which there may be very many.
    :ivar latest: when something of a run was last written, by the prefix of the run; ``None`` where the store does not tell.
    """

    def __init__(self, area: str, entries: Iterable[Entry] = ()) -> None:
        self._depth = area.count("/") + 2
        self.entries: list[Entry] = []
        self.files: FileTable | None = None
        self.latest: dict[str, datetime | None] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take note of what lies there."""
        run = "/".join(entry.key.split("/")[: self._depth])
        if is_file(entry.key):
            self.files = FileTable() if self.files is None else self.files
            self.files.add(entry.key, entry.size)
        else:
            self.entries.append(entry)
        last = self.latest.setdefault(run, entry.modified)
        self.latest[run] = max(last, entry.modified) if last and entry.modified else None

    def size(self, key: str) -> int | None:
        """How large a file of an attachment is; ``None`` if it is not there."""
        return self.files.size(key) if self.files is not None else None

    def keys_of(self, run: str) -> Iterator[str]:
        """All that a run has there; what lies there by itself is its own run."""
        yield from (entry.key for entry in self.entries if f"{entry.key}/".startswith(f"{run}/"))
        yield from (row.path for row in self.files.below(run)) if self.files is not None else ()

    @property
    def notes(self) -> Iterator[str]:
        """The keys of notes of what runs are about to do."""
        return (entry.key for entry in self.entries if _is_note(entry.key))


class Leftovers:
    """Of one folder's window.

    :param staging: prefix of this run's staging area.
    """

    def __init__(self, store: Store, place: Place, staging: str) -> None:
        self._store = store
        self._place = place
        self._staging = staging
        self._notes: list[str] = []
        self.is_tidy = False

    def note(self, name: str, files: Iterable[str], replaces: Iterable[str] = ()) -> None:
        """Write down which files are to go unless the manifest names them.

        :param replaces: those that what is published now names, beside the others.
        """
        key = f"{self._staging}/note-{name}"
        if name != _STRANGERS:
            self._notes.append(key)
        paths = itertools.chain(
            ({"path": path} for path in files), ({"path": path, "replaced": True} for path in replaces)
        )
        rows = itertools.chain(({"manifest": self._place.manifest},), paths)
        put_pieces(self._store, (json.dumps(row).encode() + b"\n" for row in rows), key)

    def tidy_at_once(self, manifest: Manifest, *keys: str) -> None:
        """Do as :meth:`tidy` does where it is known what lies in the staging area: no try was before this one, nothing was
        replaced, and it published at once.

        :param manifest: what it published.
        :param keys: what it wrote there beside its notes.
        """
        self.is_tidy = True
        self._note_strangers({file["stream"] for file in manifest["files"]}, named_in(manifest))
        self._store.delete([*keys, *self._notes])

    def tidy(self) -> None:
        """Delete what this run wrote or replaced and what is not published, then its staging area.

        Files of others that lie in the window without being published may belong to a run that is publishing right now:
        they are noted, for the folder's next export after :data:`LEFTOVERS_AFTER` to delete if they still are not.
        """
        self.is_tidy = True
        there = FileTable(Row(entry.key) for entry in self._store.list(self._staging))
        if not there:
            return
        gone = FileTable()
        self._delete_noted((key for key in there.paths if key != self._left), gone)
        published = read_manifest(self._store, self._place.manifest)
        streams = (*STREAMS, MEDIA) if published and published.get("download_attachments") else STREAMS
        noted = self._note_strangers(streams, named_in(published), gone)
        self._store.delete(key for key in there.paths if key != self._left or not noted)

    @property
    def _left(self) -> str:
        return f"{self._staging}/note-{_STRANGERS}"

    def _note_strangers(self, streams: Collection[str], *known: Container[str]) -> bool:
        """Note the files of nobody in the window's streams; whether there are any."""
        entries = (entry for stream in streams for entry in self._store.list(self._place.stream(stream)))
        strangers = FileTable(Row(entry.key) for entry in entries if not any(entry.key in some for some in known))
        if strangers:
            self.note(_STRANGERS, strangers.paths)
        return bool(strangers)

    def sweep(self, now: datetime, staging: Staging) -> int:
        """Delete what other runs of this folder left behind more than :data:`LEFTOVERS_AFTER` ago.

        :return: of how many runs there was something.
        """
        swept = 0
        for run, last in staging.latest.items():
            # Where a store does not tell when it was written, a file counts as written just now.
            if run != self._staging and last is not None and now - last > LEFTOVERS_AFTER:
                self._delete_noted(filter(_is_note, staging.keys_of(run)), FileTable())
                self._store.delete(staging.keys_of(run))
                log.info("Swept up %s, last written at %s.", run, last.isoformat(timespec="seconds"))
                swept += 1
        return swept

    def delete_replaced(self, staging: Staging, gone: FileTable) -> None:
        """Delete what a run that was killed has replaced and not deleted any more, however young that is.

        Of the files that a note names, those that the run itself was about to publish may still be published by it. The others
        were its predecessor's; once the manifest names them no more, none ever will.

        :param gone: gets the files.
        """
        self._delete_noted(staging.notes, gone, only_replaced=True)

    def awaited(self, staging: Staging, found: FileTable) -> None:
        """See which files runs are about to publish, or were: whatever is in the streams and is neither among them nor named by
        a manifest is dead, if it was listed before these entries were. For a note is there before the first of its files, and
        until the run has swept up.

        :param found: gets the files.
        """
        for key in staging.notes:
            if not key.endswith(f"/note-{_STRANGERS}"):
                with contextlib.suppress(*_UNUSABLE), opened(self._store, key) as note:
                    found.update(Row(path) for path, _ in _read_note(note)[1])

    def _delete_noted(self, keys: Iterator[str], gone: FileTable, *, only_replaced: bool = False) -> None:
        """Delete the files that notes name and their windows' manifests do not.

        :param gone: gets the files.
        :param only_replaced: of a note only those that are replaced.
        """
        for key in keys:
            if not _is_note(key):
                continue
            unpublished = FileTable()
            with contextlib.suppress(*_UNUSABLE, DumpRefused), opened(self._store, key) as note:
                manifest, rows = _read_note(note)
                named = named_in(read_manifest(self._store, manifest))
                meant = (path for path, replaced in rows if replaced or not only_replaced)
                unpublished.update(Row(path) for path in meant if path not in named)
            self._store.delete(unpublished.paths)
            gone.update(unpublished)


def _is_note(key: str) -> bool:
    return key.rpartition("/")[2].startswith("note-")


def _read_note(note: BinaryIO) -> tuple[str, Iterator[tuple[str, bool]]]:
    """What a note says: the key of the manifest, and the files, each with whether it is replaced."""
    manifest = json.loads(note.readline())["manifest"]
    return str(manifest), ((row["path"], "replaced" in row) for row in map(json.loads, note))
