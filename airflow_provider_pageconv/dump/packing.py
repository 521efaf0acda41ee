"""The worker thread that packs: it compresses, hashes and writes large pieces, in their order, and knows nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Result = TypeVar("Result")

PIECE = 256 * 1024
"""Bytes of a piece. Compressing lets the other threads run; to get back among them costs some milliseconds each time."""

_MOST_WAITING = 2 * 1024 * 1024


class Packing:
    """Runs functions one after the other in a thread of its own; whoever brings more than fits has to wait."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="export-packing")
        self._under_way: deque[tuple[Future[None], int]] = deque()
        self._waiting = 0

    def __enter__(self) -> Packing:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def add(self, work: Callable[[], None], size: int) -> None:
        """Have a piece of so many bytes packed; the function raises nothing."""
        self._under_way.append((self._pool.submit(work), size))
        self._waiting += size
        while self._under_way and (self._waiting > _MOST_WAITING or self._under_way[0][0].done()):
            future, packed = self._under_way.popleft()
            wait([future])
            self._waiting -= packed

    def finish(self, work: Callable[[], Result]) -> Result:
        """Run a function behind all pieces, and wait for what it returns."""
        return self._pool.submit(work).result()
