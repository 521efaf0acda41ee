"""What is published in a folder's window: looked up, replaced, and swept up behind.

Promises to readers: file names are never used twice; a manifest is one PUT and comes last; only then are the files deleted
that nothing but its predecessor named. What a crash leaves behind is written down beforehand in a note in the staging area.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypeVar

from airflow_provider_pageconv.dump.attaching import MediaFile
from airflow_provider_pageconv.dump.checkpoint import ClosedPart, StagedPart
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.formats import is_installed, is_known, suffix
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.media import MEDIA, staged_key
from airflow_provider_pageconv.dump.records import STREAMS
from airflow_provider_pageconv.dump.store import Entry, Store
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.dump.window import Window, overlapping
from airflow_provider_pageconv.graph.names import field_name

log = logging.getLogger(__name__)

MANIFEST_VERSION = 1
_STRANGERS = "strangers"
_OVERWRITE = "overwrite=True replaces the export without reading it, and what only it holds is lost then"
_IN_THE_PATH = {"folder"}
"""Not asked for by default, since it is a partition; an export that has it loses nothing to one that does not ask."""

MOST_PREDECESSORS = 10
"""So often the manifest may be replaced by others while it is being read, or while an export is being published."""

_PLACED_AT_ONCE = 1000
"""Files of attachments that are handed to the threads that publish them at once: each takes some memory there."""

LEFTOVERS_AFTER = timedelta(days=7)
"""How long after its last write what another run left in the staging area is swept."""

Manifest = Mapping[str, Any]
_T = TypeVar("_T")


class Destination:
    """One folder's window in a store.

    :param place: which.
    :param staging: prefix of this run's staging area.
    """

    def __init__(self, store: Store, place: Place, staging: str) -> None:
        self.store = self._store = store
        self.place = self._place = place
        self.staging = self._staging = staging
        self._sample: tuple[Entry, Manifest] | None = None
        self._notes: list[str] = []
        self.is_tidy = False

    def published(self) -> Manifest | None:
        """The manifest that is published for this window.

        :raises DumpRefused: it cannot be read.
        """
        return self._manifest(self._place.manifest)

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
            f"The manifest {self._place.manifest} was replaced by others again and again while this export was being published."
        )

    def refuse_conflicts(self, window: Window, user_id: str | None, entries: Sequence[Entry] | None = None) -> None:
        """Refuse to mix what cannot be told apart later; learned from one listing of the manifests' names.

        :param entries: the listing, where it was made already.
        :raises DumpRefused: another published window of this folder overlaps, or the folder holds the conversations of
            somebody else.
        """
        if entries is None:
            entries = self._store.list(self._place.manifests)
        windows = {name: entry for entry in entries if (name := Place.window_of(entry.key))}
        if (other := overlapping(window, list(windows))) is not None:
            raise DumpRefused(
                f"The window {self._place.window} of {self._place.partition} overlaps {other}, which is published "
                f"there: {self._ways_out(other)}."
            )
        if not windows:
            return
        sample = self._place.window if self._place.window in windows else max(windows)
        if self._sample is None or self._sample[0] != windows[sample]:
            manifest = self._manifest(windows[sample].key)
            if manifest is None:
                return
            # Not all of it: where an export replaces thousands of files, each would be remembered.
            self._sample = windows[sample], {name: manifest.get(name) for name in ("user_id", "pseudonym_fingerprint")}
        if (other := self._sample[1]["user_id"]) != user_id:
            mine, theirs = (f"user_id {who}" if who else "the whole Page" for who in (user_id, other))
            raise DumpRefused(
                f"This export of {mine} cannot be mixed with the window {sample} of {self._place.partition}, which "
                f"holds {theirs}: {self._ways_out(sample)}."
            )

    def refuse_replacement(self, published: Manifest, fields: Mapping[str, Sequence[str] | None]) -> None:
        """Refuse to replace an export by one that cannot carry over what only that one has.

        :param fields: what is asked for now, by stream.
        :raises DumpRefused: the published export cannot be read back, or holds more than is asked for.
        """
        where = self._place.manifest
        refuse_unreadable(where, published, f" Otherwise {_OVERWRITE}.")
        for stream in STREAMS:
            had = {field_name(one) for one in (published.get("fields") or {}).get(stream) or ()}
            missing = sorted(had - {field_name(one) for one in fields[stream] or ()} - _IN_THE_PATH)
            if missing:
                raise DumpRefused(
                    f"The export that {where} names was asked for {', '.join(missing)} of {stream}, and this one is not: "
                    f"ask for them too, use another destination, or {_OVERWRITE}."
                )

    def refuse_other_pseudonyms(self, published: Manifest, fields: Sequence[str], fingerprint: str | None) -> None:
        """Refuse to replace an export by one that hides people differently: what is carried over is as it was published.

        :param fields: what is hashed of people now.
        :param fingerprint: of the secret it is hashed with.
        :raises DumpRefused: it does.
        """
        had = published.get("pseudonymize") or []
        if list(had) != list(fields):
            theirs, mine = (", ".join(some) or "nothing" for some in (had, fields))
            raise DumpRefused(
                f"The export that {self._place.manifest} names has {theirs} of people pseudonymised, and this one {mine}: "
                f"pseudonymize has to say the same, use another destination, or {_OVERWRITE}."
            )
        if published.get("pseudonym_fingerprint") != fingerprint:
            raise DumpRefused(
                f"The export that {self._place.manifest} names was pseudonymised with another pseudonym_secret than the "
                f"connection has now: put that one back, use another destination, or {_OVERWRITE}."
            )

    def refuse_fewer_files(self, published: Manifest, *, downloads: bool) -> None:
        """Refuse to replace an export whose attachments' files were fetched by one that fetches none.

        :param downloads: whether this one does.
        :raises DumpRefused: it is such a one.
        """
        if published.get("download_attachments") and not downloads:
            raise DumpRefused(
                f"The export that {self._place.manifest} names has the files of its attachments, and this one is not to fetch "
                f"any: say download_attachments=True, use another destination, or {_OVERWRITE}."
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

    def refuse_nameless(self, published: Manifest) -> None:
        """Refuse to carry over from an export of which nobody can tell who is in it, where people are to be left out.

        :raises DumpRefused: it is such a one.
        """
        for stream, name in zip(STREAMS, ("participants", "from"), strict=True):
            asked = (published.get("fields") or {}).get(stream)
            if asked and name not in map(field_name, asked):
                raise DumpRefused(
                    f"The export that {self._place.manifest} names was not asked for {name} of {stream}, so that nobody can "
                    f"tell what exclude_user_ids leaves out of it: use another destination, or {_OVERWRITE}."
                )

    def refuse_damage(self, published: Manifest) -> None:
        """Refuse to replace an export of which not every file is there.

        :raises DumpRefused: one is missing, or has another size.
        """
        named = {file["stream"] for file in published["files"]}
        there = {entry.key: entry.size for stream in named for entry in self._store.list(self._place.stream(stream))}
        for file in published["files"]:
            key, size = file["path"], file["bytes"]
            if there.get(key) != size and self._store.size(key) != size:  # a listing may be late
                raise DumpRefused(
                    f"{key}, which the manifest {self._place.manifest} names, is missing or has another size: {_OVERWRITE}."
                )

    def others(self) -> list[Manifest]:
        """The manifests of the folder's other windows.

        :raises DumpRefused: one cannot be read, or its files cannot.
        """
        keys = [entry.key for entry in self._store.list(self._place.manifests) if entry.key != self._place.manifest]
        found = {key: manifest for key in sorted(keys) if (manifest := self._manifest(key)) is not None}
        for key, manifest in found.items():
            refuse_unreadable(key, manifest, "")
        return list(found.values())

    def _ways_out(self, window: str) -> str:
        streams = ", ".join(f"{self._place.stream(stream, window)}/" for stream in STREAMS)
        files = f"{self._place.stream(MEDIA, window)}/"
        return (
            f"use another destination, or first delete {self._place.manifest_of(window)} and then {streams} and {files}"
        )

    def _manifest(self, key: str) -> Manifest | None:
        return read_manifest(self._store, key)

    def publish(
        self,
        manifest: dict[str, Any],
        parts: Sequence[StagedPart | ClosedPart],
        predecessor: Manifest | None,
        may_publish: Callable[[], None],
        *,
        overwrite: bool,
        media: Sequence[MediaFile] = (),
    ) -> dict[str, Any] | None:
        """Copy the parts to where readers look, or put them there, then put the manifest.

        :param manifest: all of it but ``files``.
        :param parts: in the staging area, or still on the worker's disk.
        :param predecessor: the manifest that is published now.
        :param may_publish: called right before the PUT; raises if it must not happen any more.
        :param overwrite: whether it does not matter what is replaced.
        :param media: files of attachments, in the staging area or published already.
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
            files.append({"path": f"{self._place.stream(stream)}/{name}", **asdict(one.part)})
        paths = [file["path"] for file in files]
        staged = [one for one in media if one.is_new]
        if paths or _paths(predecessor):
            self._note(f"publish-{attempt}", [*paths, *(one.path for one in staged)], _paths(predecessor))
        if parts:
            with ThreadPoolExecutor(8, thread_name_prefix="publish") as pool:
                list(pool.map(self._place_part, parts, paths))
                for at in range(0, len(staged), _PLACED_AT_ONCE):
                    list(pool.map(self._place_file, staged[at : at + _PLACED_AT_ONCE]))
        may_publish()
        if not overwrite and self.published() != predecessor:
            return None
        self._store.put_bytes(_written(manifest, files, media), self._place.manifest)
        return {**manifest, "files": _Rows(files, media) if media else files}

    def _place_part(self, part: StagedPart | ClosedPart, key: str) -> None:
        if isinstance(part, ClosedPart):
            self._store.put(part.path, key)
        else:
            self._store.copy(part.key, key)

    def _place_file(self, file: MediaFile) -> None:
        self._store.copy(staged_key(self._staging, file.sha256), file.path)

    def withdraw(self, published: Manifest, may_withdraw: Callable[[], None]) -> bool:
        """Take a window away whole: first its manifest, then, with :meth:`tidy`, the files that it names.

        :param published: the manifest that is published now.
        :param may_withdraw: called right before the manifest is deleted; raises if that must not happen any more.
        :return: ``False`` where another one is published meanwhile.
        """
        self._note(f"withdraw-{secrets.token_hex(4)}", [], _paths(published))
        may_withdraw()
        if self.published() != published:
            return False
        self._store.delete([self._place.manifest])
        return True

    def tidy_at_once(self, manifest: Manifest, *keys: str) -> None:
        """Do as :meth:`tidy` does where it is known what lies in the staging area: no try was before this one, nothing was
        replaced, and it published at once.

        :param manifest: what it published.
        :param keys: what it wrote there beside its notes.
        """
        self.is_tidy = True
        self._note_strangers({file["stream"] for file in manifest["files"]}, _paths(manifest))
        self._store.delete([*keys, *self._notes])

    def tidy(self) -> None:
        """Delete what this run wrote or replaced and what is not published, then its staging area.

        Files of others that lie in the window without being published may belong to a run that is publishing right now:
        they are noted, for the folder's next export after :data:`LEFTOVERS_AFTER` to delete if they still are not.
        """
        self.is_tidy = True
        entries = self._store.list(self._staging)
        if not entries:
            return
        gone = self._delete_noted(entry.key for entry in entries if entry.key != self._left)
        published = self.published()
        streams = (*STREAMS, MEDIA) if published and published.get("download_attachments") else STREAMS
        noted = self._note_strangers(streams, {*_paths(published), *gone})
        self._store.delete(entry.key for entry in entries if entry.key != self._left or not noted)

    @property
    def _left(self) -> str:
        return f"{self._staging}/note-{_STRANGERS}"

    def _note_strangers(self, streams: Collection[str], known: Collection[str]) -> bool:
        """Note the files of nobody in the window's streams; whether there are any."""
        files = [entry.key for stream in streams for entry in self._store.list(self._place.stream(stream))]
        strangers = [key for key in files if key not in known]
        if strangers:
            self._note(_STRANGERS, strangers)
        return bool(strangers)

    def sweep(self, now: datetime, entries: Sequence[Entry]) -> int:
        """Delete what other runs of this folder left behind more than :data:`LEFTOVERS_AFTER` ago.

        :param entries: what lies in the folder's staging area.
        :return: of how many runs there was something.
        """
        swept = 0
        runs: dict[str, list[Entry]] = {}
        for entry in entries:
            run = "/".join(entry.key.split("/")[: self._staging.count("/") + 1])
            runs.setdefault(run, []).append(entry)
        for run, entries in runs.items():
            # Where a store does not tell when it was written, a file counts as written just now.
            last = max((entry.modified or now for entry in entries), default=now)
            if run != self._staging and now - last > LEFTOVERS_AFTER:
                self._delete_noted(entry.key for entry in entries)
                self._store.delete(entry.key for entry in entries)
                log.info("Swept up %s, last written at %s.", run, last.isoformat(timespec="seconds"))
                swept += 1
        return swept

    def delete_replaced(self, entries: Sequence[Entry]) -> set[str]:
        """Delete what a run that was killed has replaced and not deleted any more, however young that is.

        Of the files that a note names, those that the run itself was about to publish may still be published by it. The others
        were its predecessor's; once the manifest names them no more, none ever will.

        :param entries: what lies in the staging area, of whatever runs.
        :return: the files.
        """
        noted = [entry.key for entry in entries if entry.key.rpartition("/")[2].startswith("note-")]
        return self._delete_noted(iter(noted), "replaces")

    def awaited(self, entries: Sequence[Entry]) -> set[str]:
        """The files that runs are about to publish, or were: whatever is in the streams and is neither among them nor named by
        a manifest is dead, if it was listed before these entries were. For a note is there before the first of its files, and
        until the run has swept up.

        :param entries: what lies in the staging area, of whatever runs.
        """
        found: set[str] = set()
        for entry in entries:
            name = entry.key.rpartition("/")[2]
            if name.startswith("note-") and name != f"note-{_STRANGERS}":
                with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                    found.update(json.loads(self._store.read(entry.key))["files"])
        return found

    def _note(self, name: str, files: Sequence[str], replaces: Sequence[str] = ()) -> None:
        """Write down which files are to go unless the manifest names them.

        :param replaces: those that what is published now names, beside the others.
        """
        note = {
            "manifest": self._place.manifest,
            "files": [*files, *replaces],
            "replaces": list(replaces),
        }
        key = f"{self._staging}/note-{name}"
        if name != _STRANGERS:
            self._notes.append(key)
        self._store.put_bytes(json.dumps(note).encode(), key)

    def _delete_noted(self, keys: Iterator[str], which: str = "files") -> set[str]:
        """Delete the files that notes name and their windows' manifests do not.

        :param which: of the lists of a note.
        """
        gone: set[str] = set()
        for key in keys:
            if not key.rpartition("/")[2].startswith("note-"):
                continue
            try:
                note = json.loads(self._store.read(key))
                unpublished = set(note.get(which, ())) - set(_paths(self._manifest(note["manifest"])))
            except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, DumpRefused):
                continue
            self._store.delete(unpublished)
            gone |= unpublished
        return gone


def read_manifest(store: Store, key: str) -> dict[str, Any] | None:
    """A manifest; ``None`` where there is none.

    :raises DumpRefused: it cannot be read.
    """
    try:
        manifest = json.loads(store.read(key))
    except FileNotFoundError:
        return None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), list):
        raise DumpRefused(f"The manifest {key} cannot be read: delete it and the files of its window first.")
    return manifest


class _Rows(Sequence[dict[str, Any]]):
    """The rows of a manifest's files; those of attachments, which may be very many, are made when they are looked at."""

    def __init__(self, files: Sequence[dict[str, Any]], media: Sequence[MediaFile]) -> None:
        self._files, self._media = files, media

    def __len__(self) -> int:
        return len(self._files) + len(self._media)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        return self._files[at] if at < len(self._files) else self._media[at - len(self._files)].row


def _written(manifest: Mapping[str, Any], files: Sequence[Mapping[str, Any]], media: Sequence[MediaFile]) -> bytes:
    """A manifest as JSON, in little more memory than that takes however many files of attachments there are."""
    here = "files of attachments"
    rows = [*files, here] if media else list(files)
    # Warnings may name fields of the API's rows, and those may be anything: see records.line().
    text = json.dumps({**manifest, "files": rows}, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    if not media:
        return text
    before, _, after = text.rpartition(f'"{here}"'.encode())
    made = bytearray(before)
    for number, one in enumerate(media):
        made += (",\n  " if number else "").encode() + json.dumps(one.row).encode()
    made += after
    return bytes(made)


def _paths(manifest: Manifest | None) -> list[str]:
    return [file["path"] for file in manifest["files"]] if manifest else []


def refuse_unreadable(key: str, manifest: Manifest, otherwise: str, doing: str = "export") -> None:
    """Refuse to go on where nothing here reads a manifest's files.

    :param otherwise: what can be done in its place, as a sentence behind others.
    :param doing: what is to be done with another version.
    :raises DumpRefused: they are of a version that is not known, or the package that reads them is not installed.
    """
    file_format, compression, columns = (
        manifest.get(name) for name in ("file_format", "compression", "schema_version")
    )
    if manifest.get("manifest_version") != MANIFEST_VERSION or not is_known(file_format, compression, columns):
        version = "" if columns is None else f", schema version {columns!r}"
        raise DumpRefused(
            f"The manifest {key} is of version {manifest.get('manifest_version')!r}, format {file_format!r}{version} "
            f"and compression {compression!r}, which this version of the provider does not know: {doing} with the version "
            f"that wrote it, {manifest.get('provider_version')!r}, or a newer one.{otherwise}"
        )
    if manifest["files"] and not is_installed(str(file_format)):
        raise DumpRefused(
            f"The manifest {key} names files of Parquet, and pyarrow, which reads them, is not installed here: "
            f"pip install 'airflow-provider-pageconv[parquet]' wherever tasks run.{otherwise}"
        )
