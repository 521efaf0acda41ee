"""The pace: evenly spaced over all worker threads, never faster after a pause, slower where usage or a refusal says so."""

from __future__ import annotations

import itertools
import random
import threading

import pytest

from airflow_provider_pageconv.graph.pace import _MARGIN, Pace
from airflow_provider_pageconv.graph.usage import Usage, slow_factor
from tests.waiting.fakes import FakeTime

TWO = 2 * _MARGIN
"""The pace whose interval is half a second: a call for each, and the margin for what the network does to them."""


def usage(percent: float) -> Usage:
    """What headers say that name this percentage."""
    return Usage(percent=percent, regain=None, by_type={"app": percent})


class Calls:
    """Calls that are let through, by the fake clock.

    :param oversleep: by how much each sleep is too long.
    """

    def __init__(self, calls_per_second: float, *, oversleep: float = 0.0, **options: float) -> None:
        self.time = FakeTime()
        self.at: list[float] = []
        self._oversleep = oversleep
        self.pace = Pace(calls_per_second, self.time.monotonic, self._sleep, **options)

    def _sleep(self, seconds: float) -> None:
        self.time.sleep(seconds + self._oversleep)

    def make(self, count: int = 1, lasting: float = 0.0) -> None:
        """Make calls, one after the other."""
        for _ in range(count):
            self.pace.wait()
            self.at.append(self.time.monotonic())
            self.time.sleep(lasting)

    def gaps(self) -> list[float]:
        """Seconds between two calls."""
        return [round(after - before, 6) for before, after in itertools.pairwise(self.at)]


def test_calls_are_evenly_spaced() -> None:
    """Not two at once and then a pause, although both would be two a second."""
    calls = Calls(TWO)
    calls.make(10)
    assert calls.at[0] == 0
    assert calls.gaps() == [0.5] * 9


def test_21_calls_of_two_a_second_take_a_little_more_than_10_seconds() -> None:
    """So that two that come closer together on their way are still no third one within a second."""
    calls = Calls(2)
    calls.make(21)
    assert 10.1 < calls.at[-1] < 10.5
    assert all(third - first > 1.019 for first, third in zip(calls.at, calls.at[2:], strict=False))


def test_what_a_call_takes_is_no_pause_on_top() -> None:
    """The next one follows at once where the interval is over."""
    calls = Calls(TWO)
    calls.make(3, lasting=0.3)
    calls.make(3, lasting=1.7)
    assert calls.gaps() == [0.5, 0.5, 0.5, 1.7, 1.7]


def test_no_burst_after_idling() -> None:
    """What was not used up in an hour is gone."""
    calls = Calls(TWO)
    calls.make(2)
    calls.time.sleep(3600)
    calls.make(5)
    assert calls.gaps()[2:] == [0.5] * 4


def test_a_late_call_is_not_followed_by_a_hurried_one() -> None:
    """A busy machine wakes late; the interval counts from when the call was really let through."""
    calls = Calls(TWO, oversleep=0.2)
    calls.make(5)
    assert calls.gaps() == [0.7] * 4


def test_a_sleep_that_ends_early_ends_it_for_one_caller_only() -> None:
    """As when the client is stopped: it asks before the call, and the call is not made."""
    time = FakeTime()
    pace = Pace(TWO, time.monotonic, lambda seconds: None)
    for _ in range(3):
        pace.wait()
    assert time.monotonic() == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("calls_per_second", [0.5, 2, 10])
def test_in_no_second_more_than_the_pace(calls_per_second: float, seed: int) -> None:
    """Over any second, calls of any length and idling in between."""
    random.seed(seed)
    calls = Calls(calls_per_second)
    for _ in range(200):
        calls.make(lasting=random.choice([0, 0, 0.1, 0.6, 1.5]))
        if random.random() < 0.1:
            calls.time.sleep(random.uniform(0, 10))
    most = max(1, calls_per_second)
    for begin in calls.at:
        assert sum(begin <= at < begin + 1 - 1e-6 for at in calls.at) <= most


def test_four_worker_threads_share_one_pace() -> None:
    """Each makes its calls as fast as it is let, and each gets its turn; all together keep the interval."""
    calls = Calls(TWO)
    made: dict[int, int] = dict.fromkeys(range(4), 0)
    begin, lock = threading.Barrier(4), threading.Lock()

    def work(name: int) -> None:
        begin.wait(5)
        for _ in range(25):
            calls.pace.wait()
            with lock:
                calls.at.append(calls.time.monotonic())
                made[name] += 1

    workers = [threading.Thread(target=work, args=(name,), daemon=True) for name in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    assert made == dict.fromkeys(range(4), 25)
    # Time stands still outside of the sleeps, so what each noted is when it was let through, or a turn later.
    assert calls.time.naps == [0.5] * 99
    assert calls.time.monotonic() == 49.5


def test_a_pace_of_0_is_none() -> None:
    """Until something asks to go slower: then it is the documented pace, and slower than that."""
    calls = Calls(0)
    calls.make(5)
    assert calls.gaps() == [0] * 4
    calls.pace.slow_down()
    assert calls.pace.interval == 1.0


def test_without_headers_there_is_the_pace_alone() -> None:
    """Nothing said is nothing to heed."""
    calls = Calls(TWO)
    for _ in range(30):
        calls.pace.heed(None)
    assert calls.pace.interval == 0.5


@pytest.mark.parametrize(
    "percent, interval", [(0, 0.5), (74.9, 0.5), (75, 1.0), (85, 1.5), (95, 2.0), (100, 2.0), (1000, 2.0)]
)
def test_high_usage_slows_the_pace(percent: float, interval: float) -> None:
    """From the slow percentage on, half as fast, down to a quarter at the stop; and back when it has fallen."""
    calls = Calls(TWO)
    calls.pace.heed(usage(percent))
    assert calls.pace.interval == interval
    calls.make(3)
    assert calls.gaps() == [interval] * 2
    calls.pace.heed(usage(10))
    assert calls.pace.interval == 0.5


def test_the_percentages_are_the_deployment_s() -> None:
    """`[pageconv] usage_slow_percent` and `usage_stop_percent`."""
    calls = Calls(TWO, slow_percent=40, stop_percent=60)
    calls.pace.heed(usage(39))
    assert calls.pace.interval == 0.5
    calls.pace.heed(usage(50))
    assert calls.pace.interval == 1.5


@pytest.mark.parametrize("slow, stop", [(95, 75), (75, 75), (0, 0), (100, 100)])
def test_percentages_the_wrong_way_round_break_nothing(slow: float, stop: float) -> None:
    """The factor stays between 1 and 4, and never falls as usage grows."""
    factors = [slow_factor(percent, slow, stop) for percent in range(0, 200, 5)]
    assert factors == sorted(factors)
    assert set(factors) <= {factor for factor in factors if 1 <= factor <= 4}


def test_a_slower_pace_than_the_documented_one_is_kept() -> None:
    """Whoever asks for a call every 4 s gets at most that, and less where it has to go slower."""
    calls = Calls(TWO / 8)
    assert calls.pace.interval == 4.0
    calls.pace.heed(usage(80))
    assert calls.pace.interval == 10.0


def test_a_refused_pace_is_halved_and_comes_back_step_by_step() -> None:
    """20 good answers in a row undo one halving; a new refusal counts them from the beginning; 16 times at most."""
    pace = Calls(TWO).pace
    intervals = []
    for _ in range(6):
        pace.slow_down()
        intervals.append(pace.interval)
    assert intervals == [1, 2, 4, 8, 8, 8]
    for _ in range(19):
        pace.heed(None)
    assert pace.interval == 8
    pace.heed(None)
    assert pace.interval == 4
    for _ in range(19):
        pace.heed(None)
    pace.slow_down()
    for _ in range(19):
        pace.heed(None)
    assert pace.interval == 8
    for _ in range(20 * 6):
        pace.heed(None)
    assert pace.interval == 0.5


def test_usage_and_refusals_slow_by_the_greater_of_the_two() -> None:
    """They do not multiply."""
    pace = Calls(TWO).pace
    pace.slow_down()
    pace.heed(usage(95))
    assert pace.interval == 2.0
    pace.slow_down()
    pace.slow_down()
    assert pace.interval == 4.0
