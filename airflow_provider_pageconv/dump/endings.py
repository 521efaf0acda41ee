"""How an export ends when it does not end with what it was asked for, nor with an error of the API's or the store's."""

from __future__ import annotations

from datetime import datetime


class DumpRefused(Exception):  # noqa: N818 - a refusal of what was asked for, not a fault
    """The export would break what lies in the destination; the sentence says what to do."""


class NothingListed(Exception):  # noqa: N818 - an end that was asked for
    """The API lists no thread at all, and the task takes that for an error."""


class LetGo(Exception):  # noqa: N818 - what was asked for, not a fault
    """Everything is safe; the task may let go of its worker and come back.

    :param moment: when to come back.
    :param met_limit: whether it is for a limit that was just met.
    """

    def __init__(self, moment: datetime, reason: str, *, met_limit: bool = False) -> None:
        super().__init__(reason)
        self.moment = moment
        self.met_limit = met_limit


class Stopped(Exception):  # noqa: N818 - told to stop, not a fault
    """Somebody asked for the stop; what was fetched is safe."""


class Superseded(Exception):  # noqa: N818 - told to stop, not a fault
    """A later try of the same run is at work; this one adds and publishes nothing."""
