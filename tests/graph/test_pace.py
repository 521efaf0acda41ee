"""The pace: evenly spaced, never faster after a pause, slower where usage or a refusal says so; and a client that keeps it."""

from __future__ import annotations

import itertools
import random
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.pace import _MARGIN, Pace
from airflow_provider_pageconv.graph.protocol import Credentials, Request
from airflow_provider_pageconv.graph.usage import Usage, slow_factor
from tests.graph.answers import business_row, business_usage
from tests.graph.loopback import response, says, serving

TWO = 2 * _MARGIN
"""The pace whose interval is half a second: a call for each, and the margin for what the network does to them."""


def usage(percent: float) -> Usage:
    """What headers say that name this percentage."""
    return Usage(percent=percent, regain=None, by_type={"app": percent})


class Calls:
    """Calls that leave when the pace lets them, by a clock that goes on only while somebody waits.

    :param late: by how much each leaves later than it might.
    """

    def __init__(self, calls_per_second: float, *, late: float = 0.0, **options: float) -> None:
        self.pace = Pace(calls_per_second, **options)
        self.now = 1000.0
        self.at: list[float] = []
        self._late = late

    def make(self, count: int = 1, lasting: float = 0.0) -> None:
        """Make calls, one after the other."""
        for _ in range(count):
            self.now = max(self.now, self.pace.due) + self._late
            self.pace.left(self.now)
            self.at.append(self.now)
            self.now += lasting

    def gaps(self) -> list[float]:
        """Seconds between two calls."""
        return [round(after - before, 6) for before, after in itertools.pairwise(self.at)]


# ---- spacing


def test_the_first_call_is_due_at_once() -> None:
    """However slow the pace."""
    calls = Calls(0.001)
    assert calls.pace.due < 0
    calls.make()
    assert calls.at == [1000.0]


def test_calls_are_evenly_spaced() -> None:
    """Not two at once and then a pause, although both would be two a second."""
    calls = Calls(TWO)
    calls.make(10)
    assert calls.gaps() == [0.5] * 9


def test_21_calls_of_two_a_second_take_a_little_more_than_10_seconds() -> None:
    """So that two that come closer together on their way are still no third one within a second."""
    calls = Calls(2)
    calls.make(21)
    assert 10.1 < calls.at[-1] - calls.at[0] < 10.5
    assert all(third - first > 1.019 for first, third in zip(calls.at, calls.at[2:], strict=False))


def test_what_a_call_takes_is_no_pause_on_top() -> None:
    """The next one follows at once where the interval is over."""
    calls = Calls(TWO)
    calls.make(3, lasting=0.3)
    calls.make(3, lasting=1.7)
    assert calls.gaps() == [0.5, 0.5, 0.5, 1.7, 1.7]


def test_a_pause_is_not_followed_by_a_burst() -> None:
    """What was not used up in an hour is gone."""
    calls = Calls(TWO)
    calls.make(2)
    calls.now += 3600
    calls.make(5)
    assert calls.gaps()[2:] == [0.5] * 4


def test_a_late_call_is_not_followed_by_a_hurried_one() -> None:
    """A busy machine wakes late; the interval counts from when the call really left."""
    calls = Calls(TWO, late=0.2)
    calls.make(5)
    assert calls.gaps() == [0.7] * 4


def test_a_call_that_is_told_of_late_does_not_put_the_pace_back() -> None:
    """Another has left since; the later one counts."""
    pace = Pace(TWO)
    pace.left(1010.0)
    pace.left(1009.0)
    assert pace.due == 1010.5


@settings(deadline=None)
@given(
    st.sampled_from([0.5, 2.0, 10.0]),
    st.lists(st.tuples(st.floats(0, 1.5), st.floats(0, 10)), min_size=1, max_size=60),
)
def test_in_no_second_more_than_the_pace(calls_per_second: float, lives: list[tuple[float, float]]) -> None:
    """Over any second, with calls of any length and idling in between."""
    calls = Calls(calls_per_second)
    for lasting, idle in lives:
        calls.make(lasting=lasting)
        calls.now += idle if idle > 8 else 0
    for begin in calls.at:
        assert sum(begin <= at < begin + 1 - 1e-6 for at in calls.at) <= max(1, calls_per_second)


def test_a_pace_of_0_is_none() -> None:
    """Until something asks to go slower: then it is the documented pace, and slower than that."""
    calls = Calls(0)
    calls.make(100)
    assert calls.gaps() == [0] * 99
    calls.pace.slow_down()
    assert calls.pace.interval == 1.0


# ---- usage


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


def test_what_an_answer_says_holds_for_the_call_that_waits() -> None:
    """It is due later, or sooner, than when it began to wait."""
    pace = Pace(TWO)
    pace.left(1000.0)
    assert pace.due == 1000.5
    pace.heed(usage(95))
    assert pace.due == 1002.0
    pace.heed(None)
    assert pace.due == 1000.5


def test_the_percentages_are_the_deployments() -> None:
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
    assert all(1 <= factor <= 4 for factor in factors)


def test_a_slower_pace_than_the_documented_one_is_kept() -> None:
    """Whoever asks for a call every 4 s gets at most that, and less where it has to go slower."""
    calls = Calls(TWO / 8)
    assert calls.pace.interval == 4.0
    calls.pace.heed(usage(80))
    assert calls.pace.interval == 10.0


# ---- refusals


def test_a_refused_pace_is_halved_and_comes_back_step_by_step() -> None:
    """20 good answers in a row undo one halving; a new refusal counts them from the beginning; 16 times at most."""
    pace = Pace(TWO)
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
    pace = Pace(TWO)
    pace.slow_down()
    pace.heed(usage(95))
    assert pace.interval == 2.0
    pace.slow_down()
    pace.slow_down()
    assert pace.interval == 4.0


# ---- a client


class FakeTime:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []
        self.lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        time.sleep(0.002)  # so that whoever may pass does
        with self.lock:
            self.naps.append(seconds)
            self.now += seconds


def paced(url: str, fake: FakeTime, calls_per_second: float = TWO) -> GraphClient:
    """A client by that clock."""
    return GraphClient(
        url,
        Credentials("token"),
        version="v26.0",
        calls_per_second=calls_per_second,
        clock=fake.clock,
        sleep=fake.sleep,
    )


@pytest.mark.parametrize("workers", [1, 4, 12])
def test_a_clients_worker_threads_share_one_pace(workers: int) -> None:
    """24 calls at that pace take 11.5 seconds, by however many worker threads they are made, and each gets its turn.

    One of them waits at the clock, and nobody passes it meanwhile.
    """
    fake = FakeTime()
    made: dict[int, int] = dict.fromkeys(range(workers), 0)
    begin = threading.Barrier(workers)
    with serving(says(response())) as server:
        client = paced(server.url, fake)

        def work(name: int) -> None:
            begin.wait(5)
            for _ in range(24 // workers):
                client.get(Request("me"))
                made[name] += 1

        threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(server.asked) == client.calls == 24
    assert made == dict.fromkeys(range(workers), 24 // workers)
    assert fake.naps == [0.5] * 23


def test_a_clients_calls_keep_the_pace_over_its_worker_threads() -> None:
    """Measured at the server, against a real clock: no two closer than the pace, less what a worker thread's start takes."""
    arrived: list[float] = []
    answer = says(response())

    def script(connection: object, asked: object) -> None:
        arrived.append(time.monotonic())
        answer(connection, asked)  # type: ignore[arg-type]

    with serving(script) as server:
        client = GraphClient(server.url, Credentials("token"), version="v26.0", calls_per_second=20)
        workers = [threading.Thread(target=lambda: [client.get(Request("me")) for _ in range(4)]) for _ in range(3)]
        begun = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(arrived) == 12
    assert arrived[-1] - begun >= 11 * 0.05 - 0.02


def test_repeated_calls_keep_the_pace_too() -> None:
    """They count at Meta as any other."""
    fake = FakeTime()
    with serving(says(b"")) as server:
        with pytest.raises(Exception, match="cut the connection"):
            paced(server.url, fake, 0.01).get(Request("me"))
        assert len(server.asked) == 6
    assert fake.now >= 1000 + 5 * 100


def test_a_client_goes_slower_where_its_answers_say_so() -> None:
    """And at its pace again where they do not; the usage of another product slows nothing."""
    busy, ads = business_usage(business_row(percent=95)), business_usage(business_row(kind="ads_management"))
    fake = FakeTime()
    answers = [response(headers=headers) for headers in (busy, ads, busy, {}, ads, ads)]
    asked = Request("100/conversations", {}, True, ("messenger", "pages"))
    left = []
    with serving(says(*answers)) as server:
        client = paced(server.url, fake)
        for _ in answers:
            client.get(asked)
            left.append(fake.now)
    assert [after - before for before, after in itertools.pairwise(left)] == [2.0, 0.5, 2.0, 0.5, 0.5]


def test_random_calls_of_a_client_never_come_closer_than_its_pace() -> None:
    """Whatever happens between them."""
    random.seed(7)
    fake = FakeTime()
    left: list[float] = []
    with serving(says(response())) as server:
        client = paced(server.url, fake)
        for _ in range(50):
            client.get(Request("me"))
            left.append(fake.now)
            fake.now += random.choice([0, 0, 0.1, 0.6, 40.0])
    assert min(after - before for before, after in itertools.pairwise(left)) >= 0.5 - 1e-9
