"""`make demo`: a real scheduler, API server and DAG processor, from the first command to the last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.servers.airflow_home import EXAMPLE_DAGS


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the demo with its files in `folder`."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE_DAGS / "demo.py"), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate()


def left_behind(folder: Path) -> list[str]:
    """Return the command lines of processes that were started for the demo in `folder` and still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
    return found


def test_the_demo_exports_a_day_and_finds_what_the_sandbox_drew(tmp_path: Path) -> None:
    """Twice in a row in one folder; the run, the run that its asset starts, and the comparison are real."""
    for _ in range(2):
        with demo(tmp_path) as process:
            printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
        assert "The export holds exactly those" in printed
        assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_stops_what_it_started(number: signal.Signals, tmp_path: Path) -> None:
    """On Ctrl-C, and when it is asked to end."""
    with demo(tmp_path) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("logs/scheduler.log")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(2)
        assert left_behind(tmp_path)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Stopped, and with it everything that was started." in printed
    assert left_behind(tmp_path) == []


def test_a_second_demo_in_the_same_folder_waits_for_its_turn(tmp_path: Path) -> None:
    """Two at once would delete each other's files."""
    import fcntl

    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with demo(tmp_path) as process:
            printed, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert printed == "Another demo is running here: wait for it, or stop it.\n"
