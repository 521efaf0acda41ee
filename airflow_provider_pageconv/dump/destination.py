"""What is published in a folder's window: looked up and replaced.

Promises to readers: file names are never used twice; a manifest is one PUT and comes last; only then are the files deleted
that nothing but its predecessor named. What a crash leaves behind is written down beforehand: see
:mod:`~airflow_provider_pageconv.dump.leftovers`.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from airflow_provider_pageconv.dump.attaching import IS_NEW
from airflow_provider_pageconv.dump.checkpoint import ClosedPart, StagedPart
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.file_table import FileTable, Row, in_pieces
from airflow_provider_pageconv.dump.formats import suffix
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.leftovers import Leftovers
from airflow_provider_pageconv.dump.manifest_file import (
    Manifest,
    Rows,
    paths_in,
    put_manifest,
    read_manifest,
    refuse_unreadable,
    without_media,
)
from airflow_provider_pageconv.dump.media import MEDIA, sha256_of, staged_key
from airflow_provider_pageconv.dump.records import STREAMS
from airflow_provider_pageconv.dump.refusals import OVERWRITE
from airflow_provider_pageconv.dump.store import Entry, Store
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.dump.window import Window, overlapping

MOST_PREDECESSORS = 10
"""So often the manifest may be replaced by others while it is being read, or while an export is being published."""

_PLACED_AT_ONCE = 1000
"""Files of attachments that are handed to the threads that publish them at once: each takes some memory there."""

_T = TypeVar("_T")


class Destination:
    """One folder's window in a store.

    :param place: which.
    :param staging: prefix of this run's staging area.
    """

    def __init__(self, store: Store, place: Place, staging: str) -> None:
        self.store = store
        self.place = place
        self.staging = staging
        self.leftovers = Leftovers(store, place, staging)
        self._sample: tuple[Entry, Manifest] | None = None

    def published(self) -> Manifest | None:
        """The manifest that is published for this window.

        :raises DumpRefused: it cannot be read.
        """
        return read_manifest(self.store, self.place.manifest)

    def steadily(self, what: Callable[[Manifest | None], _T], published: Manifest | None = None) -> _T:
        """Do something with the files of what is published.

        Who publishes sweeps up what it replaces, so that a file may be gone that was there a moment ago: then once more, with
        what is published now, as any reader does.

        :param published: what was, a moment ago.
        :raises DumpRefused: it refuses what still is published.
        """
        for _ in range(MOST_PREDECESSORS):
            published = published or self.published()
            try:
                return what(published)
            except DumpRefused:
                if (now := self.published()) == published:
                    raise
                published = now
        raise self.unsteady()

    def unsteady(self) -> StoreError:
        """What to raise where others do not stop publishing."""
        return StoreError(
            f"The manifest {self.place.manifest} was replaced by others again and again while this export was being published."
        )

    def refuse_conflicts(self, window: Window, user_id: str | None, entries: Iterable[Entry] | None = None) -> None:
        """Refuse to mix what cannot be told apart later; learned from one listing of the manifests' names.

        :param entries: the listing, where it was made already.
        :raises DumpRefused: another published window of this folder overlaps, or the folder holds the conversations of
            somebody else.
        """
        if entries is None:
            entries = self.store.list(self.place.manifests)
        windows = {name: entry for entry in entries if (name := Place.window_of(entry.key))}
        if (other := overlapping(window, list(windows))) is not None:
            raise DumpRefused(
                f"The window {self.place.window} of {self.place.partition} overlaps {other}, which is published "
                f"there: {self._ways_out(other)}."
            )
        if not windows:
            return
        sample = self.place.window if self.place.window in windows else max(windows)
        if self._sample is None or self._sample[0] != windows[sample]:
            manifest = read_manifest(self.store, windows[sample].key)
            if manifest is None:
                return
            # Not all of it: where an export replaces thousands of files, each would be remembered.
            self._sample = windows[sample], {name: manifest.get(name) for name in ("user_id", "pseudonym_fingerprint")}
        if (other := self._sample[1]["user_id"]) != user_id:
            mine, theirs = (f"user_id {who}" if who else "the whole Page" for who in (user_id, other))
            raise DumpRefused(
                f"This export of {mine} cannot be mixed with the window {sample} of {self.place.partition}, which "
                f"holds {theirs}: {self._ways_out(sample)}."
            )

    def note_other_secret(self, fingerprint: str | None) -> str | None:
        """What is to be said where another window of the folder, the newest one, was hidden with another secret.

        :param fingerprint: of the secret that people are hashed with now.
        """
        theirs = self._sample[1]["pseudonym_fingerprint"] if self._sample else None
        if self._sample is None or None in (theirs, fingerprint) or theirs == fingerprint:
            return None
        return (
            f"The window {Place.window_of(self._sample[0].key)} was pseudonymised with another pseudonym_secret: the same "
            "people have other values there."
        )

    def refuse_damage(self, published: Manifest) -> None:
        """Refuse to replace an export of which not every file is there.

        :raises DumpRefused: one is missing, or has another size.
        """
        named = {file["stream"] for file in published["files"]}
        there = FileTable(
            Row(entry.key, entry.size) for stream in named for entry in self.store.list(self.place.stream(stream))
        )
        for file in published["files"]:
            key, size = file["path"], file["bytes"]
            if there.size(key) != size and self.store.size(key) != size:  # a listing may be late
                raise DumpRefused(
                    f"{key}, which the manifest {self.place.manifest} names, is missing or has another size: {OVERWRITE}."
                )

    def others(self) -> list[Manifest]:
        """The manifests of the folder's other windows, without their rows of attachments.

        :raises DumpRefused: one cannot be read, or its files cannot.
        """
        keys = [entry.key for entry in self.store.list(self.place.manifests) if entry.key != self.place.manifest]
        found = {
            key: without_media(manifest)
            for key in sorted(keys)
            if (manifest := read_manifest(self.store, key)) is not None
        }
        for key, manifest in found.items():
            refuse_unreadable(key, manifest, "")
        return list(found.values())

    def _ways_out(self, window: str) -> str:
        streams = ", ".join(f"{self.place.stream(stream, window)}/" for stream in STREAMS)
        files = f"{self.place.stream(MEDIA, window)}/"
        return (
            f"use another destination, or first delete {self.place.manifest_of(window)} and then {streams} and {files}"
        )

    def publish(
        self,
        manifest: dict[str, Any],
        parts: Sequence[StagedPart | ClosedPart],
        predecessor: Manifest | None,
        may_publish: Callable[[], None],
        *,
        overwrite: bool,
        media: Collection[Row] = (),
    ) -> dict[str, Any] | None:
        """Copy the parts to where readers look, or put them there, then put the manifest.

        :param manifest: all of it but ``files``.
        :param parts: in the staging area, or still on the worker's disk.
        :param predecessor: the manifest that is published now.
        :param may_publish: called right before the PUT; raises if it must not happen any more.
        :param overwrite: whether it does not matter what is replaced.
        :param media: files of attachments, marked where they are in the staging area and not published already.
        :return: the manifest as it was put; ``None`` if another one than the predecessor is published meanwhile.
        """
        attempt = secrets.token_hex(4)
        ending = suffix(manifest["file_format"], manifest["compression"])
        numbers = dict.fromkeys(STREAMS, 0)
        files = []
        for one in parts:
            stream = one.part.stream
            name = f"{manifest['export_id']}-{attempt}-{numbers[stream]:05d}{ending}"
            numbers[stream] += 1
            files.append({"path": f"{self.place.stream(stream)}/{name}", **asdict(one.part)})
        paths = [file["path"] for file in files]
        if paths or (predecessor and predecessor["files"]):
            noted = itertools.chain(paths, (row.path for row in media if row.mark == IS_NEW))
            self.leftovers.note(f"publish-{attempt}", noted, paths_in(predecessor))
        if parts:
            with ThreadPoolExecutor(8, thread_name_prefix="publish") as pool:
                list(pool.map(self._place_part, parts, paths))
                for some in in_pieces((row.path for row in media if row.mark == IS_NEW), _PLACED_AT_ONCE):
                    list(pool.map(self._place_file, some))
        may_publish()
        if not overwrite and self.published() != predecessor:
            return None
        put_manifest(self.store, self.place.manifest, manifest, files, media)
        return {**manifest, "files": Rows(files, media) if media else files}

    def _place_part(self, part: StagedPart | ClosedPart, key: str) -> None:
        if isinstance(part, ClosedPart):
            self.store.put(part.path, key)
        else:
            self.store.copy(part.key, key)

    def _place_file(self, path: str) -> None:
        self.store.copy(staged_key(self.staging, sha256_of(path)), path)

    def withdraw(self, published: Manifest, may_withdraw: Callable[[], None]) -> bool:
        """Take a window away whole: first its manifest, then, with :meth:`Leftovers.tidy`, the files that it names.

        :param published: the manifest that is published now.
        :param may_withdraw: called right before the manifest is deleted; raises if that must not happen any more.
        :return: ``False`` where another one is published meanwhile.
        """
        self.leftovers.note(f"withdraw-{secrets.token_hex(4)}", [], paths_in(published))
        may_withdraw()
        if self.published() != published:
            return False
        self.store.delete([self.place.manifest])
        return True
