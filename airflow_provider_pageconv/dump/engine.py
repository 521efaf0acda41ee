"""The only loop: one thread owns all state of a task's folders, and everything that happens comes to it through one queue.

Calls are made, and the store is written to, by :class:`Hands` that know nothing: a request goes out, what came over the wire
comes back; a function goes out, what it returned comes back. Waiting is a value; a kill, a time-out or a release is one more
reason to make no further call. Which error is the real one is decided where the loop ends.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from logging import INFO, WARNING
from typing import Any, NamedTuple, Protocol

from airflow_provider_pageconv import lines
from airflow_provider_pageconv.dump.downloads import LEAST_RATE, PATIENCE, SIDE_BY_SIDE, Job, Result
from airflow_provider_pageconv.dump.endings import DumpRefused, LetGo, NothingListed, Stopped, Superseded
from airflow_provider_pageconv.dump.folder import Ask, FolderExport, Rank
from airflow_provider_pageconv.dump.readers import Moments
from airflow_provider_pageconv.dump.reporting import Stage, stage_of_list
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.graph.client import GraphClient, took_too_long
from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphError, GraphRateLimitError
from airflow_provider_pageconv.graph.limits import Gate, Limits, Policy, WaitedTooLong
from airflow_provider_pageconv.graph.media import MediaError, Reason
from airflow_provider_pageconv.graph.media_client import Watch
from airflow_provider_pageconv.graph.protocol import Answer, Request, Response
from airflow_provider_pageconv.lines import tell
from airflow_provider_pageconv.times import iso

log = logging.getLogger(__name__)

IN_PLACE = timedelta(minutes=1)
"""Waits up to this are slept where they are: to let go of a worker and come back takes as long."""

_BREATH = timedelta(seconds=20)
"""How long a task stays away that lets go only to free its worker: Airflow 3.3 fails one that is queued again before the
scheduler has read that its process ended."""

GRACE = 2.0
"""Seconds that a call under way gets when the task is killed; Airflow gives the task about 5."""

_FAIR_TURNS = 12
"""Every so many calls the list goes first that has waited longest: one whose answers come fast would else keep all others
from beginning."""

_MOST_CALLS = 20
_LONGEST_SLEEP = 60.0


class Lane(Enum):
    """Functions of one lane run one after the other, in the order in which they were handed over."""

    STORE = "store"
    PUBLISH = "publish"


class Event(NamedTuple):
    """Something that happened.

    :param number: of the call or function that it is about.
    :param result: what came of it; an exception if it ended with one; ``None`` with a moment where a call only left.
    :param sent: when the call left, by the monotonic clock.
    """

    number: int
    result: Any = None
    sent: float | None = None


class Hands(Protocol):
    """What the engine has done for it elsewhere."""

    def call(self, number: int, request: Request, *, tells: bool) -> None:
        """Make a call: an event tells what came, and another before it when it left, if somebody wants to know."""

    def abandon(self, number: int) -> None:
        """Wait no longer for a call; no event will come of it."""

    def run(self, number: int, lane: Lane, work: Callable[[], Any]) -> None:
        """Run a function: an event tells what it returned."""

    def fetch(self, number: int, work: Callable[[], Any]) -> None:
        """Run a function that fetches a file, beside all others: an event tells what it returned."""

    def next(self, timeout: float) -> Event | None:
        """The next event; ``None`` if none comes within so many seconds, or somebody asked for the stop."""

    def clock(self) -> datetime:
        """The time of day, in UTC."""

    def monotonic(self) -> float:
        """A monotonic clock, in seconds."""


class Stop(Enum):
    """What somebody outside asked for."""

    NO = 0
    SAFE = 1
    """Make no further call, wait for those under way, make everything safe."""
    KILL = 2
    """The same, but wait for the calls for a moment only."""


@dataclass
class _Call:
    """A call under way.

    :param incident: how many limits were met before it left.
    :param handed_over: when that was, by the worker's clock.
    """

    ask: Ask
    request: Request
    incident: int
    deadline: float
    handed_over: datetime


@dataclass
class _Download:
    """A file that is being fetched.

    :param began: when, by the monotonic clock.
    """

    folder: FolderExport
    job: Job
    watch: Watch
    began: float

    @property
    def deadline(self) -> float:
        """When it has taken too long, as far as is known now: what comes steadily may take its time."""
        if self.watch.arrived:
            return float("inf")
        return self.began + PATIENCE + self.watch.received / LEAST_RATE


@dataclass
class Done:
    """How a folder ended: its manifest, or the error."""

    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)


class Engine:
    """Exports some folders of a Page within one pace.

    :param folders: in the order in which they go first.
    :param limits: of the Page's calls.
    :param settled: when the window's late arrivals are in.
    :param if_empty: what ends all folders where none of them lists any thread; until that is known, none is published.
    :param stop: whether somebody asked for the stop; looked at in each turn.
    :param report: told of every turn, with the stages of all folders, for the progress that a task shows.
    """

    def __init__(
        self,
        folders: Sequence[FolderExport],
        client: GraphClient,
        limits: Limits,
        policy: Policy,
        hands: Hands,
        *,
        settled: datetime | None = None,
        if_empty: NothingListed | None = None,
        stop: Callable[[], Stop] = lambda: Stop.NO,
        report: Callable[[dict[str, Stage]], None] = lambda _: None,
    ) -> None:
        self._folders = list(folders)
        self._client = client
        self._limits = limits
        self._policy = policy
        self._hands = hands
        self._settled = settled
        self._if_empty = if_empty
        self._stop = stop
        self._report = report
        self._calls: dict[int, _Call] = {}
        self._works: dict[int, tuple[FolderExport, Callable[[Any], None]]] = {}
        self._downloads: dict[int, _Download] = {}
        self._last_download = float("inf")
        self._numbers = 0
        self._turns = 0
        self._served: dict[str, int] = {}
        self._leaving: int | None = None
        self._pages = 0
        self._ahead = 0.0
        self._asked_time = False
        self._publishing: set[str] = set()
        self._ending: Exception | None = None
        self._to_save: set[str] = set()
        self.done = Done()

    # ---- the loop

    def run(self) -> Done:
        """Export all folders.

        What ends one folder ends that folder; the others go on.

        :return: manifests and errors by folder; nothing more can be done in this try.
        :raises LetGo: the task may let go of its worker and come back.
        :raises Stopped: somebody asked for the stop.
        :raises Superseded: a later try of the run is at work.
        """
        self._started = self._hands.monotonic()
        for folder in self._folders if self._if_empty else ():
            if folder.is_empty:
                folder.walk_again(self._times().api)
        self._come_back()
        while True:
            self._heed_stop()
            self._open_gate()
            self._start_calls()
            self._start_works()
            self._start_downloads()
            if not self._is_at_work() and (self._ending or not self._live()):
                break
            self._report(self._stages())
            event = self._hands.next(self._sleep())
            if event is not None:
                self._apply(event)
            self._drop_late_calls()
            self._drop_late_downloads()
        return self._conclude()

    def _is_at_work(self) -> bool:
        """Whether something is under way, or may be begun though there is a reason to end."""
        if self._calls or self._works or self._downloads:
            return True
        return self._ending is not None and any(self._may_fetch(folder) for folder in self._live())

    def _conclude(self) -> Done:
        """The one place that says which error is the real one."""
        missing = self._live()
        if isinstance(self._ending, (Stopped, Superseded)) or (missing and isinstance(self._ending, LetGo)):
            raise self._ending
        for folder in missing:  # a dead token, or a limit: each folder that is missing is missing for its sake
            assert self._ending is not None
            self.done.errors[folder.folder] = self._ending
        return self.done

    def _live(self) -> list[FolderExport]:
        """The folders that are neither published nor ended by an error."""
        ended = self.done.manifests.keys() | self.done.errors.keys()
        return [folder for folder in self._folders if folder.folder not in ended]

    def _stages(self) -> dict[str, Stage]:
        return {folder.folder: self._stage(folder) for folder in self._folders}

    def _stage(self, folder: FolderExport) -> Stage:
        if folder.folder in self.done.errors:
            return Stage.FAILED
        if folder.folder in self.done.manifests:
            return Stage.PUBLISHED
        if folder.folder in self._publishing:
            return Stage.CARRYING if folder.replaces else Stage.PUBLISHING
        return stage_of_list(folder)

    def _times(self) -> Moments:
        clock = self._hands.clock().timestamp()
        return Moments(clock, clock + self._ahead, self._hands.monotonic())

    # ---- what ends it

    def _end(self, why: Exception, *, save_all: bool = False) -> None:
        """Make no further call, and end when everything is safe.

        :param save_all: also folders that fetched nothing, for the sake of what is known of limits.
        """
        if self._ending is None or _weight(why) > _weight(self._ending):
            self._ending = why
        self._last_download = min(self._last_download, self._hands.monotonic() + GRACE)
        if save_all:
            self._save_all()

    def _save_all(self) -> None:
        self._to_save = {folder.folder for folder in self._live() if folder.folder not in self._publishing}

    def _heed_stop(self) -> None:
        stop = self._stop()
        if stop is Stop.NO:
            return
        self._end(Stopped("The export was stopped."))
        if stop is Stop.KILL:
            last = self._hands.monotonic() + GRACE
            for call in self._calls.values():
                call.deadline = min(call.deadline, last)

    def _drop_late_calls(self) -> None:
        now = self._hands.monotonic()
        for number, call in list(self._calls.items()):
            if call.deadline <= now:
                self._hands.abandon(number)
                del self._calls[number]
                self._left(number)
                if isinstance(self._ending, Stopped):
                    call.ask.folder.put_back(call.ask)
                else:
                    self._refused(call, took_too_long())

    # ---- waiting

    def _come_back(self) -> None:
        """Wait out what is left of an earlier try's wait."""
        until = self._limits.until
        if until is not None and until - self._hands.clock() > IN_PLACE and not self._policy.stay:
            self._end(LetGo(until, self._limits.reason))

    def _open_gate(self) -> None:
        waited = self._limits.over(self._hands.clock())
        for folder in self._live() if waited else ():
            folder.progress.waited_seconds += waited

    def _meet_limit(self, error: GraphRateLimitError) -> None:
        """Go slower, wait, let go, or give up."""
        now = self._hands.clock()
        try:
            until = self._limits.refused(error, now)
        except (GraphRateLimitError, WaitedTooLong) as end:
            self._end(end, save_all=True)
            return
        if until is None:
            self._client.pace.slow_down()
            tell(log, WARNING, f"Going slower: {error.brief}.", **_facts(error))
            return
        self._save_all()
        if until - now > IN_PLACE and not self._policy.stay:
            self._end(LetGo(until, error.brief, met_limit=True))  # who lets go says so
        else:
            tell(log, WARNING, f"Waiting {lines.until(until, now)}: {error.brief}.", until=iso(until), **_facts(error))

    def _release(self) -> None:
        """Let go of the worker after a while, but not without a page."""
        after = self._policy.release_after
        if after is None or self._policy.stay or not self._pages or self._limits.gate is Gate.CLOSED:
            return
        if self._hands.monotonic() - self._started >= after.total_seconds():
            reason = f"after {lines.length(after)} the export makes room for others"
            self._end(LetGo(self._hands.clock() + _BREATH, reason))

    # ---- what the store does

    def _start_works(self) -> None:
        now = self._hands.monotonic()
        calling = {call.ask.folder.folder for call in self._calls.values()}
        for folder in self._folders:
            name = folder.folder
            failed = self.done.errors.get(name)
            if name in self._publishing or folder.is_saving or (failed and not isinstance(failed, GraphError)):
                continue
            due = folder.save_due_at() <= now or name in self._to_save
            ends = folder.needs_no_call or (name not in calling and (failed or self._ending))
            last = ends and not self._may_fetch(folder)
            publishes = (
                folder.is_read
                and not failed
                and self._if_empty is None
                and not isinstance(self._ending, (Stopped, Superseded))
            )
            if due or (last and not folder.is_safe and not (publishes and folder.is_brief)):
                self._to_save.discard(name)
                self._save(folder, now)
            elif not failed and self._ending is None and folder.is_safe and (look := folder.look()) is not None:
                self._run(folder, Lane.PUBLISH, look, folder.looked)
            elif not failed and self._ending is None and (prepare := folder.prepare()) is not None:
                self._run(folder, Lane.PUBLISH, prepare, folder.prepared)
            elif publishes:
                self._publishing.add(name)
                put = folder.publish(self._hands.clock().timestamp(), self._is_stopped)
                self._run(folder, Lane.PUBLISH, put, lambda manifest, folder=folder: self._published(folder, manifest))  # type: ignore[misc]

    def _save(self, folder: FolderExport, now: float) -> None:
        try:
            put = folder.save(now)
        except StoreError as error:  # the worker's own disk is full, for one
            self._end_folder(folder, error)
        else:
            self._run(folder, Lane.STORE, put, lambda _: folder.saved())

    def _is_stopped(self) -> bool:
        return self._stop() is not Stop.NO

    def _run(self, folder: FolderExport, lane: Lane, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._numbers += 1
        self._works[self._numbers] = folder, then
        self._hands.run(self._numbers, lane, work)

    def _worked(self, folder: FolderExport, then: Callable[[Any], None], result: Any) -> None:
        if isinstance(result, (Superseded, Stopped)):
            self._end(result)
        elif isinstance(result, BaseException):
            self._end_folder(folder, result)
        else:
            then(result)

    def _published(self, folder: FolderExport, manifest: dict[str, Any]) -> None:
        self.done.manifests[folder.folder] = manifest
        counts = {name: manifest[name] for name in ("conversations", "messages")}
        told = ", ".join(lines.count(number, name[:-1]) for name, number in counts.items())
        tell(log, INFO, f"Folder {folder.folder}: published, {told}.", folder=folder.folder, **counts)

    def _end_folder(self, folder: FolderExport, error: BaseException) -> None:
        """What ends one folder lets the others go on. What it fetched is made safe, if its state is known to be whole."""
        if isinstance(self._ending, GraphAuthError) and error is not self._ending:
            log.warning("%s", error)  # beside what no further try can change it is no news
            error = self._ending
        if folder.folder not in self.done.errors:
            foreseen = isinstance(error, (GraphError, StoreError, DumpRefused, WaitedTooLong, NothingListed))
            log.error(
                "Folder %s: %s", folder.folder, error if foreseen else "a defect", exc_info=None if foreseen else error
            )
            self.done.errors[folder.folder] = error

    # ---- calls

    def _start_calls(self) -> None:
        """While limits and pace allow, make the best call: which one that is, is settled when it leaves."""
        self._meet_all_walked()
        self._release()
        pace, hands = self._client.pace, self._hands
        while self._has_room() and pace.due <= hands.monotonic() and (ask := self._best()) is not None:
            error = self._limits.due()
            if error is not None:
                self._meet_limit(error)
                continue
            try:
                request = ask.folder.start(ask)
            except GraphError as error:
                self._tell(ask, lambda ask=ask, error=error: ask.folder.failed(ask, error, self._times()))  # type: ignore[misc]
                continue
            self._numbers += 1
            now = self._hands.monotonic()
            deadline = now + self._client.patience
            self._calls[self._numbers] = _Call(ask, request, self._limits.incident, deadline, hands.clock())
            self._leaving = self._numbers
            pace.left(now)
            ask.folder.count_call()
            self._client.calls += 1
            self._hands.call(self._numbers, request, tells=pace.interval > 0)

    def _has_room(self) -> bool:
        """Whether a further call may leave, as far as those before it and the limits are concerned."""
        if self._ending is not None or len(self._calls) >= _MOST_CALLS or self._limits.gate is Gate.CLOSED:
            return False
        if self._limits.gate is Gate.PROBING and len(self._calls) >= self._knocks():
            return False
        # The interval counts from when a call leaves, which is known a moment after it was handed over.
        return self._leaving is None or not self._client.pace.interval

    def _knocks(self) -> int:
        """How many calls may be under way until one is answered: one, but one a folder without a pace or a limit so far."""
        careful = self._client.pace.interval or self._limits.waiting.refusals
        return 1 if careful else len(self._live())

    def _asks(self, times: Moments) -> Iterator[Ask]:
        for folder in self._live():
            yield from folder.offers(times)

    def _best(self) -> Ask | None:
        times = self._times()
        asks = [ask for ask in self._asks(times) if ask.at <= times.monotonic]
        if not asks:
            return None
        self._turns += 1
        best = min(asks, key=lambda ask: (ask.rank, ask.folder.rank))
        if best.rank is Rank.LISTS:
            if self._turns % _FAIR_TURNS == 0:
                lists = [ask for ask in asks if ask.rank is Rank.LISTS]
                best = min(lists, key=lambda ask: self._served.get(ask.folder.folder, -1))
            self._served[best.folder.folder] = self._turns
        return best

    def _meet_all_walked(self) -> None:
        """Once the lists of all folders were walked, their heads are read again; one that ended counts as walked."""
        live = self._live()
        if all(folder.list_is_walked for folder in live):
            if self._if_empty is not None and live and all(folder.is_empty for folder in self._folders):
                self.done.errors |= {folder.folder: self._if_empty for folder in live}
                return
            self._if_empty = None
            now = self._times().api
            for folder in live:
                folder.lists_are_walked(now)

    def _sleep(self) -> float:
        """Seconds until the next moment that matters."""
        times = self._times()
        now = times.monotonic
        moments = [call.deadline for call in self._calls.values()]
        moments += [folder.save_due_at() for folder in self._live() if folder.folder not in self._publishing]
        if self._ending is None and self._limits.gate is Gate.CLOSED and (until := self._limits.until) is not None:
            moments.append(now + until.timestamp() - times.clock)
        moments += [one.deadline for one in self._downloads.values()]
        if self._downloads and self._ending is not None:
            moments.append(max(self._last_download, now + 0.1))
        if len(self._downloads) < SIDE_BY_SIDE:
            moments += [folder.file_at() for folder in self._live() if self._may_fetch(folder)]
        if self._has_room():
            moments += [max(ask.at, self._client.pace.due) for ask in self._asks(times)]
        return max(min([*moments, now + _LONGEST_SLEEP]) - now, 0.0)

    # ---- files of attachments

    def _may_fetch(self, folder: FolderExport) -> bool:
        """Whether files of a folder are to be fetched now.

        Where a dead token or a limit ends the calls for good, a folder that needs none any more is still finished.
        """
        if not folder.is_fetching or folder.folder in self.done.errors:
            return False
        if isinstance(self._ending, (LetGo, Stopped, Superseded)):
            return False
        return self._ending is None or (folder.needs_no_call and folder.may_fetch)

    def _start_downloads(self) -> None:
        """Files are outside of the pace and the limits of the API: they come from elsewhere."""
        now = self._hands.monotonic()
        while len(self._downloads) < SIDE_BY_SIDE:
            due = [folder for folder in self._live() if self._may_fetch(folder) and folder.file_at() <= now]
            if not due:
                return
            busy = Counter(one.folder.folder for one in self._downloads.values())
            folder = min(due, key=lambda one: busy[one.folder])
            job, work = folder.start_file()
            self._numbers += 1
            watch = Watch()
            self._downloads[self._numbers] = _Download(folder, job, watch, now)
            self._hands.fetch(self._numbers, functools.partial(work, watch))

    def _drop_late_downloads(self) -> None:
        """Wait no longer for files that come too slowly, and for none once everything ends."""
        now = self._hands.monotonic()
        for number, one in list(self._downloads.items()):
            wanted = self._may_fetch(one.folder)
            if now < (one.deadline if wanted else self._last_download) and one.folder.folder not in self.done.errors:
                continue
            one.watch.leave()
            del self._downloads[number]
            if wanted:
                self._file_came(one, MediaError(Reason.SLOW, passing=True))
            else:
                one.folder.leave_file(one.job)

    def _file_came(self, one: _Download, result: Result | BaseException) -> None:
        if isinstance(result, BaseException) and not isinstance(result, MediaError):
            one.folder.leave_file(one.job)
            self._end_folder(one.folder, result)
            return
        try:
            one.folder.got_file(one.job, result, self._hands.monotonic())
        except Exception as error:  # noqa: BLE001 - whatever ends one folder lets the others go on
            self._end_folder(one.folder, error)

    # ---- what comes back

    def _apply(self, event: Event) -> None:
        """Take what has come back, and apply it to its folder."""
        if event.number in self._works:
            folder, then = self._works.pop(event.number)
            self._worked(folder, then, event.result)
        elif (one := self._downloads.pop(event.number, None)) is not None:
            self._file_came(one, event.result)
        elif event.sent is not None:
            self._client.pace.left(event.sent)
            self._left(event.number)
        elif (call := self._calls.pop(event.number, None)) is not None:
            self._left(event.number)
            self._answered(call, event.result)

    def _left(self, number: int) -> None:
        if self._leaving == number:
            self._leaving = None

    def _answered(self, call: _Call, result: Response | BaseException) -> None:
        try:
            if isinstance(result, BaseException):
                raise result
            answer = self._client.read(call.request, result, call.ask.folder.reader(call.ask))
        except GraphError as error:
            self._refused(call, error)
            return
        except Exception as error:  # noqa: BLE001 - a defect: it ends the folder, and is seen
            self._end_folder(call.ask.folder, error)
            return
        if not self._asked_time and not self._read_time(call, answer):
            return
        page = call.ask.target is None or call.ask.target.thread is not None
        if call.incident == self._limits.incident:  # one that left before a limit was met says nothing of it
            self._limits.good(answer.usage, page=page)
        self._pages += page
        self._tell(call.ask, lambda: self._got(call.ask, answer))

    def _got(self, ask: Ask, answer: Answer) -> None:
        if ask.folder.got(ask, answer, self._times()):
            self._client.pace.slow_down()

    def _refused(self, call: _Call, error: GraphError) -> None:
        """A limit is for all; a dead token ends all; anything else is for the folder."""
        folder = call.ask.folder
        if isinstance(error, GraphRateLimitError):
            folder.put_back(call.ask)
            if call.incident == self._limits.incident:
                self._meet_limit(error)
            return
        self._limits.passed()
        if isinstance(error, GraphAuthError):
            folder.put_back(call.ask)
            self._end(error)
            return
        self._tell(call.ask, lambda: folder.failed(call.ask, error, self._times()))

    def _tell(self, ask: Ask, what: Callable[[], None]) -> None:
        """Tell a folder something, and heed what it says to that."""
        try:
            what()
        except GraphRateLimitError as limit:  # one in disguise
            for folder in self._live():
                folder.void_round(self._hands.clock().timestamp())
            self._meet_limit(limit)
        except Exception as error:  # noqa: BLE001 - whatever ends one folder lets the others go on
            self._end_folder(ask.folder, error)

    def _read_time(self, call: _Call, answer: Answer) -> bool:
        """See from the first answer what time it is for the API.

        :return: whether the answer counts: where the worker's clock is fast, the window may not have settled yet.
        """
        self._asked_time = True
        now = self._hands.clock()
        early = timedelta(0)
        if answer.date is not None:  # it is cut to whole seconds; to be late is better than to be early
            ahead = (answer.date + timedelta(seconds=1) - call.handed_over).total_seconds()
            self._ahead = ahead if abs(ahead) > 60 else 0.0
            early = self._settled - answer.date if self._settled else early
        if not self._ahead or early <= timedelta(0):
            return True
        tell(
            log,
            WARNING,
            f"This worker's clock is {-self._ahead:.0f} s ahead of the API's.",
            seconds=round(-self._ahead),
        )
        call.ask.folder.put_back(call.ask)
        self._asked_time = False
        reason = "the window has not settled yet by the API's clock"
        self._limits.wait(now + early, reason)
        if early > IN_PLACE and not self._policy.stay:
            self._end(LetGo(now + early, reason))
        return False


def _facts(error: GraphRateLimitError) -> dict[str, Any]:
    """What Meta's support asks for, and how much is used up."""
    usage = error.usage.percent if error.usage else None
    return {"code": error.code, "fbtrace_id": error.fbtrace_id, "usage_percent": usage}


def _weight(ending: Exception) -> int:
    """What counts where there are several reasons to end: what no further try can change comes before what is waited out."""
    kinds: tuple[type[Exception], ...] = (
        LetGo,
        GraphRateLimitError,
        WaitedTooLong,
        GraphAuthError,
        Stopped,
        Superseded,
    )
    return next(number for number, kind in enumerate(kinds) if isinstance(ending, kind))
