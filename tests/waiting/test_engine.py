"""What a task does with its calls and its waits, all folders together: the shipped loop, in a time of the test's own."""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from airflow_provider_pageconv.dump import folder as folder_module
from airflow_provider_pageconv.dump import rounds
from airflow_provider_pageconv.dump.endings import LetGo, Stopped, Superseded
from airflow_provider_pageconv.dump.export import Export, FoldersFailed
from airflow_provider_pageconv.dump.opening import open_store
from airflow_provider_pageconv.graph import limits
from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphPermissionError,
    GraphRateLimitError,
)
from airflow_provider_pageconv.graph.limits import Policy, WaitedTooLong
from airflow_provider_pageconv.graph.protocol import Request, Response
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import FOLDERS, assert_holds, client_of, every_step_saved, least_calls, owed, spec_of
from tests.servers.destinations import local
from tests.simulated import START, SimulatedHands
from tests.waiting.fakes import (
    DEAD_CURSOR,
    DEAD_TOKEN,
    HOUR,
    MINUTE,
    SIZE,
    TROUBLE,
    Lost,
    Page,
    Said,
    SlowStore,
    Task,
    asked_twice,
    refused,
)

SECOND = timedelta(seconds=1)
STAY, FAIL = Policy(stay=True), Policy(fail=True)
FOUR = {"inbox": 3, "other": 2, "page_done": 2, "spam": 1}


@pytest.fixture(autouse=True)
def jitter(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """No jitter, and how to have some."""

    def throw(seconds: float) -> None:
        monkeypatch.setattr(limits, "random", SimpleNamespace(uniform=lambda _, most: min(seconds, most)))

    throw(0.0)
    return throw


def lets_go(task: Task) -> float:
    """Until when a task lets go, in seconds since the beginning."""
    with pytest.raises(LetGo) as caught:
        task.run()
    return (caught.value.moment - START).total_seconds()


def fails(task: Task) -> dict[str, BaseException]:
    """What each missing folder is missing for."""
    with pytest.raises(FoldersFailed) as caught:
        task.run()
    return caught.value.errors


def gaps(times: list[float]) -> list[float]:
    """Seconds between two calls."""
    return [round(after - before, 6) for before, after in itertools.pairwise(times)]


def assert_whole(task: Task) -> None:
    """Everything is published, each record once, and nothing else is left."""
    manifests = task.store.manifests()
    assert set(manifests) == set(task.folders)
    for folder, pages in task.folders.items():
        assert manifests[folder]["conversations"] == pages * SIZE
        own = pages * task.page._long_threads * task.page._thread_pages
        assert manifests[folder]["messages"] == pages * SIZE + own
    assert sum(manifest["api_calls"] for manifest in manifests.values()) == len(task.calls)
    assert not [key for key in task.store.files if key.startswith("_staging/")]


class TestOneWait:
    """From a refusal to the next page."""

    @pytest.mark.parametrize("more, slept", [(0.0, True), (30.0, True), (30.0001, False)])
    def test_a_minute_or_less_is_slept_in_place(
        self, jitter: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, *, more: float, slept: bool
    ) -> None:
        """Jitter included; a moment more, and the worker is let go of."""
        monkeypatch.setattr(limits, "_JITTER", 60.0)
        jitter(more)
        task = Task(script=[refused(30 * SECOND)])
        if slept:
            task.run()
            assert task.times[:2] == pytest.approx([0, 30 + more])
            assert_whole(task)
        else:
            assert lets_go(task) == pytest.approx(30 + more)
            assert task.time.passed == 0

    @pytest.mark.parametrize("named", [None, 61 * SECOND, 30 * MINUTE, 20 * HOUR])
    def test_whoever_stays_sleeps_through_any_wait(
        self, jitter: Callable[[float], None], named: timedelta | None
    ) -> None:
        """With `wait` no worker is let go of, and no call is made before the moment."""
        jitter(3.0)
        task = Task(script=[refused(named)], policy=STAY)
        task.run()
        assert task.times[:2] == [0, (named or MINUTE).total_seconds() + 3]
        assert max(task.ran.naps) <= 60, "the clock is read again at least every minute"

    def test_a_clock_that_was_put_back_makes_the_wait_no_shorter(self) -> None:
        """The moment counts, not the sleeps."""
        task = Task(script=[refused(10 * MINUTE)], policy=STAY)
        jumps = iter([timedelta(seconds=-45), timedelta(seconds=-300)])

        def asleep() -> None:
            task.time.now += next(jumps, timedelta(0))

        task.prepare().asleep = asleep
        task.run()
        assert task.times[1] == 600 + 345

    @pytest.mark.parametrize(
        "policy, named", [(Policy(), 20 * SECOND), (Policy(), HOUR), (STAY, HOUR)], ids=["slept", "let go", "stays"]
    )
    @pytest.mark.parametrize("put_seconds", [0.0, 3.0])
    def test_it_is_in_every_checkpoint_before_the_wait_has_ended(
        self, policy: Policy, named: timedelta, put_seconds: float
    ) -> None:
        """A task that is killed in the wait comes back after it; one that lets go does so after the last PUT."""
        script = [*[Page()] * 5, refused(named)]
        task = Task(FOUR, script, policy=policy, put_seconds=put_seconds, seconds=0.1)
        known: list[str | None] = []
        task.prepare().at(18.0, lambda: known.append(task.store.waiting().until))
        try:
            task.run()
        except LetGo:
            known.append(task.store.waiting().until)
            assert task.time.passed == pytest.approx(max(task.store.put_at.values()))
        assert known
        assert set(known) == {(START + timedelta(seconds=0.2) + named).isoformat()}

    @pytest.mark.parametrize(
        "said", [refused(), refused(5 * SECOND), refused(code=613), refused(code=368)], ids=["4", "short", "613", "368"]
    )
    def test_fail_ends_it_with_the_refusal_after_the_checkpoint(self, said: Response) -> None:
        """Not even one more call is made, and the next try goes on behind what is safe."""
        task = Task({"inbox": 3}, [Page(), said], policy=FAIL)
        [error] = fails(task).values()
        assert isinstance(error, GraphRateLimitError)
        assert len(task.calls) == 2
        assert task.store.checkpoints()["inbox"].counts.conversations == SIZE
        task.next().run()
        assert asked_twice(task.calls) == [("inbox", "1")]
        assert_whole(task)

    def test_waits_of_several_refusals_add_up_in_what_the_manifest_tells(self) -> None:
        """`waited_seconds` and `api_calls`, refused ones among them."""
        task = Task({"inbox": 2}, [refused(), refused(), Page(), refused()], policy=STAY)
        task.run()
        manifest = task.store.manifests()["inbox"]
        assert manifest["waited_seconds"] == (1 + 2 + 1) * 60
        assert manifest["api_calls"] == len(task.calls) == 3 + 3


class TestWhatComesAfter:
    """The first call after a wait, and whatever it is answered with."""

    @pytest.mark.parametrize("code", [4, 613])
    @pytest.mark.parametrize("said", [DEAD_CURSOR, TROUBLE], ids=["cursor", "trouble"])
    def test_an_error_that_a_folder_knows_what_to_do_about_stops_nobody(self, said: Response, code: int) -> None:
        """A cursor that died during the wait: that list begins again, and the calls of the others go through at once."""
        task = Task({"inbox": 3, "other": 3}, [Page(), *[refused(code=code)] * 2, said], policy=STAY, seconds=1.0)
        task.run()
        assert_whole(task)
        probe, *others = task.calls[3:]
        assert (probe.what, probe.after) == ("inbox", "1")
        assert min(call.at for call in others) == probe.at + 1

    def test_a_new_page_ends_the_row(self) -> None:
        """The next limit is waited for a minute again."""
        task = Task({"inbox": 2}, [refused(), refused(), refused(), Page(), refused()], policy=STAY)
        task.run()
        assert [gap / 60 for gap in gaps(task.times)] == [1, 2, 5, 0, 1, 0]

    def test_613_goes_slower_each_time_it_comes_after_a_page(self) -> None:
        """And waits only where it is repeated without one: then the schedule begins with its first minute."""
        pace = refused(code=613)
        task = Task({"inbox": 3}, [pace, Page(), pace, Page(), pace, pace, pace], policy=STAY)
        task.run()
        assert gaps(task.times)[:7] == [1.0, 1.0, 2.0, 2.0, 4.0, 60.0, 120.0]
        assert task.client.pace.interval == 4.0


class TestOverTries:
    """What the checkpoints carry from one try to the next."""

    def test_a_try_that_wakes_too_early_waits_on(self) -> None:
        """Whoever started it: no call is made, and the moment stays the same."""
        task = Task(script=[refused(HOUR)])
        assert lets_go(task) == 3600
        task.time.pass_(1200)
        assert lets_go(task.next()) == 3600
        assert len(task.calls) == 1
        # Under a minute before, the rest is slept.
        task.time.pass_(2400 - 40)
        task.next().run()
        assert task.times[1] == 3600
        assert_whole(task)

    def test_whoever_stays_waits_for_the_rest_of_it(self) -> None:
        """Killed in the midst of a long wait, started again."""
        task = Task(script=[refused(HOUR)])
        lets_go(task)
        task.time.pass_(600)
        task.next(policy=STAY).run()
        assert task.times[1] == 3600

    def test_the_schedule_goes_on(self) -> None:
        """Each try finds the same limit: a minute (slept in place), two, five …"""
        task = Task(script=[refused(), refused()])
        waits = []
        for _ in range(7):
            waits.append((lets_go(task) - task.time.passed) / 60)
            task.time.pass_(waits[-1] * 60)
            task.next([refused()])
        assert waits == [2, 5, 10, 20, 30, 30, 30]

    def test_it_gives_up_when_all_waits_of_all_tries_are_too_long(self) -> None:
        """The last one is as long as what is left; each folder that is missing is missing for its sake."""
        task = Task({"inbox": 2, "spam": 1}, [refused()] * 3, policy=Policy(timeout=HOUR))
        waits = []
        with pytest.raises(FoldersFailed) as caught:  # noqa: PT012 - in one of the tries
            while True:
                waits.append((lets_go(task) - task.time.passed) / 60)
                task.time.pass_(waits[-1] * 60)
                if len(waits) == 5:
                    task.next([refused()]).run()
                task.next([refused()])
        assert waits == [2, 5, 10, 20, 22]
        assert str(caught.value) == (
            "inbox, spam: Waited 1:00:00 for the limit without a single new page, and rate_limit_timeout is 1:00:00. Meta "
            "last said: Graph API error 4: the app has used up its calls. Stop calling and come back later: calls made "
            "meanwhile prolong the block. (HTTP status 400)"
        )
        assert {type(error) for error in caught.value.errors.values()} == {WaitedTooLong}
        assert caught.value.for_good

    def test_a_clear_counts_afresh(self) -> None:
        """It does not wait for what is left either."""
        task = Task(script=[refused(), refused(23 * HOUR, code=368)])
        assert lets_go(task) == 60 + 23 * 3600
        task.clear_number = 1
        assert lets_go(task.next([refused(), refused(code=368)])) == 60 + 60 + 3600
        assert task.times[2:] == [60, 120]
        waiting = task.store.waiting()
        assert (waiting.clear_number, waiting.abuses, waiting.seconds) == (1, 1, 60)

    def test_the_folder_that_met_the_limit_speaks_for_all(self) -> None:
        """The checkpoints of the others may be older, or gone."""
        task = Task(FOUR, [Page(), Page(), refused(HOUR)])
        lets_go(task)
        for key in [key for key in task.store.files if key.startswith("_staging/") and "folder=other" not in key]:
            del task.store.files[key]
        assert lets_go(task.next()) == 3600

    def test_a_wait_that_is_over_is_not_counted_again(self) -> None:
        """One folder's last checkpoint is from before the wait, another's from after it: the newer one tells."""
        task = Task({"inbox": 3, "other": 3}, [Page(), refused()], policy=STAY, seconds=1.0)
        task.prepare().at(20.0, lambda: kept.update(task.store.files))
        kept: dict[str, bytes] = {}
        task.ran = task.hands
        task.hands.at(64.5, task.time_out)
        with pytest.raises(Stopped):
            task.run()
        for key, data in kept.items():
            if "folder=inbox" in key:
                task.store.files[key] = data
        for key in [key for key in task.store.files if "folder=inbox" in key and key not in kept]:
            del task.store.files[key]
        assert task.store.checkpoints()["inbox"].waiting.until is not None
        task.next().run()
        assert task.store.manifests()["other"]["waited_seconds"] == 60
        assert task.time.passed < 120


class TestUsage:
    """What the headers of good answers say."""

    @pytest.mark.parametrize("percent", [None, 0.0, 74.9])
    def test_below_the_stop_nothing_waits(self, percent: float | None) -> None:
        """The pace sees to what is below."""
        task = Task(script=[Page(percent)] * 4)
        task.run()
        assert task.times == [0] * 4

    @pytest.mark.parametrize("regain, wait", [(None, 60), (7, 420)])
    @pytest.mark.parametrize("percent", [95.0, 100.0, 140.0])
    def test_at_the_stop_it_waits_before_the_api_refuses(
        self, jitter: Callable[[float], None], percent: float, regain: float | None, wait: float
    ) -> None:
        """The page is taken; the wait comes before the next call, and is one for all folders."""
        jitter(1.0)
        task = Task({"inbox": 3, "other": 2}, [Page(percent, regain)], policy=STAY)
        task.run()
        assert task.times[:2] == [0, 0]
        assert wait + 1 <= task.times[2] <= wait + 1 + 2  # at such a usage calls are 2 s apart anyway
        assert_whole(task)
        assert {one["waited_seconds"] for one in task.store.manifests().values()} == {wait + 1}
        assert asked_twice(task.calls) == []

    def test_it_lets_go_with_the_page_made_safe(self) -> None:
        """Where the wait is longer than a minute."""
        task = Task(FOUR, [Page(96.0, 7)])
        assert 420 <= lets_go(task) <= 422
        assert task.store.checkpoints()["inbox"].counts.conversations == SIZE

    def test_the_stop_is_the_client_s(self) -> None:
        """`[pageconv] usage_stop_percent`."""
        task = Task(script=[Page(49.0), Page(50.0), Page(49.0)], stop_percent=50.0)
        task.run()
        assert task.times == [0, 0, 60, 60]

    def test_the_last_page_of_an_export_is_not_waited_for(self) -> None:
        """There is no next call."""
        task = Task({"inbox": 1}, [Page(99.0)])
        task.run()
        assert task.time.passed == 0
        assert_whole(task)

    def test_usage_that_does_not_fall_is_given_ever_more_time(self) -> None:
        """A call a minute would keep it where it is. Each is a new page, so the count of the waiting does not go on."""
        task = Task({"inbox": 9}, [Page(96.0)] * 8, policy=Policy(stay=True, timeout=31 * MINUTE))
        task.run()
        assert [round(gap / 60) for gap in gaps(task.times)] == [1, 2, 5, 10, 20, 30, 30, 30, 0]

    def test_fail_counts_it_as_a_limit(self) -> None:
        """The error tells the usage and when to come back."""
        task = Task({"inbox": 3}, [Page(97.0, 3)], policy=FAIL)
        [error] = fails(task).values()
        assert str(error) == "Graph API: 97 % of the allowance is used up. Waiting before the API has to refuse."
        assert isinstance(error, GraphRateLimitError)
        assert error.retry_after == 3 * MINUTE
        assert error.usage is not None
        assert task.store.checkpoints()["inbox"].counts.conversations == SIZE


class TestLettingGoInTime:
    """`release_slot_after`."""

    def test_it_lets_go_between_two_calls_and_comes_back_soon(self) -> None:
        """After the checkpoints; not at once, for Airflow fails a task that it queues again before it knows of its end."""
        task = Task(FOUR, policy=Policy(release_after=timedelta(seconds=2.5)), seconds=1.0, put_seconds=2.0)
        with pytest.raises(LetGo, match="after 2 s the export makes room for others") as caught:
            task.run()
        assert caught.value.moment >= START + timedelta(seconds=2.5 + 20)
        made = len(task.calls)
        assert max(task.times) < 2.5
        task.next(policy=Policy()).run()
        assert len(task.calls) == task.least_calls() > made, "no paid call was lost"
        assert_whole(task)
        assert {one["waited_seconds"] for one in task.store.manifests().values()} == {0}

    def test_not_without_a_page(self) -> None:
        """However long it took to get one: else it would come back again and again and get nowhere."""
        task = Task({"inbox": 3}, [TROUBLE, TROUBLE], policy=Policy(release_after=timedelta(0)), seconds=10.0)
        lets_go(task)
        assert len(task.calls) == 3
        for _ in range(10):
            try:
                task.next().run()
                break
            except LetGo:
                pass
        assert_whole(task)

    @pytest.mark.parametrize(
        "policy",
        [Policy(release_after=HOUR), Policy(release_after=None), Policy(stay=True, release_after=timedelta(0))],
        ids=["not yet", "never", "stays"],
    )
    def test_not_before(self, policy: Policy) -> None:
        """Nor ever, where none is asked for, and where it stays."""
        task = Task(FOUR, policy=policy, seconds=1.0)
        task.run()
        assert_whole(task)

    def test_it_does_not_cut_a_limit_s_wait_short(self) -> None:
        """A limit was met while a call was under way that came back after the time to let go."""

        def seconds(request: Request) -> float:
            return 30.0 if request.params.get("folder") == "other" and not request.after else 1.0

        task = Task({"inbox": 9, "other": 2}, policy=Policy(release_after=timedelta(seconds=20)), seconds=seconds)
        task.page.on_call = lambda call: refused(HOUR) if call.what == "inbox" and call.after == "3" else None
        moment = lets_go(task)
        assert task.time.passed >= 30
        assert 3600 <= moment < 3700


class TestFoldersTogether:
    """One limit is one wait, whatever folder meets it."""

    def test_while_one_waits_the_others_make_safe_what_they_have_and_make_no_call(self) -> None:
        """After the wait one call is answered before the others begin."""
        task = Task(FOUR, [*[Page()] * 4, refused(40 * SECOND)], seconds=1.0, put_seconds=0.5)
        task.prepare().at(30.0, lambda: safe.update({**task.store.checkpoints(), **task.store.manifests()}))
        safe: dict[str, Any] = {}
        task.run()
        met = task.calls[4].at + 1
        assert set(safe) == set(FOUR)
        assert [at for at in task.times if met < at < met + 40] == []
        first, second = [at for at in task.times if at > met][:2]
        assert (first, second) == (met + 40, met + 41)
        assert_whole(task)
        assert len(task.calls) == task.least_calls() + 1

    def test_refusals_of_calls_under_way_are_one_limit(self) -> None:
        """Four calls were under way: four refusals, one wait."""
        folders = dict.fromkeys(FOUR, 2)
        task = Task(folders, [*[Page()] * 4, *[refused(40 * SECOND)] * 4], seconds=1.0)
        task.run()
        assert task.times[:8] == [0] * 4 + [1] * 4
        assert task.times[8] == 1 + 1 + 40
        assert {one["waited_seconds"] for one in task.store.manifests().values()} == {40.0}
        assert_whole(task)

    @pytest.mark.parametrize("late, goes_on", [(10.0, 41.0), (55.0, 55.0)])
    def test_refusals_that_come_late_are_the_same_limit(self, late: float, goes_on: float) -> None:
        """They left before it was met: whether they come during the wait or after it, they say nothing new.

        The call that is made alone is not made beside one that is still under way.
        """
        slow = {"other": late}

        def seconds(request: Request) -> float:
            return slow.pop(request.params["folder"], 1.0)

        task = Task(FOUR, [refused(40 * SECOND)] * 4, seconds=seconds)
        task.run()
        assert task.times[4] == goes_on
        assert {one["waited_seconds"] for one in task.store.manifests().values()} == {40.0}
        assert_whole(task)

    def test_a_good_answer_that_comes_late_opens_nothing(self) -> None:
        """Its call left before the limit was met; its page is taken all the same."""
        slow = {"other": 10.0}

        def seconds(request: Request) -> float:
            return slow.pop(request.params["folder"], 1.0)

        task = Task(FOUR, [refused(40 * SECOND)], seconds=seconds)
        task.run()
        assert min(at for at in task.times if at > 0) == 41
        assert_whole(task)

    @pytest.mark.parametrize("limit", ["refusal", "usage"])
    def test_whoever_waits_for_a_turn_of_the_pace_makes_no_call(self, limit: str) -> None:
        """A limit was met meanwhile; and what every folder has is made safe."""
        met = refused(40 * SECOND) if limit == "refusal" else Page(96.0, 1)
        task = Task(FOUR, [Page(), Page(), met], policy=STAY, seconds=0.1, calls_per_second=1.0)
        task.run()
        first, second, wait = gaps(task.times)[:3]
        assert (first, second) == (1.02, 1.02)
        # A usage that high makes calls 4 s apart, and is waited for when the next one is due.
        assert wait == pytest.approx(40.1 if limit == "refusal" else 60 + 4.08, abs=0.001)
        assert_whole(task)

    @pytest.mark.parametrize("policy", [Policy(), FAIL], ids=["let go", "fail"])
    def test_when_one_lets_go_the_others_make_no_further_call(self, policy: Policy) -> None:
        """They are not to run into the same limit."""
        task = Task(FOUR, [refused(HOUR)] * 4, policy=policy, seconds=1.0)
        with pytest.raises((LetGo, FoldersFailed)) as caught:
            task.run()
        assert len(task.calls) == 4, "those that were under way"
        if isinstance(caught.value, FoldersFailed):
            assert set(caught.value.errors) == set(FOUR)
            assert len(set(map(id, caught.value.errors.values()))) == 1
            assert not caught.value.for_good

    def test_without_a_pace_each_list_begins_at_once(self) -> None:
        """One call for each folder, though a try that goes on has more to make; the others once one has its answer."""
        task = Task(FOUR, seconds=5.0)
        task.run()
        assert task.times[:5] == [0.0] * 4 + [5.0]
        task = Task({"inbox": 3, "other": 3}, long_threads=SIZE, seconds=1.0)
        task.prepare().at(1.5, task.time_out)
        with pytest.raises(Stopped):
            task.run()
        made, began = len(task.calls), task.time.passed
        task.next().run()
        assert task.times[made:][:3] == [began, began, began + 1]
        assert task.times.count(began + 1) > 2
        assert_whole(task)

    @pytest.mark.parametrize("after_wait", [True, False])
    @pytest.mark.parametrize("refusals", [0, 1])
    def test_a_try_begins_with_one_call_where_there_is_a_pace_or_was_a_limit(
        self, refusals: int, *, after_wait: bool
    ) -> None:
        """All folders are ready, one calls, and the others only once it has its answer; nor if that is a refusal."""
        task = Task(FOUR, seconds=5.0, calls_per_second=0.0 if after_wait else 100.0)
        began = 0.0
        if after_wait:
            lets_go(task.next([refused(HOUR)] * 4))
            began = 3605.0
            task.time.pass_(began - task.time.passed)
        made = len(task.calls)
        task.next([refused(HOUR)] * refusals)
        if refusals:
            lets_go(task)
            assert len(task.calls) == made + 1
        else:
            task.run()
            assert task.times[made] == began
            assert task.times[made + 1] == began + 5
            assert task.times[made + 4] < began + 5.1

    def test_a_call_that_met_trouble_waits_without_holding_the_others(self) -> None:
        """Its folder asks it again after a pause; the others walk on meanwhile."""
        random.seed(4)
        task = Task({"inbox": 8, "other": 8}, seconds=0.01)
        trouble = iter([TROUBLE, TROUBLE, TROUBLE])
        task.page.on_call = lambda call: next(trouble, None) if (call.what, call.after) == ("inbox", "1") else None
        task.run()
        asked = [call.at for call in task.calls if (call.what, call.after) == ("inbox", "1")]
        assert len(asked) == 4
        assert all(0.5 <= pause <= 1.1 for pause in gaps(asked))
        walked = [call.at for call in task.calls if call.what == "other"][:8]
        assert max(walked) < 0.2, "the other list was held"
        assert_whole(task)

    def test_a_lost_answer_is_given_up_after_the_client_s_patience_and_asked_again(self) -> None:
        """The others are not held; what was given up is answered by nobody any more."""
        task = Task({"inbox": 4, "other": 4}, seconds=1.0)
        lost = iter([Lost()])
        task.page.on_call = lambda call: next(lost, None) if (call.what, call.after) == ("inbox", "1") else None
        task.prepare()
        patience = task.client.patience
        task.run()
        first, again = [call.at for call in task.calls if (call.what, call.after) == ("inbox", "1")]
        assert patience + 0.5 <= again - first <= patience + 1.0
        assert max(call.at for call in task.calls if call.what == "other" and call.after) < 10
        assert_whole(task)

    def test_an_answer_that_comes_after_it_was_given_up_is_left_aside(self) -> None:
        """It was asked again by then, and its page is taken once."""
        slow = {"1": 400.0}

        def seconds(request: Request) -> float:
            return slow.pop(request.after or "", 1.0)

        task = Task({"inbox": 3, "other": 400}, seconds=seconds)
        task.run()
        assert task.time.passed > 400
        assert_whole(task)

    def test_a_list_goes_before_threads_and_an_earlier_folder_before_a_later_one(self) -> None:
        """A list is a chain of calls, each of which needs the answer to the one before."""
        task = Task({"inbox": 3, "other": 3}, long_threads=3, calls_per_second=1.0, seconds=0.5)
        task.run()
        assert [call.what for call in task.calls[:3]] == ["inbox"] * 3
        assert_whole(task)

    def test_no_folder_s_list_is_held_for_good_by_those_before_it(self) -> None:
        """Though their answers come fast: now and then the list goes first that has waited longest."""
        task = Task({"inbox": 40, "spam": 1}, calls_per_second=1.0, seconds=0.1)
        task.run()
        assert [call.what for call in task.calls].index("spam") <= 12

    def test_no_more_than_twenty_calls_are_under_way(self) -> None:
        """However many could be."""
        task = Task(dict.fromkeys(FOUR, 6), long_threads=10, seconds=1.0)
        task.run()
        assert 12 <= task.ran.most_at_once <= 20
        assert_whole(task)


class TestTimeGoesOn:
    """On a real machine the clock shows another time whenever somebody looks at it."""

    @pytest.mark.parametrize("tick", [0.0, 1e-6, 1e-3])
    def test_what_is_due_is_done_and_the_loop_does_not_turn_in_vain(self, tick: float) -> None:
        """Trouble, limits, a thread that is asked again a minute later, checkpoints, and calls that take their time."""
        gone = refused(code=100, error_subcode=33)
        said: dict[tuple[str, str | None], list[Said]] = {
            ("t_inbox_0", "0"): [gone, gone],
            ("inbox", "1"): [TROUBLE],
            ("other", "1"): [refused(30 * SECOND)],
            ("t_other_1", "0"): [refused(code=613)],
        }
        task = Task(FOUR, long_threads=2, tick=tick, seconds=0.5, put_seconds=0.3, calls_per_second=5.0)
        task.page.on_call = lambda call: said[call[1:]].pop() if said.get(call[1:]) else None
        task.run()
        assert set(task.store.manifests()) == set(FOUR)
        assert task.store.manifests()["inbox"]["conversations_unavailable"] == 1
        assert task.time.passed < 180
        assert task.ran.turns < 25 * len(task.calls)


class TestApart:
    """What ends one folder lets the others go on."""

    def test_a_folder_that_ended_does_not_hold_the_others(self) -> None:
        """The heads of the other lists are read again all the same; what it has got is safe, and a next try goes on."""
        task = Task({"inbox": 3, "other": 3, "spam": 1}, seconds=1.0)
        task.page.on_call = lambda call: refused(code=200) if (call.what, call.after) == ("other", "2") else None
        errors = fails(task)
        assert {folder: type(error) for folder, error in errors.items()} == {"other": GraphPermissionError}
        assert set(task.store.manifests()) == {"inbox", "spam"}
        assert [call.after for call in task.calls if call.what == "inbox"] == [None, "1", "2", None]
        assert task.store.checkpoints()["other"].counts.conversations == 2 * SIZE
        task.page.on_call = lambda _: None
        task.next().run()
        assert asked_twice(task.calls) == [("other", "2")]
        assert_whole(task)

    def test_it_does_not_hold_them_over_waits_either(self) -> None:
        """A limit, met after one folder has ended, is waited for; the error comes when nothing is left to do."""
        task = Task({"inbox": 4, "other": 2}, seconds=1.0)
        said: dict[tuple[str, str | None], list[Said]] = {
            ("other", None): [refused(code=200)],
            ("inbox", "2"): [refused(40 * SECOND)],
        }
        task.page.on_call = lambda call: said[call[1:]].pop() if said.get(call[1:]) else None
        assert set(fails(task)) == {"other"}
        assert set(task.store.manifests()) == {"inbox"}
        assert task.time.passed > 40

    def test_a_crash_of_a_folder_is_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever kind of error it is."""
        got = folder_module.FolderExport.got

        def broken(self: Any, *arguments: Any) -> bool:
            if self.folder == "other":
                raise ZeroDivisionError("a bug")
            return got(self, *arguments)

        monkeypatch.setattr(folder_module.FolderExport, "got", broken)
        task = Task(FOUR, seconds=1.0)
        errors = fails(task)
        assert {folder: type(error) for folder, error in errors.items()} == {"other": ZeroDivisionError}
        assert set(task.store.manifests()) == set(FOUR) - {"other"}

    def test_a_dead_token_ends_all_but_who_needs_no_more_calls_still_publishes(self) -> None:
        """Also who is not ready to publish yet when it is met, and gets its last answer after that."""
        slow = {"spam": 30.0}

        def seconds(request: Request) -> float:
            return slow.pop(request.params["folder"], 1.0)

        task = Task(FOUR, seconds=seconds, put_seconds=0.2)
        task.page.on_call = lambda call: DEAD_TOKEN if (call.what, call.after) == ("inbox", "1") else None
        errors = fails(task)
        assert set(errors) == {"inbox", "other", "page_done"}
        assert {type(error) for error in errors.values()} == {GraphAuthError}
        assert set(task.store.manifests()) == {"spam"}
        task.page.on_call = lambda _: None
        task.next().run()
        assert asked_twice(task.calls) == [("inbox", "1")]
        assert_whole(task)


class TestWhichErrorIsTheRealOne:
    """Several things may come to an end at the same time."""

    def run_with(self, task: Task, *said: tuple[str, str | None, Said]) -> BaseException | None:
        """Run a try in which some calls are answered otherwise."""
        table = {(what, after): answer for what, after, answer in said}
        task.page.on_call = lambda call: table.get((call.what, call.after))
        try:
            task.run()
        except (LetGo, Stopped, Superseded, FoldersFailed) as error:
            return error
        return None

    def slow(self, *folders: str) -> Callable[[Request], float]:
        return lambda request: 5.0 if request.params.get("folder") in folders else 1.0

    def test_a_limit_comes_before_a_folder_s_own_error(self) -> None:
        """The others are to go on when the limit is over; the next try says what ended that folder."""
        task = Task(FOUR, seconds=self.slow("inbox"))
        error = self.run_with(task, ("other", None, refused(code=200)), ("inbox", "1", refused(HOUR)))
        assert isinstance(error, LetGo)
        task.time.pass_(3700)
        error = self.run_with(task.next(), ("other", None, refused(code=200)))
        assert isinstance(error, FoldersFailed)
        assert set(error.errors) == {"other"}

    def test_a_limit_that_nobody_needs_to_wait_for_is_none(self) -> None:
        """The last calls were under way when the usage was seen, and no other follows."""
        task = Task({"inbox": 1, "other": 1, "spam": 1}, seconds=self.slow("spam"))
        assert self.run_with(task, ("other", None, Page(97.0, 60))) is None
        assert_whole(task)
        assert task.time.passed == 5

    @pytest.mark.parametrize("first", ["token", "limit"])
    def test_a_dead_token_comes_before_a_limit(self, first: str) -> None:
        """Whichever of two calls under way is answered first: to wait would be in vain."""
        task = Task(FOUR, seconds=self.slow("page_done" if first == "token" else "other"))
        error = self.run_with(task, ("other", None, DEAD_TOKEN), ("page_done", None, refused(HOUR)))
        assert isinstance(error, FoldersFailed), error
        assert {type(one) for one in error.errors.values()} == {GraphAuthError}

    def test_a_dead_token_comes_before_the_time_to_let_go(self) -> None:
        """A call was under way until then."""
        task = Task(FOUR, seconds=self.slow("page_done"), policy=Policy(release_after=timedelta(seconds=4)))
        error = self.run_with(task, ("other", None, DEAD_TOKEN))
        assert isinstance(error, FoldersFailed), error
        assert {type(one) for one in error.errors.values()} == {GraphAuthError}

    @pytest.mark.parametrize("said", [DEAD_TOKEN, refused(HOUR), refused(code=200)], ids=["token", "limit", "folder"])
    def test_a_stop_comes_before_all_of_it(self, said: Response) -> None:
        """Somebody asked for it, and the rest shows in the next try."""
        task = Task(FOUR, seconds=self.slow("other"))
        task.prepare().at(3.0, task.time_out)
        assert isinstance(self.run_with(task, ("other", None, said)), Stopped)

    @pytest.mark.parametrize("said", [DEAD_TOKEN, refused(HOUR), None], ids=["token", "limit", "nothing"])
    def test_a_later_try_at_work_comes_before_the_rest(self, said: Response | None) -> None:
        """What this one would do about it is that one's to do; it adds and publishes nothing."""
        task = Task(FOUR, seconds=1.0)

        def claim() -> None:
            for key in [key for key in task.store.files if key.endswith("/claim")]:
                task.store.files[key] = b'{"attempt": "another"}'

        task.prepare().at(0.5, claim)
        error = self.run_with(task, *[("other", None, said)] * bool(said))
        assert isinstance(error, Superseded)
        assert task.store.manifests() == {}
        assert task.store.checkpoints() == {}

    def test_the_store_s_error_is_the_folder_s(self) -> None:
        """What could not be put is the next try's to fetch again."""
        task = Task({"inbox": 3, "other": 3}, seconds=1.0)
        put_bytes = task.store.put_bytes

        def full(data: bytes, key: str) -> None:
            if "folder=other" in key and "claim" not in key:
                raise OSError("no space left")
            put_bytes(data, key)

        task.store.put_bytes = full  # type: ignore[method-assign]
        error = self.run_with(task)
        assert isinstance(error, FoldersFailed)
        assert {folder: str(one) for folder, one in error.errors.items()} == {"other": "no space left"}
        assert not error.for_good
        assert set(task.store.manifests()) == {"inbox"}


class TestKill:
    """`on_kill`: no further call, everything safe, nothing published."""

    def test_it_ends_a_sleep_at_once(self) -> None:
        """And no call follows; the next try waits for the rest."""
        task = Task(FOUR, [Page(), refused(HOUR)], policy=STAY, seconds=1.0)
        task.prepare().at(20.5, task.export.kill)
        with pytest.raises(Stopped):
            task.run()
        assert task.time.passed == 20.5
        assert max(task.times) == 1
        published = set(task.store.manifests())
        assert task.store.waiting().until is not None
        task.next(policy=Policy())
        assert lets_go(task) == 3601
        assert set(task.store.manifests()) == published

    def test_it_ends_the_wait_that_an_earlier_try_left(self) -> None:
        """Before any folder has called."""
        task = Task(FOUR, [refused(HOUR)] * 4)
        lets_go(task)
        task.next(policy=STAY).hands.at(10.0, task.export.kill)
        with pytest.raises(Stopped):
            task.run()
        assert (task.time.passed, len(task.calls)) == (10.0, 4)

    def test_it_waits_two_seconds_for_calls_under_way_and_no_longer(self) -> None:
        """What comes in that time is kept; the rest is asked again."""
        slow = {"other": 400.0, "page_done": 3.0}

        def seconds(request: Request) -> float:
            return slow.get(request.params["folder"], 1.0)

        task = Task(FOUR, seconds=seconds)
        task.prepare().at(2.5, task.export.kill)
        with pytest.raises(Stopped):
            task.run()
        assert task.time.passed == 4.5
        slow.clear()
        task.next().run()
        assert asked_twice(task.calls) == [("other", None)]

    @pytest.mark.parametrize("key", ["/part-", "/checkpoint-", "/note-publish", "conversations/", "messages/"])
    def test_it_publishes_nothing_though_all_was_read(self, key: str) -> None:
        """It comes while the last checkpoint is on its way, or in the publish, up to the manifest."""
        task = Task({"inbox": 1}, seconds=1.0)
        task.store.on_put = lambda put: task.export.kill() if key in f"/{put}" else None
        saved = every_step_saved() if key in ("/part-", "/checkpoint-") else nullcontext()  # else it publishes at once
        with saved, pytest.raises(Stopped):
            task.run()
        assert task.store.manifests() == {}
        task.store.on_put = lambda _: None
        task.next().run()
        assert len(task.calls) == 1
        assert_whole(task)

    def test_before_the_first_call_it_lets_none_be_made(self) -> None:
        """However early it comes."""
        task = Task(FOUR)
        task.prepare()
        task.export.kill()
        with pytest.raises(Stopped):
            task.run()
        assert task.calls == []


class TestTimeOut:
    """The task's main thread was interrupted."""

    @pytest.mark.parametrize("moment", [0.5, 1.5, 2.5, 3.5, 7.5])
    @pytest.mark.parametrize("put_seconds", [0.0, 2.0])
    def test_it_makes_everything_safe_and_loses_no_paid_call(self, moment: float, put_seconds: float) -> None:
        """Answers that are on their way are waited for, however long they take."""
        task = Task(FOUR, seconds=3.0, put_seconds=put_seconds, long_threads=2)
        task.prepare().at(moment, task.time_out)
        with pytest.raises(Stopped):
            task.run()
        assert max(task.times) <= moment
        task.next().run()
        assert asked_twice(task.calls) == []
        assert len(task.calls) == task.least_calls()
        assert_whole(task)

    def test_a_kill_after_it_waits_no_longer(self) -> None:
        """Airflow kills a task that does not end after its time-out."""
        task = Task(FOUR, seconds=100.0)
        task.prepare().at(10.0, task.time_out)
        task.hands.at(20.0, task.export.kill)
        with pytest.raises(Stopped):
            task.run()
        assert task.time.passed == 22.0


class TestSlowStore:
    """A PUT takes three seconds."""

    def run_with(self, folders: int, put_seconds: float) -> Task:
        names = dict.fromkeys(FOLDERS[:folders], 60 // folders)
        task = Task(names, seconds=0.4, put_seconds=put_seconds, calls_per_second=2.0, long_threads=2)
        task.run()
        assert_whole(task)
        return task

    def test_it_does_not_lower_the_pace(self) -> None:
        """Checkpoints are on their way much of the time, and calls leave all the same when they are due."""
        task = self.run_with(1, 3.0)
        assert len([key for key in task.store.put_at if "/checkpoint-" in key]) >= 4
        assert max(gaps(task.times)) == 0.51

    def test_it_hardly_lowers_the_pace_where_four_folders_share_it(self) -> None:
        """Their checkpoints come one after the other; the last of them may be overdue for a moment."""
        slow, fast = self.run_with(4, 3.0), self.run_with(4, 0.0)
        assert slow.times[-1] < fast.times[-1] * 1.03

    def test_while_a_checkpoint_takes_very_long_no_further_call_is_made(self) -> None:
        """Of the folder that it is of: a kill would lose too many calls that are paid for."""
        task = Task({"inbox": 300}, seconds=0.1, calls_per_second=4.0)
        slow: list[float] = []

        def on_put(key: str) -> None:
            if "/checkpoint-" in key and not slow:
                slow.append(task.time.passed)
                task.store.spent += 50.0

        task.store.on_put = on_put
        task.run()
        [began] = slow
        pause = max(gaps(task.times))
        last = task.times[gaps(task.times).index(pause)]
        assert (last - began, pause) == (pytest.approx(15, abs=0.6), pytest.approx(35, abs=0.6))
        assert_whole(task)


class TestPermuted:
    """Whatever the order in which things come back."""

    def run_permuted(self, seed: int) -> tuple[Task, SimulatedHands]:
        random.seed(seed)
        script: list[Said] = [Page(), refused(30 * SECOND), Page(), TROUBLE, Page(96.0), refused(code=613)]
        task = Task({"inbox": 3, "other": 2, "spam": 1}, script, policy=STAY, long_threads=2)

        def exchange(request: Request) -> Response:
            said = task.page.exchange(request)
            assert isinstance(said, Response)
            return said

        task.prepare()
        hands = SimulatedHands(exchange, task.time, seed=seed, seconds=0.2, loses=0.1)
        task.run(hands)
        return task, hands

    @pytest.mark.parametrize("seed", range(12))
    def test_the_records_are_the_same(self, seed: int) -> None:
        """Every seed answers in an order of its own, late, or never."""
        task, _ = self.run_permuted(seed)
        manifests = task.store.manifests()
        assert {folder: one["conversations"] for folder, one in manifests.items()} == {
            folder: pages * SIZE for folder, pages in task.folders.items()
        }
        assert {folder: one["messages"] for folder, one in manifests.items()} == {
            folder: pages * (SIZE + 4) for folder, pages in task.folders.items()
        }

    @pytest.mark.parametrize("seed", [3, 8])
    def test_two_runs_with_the_same_seed_behave_the_same(self, seed: int) -> None:
        """Call by call and sleep by sleep; another seed behaves otherwise."""
        first, hands = self.run_permuted(seed)
        again, hands_again = self.run_permuted(seed)
        assert first.calls == again.calls
        assert hands.naps == hands_again.naps
        assert first.time.passed == again.time.passed
        assert self.run_permuted(seed + 1)[0].calls != first.calls


class TestForReal:
    """Real calls, real worker threads, a real store."""

    @pytest.fixture
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder_module, "CHECKPOINT_SECONDS", 1.0)

    @pytest.mark.usefixtures("often")
    def test_a_slow_store_does_not_lower_the_pace(self, tmp_path: Path) -> None:
        """By the server's record of calls: at 2 a second they come every half second, though each PUT takes three."""
        with Sandbox(conversations=0, folders={"inbox": 16}, messages=30, long_every=1, latency=(0.1, 0.9)) as box:
            one = Export(
                spec_of(box, page_size=10),
                ["inbox"],
                client_of(box, calls_per_second=2),
                SlowStore.below(tmp_path, 3.0),
                STAY,
            )
            one.run()
            assert_holds(local(tmp_path), owed(box.data()))
            between = gaps([request.at for request in box.requests])
        assert len(between) > 16
        assert len(list((tmp_path).rglob("window=all.json"))) == 1
        assert sorted(between)[len(between) // 2] < 0.75
        # The first call is made alone, and the head of the list is read when everything else is done. A busy machine may make
        # one call late; a PUT that held calls would cost all of them together more than a twentieth, and one of them seconds.
        paced = between[1:-4]
        assert sum(paced) < 1.05 * 0.51 * len(paced)
        assert max(paced) < 1.0

    @pytest.mark.usefixtures("often")
    def test_a_kill_returns_at_once_and_everything_is_safe_within_five_seconds(self, tmp_path: Path) -> None:
        """While a call hangs and a PUT is slow; Airflow gives a task no more time than that."""
        with Sandbox(conversations=0, folders={"inbox": 60}, messages=2, long_every=0) as box:
            hanging = box.faults.add(Fault("silence", seconds=60, at=4, every=1))
            one = Export(spec_of(box, page_size=10), ["inbox"], client_of(box), SlowStore.below(tmp_path, 0.5), STAY)
            ended: list[BaseException] = []
            worker = threading.Thread(target=lambda: ended.append(_raised(one.run)), daemon=True)
            worker.start()
            _until(lambda: len(box.requests) >= 4)
            time.sleep(0.3)
            began = time.monotonic()
            one.kill()
            assert time.monotonic() - began < 0.2
            worker.join(5 - (time.monotonic() - began))
            assert not worker.is_alive(), "it was not safe within five seconds"
            assert isinstance(ended[0], Stopped)
            assert not (tmp_path / "_manifests").exists()
            box.faults.remove(hanging)
            box.forget()
            Export(
                spec_of(box, page_size=10),
                ["inbox"],
                client_of(box),
                open_store(fsspec.filesystem("file"), str(tmp_path)),
                STAY,
            ).run()
            assert len(box.requests) == least_calls(box.data(), "inbox", 10) - 3, (
                "what came before the kill is asked again"
            )
            assert_holds(local(tmp_path), owed(box.data()))

    def test_a_thread_that_says_that_it_is_gone_is_asked_again_and_holds_nobody(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """By real clocks: a minute later, here a second, and not by turning round and round until then."""
        monkeypatch.setattr(rounds, "AGAIN_AFTER", 1.0)
        gone = Fault("unavailable", at=1)
        with Sandbox(conversations=0, folders={"inbox": 20}, messages=40, long_every=4, faults=[gone]) as box:
            one = Export(
                spec_of(box), ["inbox"], client_of(box), open_store(fsspec.filesystem("file"), str(tmp_path)), STAY
            )
            ended: list[Any] = []
            worker = threading.Thread(target=lambda: ended.extend(one.run()), daemon=True)
            worker.start()
            worker.join(10)
            if not ended:
                one.kill()
            assert ended, "it was not asked again"
            assert ended[0].manifest["conversations_unavailable"] == 1

    def test_an_interrupted_main_thread_leaves_everything_safe_and_loses_no_paid_call(self, tmp_path: Path) -> None:
        """As Airflow's time-out does it: an exception in the midst of whatever the main thread does."""

        class Interrupted(BaseException):
            pass

        def interrupt(*_: object) -> None:
            raise Interrupted

        folders = {"inbox": 60, "other": 30}
        with Sandbox(conversations=0, folders=folders, messages=2, long_every=0, latency=0.15) as box:
            spec = spec_of(box, page_size=5)
            store = open_store(fsspec.filesystem("file"), str(tmp_path))
            before = signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.6)
            try:
                with pytest.raises(Interrupted):
                    Export(spec, FOLDERS, client_of(box), store, STAY).run()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            made = len(box.requests)
            assert 4 < made < 18
            Export(spec, FOLDERS, client_of(box), store, STAY).run()
            assert len(box.requests) == sum(least_calls(box.data(), folder, 5) for folder in FOLDERS)
            assert_holds(local(tmp_path), owed(box.data()))


def _raised(what: Callable[[], object]) -> BaseException:
    try:
        what()
    except BaseException as error:  # noqa: BLE001 - the test looks at it
        return error
    raise AssertionError("nothing was raised")


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
