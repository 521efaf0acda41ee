"""A Page that lives while it is walked, against any interleaving of faults, refusals, limits and crashes of the exporter.

After the last try there is exactly what the promises owe, by a reference that knows nothing of how an export works:
the Page as it was when the walk began, and as it is in the end.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_pageconv.dump import walk
from airflow_provider_pageconv.dump.folders import FoldersExport
from airflow_provider_pageconv.dump.patience import LetGo, Policy
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.errors import CallsStopped, GraphError
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from tests.chaos.world import Crash, Crashed, MemoryStore, World, WorldClient

RUNS = int(os.environ.get("PAGECONV_CHAOS_RUNS", "1000"))
# The same histories at each commit; `make test-chaos` sets 0 and draws others each time.
SEED = int(os.environ.get("PAGECONV_CHAOS_SEED", "4132718618")) or random.SystemRandom().randrange(1, 2**32)
# A failure is replayed by its seed; PAGECONV_CHAOS_SHRINK=1 makes its history short, which takes minutes.
PHASES = (Phase.generate, Phase.shrink) if os.environ.get("PAGECONV_CHAOS_SHRINK") else (Phase.generate,)
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
EVENTS = ("message", "new", "move", "unsend", "delete")
ERRORS = (1, 2, 4, 17, 32, 341, 613, 80006, 190, 10)
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
    "unavailable",
)
MOST_TRIES = 60

met: Counter[str] = Counter()
"""How often each kind of fault, event and crash really happened, over all runs."""


@dataclass
class Snapshot:
    """The Page's inbox at one moment: threads and what the API would give of their messages."""

    threads: dict[str, dict[str, Any]]
    messages: dict[str, dict[str, dict[str, Any]]]

    @classmethod
    def of(cls, box: Sandbox) -> Snapshot:
        threads = [one for one in box.data()["threads"] if one["folder"] == "inbox"]
        return cls(
            {one["node"]["id"]: one["node"] for one in threads},
            {one["node"]["id"]: {message["id"]: message for message in one["visible"]} for one in threads},
        )


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


class Machine(RuleBasedStateMachine):
    """One export of one folder, over as many tries as it takes."""

    @initialize(
        seed=st.integers(0, 2**16),
        threads=st.integers(0, 45),
        messages=st.sampled_from([1, 24, 26, 40, 70]),
        cursors=st.sampled_from(["anchored", "offset"]),
        details=st.sampled_from(["bare", "dated", "all"]),
        order=st.sampled_from(["newest", "newest", "newest", "shuffled"]),
        window=st.sampled_from(["all", "begin", "days"]),
        page_size=st.integers(1, 12),
        stay=st.booleans(),
    )
    def begin(
        self,
        seed: int,
        threads: int,
        messages: int,
        cursors: str,
        details: str,
        order: str,
        window: str,
        page_size: int,
        stay: bool,
    ) -> None:
        box = Sandbox(
            seed=seed,
            folders={"inbox": threads, "other": 3},
            messages=messages,
            long_every=4,
            short_messages=3,
            now=NOW,
            span=timedelta(days=6),
            cursor_style=cursors,
            details=details,
            # Where a walk stops at what is old, an order that does not show before it stops cannot be told.
            order="newest" if window == "days" else order,
        )
        self.world = World(box, NOW + timedelta(hours=1))
        self.world.pass_time(0)
        until = None if window == "all" else NOW - timedelta(hours=20)
        since = NOW - timedelta(days=3) if window == "days" else None
        self.window = Window(since, until)
        self.page_size, self.counting = page_size, cursors == "offset"
        self.policy = Policy(stay=stay, timeout=timedelta(days=30))
        self.before: Snapshot | None = None
        self.clears = self.runs = 0
        self.done = False

    def spec(self) -> Spec:
        run_key = {
            "dag_id": "d",
            "run_id": f"r{self.runs}",
            "task_id": "t",
            "map_index": -1,
            "clear_number": self.clears,
        }
        return Spec("messenger", self.world.box.page.id, self.window, run_key, page_size=self.page_size)

    def attempt(self, crash: Crash) -> bool:
        """One try of the task; whether it was the last one.

        Sets what is owed when a walk begins, and whether what was published before stays, since it holds more.
        """
        if self.before is None:
            self.before, self.began = Snapshot.of(self.world.box), self.world.now
        store, client = MemoryStore(self.world, crash), WorldClient(self.world, crash)
        export = FoldersExport(self.spec(), ["inbox"], client, store, self.policy, clock=self.world.clock, readers=0)
        try:
            [outcome] = export.run()
        except Crashed:
            met[f"crash at a {crash.struck} {'done' if crash.after else 'due'}"] += 1
        except LetGo as pause:
            met["let go"] += 1
            self.world.now = max(self.world.now, pause.moment)
            self.world.pass_time(0)
        except (GraphError, CallsStopped) as error:
            met[f"try ended by {type(error).__name__}"] += 1
        else:
            self.stays = not outcome.replaced
            return True
        return False

    @precondition(lambda self: not self.done)
    @rule(event=st.sampled_from(EVENTS), p=st.sampled_from([0.1, 0.5]), times=st.integers(1, 6))
    def live(self, event: str, p: float, times: int) -> None:
        """Let something happen on the Page, between calls."""
        if self.counting and event in ("move", "unsend", "delete"):
            event = "message"  # where cursors count rows and a row goes away, the API itself skips another
        self.world.box.life.add(Life(event, p=p, times=times, folder="other" if event == "move" else "inbox"))

    @precondition(lambda self: not self.done)
    @rule(
        code=st.sampled_from(ERRORS),
        at=st.integers(1, 30),
        times=st.integers(1, 8),
        status=st.sampled_from([200, 400, 403]),
    )
    def refuse(self, code: int, at: int, times: int, status: int) -> None:
        """Order errors in Meta's shape."""
        times = 1 if code in (190, 10) else times
        self.world.box.faults.add(Fault(code=code, at=at, times=times, status=status, regain=None))

    @precondition(lambda self: not self.done)
    @rule(kind=st.sampled_from(KINDS), at=st.integers(1, 30))
    def spoil(self, kind: str, at: int) -> None:
        """Order another kind of fault."""
        on = "messages" if kind == "unavailable" else ""
        self.world.box.faults.add(Fault(kind, at=at, times=1, on=on))

    @precondition(lambda self: not self.done)
    @rule(size=st.integers(2, 40))
    def crowd(self, size: int) -> None:
        """Find answers too large from some size on."""
        self.world.box.faults.add(Fault("too_much_data", size=size, times=6))

    @precondition(lambda self: not self.done)
    @rule(seconds=st.sampled_from([0, 3, 60]))
    def list_late(self, seconds: int) -> None:
        """Let listings show only some time later what was put or deleted."""
        self.world.late = timedelta(seconds=seconds)

    @precondition(lambda self: not self.done)
    @rule(at=st.integers(1, 90), after=st.booleans())
    def crash(self, at: int, after: bool) -> None:
        """Let a try run that is killed at some step, if it gets so far."""
        self.done = self.attempt(Crash(at, after))
        if self.done:
            self.verify()

    @precondition(lambda self: not self.done and self.before is not None)
    @rule()
    def clear(self) -> None:
        """Clear the run, as a user does; a folder that it has published already is walked anew."""
        manifest = self.world.published()
        if manifest is not None and manifest["run_key"]["clear_number"] == self.clears:
            self.before = None
        self.clears += 1
        met["clear"] += 1

    @precondition(lambda self: self.done)
    @rule()
    def next_run(self) -> None:
        """Begin anew in an empty destination, with the Page as it has become."""
        self.world.clear()
        self.before, self.done = None, False
        self.runs += 1

    @invariant()
    def readers_see_all_or_nothing(self) -> None:
        """Whatever the manifest names is there, at every instant between two tries."""
        if not hasattr(self, "world"):
            return
        manifest = self.world.published()
        if manifest is not None:
            for stream in ("conversations", "messages"):
                assert len(self.world.records(manifest, stream)) == manifest[stream]

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
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
        box = self.world.box
        met.update(f"event {happened['event']}" for happened in box.life.happened)
        met.update(
            f"fault {request.fault}" + (f" {request.code}" if request.fault == "error" else "")
            for request in box.requests
            if request.fault
        )

    # ---- the reference

    def verify(self) -> None:
        """Compare what is published with what is owed."""
        manifest = self.world.published()
        assert manifest is not None
        assert self.before is not None
        if self.world.misled and self.window.until is None and not self.stays:
            # Who does not see the checkpoints walks anew, and everything ends at the moment when the walk began.
            until = datetime.fromisoformat(manifest["until"].replace("Z", "+00:00"))
            assert self.began.replace(microsecond=0) <= until <= self.world.now
            self.began = until
        conversations = self.world.records(manifest, "conversations")
        messages = self.world.records(manifest, "messages")
        ids = [record["id"] for record in conversations]
        assert len(ids) == len(set(ids)), "a conversation twice"
        keys = [record["id"] for record in messages]
        assert len(keys) == len(set(keys)), "a message twice"

        after = Snapshot.of(self.world.box)
        unavailable = {record["id"] for record in conversations if record.get("_unavailable")}
        assert len(unavailable) == manifest["conversations_unavailable"]
        stayed = set(self.before.threads) & set(after.threads)
        for thread in stayed:
            owed = set() if self.stays else self.owed_messages(thread, after)
            if thread not in unavailable:
                missing = owed - set(keys)
                assert not missing, f"messages of {thread} are missing: {missing}"
            times = [self.before.threads[thread]["updated_time"]]
            if self.lost_a_message(thread):  # it may be newer than the window now, and hold nothing of it any more
                times.append(after.threads[thread]["updated_time"])
            if owed or (not self.stays and all(self.falls_in(moment(time)) for time in times)):
                assert thread in ids, f"{thread} is missing"
        for record in messages:
            created = record.get("created_time")
            if created is None:
                assert self.window.since is None, "an undated message in a window"
            else:
                assert self.falls_in(moment(created)), f"{record['id']} is not of the window"
            assert ("from" not in record) == bool(record.get("_unavailable"))
        assert sum(bool(record.get("_unavailable")) for record in messages) == manifest["messages_unavailable"]
        if self.world.misled:
            met["late listing"] += self.world.misled
            self.export_again_after_a_week()
        named = {file["path"] for file in self.world.published()["files"]}  # type: ignore[index]
        left = [key for key in self.world.files if key not in named and not key.startswith("_manifests/")]
        assert not left, f"left behind: {left}"

    def export_again_after_a_week(self) -> None:
        """What a late listing hid from the sweeping up is swept by the folder's next export."""
        self.world.box.faults.clear()
        self.world.late = timedelta(0)
        self.world.pass_time(timedelta(days=8).total_seconds())
        self.runs += 1
        assert self.attempt(Crash())

    def owed_messages(self, thread: str, after: Snapshot) -> set[str]:
        """Messages that were there when the walk began and are still there, of the window."""
        owed = set()
        # The rule of the 20 newest gives an older message its time back when a newer one is unsent.
        wavering = self.window.since is not None and self.lost_a_message(thread)
        for message_id, was in self.before.messages[thread].items():  # type: ignore[union-attr]
            still = after.messages[thread].get(message_id)
            if still is None or wavering:
                continue
            # One that has no time now may have had one when it was read.
            created = still.get("created_time") or (was.get("created_time") if self.window.since is None else None)
            if self.falls_in(moment(created)) if created else self.window.since is None:
                owed.add(message_id)
        return owed

    def lost_a_message(self, thread: str) -> bool:
        happened = self.world.box.life.happened
        return any(event["event"] == "unsend" and event.get("thread") == thread for event in happened)

    def falls_in(self, time: datetime) -> bool:
        until = self.window.until or self.began
        return (self.window.since is None or self.window.since <= time) and time < until


def test_after_any_history_there_is_exactly_what_is_owed(capsys: Any, monkeypatch: Any) -> None:
    """Some thousand histories; a failure is replayed with the seed that is printed."""
    # Between any two steps there may be a checkpoint, as in a long export.
    monkeypatch.setattr(walk, "CHECKPOINT_SECONDS", -1.0)
    met.clear()
    with capsys.disabled():
        print(f"\nPAGECONV_CHAOS_SEED={SEED} PAGECONV_CHAOS_RUNS={RUNS}")
    hypothesis.seed(SEED)(Machine)
    logging.disable(logging.WARNING)  # thousands of lines on what was ordered
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=RUNS,
                stateful_step_count=12,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                print_blob=False,
                phases=PHASES,
            ),
        )
    finally:
        logging.disable(logging.NOTSET)
    with capsys.disabled():
        for kind, count in sorted(met.items()):
            print(f"{count:>8,} {kind}")
    expected = [f"event {event}" for event in EVENTS] + [f"fault error {code}" for code in ERRORS]
    expected += [f"fault {kind}" for kind in (*KINDS, "too_much_data")]
    expected += [f"crash at a {step} {when}" for step in ("call", "store") for when in ("due", "done")]
    expected += ["let go", "clear", "late listing"]
    if RUNS >= 1000:
        assert not [kind for kind in expected if not met[kind]], "kinds that never happened"
