"""Two processes at work on one window, under a real scheduler: a try that should be gone and its successor, and two runs.

A try is held to be gone when its supervisor does not say otherwise. It may be asleep and wake up, or be cut off from its
supervisor, and know nothing of that.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_pageconv.sandbox import Sandbox
from tests.chaos.trace import Trace, wait
from tests.chaos.trace import environment as settings
from tests.dump.exporting import FOLDERS, assert_holds, owed
from tests.servers.deployment import Deployment
from tests.servers.destinations import Destination, local

DAY = timedelta(days=1)


@dataclass
class Story:
    """What the exports of one Airflow did, from outside.

    :param root: where each run has a folder of its own.
    """

    airflow: Deployment
    trace: Trace
    root: Path
    boxes: dict[str, Sandbox]

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
        """Return what a condition says as soon as it says something."""
        return wait(condition, what, seconds, lambda: self.airflow.logs("twins"))

    def files(self, name: str) -> Destination:
        """Return the destination of a run."""
        return local(self.root / name)

    def has_begun(self, pid: int) -> bool:
        """Whether a try has saved something, and has not ended."""
        ended = [line["operation"] for line in self.trace.lines(pid) if line["what"] == "end"]
        keys = [line["key"] for line in self.trace.lines(pid) if line["what"] == "end"]
        return "try" not in ended and any("/checkpoint-" in key for key in keys)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One Airflow for all."""
    home = tmp_path_factory.mktemp("two-at-once")
    trace, root = Trace(home / "trace.jsonl"), home / "export"
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    folders = {"inbox": 130, "other": 60}
    with (
        Sandbox(seed=3, conversations=0, folders=folders, messages=40, long_every=20) as twins,
        Sandbox(seed=4, conversations=0, folders=folders, messages=30, long_every=20, now=midnight, span=DAY) as day,
    ):
        boxes = {"twins": twins, "meeting": day}
        environment = {
            f"AIRFLOW_CONN_PAGECONV_{name.upper()}": json.dumps(
                {
                    "conn_type": "pageconv",
                    "host": box.url,
                    "password": box.token,
                    "extra": {"page_id": box.page.id, "calls_per_second": 3},
                }
            )
            for name, box in boxes.items()
        }
        environment |= settings(trace, root.as_uri(), home / "scratch") | {"PAGECONV_TEST_CHECKPOINT_SECONDS": "1"}
        with Deployment(home / "airflow", Path(__file__).parent / "dags", environment).running() as airflow:
            yield Story(airflow, trace, root, boxes)


def assert_whole(files: Destination, box: Sandbox, **window: Any) -> None:
    """Assert that all is there once, by the manifests, and that no file of the streams is left without one.

    What was under way in a process that was held to be gone may lie in the staging area, to be swept seven days later.
    """
    assert_holds(files, owed(box.data(), **window))
    named = {entry["path"] for manifest in files.manifests().values() for entry in manifest["files"]}
    streams = {name for name in files.names() if not name.startswith(("_staging/", "_manifests/"))}
    assert streams == named


@pytest.mark.parametrize("way", ["it sleeps", "it sleeps long", "its supervisor is gone", "its supervisor sleeps"])
def test_a_try_that_is_held_to_be_gone_spoils_nothing_for_its_successor(story: Story, way: str) -> None:
    """It wakes up while its successor works, or after it has finished, or never slept at all: it publishes nothing more."""
    run_id = story.airflow.trigger("twins")
    [pid] = story.wait(lambda: story.trace.tries(run_id), "the first try")
    # The empty folders are done at once; what sleeps between its last check and the manifest's PUT, nothing can hold back.
    story.wait(lambda: len(story.files(run_id).manifests()) == 2 and story.has_begun(pid), "the first checkpoint")
    zombie = psutil.Process(pid)
    supervisor = zombie.parent()
    assert supervisor is not None
    asleep = {"its supervisor sleeps": [supervisor], "its supervisor is gone": []}.get(way, [supervisor, zombie])
    for process in asleep:
        process.suspend()
    if way == "its supervisor is gone":
        supervisor.kill()
    try:
        story.wait(lambda: len(story.trace.tries(run_id)) > 1, "the successor", seconds=120)
        successor = list(story.trace.tries(run_id))[1]
        story.wait(lambda: story.has_begun(successor), "the successor's first checkpoint")
        if way == "it sleeps":
            _wake(asleep)
        assert story.airflow.wait_for_end("twins", run_id, timeout=180) == "success", story.airflow.logs("twins")
        files = story.files(run_id)
        assert_whole(files, story.boxes["twins"])
        published = {name: content for name, content in files.snapshot().items() if not name.startswith("_staging/")}
        if way == "it sleeps long":
            _wake(asleep)
        story.wait(lambda: _is_over(story, zombie), "the zombie's end")
        assert {name: files.read(name) for name in published} == published
        assert_whole(files, story.boxes["twins"])
    finally:
        _wake(asleep)
    tries = list(story.trace.tries(run_id))
    assert tries[:2] == [pid, successor]  # that the first one ended at last may make Airflow end the second one too
    for earlier, later in itertools.pairwise(tries):
        claimed = min(line["at"] for line in story.trace.lines(later) if "/claim" in line["key"])
        late = [line for line in story.trace.lines(earlier) if line["at"] > claimed]
        assert earlier != pid or any(line["operation"] == "try" for line in late), "it has not met its successor"
        assert not [line for line in late if line["what"] == "begin" and line["key"].startswith("_manifests/")]


def _wake(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def _is_over(story: Story, zombie: psutil.Process) -> bool:
    """Whether a try has ended; its process may wait for a supervisor that does not answer."""
    gone = not zombie.is_running() or zombie.status() == psutil.STATUS_ZOMBIE
    return gone or any(line["what"] == "end" for line in story.trace.lines(zombie.pid, "try"))


def test_a_manual_run_beside_the_scheduled_one_leaves_one_of_them_whole(story: Story) -> None:
    """Both export yesterday, at the same time; each of them succeeds, and what is published is one of them."""
    story.airflow.api("PATCH", "/dags/meeting", {"is_paused": False})
    body = {"logical_date": datetime.now(timezone.utc).isoformat(), "dag_run_id": "by-hand"}
    story.airflow.api("POST", "/dags/meeting/dagRuns", body)

    def both() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = story.airflow.api("GET", "/dags/meeting/dagRuns")["dag_runs"]
        return found if len(found) == 2 else None

    runs = story.wait(both, "both runs")
    ids = sorted(run["dag_run_id"] for run in runs)
    assert len({(run["data_interval_start"], run["data_interval_end"]) for run in runs}) == 1
    assert {run["run_type"] for run in runs} == {"scheduled", "manual"}
    assert [story.airflow.wait_for_end("meeting", run_id, timeout=180) for run_id in ids] == ["success"] * 2
    spans = [[line["at"] for line in story.trace.lines(operation="try") if line["key"] == run_id] for run_id in ids]
    assert max(begin for begin, _ in spans) < min(end for _, end in spans), "they have not met"
    interval = [
        datetime.fromisoformat(runs[0][f"data_interval_{side}"].replace("Z", "+00:00")) for side in ("start", "end")
    ]
    files = story.files("meeting")
    assert_holds(files, owed(story.boxes["meeting"].data(), since=interval[0], until=interval[1]))
    assert len(files.manifests()) == len(FOLDERS)
    results = [story.airflow.xcom("meeting", run_id, "export") for run_id in ids]
    assert results[0]["conversations"] == results[1]["conversations"] > 100
