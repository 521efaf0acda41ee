"""The pace of an export: evenly spaced over all its folders and threads, never faster after a pause, slower where asked to."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_pageconv.graph import limits
from airflow_provider_pageconv.graph.pace import _MARGIN
from airflow_provider_pageconv.graph.protocol import Request
from tests.waiting.fakes import MINUTE, SIZE, Lost, Page, Task, TimedHands, refused

TWO = 2 * _MARGIN
"""The pace whose interval is half a second: a call for each, and the margin for what the network does to them."""

FOUR = {"inbox": 6, "other": 4, "page_done": 4, "spam": 1}


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "random", SimpleNamespace(uniform=lambda _, __: 0.0))


def gaps(task: Task) -> list[float]:
    """Seconds between two calls."""
    return [round(after - before, 6) for before, after in itertools.pairwise(task.times)]


def export(**options: Any) -> Task:
    """Export four folders whose threads want calls of their own."""
    task = Task(FOUR, **{"calls_per_second": TWO, "long_threads": 2, "seconds": 0.3, **options})
    task.run()
    assert {one["conversations"] for one in task.store.manifests().values()} == {
        pages * SIZE for pages in FOUR.values()
    }
    return task


def test_the_calls_of_all_folders_are_evenly_spaced() -> None:
    """Not two at once and then a pause, although both would be two a second."""
    assert gaps(export()) == [0.5] * (export().least_calls() - 1)


def test_the_first_call_is_made_at_once() -> None:
    """However slow the pace."""
    task = Task({"inbox": 1}, calls_per_second=0.001)
    task.run()
    assert task.times == [0]


@pytest.mark.parametrize("latency", [0.05, 0.8, 1.9])
def test_answers_that_take_their_time_do_not_slow_the_calls(latency: float) -> None:
    """Other calls leave meanwhile; only at the beginning and the end is there nothing else to ask for."""
    between = gaps(export(seconds=latency))
    assert min(between) >= 0.5
    assert between[4:-6] == [0.5] * (len(between) - 10)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("calls_per_second", [0.5, 2, 10])
def test_in_no_second_more_than_the_pace(calls_per_second: float, seed: int) -> None:
    """Over any second, answers of any length, with refusals and waits in between."""
    dice = random.Random(seed)

    def seconds(_: Request) -> float:
        return dice.choice([0.0, 0.0, 0.1, 0.6, 1.5, 9.0])

    script = [dice.choice([Page(), Page(), Page(), refused(MINUTE / 2), refused(code=2), Lost()]) for _ in range(20)]
    times = export(calls_per_second=calls_per_second, seconds=seconds, script=script).times
    most = max(1, calls_per_second)
    assert len(times) > 60
    for begin in times:
        assert sum(begin <= at < begin + 1 - 1e-6 for at in times) <= most


def test_no_burst_after_a_wait() -> None:
    """What was not used up meanwhile is gone; and the first call after it is made alone."""
    between = gaps(export(script=[*[Page()] * 5, refused(MINUTE / 2)], seconds=0.7))
    waited = between.index(max(between))
    assert between[waited] > 30
    assert between[waited + 1] == 0.7
    assert between[waited + 2 : waited + 8] == [0.5] * 6


class LateHands(TimedHands):
    """Hands whose calls leave later than they were handed over, as on a busy machine."""

    late = 0.2

    def call(self, number: int, request: Request, *, tells: bool) -> None:
        self._push(self.monotonic() + self.late, lambda: self._leave(number, request))

    def _leave(self, number: int, request: Request) -> None:
        super().call(number, request, tells=True)


def test_a_late_call_is_not_followed_by_a_hurried_one() -> None:
    """The interval counts from when a call really left, and until that is known no other one is made."""
    task = Task(FOUR, calls_per_second=TWO, long_threads=2, seconds=0.3)
    task.prepare()
    task.run(LateHands(task.page.exchange, task.time, task.store, task.seconds))
    assert set(gaps(task)) == {0.7}


def test_a_call_that_never_leaves_holds_the_others_no_longer_than_the_client_s_patience() -> None:
    """Its worker thread is stuck; it is given up like one that is not answered."""

    class Stuck(TimedHands):
        stuck = 1

        def call(self, number: int, request: Request, *, tells: bool) -> None:
            if self.stuck:
                self.stuck -= 1
            else:
                super().call(number, request, tells=True)

    task = Task(FOUR, calls_per_second=TWO, seconds=0.3)
    task.prepare()
    patience = task.client.patience
    task.run(Stuck(task.page.exchange, task.time, task.store, task.seconds))
    assert task.times[0] == patience


def test_a_pace_of_0_is_none() -> None:
    """As many calls at once as there are to make; until something asks to go slower: then it is the documented pace, halved."""
    task = export(calls_per_second=0, seconds=1.0)
    first, *following = (task.times.count(second) for second in range(4))
    assert first == 4
    assert min(following) >= 5
    task = export(calls_per_second=0, seconds=1.0, script=[Page(), refused(code=613)])
    slow = [at for at in task.times if at > 1][:12]  # 20 good answers forgive it
    assert {after - before for before, after in itertools.pairwise(slow)} == {1.0}


@pytest.mark.parametrize("percent, interval", [(0, 0.5), (74.9, 0.5), (75, 1.0), (85, 1.5), (94.9, 1.995)])
def test_high_usage_slows_the_calls(percent: float, interval: float) -> None:
    """From the slow percentage on, half as fast, down to a quarter at the stop; and back when it has fallen."""
    task = Task({"inbox": 12}, [Page(percent)] * 5, calls_per_second=TWO, seconds=0.1)
    task.run()
    assert gaps(task) == pytest.approx([interval] * 5 + [0.5] * 7)


def test_a_refused_pace_is_halved_and_comes_back_step_by_step() -> None:
    """20 good answers undo one halving; the call that follows a refusal is made alone."""
    task = Task({"inbox": 60}, [refused(code=613), Page(), refused(code=613)], calls_per_second=TWO, seconds=0.1)
    task.run()
    between = gaps(task)
    assert between[:3] == [1.0, 1.0, 2.0]
    assert between == sorted(between[:3]) + sorted(between[3:], reverse=True)
    assert [between.count(gap) for gap in (2.0, 1.0, 0.5)] == [20, 22, len(between) - 42]


def test_a_try_begins_with_the_pace_of_its_connection() -> None:
    """How fast an earlier one went is not kept."""
    task = Task({"inbox": 5}, [Page(), refused(code=613), refused(30 * MINUTE)], calls_per_second=TWO, seconds=0.1)
    with pytest.raises(Exception, match="limit is reached"):
        task.run()
    task.time.pass_(30 * 60)
    made = len(task.calls)
    task.next().run()
    assert set(gaps(task)[made:]) == {0.5}
