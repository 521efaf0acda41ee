"""kill -9 of a real process, at each of its calls in turn: the next try ends with the same records."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import tempfile
import threading
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.scratch import scratch_folder
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from tests.dump import victim
from tests.dump.exporting import (
    FOLDERS,
    IN_FLIGHT,
    assert_holds,
    assert_tidy,
    exporting,
    least_calls,
    list_calls,
    owed,
    run_key,
    store_of,
)
from tests.servers.destinations import Destination, local, on_s3


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """A server that has everything imported, and forks a victim for each order."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.dump.victim"])
    # Its socket, whose path has to be short, before the tests have temporary folders of their own.
    multiprocessing.util.get_temp_dir()
    return context


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of killed and of living processes."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _kill_at(
    context: ForkServerContext,
    box: Sandbox,
    files: Destination,
    call: int,
    s3: dict[str, Any] | None = None,
    *,
    after: float = 0.0,
    checkpoint_seconds: float = -1.0,
    when_safe: bool = False,
) -> None:
    """Kill a process at its so-many-th call.

    :param after: or so many seconds later.
    :param when_safe: or when all answers before are in a checkpoint, which is written while further calls are made.
    """
    options = {"platform": "messenger", "page_id": box.page.id, "run_key": run_key(), "page_size": 10}
    process = context.Process(
        target=victim.export,
        args=(box.url, box.token, FOLDERS, files.root, s3, options, tempfile.tempdir, checkpoint_seconds),
    )
    kill = threading.Timer(after, process.kill) if after else None

    def strike(_: object) -> None:
        if when_safe:
            _wait_for_quiet(files)
        kill.start() if kill else process.kill()

    life = box.life.add(Life("call", at=call, do=strike))
    process.start()
    process.join(60)
    assert process.exitcode == -9, "it came to its end before it was killed"
    life.times = 0


def _wait_for_quiet(files: Destination) -> None:
    before, since = None, time.monotonic()
    while time.monotonic() - since < 0.25:  # a busy machine takes its time
        time.sleep(0.01)
        if (now := files.names("_staging")) != before:
            before, since = now, time.monotonic()


def test_killed_at_each_call_in_turn_it_loses_and_doubles_nothing(processes: ForkServerContext, tmp_path: Path) -> None:
    """Four folders side by side; what a kill costs is the calls that were under way, a few for each folder."""
    folders = {"inbox": 23, "other": 11, "page_done": 4}
    with Sandbox(conversations=0, folders=folders, messages=45, long_every=12) as box:
        data = box.data()
        least = sum(least_calls(data, folder, 10) for folder in FOLDERS)
        for number in range(1, least + 1):
            files = local(tmp_path / str(number))
            box.forget()
            box.life.clear()
            _kill_at(processes, box, files, number, when_safe=True)
            exporting(box, store_of(files), FOLDERS, page_size=10).run()
            assert_holds(files, owed(data))
            assert_tidy(files)
            assert len(box.requests) <= least + len(FOLDERS) * IN_FLIGHT
            folder_calls = dict.fromkeys(FOLDERS, 0)
            for call in box.requests:
                if call.edge == "conversations":
                    folder_calls[call.params["folder"]] += 1
            # A list is walked by one call at a time: no more than that one is made twice.
            for folder in FOLDERS:
                pages = list_calls(data, folder, 10)
                assert pages <= folder_calls[folder] <= pages + 1
        assert least > 10


def test_killed_while_a_checkpoint_may_be_on_its_way_it_loses_and_doubles_nothing(
    processes: ForkServerContext, tmp_path: Path
) -> None:
    """At some of the calls, whatever is just being written then."""
    with Sandbox(conversations=0, folders={"inbox": 23, "other": 11}, messages=45, long_every=12) as box:
        data = box.data()
        for number in range(2, sum(least_calls(data, folder, 10) for folder in FOLDERS), 3):
            files = local(tmp_path / str(number))
            box.life.clear()
            _kill_at(processes, box, files, number)
            exporting(box, store_of(files), FOLDERS, page_size=10).run()
            assert_holds(files, owed(data))
            assert_tidy(files)


def test_killed_while_a_call_hangs_it_keeps_what_was_fetched_before(
    processes: ForkServerContext, tmp_path: Path
) -> None:
    """A checkpoint is due after a time, and not only when an answer comes: a silent server may take minutes."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 300}, messages=2) as box:
        least = sum(least_calls(box.data(), folder, 10) for folder in FOLDERS)
        silence = box.faults.add(Fault(kind="silence", seconds=60, on="conversations", at=20, every=1))
        _kill_at(processes, box, files, 20, after=4.0, checkpoint_seconds=1.0)
        box.life.clear()
        box.faults.remove(silence)
        exporting(box, store_of(files), FOLDERS, page_size=10).run()
        assert len(box.requests) <= least + len(FOLDERS)
        manifests = files.manifests().values()
        assert sum(manifest["api_calls"] for manifest in manifests) == len(box.requests)
        assert_holds(files, owed(box.data()))
    assert_tidy(files)


def test_killed_again_and_again_it_comes_to_its_end(processes: ForkServerContext, tmp_path: Path) -> None:
    """Every try is killed at its sixth call; each gets a little further."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 300}, messages=2) as box:
        data = box.data()
        for _ in range(4):
            box.life.clear()
            _kill_at(processes, box, files, 6, when_safe=True)
        box.life.clear()
        exporting(box, store_of(files), FOLDERS, page_size=10).run()
        assert len(box.requests) <= sum(least_calls(data, folder, 10) for folder in FOLDERS) + 4 * len(FOLDERS)
    assert_holds(files, owed(data))
    assert_tidy(files)


def test_what_a_killed_process_left_on_its_disk_is_removed_by_the_next_one(
    processes: ForkServerContext, scratch: Path, tmp_path: Path
) -> None:
    """And the folder of one that is alive is not; in the end there is none."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 50}, messages=2) as box:
        _kill_at(processes, box, files, 3)
        left = list(scratch.iterdir())
        assert left
        box.life.clear()
        during: set[Path] = set()
        with scratch_folder() as alive:
            # Not before: a call of the killed process may still be on its way through a busy server.
            box.life.add(Life("call", every=1, do=lambda _: during.update(scratch.iterdir())))
            exporting(box, store_of(files), FOLDERS, page_size=10).run()
            assert alive.is_dir()
        assert alive in during
        assert during.isdisjoint(left)
        assert list(scratch.iterdir()) == []
    assert_holds(files, owed(box.data()))


def test_killed_on_s3_it_loses_and_doubles_nothing(
    processes: ForkServerContext, request: pytest.FixtureRequest
) -> None:
    """The same on a real S3 server, at some of the calls."""
    server = request.getfixturevalue("seaweedfs")
    s3 = {
        "key": server.access_key,
        "secret": server.secret_key,
        "endpoint_url": server.endpoint,
        "client_kwargs": {"region_name": "us-east-1"},
    }
    with Sandbox(conversations=0, folders={"inbox": 23, "other": 11}, messages=45, long_every=12) as box:
        data = box.data()
        for number in (2, 5, 9):
            files = on_s3(server, f"killed-{number}")
            box.life.clear()
            _kill_at(processes, box, files, number, s3)
            exporting(box, store_of(files), FOLDERS, page_size=10).run()
            assert_holds(files, owed(data))
            assert_tidy(files)
