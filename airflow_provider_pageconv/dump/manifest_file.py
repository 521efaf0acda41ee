"""A published manifest as a file: how it is read, and what writes it."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TextIO

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.file_table import FileTable, Row
from airflow_provider_pageconv.dump.formats import is_installed, is_known
from airflow_provider_pageconv.dump.long_files import opened, put_pieces
from airflow_provider_pageconv.dump.media import file_row
from airflow_provider_pageconv.dump.store import Store

MANIFEST_VERSION = 1

_PIECE = 64 * 1024
"""Characters of a manifest that are read at once."""

Manifest = Mapping[str, Any]


def read_manifest(store: Store, key: str) -> dict[str, Any] | None:
    """A manifest; ``None`` where there is none.

    :raises DumpRefused: it cannot be read.
    """
    try:
        with opened(store, key) as file, io.TextIOWrapper(file, "utf-8-sig") as text:
            manifest = _Reading(text).manifest()
    except FileNotFoundError:
        return None
    except ValueError:
        manifest = {}
    if not isinstance(manifest.get("files"), (list, Rows)):
        raise DumpRefused(f"The manifest {key} cannot be read: delete it and the files of its window first.")
    return manifest


class _Reading:
    """Reads a manifest as it comes, its files one by one, for there may be very many.

    :param file: whatever it says is a :class:`ValueError` if it is no JSON object.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text, self._at = "", 0
        self._decode = json.JSONDecoder().raw_decode

    def manifest(self) -> dict[str, Any]:
        """What it says."""
        found: dict[str, Any] = {}
        self._take("{")
        while self._next() != "}":
            name = self._value()
            if not isinstance(name, str):
                raise ValueError("a key is no text")
            self._take(":")
            is_list = name == "files" and self._next() == "["
            found[name] = rows_of(self._rows()) if is_list else self._value()
            self._end_of_one("}")
        self._take("}")
        if self._next():
            raise ValueError("something follows")
        return found

    def _rows(self) -> Iterator[Any]:
        self._take("[")
        while self._next() != "]":
            yield self._value()
            self._end_of_one("]")
        self._take("]")

    def _end_of_one(self, last: str) -> None:
        if self._next() != last:
            self._take(",")

    def _take(self, sign: str) -> None:
        if self._next() != sign:
            raise ValueError(f"no {sign} is there")
        self._at += 1

    def _next(self) -> str:
        """The next character that is no space; none at the end."""
        while True:
            while self._at < len(self._text):
                if not self._text[self._at].isspace():
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            if self._text[end : end + 1] in ("", ".", "e", "E") and self._more():  # a number is cut in two
                continue
            self._at = end
            return value

    def _more(self) -> bool:
        """Read on; what is left of a value that did not end is read again, each time with twice as much."""
        rest = self._text[self._at :]
        piece = self._file.read(max(_PIECE, len(rest)))
        if piece:
            self._text, self._at = rest + piece, 0
        return bool(piece)


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


def paths_in(manifest: Manifest | None) -> Iterator[str]:
    """The files that it names; none where there is no manifest."""
    return (file["path"] for file in (manifest["files"] if manifest else ()))


def named_in(manifest: Manifest | None) -> Container[str]:
    """The same, to be asked for one of them."""
    files = manifest["files"] if manifest else ()
    return files if isinstance(files, Rows) else {file["path"] for file in files}


def without_media(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest to be compared and kept for long: rows of attachments it has no more."""
    files = manifest["files"]
    return {**manifest, "files": files.without_media() if isinstance(files, Rows) else files}


class Rows:
    """The rows of a manifest's files; those of attachments, which may be very many, lie on the worker's disk.

    :param files: the others.
    :param media: theirs.
    """

    def __init__(self, files: Sequence[Mapping[str, Any]], media: Collection[Row]) -> None:
        self._files, self._media = files, media
        self._number = len(media)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        yield from self._files
        for row in self._media:
            yield file_row(row.path, row.bytes)

    def __len__(self) -> int:
        return len(self._files) + self._number

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows):
            return NotImplemented
        return self._files == other._files and self._number == other._number and self._digest == other._digest

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _digest(self) -> bytes:
        """What stands for the rows of attachments."""
        made = hashlib.sha256()
        for row in self._media:
            made.update(f"{row.path}\0{row.bytes}\n".encode())
        return made.digest()

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(file["path"] for file in self._files)

    def __contains__(self, path: object) -> bool:
        """Whether there is a row of a path."""
        return path in self._paths or path in self._media

    def without_media(self) -> Rows:
        """See :func:`without_media`; it still counts and compares as it did."""
        made = Rows(self._files, ())
        made._number, made._digest = self._number, self._digest
        return made


def rows_of(rows: Iterable[Any]) -> list[Any] | Rows:
    """The rows of a manifest's files as they come; a list where there are none of attachments."""
    media: FileTable | None = None
    files = []
    for row in rows:
        if (one := _media_of(row)) is not None:
            media = FileTable() if media is None else media
            if media.add(*one):
                continue
        files.append(row)
    return files if media is None else Rows(files, media)


def _media_of(row: Any) -> tuple[str, int] | None:
    """Path and size, if the row is that of an attachment's file, just as it is written here."""
    path, size = (row.get("path"), row.get("bytes")) if isinstance(row, dict) else (None, None)
    if not isinstance(path, str) or not isinstance(size, int) or row != file_row(path, size):
        return None
    return path, size


def put_manifest(
    store: Store, key: str, manifest: Mapping[str, Any], files: Sequence[Mapping[str, Any]], media: Collection[Row]
) -> None:
    """Put a manifest, in one PUT.

    :param manifest: all of it but ``files``.
    :param files: the rows of those that are not of attachments.
    :param media: these.
    """
    here = "files of attachments"
    rows = [*files, here] if media else list(files)
    # Warnings may name fields of the API's rows, and those may be anything: see records.line().
    text = json.dumps({**manifest, "files": rows}, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    before, _, after = text.rpartition(f'"{here}"'.encode()) if media else (text, b"", b"")
    told = (
        (b",\n  " if number else b"") + json.dumps(file_row(row.path, row.bytes)).encode()
        for number, row in enumerate(media)
    )
    put_pieces(store, itertools.chain((before,), told, (after,)), key)
