"""Storage that fails: a sentence that says what, where and why; what was published stays, and the next try ends well."""

from __future__ import annotations

import os
import re
import resource
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import NOW, Breaking, assert_holds, assert_tidy, every_step_saved, export, owed, store_of
from tests.servers.destinations import local, on_s3
from tests.servers.proxies import proxied
from tests.servers.seaweedfs import S3Server

NOBODY = 65534


def small_box(threads: int = 23) -> Sandbox:
    return Sandbox(conversations=0, folders={"inbox": threads}, messages=45, long_every=12, now=NOW)


def in_a_process_of_its_own(work: Callable[[], object]) -> str:
    """Do something in a forked process; return the name and the sentence of the error that it ends with."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told to the test
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as text:  # noqa: PTH123 - a pipe has no path
        said = text.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("operation", ["put", "put_bytes", "copy"])
def test_a_store_that_fails_for_good_is_what_the_task_says_it_ended_with(operation: str, tmp_path: Path) -> None:
    """The sentence of the storage is not hidden behind what goes wrong afterwards, and the next try ends well."""
    files = local(tmp_path)

    def no_space() -> OSError:
        return OSError(28, "No space left on device")

    with small_box() as box:
        for at in (1, 2, 3):
            failing = Breaking(store_of(files), at, error=no_space, only=(operation,))
            with pytest.raises(OSError, match="No space left on device"):
                export(box, failing, run=f"run-{operation}", page_size=10, max_part_records=7)
        export(box, store_of(files), run=f"run-{operation}", page_size=10, max_part_records=7)
        assert_holds(files, owed(box.data()))
        assert_tidy(files)


@pytest.mark.parametrize("buffer", [2048, 64 * 1024], ids=["while records are written", "while a part is closed"])
def test_a_local_disk_that_fills_up_leaves_no_damaged_part(
    buffer: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was being written when it happened is fetched again; no part holds half of it."""
    from airflow_provider_pageconv.dump import formats

    files = local(tmp_path)
    put = formats.PartWriter._put
    left = 0

    class Full:
        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            self._file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self._file.close()

    def filling_up(self: Any, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            self._file = Full(self._file)
        put(self, data)

    monkeypatch.setattr(formats, "PIECE", buffer)
    with small_box() as box, every_step_saved():
        for writes in (1, 2, 3):
            left = writes
            with monkeypatch.context() as patch:
                patch.setattr(formats.PartWriter, "_put", filling_up)
                with pytest.raises(OSError, match="No space left on device"):
                    export(box, store_of(files), page_size=10, compression="none")
        export(box, store_of(files), page_size=10, compression="none")
        assert_holds(files, owed(box.data()))
        assert_tidy(files)


def test_a_file_that_may_not_grow_further_is_told_and_costs_nothing_that_was_there(tmp_path: Path) -> None:
    """The kernel itself stops the write half-way, in a part or in a file of the checkpoint."""
    files = local(tmp_path / "export")
    with small_box() as box:
        export(box, store_of(files), run="run-1")
        before = files.snapshot()

        def confined(limit: int) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            export(box, store_of(files), run="run-2", page_size=10, compression="none")

        for limit in (100, 2_000, 30_000):
            said = in_a_process_of_its_own(lambda limit=limit: confined(limit))
            assert re.fullmatch(
                r"StoreError: Cannot write \S+(, which lies among the temporary files of the worker)?: File too large",
                said,
            )
            published = {name: content for name, content in files.snapshot().items() if not name.startswith("_staging")}
            assert published == before
        export(box, store_of(files), run="run-2", page_size=10, compression="none")
        assert_holds(files, owed(box.data()))
        assert_tidy(files)


def test_a_worker_without_a_folder_for_temporary_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the destination that fails."""
    files = local(tmp_path / "export")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with small_box() as box, pytest.raises(StoreError) as caught:
        export(box, store_of(files))
    assert str(caught.value) == "Cannot make a folder for temporary files on the worker: No such file or directory"


def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path) -> None:
    """Before the first call, by the path; root, whom nothing is forbidden, becomes nobody for it."""
    files = local(tmp_path / "export")
    with small_box() as box:
        export(box, store_of(files), run="run-1")
        before = files.snapshot()
        box.forget()
        for folder in [tmp_path, *tmp_path.parents[:-1]]:  # pytest's own folders are closed to others
            folder.chmod(folder.stat().st_mode | 0o055)
        for folder in [Path(files.root), *Path(files.root).rglob("*")]:
            folder.chmod(0o555 if folder.is_dir() else 0o444)

        def as_nobody() -> None:
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            export(box, store_of(files), run="run-2")

        said = in_a_process_of_its_own(as_nobody)
        assert said.startswith(f"StoreError: Cannot write {files.root}/_staging/")
        assert said.endswith(": Permission denied")
        assert box.requests == []
        assert files.snapshot() == before


@pytest.fixture
def s3(request: pytest.FixtureRequest) -> S3Server:
    server: S3Server = request.getfixturevalue("seaweedfs")
    return server


def test_keys_that_s3_does_not_know_are_told(s3: S3Server) -> None:
    """Before the first call; the keys themselves are in no sentence."""
    files = on_s3(s3, "forbidden")
    with small_box() as box:
        export(box, store_of(files), run="run-1")
        before = files.snapshot()
        box.forget()
        stranger = replace(s3, access_key="AKIAWRONGKEY", secret_key="wrong/secret")
        with pytest.raises(StoreError, match=rf"^Cannot \w+ {files.root}/\S+: ") as caught:
            export(box, store_of(on_s3(stranger, "forbidden")), run="run-2")
        assert "wrong/secret" not in str(caught.value)
        assert box.requests == []
        assert files.snapshot() == before


def test_an_upload_that_dies_half_way_leaves_nothing_behind_and_is_told(s3: S3Server) -> None:
    """The connection breaks in the middle of a part, each time it is tried; the next try of the run uploads it whole."""
    files = on_s3(s3, "dying")
    with small_box(60) as box, every_step_saved(), proxied(s3.endpoint) as proxy:
        behind = replace(s3, endpoint=proxy.url)
        export(box, store_of(files), run="run-1")
        before = files.snapshot()
        proxy.most = 12_000
        with pytest.raises(StoreError, match=rf"^Cannot write {files.root}/_staging/"):
            export(box, store_of(on_s3(behind, "dying")), run="run-2", compression="none")
        assert proxy.hung_up
        after = files.snapshot()
        assert {name: content for name, content in after.items() if not name.startswith("_staging/")} == before
        proxy.most = None
        export(box, store_of(on_s3(behind, "dying")), run="run-2", compression="none")
        assert_holds(files, owed(box.data()))
        assert_tidy(files)
