"""Where records lie on the worker's own disk until their part is put into the destination."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from airflow_provider_pageconv.dump.store_errors import told

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


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else's, or just gone
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
