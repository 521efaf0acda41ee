"""Where records lie on the worker's own disk until their part is put into the destination."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from airflow_provider_pageconv.dump.store_errors import StoreError, told

PREFIX = "pageconv-parts-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that goes when it is done with; before that go those of processes that were killed and could not do so.

    Whoever uses one holds a lock on it, which the kernel gives back when the process is gone.
    """
    with told("make a folder for temporary files on the worker"):
        for other in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            _remove_if_left(other)
        # Without its lock nobody may see it, so it gets its name last.
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    lock = os.open(made, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # where a file system has no locks, nobody removes what others left
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder = made.rename(made.with_name(made.name[1:]))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


@contextlib.contextmanager
def database(path: Path, tables: str, *, cache_kib: int) -> Iterator[sqlite3.Connection]:
    """A database of what has to be known for a while, so that memory stays flat; nobody else uses it meanwhile.

    :param path: of its file, which stays.
    :param tables: the statements that make them.
    :param cache_kib: how much of it may lie in memory, in KiB.
    :raises StoreError: it does not fit on the worker's disk.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as known:
            known.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;"
                f"PRAGMA cache_size = -{cache_kib};{tables}"
            )
            yield known
    except sqlite3.Error as error:
        raise StoreError(f"Cannot write {path}, which lies among the temporary files of the worker: {error}") from error


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else's, or just gone
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
