"""A run that takes something out of what is published: it looks, changes, and looks again until a look finds nothing.

What was published meanwhile, and what another's PUT has brought back, is found so. What is to go, and of which window, the two
that build on this say: :mod:`~airflow_provider_pageconv.dump.erasure` and :mod:`~airflow_provider_pageconv.dump.retention`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from logging import INFO, getLogger
from typing import Any, ClassVar

from airflow_provider_pageconv import lines
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.erasing import DataSet, Look
from airflow_provider_pageconv.dump.scratch import scratch_folder
from airflow_provider_pageconv.dump.store import Store
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.dump.tally import Tally

log = getLogger(__name__)

MOST_LOOKS = 20
"""So often it is looked whether others brought something back meanwhile."""

_MOST_TOLD = 3
"""Windows of which a sentence is said where something could not be done."""

_TOLD = {"conversations", "messages", "changed", "media_files", "media_bytes", "files_rewritten", "files_deleted"}


@dataclass(frozen=True, kw_only=True)
class Order(ABC):
    """What is to go, and out of which windows.

    :param now: the present.
    :param platform: only this one.
    :param page_id: only this Page.
    :param report_only: change nothing.
    :param stopped: whether nothing may be changed any more.
    """

    doing: ClassVar[str]
    """What is done, as a verb, for sentences."""

    now: datetime
    platform: str | None = None
    page_id: str | None = None
    report_only: bool = False
    stopped: Callable[[], bool] = lambda: False

    def run(self, store: Store) -> dict[str, Any]:
        """Do it; what was found and done.

        :raises DumpRefused: of some windows nobody can tell what is to go; the others are done.
        :raises Stopped: somebody asked for the stop.
        :raises StoreError: the destination does not do what it is asked to, or others do not stop publishing.
        """
        with scratch_folder() as scratch:
            data = DataSet(
                store,
                scratch,
                platform=self.platform,
                page_id=self.page_id,
                doing=self.doing,
                stopped=self.stopped,
            )
            return self._run(data).run()

    @abstractmethod
    def _run(self, data: DataSet) -> Run:
        """What does it."""


@dataclass
class Report:
    """What was found and done; no id of a person is in it.

    :param windows: how many were looked at, in the last look.
    :param staging_left: runs under way, or stopped, in whose staging area they are.
    :param files_left: files beside those that manifests name, in which they are.
    """

    pages: int = 0
    windows: int = 0
    windows_changed: int = 0
    windows_removed: int = 0
    went: Tally = field(default_factory=Tally)
    staging_removed: int = 0
    staging_left: int = 0
    files_left: int = 0
    looks: int = 0
    warnings: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As the task returns it."""
        went = {one.name: getattr(self.went, one.name) for one in fields(Tally) if one.name in _TOLD}
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "went"}
        return {**own, **went, "warnings": list(self.warnings)}


class Run(ABC):
    """One run of an order."""

    def __init__(self, order: Order, data: DataSet) -> None:
        self._data = data
        self._now = order.now
        self._dry = order.report_only
        self._report = Report()
        self._failed: dict[str, str] = {}
        """What is to be said of windows of which nothing could be done, by the key of their manifest."""
        self._moved = False
        """Whether others have replaced a window while it was looked at."""

    def run(self) -> dict[str, Any]:
        """Look until there is nothing to do."""
        report = self._report
        for report.looks in range(1, MOST_LOOKS + 1):
            look = self._data.look()
            report.windows, report.pages = len(look.windows), len({one.page for one in look.windows})
            self._failed = dict(look.unreadable)
            if not self._dry:
                removed, files = self._data.sweep(look, self._now)
                report.staging_removed += removed
                report.went.files_deleted += files
            if not self._change(look) or self._dry:
                break
        else:
            raise StoreError(
                f"Others did not stop publishing meanwhile: {MOST_LOOKS} looks have each found something to do."
            )
        if self._dry and self._moved:
            report.warnings.append("Others published meanwhile, which may be missing here: run it once more.")
        if not report.windows and not self._failed:  # a path that is misspelt looks like success
            report.warnings.append("Nothing is published there: is it the right destination, Page and platform?")
        lines.tell(log, INFO, self._conclude(look))
        refuse_failed(self._failed)
        return report.summary()

    @abstractmethod
    def _change(self, look: Look) -> bool:
        """Change what a look has found; whether there was anything, or others were at work."""

    @abstractmethod
    def _conclude(self, look: Look) -> str:
        """Complete the report after the last look; what the log says of it all."""


def refuse_failed(failed: Mapping[str, str]) -> None:
    """Say of which windows nothing could be done.

    :param failed: what is to be said of each, by the key of its manifest.
    :raises DumpRefused: there are some.
    """
    if failed:
        told = list(failed.values())
        more = f" And {len(told) - _MOST_TOLD} more." if len(told) > _MOST_TOLD else ""
        raise DumpRefused(
            f"{lines.count(len(told), 'window')} could not be gone through, all others were. "
            f"{' '.join(told[:_MOST_TOLD])}{more}"
        )
