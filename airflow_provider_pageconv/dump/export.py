"""One task's export, from the first look at the destination to the last manifest."""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from logging import INFO
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.dump.checkpoint import Checkpoints, Resumed
from airflow_provider_pageconv.dump.destination import Destination
from airflow_provider_pageconv.dump.downloads import MediaSource
from airflow_provider_pageconv.dump.endings import DumpRefused, NothingListed
from airflow_provider_pageconv.dump.engine import Engine, Hands, Stop
from airflow_provider_pageconv.dump.folder import FolderExport
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.leftovers import Staging
from airflow_provider_pageconv.dump.manifest_file import Manifest
from airflow_provider_pageconv.dump.packing import Packing
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.publishing import refuse
from airflow_provider_pageconv.dump.reporting import Reporter, counted, sums
from airflow_provider_pageconv.dump.scratch import scratch_folder
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store import Entry, Store
from airflow_provider_pageconv.dump.store_errors import NoSuchBucketError
from airflow_provider_pageconv.dump.summary import Outcome, nothing_listed
from airflow_provider_pageconv.dump.workers import Workers
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphError,
    GraphPermissionError,
    GraphRequestError,
)
from airflow_provider_pageconv.graph.limits import Limits, Policy, WaitedTooLong
from airflow_provider_pageconv.lines import tell
from airflow_provider_pageconv.times import iso, round_up

log = logging.getLogger(__name__)

_FOR_GOOD = (GraphAuthError, GraphPermissionError, GraphRequestError, DumpRefused, NoSuchBucketError, WaitedTooLong)


class FoldersFailed(Exception):  # noqa: N818 - it is several errors
    """Some folders are missing, and nothing is left to do for them in this try.

    :param errors: by folder.
    """

    def __init__(self, errors: Mapping[str, BaseException]) -> None:
        alike: dict[str, list[str]] = {}
        for folder, error in errors.items():
            alike.setdefault(error.without_trace if isinstance(error, GraphError) else _said(error), []).append(folder)
        # Of one sentence with several trace ids the first is as good as any.
        super().__init__(" ".join(f"{', '.join(names)}: {_said(errors[names[0]])}" for names in alike.values()))
        self.errors = dict(errors)

    @property
    def for_good(self) -> bool:
        """Whether no further try can help any of them."""
        return all(isinstance(error, _FOR_GOOD) for error in self.errors.values())


class Export:
    """Exports some folders of a Page.

    :param client: makes the calls.
    :param policy: what to do about limits.
    :param settled: when the window's late arrivals are in.
    :param media: fetches the files of attachments, where the order wants them.
    :param show: told how far it is, see :meth:`Reporter.overview`; in the thread that owns the export, so it must not block.
    """

    def __init__(
        self,
        spec: Spec,
        folders: Sequence[str],
        client: GraphClient,
        store: Store,
        policy: Policy,
        *,
        settled: datetime | None = None,
        show: Callable[[dict[str, Any]], None] = lambda _: None,
        media: MediaSource | None = None,
    ) -> None:
        self._spec = spec
        self._folders = folders
        self._client = client
        self._store = store
        self.outcomes: dict[str, Outcome] = {}
        """What is published by folder, by this try or an earlier one; whole when :meth:`run` has ended, however it did."""
        self._policy = policy
        self._settled = settled
        self._stop = Stop.NO
        self._show = show
        self._media = media if spec.download_attachments else None
        self._workers = Workers(client.exchange)

    def kill(self) -> None:
        """Make no further call, make safe what was fetched, publish nothing. Callable from a signal handler."""
        self._stop = Stop.KILL
        self._workers.wake()

    def run(self) -> list[Outcome]:
        """Export all folders, in a thread of its own, which owns all state: what interrupts this one finds none half changed.

        :return: in the order of the folders.
        :raises LetGo: the task may let go of its worker and come back.
        :raises Stopped: it was told to stop; what was fetched is safe.
        :raises Superseded: a later try of the run is at work.
        :raises FoldersFailed: what ended some of the folders; the next try goes on with those.
        :raises DumpRefused: what is asked for would break what lies in the destination; no call was made.
        :raises StoreError: the destination does not do what it is asked to.
        """
        came: queue.SimpleQueue[list[Outcome] | BaseException] = queue.SimpleQueue()

        def own() -> None:
            try:
                came.put(self.export(self._workers))
            except BaseException as error:  # noqa: BLE001 - raised where somebody waits for it
                came.put(error)

        owner = threading.Thread(target=own, name="export", daemon=True)
        owner.start()
        try:
            result = came.get()
        except BaseException:  # a time-out of the task, for one
            self._stop = Stop.SAFE if self._stop is Stop.NO else self._stop
            self._workers.wake()
            came.get()
            raise
        finally:
            self._workers.close()
        if isinstance(result, BaseException):
            raise result
        return result

    def export(self, hands: Hands) -> list[Outcome]:
        """Export all folders with these hands, in the thread that calls this."""
        spec, now = self._spec, hands.clock()
        places = {folder: Place(spec.platform, spec.page_id, folder, spec.window.name) for folder in self._folders}
        destinations = {folder: self._destination(place) for folder, place in places.items()}
        self.outcomes = outcomes = {}
        manifests = self._listed("_manifests", places)
        replaced: dict[str, str | None] = {}
        for folder, destination in destinations.items():  # all refusals come before the first call
            published = destination.published()
            if published is not None and _is_ours(spec, published):
                outcomes[folder] = Outcome(places[folder].manifest, published, new=False)
            else:
                refuse(spec, folder, destination, published, manifests[folder])
                # Not all of it, for as long as the export takes: a manifest may name very many files.
                replaced[folder] = published.get("export_id", "") if published is not None else None
        staged = self._staged(places) if replaced else {}
        with scratch_folder() as scratch, Packing() as packing:
            todo = [
                self._begin(
                    rank,
                    folder,
                    destinations[folder],
                    replaced[folder],
                    staged[folder],
                    scratch,
                    packing,
                    now,
                    hands.monotonic(),
                )
                for rank, folder in enumerate(self._folders)
                if folder in replaced
            ]
            self._go_on(todo, list(outcomes))
            if todo:
                self._run(todo, hands)
        for destination in destinations.values():
            if not destination.leftovers.is_tidy:
                destination.leftovers.tidy()
        return [outcomes[folder] for folder in self._folders]

    def _listed(self, top: str, places: Mapping[str, Place]) -> dict[str, list[Entry]]:
        """What lies below a folder of the destination, by the Page's folders."""
        found: dict[str, list[Entry]] = {folder: [] for folder in places}
        for folder, entry in self._walked(top, places):
            found[folder].append(entry)
        return found

    def _staged(self, places: Mapping[str, Place]) -> dict[str, Staging]:
        """What lies in the folders' staging areas."""
        found = {folder: Staging(place.staging) for folder, place in places.items()}
        for folder, entry in self._walked("_staging", places):
            found[folder].add(entry)
        return found

    def _walked(self, top: str, places: Mapping[str, Place]) -> Iterator[tuple[str, Entry]]:
        """What lies below a folder of the destination, each with the Page's folder that it belongs to; in one listing for all."""
        [page] = {place.page for place in places.values()}
        below = {f"{top}/{place.partition}/": folder for folder, place in places.items()}
        prefix = f"{top}/{page}" if len(below) > 1 else next(iter(below)).rstrip("/")
        for entry in self._store.list(prefix):
            for beginning, folder in below.items():
                if entry.key.startswith(beginning):
                    yield folder, entry

    def _destination(self, place: Place) -> Destination:
        staging = f"{place.staging}/{self._spec.staging_name()}"
        return Destination(self._store.with_scratch(staging), place, staging)

    def _begin(
        self,
        rank: int,
        folder: str,
        destination: Destination,
        replaced: str | None,
        staged: Staging,
        scratch: Path,
        packing: Packing,
        now: datetime,
        monotonic: float,
    ) -> FolderExport:
        """Take up what an earlier try of this run left, or begin.

        :param replaced: the id of the export that is published now; ``None``: none is.
        """
        destination.leftovers.sweep(now, staged)
        checkpoints = Checkpoints(destination.store, destination.staging, secrets.token_hex(4))
        resumed = checkpoints.load(staged.entries)
        checkpoints.claim()
        if resumed and replaced == resumed.progress.export_id:
            # Finished before the run was cleared; only the sweeping up is missing.
            checkpoints.begin_anew()
            resumed = None
        if resumed is None:
            resumed = Resumed.nothing(Progress(export_id=secrets.token_hex(8), began=iso(round_up(now))))
        replaces = replaced is not None and not self._spec.overwrite
        is_first = replaced is None and destination.staging not in staged.latest
        return FolderExport(
            self._spec,
            folder,
            rank,
            destination,
            checkpoints,
            resumed,
            scratch,
            packing,
            monotonic,
            replaces=replaces,
            is_first=is_first,
            media=self._media,
            staged=staged.size,
        )

    def _go_on(self, todo: Sequence[FolderExport], published: Sequence[str]) -> None:
        """Say where this try goes on, if there was one before it."""
        counts = sums(todo)
        if any(counts.values()):
            tell(log, INFO, f"Going on after {counted(counts)} of {', '.join(one.folder for one in todo)}.", **counts)
        if published:
            tell(log, INFO, f"Published by an earlier try: {', '.join(published)}.")

    def _run(self, todo: Sequence[FolderExport], hands: Hands) -> None:
        clear_number = int(self._spec.run_key.get("clear_number") or 0)
        waiting = Limits.newest((folder.progress.waiting for folder in todo), clear_number)
        dropped = list(dict.fromkeys(name for folder in todo for name in folder.progress.dropped))
        controls = list(dict.fromkeys(name for folder in todo for name in folder.progress.controls))
        refused = list(dict.fromkeys(name for folder in todo for name in folder.progress.controls_refused))
        for folder in todo:
            # What one folder finds out holds for all of them.
            folder.progress.waiting = waiting
            folder.progress.dropped = dropped
            folder.progress.controls, folder.progress.controls_refused = controls, refused
        # Where an earlier try published a folder, there was something.
        fails = self._spec.on_empty == "fail" and len(todo) == len(self._folders)
        limits = Limits(self._policy, waiting, stop_percent=self._client.stop_percent)
        window, usage = self._spec.window, lambda: self._client.usage
        reporter = Reporter(window, todo, limits, usage, self._show, hands.monotonic())
        engine = Engine(
            todo,
            self._client,
            limits,
            self._policy,
            hands,
            settled=self._settled,
            if_empty=NothingListed(nothing_listed(self._spec, self._folders)) if fails else None,
            stop=lambda: self._stop,
            report=lambda stages: reporter.report(stages, hands.monotonic(), hands.clock().timestamp()),
        )
        try:
            done = engine.run()
        finally:
            for folder in todo:
                folder.discard()
            # Also where the others wait, or failed: for the next try it is an earlier one's.
            places = {folder.folder: folder.destination.place for folder in todo}
            for name, manifest in engine.done.manifests.items():
                self.outcomes[name] = Outcome(places[name].manifest, manifest, new=True)
        if done.errors:
            raise FoldersFailed({name: done.errors[name] for name in self._folders if name in done.errors})


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _is_ours(spec: Spec, published: Manifest) -> bool:
    return published.get("run_key") == dict(spec.run_key) and published.get("fingerprint") == spec.fingerprint()
