"""Removing people, and what is too old, from what was exported, as tasks do, and what has to be so at every instant meanwhile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.dump.erasure import Erasure
from airflow_provider_pageconv.dump.retention import Retention
from airflow_provider_pageconv.dump.store import Store
from tests.dump.exporting import DAY, NOW, bare
from tests.people.crowd import KEY, Crowd
from tests.servers.destinations import Destination, local

Held = Mapping[str, Mapping[str, list[str]]]


def erase(
    store: Store, *ids: str, key: bytes | None = KEY, now: datetime | None = None, **options: Any
) -> dict[str, Any]:
    """Erase people once; what the task would return."""

    def secret() -> bytes:
        assert key is not None, "the secret was asked for"
        return key

    return Erasure(frozenset(ids), secret, now=now or datetime.now(timezone.utc), **options).run(store)


def retain(store: Store, keep: timedelta = 3 * DAY, now: datetime = NOW, **options: Any) -> dict[str, Any]:
    """Remove once what is older; what the task would return."""
    return Retention(keep, now=now, **options).run(store)


def whole(files: Destination, stream: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The published records by window and id, without what tells which export wrote them."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name, manifest in files.manifests().items():
        for entry in manifest["files"]:
            if entry["stream"] == stream:
                for record in files.lines(entry["path"]):
                    assert (name, record["id"]) not in found
                    found[name, record["id"]] = bare(record)
    return found


def held(files: Destination) -> Held:
    """The ids that each manifest names; each of its files has to be there."""
    return {
        name: {
            stream: sorted(
                record["id"]
                for entry in manifest["files"]
                if entry["stream"] == stream
                for record in files.lines(entry["path"])
            )
            for stream in ("conversations", "messages")
        }
        for name, manifest in files.manifests().items()
    }


class Watching:
    """A reader who looks, by the manifests, after each change of a store.

    :param allowed: what each window may hold; ``None`` among it: the window may be gone.
    """

    def __init__(self, files: Destination, allowed: Iterable[Held]) -> None:
        self._files = files
        self._allowed = list(allowed)
        self.looks = 0

    def look(self) -> None:
        """Look once; who finds a file gone reads the manifests again."""
        self.looks += 1
        for again in range(20):
            try:
                found = held(self._files)
                break
            except FileNotFoundError:
                assert again < 19, "a manifest names a file that is not there"
        for name, ids in found.items():
            assert ids in [one.get(name) for one in self._allowed], f"{name} is neither as it was nor as it is to be"


def copied(content: Mapping[str, bytes], folder: Path) -> Destination:
    """A place with the same files."""
    files = local(folder)
    for name, data in content.items():
        files.write(name, data)
    return files


def notes(files: Destination) -> list[dict[str, Any]]:
    """The notes in the staging area."""
    return [json.loads(files.read(name)) for name in files.names("_staging") if "/note-" in name]


def with_media(files: Destination, crowd: Crowd) -> Mapping[str, str]:
    """Give some messages a file, as an export that downloads them does; which path each message points to."""
    [(name, manifest)] = files.manifests().items()
    folder = "/".join(manifest["files"][0]["path"].split("/")[1:-1])
    pointed: dict[str, str] = {}
    rows = []
    for file in manifest["files"]:
        if file["stream"] != "messages":
            continue
        records = files.lines(file["path"])
        for record in records:
            sha = f"{len(pointed) // 2:064x}"  # two messages share one
            path = pointed[record["id"]] = f"media/{folder}/e-1/{sha}.jpg"
            record["attachments"] = {"data": [{"id": "9", "_media": {"path": path, "sha256": sha}}]}
            if not any(row["path"] == path for row in rows):
                files.write(path, sha.encode())
                rows.append({"path": path, "stream": "media", "records": 1, "bytes": 64, "sha256": sha})
        content = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        files.write(file["path"], content)
        file |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["files"] += rows
    files.write(name, json.dumps(manifest).encode())
    return pointed
