"""What the exports in `dags/victims.py` write down of themselves, as a test reads it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEARTBEAT_TIMEOUT = 8


@dataclass(frozen=True)
class Trace:
    """The file that they write to: a line where an operation begins and where it ends."""

    path: Path

    def lines(self, pid: int | None = None, operation: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of a process, of an operation, or all; the last one may be cut off by a kill."""
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else ():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if pid in (None, line["pid"]) and operation in (None, line["operation"])]

    def tries(self, run_id: str) -> dict[int, float]:
        """Return the process id and the beginning of each try of a run."""
        begun = [line for line in self.lines(operation="try") if line["what"] == "begin" and line["key"] == run_id]
        return {line["pid"]: line["at"] for line in begun}


def wait(condition: Callable[[], Any], what: str, seconds: float, logs: Callable[[], str]) -> Any:
    """Return what a condition says as soon as it says something.

    :param logs: shows what went wrong if it never does.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds:.0f} s\n{logs()[-5000:]}")


def environment(trace: Trace, root: str, scratch: Path) -> dict[str, str]:
    """Return the settings of an Airflow that soon misses a try that does not say that it is alive.

    :param root: where the DAGs export to.
    :param scratch: the temporary folder of the tasks; made.
    """
    scratch.mkdir()
    return {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "PAGECONV_TEST_ROOT": root,
        "PAGECONV_TEST_TRACE": str(trace.path),
        "TMPDIR": str(scratch),
    }
