"""A set of ids that takes little memory: to know a million threads again costs about 20 MB."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

WIDTH = 16
"""Bytes kept for each id. A 128-bit hash counts as the id: two of a billion share one with a chance below 1e-20."""

_BUCKET = 64
"""Hashes in a bucket on average, at most."""


def digest(identifier: str) -> bytes:
    """The hash that stands for an id."""
    return hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=WIDTH).digest()


class IdSet:
    """Hashes in buckets that split one by one as the set grows (linear hashing), so that growing needs no copy of all.

    A Python set of such hashes would take some 110 bytes for each. Buckets are replaced and not appended to: one that can grow
    keeps an eighth of itself in reserve, and to copy a kilobyte takes no longer.
    """

    def __init__(self) -> None:
        self._buckets = [b""]
        self._half = 1
        """How many buckets there were when the first of them was split last; of that one those hashes left that have this bit."""
        self._narrow, self._wide = 0, 1
        """Bits of a hash that are its bucket, where that was not split since, and where it was."""
        self._split = 0
        self._room = _BUCKET
        """How many hashes more before the next bucket is split."""

    def __len__(self) -> int:
        return len(self._buckets) * _BUCKET - self._room

    def __contains__(self, hashed: bytes) -> bool:
        return _stands_in(self._bucket(hashed), hashed)

    def __iter__(self) -> Iterator[bytes]:
        for bucket in self._buckets:
            for at in range(0, len(bucket), WIDTH):
                yield bucket[at : at + WIDTH]

    def add(self, hashed: bytes) -> bool:
        """Add a hash; ``False`` if it was there."""
        number = hash(hashed)  # as in _bucket: a call more for each id is felt
        place = number & self._narrow
        if place < self._split:
            place = number & self._wide
        bucket = self._buckets[place]
        if bucket.find(hashed) >= 0 and _stands_in(bucket, hashed):  # `in` would take half as long again
            return False
        self._buckets[place] = bucket + hashed
        self._room -= 1
        if self._room < 0:
            self._grow()
        return True

    def update(self, hashes: bytes) -> None:
        """Add hashes that stand one behind the other."""
        for at in range(0, len(hashes), WIDTH):
            self.add(hashes[at : at + WIDTH])

    def _bucket(self, hashed: bytes) -> bytes:
        number = hash(hashed)
        place = number & self._narrow
        return self._buckets[place if place >= self._split else number & self._wide]

    def _grow(self) -> None:
        old = self._buckets[self._split]
        stay, go = bytearray(), bytearray()
        for at in range(0, len(old), WIDTH):
            hashed = old[at : at + WIDTH]
            if hash(hashed) & self._half:
                go += hashed
            else:
                stay += hashed
        self._buckets[self._split] = bytes(stay)
        self._buckets.append(bytes(go))
        self._room += _BUCKET
        self._split += 1
        if self._split == self._half:
            self._half, self._split = 2 * self._half, 0
            self._narrow, self._wide = self._wide, 2 * self._half - 1


def _stands_in(bucket: bytes, hashed: bytes) -> bool:
    """Whether a hash that is found in a bucket is one of its hashes, and not found across two neighbours."""
    at = bucket.find(hashed)
    while at % WIDTH and at >= 0:
        at = bucket.find(hashed, at + 1)
    return at >= 0
