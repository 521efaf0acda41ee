"""A published manifest as a file: how it is read, and what writes it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from airflow_provider_pageconv.dump.attaching import MediaFile
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.formats import is_installed, is_known
from airflow_provider_pageconv.dump.store import Store

MANIFEST_VERSION = 1

Manifest = Mapping[str, Any]


def read_manifest(store: Store, key: str) -> dict[str, Any] | None:
    """A manifest; ``None`` where there is none.

    :raises DumpRefused: it cannot be read.
    """
    try:
        manifest = _parsed(store.read(key))
    except FileNotFoundError:
        return None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), (list, Rows)):
        raise DumpRefused(f"The manifest {key} cannot be read: delete it and the files of its window first.")
    return manifest


def _parsed(text: bytes) -> Any:
    """What a manifest says; its files one by one, for there may be very many."""
    try:
        parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if not msgspec.json.decode(parts.get("media_files", b"0")):
            return json.loads(text)
        rows = msgspec.json.decode(parts.pop("files"), type=list[msgspec.Raw])
        files = Rows.of(json.loads(row) for row in map(bytes, rows))
        return {**{name: json.loads(bytes(part)) for name, part in parts.items()}, "files": files}
    except (msgspec.MsgspecError, AttributeError, KeyError):  # the standard library says what is wrong, if anything is
        return json.loads(text)


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


def paths_in(manifest: Manifest | None) -> list[str]:
    """The files that it names; none where there is no manifest."""
    return [file["path"] for file in manifest["files"]] if manifest else []


class Rows(Sequence[dict[str, Any]]):
    """The rows of a manifest's files; those of attachments, which may be very many, are made when they are looked at."""

    def __init__(self, files: Sequence[dict[str, Any]], media: Sequence[MediaFile]) -> None:
        self._files, self._media = files, media

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]]) -> Rows:
        """Those of a manifest that was read, which may be kept for long."""
        files: list[dict[str, Any]] = []
        media: list[MediaFile] = []
        for row in rows:
            one = MediaFile(row.get("path", ""), row.get("bytes", 0), is_new=False)
            if one.row == row and one.path:
                media.append(one)
            else:
                files.append(row)
        return cls(files, media)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows):
            return NotImplemented
        return self._files == other._files and list(self._media) == list(other._media)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._files) + len(self._media)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        return self._files[at] if at < len(self._files) else self._media[at - len(self._files)].row


def written(manifest: Mapping[str, Any], files: Sequence[Mapping[str, Any]], media: Sequence[MediaFile]) -> bytes:
    """A manifest as JSON, in little more memory than that takes however many files of attachments there are."""
    here = "files of attachments"
    rows = [*files, here] if media else list(files)
    # Warnings may name fields of the API's rows, and those may be anything: see records.line().
    text = json.dumps({**manifest, "files": rows}, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    if not media:
        return text
    before, _, after = text.rpartition(f'"{here}"'.encode())
    made = io.BytesIO()  # what it holds it hands over without a copy
    made.write(before)
    for number, one in enumerate(media):
        made.write((",\n  " if number else "").encode() + json.dumps(one.row).encode())
    made.write(after)
    return made.getvalue()
