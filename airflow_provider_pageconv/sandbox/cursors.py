"""Cursors, and the page of a list that lies behind one.

Meta says nothing about what is inside a cursor, so two kinds are offered: one holds on to a row ("anchored") and stays
right when the list changes, the other counts rows ("offset") and slips by one whenever something arrives above it.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from airflow_provider_pageconv.sandbox.errors import BAD_CURSOR, GraphApiError

_FORMAT = ">cIII16s"


class Rows(Protocol):
    """A list whose rows have falling keys."""

    def __len__(self) -> int: ...
    def key(self, place: int) -> int:
        """Return the key of the row at this place."""
        ...

    def after(self, key: int) -> int:
        """Return the first place with a lower key."""
        ...

    def before(self, key: int) -> int:
        """Return how many rows have a higher key."""
        ...


class Places:
    """Rows that have no key but their place: the inner lists of a node."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def key(self, place: int) -> int:
        return self._length - place

    def after(self, key: int) -> int:
        return min(self._length, max(0, self._length - key + 1))

    def before(self, key: int) -> int:
        return min(self._length, max(0, self._length - key))


@dataclass(frozen=True)
class Window:
    """The rows `start` to `end` of a list, and the cursors at both ends."""

    start: int
    end: int
    before: str
    after: str
    has_previous: bool
    has_next: bool


class Cursors:
    """Writes cursors and reads them back; what was not written here, or for another list, is refused.

    :param style: "anchored" or "offset".
    """

    def __init__(self, seed: int, style: str) -> None:
        self._key = f"cursor/{seed}".encode()
        self._anchored = style == "anchored"
        self._seal = lru_cache(maxsize=4096)(self._sealed)

    def write(self, rows: Rows, place: int, scope: str, salt: int = 0, depth: int | None = None) -> str:
        """Return the cursor of the row at this place; -1 stands before the first row.

        :param salt: makes a cursor differ from others that lead to the same place.
        :param depth: how many rows it says to lie above what follows; the truth if left out.
        """
        if self._anchored:
            value = rows.key(place) if 0 <= place < len(rows) else (1 << 127) if place < 0 else 0
        else:
            value = place + 1
        return self._seal(value, scope, salt, place + 1 if depth is None else depth)

    def _sealed(self, value: int, scope: str, salt: int, depth: int) -> str:
        kind = b"a" if self._anchored else b"o"
        plain = struct.pack(_FORMAT, kind, self._scope(scope), salt & 0xFFFFFFFF, depth, value.to_bytes(16, "big"))
        check = hashlib.blake2b(plain, digest_size=7, key=self._key).digest()
        mask = hashlib.blake2b(check, digest_size=len(plain), key=self._key).digest()
        return (
            "QVFIU" + base64.urlsafe_b64encode(check + bytes(a ^ b for a, b in zip(plain, mask, strict=True))).decode()
        )

    def read(self, cursor: str, scope: str) -> int:
        """Return what the cursor holds on to: a key, or a count of rows."""
        return self._open(cursor, scope)[0]

    def depth(self, cursor: str) -> int:
        """Return how many rows lay above the cursor when it was written; 0 if it is none of ours."""
        try:
            return self._open(cursor, None)[1]
        except GraphApiError:
            return 0

    def _open(self, cursor: str, scope: str | None) -> tuple[int, int]:
        try:
            sealed = base64.b64decode(cursor[5:], altchars=b"-_", validate=True)
        except ValueError:
            sealed = b""
        size = struct.calcsize(_FORMAT)
        if not cursor.startswith("QVFIU") or len(sealed) != size + 7:
            raise GraphApiError(100, BAD_CURSOR)
        check = sealed[:7]
        mask = hashlib.blake2b(check, digest_size=size, key=self._key).digest()
        plain = bytes(a ^ b for a, b in zip(sealed[7:], mask, strict=True))
        if hashlib.blake2b(plain, digest_size=7, key=self._key).digest() != check:
            raise GraphApiError(100, BAD_CURSOR)
        _, of_scope, _, depth, value = struct.unpack(_FORMAT, plain)
        if scope is not None and of_scope != self._scope(scope):
            raise GraphApiError(100, BAD_CURSOR)
        return int.from_bytes(value, "big"), depth

    @staticmethod
    def _scope(scope: str) -> int:
        return int.from_bytes(hashlib.blake2b(scope.encode(), digest_size=4).digest(), "big")

    def window(self, rows: Rows, limit: int, after: str | None, before: str | None, scope: str) -> Window:
        """Return the page of `rows` that starts behind `after`, or ends before `before`."""
        total = len(rows)
        if after:
            value = self.read(after, scope)
            start = rows.after(value) if self._anchored else min(total, value)
            end = min(total, start + limit)
        elif before:
            value = self.read(before, scope)
            end = rows.before(value) if self._anchored else min(total, max(0, value - 1))
            start = max(0, end - limit)
        else:
            start, end = 0, min(total, limit)
        return Window(
            start,
            end,
            self.write(rows, start, scope),
            self.write(rows, end - 1, scope),
            has_previous=start > 0,
            has_next=end < total,
        )
