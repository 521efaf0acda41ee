"""Whether an export of four folders is as fast as the pace and the cursors allow, and never faster than the pace.

The server is a sandbox in a process of its own, which answers after 0.1 to 1.5 s. A call that needs the cursor of another one
waits for its answer: the pages of a list follow one another, and so do those of a thread, which begins when the page of the
list that it stands on is there; the heads of the lists are read again when all lists were walked. `bound` is the greater of calls / pace and the longest chain: nothing can be faster. `plan` is
what somebody reaches who knows all chains beforehand, and always lets the call through on which most depends; where it is
longer than the bound, calls of short chains and of the longest one need the same turns.

The table says how much of the plan is reached (95 % is the budget, at 2 calls a second); what the plan would be if each folder made one call at a
time; the most calls that the server saw begin in any one second; and the shortest time in which it saw one more than that.
At 10 calls a second latencies are a fifth: the same export in fast motion, which shows overheads five times as large.

    python tests/benchmarks/bench_pace.py [runs of each line]
"""

from __future__ import annotations

import gc
import heapq
import logging
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_provider_pageconv.dump.export import Export
from airflow_provider_pageconv.dump.opening import open_store
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.graph.protocol import Credentials
from airflow_provider_pageconv.sandbox import Sandbox

FOLDERS = ("inbox", "other", "page_done", "spam")
BUDGET = 0.95

SHAPES: dict[str, dict[str, Any]] = {
    "mixed": {"conversations": 2000, "long_every": 20, "messages": 60, "short_messages": 1, "details": "all"},
    "long threads": {"conversations": 120, "long_every": 3, "messages": 425, "details": "all"},
    "long lists": {"conversations": 500, "long_every": 0, "short_messages": 1, "max_limit": 10},
}
LINES = [
    (shape, pace, (least * 2 / pace, most * 2 / pace))
    for pace, latencies in ((2.0, ((0.1, 1.5),)), (10.0, ((0.1, 0.1), (0.1, 1.5), (1.5, 1.5))))
    for shape in SHAPES
    for least, most in latencies
]
JUDGED = 2.0
"""The pace of the lines that the budget is for."""


@dataclass(frozen=True)
class Asked:
    """One call as the server saw it.

    :param chain: the list (a folder), its head that is read again, or the thread that it belongs to.
    :param page: the list's page on which the thread stands; for calls of the list the page that they ask for.
    :param latency: after how many seconds it was answered.
    """

    at: float
    folder: str
    chain: str
    page: int
    latency: float


class Timed(Sandbox):
    """Remembers how long it let each call wait."""

    def __init__(self, **options: Any) -> None:
        self.delays: list[float] = []
        super().__init__(**options)

    def _delay(self) -> float:
        self.delays.append(super()._delay())
        return self.delays[-1]

    def asked(self) -> list[Asked]:
        """All calls, with the chains that they are part of."""
        ranks: dict[str, int] = {}
        place: dict[str, tuple[str, int]] = {}
        for thread in self.data()["threads"]:
            ranks[thread["folder"]] = ranks.get(thread["folder"], -1) + 1
            place[thread["node"]["id"]] = thread["folder"], ranks[thread["folder"]]
        ends: dict[str, list[int]] = {folder: [] for folder in FOLDERS}
        again: set[str] = set()
        found = []
        for request, delay in zip(self.requests, self.delays, strict=True):
            if request.edge == "conversations":
                folder = request.params["folder"]
                seen = ends[folder]
                if seen and "after" not in request.params:
                    again.add(folder)
                chain = f"head of {folder}" if folder in again else folder
                page = len(seen)
                seen.append((seen[-1] if seen else 0) + min(int(request.params["limit"]), self.rules.max_limit))
            else:
                chain = request.path.split("/")[-2]
                folder, rank = place[chain]
                page = next(number for number, end in enumerate(ends[folder]) if rank < end)
            found.append(Asked(request.at, folder, chain, page, delay))
        return found


def serve(options: dict[str, Any], pipe: Any) -> None:
    """Run the server until it is asked for what it saw."""
    with Timed(seed=5, **options) as box:
        pipe.send((box.url, box.token, box.page.id))
        pipe.recv()
        pipe.send(box.asked())


@dataclass(frozen=True)
class Measurement:
    """One export.

    :param seconds: from the first call to the last answer.
    :param bound: the greater of calls / pace and the longest chain.
    :param plan: what the best order of calls takes.
    :param one_by_one: likewise, if each folder made one call at a time.
    :param busiest: the most calls in any second.
    :param tightest: the shortest time in which one more than the pace began.
    """

    calls: int
    seconds: float
    bound: float
    plan: float
    one_by_one: float
    busiest: int
    tightest: float


AFTER_THE_LISTS = -2


def best_plan(chains: list[tuple[list[float], int, int]], pace: float) -> tuple[float, float]:
    """Let calls through at a pace, always the one on which most depends.

    :param chains: latencies of the calls that follow one another; the chain and the call that the first one waits for, -1, or
        `AFTER_THE_LISTS`: all chains that wait for nothing.
    :return: when the last answer is there, and the length of the longest chain.
    """
    after: dict[tuple[int, int], list[int]] = {}
    for number, (_, parent, at) in enumerate(chains):
        after.setdefault((parent, at), []).append(number)

    rest: dict[tuple[int, int], float] = {}  # what follows from the beginning of a call on

    def weigh(number: int) -> float:
        latencies, parent, _ = chains[number]
        below = max([0.0, *(rest[head, 0] for head in heads)]) if parent == -1 else 0.0
        for at in reversed(range(len(latencies))):
            below = latencies[at] + max([below, *(weigh(child) for child in after.get((number, at), ()))])
            rest[number, at] = below
        return below

    roots, heads = after.get((-1, -1), []), after.get((AFTER_THE_LISTS, -1), [])
    for head in heads:
        weigh(head)
    longest = max(weigh(root) for root in roots)
    ready = [(-rest[root, 0], root, 0) for root in roots]
    heapq.heapify(ready)
    coming: list[tuple[float, int, int]] = []
    walking, walked = len(roots), 0.0
    now = end = 0.0
    while ready or coming:
        if not ready:
            now = max(now, coming[0][0])
        while coming and coming[0][0] <= now:
            _, number, at = heapq.heappop(coming)
            heapq.heappush(ready, (-rest[number, at], number, at))
        _, number, at = heapq.heappop(ready)
        answered = now + chains[number][0][at]
        end = max(end, answered)
        if at + 1 < len(chains[number][0]):
            heapq.heappush(coming, (answered, number, at + 1))
        elif chains[number][1] == -1:
            walking, walked = walking - 1, max(walked, answered)
            for head in heads if not walking else ():
                heapq.heappush(coming, (walked, head, 0))
        for child in after.get((number, at), ()):
            heapq.heappush(coming, (answered, child, 0))
        now += 1 / pace
    return end, longest


def judge(asked: list[Asked], pace: float) -> Measurement:
    """Compute what the calls could have taken, and what they took."""
    chains: list[tuple[list[float], int, int]] = []
    for folder in FOLDERS:
        chains.append(([call.latency for call in asked if call.chain == folder], -1, -1))
        lists = len(chains) - 1
        threads: dict[str, list[Asked]] = {}
        for call in asked:
            if call.folder == folder and call.chain not in (folder, f"head of {folder}"):
                threads.setdefault(call.chain, []).append(call)
        chains += [([call.latency for call in calls], lists, calls[0].page) for calls in threads.values()]
        if head := [call.latency for call in asked if call.chain == f"head of {folder}"]:
            chains.append((head, AFTER_THE_LISTS, -1))
    plan, longest = best_plan(chains, pace)
    in_turn = []
    for folder in FOLDERS:
        own = [call for call in asked if call.folder == folder]
        in_turn.append(([call.latency for call in own if call.chain != f"head of {folder}"], -1, -1))
        if head := [call.latency for call in own if call.chain == f"head of {folder}"]:
            in_turn.append((head, AFTER_THE_LISTS, -1))
    one_by_one, _ = best_plan(in_turn, pace)
    times = sorted(call.at for call in asked)
    several = int(pace)
    return Measurement(
        calls=len(asked),
        seconds=max(call.at + call.latency for call in asked) - times[0],
        bound=max(len(asked) / pace, longest),
        plan=plan,
        one_by_one=one_by_one,
        busiest=max(sum(begin <= at < begin + 1 for at in times) for begin in times),
        tightest=min(after - before for before, after in zip(times, times[several:], strict=False)),
    )


def measure(shape: str, pace: float, latency: tuple[float, float]) -> Measurement:
    """Export once from a fresh server into a fresh folder."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    options = {**SHAPES[shape], "latency": latency}
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(options, theirs), daemon=True)
    server.start()
    try:
        url, token, page_id = ours.recv()
        client = GraphClient(url, Credentials(token), version="v26.0", calls_per_second=pace)
        run_key = {"dag_id": "bench", "run_id": "1", "task_id": "export", "map_index": -1, "clear_number": 0}
        spec = Spec(platform="messenger", page_id=page_id, window=Window(None, None), run_key=run_key)
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(fsspec.filesystem("file"), folder)
            Export(spec, FOLDERS, client, store, Policy()).run()
        ours.send("done")
        return judge(ours.recv(), pace)
    finally:
        server.terminate()
        server.join(10)
        gc.collect()


def main(runs: int) -> int:
    """Measure, print the table, and return 1 if a line is below the budget or above the pace."""
    logging.disable(logging.INFO)
    began = time.monotonic()
    print("shape         pace  latency      calls  seconds  bound   plan  reached  one by one  most in 1 s  tightest")
    good = True
    for shape, pace, latency in LINES:
        for _ in range(runs):
            one = measure(shape, pace, latency)
            reached = one.plan / one.seconds
            well = reached >= BUDGET and one.busiest <= pace
            good &= well or pace != JUDGED
            between = f"{latency[0]:.2f}" if latency[0] == latency[1] else f"{latency[0]:.2f}-{latency[1]:.2f}"
            print(
                f"{shape:12}  {pace:2g}/s  {between:9} s  {one.calls:5d}  {one.seconds:7.1f}  {one.bound:5.1f}  {one.plan:5.1f}  "
                f"{reached:7.1%}  {one.one_by_one:8.1f} s  {one.busiest:11d}  {one.tightest:6.3f} s{'' if well else '  <-'}",
                flush=True,
            )
    print(f"{time.monotonic() - began:.0f} s")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
