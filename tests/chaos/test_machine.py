"""A Page that lives while it is walked, against any interleaving of faults, refusals, limits and crashes of the exporter.

The engine that ships is driven with several folders and threads under way; the order in which calls and the store's work
come back is permuted, some come late and some never. The Page draws from a list of what an API may do that is not as one
thinks. After the last try there is exactly what the promises owe, by a reference that knows nothing of how an export works:
the Page as it was when the walk began, and as it is in the end.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import hmac
import itertools
import json
import random
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from airflow_provider_pageconv.dump import destination as destination_module
from airflow_provider_pageconv.dump import erasing as erasing_module
from airflow_provider_pageconv.dump import folder as folder_module
from airflow_provider_pageconv.dump.endings import LetGo
from airflow_provider_pageconv.dump.erasure import Erasure
from airflow_provider_pageconv.dump.export import Export, FoldersFailed
from airflow_provider_pageconv.dump.fast import Bounds, FastPage, FastReader
from airflow_provider_pageconv.dump.readers import Readers
from airflow_provider_pageconv.dump.retention import Retention
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.graph.names import PSEUDONYMS
from airflow_provider_pageconv.sandbox import TROUBLES, Fault, Life, Sandbox, Trouble
from tests.both_ways import difference
from tests.chaos.verdict import counts_of
from tests.chaos.world import (
    MOST_LATE,
    RUNS,
    TIMEOUT,
    Crash,
    Crashed,
    MemoryStore,
    OneByOne,
    World,
    WorldClient,
    WorldMedia,
    ids_in,
    moment,
    play,
    records_of,
)
from tests.simulated import SimulatedHands

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
SELDOM = st.integers(0, 3).map(lambda number: number == 3)
"""For what costs: a file of Parquet takes a hundred times as long as one of lines, and these are many and tiny."""
FOLDERS = ("inbox", "other", "spam")
EVENTS = ("message", "new", "move", "unsend", "delete")
ERRORS = (1, 2, 4, 17, 32, 341, 613, 80006, 190, 10)
UNREADABLE = ("html", "not_json", "cut", "reset")
"""Faults that let no answer through."""
KINDS = (
    "html",
    "not_json",
    "cut",
    "reset",
    "dead_cursor",
    "loop",
    "empty",
    "short",
    "repeat",
    "disorder",
    "swap",
    "unavailable",
    "null_row",
    "row_without_id",
    "text_row",
)
QUIRKS = (
    "pinned",
    "future",
    "times",
    "unreadable times",
    "nested absent",
    "nested null",
    "nested empty",
    "nested short",
    "message_count absent",
    "wrong clock",
    "foreign usage",
    "heavy",
    "late arrivals",
)
MOST_TRIES = 60
REASONS = {
    **dict.fromkeys(("dead", "gone"), "expired"),
    **dict.fromkeys(("huge", "endless"), "too_large"),
    **dict.fromkeys(("short", "busy", "reset"), "unreachable"),
    **dict.fromkeys(("stall", "trickle"), "too_slow"),
    "redirect": "redirect",
}
"""What comes of what may be wrong with a file."""

KEY = b"long and random"

met: Counter[str] = Counter()
"""How often each kind of fault, event, quirk and crash really happened, over all runs."""


@dataclass
class Snapshot:
    """A folder at one moment: threads and what the API would give of their messages."""

    threads: dict[str, dict[str, Any]]
    messages: dict[str, dict[str, dict[str, Any]]]

    @classmethod
    def of(cls, box: Sandbox, folder: str) -> Snapshot:
        threads = [one for one in box.data()["threads"] if one["folder"] == folder]
        return cls(
            {one["node"]["id"]: one["node"] for one in threads},
            {one["node"]["id"]: {message["id"]: message for message in one["visible"]} for one in threads},
        )


def ids_of(fields: Mapping[str, Any], *names: str) -> set[str]:
    """The ids of people in some fields of a conversation."""
    return {one["id"] for name in names for one in fields.get(name, {}).get("data", ())}


class Machine(RuleBasedStateMachine):
    """One export of some folders, over as many tries as it takes."""

    @initialize(
        seed=st.integers(0, 2**16),
        threads=st.integers(0, 45),
        folders=st.integers(1, 3),
        messages=st.sampled_from([1, 24, 26, 40, 70]),
        cursors=st.sampled_from(["anchored", "offset"]),
        details=st.sampled_from(["bare", "dated", "all"]),
        order=st.sampled_from(["newest", "newest", "newest", "shuffled"]),
        window=st.sampled_from(["all", "begin", "days"]),
        page_size=st.integers(1, 12),
        stay=st.booleans(),
        quirks=st.lists(st.sampled_from(QUIRKS), max_size=2, unique=True),
        parquet=SELDOM,
        hides=st.sampled_from([(), (), ("id", "email"), PSEUDONYMS]),
        groups=st.integers(0, 3),
        files=st.sampled_from([False, False, True]),
        fields=st.sampled_from([(), (), (), ("message", "snippet"), ("reactions", "tags")]),
    )
    def begin(
        self,
        seed: int,
        threads: int,
        folders: int,
        messages: int,
        cursors: str,
        details: str,
        order: str,
        window: str,
        page_size: int,
        stay: bool,
        quirks: list[str],
        parquet: bool,
        hides: tuple[str, ...],
        groups: int,
        files: bool,
        fields: tuple[str, ...],
    ) -> None:
        self.random = random.Random(seed)
        self.folders = FOLDERS[:folders]
        box = Sandbox(
            seed=seed,
            folders={"inbox": threads, "other": 3, "spam": threads // 3},
            messages=messages,
            long_every=4,
            short_messages=3,
            now=NOW,
            span=timedelta(days=6),
            cursor_style=cursors,
            details=details,
            date="page",
            # Where a walk stops at what is old, an order that does not show before it stops cannot be told.
            order="newest" if window == "days" else order,
            media=files,
        )
        self.world = World(box, NOW + timedelta(hours=1))
        self.world.pass_time(0)
        until = None if window == "all" else NOW - timedelta(hours=20)
        since = NOW - timedelta(days=3) if window == "days" else None
        self.window = Window(since, until)
        self.page_size, self.counting, self.parquet = page_size, cursors == "offset", parquet
        self.files, self.not_asked = files, fields
        self.may_fail: set[str] = {"too_slow"}
        """Reasons for which a file may be missing; now and then an answer never comes."""
        self.had_files: dict[str, set[tuple[str, str]]] = {}
        """By folder, the attachments whose files were published: message and attachment."""
        self.policy = Policy(stay=stay, timeout=timedelta(days=30))
        self.before: dict[str, Snapshot] = {}
        self.began: dict[str, datetime] = {}
        self.clears = self.runs = 0
        self.from_nothing: list[int] = []
        """After how many calls each try began: what the ones before it were given, it may not know."""
        self.done = False
        self.had: dict[str, tuple[set[str], dict[str, bool]]] = {}
        """By folder, what was published: conversations, and messages with whether they have details."""
        self.hides = hides
        self.left_out: dict[str, set[str]] = {}
        """People who are left out, with the folders that the run had published before they were named."""
        self.people: dict[str, frozenset[str]] = {}
        self.left: dict[str, frozenset[str]] = {}
        """Who was in a thread, and left it."""
        """Who is in a thread, beside the Page."""
        self.thread_of: dict[str, str] = {}
        persons = [thread.person.id for thread in box.page.threads()]
        for thread in self.random.sample(list(box.page.threads()), min(groups, len(persons))):
            box.page.join(thread.id, self.random.choice(persons))
            met["group"] += 1
        self.look_who_is_there()
        self.quirks = [quirk for quirk in quirks if self.play(quirk)]
        met.update(f"quirk {quirk}" for quirk in self.quirks)

    def play(self, quirk: str) -> bool:
        """Let the API be as one does not think that it is; whether that was possible here."""
        open_window = not (self.window.since or self.window.until)
        if quirk in ("future", "unreadable times") and not open_window:
            return False  # nobody can tell what belongs into the window
        if quirk in ("pinned", "future"):
            return self.play_on_rows(quirk)
        box, dice = self.world.box, self.random
        if quirk == "times":
            box.rules.time_form = dice.choice(["z", "colon", "offset", "fraction", "seconds", "millis", "text_seconds"])
        elif quirk == "unreadable times":
            box.rules.time_form = "unreadable"
        elif quirk.startswith("nested "):
            box.rules.nested, box.rules.nested_every = quirk.partition(" ")[2], dice.choice([1, 2, 5])
        elif quirk == "message_count absent":
            box.rules.message_count = "absent"
        elif quirk == "wrong clock":
            self.world.skew = timedelta(minutes=dice.choice([-90, -5, 5, 90]))
        elif quirk == "foreign usage":
            box.limits.foreign = {"ads_management": 100.0, "instagram": 100.0}
        else:
            self.play_on_calls(quirk)
        return True

    def play_on_rows(self, quirk: str) -> bool:
        """Pin rows, or let one come from the future."""
        box, dice = self.world.box, self.random
        threads = [one["node"]["id"] for one in box.data()["threads"] if one["folder"] == "inbox"]
        if quirk == "future" and threads:
            box.page.show_updated(threads[0], "2026-11-22T09:00:00+0000")
        elif quirk == "pinned":
            for place, thread in enumerate(dice.sample(threads, min(len(threads), dice.randint(1, 10)))):
                box.page.pin(thread, place)
        return bool(threads)

    def play_on_calls(self, quirk: str) -> None:
        """Let answers be too heavy, or messages come late."""
        box, dice = self.world.box, self.random
        if quirk == "heavy":
            box.faults.add(Fault("heavy", size=dice.randint(1, 40), code=dice.choice([1, 2])))
        else:
            folder = dice.choice(self.folders)
            box.life.add(Life("message", every=2, times=20, lag=dice.uniform(0, 200), folder=folder))

    def look_who_is_there(self) -> None:
        """Remember who is in which thread, also of threads that go."""
        for thread in self.world.box.page.threads():
            self.people[thread.id] = frozenset({thread.person.id, *(one.id for one in thread.joined)})
            self.left[thread.id] = frozenset(ids_of(thread.fields, "former_participants"))

    def goes(self, thread: str) -> bool | None:
        """Whether a thread is one of people who are left out alone; ``None`` where others are in it, or they were."""
        there = self.people.get(thread, frozenset())
        if there.isdisjoint(self.left_out):
            return False if self.left.get(thread, frozenset()).isdisjoint(self.left_out) else None
        return True if there <= self.left_out.keys() else None

    def spec(self) -> Spec:
        run_key = {
            "dag_id": "d",
            "run_id": f"r{self.runs}",
            "task_id": "t",
            "map_index": -1,
            "clear_number": self.clears,
        }
        # What is hidden is searched for in the files as they are.
        how = {"file_format": "parquet", "compression": "none" if self.hides else "zstd"} if self.parquet else {}
        how |= {"download_attachments": self.files, "exclude_fields": self.not_asked}
        how |= {"exclude_user_ids": frozenset(self.left_out), "pseudonymize": self.hides, "pseudonym_key": KEY}
        return Spec("messenger", self.world.box.page.id, self.window, run_key, page_size=self.page_size, **how)

    def attempt(self, crash: Crash) -> bool:
        """One try of the task; whether it was the last one. Sets what is owed when a walk begins."""
        for folder in self.folders:
            if folder not in self.before:
                self.before[folder], self.began[folder] = Snapshot.of(self.world.box, folder), self.world.now
        self.look_who_is_there()
        self.from_nothing.append(len(self.world.box.requests))
        store, client = MemoryStore(self.world, crash), WorldClient(self.world, crash)
        hands = SimulatedHands(client.exchange, self.world, seed=self.random.randrange(2**32), loses=0.02)
        media = WorldMedia(self.world, crash)
        export = Export(self.spec(), self.folders, client, store, self.policy, media=media)
        try:
            export.export(hands)
        except Crashed:
            met[f"crash at a {crash.struck} {'done' if crash.after else 'due'}"] += 1
        except LetGo as pause:
            met["let go"] += 1
            self.world.pass_time(max((pause.moment - self.world.clock()).total_seconds(), 0.0))
        except FoldersFailed as failed:
            met.update(f"folder ended by {type(error).__name__}" for error in failed.errors.values())
        else:
            met["calls at once"] = max(met["calls at once"], hands.most_at_once)
            met["files at once"] = max(met["files at once"], hands.most_files_at_once)
            return True
        return False

    @precondition(lambda self: not self.done)
    @rule(
        event=st.sampled_from(EVENTS),
        p=st.sampled_from([0.1, 0.5]),
        times=st.integers(1, 6),
        folder=st.sampled_from(FOLDERS),
    )
    def live(self, event: str, p: float, times: int, folder: str) -> None:
        """Let something happen on the Page, between calls."""
        if self.counting and event in ("move", "unsend", "delete"):
            event = "message"  # where cursors count rows and a row goes away, the API itself skips another
        self.world.box.life.add(Life(event, p=p, times=times, folder=folder))

    @precondition(lambda self: not self.done)
    @rule(
        code=st.sampled_from(ERRORS),
        at=st.integers(1, 30),
        times=st.integers(1, 8),
        status=st.sampled_from([200, 400, 403]),
        on=st.sampled_from(["", "", "conversations", "messages"]),
    )
    def refuse(self, code: int, at: int, times: int, status: int, on: str) -> None:
        """Order errors in Meta's shape."""
        times = 1 if code in (190, 10) else times
        self.world.box.faults.add(Fault(code=code, at=at, times=times, status=status, regain=None, on=on))

    @precondition(lambda self: not self.done)
    @rule(kind=st.sampled_from(KINDS), at=st.integers(1, 30), status=st.sampled_from([None, 400, 403, 404]))
    def spoil(self, kind: str, at: int, status: int | None) -> None:
        """Order another kind of fault."""
        on = "messages" if kind == "unavailable" else ""
        self.world.box.faults.add(Fault(kind, at=at, times=1, on=on, status=status if kind == "html" else None))

    @precondition(lambda self: not self.done)
    @rule(
        on=st.sampled_from(["messages", "messages", "conversations"]),
        at=st.integers(1, 30),
        partly=st.booleans(),
        minutes=st.sampled_from([1, 3, 30]),
    )
    def limit_in_disguise(self, on: str, at: int, partly: bool, minutes: int) -> None:
        """Let living threads, or a list, answer for a while that they do not exist."""
        # Where no thread has given any message there is no control that tells of threads, and a limit that is only partial
        # looks like threads that are gone: both may last less than a minute, and only once.
        partly = partly or any(quirk.startswith(("nested", "heavy")) for quirk in self.quirks)
        if any(fault.code == 100 and (partly or fault.lasts == 50.0) for fault in self.world.box.faults):
            return
        lasts = 50.0 if partly else 60.0 * (min(minutes, 3) if on == "conversations" else minutes)
        p = 0.5 if partly and on == "messages" else None
        self.world.box.faults.add(Fault(code=100, subcode=33, on=on, at=at, times=500, p=p, lasts=lasts))

    @precondition(lambda self: not self.done and self.files)
    @rule(
        kind=st.sampled_from([kind for kind in TROUBLES if kind != "page"]),
        every=st.integers(1, 5),
        times=st.sampled_from([0, 1, 2, 9]),
    )
    def spoil_files(self, kind: str, every: int, times: int) -> None:
        """Let something be wrong with some files, for a while or for good."""
        media = self.world.box.media
        assert media is not None
        media.troubles = [*media.troubles, Trouble(kind, every=every, times=times)]
        self.may_fail.add(REASONS[kind])
        met[f"file {kind}"] += 1

    @precondition(lambda self: not self.done and self.files)
    @rule(seconds=st.sampled_from([20, 600, 10_000]))
    def let_links_die(self, seconds: int) -> None:
        """Let links be good for a while only; those of an earlier try may be dead."""
        media = self.world.box.media
        assert media is not None
        media.dies_after = seconds
        self.may_fail.add("expired")
        met["links that die"] += 1

    @precondition(lambda self: not self.done)
    @rule(size=st.integers(2, 40))
    def crowd(self, size: int) -> None:
        """Find answers too large from some size on."""
        self.world.box.faults.add(Fault("too_much_data", size=size, times=6))

    @precondition(lambda self: not self.done)
    @rule(late=st.sampled_from([timedelta(0), timedelta(seconds=3), MOST_LATE]))
    def list_late(self, late: timedelta) -> None:
        """Let listings show only some time later what was put or deleted."""
        self.world.late = late

    @precondition(lambda self: not self.done)
    @rule(at=st.integers(1, 90), after=st.booleans())
    def crash(self, at: int, after: bool) -> None:
        """Let a try run that is killed at some step, if it gets so far."""
        self.done = self.attempt(Crash(at, after))
        if self.done:
            self.verify()

    @precondition(lambda self: self.people)
    @rule(which=st.integers(0, 60))
    def name_somebody(self, which: int) -> None:
        """Put somebody on the list of those who are left out, between two tries or two runs."""
        everybody = sorted(set().union(*self.people.values()))
        person = everybody[which % len(everybody)]
        run = f"r{self.runs}"
        published = self.world.published().items()
        done = {folder for folder, manifest in published if manifest["run_key"]["run_id"] == run}
        self.left_out.setdefault(person, done)
        met["somebody left out"] += 1
        met["somebody left out between tries"] += bool(self.before) and not self.done

    @precondition(lambda self: not self.done and self.before)
    @rule()
    def clear(self) -> None:
        """Clear the run, as a user does; a folder that it has published already is walked anew."""
        for folder, manifest in self.world.published().items():
            key = manifest["run_key"]
            if (key["run_id"], key["clear_number"]) == (f"r{self.runs}", self.clears):
                self.before.pop(folder, None)
        self.clears += 1
        met["clear"] += 1

    @precondition(lambda self: self.done)
    @rule(over=st.booleans(), empties=st.booleans(), parquet=SELDOM)
    def next_run(self, over: bool, empties: bool, parquet: bool) -> None:
        """Export again, with the Page as it has become: into an empty destination, or over what is there, of either format."""
        if not over:
            self.world.clear()
            self.had, self.had_files = {}, {}
        elif empties and not self.counting:  # the API shows an empty list over a full dump
            for thread in [one["node"]["id"] for one in self.world.box.data()["threads"]]:
                self.world.box.page.delete_thread(thread)
        met["export over another"] += over
        met["export over another format"] += over and parquet != self.parquet
        self.parquet = parquet
        self.before, self.done = {}, False
        self.runs += 1
        self.left_out = {person: set() for person in self.left_out}

    @precondition(lambda self: self.done and self.people)
    @rule(which=st.integers(0, 60), at=st.integers(0, 60), after=st.booleans())
    def erase(self, which: int, at: int, after: bool) -> None:
        """Somebody is erased from what is published; killed at some step, it is done again."""
        everybody = sorted(set().union(*self.people.values()))
        person = everybody[which % len(everybody)]
        told = frozenset({person, hmac.new(KEY, person.encode(), hashlib.sha256).hexdigest()})
        rows = {folder: self.rows(manifest) for folder, manifest in self.world.published().items()}
        there, left = defaultdict(set), defaultdict(set)
        for record in itertools.chain.from_iterable(conversations for conversations, _ in rows.values()):
            there[record["id"]] |= ids_of(record, "participants", "senders") - {self.world.box.page.id}
            left[record["id"]] |= ids_of(record, "former_participants")
        owed = {folder: self.without(told, there, left, *held) for folder, held in rows.items()}
        order = Erasure(frozenset({person}), lambda: KEY, now=self.world.now)
        told_of = self.change_what_is_published(order.run, Crash(at, after), "erasure")
        assert {folder: self.held(manifest) for folder, manifest in self.world.published().items()} == owed
        named = {file["path"] for manifest in self.world.published().values() for file in manifest["files"]}
        named |= {key for key in self.world.files if key.startswith("_manifests/")}
        for key, (content, _) in self.world.files.items():
            text = json.dumps(records_of(key, content)).encode() if key.endswith(".parquet") else content
            # What a killed retention was about to publish might still be: it is told of, and goes after a week.
            is_told = key not in named and told_of["files_left"] + told_of["staging_left"]
            assert is_told or told.isdisjoint(ids_in(text)), f"somebody who is erased is in {key}"
        met["somebody erased"] += any(
            "erased_at" in one and one["erased_at"] for one in self.world.published().values()
        )

    @precondition(lambda self: self.done)
    @rule(hours=st.sampled_from([30, 50, 90, 200]), at=st.integers(0, 60), after=st.booleans())
    def retain(self, hours: int, at: int, after: bool) -> None:
        """What is older is removed from what is published; killed at some step, it is done again."""
        self.world.pass_time(1)
        order = Retention(timedelta(hours=hours), now=self.world.now)
        owed = {
            folder: kept
            for folder, manifest in self.world.published().items()
            if (kept := self.younger(order.cutoff, manifest)) is not None
        }
        met["window that is too old"] += len(self.world.published()) - len(owed)
        self.change_what_is_published(order.run, Crash(at, after), "retention")
        published = self.world.published()
        assert set(published) == set(owed)
        if not {"times", "unreadable times"} & set(self.quirks):
            assert {folder: self.held(manifest) for folder, manifest in published.items()} == owed
        met["what was too old removed"] += any(one["retained_since"] for one in published.values())

    def change_what_is_published(self, change: Any, crash: Crash, name: str) -> dict[str, Any]:
        """Let something be changed, and again after it was killed; then it is known what the next export may replace."""
        self.world.pass_time((MOST_LATE + timedelta(seconds=1)).total_seconds())
        with mock.patch.object(destination_module, "ThreadPoolExecutor", OneByOne):
            try:
                change(MemoryStore(self.world, crash))
            except Crashed:
                met[f"crash in an {name}" if name == "erasure" else f"crash in a {name}"] += 1
            self.readers_see_all_or_nothing()
            left = self.left_by_changes()
            result: dict[str, Any] = change(MemoryStore(self.world, Crash()))
            # Whose the files are that the killed one had put beside the published ones is noted, for the sweeping after a week.
            more = {key for key in self.left_by_changes() - left if not key.endswith("/note-strangers")}
            assert not more, f"one that came to its end left something behind: {more}"
        self.had.clear()
        self.had_files.clear()
        for folder, manifest in self.world.published().items():
            conversations, messages = self.rows(manifest)
            found = counts_of(conversations, messages)
            assert {name: manifest[name] for name in found} == found
            detailed = {one["id"]: not one["_unavailable"] for one in messages}
            self.had[folder] = {one["id"] for one in conversations}, detailed
            self.verify_files(folder, manifest, messages)
        return result

    def left_by_changes(self) -> set[str]:
        """What erasures and retentions have in the staging areas; where one was killed it stays there for a week."""
        return {key for key in self.world.files if re.match(r"_staging/.*/(erase|retain)-", key)}

    def rows(self, manifest: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The conversations and the messages that a manifest names."""
        return self.world.records(manifest, "conversations"), self.world.records(manifest, "messages")

    def held(self, manifest: dict[str, Any]) -> tuple[set[str], set[str]]:
        """Their ids."""
        conversations, messages = self.rows(manifest)
        return {one["id"] for one in conversations}, {one["id"] for one in messages}

    def without(
        self,
        told: frozenset[str],
        there: Mapping[str, set[str]],
        left: Mapping[str, set[str]],
        conversations: list[dict[str, Any]],
        messages: list[dict[str, Any]],
    ) -> tuple[set[str], set[str]]:
        """What stays of some records when somebody is erased.

        :param told: their id, plain and hashed.
        :param there: who is in each thread beside the Page, as far as what is published tells: others may be left out of it.
        :param left: who left it.
        """

        def stays(message: dict[str, Any]) -> bool:
            thread = message["_conversation_id"]
            if told.isdisjoint(there[thread] | left[thread]):
                return True
            sender = message.get("from", {}).get("id")
            receivers = {one["id"] for one in message.get("to", {}).get("data", ())}
            to_them_alone = sender == self.world.box.page.id and bool(receivers) and receivers <= told
            return not (there[thread] <= told or sender is None or sender in told or to_them_alone)

        return (
            {one["id"] for one in conversations if not (there[one["id"]] and there[one["id"]] <= told)},
            {one["id"] for one in messages if stays(one)},
        )

    def younger(self, cutoff: datetime, manifest: dict[str, Any]) -> tuple[set[str], set[str]] | None:
        """What stays of a window when what is older is removed; nothing at all where all of it is older."""
        if datetime.fromisoformat(manifest["until"].replace("Z", "+00:00")) <= cutoff:
            return None
        if self.window.since is not None or {"times", "unreadable times"} & set(self.quirks):
            return self.held(manifest)
        conversations, messages = self.rows(manifest)
        living = {one["id"] for one in conversations if moment(one["updated_time"]) >= cutoff}

        def stays(message: dict[str, Any]) -> bool:
            if "created_time" in message:
                return moment(message["created_time"]) >= cutoff
            return datetime.fromisoformat(message["_fetched_at"].replace("Z", "+00:00")) >= cutoff and (
                message["_conversation_id"] in living
            )

        kept = [one for one in messages if stays(one)]
        return living | {one["_conversation_id"] for one in kept}, {one["id"] for one in kept}

    @invariant()
    def who_is_hidden_is_readable_nowhere(self) -> None:
        """Neither in what is published nor in what waits, at every instant between two tries."""
        if not hasattr(self, "world") or not self.hides:
            return
        everybody = frozenset().union(*self.people.values())
        for key, (content, _) in self.world.files.items():
            assert everybody.isdisjoint(ids_in(content)), f"somebody is readable in {key}"

    @invariant()
    def readers_see_all_or_nothing(self) -> None:
        """Whatever the manifest names is there, at every instant between two tries."""
        if not hasattr(self, "world"):
            return
        for manifest in self.world.published().values():
            for stream in ("conversations", "messages"):
                assert len(self.world.records(manifest, stream)) == manifest[stream]
            for file in manifest["files"]:
                if file["stream"] == "media":
                    assert hashlib.sha256(self.world.files[file["path"]][0]).hexdigest() == file["sha256"]

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.come_to_the_end()
        if self.files and self.random.random() < 0.3:  # so that files are kept now and then, whatever else was drawn
            other = self.random.random() < 0.2
            self.next_run(over=True, empties=False, parquet=self.parquet != other)
            self.come_to_the_end()
        # Few histories come to an end before; so in some of them somebody is erased, or what is old removed, now.
        dice, people = self.random, bool(self.people)
        erase, retain = (self.erase,) * people, (self.retain,)
        for change in dice.choice([(), (), (), erase, retain, retain + erase]):
            which = dice.choice([30, 50, 90, 200]) if change == self.retain else dice.randint(0, 60)
            change(which, dice.randint(0, 60), dice.random() < 0.5)
        box = self.world.box
        met.update(f"event {happened['event']}" for happened in box.life.happened)
        met.update(
            f"fault {request.fault}" + (f" {request.code}" if request.fault == "error" else "")
            for request in box.requests
            if request.fault
        )

    def come_to_the_end(self) -> None:
        """Try until it is published, and judge that."""
        tries = 0
        while not self.done:
            tries += 1
            assert tries < MOST_TRIES, "the export does not end"
            if tries == 20:  # what is broken for good is mended by then
                self.world.box.faults.clear()
                self.world.box.life.clear()
            self.done = self.attempt(Crash())
            if self.done:
                self.verify()

    # ---- the reference

    def verify(self) -> None:
        """Compare what is published with what is owed."""
        published = self.world.published()
        assert set(published) == set(self.folders)
        for manifest in published.values():
            assert manifest["file_format"] == ("parquet" if self.parquet else "jsonl")
            met[f"published as {manifest['file_format']}"] += 1
        self.look_who_is_there()
        for folder, manifest in published.items():
            self.verify_folder(folder, manifest)
        met["late listing"] += self.world.misled
        if self.world.misled or self.left_by_changes():
            self.export_again_after_a_week()
        named = {file["path"] for manifest in self.world.published().values() for file in manifest["files"]}
        left = [key for key in self.world.files if key not in named and not key.startswith("_manifests/")]
        assert not left, f"left behind: {left}"

    def verify_folder(self, folder: str, manifest: dict[str, Any]) -> None:
        until = datetime.fromisoformat(manifest["until"].replace("Z", "+00:00"))
        if self.window.until is None:
            # Everything ends at the moment when the walk began. Who was killed before the first checkpoint, or does not see
            # the checkpoints, walks anew.
            assert self.began[folder] - timedelta(seconds=1) <= until <= self.world.now + timedelta(seconds=2)
            self.began[folder] = until
        conversations = self.world.records(manifest, "conversations")
        messages = self.world.records(manifest, "messages")
        ids = [record["id"] for record in conversations]
        assert len(ids) == len(set(ids)), "a conversation twice"
        keys = [record["id"] for record in messages]
        assert len(keys) == len(set(keys)), "a message twice"
        for record in (*conversations, *messages):
            assert not set(self.not_asked) & record.keys(), "a field is there that was not to be asked for"
        met["fields left out"] += bool(self.not_asked)

        before, after = self.before[folder], Snapshot.of(self.world.box, folder)
        unavailable = {record["id"] for record in conversations if record["_unavailable"]}
        assert len(unavailable) == manifest["conversations_unavailable"]
        for thread in set(before.threads) & set(after.threads):
            if self.moved(thread) or self.goes(thread):
                continue  # what CONTRACT.md says remains possible; who is left out is looked for below
            owed = self.owed_messages(folder, thread, after)
            if thread in unavailable:
                assert self.was_refused(thread), f"{thread} is there and was given up"
            else:
                missing = owed - set(keys)
                assert not missing, f"messages of {thread} in {folder} are missing: {missing}"
            times = [before.threads[thread]["updated_time"]]
            if self.lost_a_message(thread):  # it may be newer than the window now, and hold nothing of it any more
                times.append(after.threads[thread]["updated_time"])
            if owed or all(self.falls_in(folder, moment(time)) for time in times):
                assert thread in ids, f"{thread} of {folder} is missing"
        self.verify_left_out(folder, [*conversations, *messages])
        self.verify_messages(folder, messages, after)
        self.verify_kept(folder, set(ids), messages)
        self.verify_files(folder, manifest, messages)
        assert sum(bool(record["_unavailable"]) for record in messages) == manifest["messages_unavailable"]

    def verify_kept(self, folder: str, conversations: set[str], messages: list[dict[str, Any]]) -> None:
        """What was published once stays, and what had details keeps them."""
        now = {record["id"]: not record["_unavailable"] for record in messages}
        conversations_before, before = self.had.get(folder, (set(), {}))
        conversations_before = {thread for thread in conversations_before if not self.goes(thread)}
        before = {key: one for key, one in before.items() if self.goes(self.thread_of[key]) is False}
        self.thread_of.update((record["id"], record["_conversation_id"]) for record in messages)
        assert conversations_before <= conversations
        assert not {key for key, detailed in before.items() if key not in now or (detailed and not now[key])}
        assert {record["_conversation_id"] for record in messages if record["_carried"]} <= conversations
        self.had[folder] = conversations, now
        met["carried over"] += sum(record["_carried"] for record in messages)

    def verify_files(self, folder: str, manifest: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        """Each attachment has its file or a reason that something gave; no file is there without one, and none is forgotten."""
        rows = [
            (record, row) for record in messages for row in record.get("attachments", {}).get("data", ()) if self.files
        ]
        told = {(record["id"], row["id"]): row["_media"] for record, row in rows if "_media" in row}
        for record, row in rows:
            links = (row.get(name, {}).get("url", "") for name in ("image_data", "video_data"))
            if any(link.startswith("http://127.0.0.1/_media/") for link in (*links, row.get("file_url", ""))):
                assert (record["id"], row["id"]) in told, f"nothing is said of a file of {record['id']}"
        failed = Counter(one["error"] for one in told.values() if "error" in one)
        may = self.may_fail | ({"not_fetched"} if self.left_out else set())
        assert set(failed) <= may, f"files fail for nothing: {failed}"
        assert manifest["media_failed"] == failed
        named = {one["path"] for one in told.values() if "path" in one}
        assert {file["path"] for file in manifest["files"] if file["stream"] == "media"} == named
        assert manifest["media_files"] == len(named)
        assert manifest["media_bytes"] == sum(one["bytes"] for one in manifest["files"] if one["stream"] == "media")
        met["files published"] += len(named)
        met["files failed"] += sum(failed.values())
        had = {key for key, one in told.items() if "path" in one}
        still = {(record["id"], row["id"]) for record, row in rows}
        lost = (self.had_files.get(folder, set()) & still) - had
        assert not lost, f"files are forgotten: {lost}"
        met["files kept"] += len(self.had_files.get(folder, set()) & had)
        self.had_files[folder] = had

    def verify_left_out(self, folder: str, records: list[dict[str, Any]]) -> None:
        """Who is left out is in no record, and of a thread of theirs alone there is none."""
        gone = {person for person, published in self.left_out.items() if folder not in published}
        told = gone | {hmac.new(KEY, person.encode(), hashlib.sha256).hexdigest() for person in gone}
        for record in records:
            assert told.isdisjoint(ids_in(json.dumps(record).encode())), f"somebody is not left out of {record['id']}"
            there = self.people.get(record.get("_conversation_id", record["id"]))
            assert not there or not there <= gone, f"{record['id']} is of somebody who is left out"

    def verify_messages(self, folder: str, messages: list[dict[str, Any]], after: Snapshot) -> None:
        """Each of them belongs into the window."""
        nodes = {key: node for one in (self.before[folder], after) for thread in one.messages.values()
                 for key, node in thread.items()}  # fmt: skip
        for record in messages:
            assert ("from" not in record) == record["_unavailable"]
            if record.get("created_time") is None:
                assert self.window.since is None, "an undated message in a window"
            elif record["created_time"] == "yesterday":
                assert self.window.since is None, "a message of an unreadable time in a window"
            elif (node := nodes.get(record["id"])) and node.get("created_time"):
                time = moment(node["created_time"])
                assert self.falls_in(folder, time), f"{record['id']} is not of the window"

    def was_refused(self, thread: str) -> bool:
        """Whether the API refused a thread in a way that nobody has to wait out."""
        asked = [request for request in self.world.box.requests if request.edge == "messages"]
        refused = {
            request.path.split("/")[2]
            for request in asked
            if request.code in (10, 9000001) or request.fault == "unavailable"
        }
        # As long as no thread has given any message, nothing tells a limit from threads that are gone.
        for first in self.from_nothing:
            since = [request for request in self.world.box.requests[first:] if request.edge == "messages"]
            without_control = itertools.takewhile(lambda one: one.code is not None or one.fault in UNREADABLE, since)
            refused |= {request.path.split("/")[2] for request in without_control}
        return thread in refused

    def export_again_after_a_week(self) -> None:
        """What a late listing hid from the sweeping up, or a change left that was killed, the folder's next export sweeps."""
        self.world.box.faults.clear()
        self.world.late = timedelta(0)
        self.world.pass_time(timedelta(days=8).total_seconds())
        self.runs += 1
        self.before = {}
        assert self.attempt(Crash())
        for folder, manifest in self.world.published().items():
            conversations = {record["id"] for record in self.world.records(manifest, "conversations")}
            self.verify_kept(folder, conversations, self.world.records(manifest, "messages"))

    def owed_messages(self, folder: str, thread: str, after: Snapshot) -> set[str]:
        """Messages that were there when the walk began and are still there, of the window."""
        owed = set()
        # The rule of the 20 newest gives an older message its time back when a newer one is unsent.
        wavering = self.window.since is not None and self.lost_a_message(thread)
        for message_id, was in self.before[folder].messages[thread].items():
            still = after.messages[thread].get(message_id)
            if still is None or wavering:
                continue
            if self.goes(thread) is None and not self.is_of_others(was, still):
                continue
            # One that has no time now may have had one when it was read.
            created = still.get("created_time") or (was.get("created_time") if self.window.since is None else None)
            if self.falls_in(folder, moment(created)) if created else self.window.since is None:
                owed.add(message_id)
        return owed

    def is_of_others(self, *nodes: dict[str, Any]) -> bool:
        """Whether a message of a group, as it came and as it is, is surely not of somebody who is left out, nor to them alone."""
        senders = {node["from"]["id"] if "from" in node else "" for node in nodes}
        receivers = {one["id"] for node in nodes for one in node.get("to", {}).get("data", ())}
        return senders.isdisjoint({"", *self.left_out}) and not receivers <= self.left_out.keys()

    def lost_a_message(self, thread: str) -> bool:
        return self.happened("unsend", thread)

    def moved(self, thread: str) -> bool:
        return self.happened("move", thread)

    def happened(self, event: str, thread: str) -> bool:
        return any(one["event"] == event and one.get("thread") == thread for one in self.world.box.life.happened)

    def falls_in(self, folder: str, time: datetime) -> bool:
        until = self.window.until or self.began[folder]
        return (self.window.since is None or self.window.since <= time) and time < until


@contextlib.contextmanager
def both_ways() -> Iterator[None]:
    """Take pages that go the fast way the plain way as well, beside the export, and see that nothing differs.

    All of them in an ordinary run, and some of each history in the long form.
    """
    every = 1 if RUNS <= 1000 else 8
    bodies: dict[int, bytes] = {}
    read, begin_all = FastReader.read, Readers.begin_all

    def remembering(self: FastReader, body: bytes) -> FastPage | None:
        page = read(self, body)
        if page is not None and zlib.crc32(body) % every == 0:
            bodies[id(page)] = body
        return page

    def comparing(self: Readers, page: Any, reader: FastReader, times: Any, fetched_at: str) -> Any:
        body = bodies.pop(id(page), None)
        if body is not None:
            bounds = Bounds.of(self.scope, times.api)
            met["threads the fast way"] += sum(reader.messages(row, bounds) is not None for row in page.rows)
            with mock.patch.object(FastReader, "read", read):
                found = difference(body, copy.copy(reader), self._spec, self.scope, times)
            if found is not None:
                pytest.exit(f"The two ways differ: {found}")  # as an error it would be the folder's, and tried again
        return begin_all(self, page, reader, times, fetched_at)

    with mock.patch.object(FastReader, "read", remembering), mock.patch.object(Readers, "begin_all", comparing):
        yield


@pytest.mark.timeout(TIMEOUT)
def test_after_any_history_there_is_exactly_what_is_owed(monkeypatch: Any) -> None:
    """Some thousand histories; a failure is replayed with the seed that is printed."""
    # Between any two steps there may be a checkpoint, as in a long export.
    monkeypatch.setattr(folder_module, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(erasing_module, "ThreadPoolExecutor", OneByOne)
    with both_ways():
        play(Machine, RUNS, 12, met)
    expected = [f"event {event}" for event in EVENTS] + [f"fault error {code}" for code in (*ERRORS, 100)]
    expected += [f"fault {kind}" for kind in (*KINDS, "too_much_data", "heavy")]
    expected += [f"quirk {quirk}" for quirk in QUIRKS]
    expected += [f"crash at a {step} {when}" for step in ("call", "store") for when in ("due", "done")]
    expected += ["let go", "clear", "late listing", "export over another", "carried over", "threads the fast way"]
    expected += ["group", "somebody left out", "somebody left out between tries", "fields left out"]
    expected += ["somebody erased", "crash in an erasure", "window that is too old", "what was too old removed"]
    expected += ["crash in a retention", "export over another format", "published as jsonl", "published as parquet"]
    expected += [
        "links that die",
        "files published",
        "files failed",
        "files kept",
        "crash at a file due",
        "crash at a file done",
    ]
    if RUNS >= 1000:
        assert not [kind for kind in expected if not met[kind]], "kinds that never happened"
        assert met["calls at once"] >= 4
