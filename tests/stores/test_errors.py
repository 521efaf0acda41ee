"""What the task says of a store that refuses, is not there, or cannot be reached: one sentence, soon, and the next try goes on."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from dataclasses import replace

import pytest

from airflow_provider_pageconv.dump import objectstores
from airflow_provider_pageconv.dump.endings import Superseded
from airflow_provider_pageconv.dump.export import FoldersFailed
from airflow_provider_pageconv.dump.store_errors import NoSuchBucketError, StoreError
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import NOW, assert_holds, assert_tidy, every_step_saved, export, exporting, owed
from tests.stores.conftest import CEPH, Cloud


def small_box() -> Sandbox:
    return Sandbox(conversations=0, folders={"inbox": 23}, messages=45, long_every=12, now=NOW)


def one_sentence(error: BaseException) -> str:
    """What it says, which is no page of XML and no list of causes."""
    text = str(error)
    assert "\n" not in text
    assert "<" not in text
    assert len(text) < 400
    return text


def cut_under_way(cloud: Cloud, box: Sandbox) -> None:
    """Cut the link to the store once some calls were made."""

    def cut() -> None:
        while len(box.requests) < 3:
            time.sleep(0.01)
        cloud.proxy.cut()

    threading.Thread(target=cut, daemon=True).start()


def test_a_bucket_that_is_not_there_is_told_before_the_first_call_and_no_further_try_is_made(cloud: Cloud) -> None:
    """Nobody but a person can make it."""
    store = cloud.store(root=f"no-such-bucket-{cloud.kind}/data")
    with small_box() as box:
        with pytest.raises(NoSuchBucketError) as caught:
            export(box, store)
        assert box.requests == []
    assert one_sentence(caught.value).endswith(f"there is no bucket 'no-such-bucket-{cloud.kind}', make it first")
    assert FoldersFailed({"inbox": caught.value}).for_good


@pytest.mark.parametrize("cloud", ["s3", CEPH, "azure"], indirect=True)  # Google's stand-in takes any key
def test_a_key_that_is_not_known_is_told_before_the_first_call(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    """By what is wrong, with the store's own code; the key itself is in no sentence and no log."""
    with small_box() as box:
        with (
            caplog.at_level(logging.DEBUG),
            pytest.raises(
                StoreError, match=r"the key (is wrong, or not known there|may not do that) \(\w+\)$"
            ) as caught,
        ):
            export(box, cloud.store(key="wrong"))
        assert box.requests == []
    one_sentence(caught.value)
    assert "wrong/secret" not in caplog.text + str(caught.value)
    assert "d3Jvbmcgc2VjcmV0" not in caplog.text + str(caught.value)


@pytest.mark.parametrize("cloud", ["s3", CEPH], indirect=True)  # the stand-ins that know rights
def test_a_key_that_may_only_read_is_told_before_the_first_call(cloud: Cloud) -> None:
    """What could not be written, and that it is the key."""
    with small_box() as box:
        with pytest.raises(StoreError, match=r"^Cannot write .*/claim: the key may not do that \(AccessDenied\)$"):
            export(box, cloud.store(key="read-only"))
        assert box.requests == []
    assert cloud.files.names() == []


@pytest.mark.parametrize("cloud", ["s3", CEPH], indirect=True)
def test_a_key_with_the_rights_that_the_docs_name_is_enough(cloud: Cloud) -> None:
    """Reading, writing, listing and deleting in the one bucket; for an export, and for one that replaces it."""
    with small_box() as box:
        for run in ("run-1", "run-2"):
            export(box, cloud.store(key="one bucket"), run=run, max_part_records=50)
            # On Ceph, as once on AWS, an object is its writer's, and the bucket's owner may not read it.
            files = replace(cloud.files, fs=cloud.fs("one bucket"))
            assert_holds(files, owed(box.data()))
            assert_tidy(files)


def test_a_bucket_that_vanishes_half_way_ends_the_export_soon(cloud: Cloud) -> None:
    """In one sentence; a further try, if there is one, says that there is no bucket, as of one that was never there.

    Google's has to be emptied before it goes: then what this try has kept is gone first.
    """
    bucket = f"vanishing-{uuid.uuid4().hex[:8]}"
    cloud.past.mkdir(bucket)
    with Sandbox(conversations=0, folders={"inbox": 200}, messages=3, now=NOW, latency=0.05) as box:

        def vanish() -> None:
            while len(box.requests) < 5:
                time.sleep(0.01)
            while cloud.past.exists(bucket):
                with contextlib.suppress(Exception):  # what was written meanwhile is in the way
                    cloud.past.rm(bucket, recursive=True)
                with contextlib.suppress(Exception):
                    cloud.past.rmdir(bucket)
                cloud.past.invalidate_cache()

        vanishing = threading.Thread(target=vanish, daemon=True)
        vanishing.start()
        with every_step_saved(), pytest.raises((FoldersFailed, Superseded)) as caught:
            exporting(box, cloud.store(root=f"{bucket}/data"), page_size=2).run()
        said = one_sentence(caught.value)
        vanishing.join()
        vanish()  # SeaweedFS may have made it anew for a request that was under way
        assert len(box.requests) < 90
        assert f"there is no bucket '{bucket}'" in said or "its staging area was emptied" in said
        with pytest.raises(NoSuchBucketError):
            export(box, cloud.store(root=f"{bucket}/data"))


@pytest.mark.chaos
def test_a_link_that_is_cut_ends_the_task_within_two_minutes(cloud: Cloud) -> None:
    """With the times that users have; the other test has shorter ones."""
    with small_box() as box:
        cut_under_way(cloud, box)
        began = time.monotonic()
        with every_step_saved(), pytest.raises(FoldersFailed) as caught:
            exporting(box, cloud.store(), page_size=2).run()
        took = time.monotonic() - began
        print(f"{cloud.kind}: {took:.0f} s")  # noqa: T201
        assert took < 120
    one_sentence(caught.value)


def test_a_link_that_is_cut_half_way_ends_the_task_soon_and_the_next_try_goes_on(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With one sentence and no traceback; what was safe before is not fetched again."""
    monkeypatch.setattr(objectstores, "SECONDS", 4.0)
    monkeypatch.setattr(objectstores, "_AFTER_A_CUT", 1.0)
    with small_box() as box:
        cut_under_way(cloud, box)
        began = time.monotonic()
        with every_step_saved(), pytest.raises(FoldersFailed) as caught:
            exporting(box, cloud.store(), page_size=2).run()
        assert time.monotonic() - began < 60  # of an hour that its library would take
        assert "the store did not answer within 4 s" in one_sentence(caught.value)
        assert not caught.value.for_good
        assert "Traceback" not in caplog.text
        cloud.proxy.is_cut = False
        export(box, cloud.store(), page_size=2)
        assert_holds(cloud.files, owed(box.data()))
        assert_tidy(cloud.files)


def test_a_store_that_is_slow_is_waited_for(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow is not cut: each request takes a tenth of what it may take, and everything arrives."""
    monkeypatch.setattr(objectstores, "SECONDS", 3.0)
    cloud.proxy.delay = 0.3
    with Sandbox(conversations=0, folders={"inbox": 2}, messages=2, now=NOW) as box:
        export(box, cloud.store())
        assert_holds(cloud.files, owed(box.data()))
        cloud.proxy.delay = 0.0
        assert_tidy(cloud.files)


def test_the_libraries_of_stores_are_heard_only_when_something_is_wrong(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """Azure's says two lines of each request at INFO, which is how Airflow's task log listens."""
    with caplog.at_level(logging.INFO), Sandbox(conversations=0, folders={"inbox": 2}, messages=2, now=NOW) as box:
        export(box, cloud.store())
    ours = ("airflow_provider_pageconv", "tests")
    assert [record.name for record in caplog.records if not record.name.startswith(ours)] == []
