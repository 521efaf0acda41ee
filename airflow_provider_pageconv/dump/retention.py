"""What ended longer ago than it is kept goes out of what is published.

A window that ended longer ago goes whole. A dump, or a backfill from the beginning, has no first moment: of it go the older
messages, and the conversations that are as old and of which no message stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_pageconv import lines
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.erasing import DataSet, Look, Moved, Published
from airflow_provider_pageconv.dump.idset import IdSet, digest
from airflow_provider_pageconv.dump.looking import Order, Run
from airflow_provider_pageconv.dump.manifest_file import Manifest
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES
from airflow_provider_pageconv.dump.tally import Tally
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.times import iso, moment, seconds


@dataclass
class Younger:
    """What of a window without a first moment is younger than a moment; as a rule for records.

    :param cutoff: the moment, in seconds since 1970.
    :param now: the present, likewise.
    :param living: hashes of the conversations that were updated since.
    :param wanted: hashes of those of which a message stays.
    :param undated: how many messages stay of which nobody can tell how old they are.
    """

    cutoff: float
    now: float
    living: IdSet = field(default_factory=IdSet)
    wanted: IdSet = field(default_factory=IdSet)
    undated: int = 0

    def note_conversation(self, record: Mapping[str, Any]) -> None:
        """Take note of a conversation; all of them before the first message."""
        updated = seconds(record.get("updated_time"), self.now)
        if updated is None or updated >= self.cutoff:
            self.living.add(digest(record["id"]))

    def note_message(self, record: Mapping[str, Any]) -> bool:
        """Take note of a message, and tell whether it stays; all of them before the first conversation is asked for."""
        stays = self._stays(record)
        if stays:
            self.wanted.add(digest(str(record.get("_conversation_id"))))
            self.undated += seconds(record.get("created_time"), self.now) is None
        return stays

    def _stays(self, record: Mapping[str, Any]) -> bool:
        """One without a time is as old as it must be: fetched before, or of a conversation that was not updated since."""
        created = seconds(record.get("created_time"), self.now)
        if created is not None:
            return created >= self.cutoff
        fetched = seconds(record.get("_fetched_at"), self.now)
        is_old = fetched is not None and fetched < self.cutoff
        return not is_old and digest(str(record.get("_conversation_id"))) in self.living

    def stays(self, stream: str, record: Mapping[str, Any]) -> bool:
        """Whether a record does."""
        if stream == MESSAGES:
            return self._stays(record)
        return not self.goes_whole(record["id"])

    # ---- as a rule, see erasing.Rule

    def kept(self, stream: str, record: dict[str, Any]) -> Mapping[str, Any] | None:
        return record if self.stays(stream, record) else None

    def goes_whole(self, conversation: str) -> bool:
        hashed = digest(conversation)
        return hashed not in self.living and hashed not in self.wanted


@dataclass(frozen=True)
class Retention(Order):
    """How long what is published is kept.

    :param keep: how long after its window has ended.
    """

    doing = "retain"

    keep: timedelta

    @property
    def cutoff(self) -> datetime:
        """What is older goes."""
        return self.now - self.keep

    def _run(self, data: DataSet) -> Run:
        return _Retaining(self, data)


class _Retaining(Run):
    """One run."""

    def __init__(self, order: Retention, data: DataSet) -> None:
        super().__init__(order, data)
        self._cutoff = order.cutoff
        self._undated: dict[str, int] = {}
        self._done: dict[str, tuple[Manifest, str]] = {}
        """Windows that were gone through, by the key of their manifest: nothing more goes of them while it is this one; and
        what is to be said where nothing could be done."""

    def _change(self, look: Look) -> bool:
        changed, todo = False, []
        for one in look.windows:
            manifest, sentence = self._done.get(one.place.manifest, (None, ""))
            if manifest != one.manifest:
                todo.append(one)
            elif sentence:
                self._failed[one.place.manifest] = sentence
        for one, found in self._data.each(self._retain, todo):
            key = one.place.manifest
            if isinstance(found, Moved):
                changed = self._moved = True
                continue
            self._done[key] = one.manifest, ""
            if isinstance(found, DumpRefused):
                self._failed[key] = str(found)
                self._done[key] = one.manifest, str(found)
                continue
            tally, whole, self._undated[key] = found
            self._report.went.add(tally)
            self._report.windows_removed += whole
            self._report.windows_changed += tally.went and not whole
            changed = changed or whole or tally.went
        return changed

    def _conclude(self, look: Look) -> str:  # noqa: ARG002 - what lies beside the windows goes with its age
        report = self._report
        report.warnings += [
            f"{key} keeps {lines.count(number, 'message')} without a time, of which nobody can tell how old they are."
            for key, number in sorted(self._undated.items())
            if number
        ]
        would = "Would remove" if self._dry else "Removed"
        number = report.windows_changed + report.windows_removed
        return f"{would} {report.went} in {number} windows older than {iso(self._cutoff)}."

    def _retain(self, one: Published) -> tuple[Tally, bool, int]:
        """What went of a window, whether all of it did, and how many messages stay of unknown age."""
        window = Window.named(one.place.window)
        if _ended(one) <= self._cutoff:
            return self._data.withdraw(one, dry=self._dry), True, 0
        if window is None or window.since is not None:
            return Tally(), False, 0
        younger = Younger(self._cutoff.timestamp(), self._now.timestamp())
        untouched = self._read(one, younger)
        marks = {"retained_since": iso(self._cutoff)}
        return self._data.rewrite(one, younger, untouched, marks, dry=self._dry), False, younger.undated

    def _read(self, one: Published, younger: Younger) -> set[str]:
        """Read a window, and tell which of its files stay as they are."""
        untouched = set()
        for file in one.files(CONVERSATIONS):
            for record in self._data.records(one, file):
                younger.note_conversation(record)
        for file in one.files(MESSAGES):
            if all([younger.note_message(record) for record in self._data.records(one, file)]):  # noqa: C419 - each is noted
                untouched.add(str(file["path"]))
        for file in one.files(CONVERSATIONS):
            if all(younger.stays(CONVERSATIONS, record) for record in self._data.records(one, file)):
                untouched.add(str(file["path"]))
        return untouched


def _ended(one: Published) -> datetime:
    """When a window ended; of a dump when its walk began.

    :raises DumpRefused: nobody can tell.
    """
    try:
        return moment(str(one.manifest["until"]))
    except (KeyError, ValueError):
        raise DumpRefused(f"The manifest {one.place.manifest} does not say when its window ended.") from None
