"""What is published in a folder's window: looked up, replaced, and swept up behind.

Promises to readers: file names are never used twice; a manifest is one PUT and comes last; only then are the files deleted
that nothing but its predecessor named. What a crash leaves behind is written down beforehand in a note in the staging area.
"""

from __future__ import annotations

import gzip
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_pageconv.dump.checkpoint import StagedPart
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.records import MESSAGES, STREAMS, SUFFIXES
from airflow_provider_pageconv.dump.store import Store
from airflow_provider_pageconv.dump.window import Window, overlapping, seconds
from airflow_provider_pageconv.graph.edges import REQUIRED_OF_MESSAGES

log = logging.getLogger(__name__)

LEFTOVERS_AFTER = timedelta(days=7)
"""How long after its last write what another run left in the staging area is swept."""

Manifest = Mapping[str, Any]


class DumpRefused(Exception):  # noqa: N818 - a refusal of what was asked for, not a fault
    """The export would break what lies in the destination; the sentence says what to do."""


class Superseded(Exception):  # noqa: N818 - told to stop, not a fault
    """A later try of the same run is at work; this one publishes nothing."""


class Destination:
    """One folder's window in a store.

    :param place: which.
    :param staging: prefix of this run's staging area.
    """

    def __init__(self, store: Store, place: Place, staging: str) -> None:
        self._store = store
        self._place = place
        self._staging = staging

    def published(self) -> Manifest | None:
        """The manifest that is published for this window.

        :raises DumpRefused: it cannot be read.
        """
        return self._manifest(self._place.manifest)

    def refuse_conflicts(self, window: Window, user_id: str | None) -> None:
        """Refuse to mix what cannot be told apart later; learned from one listing of the manifests' names.

        :raises DumpRefused: another published window of this folder overlaps, or the folder holds the conversations of
            somebody else.
        """
        windows = {
            name: entry.key for entry in self._store.list(self._place.manifests) if (name := Place.window_of(entry.key))
        }
        if (other := overlapping(window, list(windows))) is not None:
            raise DumpRefused(
                f"The window {self._place.window} of {self._place.partition} overlaps {other}, which is published "
                f"there: {self._ways_out(other)}."
            )
        if not windows:
            return
        sample = self._place.window if self._place.window in windows else max(windows)
        manifest = self._manifest(windows[sample])
        if manifest is not None and manifest.get("user_id") != user_id:
            mine, theirs = (f"user_id {who}" if who else "the whole Page" for who in (user_id, manifest.get("user_id")))
            raise DumpRefused(
                f"This export of {mine} cannot be mixed with the window {sample} of {self._place.partition}, which "
                f"holds {theirs}: {self._ways_out(sample)}."
            )

    def _ways_out(self, window: str) -> str:
        streams = " and ".join(f"{self._place.stream(stream, window)}/" for stream in STREAMS)
        return f"use another destination, or first delete {self._place.manifest_of(window)} and then {streams}"

    def _manifest(self, key: str) -> Manifest | None:
        try:
            manifest = json.loads(self._store.read(key))
        except FileNotFoundError:
            return None
        except ValueError:
            manifest = None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), list):
            raise DumpRefused(f"The manifest {key} cannot be read: delete it and the files of its window first.")
        return manifest

    def publish(
        self,
        manifest: dict[str, Any],
        parts: Sequence[StagedPart],
        predecessor: Manifest | None,
        may_publish: Callable[[], None],
    ) -> dict[str, Any]:
        """Copy the parts to where readers look, then put the manifest.

        :param manifest: all of it but ``files``.
        :param may_publish: called right before the PUT; raises if it must not happen any more.
        :return: the manifest as it was put.
        """
        attempt = secrets.token_hex(4)
        suffix = SUFFIXES[manifest["compression"]]
        numbers = dict.fromkeys(STREAMS, 0)
        files = []
        for staged in parts:
            stream = staged.part.stream
            name = f"{manifest['export_id']}-{attempt}-{numbers[stream]:05d}{suffix}"
            numbers[stream] += 1
            files.append({"path": f"{self._place.stream(stream)}/{name}", **asdict(staged.part)})
        manifest = {**manifest, "files": files}
        paths = [file["path"] for file in files]
        self._note(f"publish-{attempt}", [*paths, *_paths(predecessor)])
        with ThreadPoolExecutor(8, thread_name_prefix="publish") as pool:
            list(pool.map(self._store.copy, [staged.key for staged in parts], paths))
        may_publish()
        # Warnings may name fields of the API's rows, and those may be anything: see records.line().
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        self._store.put_bytes(text.encode("utf-8", "backslashreplace"), self._place.manifest)
        return manifest

    def tidy(self) -> None:
        """Delete what this run wrote or replaced and what is not published, then its staging area.

        Files of others that lie in the window without being published may belong to a run that is publishing right now:
        they are noted, for the folder's next export after :data:`LEFTOVERS_AFTER` to delete if they still are not.
        """
        entries = self._store.list(self._staging)
        if not entries:
            return
        left = f"{self._staging}/note-strangers"
        gone = self._delete_noted(entry.key for entry in entries if entry.key != left)
        kept = _paths(self.published())
        strangers = [
            entry.key
            for stream in STREAMS
            for entry in self._store.list(self._place.stream(stream))
            if entry.key not in kept and entry.key not in gone
        ]
        if strangers:
            self._note("strangers", strangers)
        self._store.delete(entry.key for entry in entries if entry.key != left or not strangers)

    def sweep(self, now: datetime) -> None:
        """Delete what other runs of this folder left behind more than :data:`LEFTOVERS_AFTER` ago."""
        runs: dict[str, list[Any]] = {}
        for entry in self._store.list(self._place.staging):
            run = "/".join(entry.key.split("/")[: self._staging.count("/") + 1])
            runs.setdefault(run, []).append(entry)
        for run, entries in runs.items():
            # Where a store does not tell when it was written, a file counts as written just now.
            last = max((entry.modified or now for entry in entries), default=now)
            if run != self._staging and now - last > LEFTOVERS_AFTER:
                self._delete_noted(entry.key for entry in entries)
                self._store.delete(entry.key for entry in entries)
                log.info("Swept up %s, last written at %s.", run, last.isoformat(timespec="seconds"))

    def _note(self, name: str, files: Sequence[str]) -> None:
        note = {"manifest": self._place.manifest, "files": list(files)}
        self._store.put_bytes(json.dumps(note).encode(), f"{self._staging}/note-{name}")

    def _delete_noted(self, keys: Iterator[str]) -> set[str]:
        """Delete the files that notes name and their windows' manifests do not."""
        gone: set[str] = set()
        for key in keys:
            if not key.rpartition("/")[2].startswith("note-"):
                continue
            try:
                note = json.loads(self._store.read(key))
                unpublished = set(note["files"]) - set(_paths(self._manifest(note["manifest"])))
            except (FileNotFoundError, ValueError, KeyError, TypeError, DumpRefused):
                continue
            self._store.delete(unpublished)
            gone |= unpublished
        return gone

    def count_comparable(self, parts: Sequence[StagedPart], until: float | None, *, asks_for_details: bool) -> int:
        """Count the staged messages of which :func:`is_comparable` is true, by reading them back."""
        count = 0
        for staged in parts:
            if staged.part.stream != MESSAGES:
                continue
            data = self._store.read(staged.key)
            for row in (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).split(b"\n")[:-1]:
                count += is_comparable(json.loads(row), until, asks_for_details=asks_for_details)
        return count


def has_details(message: Mapping[str, Any]) -> bool:
    """Whether a message came with more than its id and time, as far as anybody can tell."""
    if message.get("_unavailable"):
        return False
    return any(not name.startswith("_") and name not in REQUIRED_OF_MESSAGES for name in message)


def is_comparable(message: Mapping[str, Any], until: float | None, *, asks_for_details: bool) -> bool:
    """Whether a message counts against those of the export that is to be replaced.

    :param until: that of the export that is to be replaced, seconds since the epoch.
    :param asks_for_details: whether more than ids and times is asked for; then a message without more does not count.
    """
    if message.get("_unavailable") or (asks_for_details and not has_details(message)):
        return False
    created = seconds(message.get("created_time"))
    return until is None or created is None or created < until


def _paths(manifest: Manifest | None) -> list[str]:
    return [file["path"] for file in manifest["files"]] if manifest else []
