"""What runs leave behind in a folder, and how it goes.

What a run is about to publish or to replace it writes down beforehand, in a note in its staging area; so whoever comes after a
crash knows which files are nobody's.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.manifest_file import Manifest, paths_in, read_manifest
from airflow_provider_pageconv.dump.media import MEDIA
from airflow_provider_pageconv.dump.records import STREAMS
from airflow_provider_pageconv.dump.store import Entry, Store

log = logging.getLogger(__name__)

_STRANGERS = "strangers"

LEFTOVERS_AFTER = timedelta(days=7)
"""How long after its last write what another run left in the staging area is swept."""


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

    def note(self, name: str, files: Sequence[str], replaces: Sequence[str] = ()) -> None:
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

    def tidy_at_once(self, manifest: Manifest, *keys: str) -> None:
        """Do as :meth:`tidy` does where it is known what lies in the staging area: no try was before this one, nothing was
        replaced, and it published at once.

        :param manifest: what it published.
        :param keys: what it wrote there beside its notes.
        """
        self.is_tidy = True
        self._note_strangers({file["stream"] for file in manifest["files"]}, paths_in(manifest))
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
        published = read_manifest(self._store, self._place.manifest)
        streams = (*STREAMS, MEDIA) if published and published.get("download_attachments") else STREAMS
        noted = self._note_strangers(streams, {*paths_in(published), *gone})
        self._store.delete(entry.key for entry in entries if entry.key != self._left or not noted)

    @property
    def _left(self) -> str:
        return f"{self._staging}/note-{_STRANGERS}"

    def _note_strangers(self, streams: Collection[str], known: Collection[str]) -> bool:
        """Note the files of nobody in the window's streams; whether there are any."""
        files = [entry.key for stream in streams for entry in self._store.list(self._place.stream(stream))]
        strangers = [key for key in files if key not in known]
        if strangers:
            self.note(_STRANGERS, strangers)
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
                unpublished = set(note.get(which, ())) - set(paths_in(read_manifest(self._store, note["manifest"])))
            except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, DumpRefused):
                continue
            self._store.delete(unpublished)
            gone |= unpublished
        return gone
