"""`make demo`: a real scheduler, API server and DAG processor, from the first command to the last."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_pageconv import standalone
from tests.servers.airflow_home import REPOSITORY
from tests.servers.processes import left_behind

DEMO = "airflow_provider_pageconv.demo"


@contextmanager
def demo(*arguments: str | Path, cwd: Path = REPOSITORY, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo; the argument is the folder of its files."""
    process = subprocess.Popen(
        [sys.executable, "-m", DEMO, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate()


def test_the_demo_exports_a_day_and_finds_what_the_sandbox_drew(tmp_path: Path) -> None:
    """Twice in a row in one folder, whose name SQL and shells would trip over; the runs and the comparison are real.

    The developer's own Airflow and its connection do not reach it.
    """
    own = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps({"conn_type": "pageconv", "host": "http://127.0.0.1:9"}),
        "PAGECONV_POOL": "a pool of the developer's",
    }
    tmp_path /= "what's in here, 100 %"
    for _ in range(2):
        with demo(tmp_path, **own) as process:
            printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
        assert "The export holds exactly those" in printed
        assert left_behind(tmp_path) == []


def test_the_demo_of_many_pages_names_those_that_failed_and_compares_the_others(tmp_path: Path) -> None:
    """The red run is what it is about: the demo itself ends well, if all else was exported."""
    with demo("--pages", "4", tmp_path) as process:
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "4 of 4 Pages have ended." in printed
    assert "The run is in state failed" in printed
    assert "Task failed with exception: 2 of 4 Pages were not exported: " in printed
    grid = [line.split()[0] for line in printed.splitlines() if line.startswith(("  success ", "  failed "))]
    assert grid == ["success", "failed", "failed", "success"]
    assert "  2 Pages hold " in printed
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

    assert process.returncode == 2
    assert printed == "Another demo is running here: wait for it, or stop it.\n"


def test_help_is_printed_and_nothing_else_is_done(tmp_path: Path) -> None:
    """Whoever asks first starts nothing."""
    with demo("--help", tmp_path) as process:
        printed, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert printed.startswith("usage: python -m airflow_provider_pageconv.demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "unusable", ["file", "file/below", "full", "an $argument", "loop", "--wrong", "two arguments", "few", "words"]
)
def test_an_argument_that_cannot_be_used_is_a_sentence(unusable: str, tmp_path: Path) -> None:
    """And what was there stays as it was."""
    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "export").write_text("somebody's")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    arguments = {
        "--wrong": ["--wrong"],
        "two arguments": ["one", "two"],
        "few": ["--pages", "1"],
        "words": ["--pages", "twelve"],
    }
    with demo(*arguments.get(unusable, [tmp_path / unusable])) as process:
        printed, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    assert len(printed.splitlines()) == 1, printed
    assert sorted(tmp_path.rglob("*")) == before


def test_make_hands_its_arguments_on_to_the_demo() -> None:
    """So that `make demo ARGS=--help` helps, and is no name of a folder."""
    done = subprocess.run(
        ["make", "-n", "demo", "ARGS=--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert f"-m {DEMO} --help\n" in done.stdout


def test_without_the_dags_of_a_checkout_it_says_what_is_missing(tmp_path: Path) -> None:
    """As where only the package is installed."""
    package = tmp_path / "airflow_provider_pageconv"
    shutil.copytree(Path(standalone.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    with demo(tmp_path / "folder", cwd=tmp_path, PYTHONPATH=str(tmp_path)) as process:
        printed, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    assert f"there is no {tmp_path / 'example_dags' / 'pageconv_daily.py'}" in printed
    assert len(printed.splitlines()) == 1, printed
    assert not (tmp_path / "folder").exists()
