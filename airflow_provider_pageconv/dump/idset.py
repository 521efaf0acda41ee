"""A set of ids that takes little memory: to know a million threads again costs about 20 MB."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

WIDTH = 16
"""Bytes kept for each id. A 128-bit hash counts as the id: two of a billion share one with a chance below 1e-20."""

_BUCKET = 64 * WIDTH


def digest(identifier: str) -> bytes:
    """The hash that stands for an id."""
    return hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=WIDTH).digest()


class IdSet:
    """Hashes in buckets that split one by one as the set grows (linear hashing), so that growing needs no copy of all.

    A Python set of such hashes would take some 110 bytes for each.
    """

    def __init__(self) -> None:
        self._buckets = [bytearray()]
        self._level = 0
        self._split = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, hashed: bytes) -> bool:
        return _stands_in(self._buckets[self._place(hashed)], hashed)

    def __iter__(self) -> Iterator[bytes]:
        for bucket in self._buckets:
            for at in range(0, len(bucket), WIDTH):
                yield bytes(bucket[at : at + WIDTH])

    def add(self, hashed: bytes) -> bool:
        """Add a hash; ``False`` if it was there."""
        bucket = self._buckets[self._place(hashed)]
        if _stands_in(bucket, hashed):
            return False
        bucket += hashed
        self._size += 1
        if self._size * WIDTH > len(self._buckets) * _BUCKET:
            self._grow()
        return True

    def update(self, hashes: bytes) -> None:
        """Add hashes that stand one behind the other."""
        for at in range(0, len(hashes), WIDTH):
            self.add(hashes[at : at + WIDTH])

    def _place(self, hashed: bytes) -> int:
        number = int.from_bytes(hashed[:8], "little")
        place = number & ((1 << self._level) - 1)
        return place if place >= self._split else number & ((2 << self._level) - 1)

    def _grow(self) -> None:
        old, self._buckets[self._split] = self._buckets[self._split], bytearray()
        self._buckets.append(bytearray())
        self._split += 1
        if self._split == 1 << self._level:
            self._level, self._split = self._level + 1, 0
        kept: dict[int, list[bytes]] = {}
        for at in range(0, len(old), WIDTH):
            hashed = bytes(old[at : at + WIDTH])
            kept.setdefault(self._place(hashed), []).append(hashed)
        for place, hashes in kept.items():
            self._buckets[place] = bytearray(b"".join(hashes))


def _stands_in(bucket: bytearray, hashed: bytes) -> bool:
    at = bucket.find(hashed)
    while at % WIDTH and at >= 0:  # found across two neighbours: look on
        at = bucket.find(hashed, at + 1)
    return at >= 0
