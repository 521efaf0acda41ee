"""The pace of calls holds over all worker threads, and no pause is made up for by a burst."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.pace import Pace
from airflow_provider_pageconv.graph.protocol import Credentials, Request
from tests.graph.loopback import response, says, serving


class FakeTime:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        with self.lock:
            self.now += seconds


def turns(pace: Pace, fake: FakeTime, count: int, each: int) -> list[float]:
    """When each of the calls of so many worker threads was let through."""
    times: list[float] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(each):
            pace.wait()
            with lock:
                times.append(fake.now)

    workers = [threading.Thread(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return times


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_the_pace_holds_over_all_worker_threads(workers: int) -> None:
    """48 calls at 2 a second take 23.5 seconds and a margin of 2 %, by however many worker threads they are made."""
    fake = FakeTime()
    pace = Pace(2.0, fake.clock, fake.sleep)
    times = turns(pace, fake, workers, 48 // workers)
    assert len(times) == 48
    assert fake.now == pytest.approx(1000 + 47 * 0.5 * 1.02)


def test_the_first_list_goes_before_the_others_and_yet_each_goes_on() -> None:
    """A list whose answers come at once would else keep the others from beginning until it ends."""
    fake = FakeTime()
    made = [0] * 5
    busy = set(range(5))

    def sleep(seconds: float) -> None:
        while busy:  # until whoever was let through stands in line again
            time.sleep(0.0001)
        time.sleep(0.0005)
        fake.sleep(seconds)

    pace = Pace(2.0, fake.clock, sleep)

    def work(number: int) -> None:
        """Make the calls of one of four lists, or of a thread."""
        while fake.now < 1200:
            busy.discard(number)
            pace.wait((0, number) if number < 4 else (1, 0))
            busy.add(number)
            made[number] += 1
        busy.discard(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert made[0] > sum(made) / 2
    assert min(made[1:4]) > sum(made) / 50
    assert made[4] < sum(made) / 20, "threads wait for lists"


def test_a_pause_is_not_followed_by_a_burst() -> None:
    """What was not called in the meantime is not called now."""
    fake = FakeTime()
    pace = Pace(2.0, fake.clock, fake.sleep)
    pace.wait()
    fake.now += 60
    begun = fake.now
    times = [begun for _ in range(4) if (pace.wait() or True)]
    assert len(times) == 4
    assert fake.now == pytest.approx(begun + 1.5 * 1.02)


def test_a_late_call_is_not_followed_by_a_hurried_one() -> None:
    """A sleep that took longer counts from where it ended."""
    fake = FakeTime()
    oversleeps: Callable[[float], object] = lambda seconds: fake.sleep(seconds + 0.3)  # noqa: E731
    pace = Pace(2.0, fake.clock, oversleeps)
    pace.wait()
    pace.wait()
    second = fake.now
    pace.wait()
    assert fake.now >= second + 0.5


def test_the_first_call_is_let_through_at_once_and_0_lets_all_through() -> None:
    """No pace was asked for."""
    fake = FakeTime()
    Pace(0.001, fake.clock, fake.sleep).wait()
    free = Pace(0, fake.clock, fake.sleep)
    for _ in range(100):
        free.wait()
    assert fake.now == 1000.0


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
        client = GraphClient(
            server.url,
            Credentials("token"),
            version="v26.0",
            calls_per_second=0.01,
            clock=fake.clock,
            sleep=fake.sleep,
        )
        with pytest.raises(Exception, match="network failed"):
            client.get(Request("me"))
        assert len(server.asked) == 6
    assert fake.now >= 1000 + 5 * 100
