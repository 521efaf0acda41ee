"""Folders of a task side by side: what ends one lets the others go on, and what ends a thread lets its folder go on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.endings import LetGo
from airflow_provider_pageconv.dump.export import FoldersFailed
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphPermissionError,
    GraphRequestError,
    GraphTransientError,
)
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from tests.dump.exporting import (
    FOLDERS,
    IN_FLIGHT,
    NOW,
    Breaking,
    assert_holds,
    assert_tidy,
    export_in_time,
    exporting,
    in_tries,
    least_calls,
    owed,
    simulated,
    store_of,
)
from tests.servers.destinations import Destination, local
from tests.simulated import SimulatedTime


def folders_box(threads: int = 12, **options: Any) -> Sandbox:
    return Sandbox(**{"conversations": 0, "folders": dict.fromkeys(FOLDERS, threads), "now": NOW, **options})


def published(files: Destination) -> set[str]:
    return {manifest["folder"] for manifest in files.manifests().values()}


# Folders


@pytest.mark.parametrize(
    "code, kind", [(100, GraphRequestError), (200, GraphPermissionError), (2, GraphTransientError)], ids=str
)
def test_a_folder_that_is_refused_lets_the_others_publish_and_is_named(
    code: int, kind: type[Exception], destination_files: Destination
) -> None:
    """The next try goes on with that one, and leaves the others alone."""
    files = destination_files
    with folders_box(messages=2) as box:
        fault = box.faults.add(Fault(code=code, folder="other"))
        with pytest.raises(FoldersFailed) as caught:
            simulated(exporting(box, store_of(files), FOLDERS), box)
        assert {folder: type(error) for folder, error in caught.value.errors.items()} == {"other": kind}
        assert str(caught.value) == f"other: {caught.value.errors['other']}"
        assert caught.value.for_good == (code != 2)
        assert published(files) == set(FOLDERS) - {"other"}
        box.faults.remove(fault)
        box.forget()
        outcomes, _ = simulated(exporting(box, store_of(files), FOLDERS), box)
        assert {call.params["folder"] for call in box.requests} == {"other"}
        assert [outcome.new for outcome in outcomes] == [False, True, False, False]
        assert_holds(files, owed(box.data()))
    assert_tidy(files)


def test_each_folder_that_is_missing_is_named_with_its_sentence(tmp_path: Path) -> None:
    """Those that ended with the same one together; a further try may help as long as it may help one of them."""
    files = local(tmp_path)
    with folders_box(messages=2) as box:
        box.faults.add(Fault(code=200, folder="inbox", message="No"))
        box.faults.add(Fault("html", folder="spam"))
        with pytest.raises(FoldersFailed) as caught:
            simulated(exporting(box, store_of(files), FOLDERS), box)
        inbox, spam = (caught.value.errors[folder] for folder in ("inbox", "spam"))
        assert str(caught.value) == f"inbox: {inbox} spam: {spam}"
        assert not caught.value.for_good
        assert set(caught.value.errors) == {"inbox", "spam"}
        assert published(files) == {"other", "page_done"}


def test_what_refuses_several_folders_is_said_once_though_each_call_has_a_trace_id_of_its_own(tmp_path: Path) -> None:
    """With the trace id of the first one; another sentence stays apart, and so does one that differs in more than that."""
    with folders_box(messages=2) as box:
        for folder in ("inbox", "other", "spam"):
            box.faults.add(Fault(code=200, folder=folder, message="No", status=400 if folder == "other" else None))
        box.faults.add(Fault(code=100, folder="page_done"))
        with pytest.raises(FoldersFailed) as caught:
            simulated(exporting(box, store_of(local(tmp_path)), FOLDERS), box)
    errors = caught.value.errors
    assert len({error.fbtrace_id for error in errors.values()}) == 4  # type: ignore[attr-defined]
    inbox, other, page_done = (errors[folder] for folder in ("inbox", "other", "page_done"))
    assert str(caught.value) == f"inbox, spam: {inbox} other: {other} page_done: {page_done}"


def test_a_refused_folder_is_named_after_waits_and_reschedules_too(tmp_path: Path) -> None:
    """The task lets go of its worker for a limit as long as another folder may come; then the error comes."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with folders_box(120, messages=2) as box:
        box.faults.add(Fault(code=200, folder="inbox"))
        box.faults.add(Fault(code=80006, regain=10, folder="page_done", pages="later", times=3))
        with pytest.raises(LetGo):
            simulated(exporting(box, store_of(files), FOLDERS, policy=Policy()), box, time)
        assert "inbox" not in published(files)
        with pytest.raises(FoldersFailed) as caught:
            in_tries(box, store_of(files), FOLDERS, policy=Policy(), time=time)
        assert set(caught.value.errors) == {"inbox"}
        assert caught.value.for_good
        assert published(files) == set(FOLDERS) - {"inbox"}
        box.faults.clear()
        in_tries(box, store_of(files), FOLDERS, policy=Policy(), time=time)
        assert_holds(files, owed(box.data()))
    assert time.passed >= 30 * 60
    assert_tidy(files)


def test_a_store_that_fails_for_one_folder_ends_that_folder_alone(tmp_path: Path) -> None:
    """Whatever it was, the others are published; and nothing of the folder is lost."""
    files = local(tmp_path)
    with folders_box(messages=2) as box:

        class Full(Breaking):
            def with_scratch(self, prefix: str) -> Any:
                return Full(self._store.with_scratch(prefix))

            def put(self, local: Path, key: str) -> None:
                if "folder=spam" in key and not key.startswith("_staging/"):
                    raise StoreError(f"Cannot write {key}: No space left on device")
                self._store.put(local, key)

        with pytest.raises(FoldersFailed, match=r"^spam: Cannot write .*: No space left on device$") as caught:
            simulated(exporting(box, Full(store_of(files)), FOLDERS), box)
        assert not caught.value.for_good
        assert published(files) == set(FOLDERS) - {"spam"}
        box.forget()
        simulated(exporting(box, store_of(files), FOLDERS), box)
        assert box.requests == []
        assert_holds(files, owed(box.data()))
    assert_tidy(files)


def test_the_list_of_a_folder_that_ended_counts_as_walked(tmp_path: Path) -> None:
    """The others wait for the lists of all folders before they read their heads again, but not for one that is gone."""
    files = local(tmp_path)
    with folders_box(30, messages=2) as box:
        box.faults.add(Fault(code=100, folder="inbox", pages="later"))
        with pytest.raises(FoldersFailed):
            simulated(exporting(box, store_of(files), FOLDERS, page_size=10), box)
        assert published(files) == set(FOLDERS) - {"inbox"}


@pytest.mark.parametrize("seed", range(4))
def test_after_a_dead_token_each_folder_is_published_that_needs_no_further_call(seed: int, tmp_path: Path) -> None:
    """At whatever call it dies, and in whatever order answers come back."""
    folders = dict(zip(FOLDERS, (5, 25, 8, 14), strict=True))
    with Sandbox(conversations=0, folders=folders, messages=40, long_every=6, now=NOW) as box:
        least = sum(least_calls(box.data(), folder, 10) for folder in FOLDERS)
        counts: list[int] = []
        for number in range(2, least + 1, 3):
            files = local(tmp_path / str(number))
            fault = box.faults.add(Fault(code=190, at=number, every=1))
            with pytest.raises(FoldersFailed) as caught:
                simulated(exporting(box, store_of(files), FOLDERS, page_size=10), box, seed=seed)
            assert {type(error) for error in caught.value.errors.values()} == {GraphAuthError}
            assert caught.value.for_good
            there = published(files)
            counts.append(len(there))
            assert there == set(FOLDERS) - set(caught.value.errors)
            box.faults.remove(fault)
            box.forget()
            threads = {thread.id: thread.folder for thread in box.page.threads()}
            simulated(exporting(box, store_of(files), FOLDERS, page_size=10), box)
            asked = {call.params.get("folder") or threads[call.path.split("/")[2]] for call in box.requests}
            assert asked == set(FOLDERS) - there
            assert_holds(files, owed(box.data()))
            assert_tidy(files)
    assert counts[0] == 0
    assert max(counts) == 3


def test_a_stop_publishes_nothing_even_of_a_folder_that_needs_no_further_call(tmp_path: Path) -> None:
    """It is no refusal: who asked for it wants nothing to happen any more."""
    files = local(tmp_path)
    with folders_box(3, messages=2) as box:
        one = exporting(box, store_of(files), FOLDERS)
        box.life.add(Life("call", at=4, do=lambda _: one.kill()))
        with pytest.raises(Exception, match="stopped"):
            simulated(one, box)
        assert len(published(files)) < 4
        there = published(files)
        box.forget()
        simulated(exporting(box, store_of(files), FOLDERS), box)
        assert box.requests == []
        assert there <= published(files)
        assert_holds(files, owed(box.data()))


def test_a_thread_that_moves_to_another_folder_with_a_message_during_the_walk_is_not_missed(tmp_path: Path) -> None:
    """It jumps to the top of a list that was walked already: the heads are read when all lists were walked."""
    files = local(tmp_path)
    with folders_box(60, messages=2, details="all") as box:
        before = owed(box.data())
        last = [thread.id for thread in box.page.threads() if thread.folder == "spam"][-1]

        def move(page: Any) -> None:
            page.move(last, "inbox")
            page.add_message(last, at=NOW + timedelta(seconds=1))

        for at in range(8, 24, 5):
            copy = local(tmp_path / str(at))
            box.life.clear()
            box.life.add(Life("call", at=at, do=move))
            simulated(exporting(box, store_of(copy), FOLDERS, page_size=20), box)
            found = {record["id"] for record in copy.records("conversations")}
            assert found == set(before.conversations)
            box.page.move(last, "spam")
    assert files.names()


# What lasts longer than a stretch


@pytest.mark.parametrize("seconds", [2.0, 45.0])
def test_a_stretch_shorter_than_a_call_makes_a_page_all_the_same(seconds: float, tmp_path: Path) -> None:
    """``release_slot_after`` frees the worker now and then, and holds nothing up for ever."""
    files = local(tmp_path)
    with folders_box(23, messages=30, long_every=12) as box:
        least = sum(least_calls(box.data(), folder, 10) for folder in FOLDERS)
        policy = Policy(release_after=timedelta(seconds=1))
        _, tries = in_tries(box, store_of(files), FOLDERS, policy=policy, seconds=seconds, most=least + 1, page_size=10)
        assert len(box.requests) == least
        assert_holds(files, owed(box.data()))
    assert least / 8 < tries <= least
    assert_tidy(files)


def test_usage_that_makes_the_task_let_go_after_each_page_loses_none_of_them(tmp_path: Path) -> None:
    """Nothing was refused, and the wait and the page before it are both in the checkpoint."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with Sandbox(conversations=0, folders={"inbox": 350}, messages=2, now=NOW) as box:
        box.limits.percent = 100.0
        [outcome], _ = in_tries(box, store_of(files), policy=Policy(), time=time, most=10)
        assert len(box.requests) == least_calls(box.data(), "inbox") == 5
        assert_holds(files, owed(box.data()))
    # Each wait is longer than the one before: 1, 2, 5, 10 minutes.
    assert time.passed >= 18 * 60
    assert outcome.manifest["waited_seconds"] >= 18 * 60


def test_a_task_that_let_go_comes_back_some_seconds_later(tmp_path: Path) -> None:
    """Not at once: Airflow fails a task that is queued again before it has read that its process ended."""
    with folders_box(120, messages=2) as box:
        time = SimulatedTime(NOW)
        one = exporting(box, store_of(local(tmp_path)), FOLDERS, policy=Policy(release_after=timedelta(seconds=1)))
        with pytest.raises(LetGo) as caught:
            simulated(one, box, time, seconds=2.0)
        assert timedelta(seconds=10) <= caught.value.moment - time.now <= timedelta(seconds=60)


# Threads that are refused


REFUSED = "The messages of 1 conversation were refused with error {}: what was got is there, marked _unavailable."


@pytest.mark.parametrize("code", [100, 200, 10, 230])
def test_a_parameter_or_permission_refused_for_one_thread_ends_that_thread(code: int, tmp_path: Path) -> None:
    """The code is in a warning; what came with the list is there, and the other threads are whole.

    100 with a cursor might mean the cursor: then the thread is asked once more, from its newest message.
    """
    files, time = local(tmp_path), SimulatedTime(NOW)
    with Sandbox(conversations=0, folders={"inbox": 6}, messages=60, long_every=1, now=NOW, details="all") as box:
        lost = list(box.page.threads())[2].id
        fault = box.faults.add(Fault(code=code, thread=lost))
        manifest = export_in_time(box, store_of(files), time=time)
        assert fault.fired == (2 if code == 100 else 1)
        assert len(box.requests) == least_calls(box.data(), "inbox") + fault.fired - 1
    assert time.passed == 0
    assert [record["id"] for record in files.records("conversations") if record["_unavailable"]] == [lost]
    assert (manifest["conversations"], manifest["messages"]) == (6, 5 * 60 + 25)
    assert manifest["conversations_unavailable"] == 1
    assert REFUSED.format(code) in manifest["warnings"]
    assert_tidy(files)


@pytest.mark.parametrize("seed", range(12))
def test_the_record_of_a_thread_that_is_refused_while_all_wait_for_a_limit_is_in_the_files(
    seed: int, tmp_path: Path
) -> None:
    """A checkpoint comes in the wait, and only after it is it settled that the refusal is the thread's own."""
    files = local(tmp_path)
    folders = {"inbox": 1, "spam": 1}
    with Sandbox(conversations=0, folders=folders, messages=60, long_every=1, now=NOW, details="all") as box:
        lost, other = (thread.id for thread in box.page.threads())
        refused = box.faults.add(Fault(code=10, on="messages", thread=lost))
        box.faults.add(Fault(code=80006, regain=3, on="messages", thread=other, times=1))
        export = exporting(box, store_of(files), tuple(folders), policy=Policy(stay=True))
        outcomes, _ = simulated(export, box, SimulatedTime(NOW), seed=seed)
    records = files.records("conversations")
    assert len(records) == sum(outcome.manifest["conversations"] for outcome in outcomes) == 2
    assert [record["id"] for record in records if record["_unavailable"]] == [lost]
    assert refused.fired == 1


def test_a_refused_cursor_of_one_thread_is_none_of_the_thread_itself(tmp_path: Path) -> None:
    """It is begun again: a code says nothing by itself."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 6}, messages=60, long_every=1, now=NOW, details="all") as box:
        box.faults.add(Fault("dead_cursor", thread=list(box.page.threads())[2].id))
        manifest = export_in_time(box, store_of(files))
        assert_holds(files, owed(box.data()))
    assert manifest["conversations_unavailable"] == 0


@pytest.mark.parametrize("code, kind", [(200, GraphPermissionError), (100, GraphRequestError)], ids=str)
def test_twenty_threads_refused_in_a_row_end_the_folder(code: int, kind: type[Exception], tmp_path: Path) -> None:
    """Then it is not the threads; a good one in between shows that it is."""
    box_options: dict[str, Any] = {"messages": 60, "long_every": 1, "now": NOW, "details": "all"}
    first = {"pages": "first"} if code == 100 else {}
    with Sandbox(conversations=0, folders={"inbox": 90}, **box_options) as box:
        box.rules.nested = "absent"  # so that the first call for a thread has no cursor
        box.faults.add(Fault(code=code, on="messages", **first))
        with pytest.raises(kind) as caught:
            export_in_time(box, store_of(local(tmp_path / "all")))
        assert type(caught.value) is kind
        assert 20 <= sum(call.edge == "messages" for call in box.requests) < 20 + IN_FLIGHT
    with Sandbox(conversations=0, folders={"inbox": 90}, **box_options) as box:
        box.rules.nested = "absent"
        names = [thread.id for thread in box.page.threads()]
        good = set(names[::10])
        box.faults.add(Fault(code=code, on="messages", when=lambda call: call.parts[0] not in good))
        manifest = export_in_time(box, store_of(local(tmp_path / "most")))
    assert manifest["conversations_unavailable"] == 81
    assert manifest["messages"] == 9 * 60
    assert any(f"81 conversations were refused with error {code}" in warning for warning in manifest["warnings"])


def test_threads_that_were_refused_before_the_folder_ended_are_asked_again_by_the_next_try(tmp_path: Path) -> None:
    """The permission was missing for all of them, and has been given since."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 90}, messages=60, long_every=1, now=NOW, details="all") as box:
        fault = box.faults.add(Fault(code=200, on="messages"))
        with pytest.raises(GraphPermissionError):
            export_in_time(box, store_of(files))
        box.faults.remove(fault)
        manifest = export_in_time(box, store_of(files))
        assert manifest["conversations_unavailable"] == 0
        assert_holds(files, owed(box.data()))


def test_a_call_that_is_sent_elsewhere_is_no_refusal_of_a_thread(tmp_path: Path) -> None:
    """Nothing was said about a parameter or a permission: the folder ends with the sentence, and nothing is lost."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 6}, messages=60, long_every=1, now=NOW, details="all") as box:
        box.faults.add(Fault("redirect", on="messages", at=2))
        with pytest.raises(GraphRequestError, match="the server sends the call elsewhere"):
            export_in_time(box, store_of(files))
        export_in_time(box, store_of(files))
        assert_holds(files, owed(box.data()))
