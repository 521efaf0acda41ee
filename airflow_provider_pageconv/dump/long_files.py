"""Files in a store that are short as a rule, and may be very long: then they lie on the worker's disk, not in its memory."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from airflow_provider_pageconv.dump.scratch import scratch_folder
from airflow_provider_pageconv.dump.store import Store
from airflow_provider_pageconv.dump.store_errors import StoreError, told

SHORT = 2**20
"""Bytes of a file that are held in memory at most."""

_ATTEMPTS = 10


def put_pieces(store: Store, pieces: Iterable[bytes], key: str) -> None:
    """Put a file in one PUT, made of pieces one behind the other.

    :raises StoreError: the store, or the worker's disk, does not take it.
    """
    rest, head = iter(pieces), bytearray()
    for piece in rest:
        head += piece
        if len(head) > SHORT:
            break
    else:
        store.put_bytes(bytes(head), key)
        return
    with scratch_folder() as folder:
        local = folder / "long"
        with told(f"write {local}, which lies among the temporary files of the worker"), local.open("wb") as file:
            file.write(head)
            head.clear()
            for piece in rest:
                file.write(piece)
        store.put(local, key)


@contextmanager
def opened(store: Store, key: str) -> Iterator[BinaryIO]:
    """Read a file.

    :raises FileNotFoundError: it is not there.
    :raises StoreError: the store, or the worker's disk, does not do what it is asked to.
    """
    text = store.read(key, most=SHORT + 1)
    if len(text) <= SHORT:
        yield io.BytesIO(text)
        return
    del text
    with scratch_folder() as folder:
        local = folder / "long"
        _fetch_one_version(store, key, local)
        with local.open("rb") as file:
            yield file


def _fetch_one_version(store: Store, key: str, local: Path) -> None:
    """Fetch a file that others may put anew meanwhile: the libraries of stores take several requests for a long one.

    :raises FileNotFoundError: it is not there.
    :raises StoreError: others do not stop to put it.
    """
    for _ in range(_ATTEMPTS):
        before = store.version(key)
        if before is None:
            raise FileNotFoundError(key)
        with suppress(FileNotFoundError):  # what was there is not any more
            store.fetch(key, local)
            if store.version(key) == before:
                return
    raise StoreError(f"Cannot read {key}: it was put anew again and again meanwhile")
