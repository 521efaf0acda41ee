"""How many requests an export makes of a store: they are what a store's bill counts, and each is a round trip."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import DAY, NOW, assert_holds, assert_tidy, export, exporting, owed
from tests.stores.conftest import Cloud

FOLDERS = ("inbox", "other", "page_done", "spam")
SMALL_DAY: Mapping[str, Any] = {
    "conversations": 0,
    "folders": {"inbox": 3, "other": 2, "page_done": 1, "spam": 1},
    "messages": 2,
    "span": timedelta(hours=20),
    "now": NOW,
}


def requests_of(cloud: Cloud, box: Sandbox, **options: Any) -> int:
    """How many requests one export makes of the store."""
    before = len(cloud.proxy.requests)
    exporting(box, cloud.store(), FOLDERS, **options).run()
    return len(cloud.proxy.requests) - before


def test_a_small_day_of_four_folders_takes_no_more_than_60_requests(cloud: Cloud) -> None:
    """The first day, into an empty bucket, and one beside others; of both everything is there, and nothing else."""
    with Sandbox(**SMALL_DAY) as box:
        first = requests_of(cloud, box, run="r1", since=NOW - DAY, until=NOW)
        assert_holds(cloud.files, owed(box.data(), since=NOW - DAY, until=NOW))
        assert_tidy(cloud.files)
        before = cloud.files.snapshot()
        box.clock.advance(DAY)  # type: ignore[attr-defined]
        for thread in box.page.threads():
            box.page.add_message(thread.id, at=NOW + timedelta(hours=3))
        second = requests_of(cloud, box, run="r2", since=NOW, until=NOW + DAY)
        assert_tidy(cloud.files)
    assert cloud.files.snapshot().items() >= before.items()
    print(f"{cloud.kind}: {first}, {second}")  # noqa: T201
    assert first <= 60
    assert second <= 60


def test_a_page_with_nothing_new_takes_no_more_than_40_requests(cloud: Cloud) -> None:
    """Manifests say that there was nothing, and no file lies beside them."""
    with Sandbox(**SMALL_DAY) as box:
        requests_of(cloud, box, run="r1", since=NOW - DAY, until=NOW)
        before = cloud.files.snapshot()
        again = requests_of(cloud, box, run="r2", since=NOW - 3 * DAY, until=NOW - 2 * DAY)
    print(f"{cloud.kind}: {again}")  # noqa: T201
    new = cloud.files.snapshot().keys() - before.keys()
    assert len(new) == len(FOLDERS)
    assert all(name.startswith("_manifests/") for name in new)
    assert again <= 40


def test_a_retry_of_what_is_published_asks_for_the_manifests_and_nothing_else(cloud: Cloud) -> None:
    """It finds that there is nothing left to do, and sweeps up."""
    with Sandbox(**SMALL_DAY) as box:
        requests_of(cloud, box, run="r1", since=NOW - DAY, until=NOW)
        assert requests_of(cloud, box, run="r1", since=NOW - DAY, until=NOW) <= 13


@pytest.mark.parametrize("parts", [1, 3])
def test_a_part_is_put_where_it_is_read_and_copied_only_if_it_had_to_wait(cloud: Cloud, parts: int) -> None:
    """What is so much that it was made safe on the way is copied inside the store; the little is put once."""
    with Sandbox(conversations=0, folders={"inbox": 6}, messages=2, now=NOW) as box:
        export(box, cloud.store(), max_part_records=100 if parts == 1 else 4)
        assert_holds(cloud.files, owed(box.data()))
        assert_tidy(cloud.files)
    copies = [
        path
        for method, path in cloud.proxy.requests
        # Google's copies say so in their address; elsewhere what is copied was put into the staging area first.
        if "rewriteTo" in path or (method == "PUT" and "_staging" in path and "part-" in path)
    ]
    assert bool(copies) is (parts > 1)
