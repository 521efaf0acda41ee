"""Where the API is not as one thinks that it is, a green export holds all the same everything that it owes.

Each of these lost messages once, without a word. All of it runs over real HTTP, with several draws of each.
"""

from __future__ import annotations

import errno
import os
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from tests.dump.exporting import DAY, NOW, export, export_in_time, exporting, ids, owed, simulated, store_of
from tests.servers.destinations import local

SEEDS = range(6)


def busy_page(seed: int, threads: int = 300, **options: Any) -> Sandbox:
    """A Page with one folder, and time for jumps."""
    options = {"folders": {"inbox": threads}, "messages": 3, "long_every": 1, "span": timedelta(days=20), **options}
    return Sandbox(seed=seed, now=NOW, **options)


def jump(box: Sandbox, dice: random.Random, times: int, lag: float = 0.0, every: int = 1) -> None:
    """Let old threads get messages between calls, and jump to the top or a little below it."""
    threads = [thread["node"]["id"] for thread in box.data()["threads"]]
    for thread in dice.sample(threads, times):
        at = dice.randint(2, max(2, times // every))
        box.life.add(Life("message", at=at, thread=thread, lag=dice.uniform(0, lag) if lag else None))


def assert_nothing_is_missing(box: Sandbox, folder: Path, before: Any) -> None:
    """Whatever was there when the walk began is there, once."""
    files = local(folder)
    conversations, messages = ids(files, "conversations"), ids(files, "messages")
    assert len(conversations) == len(set(conversations))
    assert len(messages) == len(set(messages))
    assert not set(before.conversations) - set(conversations)
    assert not set(before.messages) - set(messages)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_old_thread_that_is_pinned_on_top_does_not_cut_the_readings_short(seed: int, tmp_path: Path) -> None:
    """The readings go on until they have passed what jumped."""
    dice = random.Random(seed)
    with busy_page(seed, 1000 if seed == 0 else 300) as box:
        before = owed(box.data())
        oldest = [thread["node"]["id"] for thread in box.data()["threads"]][-1]
        box.page.pin(oldest)
        jump(box, dice, 150 if seed == 0 else 60, every=15 if seed == 0 else 4)
        export_in_time(box, store_of(local(tmp_path)), page_size=dice.choice([10, 25, 100]))
        assert_nothing_is_missing(box, tmp_path, before)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thread_from_the_future_does_not_cut_the_readings_short(seed: int, tmp_path: Path) -> None:
    """It is no goal for a reading: nothing that jumps can reach it."""
    dice = random.Random(seed)
    with busy_page(seed) as box:
        before = owed(box.data())
        first = box.data()["threads"][0]["node"]["id"]
        box.page.pin(first)
        box.page.show_updated(first, (NOW + timedelta(hours=20)).strftime("%Y-%m-%dT%H:%M:%S+0000"))
        jump(box, dice, 120, every=3)
        export_in_time(box, store_of(local(tmp_path)), page_size=dice.choice([10, 25, 40]))
        assert_nothing_is_missing(box, tmp_path, before)


@pytest.mark.parametrize("future", [False, True])
def test_known_threads_that_jump_above_one_that_is_not_known_do_not_hide_it(future: bool, tmp_path: Path) -> None:
    """Rows that are known show that a reading has passed the head only if they are older than its goal."""
    with busy_page(2, 300) as box:
        before = owed(box.data())
        threads = [thread["node"]["id"] for thread in box.data()["threads"]]
        if future:
            box.page.pin(threads[0])
            box.page.show_updated(threads[0], (NOW + timedelta(hours=20)).strftime("%Y-%m-%dT%H:%M:%S+0000"))
        box.life.add(Life("message", at=3, thread=threads[-1]))
        for thread in threads[1:150]:
            box.life.add(Life("message", at=4, thread=thread))
        export_in_time(box, store_of(local(tmp_path)), page_size=100)
        assert_nothing_is_missing(box, tmp_path, before)


@pytest.mark.parametrize("emptied", ["before", "meanwhile"])
def test_a_thread_whose_messages_were_all_unsent_stands_in_a_dump_whatever_its_time(
    emptied: str, tmp_path: Path
) -> None:
    """A time later than the walk's beginning does not show that it came later: it may be wrong, or of a message that is gone."""
    with busy_page(2, 30) as box:
        threads = [thread["node"]["id"] for thread in box.data()["threads"]]

        def empty(page: Any) -> None:
            [messages] = [one["messages"] for one in box.data()["threads"] if one["node"]["id"] == threads[-1]]
            for message in messages:
                page.unsend(message["id"])

        if emptied == "before":
            empty(box.page)
            box.page.show_updated(threads[-1], (NOW + timedelta(hours=20)).strftime("%Y-%m-%dT%H:%M:%S+0000"))
        else:
            box.life.add(Life("message", at=2, thread=threads[-1]))
            box.life.add(Life("call", at=2, do=empty))
        before = owed(box.data())
        export_in_time(box, store_of(local(tmp_path)), page_size=10)
        assert sorted(ids(local(tmp_path), "conversations")) == sorted(threads)
        if emptied == "before":
            assert_nothing_is_missing(box, tmp_path, before)


def test_a_thread_that_lands_among_rows_that_were_read_is_not_missed(tmp_path: Path) -> None:
    """Its message came late: it does not stand at the head, and what is above it is known."""
    with busy_page(2, 300, span=timedelta(minutes=5)) as box:
        before = owed(box.data())
        last = box.data()["threads"][-1]["node"]["id"]
        box.life.add(Life("message", at=3, thread=last, lag=150))
        export_in_time(box, store_of(local(tmp_path)), page_size=100)
        assert_nothing_is_missing(box, tmp_path, before)


def test_a_thread_that_comes_from_a_folder_that_is_walked_later_is_not_missed(tmp_path: Path) -> None:
    """The heads are read only when the lists of all folders were walked."""
    with Sandbox(seed=3, folders={"inbox": 60, "other": 200}, messages=2, long_every=1, now=NOW) as box:
        oldest = [one["node"]["id"] for one in box.data()["threads"] if one["folder"] == "other"][-1]

        def come(page: Any) -> None:
            page.move(oldest, "inbox")
            page.add_message(oldest)

        # The inbox takes three calls, and a reading of its head two; the other folder takes ten.
        box.life.add(Life("call", at=12, do=come))
        simulated(exporting(box, store_of(local(tmp_path)), ("inbox", "other"), page_size=20), box)
    assert oldest in ids(local(tmp_path), "conversations")


@pytest.mark.parametrize("seed", SEEDS)
def test_pages_of_one_or_two_rows_and_late_arrivals_lose_no_thread(seed: int, tmp_path: Path) -> None:
    """A thread whose message comes late lands up to 200 seconds below the head."""
    dice = random.Random(seed)
    with busy_page(seed, 240, span=timedelta(minutes=30)) as box:
        before = owed(box.data())
        box.faults.add(Fault("too_much_data", size=dice.choice([25, 50]), on="conversations"))
        jump(box, dice, 40, lag=200)
        export_in_time(box, store_of(local(tmp_path)), page_size=100)
        assert_nothing_is_missing(box, tmp_path, before)


@pytest.mark.parametrize("heavy", [{"code": 1}, {"code": 2}, {"status": 504}], ids=str)
@pytest.mark.parametrize("size", [3, 40])
def test_pages_that_are_always_too_heavy_are_asked_for_in_halves(
    heavy: dict[str, int], size: int, tmp_path: Path
) -> None:
    """Also where the API does not say that it is the amount of data, in one try."""
    with busy_page(1, 60) as box:
        before = owed(box.data())
        box.faults.add(Fault("heavy", size=size, **heavy))  # type: ignore[arg-type]
        export_in_time(box, store_of(local(tmp_path)), page_size=100)
        assert_nothing_is_missing(box, tmp_path, before)


@pytest.mark.parametrize("foreign", [{"ads_management": 100.0}, {"instagram": 100.0, "leadgen": 400.0}])
def test_another_product_s_usage_neither_slows_nor_ends_an_export(foreign: dict[str, float], tmp_path: Path) -> None:
    """Also where the task is to fail at a limit."""
    with busy_page(1, 60, limits=None) as box:
        box.limits.foreign = foreign
        before = owed(box.data())
        manifest = export(box, store_of(local(tmp_path)), policy=Policy(fail=True), page_size=20)
        assert_nothing_is_missing(box, tmp_path, before)
    assert manifest["waited_seconds"] == 0


@pytest.mark.parametrize("status", [400, 403, 404, 429])
@pytest.mark.parametrize("at", [1, 3])
def test_a_4xx_that_cannot_be_read_passes(status: int, at: int, tmp_path: Path) -> None:
    """It tells of something on the way."""
    with busy_page(1, 60) as box:
        before = owed(box.data())
        box.faults.add(Fault("html", status=status, at=at))
        export_in_time(box, store_of(local(tmp_path)), page_size=20, policy=Policy(stay=True))
        assert_nothing_is_missing(box, tmp_path, before)


def test_manifests_that_cannot_be_listed_are_an_error_and_never_an_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever took it for an empty one would publish an overlap, or begin anew."""
    files = local(tmp_path)
    with busy_page(1, 20) as box:
        export(box, store_of(files), since=NOW - 20 * DAY, until=NOW)
        box.forget()
        scan = os.scandir

        def refusing(path: Any = ".") -> Any:
            if "_manifests" in str(path):
                raise OSError(errno.EIO, "Input/output error")
            return scan(path)

        monkeypatch.setattr(os, "scandir", refusing)
        with pytest.raises(StoreError, match=r"Cannot list \S+_manifests\S+: Input/output error"):
            export(box, store_of(files), run="run-2", since=NOW - 3 * DAY, until=NOW - DAY)
        assert box.requests == []
