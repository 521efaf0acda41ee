"""What the processes of an Airflow hold, looked at again and again while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

MIB = 1 << 20
EVERY_SECONDS = 5.0


@dataclass(frozen=True)
class Held:
    """What a group of processes holds at an instant.

    :param memory: bytes that are theirs alone (USS).
    :param files: open files and sockets.
    """

    at: float
    memory: int
    files: int
    threads: int


class Measuring:
    """Measures while its block lasts.

    :param leaders: the processes to look at with all that they have started, by the names of their groups. Tasks are no part
        of the scheduler that started them: they are a group of their own, `tasks`, of which there may be none at times.
    """

    def __init__(self, leaders: Mapping[str, int]) -> None:
        self.held: dict[str, list[Held]] = {name: [] for name in (*leaders, "tasks")}
        self._leaders = leaders
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="measure", daemon=True)

    def __enter__(self) -> Measuring:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _measure(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            tasks: list[psutil.Process] = []
            for name, leader in self._leaders.items():
                with suppress(psutil.Error):
                    found = psutil.Process(leader)
                    group = [found, *found.children(recursive=True)]
                    if name == "scheduler":
                        # Scheduler, LocalExecutor's workers, and below each of them what it has at work.
                        workers = found.children()
                        tasks = [task for worker in workers for task in worker.children(recursive=True)]
                        group = [found, *workers]
                    self._note(name, group)
            self._note("tasks", tasks)

    def _note(self, name: str, group: list[psutil.Process]) -> None:
        memory = files = threads = 0
        for process in group:
            with suppress(psutil.Error):
                memory += process.memory_full_info().uss
                files += process.num_fds()
                threads += process.num_threads()
        if memory:
            self.held[name].append(Held(time.monotonic(), memory, files, threads))


def thirds(held: Sequence[Held], what: str, usual: Callable[[Sequence[int]], float]) -> tuple[float, float]:
    """What was usual in the middle third of the time, and in the last one; in the first all is warming up."""
    size = len(held) // 3
    middle, last = (usual([getattr(one, what) for one in part]) for part in (held[size : 2 * size], held[2 * size :]))
    return middle, last
