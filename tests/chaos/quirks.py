"""An API that is not as one thinks, a Page that lives meanwhile, the real operator over real HTTP, and a judge of its own.

The judge goes by what is on the Page and by the contract. It knows nothing of how an export works.
"""

from __future__ import annotations

import errno
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_provider_pageconv.dump import export as export_module
from airflow_provider_pageconv.dump.engine import Event, Lane
from airflow_provider_pageconv.dump.workers import Exchange, Workers
from airflow_provider_pageconv.graph.protocol import Request
from airflow_provider_pageconv.operators import ExportFailed
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import Call
from airflow_provider_pageconv.sandbox.page import Page
from tests.dump.exporting import FOLDERS, Owed, assert_tidy, moment, owed
from tests.operators.running import CONNECTION, connection, context, operator
from tests.servers.destinations import Destination, local
from tests.simulated import SimulatedTime

# On any machine the operator takes windows of that day for settled: it looks at the real time.
NOW = datetime(2025, 3, 14, 12, 0, 0, tzinfo=timezone.utc)
INBOX = "inbox"
UNUSABLE: tuple[Any, ...] = ("yesterday", 7, [], True, "2003-01-01T00:00:00+0000", "2025-03-16T12:00:00+0000")
"""What may stand where a time should, and is none: also one before there was a Facebook, or more than a day ahead."""

MOST_TRIES = 80
MOST_CALLS = 6000
LONGEST = timedelta(days=4)
LONGEST_REAL = 60.0
"""Seconds of real time; what takes longer hangs."""

_SAID = re.compile(r"(\d+) rows? left out: no object")
Drawn = TypeVar("Drawn")


class HurriedWorkers(Workers):
    """The workers that ship, with real threads and real calls; only where nothing is under way time passes at once."""

    def __init__(self, exchange: Exchange, run: Run) -> None:
        super().__init__(exchange)
        self._run = run
        self._works: set[int] = set()

    def call(self, number: int, request: Request, *, tells: bool) -> None:
        self._run.time.pass_(self._run.call_seconds)
        super().call(number, request, tells=tells)

    def run(self, number: int, lane: Lane, work: Callable[[], Any]) -> None:
        self._works.add(number)
        super().run(number, lane, work)

    def next(self, timeout: float) -> Event | None:
        self._run.check_that_it_ends()
        if timeout > 0 and not self._works and not self._under_way:
            self._run.time.pass_(timeout + 0.001)
            return None
        event = super().next(timeout)
        if event is None:
            return None
        if event.sent is not None:
            return event._replace(sent=self.monotonic())
        self._works.discard(event.number)
        return event

    def clock(self) -> datetime:
        return self._run.clock()

    def monotonic(self) -> float:
        return self._run.time.passed


class NeverEndingError(AssertionError):
    """An export makes call after call, or waits and waits."""


@dataclass
class Verdict:
    """What the judge has to say of one run.

    :param owed: records that had to be there.
    :param withheld: records that the API did not give, and that the manifests count.
    :param wrong: what is not as it should be and is no record: an error, a hang, a count that does not say.
    """

    owed: int = 0
    withheld: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    tries: int = 0
    calls: int = 0
    struck: Counter[str] = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.foreign or self.wrong)

    def __str__(self) -> str:
        parts = [
            f"{len(found)} {name}: {', '.join(found[:4])}{' …' if len(found) > 4 else ''}"
            for name, found in vars(self).items()
            if isinstance(found, list) and found
        ]
        return "; ".join(
            [*parts, f"{self.owed} owed, {self.withheld} withheld, {self.tries} tries, {self.calls} calls"]
        )


class Run:
    """One task against a Page with some quirks, over as many tries as it takes."""

    def __init__(self, quirks: Iterable[str], seed: int, folder: Path) -> None:
        self.quirks = tuple(quirks)
        self.dice = random.Random(f"{seed}/{'+'.join(self.quirks)}")
        self.files: Destination = local(folder)
        self.skew = timedelta(0)
        self.call_seconds = self.dice.choice([0.2, 1.0])
        shape: dict[str, Any] = {
            "span": timedelta(days=20),
            "begins": NOW + timedelta(minutes=10),
            "details": "all",
            "long_every": 5,
            "settle": timedelta(minutes=5),
            "inbox": 45,
            "other": 8,
            "page_done": 1,
            "spam": 3,
        }
        for quirk in self.quirks:
            shape |= SHAPES.get(quirk, {})
        if "gone in hundreds" in self.quirks and len(self.quirks) > 1:
            shape[INBOX] = 60  # in pairs the many are fewer, or a third of all time would go into them
        self.begins: datetime = shape["begins"]
        self.time = SimulatedTime(self.begins)
        self.span: timedelta = shape["span"]
        self.settle: timedelta = shape["settle"]
        self.windowed = shape.get("window") or self.dice.choice(["all", "begin", "days", "days"])
        self.since = NOW - self.span * 0.35 if self.windowed == "days" else None
        self.until = None if self.windowed == "all" else NOW - self.span * 0.05
        self.box = Sandbox(
            seed=seed,
            folders={folder: shape[folder] for folder in FOLDERS},
            messages=30,
            long_every=shape["long_every"],
            short_messages=3,
            now=NOW,
            span=self.span,
            details=shape["details"],
            date="page",
        )
        self.box.clock = self.time.clock
        self.options: dict[str, Any] = {
            "page_size": shape.get("page_size") or self.dice.choice([6, 10, 25]),
            "conversation_fields": ["link"],  # less to draw and to read: the runs are about which records come
            "message_fields": ["from"],
            "since": self.since,
            "until": self.until,
            "settle": self.settle,
            "on_rate_limit": self.dice.choice(["reschedule", "wait"]),
            "release_slot_after": self.dice.choice([None, timedelta(minutes=2), timedelta(hours=1)]),
        }
        self.verdict = Verdict()
        self.before: dict[str, dict[str, Any]] = {}
        """What was on the Page when the list of a folder was asked for the first time."""
        self.gone: set[str] = set()
        self.refused: dict[str, int] = {}
        """Threads that are refused for themselves alone, with the code."""
        self.moved: set[str] = set()
        self.odd_threads: set[str] = set()
        self.odd_messages: set[str] = set()
        """What is shown with a time that is none."""
        self.shut_folder: tuple[str, Fault] | None = None
        self.failing_listing = 0
        self.listings = 0
        self._began_at = 0.0
        self._last_try = self.begins

    # ---- the world

    def clock(self) -> datetime:
        """The worker's clock."""
        return self.time.clock() + self.skew

    def check_that_it_ends(self) -> None:
        """Raise if the export has gone on for longer than anything that has to be waited out."""
        if self.time.passed > LONGEST.total_seconds() or len(self.box.requests) > MOST_CALLS:
            raise NeverEndingError(f"no end after {self.time.passed:.0f} s and {len(self.box.requests)} calls")
        if time.monotonic() - self._began_at > LONGEST_REAL:
            raise NeverEndingError(f"no end after {LONGEST_REAL:.0f} s of real time")

    def threads(self, folder: str | None = None, *, long: bool = False) -> list[str]:
        """Threads, newest first; `long`: those that go on behind what comes with the list."""
        return [
            thread["node"]["id"]
            for thread in self.box.data()["threads"]
            if folder in (None, thread["folder"]) and (not long or len(thread["messages"]) > 25)
        ]

    def asked_for(self) -> list[str]:
        """Long threads that any export of the window asks for, newest first."""
        data = {thread["node"]["id"]: thread for thread in self.box.data()["threads"]}
        until = self.until or self.begins
        return [
            one
            for one in self.threads(long=True)
            if self.since is None or self.since <= moment(data[one]["node"]["updated_time"]) < until
        ]

    def some(self, names: list[Drawn], most: int) -> list[Drawn]:
        """Draw one to so many of them."""
        return self.dice.sample(names, min(len(names), self.dice.randint(1, most)))

    def order(self, **fault: Any) -> Fault:
        """Order a fault."""
        return self.box.faults.add(Fault(**fault))

    def some_gave(self) -> bool:
        """Whether any thread has given messages at its own edge; before that nothing tells a limit from what is gone."""
        return any(one.edge == "messages" and one.status == 200 and one.code is None for one in self.box.requests)

    def _live(self) -> None:
        """Whatever the quirks are, threads get messages and jump while the walk goes on, and new ones come."""
        dice, life = self.dice, self.box.life
        for thread in dice.sample(self.threads(), 10):
            life.add(Life("message", at=dice.randint(2, 40), thread=thread))
        for _ in range(3):
            life.add(Life("new", at=dice.randint(2, 30), folder=dice.choice(FOLDERS), messages=dice.randint(1, 3)))

    def _watch(self, call: Call) -> bool:
        """Remember the Page as it is when a folder's list is asked for the first time, once the window has settled."""
        folder = call.params["folder"]
        # The API tells the time in whole seconds.
        settled = self.until is None or self.time.now >= self.until + self.settle - timedelta(seconds=2)
        if folder not in self.before and settled:
            self.before[folder] = self.box.data()
        return False

    # ---- the task

    def run(self, monkeypatch: pytest.MonkeyPatch) -> Verdict:
        """Export, in as many tries as it takes, and judge."""
        random.seed(self.dice.random())  # what the product adds to its pauses
        with self.box, monkeypatch.context() as patch:
            patch.setenv(CONNECTION, connection(self.box))
            patch.setattr(export_module, "Workers", lambda exchange: HurriedWorkers(exchange, self))
            scandir = os.scandir
            patch.setattr(os, "scandir", self._scandir(scandir))
            patch.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug, and it takes half the time
            self.box.faults.add(Fault(code=2, on="conversations", when=self._watch))  # never strikes
            self._live()
            # What is ordered first strikes first: any other fault would make holes into what is to hold for all threads.
            first = sorted(self.quirks, key=lambda quirk: not quirk.startswith(("spell", "gone")))
            played = [(quirk, self._play(quirk)) for quirk in first]
            self._began_at = time.monotonic()
            try:
                result = self._in_tries()
            except Exception as error:  # noqa: BLE001 - whatever it is, the table shows it
                self.verdict.wrong.append(f"{type(error).__name__}: {error}")
            else:
                patch.setattr(os, "scandir", scandir)  # the judge sees everything
                Judge(self, result).judge()
            self.verdict.calls = len(self.box.requests)
            for quirk, count in played:
                self.verdict.struck[quirk] += count()
        return self.verdict

    def _play(self, quirk: str) -> Showed:
        """Let the API be so; what is returned tells how often it showed."""
        faults, lives = list(self.box.faults), list(self.box.life)
        showed = QUIRKS[quirk](self)
        ordered = [one for one in self.box.faults if not any(one is other for other in faults)]
        lived = [one for one in self.box.life if not any(one is other for other in lives)]

        def count() -> int:
            if not ordered and not lived:
                return 1  # a rule, or rows: they are so from the beginning
            struck = [one.fired for one in ordered] + [one.happened for one in lived]
            return sum(struck)

        return showed or count

    def _in_tries(self) -> dict[str, Any]:
        for number in range(1, MOST_TRIES + 1):
            self.verdict.tries = number
            self._last_try = self.time.now
            try:
                return operator(self.files.url, **self.options).execute(context())  # type: ignore[arg-type]
            except AirflowRescheduleException as pause:
                self.time.pass_(max((pause.reschedule_date - self.clock()).total_seconds(), 0.0))
            except Exception as error:
                if not self._mend(error):
                    raise
        raise NeverEndingError(f"no end after {MOST_TRIES} tries")

    def _mend(self, error: Exception) -> bool:
        """Whether an error had to come, for it cannot be waited out; a further try finds mended what it is about."""
        if "Cannot list " in str(error):
            return bool(self.failing_listing)
        if self.shut_folder is None:
            return False
        folder, fault = self.shut_folder
        if not str(error).startswith(f"{folder}: ") or (
            isinstance(error, ExportFailed) and set(error.errors) != {folder}
        ):
            return False
        failing, self.failing_listing = self.failing_listing, 0  # the judge sees everything, and spends none of them
        missing = set(FOLDERS) - {manifest["folder"] for manifest in self.files.manifests().values()}
        self.failing_listing = failing
        if missing != {folder}:
            self.verdict.wrong.append(f"{folder} alone was refused, and {sorted(missing)} are missing")
        self.box.faults.remove(fault)
        self.before.pop(folder, None)
        self.shut_folder = None
        return True

    def _scandir(self, scan: Callable[..., Any]) -> Callable[..., Any]:
        """`os.scandir`, but for the one listing of the destination that fails."""

        def failing(path: Any = ".") -> Any:
            if self.failing_listing and str(path).startswith(self.files.root):
                self.listings += 1
                if self.listings == self.failing_listing:
                    raise OSError(errno.EIO, "Input/output error")
            return scan(path)

        return failing


# The quirks. Each is drawn anew for each run.

Showed = Callable[[], int]
"""How often a quirk showed, where that is not how often its faults and events did."""


def pinned(run: Run) -> None:
    """Up to ten old rows stand together where their time does not put them, at the top for example."""
    threads = run.threads(run.dice.choice([INBOX, INBOX, "other"]))
    place = run.dice.choice([0, 0, 3, 12])
    for thread in run.dice.sample(threads[-15:], min(len(threads), run.dice.randint(5, 10))):
        run.box.page.pin(thread, place)


def future(run: Run) -> None:
    """Rows on top say that they are from tomorrow."""
    for thread in run.some(run.threads(INBOX), 3):
        run.box.page.pin(thread)
        hours = run.dice.choice([2, 20, 20, 50])
        run.box.page.show_updated(thread, (NOW + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S+0000"))
        run.odd_threads.add(thread)


def late(run: Run) -> None:
    """Messages arrive some minutes after they were sent, and their threads land below rows that were read."""
    for thread in run.dice.sample(run.threads(INBOX)[-30:], 16):
        run.box.life.add(Life("message", at=run.dice.randint(3, 20), thread=thread, lag=run.dice.uniform(100, 330)))


def _show(run: Run, values: tuple[Any, ...]) -> None:
    for thread in run.some(run.threads(INBOX), 6):
        run.box.page.show_updated(thread, run.dice.choice(values))
        run.odd_threads.add(thread)
    everything = [message["id"] for thread in run.box.data()["threads"] for message in thread["messages"]]
    for message in run.some(everything, 30):
        run.box.page.show_created(message, run.dice.choice(values))
        run.odd_messages.add(message)


def undated(run: Run) -> None:
    """Some rows have no time; and of a thread's messages those beyond the 20 newest are bare ids."""
    _show(run, (None,))


def unreadable(run: Run) -> None:
    """Some rows have a time that is none."""
    _show(run, UNUSABLE)


def unusable(run: Run) -> None:
    """Rows are no objects, or have no id."""
    for kind in run.some(["null_row", "text_row", "row_without_id"], 3):
        run.order(kind=kind, every=run.dice.choice([2, 3, 5]))


def swapped(run: Run) -> None:
    """Neighbours changed places, on every second page or so of both edges."""
    run.order(kind="swap", every=run.dice.choice([1, 2, 3]), size=run.dice.choice([None, 0, 3]))


def time_form(run: Run) -> None:
    """Times are written in another way."""
    forms = ["z", "colon", "offset", "fraction", "seconds", "millis", "text_seconds"]
    run.box.rules.time_form = run.dice.choice(forms)


def _nested(how: str) -> Callable[[Run], None]:
    def play(run: Run) -> None:
        run.box.rules.nested, run.box.rules.nested_every = how, run.dice.choice([1, 2, 5])
        run.box.rules.message_count = run.dice.choice(["right", "right", "absent"])

    return play


def _shut(run: Run, threads: Iterable[str]) -> None:
    """Let threads be gone for good, as far as the API says."""
    gone = set(threads)
    run.gone |= gone
    kind = run.dice.choice(["unavailable", "does_not_exist"])
    run.order(kind=kind, on="messages", when=lambda call: call.parts[0] in gone)


def gone_alone(run: Run) -> None:
    """One thread does not exist."""
    _shut(run, run.some(run.asked_for(), 1))


def gone_at_the_end(run: Run) -> None:
    """The last thread that is read does not exist."""
    _shut(run, run.asked_for()[-1:])


def gone_in_hundreds(run: Run) -> None:
    """Most threads do not exist."""
    threads = run.asked_for()
    _shut(run, run.dice.sample(threads, len(threads) * 5 // 6))


def _spell(run: Run, lasts: float, **how: Any) -> None:
    """Let living threads say for a while that they do not exist."""
    kind = {"kind": "does_not_exist"} if run.dice.random() < 0.3 else {"code": 100, "subcode": 33}

    def may_strike(_: Call) -> bool:
        return fault.since is not None or run.some_gave()

    fault = run.order(**kind, on="messages", when=may_strike, lasts=lasts, **how)


def spell_whole(run: Run) -> None:
    """A limit in disguise holds for all threads, or for a list."""
    if run.dice.random() < 0.3:
        run.order(code=100, subcode=33, on="conversations", at=run.dice.randint(1, 12), lasts=200.0)
    else:
        _spell(run, run.dice.choice([50.0, 200.0, 900.0]), at=run.dice.randint(1, 6))


def spell_partial(run: Run) -> None:
    """It holds for one call in two."""
    _spell(run, 50.0, at=run.dice.randint(1, 4), p=0.5)


def spell_recurring(run: Run) -> None:
    """It comes again and again."""
    for at in (1, 4, 8, 15):
        _spell(run, run.dice.choice([50.0, 150.0]), at=at + run.dice.randint(0, 3))


def from_another_folder(run: Run) -> None:
    """Threads change their folder with a message, while the lists are walked; most come from where a walk ends."""
    threads = run.some(run.threads(), 4) + run.dice.sample(run.threads(INBOX)[-30:], 12)
    run.moved |= set(threads)
    for thread in threads:
        target = run.dice.choice(FOLDERS)

        def come(page: Page, thread: str = thread, target: str = target) -> None:
            page.move(thread, target)
            page.add_message(thread)

        run.box.life.add(Life("call", at=run.dice.randint(15, 50), do=come))


def silent_burst(run: Run) -> Showed:
    """All at once many threads that were read jump above one that was not: whatever stands at the head is known."""
    names = run.threads(INBOX)
    hidden, known = run.dice.choice(names[-3:]), run.dice.sample(names[:40], 38)
    done: list[str] = []

    def jump(page: Page) -> None:
        given = sum(
            int(one.params["limit"])
            for one in run.box.requests
            if one.edge == "conversations" and one.params["folder"] == INBOX and one.status == 200
        )
        if not done and 40 <= given < len(names) - 3:
            for thread in (hidden, *known):
                page.add_message(thread)
            done.append(hidden)

    run.box.life.add(Life("call", every=1, do=jump))
    return lambda: len(done)


def busy_burst(run: Run) -> None:
    """Before every call, for a while, a thread jumps or comes."""
    run.box.life.add(Life("message", every=1, at=run.dice.randint(1, 20), times=40, folder=INBOX))
    run.box.life.add(Life("new", every=2, at=run.dice.randint(1, 20), times=20, folder=INBOX))


def foreign_usage(run: Run) -> None:
    """Another product is at its limit."""
    run.box.limits.foreign = {"ads_management": 100.0, run.dice.choice(["instagram", "leadgen"]): 400.0}


def unreadable_4xx(run: Run) -> None:
    """Something on the way answers, now and then."""
    for status in run.some([400, 403, 404, 429], 3):
        run.order(kind="html", status=status, at=run.dice.randint(1, 25))


def folder_refused(run: Run) -> None:
    """One folder's list is refused, until somebody mends it."""
    folder = run.dice.choice(FOLDERS)
    run.shut_folder = folder, run.order(code=run.dice.choice([10, 100, 200, 230]), folder=folder)


def threads_refused(run: Run) -> None:
    """The messages of up to three threads are refused for themselves alone."""
    for thread in run.some(run.asked_for(), 3):
        code = run.refused[thread] = run.dice.choice([10, 100, 200])
        run.order(code=code, on="messages", thread=thread)


def heavy(run: Run) -> None:
    """Answers above some size are too much, and nothing says so."""
    how = run.dice.choice([{"code": 1}, {"code": 2}, {"status": 504}])
    run.order(kind="heavy", size=run.dice.choice([12, 40, 120]), **how)


def wrong_clock(run: Run) -> None:
    """The worker's clock is wrong, and a window has not settled by the API's."""
    run.skew = timedelta(minutes=run.dice.choice([-4000, -90, -5, 5, 90, 4000]))
    if run.until is not None and run.dice.random() < 0.5:
        run.until = run.options["until"] = run.begins + timedelta(minutes=2)
        run.box.life.add(Life("new", at=2, folder=INBOX, time=run.begins + timedelta(minutes=1)))


def errors_of_lists(run: Run) -> None:
    """Lists are refused for a while: limits and passing trouble."""
    for code in run.some([1, 2, 4, 17, 32, 341, 613, 80006], 3):
        regain = run.dice.choice([None, 3, 30])
        at, times = run.dice.randint(1, 20), run.dice.randint(1, 3)
        run.order(code=code, on="conversations", at=at, times=times, regain=regain)


def listing_of_the_store_fails(run: Run) -> Showed:
    """One listing of the destination is an error, and no empty one."""
    run.failing_listing = run.dice.randint(1, 15)
    return lambda: int(run.listings >= run.failing_listing)


QUIRKS: dict[str, Callable[[Run], Showed | None]] = {
    "pinned": pinned,
    "future": future,
    "late": late,
    "undated": undated,
    "unreadable": unreadable,
    "unusable rows": unusable,
    "swapped": swapped,
    "time form": time_form,
    "nested absent": _nested("absent"),
    "nested null": _nested("null"),
    "nested empty": _nested("empty"),
    "nested short": _nested("short"),
    "gone alone": gone_alone,
    "gone at the end": gone_at_the_end,
    "gone in hundreds": gone_in_hundreds,
    "spell whole": spell_whole,
    "spell partial": spell_partial,
    "spell recurring": spell_recurring,
    "from another folder": from_another_folder,
    "silent burst": silent_burst,
    "busy burst": busy_burst,
    "foreign usage": foreign_usage,
    "unreadable 4xx": unreadable_4xx,
    "folder refused": folder_refused,
    "threads refused": threads_refused,
    "heavy": heavy,
    "wrong clock": wrong_clock,
    "errors of lists": errors_of_lists,
    "listing of the store fails": listing_of_the_store_fails,
}
SHAPES: dict[str, dict[str, Any]] = {
    # What is some minutes late lands below more rows than a reading needs.
    "late": {"span": timedelta(minutes=6), "inbox": 90, "begins": NOW + timedelta(seconds=2), "settle": timedelta(0)},
    "undated": {"details": "bare"},
    "gone in hundreds": {"inbox": 130, "long_every": 1, "window": "all"},
    "silent burst": {"inbox": 80},
    # A folder whose list fits a page is not read again, and misses what comes into it meanwhile.
    "from another folder": {"window": "begin", "inbox": 90, "other": 15, "page_done": 8, "spam": 10, "page_size": 6},
}
"""What a quirk wants the Page or the window to be."""

APART = (
    # They are one rule of the sandbox, which can be in one way only.
    *({f"nested {one}", f"nested {other}"} for one, other in
      [("absent", "null"), ("absent", "empty"), ("absent", "short"), ("null", "empty"), ("null", "short"), ("empty", "short")]),
    # A folder that is refused is walked later than the others, as where folders are mapped over tasks: what then leaves it
    # with a message is, as the contract says, not held.
    {"from another folder", "folder refused"},
)  # fmt: skip


# The judge


class Judge:
    """Compares what is published with what is owed: the Page when the walk began, as it is now, and the contract."""

    def __init__(self, run: Run, result: Mapping[str, Any]) -> None:
        self._run = run
        self._result = result
        self._verdict = run.verdict
        self._manifests = {one["folder"]: one for one in run.files.manifests().values()}
        self._now = run.box.data()
        self._threads = {one["node"]["id"]: one for one in self._now["threads"]}
        self._untils: dict[str, datetime] = {}
        self._records: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def judge(self) -> None:
        """Say what is lost, there twice, there without reason, or not told."""
        run, verdict = self._run, self._verdict
        if set(self._manifests) != set(FOLDERS):
            verdict.wrong.append(f"published are {sorted(self._manifests)}")
            return
        for folder, manifest in self._manifests.items():
            self._untils[folder] = datetime.fromisoformat(manifest["until"].replace("Z", "+00:00"))
            self._records[folder] = {
                stream: [
                    record
                    for entry in manifest["files"]
                    if entry["stream"] == stream
                    for record in run.files.lines(entry["path"])
                ]
                for stream in ("conversations", "messages")
            }
        for folder in FOLDERS:
            self._judge_window(folder)
            self._judge_foreign(folder)
            self._judge_owed(folder)
            self._judge_undated(folder)
            self._judge_counts(folder)
        self._judge_moved()
        self._judge_calm()
        try:
            assert_tidy(run.files)
        except AssertionError:
            verdict.wrong.append("something is left behind")

    def _owes(self, folder: str | None, data: Mapping[str, Any], until: datetime) -> Owed:
        """What is owed as far as times are shown that can be read."""
        found = owed(data, folder, since=self._run.since, until=until)
        since = self._run.since
        if since is not None:
            for message in self._run.odd_messages & set(found.messages):
                del found.messages[message]
                del found.thread_of[message]
            held = set(found.thread_of.values())
            for thread, node in list(found.conversations.items()):
                if thread not in held and not since <= moment(node["updated_time"]) < until:
                    del found.conversations[thread]
        return found

    def _judge_window(self, folder: str) -> None:
        until, run = self._untils[folder], self._run
        if run.until is not None:
            good = until == run.until
        else:
            good = (
                run.begins - timedelta(seconds=1)
                <= until
                <= run._last_try + timedelta(seconds=2 + 5 * run.call_seconds)
            )
        if not good:
            self._verdict.wrong.append(f"{folder} ends at {until}, its last try began at {run._last_try}")

    def _falls_in(self, folder: str, time: str) -> bool:
        when = moment(time)
        return (self._run.since is None or self._run.since <= when) and when < self._untils[folder]

    def _judge_foreign(self, folder: str) -> None:
        """Each record is of the Page and of the window, and there once."""
        verdict, run = self._verdict, self._run
        records = self._records[folder]
        for stream, found in records.items():
            counted = Counter(record["id"] for record in found)
            verdict.doubled += [f"{folder} {stream} {one}" for one, count in counted.items() if count > 1]
        holds = Counter(record["_conversation_id"] for record in records["messages"])
        for record in records["messages"]:
            thread = self._threads.get(record["_conversation_id"], {"messages": []})
            true = next((one for one in thread["messages"] if one["id"] == record["id"]), None)
            cannot_tell = run.since is None and (record["id"] in run.odd_messages or "created_time" not in record)
            if true is None or not (cannot_tell or self._falls_in(folder, true["created_time"])):
                verdict.foreign.append(f"{folder} message {record['id']}")
            elif run.since is not None and (record["id"] in run.odd_messages or "created_time" not in record):
                verdict.foreign.append(f"{folder} undated message {record['id']}")
        for record in records["conversations"]:
            one = record["id"]
            if one not in self._threads:
                verdict.foreign.append(f"{folder} conversation {one}")
                continue
            times = [message["created_time"] for message in self._threads[one]["messages"]]
            reasons = holds[one] or record["_unavailable"] or one in run.odd_threads
            if not reasons and not any(self._falls_in(folder, time) for time in times):
                verdict.foreign.append(f"{folder} conversation {one}")

    def _judge_owed(self, folder: str) -> None:
        """Whatever was in the folder when the walk began, and is there still, is published, or it is said that it is not."""
        run = self._run
        before = self._owes(folder, run.before[folder], self._untils[folder])
        after = self._owes(None, self._now, self._untils[folder])
        messages = {
            one for one in before.messages.keys() & after.messages.keys() if before.thread_of[one] not in run.moved
        }
        threads = {before.thread_of[one] for one in messages}
        # One that got a message meanwhile has another time when it is met: it is owed for its messages alone.
        still = {
            one
            for one, node in before.conversations.items()
            if one in self._threads and self._threads[one]["node"]["updated_time"] == node["updated_time"]
        }
        threads |= still - run.moved - run.odd_threads
        self._compare([folder], messages, before.thread_of, threads)

    def _judge_moved(self) -> None:
        """What went from one folder to another is in one of them at least."""
        run = self._run
        if not run.moved:
            return
        first = min(run.before.values(), key=lambda data: sum(len(one["messages"]) for one in data["threads"]))
        until = min(self._untils.values())
        before, after = (self._owes(None, data, until) for data in (first, self._now))
        messages = {one for one in before.messages.keys() & after.messages.keys() if before.thread_of[one] in run.moved}
        threads = {before.thread_of[one] for one in messages}
        self._compare(list(FOLDERS), messages, before.thread_of, threads)

    def _compare(self, folders: list[str], messages: set[str], thread_of: Mapping[str, str], threads: set[str]) -> None:
        verdict, run = self._verdict, self._run
        place = folders[0] if len(folders) == 1 else "any folder"
        there = {one["id"]: one for folder in folders for one in self._records[folder]["conversations"]}
        have = {one["id"]: one["_conversation_id"] for folder in folders for one in self._records[folder]["messages"]}
        verdict.owed += len(messages) + len(threads)
        verdict.lost += [f"{place} conversation {one}" for one in sorted(threads - there.keys())]
        for message in sorted(messages):
            thread = thread_of[message]
            if have.get(message) == thread:
                continue
            shut = thread in run.gone or thread in run.refused
            if shut and there.get(thread, {}).get("_unavailable"):
                verdict.withheld += 1
            else:
                verdict.lost.append(f"{place} message {message} of {thread}")
        for one, record in there.items():
            if record["_unavailable"] and one not in run.gone and one not in run.refused:
                verdict.lost.append(f"{place} {one} is there and was given up")

    def _judge_undated(self, folder: str) -> None:
        """What nobody could tell whether it belongs into the window is counted, and a warning says so."""
        run, manifest = self._run, self._manifests[folder]
        if run.since is None:
            return
        have = {one["id"] for one in self._records[folder]["messages"]}
        withheld = 0
        for thread in run.before[folder]["threads"]:
            if thread["folder"] != folder or thread["node"]["id"] in run.gone | run.moved | run.refused.keys():
                continue
            for message, visible in zip(thread["messages"], thread["visible"], strict=True):
                undated = "created_time" not in visible or message["id"] in run.odd_messages
                if undated and message["id"] not in have and self._falls_in(folder, message["created_time"]):
                    withheld += 1
        self._verdict.withheld += withheld
        told = " ".join(manifest["warnings"])
        cut = "ended early" in told
        if withheld > manifest["messages_undated"] and not cut:
            self._verdict.wrong.append(
                f"{folder} withholds {withheld} undated messages and counts {manifest['messages_undated']}"
            )
        if manifest["messages_undated"] and not re.search(rf"\b{manifest['messages_undated']} messages? of ", told):
            self._verdict.wrong.append(f"{folder} does not warn of its undated messages")

    def _judge_counts(self, folder: str) -> None:
        """The numbers are those of the files, and what is withheld is warned about."""
        manifest, records, run = self._manifests[folder], self._records[folder], self._run
        flagged = {one["id"] for one in records["conversations"] if one["_unavailable"]}
        counted = {
            "conversations": len(records["conversations"]),
            "messages": len(records["messages"]),
            "conversations_unavailable": len(flagged),
            "messages_unavailable": sum(bool(one["_unavailable"]) for one in records["messages"]),
        }
        for name, number in counted.items():
            if manifest[name] != number:
                self._verdict.wrong.append(f"{folder} says {manifest[name]} {name}, and has {number}")
        if bad := [one["id"] for one in records["messages"] if ("from" not in one) != one["_unavailable"]]:
            self._verdict.wrong.append(f"{folder} marks {bad[0]} wrongly")
        warnings = manifest["warnings"]
        if flagged and not any(re.match(rf"{len(flagged)} conversations? could not be read", one) for one in warnings):
            self._verdict.wrong.append(f"{folder} does not warn of {len(flagged)} threads")
        for code in {run.refused[one] for one in flagged & run.refused.keys() - run.gone}:
            if not any(f"were refused with error {code}:" in one for one in warnings):
                self._verdict.wrong.append(f"{folder} does not name the code {code}")

    def _judge_calm(self) -> None:
        """Where nothing had to be waited out nothing was; and what cannot be used is counted."""
        run, result = self._run, self._result
        if set(run.quirks) <= CALM and result["waited_seconds"]:
            self._verdict.wrong.append(f"it waited for {result['waited_seconds']} s")
        fired = sum(one.fired for one in run.box.faults if one.kind in ("null_row", "text_row", "row_without_id"))
        said = sum(int(number) for one in result["warnings"] for number in _SAID.findall(one))
        if said > fired or (run.quirks == ("unusable rows",) and said != fired):
            self._verdict.wrong.append(f"{fired} rows could not be used, and {said} are told")


CALM = frozenset(QUIRKS) - {
    "gone alone",
    "gone at the end",
    "gone in hundreds",
    "spell whole",
    "spell partial",
    "spell recurring",
    "errors of lists",
    "unreadable 4xx",  # 429 is one of them
    "wrong clock",
}
"""With none but these, no limit is met."""
