"""Error 100/33 says that something does not exist, and may be a limit in disguise: nobody takes it at its word at once."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump import rounds
from airflow_provider_pageconv.dump.export import FoldersFailed
from airflow_provider_pageconv.graph.errors import GraphRateLimitError, GraphRequestError, GraphTransientError
from airflow_provider_pageconv.graph.limits import Policy, WaitedTooLong
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import (
    IN_FLIGHT,
    NOW,
    assert_holds,
    assert_tidy,
    checkpoints,
    client_of,
    every_step_saved,
    export,
    export_in_time,
    exporting,
    in_tries,
    least_calls,
    list_calls,
    owed,
    simulated,
    store_of,
)
from tests.servers.destinations import Destination, local
from tests.simulated import SimulatedTime

DAY = timedelta(days=1)
STAY = Policy(stay=True)
WORDS = pytest.mark.parametrize(
    "words", [{"kind": "unavailable"}, {"kind": "does_not_exist"}], ids=["33", "no subcode"]
)
UNAVAILABLE = "1 conversation could not be read to the end: what was got is there, marked _unavailable."


def box_of(threads: int = 6, **options: Any) -> Sandbox:
    """A box whose threads all have 60 messages: 25 come with the list, and the rest with a call for each thread."""
    options = {"messages": 60, "long_every": 1, "details": "all", **options}
    return Sandbox(conversations=0, folders={"inbox": threads}, now=NOW, **options)


def messages_calls(box: Sandbox) -> list[tuple[str, str]]:
    """The calls of threads' messages: thread, and how many were asked for."""
    return [(call.path.split("/")[2], call.params["limit"]) for call in box.requests if call.edge == "messages"]


# Threads


@WORDS
def test_a_thread_that_is_really_gone_costs_four_calls_and_a_minute(words: dict[str, Any], tmp_path: Path) -> None:
    """The refusal, a control, the same again, another control; what was got of it stays, marked and counted."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of() as box:
        gone = list(box.page.threads())[2].id
        box.faults.add(Fault(on="messages", thread=gone, **words))
        manifest = export_in_time(box, store_of(files), time=time)
        asked = messages_calls(box)
        data = box.data()
    assert len(box.requests) == least_calls(data, "inbox") + 3
    assert Counter(limit for thread, limit in asked if thread == gone) == {"100": 2}
    assert Counter(limit for thread, limit in asked if thread != gone) == {"100": 5, "1": 2}
    assert 60 <= time.passed < 90
    assert [record["id"] for record in files.records("conversations") if record["_unavailable"]] == [gone]
    assert sum(record["_conversation_id"] == gone for record in files.records("messages")) == 25
    assert (manifest["conversations"], manifest["messages"]) == (6, 5 * 60 + 25)
    assert manifest["conversations_unavailable"] == 1
    assert manifest["conversations_incomplete"] == 0
    assert manifest["warnings"] == [UNAVAILABLE]
    assert_tidy(files)


def test_a_control_is_one_message_of_a_thread_that_gave_some_and_else_one_row_of_the_list(tmp_path: Path) -> None:
    """It is the cheapest call that something gave an answer to before."""
    with box_of(3) as box:
        box.faults.add(Fault("unavailable"))
        manifest = export_in_time(box, store_of(local(tmp_path / "none")))
        controls = [call for call in box.requests if call.params["limit"] == "1"]
        assert [call.edge for call in controls] == ["conversations"] * 2
        assert {call.params["fields"] for call in controls} == {"id"}
        assert manifest["conversations_unavailable"] == 3
    with box_of(3) as box:
        gone = list(box.page.threads())[1].id
        box.faults.add(Fault("unavailable", thread=gone))
        export_in_time(box, store_of(local(tmp_path / "some")))
        controls = [call for call in box.requests if call.params["limit"] == "1"]
        assert [(call.edge, call.params["fields"]) for call in controls] == [("messages", "id")] * 2
        assert all(call.path.split("/")[2] != gone for call in controls)


@WORDS
def test_a_spell_on_all_threads_that_ends_loses_nothing(words: dict[str, Any], tmp_path: Path) -> None:
    """While it lasts the controls are refused as well, and so it is waited out as a limit is."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of(24, long_every=4) as box:
        spell = box.faults.add(Fault(on="messages", lasts=900, **words))
        manifest = export_in_time(box, store_of(files), time=time, policy=STAY)
        assert_holds(files, owed(box.data()))
        # Six threads, and few calls while it lasted.
        assert 6 < spell.fired < 6 + 20
    assert 900 <= time.passed < 2 * 3600
    assert manifest["conversations_unavailable"] == 0
    assert manifest["waited_seconds"] > 0
    assert manifest["warnings"] == []


def test_a_spell_that_makes_the_task_let_go_loses_nothing_over_its_tries(tmp_path: Path) -> None:
    """Threads that are set aside are in the checkpoint, and so is the wait."""
    files = local(tmp_path)
    with box_of(24, long_every=4) as box:
        box.faults.add(Fault("unavailable", lasts=900))
        [outcome], tries = in_tries(box, store_of(files), policy=Policy())
        assert_holds(files, owed(box.data()))
    assert tries > 2
    assert outcome.manifest["conversations_unavailable"] == 0
    assert_tidy(files)


def test_a_spell_that_leaves_one_thread_after_the_other_free_is_a_limit_for_all_of_them(tmp_path: Path) -> None:
    """As long as a round brings some back the others get another one; and calls become slower."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of(8) as box:
        free_at = {thread.id: NOW + timedelta(seconds=50 * number) for number, thread in enumerate(box.page.threads())}

        def is_under_it(call: Any) -> bool:
            return time.now < free_at[call.parts[0]]

        box.faults.add(Fault(code=100, subcode=33, on="messages", when=is_under_it))
        client = client_of(box)
        manifest = export_in_time(box, store_of(files), time=time, client=client, policy=STAY)
        assert_holds(files, owed(box.data()))
        assert client.pace.interval > 0
    assert 7 * 50 < time.passed < 15 * 60
    assert manifest["conversations_unavailable"] == 0


def test_threads_of_a_round_are_gone_only_if_none_of_it_comes_back(tmp_path: Path) -> None:
    """One that is gone for good beside some that were under a spell gets its last round alone."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of(8) as box:
        names = [thread.id for thread in box.page.threads()]
        box.faults.add(Fault("unavailable", thread=names[5]))
        for name in names[:4]:
            box.faults.add(Fault("unavailable", thread=name, lasts=30))
        manifest = export_in_time(box, store_of(files), time=time, policy=STAY)
        asked = Counter(thread for thread, limit in messages_calls(box) if limit != "1")
    assert [record["id"] for record in files.records("conversations") if record["_unavailable"]] == [names[5]]
    assert manifest["messages"] == 7 * 60 + 25
    assert asked == {**dict.fromkeys(names, 1), **dict.fromkeys(names[:4], 2), names[5]: 3}
    assert time.passed < 5 * 60


@pytest.mark.parametrize("slow_rounds, seconds", [(1, 180), (2, 180), (1, 70)])
def test_a_spell_that_comes_and_goes_between_the_controls_of_a_round_that_took_long_loses_nothing(
    slow_rounds: int, seconds: int, tmp_path: Path
) -> None:
    """An answer that does not come for a minute lets a whole spell fit in: such a round says nothing, and there is another."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of() as box:
        lost = list(box.page.threads())[2].id
        box.faults.add(
            Fault(code=100, subcode=33, on="messages", thread=lost, times=1 + slow_rounds, when=_slowly(time, seconds))
        )
        manifest = export_in_time(box, store_of(files), time=time)
        assert_holds(files, owed(box.data()))
    assert manifest["conversations_unavailable"] == 0
    assert manifest["warnings"] == []


def test_rounds_that_always_take_long_come_to_their_end(tmp_path: Path) -> None:
    """After three of them the last one counts: an API that is slow for good is not asked for ever."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of() as box:
        lost = list(box.page.threads())[2].id
        box.faults.add(Fault(code=100, subcode=33, on="messages", thread=lost, when=_slowly(time)))
        manifest = export_in_time(box, store_of(files), time=time)
        asked = Counter(limit for thread, limit in messages_calls(box) if thread == lost)
    assert asked == {"100": 1 + 3}
    assert manifest["conversations_unavailable"] == 1


def _slowly(time: SimulatedTime, seconds: int = 180) -> Callable[[Any], bool]:
    """So long it takes until the answer is there."""

    def strike(_: Any) -> bool:
        time.pass_(seconds)
        return True

    return strike


def test_a_control_that_is_refused_is_a_limit_and_says_nothing_of_the_threads(tmp_path: Path) -> None:
    """Where limits fail the try it fails, without a word about what is gone; the next one asks again."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of() as box:
        lost = list(box.page.threads())[1].id
        gone = box.faults.add(Fault("unavailable", thread=lost))
        control = box.faults.add(
            Fault(code=100, subcode=33, on="messages", when=lambda call: call.params["limit"] == "1")
        )
        with pytest.raises(GraphRateLimitError) as caught:
            export_in_time(box, store_of(files), time=time)
        assert str(caught.value) == (
            "Graph API error 613: what was given before is not given now: a limit that does not say so. Stop calling and "
            "come back later."
        )
        assert files.manifests() == {}
        box.faults.remove(control)
        box.faults.remove(gone)
        box.faults.dead_threads.clear()
        manifest = export_in_time(box, store_of(files), time=time)
        assert_holds(files, owed(box.data()))
    assert manifest["conversations_unavailable"] == 0


def test_after_a_round_whose_second_control_is_refused_nothing_is_gone(tmp_path: Path) -> None:
    """The limit may have begun in between: the round counts for nothing, and comes again."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of() as box:
        lost = list(box.page.threads())[1].id
        box.faults.add(Fault("unavailable", thread=lost, lasts=100))
        control = Fault(code=100, subcode=33, on="messages", at=2, when=lambda call: call.params["limit"] == "1")
        box.faults.add(control)
        manifest = export_in_time(box, store_of(files), time=time, policy=STAY)
        assert control.fired == 1
        assert_holds(files, owed(box.data()))
    assert manifest["conversations_unavailable"] == 0


@pytest.mark.parametrize("seconds", [1.0, 2.0])
@pytest.mark.parametrize("which", range(6))
def test_a_limit_that_another_folder_meets_says_nothing_of_this_one_s_threads(
    which: int, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second spell falls between a thread's second refusal and the look that follows it; who waits it out is the other.

    Also where a round counts that took long, as the third in a row does.
    """
    monkeypatch.setattr(rounds, "MOST_LONG_ROUNDS", 1)
    folders = ("inbox", "other")
    with Sandbox(folders=dict.fromkeys(folders, 6), messages=60, long_every=1, details="all", now=NOW) as box:
        threads = {
            folder: [one["node"]["id"] for one in box.data()["threads"] if one["folder"] == folder]
            for folder in folders
        }
        refused = {threads["inbox"][(which + 1) % 6], threads["other"][which]}
        time, controls, second = SimulatedTime(NOW), 0, NOW + DAY

        def strikes(call: Any) -> bool:
            nonlocal controls, second
            if call.params["limit"] == "1":
                controls += 1
                second = time.now if controls == 2 else second
            first = time.now < NOW + timedelta(seconds=40) and call.parts[0] in refused
            return first or timedelta(0) <= time.now - second < timedelta(seconds=50)

        box.faults.add(Fault(code=100, subcode=33, on="messages", when=strikes))
        files = local(tmp_path)
        simulated(exporting(box, store_of(files), folders, policy=Policy(stay=True)), box, time, seconds=seconds)
        assert second < NOW + DAY
        assert_holds(files, owed(box.data()))
    assert [manifest["conversations_unavailable"] for manifest in files.manifests().values()] == [0, 0]


def test_a_control_that_is_gone_itself_is_not_asked_for_ever(tmp_path: Path) -> None:
    """Another thread is the next one: a Page on which threads are deleted now and then is no Page at its limit."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of() as box:
        names = [thread.id for thread in box.page.threads()]
        box.faults.add(Fault("unavailable", thread=names[1]))
        for name in (names[0], names[-1]):  # the first and the last that gave some
            box.faults.add(Fault(code=100, subcode=33, thread=name, when=lambda call: call.params["limit"] == "1"))
        manifest = export_in_time(box, store_of(files), time=time, policy=STAY)
    assert manifest["conversations_unavailable"] == 1
    assert manifest["messages"] == 5 * 60 + 25
    assert time.passed < 30 * 60


@pytest.mark.parametrize("listed", [True, False], ids=["others are listed", "nothing is listed any more"])
@pytest.mark.parametrize("stay", [True, False], ids=["in one try", "in tries"])
def test_where_all_that_gave_some_are_gone_the_list_shows_who_may_be_asked(
    tmp_path: Path, *, stay: bool, listed: bool
) -> None:
    """Each of the threads that gave messages is deleted before the first control is asked: that is no limit without end."""
    files = local(tmp_path)
    with box_of(4) as box:
        names = [thread.id for thread in box.page.threads()]
        refusal = box.faults.add(Fault("unavailable", thread=names[1]))

        def strikes(call: Any) -> bool:
            if call.params["limit"] == "1" and box.page.find_thread(names[0]):
                for name in names:
                    if not (listed and name == names[1]):
                        box.page.delete_thread(name)
                if listed:
                    box.page.new_thread("inbox")
            return False

        box.faults.add(Fault(code=1, when=strikes))
        [outcome], _ = in_tries(box, store_of(files), policy=Policy(stay=stay, timeout=timedelta(hours=6)))
        assert refusal.fired
    assert outcome.manifest["conversations_unavailable"] == 1
    assert outcome.manifest["messages"] == 3 * 60 + 25


def test_controls_are_no_new_page_for_the_time_out(tmp_path: Path) -> None:
    """A spell under which every second control is answered is given up after ``rate_limit_timeout`` all the same."""
    time = SimulatedTime(NOW)
    with box_of() as box:
        box.faults.add(Fault("unavailable", thread=list(box.page.threads())[1].id))
        box.faults.add(
            Fault(code=100, subcode=33, on="messages", every=2, when=lambda call: call.params["limit"] == "1")
        )
        policy = Policy(stay=True, timeout=timedelta(hours=2))
        with pytest.raises(WaitedTooLong, match=r"^Waited \d:\d\d:\d\d for the limit without a single new page"):
            export_in_time(box, store_of(local(tmp_path)), time=time, policy=policy)
        assert len(box.requests) < 100
    assert 3600 < time.passed < 5 * 3600


def test_five_hundred_of_six_hundred_threads_that_are_gone_cost_no_more_than_twice_the_calls(tmp_path: Path) -> None:
    """They are asked again together, a page of them at most; memory and checkpoints stay small."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of(600, messages=27) as box:
        least = least_calls(box.data(), "inbox")
        gone = {thread.id for number, thread in enumerate(box.page.threads()) if number % 6}
        box.faults.add(Fault("unavailable", when=lambda call: call.parts[0] in gone))
        manifest = export_in_time(box, store_of(files), time=time)
        assert least == 6 + 1 + 600
        assert len(box.requests) <= 2 * least
    assert manifest["conversations_unavailable"] == len(gone) == 500
    assert manifest["messages"] == 100 * 27 + 500 * 25
    assert {record["id"] for record in files.records("conversations") if record["_unavailable"]} == gone
    assert time.passed < 3600


def test_all_of_a_hundred_threads_that_are_gone_are_found_to_be(tmp_path: Path) -> None:
    """With nothing but the list as a control."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of(130, messages=27) as box:
        box.faults.add(Fault("unavailable"))
        manifest = export_in_time(box, store_of(files), time=time)
        # Each twice, and two controls for each round.
        assert len(box.requests) <= 2 * 130 + list_calls(box.data(), "inbox") + 3 * 2
    assert manifest["conversations_unavailable"] == 130
    assert manifest["messages"] == 130 * 25
    assert time.passed < 3600


def test_no_more_than_a_page_of_threads_is_set_aside(tmp_path: Path) -> None:
    """Then it is their turn, before the list goes on."""
    with box_of(60, messages=27) as box:
        gone = {thread.id for number, thread in enumerate(box.page.threads()) if number % 5}
        box.faults.add(Fault("unavailable", when=lambda call: call.parts[0] in gone))
        export_in_time(box, store_of(local(tmp_path)), page_size=10)
        asked = [thread for thread, limit in messages_calls(box) if limit != "1" and thread in gone]
    aside: set[str] = set()
    most = 0
    for thread in asked:  # the first answer sets it aside, the second settles it
        aside ^= {thread}
        most = max(most, len(aside))
    assert aside == set()
    assert 5 < most <= 10 + IN_FLIGHT - 2, "a page of them, and what was under way when it was full"


def test_a_thread_that_was_set_aside_is_not_asked_sooner_by_the_next_try(tmp_path: Path) -> None:
    """A minute after its last answer at the earliest, whoever asks."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of() as box:
        lost = list(box.page.threads())[1].id
        box.faults.add(Fault("unavailable", thread=lost, lasts=20))
        dies = box.faults.add(Fault(code=190, on="messages", when=lambda call: call.params["limit"] == "1"))
        with every_step_saved(), pytest.raises(Exception, match="190"):
            export_in_time(box, store_of(files), time=time)
        box.faults.remove(dies)
        refused_at = next(
            reading["thread"]["refused_at"] for reading in _readings(files) if reading["node"]["id"] == lost
        )
        assert NOW.timestamp() <= refused_at <= NOW.timestamp() + 1
        time = SimulatedTime(NOW + timedelta(seconds=30))
        box.forget()
        export_in_time(box, store_of(files), time=time)
        assert_holds(files, owed(box.data()))
        assert time.passed >= 30


def _readings(files: Destination) -> list[dict[str, Any]]:
    newest = max(checkpoints(files), key=lambda document: document["progress"]["api_calls"])
    found: list[dict[str, Any]] = json.loads(gzip.decompress(files.read(newest["readings"])))
    return found


def test_a_thread_that_goes_away_between_two_pages_is_asked_again_where_it_was(tmp_path: Path) -> None:
    """What came before is not written twice, and nothing is missing once it is there again."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of(4, messages=90) as box:
        lost = list(box.page.threads())[1].id
        box.faults.add(Fault("unavailable", thread=lost, at=2, lasts=40))
        export_in_time(box, store_of(files), page_size=20, time=time)
        assert_holds(files, owed(box.data()))
    assert 60 <= time.passed < 120


# Lists


@WORDS
@pytest.mark.parametrize("pages", ["first", "later"])
def test_a_list_that_says_for_some_minutes_that_it_does_not_exist_loses_nothing(
    pages: str, words: dict[str, Any], tmp_path: Path
) -> None:
    """It is asked the same again, with a cursor or without, and not from its top."""
    code = {"unavailable": {"code": 100, "subcode": 33}, "does_not_exist": words}[words["kind"]]
    files, time = local(tmp_path), SimulatedTime(NOW)
    with box_of(250, messages=2) as box:
        least = least_calls(box.data(), "inbox")
        spell = box.faults.add(Fault(on="conversations", pages=pages, at=1, lasts=170, **code))
        manifest = export_in_time(box, store_of(files), time=time)
        assert_holds(files, owed(box.data()))
        assert len(box.requests) == least + spell.fired
    assert 1 < spell.fired <= 4
    assert 170 <= time.passed < 400
    assert manifest["warnings"] == []


def test_a_list_that_goes_on_saying_so_without_a_cursor_fails_with_both_meanings(tmp_path: Path) -> None:
    """After some minutes; and the folder's error may be for good, so both are named."""
    time = SimulatedTime(NOW)
    with box_of() as box:
        box.faults.add(Fault(code=100, subcode=33, on="conversations"))
        with pytest.raises(GraphRequestError) as caught:
            export_in_time(box, store_of(local(tmp_path)), time=time)
        assert len(box.requests) == 5
    assert str(caught.value).startswith(
        "Graph API error 100/33: the list does not exist or the token may not see it, or a limit is reached that does not "
        "say so. Check the page id, that the token is the Page's and what it may do; else try again later. (HTTP status 4"
    )
    assert 120 <= time.passed < 900


def test_a_list_that_goes_on_saying_so_behind_a_cursor_has_refused_the_cursor(tmp_path: Path) -> None:
    """It is walked again past what is done; and if that leads to the same end, again and again, the try ends."""
    files, time = local(tmp_path / "once"), SimulatedTime(NOW)
    with box_of(250, messages=2) as box:
        fault = box.faults.add(Fault(code=100, subcode=33, on="conversations", pages="later", at=2, every=1, times=5))
        export_in_time(box, store_of(files), time=time)
        assert_holds(files, owed(box.data()))
        assert fault.fired == 5
        # Two pages, five refusals, and three pages again and the head.
        assert sum(call.edge == "conversations" for call in box.requests) == 2 + 5 + list_calls(box.data(), "inbox")
    time = SimulatedTime(NOW)
    with box_of(250, messages=2) as box:
        box.faults.add(Fault(code=100, subcode=33, on="conversations", pages="later", at=2, every=1))
        with pytest.raises(GraphTransientError, match="the cursors died 5 times"):
            export_in_time(box, store_of(local(tmp_path / "always")), time=time)
        assert len(box.requests) < 60
    assert time.passed < 3600


def test_a_list_under_a_spell_lets_the_other_folders_go_on(tmp_path: Path) -> None:
    """They are walked meanwhile, and the folder that fails in the end is the one that is named."""
    files, time = local(tmp_path), SimulatedTime(NOW)
    with Sandbox(conversations=0, folders={"inbox": 30, "other": 30}, messages=2, now=NOW) as box:
        box.faults.add(Fault(code=100, subcode=33, on="conversations", folder="inbox"))
        with pytest.raises(FoldersFailed) as caught:
            simulated(exporting(box, store_of(files), ("inbox", "other")), box, time)
        assert set(caught.value.errors) == {"inbox"}
        assert [manifest["folder"] for manifest in files.manifests().values()] == ["other"]
        box.faults.clear()
        export(box, store_of(files), clock=lambda: datetime.fromtimestamp(time.now.timestamp(), NOW.tzinfo))
        assert_holds(files, owed(box.data()))
