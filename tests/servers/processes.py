"""What still runs of the processes that a test has started."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def left_behind(folder: Path) -> list[str]:
    """Return the command lines of processes that were started in `folder`, or below it, and still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
    return found
