"""Threads that answer that they do not exist: gone, or a limit in disguise? Pure rules.

Connectors saw the error 100/33 for objects that were there again a minute later. So a thread that answers it is set aside
and asked again in rounds. Before and after a round a *control* is asked, something that gave an answer before: where the
controls are answered and no thread of the round is, they are gone; where one is, it was a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

AGAIN_AFTER = 60.0
"""Seconds after a thread's last answer before it is asked again."""

LONGEST_ROUND = 60.0
"""Seconds between the two controls of a round. Where it took longer, because an answer did not come, a limit of the shortest kind that
was seen may have come and gone between them; then it says nothing, and the threads are asked again."""

MOST_LONG_ROUNDS = 3
"""In a row, after which the last one counts whatever it took: an API that is slow for good is no reason to ask for ever."""


class Stage(Enum):
    """Where a round is."""

    NONE = "none"
    CONTROL_BEFORE = "control before"
    ASKING = "asking"
    CONTROL_AFTER = "control after"


@dataclass
class Rounds:
    """The threads of a folder that were set aside.

    :param aside: when each last gave that answer, seconds since 1970.
    :param asked: those of the round under way that are still to be asked.
    :param began: when the control before it was answered, by the monotonic clock.
    :param long_rounds: how many in a row took too long to say anything.
    """

    aside: dict[bytes, float] = field(default_factory=dict)
    stage: Stage = Stage.NONE
    asked: set[bytes] = field(default_factory=set)
    members: set[bytes] = field(default_factory=set)
    came_back: bool = False
    began: float = 0.0
    long_rounds: int = 0

    def set_aside(self, thread: bytes, now: float) -> None:
        """A thread answered that it does not exist."""
        self.aside[thread] = now
        self._settled(thread)

    def answered(self, thread: bytes) -> None:
        """A thread that was set aside, if it was, is there again."""
        self.came_back = self.came_back or thread in self.members
        self.leave(thread)

    def leave(self, thread: bytes) -> None:
        """A thread is aside no more, whatever the reason."""
        self.aside.pop(thread, None)
        self.members.discard(thread)
        self._settled(thread)

    def _settled(self, thread: bytes) -> None:
        self.asked.discard(thread)
        if self.stage is Stage.ASKING and not self.asked:
            self.stage = Stage.CONTROL_AFTER

    def begins_at(self) -> float:
        """When the next round may begin, seconds since 1970."""
        return max(self.aside.values()) + AGAIN_AFTER

    def begin(self) -> None:
        """Begin a round with all threads that are aside."""
        self.stage = Stage.CONTROL_BEFORE
        self.members = set(self.aside)
        self.came_back = False

    def control_answered(self, now: float) -> tuple[set[bytes], bool]:
        """The control was answered well.

        :param now: by the monotonic clock.
        :return: at the end of a round, the threads that are gone, and whether it was a limit.
        """
        if self.stage is Stage.CONTROL_BEFORE:
            self.stage, self.asked, self.began = Stage.ASKING, set(self.members), now
            return set(), False
        gone = set() if self.came_back else self.members
        self.stage, self.members = Stage.NONE, set()
        if gone and now - self.began > LONGEST_ROUND and self.long_rounds + 1 < MOST_LONG_ROUNDS:
            self.long_rounds += 1
            return set(), False
        self.long_rounds = 0
        return gone, self.came_back

    def void(self, now: float) -> None:
        """A control was not answered well, of this folder or of another: the round under way says nothing of who is gone."""
        if self.stage in (Stage.ASKING, Stage.CONTROL_AFTER):
            for thread in self.members & self.aside.keys():
                self.aside[thread] = now
            self.stage, self.asked, self.members = Stage.NONE, set(), set()
