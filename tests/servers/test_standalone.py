"""What is started is stopped, whatever it has started itself and whenever it is interrupted; nothing of outside gets in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from airflow_provider_pageconv.standalone import Processes, Standalone, StandaloneError, without_airflow

# A process that does not end when it is asked to, with a child in a process group of its own, as Airflow's tasks have.
STUBBORN = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setpgid(0, 0)
pathlib.Path(sys.argv[1], str(os.getpid())).touch()
time.sleep(600)
"""


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    """Nothing is running yet."""
    return Processes(tmp_path / "logs", patience=0.5)


def python(code: str, *arguments: object) -> list[str]:
    """A command that runs this code."""
    return [sys.executable, "-c", code, *map(str, arguments)]


def running(pids: list[int]) -> list[int]:
    """Those of them that still do something."""
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def comes(condition: Callable[[], bool]) -> bool:
    """Whether it holds within some seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("leader", ["ignores it", "was killed"])
def test_what_a_process_has_started_is_stopped_with_it(leader: str, processes: Processes, tmp_path: Path) -> None:
    """Also if it is in another process group, and if the process that started it is gone."""
    (tmp_path / "pids").mkdir()
    with processes:
        processes.start("stubborn", python(STUBBORN, tmp_path / "pids"), os.environ)
        assert comes(lambda: len(list((tmp_path / "pids").iterdir())) == 2)
        pids = sorted(int(path.name) for path in (tmp_path / "pids").iterdir())
        if leader == "was killed":
            [parent] = [pid for pid in pids if os.getsid(pid) == pid]
            os.kill(parent, signal.SIGKILL)
            assert comes(lambda: running(pids) != pids)
        assert running(pids)
    assert running(pids) == []


@pytest.mark.parametrize("when", ["start", "stop"])
def test_an_interrupt_between_two_steps_comes_after_them(
    when: str, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was started and not noted, or asked to end and not waited for, would be left behind."""
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)
            if when == "start":
                signal.raise_signal(signal.SIGINT)

        def wait(self, timeout: float | None = None) -> int:
            if when == "stop":
                signal.raise_signal(signal.SIGINT)
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    handler = signal.default_int_handler
    before = signal.signal(signal.SIGINT, handler)  # who runs in the background of a shell has none
    try:
        with pytest.raises(KeyboardInterrupt), processes:
            processes.start("sleeper", python("import time; time.sleep(600)"), os.environ)
        assert [process.returncode for process in started] == [-signal.SIGTERM]
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_ends_by_itself_is_told_of_with_its_last_words(processes: Processes) -> None:
    """Rather than waited for until the time is up."""
    with processes:
        processes.start("server", python("print('No port.'); raise SystemExit(3)"), os.environ)
        with pytest.raises(StandaloneError, match=r"(?s)The server ended by itself with exit code 3\..*No port\."):
            processes.wait_for("it", lambda: False, 30)


@pytest.mark.parametrize(
    "code, seconds, sentence",
    [
        ("raise SystemExit('No database.')", 60, r"(?s)The migration failed with exit code 1\..*No database\."),
        ("import time; time.sleep(600)", 0.2, r"The migration did not end within 0 s\."),
    ],
)
def test_a_command_that_fails_or_hangs_is_told_of(
    code: str, seconds: float, sentence: str, processes: Processes
) -> None:
    """And does not stay."""
    with processes, pytest.raises(StandaloneError, match=sentence):
        processes.run("migration", python(code), os.environ, seconds)


def test_what_does_not_come_is_waited_for_so_long(processes: Processes) -> None:
    """An error of a server is an answer that does not come yet."""

    def refused() -> bool:
        raise ConnectionRefusedError

    with pytest.raises(StandaloneError, match=r"Waited 1 s for an answer, in vain\."):
        processes.wait_for("an answer", refused, 0.6)


def test_nothing_of_the_developers_airflow_gets_in(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither settings nor connections nor variables; what is ours is on loopback."""
    theirs = {"AIRFLOW__API__HOST": "0.0.0.0", "AIRFLOW_CONN_X": "x", "AIRFLOW_VAR_X": "x", "_AIRFLOW_X": "x"}
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    assert not set(without_airflow(os.environ)) & set(theirs)
    airflow = Standalone(processes, tmp_path, tmp_path / "dags", {"AIRFLOW_VAR_Y": "y"})
    assert not set(airflow.environment) & set(theirs)
    assert airflow.environment["AIRFLOW_VAR_Y"] == "y"
    assert airflow.environment["AIRFLOW__API__BASE_URL"].startswith("http://127.0.0.1:")
