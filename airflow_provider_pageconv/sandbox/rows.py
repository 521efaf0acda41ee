"""Lists of threads and messages as the paging code wants them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from airflow_provider_pageconv.sandbox.drawing import DrawnMessages
from airflow_provider_pageconv.sandbox.nodes import Message


class MessageRows:
    """A thread's messages as the paging code wants them: rows with falling keys."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def key(self, place: int) -> int:
        messages = self._messages
        return messages.shape.key(place) if isinstance(messages, DrawnMessages) else messages[place].key

    def after(self, key: int) -> int:
        """Return the first place whose key is lower."""
        return _first_below(self, key)

    def before(self, key: int) -> int:
        """Return how many rows have a higher key."""
        return self.after(key + 1) if key >= 0 else len(self)


class ThreadRows:
    """A list of threads as the paging code wants it: rows with falling keys over a rising list of ranks.

    A row's key is its rank with eight bits below it, so that pinned rows find room between two others.
    """

    def __init__(self, rising: Sequence[int]) -> None:
        self._rising = rising

    def __len__(self) -> int:
        return len(self._rising)

    def key(self, place: int) -> int:
        return self._rising[len(self._rising) - 1 - place] << 8 | 0xFF

    def serial(self, place: int) -> int:
        return self._rising[len(self._rising) - 1 - place] & 0xFFFFFFFF

    def after(self, key: int) -> int:
        return len(self._rising) - bisect_left(self._rising, key >> 8)

    def before(self, key: int) -> int:
        return len(self._rising) - bisect_left(self._rising, (key + 1) >> 8)


class PinnedRows(ThreadRows):
    """A list in which some threads stand at places of their own, among the others in their order.

    A pinned row's key lies right below that of the row above it that is not pinned. At the top there is none: whatever
    arrives there, a cursor that holds on to a pinned row stays right.

    :param pins: (serial, place) of the pinned ones, which are not in `rising`.
    """

    def __init__(self, rising: Sequence[int], pins: Sequence[tuple[int, int]]) -> None:
        super().__init__(rising)
        ordered = sorted(pins, key=lambda pin: pin[1])
        self._serials = [serial for serial, _ in ordered]
        self._places: list[int] = []
        for _, place in ordered:
            self._places.append(max(place, self._places[-1] + 1 if self._places else 0))
        total = len(self)
        for index in range(len(ordered) - 1, -1, -1):
            # Who is pinned below the end of the list stands at its end.
            self._places[index] = min(self._places[index], total - len(ordered) + index)

    def __len__(self) -> int:
        return len(self._rising) + len(self._serials)

    def _pin(self, place: int) -> tuple[int, bool]:
        """Return how many pinned rows are above a place, and whether a pinned one stands there."""
        index = bisect_left(self._places, place)
        return index, index < len(self._places) and self._places[index] == place

    def key(self, place: int) -> int:
        index, pinned = self._pin(place)
        if not pinned:
            return super().key(place - index)
        above = index
        while above and self._places[above - 1] == self._places[above] - 1:
            above -= 1
        free = place - index - 1  # the row above that is not pinned, counted among its like
        rank = self._rising[len(self._rising) - 1 - free] if free >= 0 else 1 << 118
        return rank << 8 | (0xFE - (index - above))

    def serial(self, place: int) -> int:
        index, pinned = self._pin(place)
        return self._serials[index] if pinned else super().serial(place - index)

    def after(self, key: int) -> int:
        return _first_below(self, key)

    def before(self, key: int) -> int:
        return _first_below(self, key + 1)


def _first_below(rows: MessageRows | PinnedRows, key: int) -> int:
    """Return the first place whose key is lower."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if rows.key(middle) < key:
            high = middle
        else:
            low = middle + 1
    return low
