"""Files by their path, as many as there may be: on the worker's disk, so that memory stays flat."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from airflow_provider_pageconv.dump.store_errors import told

_TABLE = """
PRAGMA journal_mode = OFF; PRAGMA cache_size = -1000;
CREATE TABLE files (path BLOB PRIMARY KEY, bytes INT, mark) WITHOUT ROWID;
"""
_ADD = "INSERT OR IGNORE INTO files VALUES (?, ?, ?)"

_AT_ONCE = 1000

_T = TypeVar("_T")


class Row(NamedTuple):
    """A file.

    :param mark: whatever its owner wants to know of it.
    """

    path: str
    bytes: int = 0
    mark: float | None = None


class FileTable:
    """Files, each once, in the order of their paths.

    They lie in a temporary file without a name, which is made once they are too many for a megabyte of memory, and which goes
    with its process: https://www.sqlite.org/inmemorydb.html#temp_db. One thread may use it after another, not beside it.

    :raises StoreError: by whatever is asked of it, where they do not fit on the worker's disk.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        with _told():
            self._known = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._known.executescript(_TABLE)
        self.update(rows)

    def __del__(self) -> None:
        self._known.close()

    def add(self, path: str, size: int = 0, mark: float | None = None) -> bool:
        """Take note of a file; ``False`` if its path is known, and then nothing changes."""
        with _told():
            return self._known.execute(_ADD, (_key(path), size, mark)).rowcount == 1

    def update(self, rows: Iterable[Row]) -> None:
        """Take note of files."""
        for some in in_pieces(rows, _AT_ONCE):
            with _told():
                self._known.executemany(_ADD, [(_key(row.path), row.bytes, row.mark) for row in some])

    def __len__(self) -> int:
        return self._one("SELECT count(*) FROM files")[0]

    def __bool__(self) -> bool:
        return self._one("SELECT EXISTS (SELECT 1 FROM files)")[0] == 1

    def __contains__(self, path: object) -> bool:
        return self.size(str(path)) is not None

    def __iter__(self) -> Iterator[Row]:
        yield from self._rows("SELECT path, bytes, mark FROM files ORDER BY path")

    @property
    def paths(self) -> Iterator[str]:
        """The paths alone."""
        return (row.path for row in self)

    def size(self, path: str) -> int | None:
        """How many bytes a file has; ``None`` for one that is not known."""
        found = next(self._rows("SELECT path, bytes, mark FROM files WHERE path = ?", path), None)
        return found.bytes if found is not None else None

    def below(self, prefix: str) -> Iterator[Row]:
        """The files in a folder, and in those below it."""
        # "0" comes right after "/".
        yield from self._rows(
            "SELECT path, bytes, mark FROM files WHERE path > ? AND path < ? ORDER BY path", f"{prefix}/", f"{prefix}0"
        )

    def _rows(self, statement: str, *values: str) -> Iterator[Row]:
        with _told():
            for path, size, mark in self._known.execute(statement, [_key(value) for value in values]):
                yield Row(path.decode("utf-8", "surrogateescape"), size, mark)

    def _one(self, statement: str) -> tuple[int]:
        with _told():
            found: tuple[int] = self._known.execute(statement).fetchone()
        return found


def in_pieces(items: Iterable[_T], most: int) -> Iterator[list[_T]]:
    """Things in lists of so many at most."""
    rest = iter(items)
    while some := list(itertools.islice(rest, most)):
        yield some


def _key(path: str) -> bytes:
    """A path as it is kept; on a worker's disk names may be any bytes."""
    return path.encode("utf-8", "surrogateescape")


def _told() -> contextlib.AbstractContextManager[None]:
    return told("write a temporary file on the worker")
