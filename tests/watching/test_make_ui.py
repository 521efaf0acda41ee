"""`make ui`: an Airflow that is ready to be clicked on, and that is gone after Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.servers.airflow_home import EXAMPLE_DAGS, REPOSITORY
from tests.servers.processes import left_behind

HOURLY = "pageconv_ui_hourly"
READY_SECONDS = 480


@dataclass
class Shown:
    """It, as a developer has it in a terminal.

    :param folder: where it makes its temporary folder.
    :param said: what it has printed.
    """

    process: subprocess.Popen[str]
    folder: Path
    said: list[str]
    url: str = ""

    def wait_for(self, text: str) -> None:
        """Read on until it has printed this."""
        assert self.process.stdout is not None
        for line in self.process.stdout:  # ends with the process; pytest's time-out is the limit
            self.said.append(line)
            if text in line:
                return
        raise AssertionError(f"it ended without {text!r}:\n{''.join(self.said)}")

    def api(self, path: str, body: Any = None, method: str = "GET") -> Any:
        """Ask its Airflow."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v2{path}", data=data, headers={"Content-Type": "application/json"}, method=method
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=90) as answer:
            return json.load(answer)

    def tasks(self, part: str) -> list[dict[str, Any]]:
        """The exports of one Page, oldest hour first."""
        found = self.api(f"/dags/{HOURLY}/dagRuns/~/taskInstances?limit=100")["task_instances"]
        return sorted((task for task in found if task["task_id"] == part), key=lambda task: str(task["run_after"]))


def start(folder: Path) -> Shown:
    """Start it with a folder for what is temporary."""
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow_provider_pageconv.demo_ui"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
        # The developer's own Airflow does not reach it.
        env={**os.environ, "TMPDIR": str(folder), "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor"},
    )
    return Shown(process, folder, [])


def stop(shown: Shown) -> None:
    """End it if it still runs."""
    if shown.process.poll() is None:
        shown.process.terminate()
    shown.process.communicate()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """It, when it says that it is ready."""
    begun = time.monotonic()
    running = start(tmp_path_factory.mktemp("ui"))
    try:
        running.wait_for("Ctrl-C stops everything")
        assert time.monotonic() - begun < READY_SECONDS
        found = re.search(r"Ready: (http://127\.0\.0\.1:\d+) ", "".join(running.said))
        assert found, running.said
        running.url = found[1]
        yield running
    finally:
        stop(running)


def test_it_prints_the_address_and_a_line_for_each_thing_to_look_at(shown: Shown) -> None:
    """Each of them an address below Airflow's."""
    lines = [line.split(maxsplit=1) for line in shown.said if line.strip().startswith(shown.url)]
    paths = [address.removeprefix(shown.url) for address, _ in lines]
    assert {f"/dags/{HOURLY}", "/connections", "/dags?tags=example", "/assets"} <= set(paths)
    assert all(what.strip() for _, what in lines)


def test_the_last_hours_of_one_page_are_all_exported(shown: Shown) -> None:
    """One run for each hour; the newest may still settle."""
    tasks = shown.tasks("steady")
    assert len(tasks) >= 12
    assert {task["state"] for task in tasks[:11]} == {"success"}
    since = [datetime.fromisoformat(run["data_interval_start"].replace("Z", "+00:00")) for run in runs(shown)]
    assert {later - earlier for earlier, later in pairwise(since)} == {timedelta(hours=1)}
    assert datetime.now(timezone.utc) - since[-1] < timedelta(hours=2, minutes=10)
    with_messages = [summary(shown, task)["messages"] for task in tasks[:11]]
    assert all(with_messages)


def test_one_page_has_a_gap_of_an_hour(shown: Shown) -> None:
    """Which failed on purpose, and says so."""
    states = [task["state"] for task in shown.tasks("gap")][:11]
    assert states.count("failed") == 1
    assert states.count("success") == 10


def test_one_page_is_at_its_limit(shown: Shown) -> None:
    """Its exports wait, off their workers; the others never do."""
    assert {task["state"] for task in shown.tasks("throttled")} & {"up_for_reschedule", "queued", "running"}
    assert all(summary(shown, task)["waited_seconds"] == 0 for task in shown.tasks("steady")[:11])


def test_the_connections_are_listed_and_pass_their_test(shown: Shown) -> None:
    """Those of the environment would not be listed; the test is the one of the button."""
    found = {one["connection_id"]: one for one in shown.api("/connections")["connections"]}
    assert set(found) == {"pageconv_default", "pageconv_steady", "pageconv_gap", "pageconv_throttled"}
    for one in found.values():
        known = ("connection_id", "conn_type", "description", "host", "login", "password", "extra", "port")
        told = shown.api("/connections/test", {name: one[name] for name in known}, "POST")
        assert told["status"], told
        assert f"brings that of the Page {one['login']}" in told["message"]


def test_a_click_on_trigger_runs_an_example(shown: Shown) -> None:
    """All of them are there, paused, with the variables that they read."""
    examples = {dag["dag_id"]: dag for dag in shown.api("/dags?tags=example")["dags"]}
    assert set(examples) == {path.stem for path in EXAMPLE_DAGS.glob("*.py")}
    assert all(dag["is_paused"] for dag in examples.values())
    for dag_ids in (("pageconv_token_watch", "pageconv_daily"), ("pageconv_iceberg",)):
        for dag_id in dag_ids:
            shown.api(f"/dags/{dag_id}", {"is_paused": False}, "PATCH")
            shown.api(f"/dags/{dag_id}/dagRuns", {"logical_date": None, "dag_run_id": "click"} | now(dag_id), "POST")
        for dag_id in dag_ids:
            assert ended(shown, dag_id, "click") == "success"


def test_ctrl_c_ends_and_removes_everything(shown: Shown) -> None:
    """As a terminal sends it; the last of these tests, since nothing is left after it."""
    assert left_behind(shown.folder)
    shown.process.send_signal(signal.SIGINT)
    printed, _ = shown.process.communicate(timeout=60)
    assert shown.process.returncode == 0, printed
    assert "Stopped, and with it everything that was started" in printed
    assert left_behind(shown.folder) == []
    assert list(shown.folder.iterdir()) == []


def test_it_can_be_ended_while_it_starts(tmp_path: Path) -> None:
    """Also by whoever asks in another way than with Ctrl-C."""
    running = start(tmp_path)
    try:
        running.wait_for("Airflow sets up its database")
        running.process.send_signal(signal.SIGTERM)
        printed, _ = running.process.communicate(timeout=60)
    finally:
        stop(running)
    assert running.process.returncode == 0, printed
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, place",
    [(["--wrong"], "temporary"), (["folder"], "temporary"), ([], "an $argument"), ([], "nowhere/at all")],
)
def test_what_cannot_be_used_is_a_sentence(arguments: list[str], place: str, tmp_path: Path) -> None:
    """An argument, which it has none of, or a place for what is temporary; nothing is started, and nothing left."""
    if "nowhere" not in place:
        (tmp_path / place).mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", WITH_ITS_FILES_IN, str(tmp_path / place), *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert sorted(tmp_path.rglob("*")) == before


# Without the folders that Python falls back to where TMPDIR cannot be used.
WITH_ITS_FILES_IN = (
    "import sys, tempfile; from airflow_provider_pageconv.demo_ui import main; tempfile.tempdir = sys.argv[1]; "
    "sys.exit(main(sys.argv[2:]))"
)


def test_make_runs_it() -> None:
    """By the name that the README gives."""
    done = subprocess.run(["make", "-n", "ui"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "-m airflow_provider_pageconv.demo_ui" in done.stdout


def now(dag_id: str) -> dict[str, str]:
    """What the form of Trigger sends for a DAG with data intervals: this moment."""
    moment = datetime.now(timezone.utc).isoformat()
    return {"logical_date": moment} if dag_id == "pageconv_daily" else {}


def runs(shown: Shown) -> list[dict[str, Any]]:
    """The runs of the hourly DAG, oldest first."""
    found: list[dict[str, Any]] = shown.api(f"/dags/{HOURLY}/dagRuns?limit=100&order_by=run_after")["dag_runs"]
    return found


def summary(shown: Shown, task: dict[str, Any]) -> dict[str, Any]:
    """What an export returned."""
    path = f"/dags/{HOURLY}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/xcomEntries/return_value"
    found: dict[str, Any] = shown.api(path.replace("+", "%2B"))["value"]
    return found


def ended(shown: Shown, dag_id: str, run_id: str, seconds: float = 240) -> str:
    """The state in which a run ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = str(shown.api(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])
        if state in ("success", "failed"):
            return state
        time.sleep(1)
    raise AssertionError(f"{dag_id} did not end within {seconds:.0f} s")
