"""How far a task is, while it runs: a line of its log now and then, and a small value for whoever shows it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from logging import INFO
from typing import Any

from airflow_provider_pageconv import lines
from airflow_provider_pageconv.dump.folder import FolderExport
from airflow_provider_pageconv.dump.progress import Phase
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.limits import Gate, Limits
from airflow_provider_pageconv.graph.usage import Usage
from airflow_provider_pageconv.lines import tell
from airflow_provider_pageconv.times import iso, moment, utc

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 30.0
_SHOW_SECONDS = 1.0
_RATE_SECONDS = 30.0

_LEAST_SECONDS, _LEAST_SHARE = 30.0, 0.05
"""What has to have passed, and been done of what was left, before an end is foretold."""

_MOST_PENDING = 20
"""Histories that may wait while the lists are walked; with more of them the end of the lists says nothing of the task's."""


class Stage(str, Enum):
    """What is done for a folder just now; a task is where the folder is that has the most before it."""

    LISTS = "lists"
    HEADS = "heads"
    HISTORIES = "histories"
    FILES = "files"
    CARRYING = "carrying over"
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    FAILED = "failed"


_ORDER = tuple(Stage)
_OF_PHASE = {
    Phase.WALK: Stage.LISTS,
    Phase.WALKED: Stage.LISTS,
    Phase.HEAD: Stage.HEADS,
    Phase.AGAIN: Stage.HEADS,
    Phase.DONE: Stage.HISTORIES,
}


def stage_of_list(folder: FolderExport) -> Stage:
    """The stage of a folder that is still asked about, or whose files are still fetched."""
    return Stage.FILES if folder.needs_no_call and folder.is_fetching else _OF_PHASE[folder.phase]


class Reporter:
    """Says how far a task is.

    :param show: told of each change of stage and of each wait at once, else about once a second; it must not block.
    :param usage: what the last answer said of the limits.
    :param now: the monotonic clock's present.
    """

    def __init__(
        self,
        window: Window,
        folders: Sequence[FolderExport],
        limits: Limits,
        usage: Callable[[], Usage | None],
        show: Callable[[dict[str, Any]], None],
        now: float,
    ) -> None:
        self._window = window
        self._folders = folders
        self._limits = limits
        self._usage = usage
        self._show = show
        self._told_at, self._shown_at = now, now - _SHOW_SECONDS
        self._samples = deque([(now, self._calls)])
        self._shown: tuple[object, ...] = ()
        self._from: tuple[Stage, float, float] | None = None

    @property
    def _calls(self) -> int:
        return sum(folder.progress.api_calls for folder in self._folders)

    def report(self, stages: Mapping[str, Stage], now: float, clock: float) -> None:
        """Say it, if there is something new.

        :param stages: of all folders.
        :param now: by the monotonic clock.
        :param clock: seconds since 1970.
        """
        state = (self._limits.gate is Gate.CLOSED, self._limits.until, *stages.values())
        if state == self._shown and now - self._shown_at < _SHOW_SECONDS:
            return
        self._shown, self._shown_at = state, now
        self._show(self.overview(stages, now, clock))
        if now - self._told_at >= PROGRESS_SECONDS:
            self._tell(now)

    def overview(self, stages: Mapping[str, Stage], now: float, clock: float) -> dict[str, Any]:
        """How far the task is, as a value for JSON, of a size that does not grow.

        :return: ``state`` (``exporting`` or ``waiting``), ``phase`` (a :class:`Stage`), ``share`` of the lists that was walked
            (``None`` where the window has no beginning), counts, ``calls_per_second`` of late, ``usage_percent``, ``waiting``
            (``until`` and ``reason``, or ``None``), ``expected_end`` (or ``None``), ``began``, and by folder ``phase``, ``share``,
            ``reached`` (the time down to which its list was walked) and counts; where files of attachments are fetched also
            ``files``: how many were ``fetched``, are ``waiting`` and ``failed``.
        """
        stage = min(stages.values(), key=_ORDER.index)
        shares = [self._share(folder) for folder in self._folders]
        known = [share for share in shares if share is not None]
        share = min(known) if known and len(known) == len(shares) else None
        usage, until = self._usage(), self._limits.until
        waits = self._limits.gate is Gate.CLOSED and until is not None
        return {
            "state": "waiting" if waits else "exporting",
            "phase": stage.value,
            "share": share,
            **sums(self._folders),
            "api_calls": self._calls,
            "calls_per_second": self._rate(now),
            "usage_percent": round(usage.percent) if usage else None,
            "waiting": {"until": iso(until), "reason": self._limits.reason} if waits and until else None,
            "waited_seconds": round(max(folder.progress.waited_seconds for folder in self._folders)),
            "expected_end": None if waits else self._expected_end(stage, share, now, clock),
            "began": min(folder.progress.began for folder in self._folders),
            **({"files": files} if any((files := files_of(self._folders)).values()) else {}),
            "folders": {
                folder.folder: {
                    "phase": stages[folder.folder].value,
                    "share": folder_share,
                    "reached": iso(utc(reached)) if (reached := folder.reached) is not None else None,
                    "conversations": folder.progress.counts.conversations,
                    "messages": folder.progress.counts.messages,
                }
                for folder, folder_share in zip(self._folders, shares, strict=True)
            },
        }

    def _share(self, folder: FolderExport) -> float | None:
        """How much of the window's time lies behind the walk of a list."""
        if folder.list_is_walked:
            return 1.0
        if self._window.since is None:
            return None
        since = self._window.since.timestamp()
        top = (self._window.until or moment(folder.progress.began)).timestamp()
        if folder.reached is None or top <= since:
            return 0.0
        return round(min(max((top - folder.reached) / (top - since), 0.0), 1.0), 3)

    def _rate(self, now: float) -> float:
        """Calls a second, of late."""
        if now - self._samples[-1][0] >= _SHOW_SECONDS:
            self._samples.append((now, self._calls))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        began, calls = self._samples[0]
        return round((self._calls - calls) / (now - began), 2) if now > began else 0.0

    def _expected_end(self, stage: Stage, share: float | None, now: float, clock: float) -> str | None:
        """When it ends if it goes on as it has since this stage began; ``None`` where nobody can tell."""
        pending = sum(folder.pending for folder in self._folders)
        if stage is Stage.LISTS and share is not None and pending <= _MOST_PENDING:
            left = 1.0 - share
        elif stage is Stage.HISTORIES:
            left = float(pending)
        elif stage is Stage.FILES:
            left = float(files_of(self._folders)["waiting"])
        else:
            self._from = None
            return None
        if self._from is None or self._from[0] is not stage or left > self._from[2]:
            self._from = stage, now, left
        _, began, of = self._from
        done, seconds = of - left, now - began
        if seconds < _LEAST_SECONDS or done < _LEAST_SHARE * of or not done:
            return None
        return iso(utc(clock) + timedelta(seconds=seconds * left / done))

    def _tell(self, now: float) -> None:
        self._told_at = now
        counts, usage, calls, rate = sums(self._folders), self._usage(), self._calls, self._rate(now)
        said = [counted(counts), f"{lines.count(calls, 'call')} ({rate:.1f}/s)"]
        if usage:
            said.append(f"{usage.percent:.0f} % of the limit used")
        if any((files := files_of(self._folders)).values()):
            said.append(f"{lines.count(files['fetched'], 'file')} fetched, {files['waiting']:,} waiting")
        # How far the list has come that has come the least far.
        walks = [folder.reached for folder in self._folders if folder.phase is Phase.WALK]
        back = max((reached for reached in walks if reached is not None), default=None)
        if back is not None:
            said.append(f"lists back to {utc(back):%Y-%m-%d %H:%M}")
        tell(log, INFO, f"{'; '.join(said)}.", **counts, api_calls=calls, calls_per_second=rate)


def sums(folders: Sequence[FolderExport]) -> dict[str, int]:
    """What some folders hold so far."""
    counts = [folder.progress.counts for folder in folders]
    return {name: sum(getattr(count, name) for count in counts) for name in ("conversations", "messages")}


def files_of(folders: Sequence[FolderExport]) -> dict[str, int]:
    """How far some folders are with the files of attachments."""
    media = [folder.progress.media for folder in folders]
    return {
        "fetched": sum(one.files for one in media),
        "waiting": sum(folder.files_waiting for folder in folders),
        "failed": sum(one.failed for one in media),
    }


def counted(counts: Mapping[str, int]) -> str:
    """Some counts in words, by their names in the plural."""
    return " and ".join(lines.count(number, name[:-1]) for name, number in counts.items())
