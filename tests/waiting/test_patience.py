"""What a task does about limits: wait or let go, count, come back with one call, and end at some point."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from airflow_provider_pageconv.dump.checkpoint import Progress
from airflow_provider_pageconv.dump.patience import LetGo, Patience, Policy, WaitedTooLong
from airflow_provider_pageconv.graph.errors import (
    CallsStopped,
    GraphCursorError,
    GraphError,
    GraphRateLimitError,
    GraphUnavailableError,
)
from airflow_provider_pageconv.graph.protocol import Answer, Request
from tests.waiting.fakes import ASKED, HOUR, MINUTE, START, FakeClient, FakeTime, FakeTry, page

SECOND = timedelta(seconds=1)
STAY, FAIL = Policy(stay=True), Policy(fail=True)


def refused(named: timedelta | None = None, code: int | None = 4) -> GraphRateLimitError:
    """A refusal that names a time, or none."""
    return GraphRateLimitError("the app has used up its calls", code=code, http_status=400, retry_after=named)


def lets_go(task: FakeTry) -> timedelta:
    """Until when, from now on, a task lets go at its next call."""
    with pytest.raises(LetGo) as caught:
        task.call()
    return caught.value.moment - task.time.now


class TestOneWait:
    """From a refusal to the next page."""

    def test_a_minute_or_less_is_slept_in_place(self) -> None:
        """Jitter included; one second more, and the worker is let go of."""
        for jitter, slept in ((0.0, True), (30.0, True), (30.1, False)):
            time = FakeTime()
            task = FakeTry(time, [refused(30 * SECOND)], jitter=lambda jitter=jitter: jitter).begin()
            if slept:
                task.call()
                assert time.now - START == timedelta(seconds=30 + jitter)
            else:
                assert lets_go(task) == timedelta(seconds=30 + jitter)
                assert time.now == START

    def test_the_jitter_is_30_seconds_at_most_and_never_less_than_none(self) -> None:
        """By the product's own dice."""
        client = FakeClient(FakeTime())
        jitter = Patience(client, Policy())._jitter  # type: ignore[arg-type]
        random.seed(1)
        thrown = [jitter() for _ in range(10_000)]
        assert 0 <= min(thrown) < 1
        assert 29 < max(thrown) <= 30

    @pytest.mark.parametrize("named", [None, 61 * SECOND, 30 * MINUTE, 20 * HOUR])
    def test_whoever_stays_sleeps_through_any_wait(self, named: timedelta | None) -> None:
        """With `wait` no worker is let go of, and no call is made before the moment."""
        time = FakeTime()
        task = FakeTry(time, [refused(named)], policy=STAY, jitter=lambda: 3.0).begin()
        task.call()
        assert task.client.calls == [START, START + (named or MINUTE) + 3 * SECOND]
        assert max(time.naps) <= 60, "the clock is read again at least every minute"

    def test_a_clock_that_was_put_back_makes_the_wait_no_shorter(self) -> None:
        """Nor does a nap that ended early: the moment counts, not the naps."""
        time = FakeTime()
        task = FakeTry(time, [refused(10 * MINUTE)], policy=STAY).begin()
        jumps = iter([timedelta(seconds=-45), timedelta(seconds=-300)])

        def asleep() -> None:
            time.now += next(jumps, timedelta(0))

        task.client.stop.asleep = asleep
        task.call()
        assert task.client.calls[1] == START + 10 * MINUTE

    def test_it_is_in_the_checkpoint_before_the_wait_begins(self) -> None:
        """Whether it sleeps or lets go: a task that is killed in the wait comes back after it."""
        for policy, named in ((Policy(), 20 * SECOND), (Policy(), HOUR), (STAY, HOUR)):
            time = FakeTime()
            task = FakeTry(time, [refused(named)], policy=policy).begin()
            known: list[str | None] = []
            task.client.stop.asleep = lambda task=task, known=known: known.append(task.waiting.until)
            try:
                task.call()
            except LetGo:
                known.append(task.waiting.until)
            assert set(known) == {(START + named).isoformat()}

    def test_fail_raises_the_refusal_after_the_checkpoint(self) -> None:
        """Also a 613 and a short wait; not even one more call is made."""
        for error in (refused(), refused(5 * SECOND), refused(code=613), refused(code=368)):
            time = FakeTime()
            task = FakeTry(time, [page(), error], policy=FAIL).begin()
            task.call()
            with pytest.raises(GraphRateLimitError) as caught:
                task.call()
            assert caught.value is error
            assert len(task.saved) == 1
            assert len(task.client.calls) == 2
            assert task.client.stop.is_set()
            with pytest.raises(CallsStopped):
                task.call()

    def test_waits_of_several_refusals_add_up_in_what_the_result_tells(self) -> None:
        """`waited_seconds` goes into the manifest."""
        time = FakeTime()
        task = FakeTry(time, [refused(), refused(), page(), refused()], policy=STAY).begin()
        for _ in range(2):
            task.call()
        assert task.progress.waited_seconds == (1 + 2 + 1) * 60
        assert task.progress.api_calls == len(task.client.calls) == 5


class TestWhatComesAfter:
    """The first call, and whatever it is answered with."""

    @pytest.mark.parametrize(
        "answer", [GraphCursorError("the cursor is not valid any more"), GraphUnavailableError("x")]
    )
    @pytest.mark.parametrize("code", [4, 613])
    def test_an_error_that_the_walk_knows_stops_nobody(self, answer: GraphError, code: int) -> None:
        """A cursor that died during the wait: the walk begins again, and its calls go through."""
        task = FakeTry(FakeTime(), [refused(code=code), answer], policy=STAY).begin()
        with pytest.raises(type(answer)):
            task.call()
        assert not task.client.stop.is_set()
        task.call()
        assert len(task.client.calls) == 3

    def test_a_new_page_ends_the_row(self) -> None:
        """The next limit is waited for a minute again."""
        task = FakeTry(FakeTime(), [refused(), refused(), refused(), page(), refused()], policy=STAY).begin()
        for _ in range(2):
            task.call()
        gaps = [after - before for before, after in zip(task.client.calls, task.client.calls[1:], strict=False)]
        assert [gap / MINUTE for gap in gaps] == [1, 2, 5, 0, 1]

    def test_613_goes_slower_each_time_it_comes_after_a_page(self) -> None:
        """And waits only where it is repeated without one: then the schedule begins with its first minute."""
        pace = refused(code=613)
        task = FakeTry(FakeTime(), [pace, page(), pace, page(), pace, pace, pace], policy=STAY).begin()
        for _ in range(3):
            task.call()
        assert task.client.pace.slowed == 3
        gaps = [after - before for before, after in zip(task.client.calls, task.client.calls[1:], strict=False)]
        assert [gap / MINUTE for gap in gaps] == [0, 0, 0, 0, 0, 1, 2]


class TestOverTries:
    """What the checkpoint carries from one try to the next."""

    def test_a_try_that_wakes_too_early_waits_on(self) -> None:
        """Whoever started it: no call is made, and the moment stays the same."""
        time = FakeTime()
        first = FakeTry(time, [refused(HOUR)]).begin()
        lets_go(first)
        time.now += 20 * MINUTE
        early = first.next()
        with pytest.raises(LetGo) as caught:
            early.begin()
        assert caught.value.moment == START + HOUR
        assert early.client.calls == []
        # Under a minute before, the rest is slept.
        time.now = START + HOUR - 40 * SECOND
        early = first.next().begin()
        assert time.now == START + HOUR
        early.call()
        assert early.client.calls == [START + HOUR]

    def test_whoever_stays_waits_for_the_rest_of_it(self) -> None:
        """Killed in the midst of a long wait, started again."""
        time = FakeTime()
        first = FakeTry(time, [refused(HOUR)]).begin()
        lets_go(first)
        time.now += 10 * MINUTE
        later = first.next(policy=STAY).begin()
        later.call()
        assert later.client.calls == [START + HOUR]

    def test_the_schedule_goes_on(self) -> None:
        """Each try finds the same limit: a minute (slept in place), two, five …"""
        time = FakeTime()
        task = FakeTry(time, [refused(), refused()]).begin()
        waits = []
        for _ in range(7):
            waits.append(lets_go(task) / MINUTE)
            time.now += timedelta(minutes=waits[-1])
            task = task.next([refused()]).begin()
        assert waits == [2, 5, 10, 20, 30, 30, 30]

    def test_the_sentence_after_which_it_gives_up(self) -> None:
        """All waits of all tries count, and the last one is as long as what is left."""
        time = FakeTime()
        policy = Policy(timeout=HOUR)
        task = FakeTry(time, [refused(), refused()], policy=policy).begin()  # the first minute is slept in place
        waits = []
        with pytest.raises(WaitedTooLong) as caught:  # noqa: PT012 - in one of the tries
            while True:
                waits.append(lets_go(task) / MINUTE)
                time.now += timedelta(minutes=waits[-1])
                task = task.next([refused()], policy=policy).begin()
        assert waits == [2, 5, 10, 20, 22]
        assert str(caught.value) == (
            "Waited 1:00:00 for the limit without a single new page, and rate_limit_timeout is 1:00:00. Meta last said: "
            "Graph API error 4: the app has used up its calls. (HTTP status 400)"
        )
        assert task.client.stop.is_set()

    def test_it_gives_up_at_once_where_meta_names_more_than_is_left(self) -> None:
        """To wait for less would be in vain, and would prolong the block."""
        time = FakeTime()
        task = FakeTry(time, [refused(30 * HOUR)]).begin()
        with pytest.raises(
            WaitedTooLong, match=re.escape("is 1 day, 0:00:00. Meta last said, and names another 1 day, 6")
        ):
            task.call()
        assert time.now == START

    def test_tries_of_the_retries_count_too(self) -> None:
        """A try that was killed after a wait, and the next one, which meets the limit again."""
        time = FakeTime()
        policy = Policy(timeout=10 * MINUTE)
        first = FakeTry(time, [refused(20 * SECOND), refused(30 * SECOND), refused(9 * MINUTE)], policy=policy).begin()
        assert lets_go(first) == 9 * MINUTE
        time.now += 9 * MINUTE
        second = first.next([refused(20 * SECOND)], policy=policy).begin()
        with pytest.raises(WaitedTooLong, match=r"^Waited 0:09:50 .* names another 0:00:20: "):
            second.call()

    def test_an_airflow_that_was_down_was_not_waiting_for_meta(self) -> None:
        """Only the wait itself counts, however late the task comes back."""
        time = FakeTime()
        first = FakeTry(time, [refused(HOUR)]).begin()
        lets_go(first)
        time.now += 40 * HOUR
        second = first.next([refused(2 * HOUR)]).begin()
        assert second.progress.waited_seconds == 3600
        assert lets_go(second) == 2 * HOUR

    def test_a_new_page_counts_afresh(self) -> None:
        """23 hours, a page, and 23 hours more."""
        time = FakeTime()
        first = FakeTry(time, [refused(23 * HOUR)]).begin()
        lets_go(first)
        time.now += 23 * HOUR
        second = first.next([page(), refused(23 * HOUR)]).begin()
        second.call()
        assert lets_go(second) == 23 * HOUR

    def test_a_clear_counts_afresh(self) -> None:
        """Also the refusals, and what was held to be abusive; it does not wait for what is left either."""
        time = FakeTime()
        first = FakeTry(time, [refused(), refused(23 * HOUR, code=368)]).begin()
        assert lets_go(first) == 23 * HOUR
        cleared = first.next([refused(), refused(code=368)], clear_number=1).begin()
        assert time.now == START + MINUTE
        assert lets_go(cleared) == HOUR
        assert cleared.client.calls == [START + MINUTE, START + 2 * MINUTE]
        assert (cleared.waiting.clear_number, cleared.waiting.abuses, cleared.waiting.seconds) == (1, 1, 60)

    def test_held_to_be_abusive_twice_ends_it(self) -> None:
        """One long wait, then stop; pages in between do not make it right."""
        time = FakeTime()
        first = FakeTry(time, [refused(code=368)]).begin()
        assert lets_go(first) == HOUR
        time.now += HOUR
        second = first.next([page(), page(), refused(code=368)]).begin()
        second.call()
        second.call()
        with pytest.raises(WaitedTooLong) as caught:
            second.call()
        assert str(caught.value) == (
            "The calls were held to be abusive again after a long wait: Graph API error 368: the app has used up its "
            "calls. (HTTP status 400)"
        )
        with pytest.raises(WaitedTooLong):
            second.next([refused(code=368)]).begin().call()

    def test_the_folder_that_met_the_limit_speaks_for_all(self) -> None:
        """The others may have had nothing to save after that."""
        time = FakeTime()
        first = FakeTry(time, [refused(HOUR)]).begin()
        lets_go(first)
        others = [Progress(export_id=str(n), began=START.isoformat()) for n in range(3)]
        progresses = [*others[:2], first.saved[-1], others[2]]
        patience = Patience(FakeClient(time), Policy(), clock=time.clock)  # type: ignore[arg-type]
        with pytest.raises(LetGo) as caught:
            patience.take_up(progresses)
        assert caught.value.moment == START + HOUR
        assert all(progress.waiting is patience.waiting for progress in progresses)

    def test_a_wait_that_is_over_is_not_counted_again(self) -> None:
        """One folder's last checkpoint is from before the wait, another's from after it: the newer one tells."""
        time = FakeTime()
        first = FakeTry(time, [refused(), page()], policy=STAY).begin()
        first.call()
        first.save()
        before, after = first.saved
        assert before.waiting.until is not None
        patience = Patience(FakeClient(time), STAY, clock=time.clock)  # type: ignore[arg-type]
        patience.take_up([before, after])
        assert patience.waiting.seconds == 0
        assert after.waited_seconds == 60


class TestUsage:
    """What the headers of good answers say."""

    @pytest.mark.parametrize("percent", [None, 0.0, 75.0, 94.9])
    def test_below_the_stop_nothing_waits(self, percent: float | None) -> None:
        """The pace sees to what is below."""
        task = FakeTry(FakeTime(), [page(percent)] * 3).begin()
        for _ in range(3):
            task.call()
        assert task.client.calls == [START] * 3

    @pytest.mark.parametrize("regain, wait", [(None, MINUTE), (7 * MINUTE, 7 * MINUTE)])
    @pytest.mark.parametrize("percent", [95.0, 100.0, 140.0])
    def test_at_the_stop_it_waits_before_the_api_refuses(
        self, percent: float, regain: timedelta | None, wait: timedelta
    ) -> None:
        """The page is handed on; the wait comes before the next call, and is one for all folders."""
        task = FakeTry(FakeTime(), [page(percent, regain)], jitter=lambda: 1.0).begin()
        assert task.call().usage is not None
        assert lets_go(task) == wait + SECOND
        assert len(task.client.calls) == 1

    def test_the_stop_is_the_client_s(self) -> None:
        """`[pageconv] usage_stop_percent`."""
        task = FakeTry(FakeTime(), [page(49.0), page(50.0), page(49.0)]).begin()
        task.client.stop_percent = 50.0
        for _ in range(3):
            task.call()
        assert task.client.calls == [START, START, START + MINUTE]

    def test_the_last_page_of_an_export_is_not_waited_for(self) -> None:
        """There is no next call."""
        task = FakeTry(FakeTime(), [page(99.0)]).begin()
        task.call()
        assert task.saved == []

    def test_usage_that_does_not_fall_is_given_ever_more_time(self) -> None:
        """A call a minute would keep it where it is. Each is a new page, so the count of the waiting does not go on."""
        task = FakeTry(FakeTime(), [page(96.0)] * 8, policy=STAY).begin()
        for _ in range(9):
            task.call()
        gaps = [after - before for before, after in zip(task.client.calls, task.client.calls[1:], strict=False)]
        assert [gap / MINUTE for gap in gaps] == [1, 2, 5, 10, 20, 30, 30, 30]
        task.call()
        assert task.client.calls[-1] == task.client.calls[-2]

    def test_fail_counts_it_as_a_limit(self) -> None:
        """The error tells the usage and when to come back."""
        task = FakeTry(FakeTime(), [page(97.0, 3 * MINUTE)], policy=FAIL).begin()
        task.call()
        with pytest.raises(GraphRateLimitError) as caught:
            task.call()
        assert str(caught.value) == (
            "Graph API: 97 % of the allowance is used up. Waiting before the API has to refuse."
        )
        assert caught.value.retry_after == 3 * MINUTE
        assert caught.value.usage is not None
        assert len(task.saved) == 1


class TestLettingGoInTime:
    """`release_slot_after`."""

    def test_it_lets_go_between_two_calls_and_comes_back_soon(self) -> None:
        """After the checkpoint; not at once, for Airflow fails a task that it queues again before it knows of its end."""
        task = FakeTry(FakeTime(), policy=Policy(release_after=timedelta(0))).begin()
        with pytest.raises(LetGo, match="it lets go of its worker and comes back") as caught:
            task.call()
        assert caught.value.moment == START + timedelta(seconds=20)
        assert (len(task.saved), task.client.calls) == (1, [])

    def test_not_before(self) -> None:
        """Nor ever, where none is asked for, and where it stays."""
        for policy in (
            Policy(release_after=HOUR),
            Policy(release_after=None),
            Policy(stay=True, release_after=timedelta(0)),
        ):
            FakeTry(FakeTime(), policy=policy).begin().call()


class Together:
    """Folders in worker threads of their own, which call when the test says so.

    :param count: how many.
    """

    def __init__(self, count: int, script: Sequence[Answer | GraphError], policy: Policy) -> None:
        self.time = FakeTime()
        self.client = FakeClient(self.time, script)
        self.patience = Patience(
            self.client,  # type: ignore[arg-type]
            policy,
            clock=self.time.clock,
            jitter=lambda: 0.0,
        )
        self.progresses = [Progress(export_id=str(n), began=START.isoformat()) for n in range(count)]
        self.patience.take_up(self.progresses)
        self.saved = [threading.Event() for _ in range(count)]
        self.ended: dict[int, object] = {}

    def start(self, folder: int) -> threading.Thread:
        """Let a folder make a call."""

        def call() -> None:
            try:
                self.ended[folder] = self.patience.get(ASKED, lambda: None, lambda **_: self.saved[folder].set())
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.ended[folder] = error

        worker = threading.Thread(target=call, name=f"folder-{folder}", daemon=True)
        worker.start()
        return worker


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait for the worker threads."""
    tick = threading.Event()
    for _ in range(1000):
        if is_so():
            return
        tick.wait(0.005)
    raise AssertionError("it did not become so within 5 s")


class TestFoldersTogether:
    """One limit is one wait, whatever folder meets it."""

    def test_while_one_waits_the_others_make_safe_what_they_have_and_make_no_call(self) -> None:
        """They stand behind; after the wait one call is answered before theirs begin."""
        group = Together(4, [refused(40 * SECOND)], Policy())
        behind: list[threading.Thread] = []
        seen: list[int] = []

        def asleep() -> None:
            if not behind:
                behind.extend(group.start(folder) for folder in (1, 2, 3))
                for folder in (1, 2, 3):
                    assert group.saved[folder].wait(5)
                seen.append(len(group.client.calls))

        group.client.stop.asleep = asleep
        first = group.start(0)
        for worker in [first, *behind]:
            worker.join(5)
        eventually(lambda: len(group.ended) == 4)
        assert seen == [1], "a call was made during the wait"
        assert group.client.calls == [START, *[START + 40 * SECOND] * 4]
        assert not any(isinstance(end, Exception) for end in group.ended.values())

    def test_refusals_of_calls_under_way_are_one_limit(self) -> None:
        """Four calls were under way: four refusals, one wait."""
        group = Together(4, [page(), *(refused(40 * SECOND) for _ in range(4))], Policy())
        group.start(0).join(5)  # the first call of a try is made alone
        met = threading.Barrier(4)
        first_four = threading.Semaphore(4)
        group.client.under_way = lambda: first_four.acquire(blocking=False) and met.wait(5)
        workers = [group.start(folder) for folder in range(4)]
        for worker in workers:
            worker.join(5)
        assert len(group.ended) == 4
        assert group.client.calls == [START] * 5 + [START + 40 * SECOND] * 4
        assert group.patience.waiting.seconds == 0
        assert {progress.waited_seconds for progress in group.progresses} == {40.0}

    @pytest.mark.parametrize("limit", ["refusal", "usage"])
    def test_whoever_waited_for_a_turn_of_the_pace_steps_back(self, limit: str) -> None:
        """It passed the gate before the limit was met; it makes its call after the wait, and what it has is made safe."""
        met = refused(40 * SECOND) if limit == "refusal" else page(96.0, 40 * SECOND)
        group = Together(2, [page(), met], STAY)
        group.start(0).join(5)
        get, queued, turn = group.client.get, threading.Event(), threading.Event()

        def paced(request: Request, on_call: Callable[[], object] | None = None) -> Answer:
            if threading.current_thread().name == "folder-1" and not queued.is_set():
                queued.set()
                turn.wait(5)
            return get(request, on_call)

        group.client.get = paced  # type: ignore[method-assign]
        late = group.start(1)
        assert queued.wait(5)

        def asleep() -> None:
            if not turn.is_set():
                turn.set()
                assert group.saved[1].wait(5)

        group.client.stop.asleep = asleep
        if limit == "refusal":
            group.start(0).join(5)
            assert group.client.calls[:2] == [START, START]
        else:
            group.start(0).join(5)
            turn.set()
        late.join(5)
        assert not late.is_alive()
        assert [at for at in group.client.calls if START < at < START + 40 * SECOND] == []
        assert sum(at == START for at in group.client.calls) == 2
        assert group.progresses[0].waited_seconds == 40

    @pytest.mark.parametrize("policy", [Policy(), FAIL], ids=["let go", "fail"])
    def test_when_one_lets_go_the_others_are_stopped_before_they_call(self, policy: Policy) -> None:
        """They are not to run into the same limit."""
        group = Together(3, [refused(HOUR)], policy)
        group.start(0).join(5)
        assert isinstance(group.ended[0], (LetGo, GraphRateLimitError))
        for folder in (1, 2):
            group.start(folder).join(5)
            assert isinstance(group.ended[folder], CallsStopped)
        assert len(group.client.calls) == 1

    @pytest.mark.parametrize("after_wait", [True, False])
    @pytest.mark.parametrize("refusals", [0, 1])
    def test_a_try_begins_with_one_call(self, refusals: int, after_wait: bool) -> None:
        """All folders are ready, one calls, and the others only once it has its answer; nor if that is a refusal."""
        group = Together(4, [refused(HOUR)] * refusals, Policy())
        if after_wait:
            earlier = FakeTry(FakeTime(), [refused(HOUR)]).begin()
            lets_go(earlier)
            group.time.now = START + HOUR
            group.progresses[0] = earlier.saved[-1]
            group.patience.take_up(group.progresses)
        get, order, answer = group.client.get, [], threading.Event()

        def slow(request: object, on_call: object = None) -> object:
            order.append("asked")
            answer.wait(5)
            try:
                return get(request, on_call)  # type: ignore[arg-type]
            finally:
                order.append("answered")

        group.client.get = slow  # type: ignore[assignment,method-assign]
        workers = [group.start(folder) for folder in range(4)]
        eventually(lambda: bool(order))
        threading.Event().wait(0.05)
        assert order == ["asked"]
        answer.set()
        for worker in workers:
            worker.join(5)
        assert order[:2] == ["asked", "answered"]
        assert len(group.ended) == 4
        assert len(group.client.calls) == (1 if refusals else 4)
        if refusals:
            assert sorted(type(end).__name__ for end in group.ended.values()) == ["CallsStopped"] * 3 + ["LetGo"]

    def test_a_kill_ends_the_sleep_at_once(self) -> None:
        """The folder that sleeps, and those behind it; no call follows."""
        group = Together(3, [refused(HOUR)], STAY)
        behind: list[threading.Thread] = []

        def asleep() -> None:
            if not behind:
                behind.extend(group.start(folder) for folder in (1, 2))
                for folder in (1, 2):
                    assert group.saved[folder].wait(5)
                group.patience.kill()

        group.client.stop.asleep = asleep
        group.start(0).join(5)
        eventually(lambda: len(group.ended) == 3)
        assert {type(end) for end in group.ended.values()} == {CallsStopped}
        assert group.time.now == START
        assert len(group.client.calls) == 1
        assert group.patience.stopped()
        assert group.client.abandoned

    def test_a_kill_while_an_earlier_wait_is_taken_up(self) -> None:
        """Before any folder has begun."""
        earlier = FakeTry(FakeTime(), [refused(HOUR)]).begin()
        lets_go(earlier)
        later = earlier.next(policy=STAY)
        later.client.stop.asleep = later.patience.kill
        with pytest.raises(CallsStopped):
            later.begin()
        assert later.client.calls == []
