"""All folders of one task, side by side within one pace."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from airflow_provider_pageconv.dump.patience import LetGo, Patience, Policy
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store import Store
from airflow_provider_pageconv.dump.walk import READERS, FolderExport
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.errors import CallsStopped

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 30.0
_SUMS = ("conversations", "messages", "messages_unavailable", "files", "bytes", "api_calls")


@dataclass(frozen=True)
class Outcome:
    """How a folder ended.

    :param manifest_path: where the manifest lies, relative to the destination.
    :param manifest: the one that is published now.
    :param replaced: whether it is this export's; an export that holds more stays.
    :param api_calls: over all tries of the run.
    :param waited_seconds: over all tries of the run.
    """

    manifest_path: str
    manifest: Mapping[str, Any]
    replaced: bool
    api_calls: int
    waited_seconds: float

    def numbers(self) -> dict[str, Any]:
        """What a summary says of the folder: what lies in the destination, and what this export cost."""
        files = self.manifest["files"]
        return {
            **{key: self.manifest[key] for key in ("conversations", "messages", "messages_unavailable")},
            "files": len(files),
            "bytes": sum(file["bytes"] for file in files),
            "api_calls": self.api_calls,
            "waited_seconds": self.waited_seconds,
        }


class FoldersExport:
    """Exports some folders of a Page at the same time.

    :param client: shared by all folders, and with it the pace.
    :param policy: what to do about limits.
    :param clock: the time of day, in UTC.
    :param readers: see :class:`~airflow_provider_pageconv.dump.walk.FolderExport`.
    """

    def __init__(
        self,
        spec: Spec,
        folders: Sequence[str],
        client: GraphClient,
        store: Store,
        policy: Policy,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        readers: int = READERS,
    ) -> None:
        self._client = client
        self._patience = Patience(client, policy, clear_number=int(spec.run_key.get("clear_number") or 0), clock=clock)
        self._told_at = time.monotonic()
        self._telling = threading.Lock()
        self._exports = [
            FolderExport(
                spec, folder, self._patience, store, clock=clock, report=self._report, readers=readers, rank=rank
            )
            for rank, folder in enumerate(folders)
        ]

    def kill(self) -> None:
        """Make no further call, make safe what was fetched, publish nothing."""
        self._patience.kill()

    def run(self) -> list[Outcome]:
        """Export all folders.

        Whatever ends one of them stops the calls of the others, which make safe what they fetched.

        :raises LetGo: the task may let go of its worker and come back.
        :raises Exception: what ended the first of them; the next try goes on with those that are not published.
        """
        outcomes: dict[str, Outcome] = {}
        todo = []
        for export in self._exports:  # all refusals come before the first call
            published = export.done_before()
            if published is None:
                todo.append(export)
            else:
                log.info("Folder %s: published by an earlier try.", export.folder)
                outcomes[export.folder] = _outcome(export, published, replaced=True)
        if todo:
            for export in todo:
                export.begin()
            self._patience.take_up([export.progress for export in todo])
            with ThreadPoolExecutor(len(todo), thread_name_prefix="folder") as pool:
                futures = {export.folder: pool.submit(self._run_one, export) for export in todo}
                try:
                    wait(futures.values())
                except BaseException:  # a time-out of the task, for one: the folders make safe what they have
                    self._client.stop.set()
                    raise
            errors = [error for future in futures.values() if (error := future.exception()) is not None]
            # What was merely told to stop, or only waits, is not what went wrong.
            for error in sorted(
                errors, key=lambda error: isinstance(error, CallsStopped) * 2 + isinstance(error, LetGo)
            ):
                raise error
            outcomes.update({folder: future.result() for folder, future in futures.items()})
        for export in self._exports:
            export.destination.tidy()
        return [outcomes[export.folder] for export in self._exports]

    def _run_one(self, export: FolderExport) -> Outcome:
        try:
            manifest, replaced = export.run()
        except BaseException:
            self._client.stop.set()
            raise
        outcome = _outcome(export, manifest, replaced=replaced)
        log.info("Folder %s: %s.", export.folder, "published" if replaced else "left as it was")
        return outcome

    def _report(self, _: FolderExport) -> None:
        """Show now and then how far the task is."""
        with self._telling:
            if time.monotonic() - self._told_at < PROGRESS_SECONDS:
                return
            self._told_at = time.monotonic()
        counts = {export.folder: export.progress.counts for export in self._exports}
        rows = [
            f"{folder} {count.conversations:,} conversations and {count.messages:,} messages"
            for folder, count in counts.items()
        ]
        usage = self._client.usage
        share = f", {usage.percent:.0f} % of the limit used" if usage else ""
        calls = sum(export.progress.api_calls for export in self._exports)
        log.info("%s; %d calls%s.", "; ".join(rows), calls, share)


def _outcome(export: FolderExport, manifest: Mapping[str, Any], *, replaced: bool) -> Outcome:
    cost = manifest if replaced else asdict(export.progress)
    return Outcome(export.place.manifest, manifest, replaced, int(cost["api_calls"]), float(cost["waited_seconds"]))


def summary(spec: Spec, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """What a task hands on: sums, and the same numbers by folder.

    :param outcomes: by folder.
    """
    folders = {folder: outcome.numbers() for folder, outcome in outcomes.items()}
    warnings = [f"{folder}: {warning}" for folder, outcome in outcomes.items() for warning in _warnings(outcome)]
    since, until = spec.window.since, spec.window.until
    return {
        "page_id": spec.page_id,
        "platform": spec.platform,
        "since": since.isoformat().replace("+00:00", "Z") if since else None,
        "until": until.isoformat().replace("+00:00", "Z") if until else None,
        "manifests": [outcome.manifest_path for outcome in outcomes.values()],
        **{key: sum(numbers[key] for numbers in folders.values()) for key in _SUMS},
        # The folders of a task wait together.
        "waited_seconds": max((numbers["waited_seconds"] for numbers in folders.values()), default=0.0),
        "folders": folders,
        "warnings": warnings,
    }


def _warnings(outcome: Outcome) -> list[str]:
    if outcome.replaced:
        return list(outcome.manifest["warnings"])
    return [
        (
            "The export that is published holds more than this one found, since the API forgets: it stays. "
            "overwrite=True replaces it all the same."
        )
    ]
