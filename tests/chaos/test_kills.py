"""kill -9 of a task's real processes under a scheduler, again and again: nothing is lost, doubled or left over.

`PAGECONV_KILLS` says how often (5, and 50 in the long form), `PAGECONV_SEED` when. Each export is killed five times.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_pageconv.sandbox import Sandbox
from tests.chaos.trace import Trace, wait
from tests.chaos.trace import environment as settings
from tests.dump.exporting import FOLDERS, NOW, assert_holds, assert_tidy, least_calls, owed
from tests.servers.deployment import Deployment
from tests.servers.destinations import Destination, local

KILLS = 5
"""Of one export: more would hit its lists and threads only, since each of its folders is published once."""
EXPORTS = max(1, int(os.environ.get("PAGECONV_KILLS", "5")) // KILLS)
CHECKPOINT_SECONDS = 1.0
# Promise 3 allows 60 s where a checkpoint is due every 40: the rest is for the call under way and the checkpoint itself.
ALLOWED_SECONDS = 60.0
# The same for a checkpoint every second; the calls take up to 0.6 s here, and wait for their turn at the pace.
SCALED_SECONDS = CHECKPOINT_SECONDS + 2.0
CALLS_PER_SECOND = 12


@dataclass(frozen=True)
class Kill:
    """One kill.

    :param begun: when the try began, as `time.time()`.
    :param whole: whether the supervisor went with the task runner; else only the task runner did.
    :param hit: what was under way.
    """

    begun: float
    at: float
    whole: bool
    hit: frozenset[str]


@dataclass
class Target:
    """The task to be killed, seen from outside: its calls, its traces in the store, its processes."""

    box: Sandbox
    files: Destination
    trace: Trace
    airflow: Deployment
    run_id: str
    draw: random.Random
    kills: list[Kill] = field(default_factory=list)

    def tries(self) -> dict[int, float]:
        """Process id and beginning of each try."""
        return self.trace.tries(self.run_id)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
        """Return what a condition says as soon as it says something."""
        return wait(condition, what, seconds, lambda: self.airflow.logs("killed"))

    def kill(self, *, whole: bool, at_publish: bool, last: bool) -> None:
        """Wait for the next try, and kill it at a random instant of it or of a publish."""
        known = set(self.tries())
        pid = self.wait(lambda: next((one for one in self.tries() if one not in known), None), "the next try")
        begun = self.tries()[pid]
        supervisor, runner = task_processes()
        assert runner.pid == pid, "the task runner is not the process that exports"
        if last:
            # By files, not by time: each takes far longer here than a look at the trace, also on a busy machine.
            files = self.draw.randint(1, 3)
            self.wait(lambda: self._published_of_last(pid) >= files, "the last folder's publish", seconds=300)
            time.sleep(self.draw.uniform(0.0, 0.4))
        elif at_publish:
            with contextlib.suppress(AssertionError):
                self.wait(lambda: self._publishes(pid), "a publish", seconds=6)
            time.sleep(self.draw.uniform(0.0, 1.6))
        else:
            time.sleep(self.draw.uniform(0.3, 6.0))
        for process in [*([supervisor] if whole else []), *runner.children(recursive=True), runner]:
            process.kill()
        at = time.time()
        hit = self._under_way(pid, begun)
        runner_gone = self.wait(lambda: is_gone(runner), "its end")
        assert runner_gone
        self.kills.append(Kill(begun, at, whole, hit))
        print(f"kill {len(self.kills)}: {at - begun:.1f} s after its beginning, hit {', '.join(sorted(hit))}")

    def _publishes(self, pid: int) -> bool:
        return bool(set(self._files_begun(pid)) - self._done())

    def _published_of_last(self, pid: int) -> int:
        begun = self._files_begun(pid)
        is_last = bool(begun) and len(self._done() | {begun[-1]}) == len(FOLDERS)
        return begun.count(begun[-1]) if is_last else 0

    def _done(self) -> set[str]:
        return {folder_of(name) for name in self.files.names("_manifests")}

    def _files_begun(self, pid: int) -> list[str]:
        """Name the folder of each file that a try has begun to put under its final name."""
        return [
            folder_of(line["key"])
            for line in self.trace.lines(pid)
            if not is_end(line) and (line["operation"] == "publish a part" or line["key"].startswith("_manifests/"))
        ]

    def _under_way(self, pid: int, begun: float) -> frozenset[str]:
        open_ones: Counter[tuple[str, str]] = Counter()
        for line in self.trace.lines(pid):
            open_ones[line["operation"], line["key"]] += -1 if is_end(line) else 1
        hit = {label(*one) for one, count in open_ones.items() if count > 0 and one[0] != "try"}
        calls = [request for request in list(self.box.requests) if request.status is None and request.at > begun]
        hit |= {"list" if request.edge == "conversations" else "threads" for request in calls}
        return frozenset(hit or {"nothing under way"})

    def calls_before_ends(self, seconds: float) -> int:
        """Count the calls of so many last seconds before each end of a try, but the last one."""
        ends = {kill.begun: kill.at for kill in self.kills}
        # A try that Airflow itself ended, on a machine too busy for heartbeats, ends with its last trace.
        tries = self.tries()
        for pid, begun in list(tries.items())[:-1]:
            ends.setdefault(begun, max(line["at"] for line in self.trace.lines(pid)))
        return sum(
            max(begun, end - seconds) <= request.at <= end
            for begun, end in ends.items()
            for request in self.box.requests
        )


def is_end(line: dict[str, Any]) -> bool:
    """Whether a line of the trace says that something is done."""
    return bool(line["what"] == "end")


def folder_of(key: str) -> str:
    """Name the folder that a file belongs to."""
    return key.partition("folder=")[2].partition("/")[0]


def label(operation: str, key: str) -> str:
    """Name what a store operation belongs to."""
    if operation == "delete":
        return "sweeping up"
    if key.startswith("_manifests/"):
        return "manifest"
    return "publish" if operation == "publish a part" or "/note-publish" in key else "checkpoint"


def task_processes() -> tuple[psutil.Process, psutil.Process]:
    """Find the one task's supervisor and task runner among the descendants of the scheduler."""
    [scheduler] = [
        process for process in psutil.Process().children() if {"airflow", "scheduler"} <= set(words_of(process))
    ]
    found = [(worker, runner) for worker in scheduler.children() for runner in worker.children()]
    [(supervisor, runner)] = found
    return supervisor, runner


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, perhaps just while somebody looks."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def words_of(process: psutil.Process) -> Iterator[str]:
    """The words of a process's command line, also after it has given itself a title."""
    with contextlib.suppress(psutil.Error):
        for part in process.cmdline():
            yield from part.split()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(EXPORTS))
def test_killed_under_a_scheduler_the_export_ends_whole_and_costs_what_was_promised(
    number: int, tmp_path: Path
) -> None:
    """At random instants, in turn the whole process tree and the task runner alone; Airflow tries again each time.

    At the end the records are those that the Page holds, nothing is left in the staging area, and the calls over all
    tries are no more than the least and those of the last 60 seconds before each kill; here, where a checkpoint is due
    every second, of the last 3 seconds.
    """
    seed = int(os.environ.get("PAGECONV_SEED", str(random.randrange(10**6))))
    print(f"\nexport {number + 1} of {EXPORTS}, PAGECONV_SEED={seed}")
    files = local(tmp_path / "export")
    size = (150 + 40 * KILLS) / 256  # a try gets some 26 calls further before it is killed
    folders = {"inbox": round(280 * size), "other": round(60 * size), "page_done": 20}
    with Sandbox(
        seed=seed, conversations=0, folders=folders, messages=85, long_every=10, now=NOW, latency=(0.1, 0.6)
    ) as box:
        target = killed_again_and_again(box, files, tmp_path, seed)
        data = box.data()
        least = sum(least_calls(data, folder, 10) for folder in FOLDERS)
        made = len(box.requests)
        allowed = {seconds: target.calls_before_ends(seconds) for seconds in (ALLOWED_SECONDS, SCALED_SECONDS)}
        hits = Counter(what for kill in target.kills for what in kill.hit)
        print(
            f"kills: {len(target.kills)} ({sum(kill.whole for kill in target.kills)} of the whole process tree), "
            f"tries: {len(target.tries())}, calls: {made}, least: {least}, allowed beyond: "
            f"{allowed}, hit: {dict(sorted(hits.items()))}"
        )
        assert_holds(files, owed(data))
        assert_tidy(files)
        assert not (tmp_path / "export" / "_staging").exists()
        assert not list((tmp_path / "scratch").glob("*pageconv-*"))
        assert len(target.tries()) > len(target.kills) == KILLS
        assert made >= least
        assert made - least <= allowed[ALLOWED_SECONDS]
        assert made - least <= allowed[SCALED_SECONDS]
        assert hits["list"] + hits["threads"], "no kill has hit a call"
        assert hits["publish"] + hits["manifest"] + hits["sweeping up"], "no kill has hit a publish"


def killed_again_and_again(box: Sandbox, files: Destination, home: Path, seed: int) -> Target:
    """Run the export in an Airflow of its own and kill it so many times, the last time in its last publish."""
    trace = Trace(home / "trace.jsonl")
    environment = {
        "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(
            {
                "conn_type": "pageconv",
                "host": box.url,
                "password": box.token,
                "extra": {"page_id": box.page.id, "calls_per_second": CALLS_PER_SECOND},
            }
        ),
        "PAGECONV_TEST_CHECKPOINT_SECONDS": str(CHECKPOINT_SECONDS),
        **settings(trace, files.url, home / "scratch"),
    }
    with Deployment(home / "airflow", Path(__file__).parent / "dags", environment).running() as airflow:
        run_id = airflow.trigger("killed")
        target = Target(box, files, trace, airflow, run_id, random.Random(seed))
        for number in range(1, KILLS + 1):
            target.kill(whole=number % 2 == 1, at_publish=number % 4 == 2, last=number == KILLS)
        assert airflow.wait_for_end("killed", run_id, timeout=180) == "success", airflow.logs("killed")[-5000:]
    return target
