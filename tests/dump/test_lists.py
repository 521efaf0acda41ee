"""Lists that do strange things: every walk comes to its end, in few calls, with all that was there or with a sentence."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.endings import LetGo
from airflow_provider_pageconv.graph.errors import GraphRequestError, GraphTransientError
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from tests.dump.exporting import (
    DAY,
    NOW,
    assert_holds,
    export,
    export_in_time,
    exporting,
    hands_of,
    ids,
    in_tries,
    list_calls,
    owed,
    store_of,
)
from tests.servers.destinations import local
from tests.simulated import SimulatedHands, SimulatedTime


def box_of(threads: int = 90, **options: Any) -> Sandbox:
    return Sandbox(**{"conversations": 0, "folders": {"inbox": threads}, "messages": 2, "now": NOW, **options})


def arriving(box: Sandbox) -> None:
    """Let a new thread arrive before every call, each a second later."""
    moments = iter(range(1, 1_000_000))
    box.life.add(
        Life("call", every=1, do=lambda page: page.new_thread("inbox", at=NOW + timedelta(seconds=next(moments))))
    )


def list_calls_of(box: Sandbox) -> int:
    return sum(call.edge == "conversations" for call in box.requests)


# Cursors


@pytest.mark.parametrize("lives", [False, True], ids=["still", "living"])
@pytest.mark.parametrize("size", [5, 10, 100])
def test_a_cursor_that_is_too_deep_is_counted_by_how_deep_the_walk_came(
    size: int, tmp_path: Path, *, lives: bool
) -> None:
    """A new thread at the head is no progress: twice, and the sentence says how deep it came."""
    files = local(tmp_path)
    with box_of(350) as box:
        if lives:
            arriving(box)
        box.faults.add(Fault("deep_cursor", on="conversations", size=2 * size))
        with pytest.raises(GraphRequestError, match="the cursor lies deeper than the API goes, ") as caught:
            export_in_time(box, store_of(files), page_size=size)
        assert list_calls_of(box) <= 8
    found = re.search(r"goes, (\d+) conversations deep in the folder inbox, twice", str(caught.value))
    assert found
    assert 2 * size <= int(found.group(1)) <= 3 * size
    assert files.manifests() == {}


@pytest.mark.parametrize("lives", [False, True], ids=["still", "living"])
def test_cursors_that_are_always_dead_at_one_depth_end_the_try_with_a_sentence(tmp_path: Path, *, lives: bool) -> None:
    """However often new threads arrive meanwhile; a further try may find it mended."""
    files = local(tmp_path)
    with box_of(350) as box:
        if lives:
            arriving(box)
        fault = box.faults.add(Fault("dead_at", on="conversations", size=150))
        with pytest.raises(
            GraphTransientError, match=r"the cursors died 5 times, \d+ conversations deep in the folder"
        ):
            export_in_time(box, store_of(files))
        assert list_calls_of(box) <= 30
        box.faults.remove(fault)
        box.life.clear()
        export_in_time(box, store_of(files))
        assert set(ids(files, "conversations")) >= {
            thread["node"]["id"] for thread in box.data()["threads"] if thread["node"]["updated_time"] < "2026-11-21T10"
        }


def test_a_single_dead_cursor_is_passed_by_pages_that_end_elsewhere(tmp_path: Path) -> None:
    """Should it be dead for good, the same pages would come upon it again."""
    files = local(tmp_path)
    with box_of(350) as box:
        fault = box.faults.add(Fault("dead_cursor", on="conversations", at=2))
        export_in_time(box, store_of(files))
        assert_holds(files, owed(box.data()))
        assert fault.fired == 1
        # Two pages, the refusal, four pages again and the head.
        assert list_calls_of(box) == 2 + 1 + 4 + 1


@pytest.mark.parametrize("lives", [False, True], ids=["still", "living"])
@pytest.mark.parametrize("edge", ["conversations", "messages"])
def test_a_list_that_goes_on_without_end_over_known_rows_ends_with_a_sentence(
    edge: str, tmp_path: Path, *, lives: bool
) -> None:
    """With ever new cursors: nobody sees from them that they go round."""
    files = local(tmp_path)
    with box_of(40, messages=120, long_every=20, details="all") as box:
        if lives:
            arriving(box)
        fault = box.faults.add(Fault("circle", on=edge, size=30 if edge == "conversations" else 60))
        if edge == "conversations":
            with pytest.raises(
                GraphTransientError, match=r"the list has brought \d+ rows that were there before, and goes on"
            ):
                export_in_time(box, store_of(files), page_size=10)
            assert len(box.requests) < 60
            box.faults.remove(fault)
            box.life.clear()
            export_in_time(box, store_of(files), page_size=10)
        else:  # that thread is left as it is, and counted
            manifest = export_in_time(box, store_of(files), page_size=10)
            assert manifest["conversations_unavailable"] == 2
            assert any("2 conversations could not be read to the end" in one for one in manifest["warnings"])
            assert len(box.requests) < 200
    assert len(set(ids(files, "messages"))) == len(ids(files, "messages"))


def test_pages_of_a_thread_that_repeat_rows_while_it_is_read_again_lose_nothing(tmp_path: Path) -> None:
    """A refused cursor leads over what is known once more, and some rows come twice: that is not yet without end."""
    files = local(tmp_path)
    with box_of(1, messages=60, long_every=1, details="all") as box:
        box.faults.add(Fault(code=100, on="messages", at=10))
        box.faults.add(Fault("repeat", on="messages", at=14, times=4))
        manifest = export_in_time(box, store_of(files), page_size=1)
        assert_holds(files, owed(box.data()))
    assert manifest["conversations_unavailable"] == 0


@pytest.mark.parametrize("kind", ["empty", "short"])
def test_pages_that_bring_little_do_not_end_a_list(kind: str, tmp_path: Path) -> None:
    """Only a page without a next one does."""
    files = local(tmp_path)
    with box_of(90) as box:
        box.faults.add(Fault(kind, every=2, **({"size": 1} if kind == "short" else {})))
        export_in_time(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))


def test_empty_pages_without_end_end_the_try_with_a_sentence(tmp_path: Path) -> None:
    """After 500 in a row."""
    with box_of(90) as box:
        box.faults.add(Fault("empty", on="conversations", pages="later"))
        with pytest.raises(GraphTransientError, match="500 empty pages in a row"):
            export_in_time(box, store_of(local(tmp_path)), page_size=10)
        assert 500 <= len(box.requests) < 550


# Rows that stand where they should not


@pytest.mark.parametrize("pins", [1, 10])
@pytest.mark.parametrize("window", [False, True], ids=["dump", "window"])
def test_up_to_ten_pinned_rows_cost_nothing_and_hide_nothing(pins: int, tmp_path: Path, *, window: bool) -> None:
    """They stand at the top whatever their time, and what jumps lands below them."""
    files = local(tmp_path / "pinned")
    options: dict[str, Any] = {"since": NOW - 10 * DAY, "until": NOW} if window else {}
    with box_of(120, span=60 * DAY, details="all") as box:
        export(box, store_of(local(tmp_path / "plain")), **options)
        plain = list_calls_of(box)
        for thread in list(box.page.threads())[100 : 100 + pins]:
            box.page.pin(thread.id, 0)
        jumping = [thread.id for thread in box.page.threads()][60]
        box.forget()
        box.life.add(Life("message", at=2, thread=jumping, time=NOW + timedelta(seconds=1)))
        manifest = export(box, store_of(files), **options)
        assert list_calls_of(box) <= plain + 1
        owes = owed(box.data(), since=options.get("since"), until=NOW)
    assert manifest["warnings"] == []
    assert set(ids(files, "messages")) == set(owes.messages)
    assert set(ids(files, "conversations")) >= set(owes.conversations)


def test_a_list_that_is_mostly_newest_first_is_walked_once_and_nothing_of_the_window_is_missed(tmp_path: Path) -> None:
    """Some rows stand up to thirty places too high or too low."""
    files = local(tmp_path)
    with box_of(2000, span=200 * DAY, order="mostly") as box:
        export(box, store_of(files), since=NOW - 20 * DAY, until=NOW)
        owes = owed(box.data(), since=NOW - 20 * DAY, until=NOW)
        assert list_calls_of(box) <= 2 * 20 + 5
    missing = set(owes.messages) - set(ids(files, "messages"))
    assert missing == set()


def test_more_rows_in_one_second_than_a_page_holds_are_all_there(tmp_path: Path) -> None:
    """An import, for one: ties neither end a walk nor a reading."""
    files = local(tmp_path)
    with box_of(0) as box:
        for _ in range(70):
            box.page.new_thread("inbox", at=NOW - timedelta(hours=1))
        for number in range(60):
            box.page.new_thread("inbox", at=NOW - DAY - timedelta(hours=2 + number))
        export(box, store_of(files), page_size=10, since=NOW - DAY, until=NOW)
    assert len(ids(files, "conversations")) == 70


# Clocks


class Askew(SimulatedTime):
    """A time that the worker's clock is so many seconds ahead of."""

    def __init__(self, now: datetime, ahead: float) -> None:
        super().__init__(now)
        self.ahead = ahead

    def clock(self) -> datetime:
        return self.now + timedelta(seconds=self.ahead)


@pytest.mark.parametrize("ahead", [-7200.0, -90.0, 90.0, 7200.0, 3 * 86400.0])
def test_a_walk_begins_when_it_does_for_the_api_where_the_worker_s_clock_says_something_else(
    ahead: float, tmp_path: Path
) -> None:
    """What was sent before belongs into the dump, and what is sent during the walk does not."""
    files = local(tmp_path)
    with box_of(30, messages=1) as box:
        box.page.new_thread("inbox", at=NOW - timedelta(seconds=30), messages=1)
        before = owed(box.data())
        box.life.add(
            Life("call", every=1, do=lambda page: page.new_thread("inbox", at=NOW + timedelta(seconds=30)), at=2)
        )
        manifest = export_in_time(box, store_of(files), page_size=10, time=Askew(NOW, ahead))
    assert ids(files, "messages") == sorted(before.messages)
    assert ids(files, "conversations") == sorted(before.conversations)
    began = datetime.fromisoformat(manifest["until"].replace("Z", "+00:00"))
    assert NOW <= began <= NOW + timedelta(seconds=2)
    fetched = {record["_fetched_at"][:16] for record in files.records("conversations")}
    assert fetched == {"2026-11-21T10:00"}


def test_a_clock_that_differs_by_less_than_a_minute_is_believed(tmp_path: Path) -> None:
    """The header has whole seconds, and the way there takes time."""
    with box_of(3) as box:
        manifest = export_in_time(box, store_of(local(tmp_path)), time=Askew(NOW, 40.0))
    assert manifest["until"] == "2026-11-21T10:00:40Z"


@pytest.mark.parametrize("stay", [True, False], ids=["stays", "lets go"])
def test_a_window_settles_by_the_api_s_clock_where_the_worker_s_is_fast(tmp_path: Path, *, stay: bool) -> None:
    """The answer that tells the time does not count: what arrives until then is in."""
    files, settle = local(tmp_path), timedelta(minutes=5)
    until = NOW + timedelta(minutes=10)
    time = Askew(NOW, 20 * 60.0)
    options: dict[str, Any] = {"since": NOW - DAY, "until": until, "settled": until + settle}
    with box_of(10) as box:
        box.life.add(Life("new", at=2, folder="inbox", time=NOW + timedelta(minutes=4)))
        if stay:
            export_in_time(box, store_of(files), time=time, policy=Policy(stay=True), **options)
        else:
            one = exporting(box, store_of(files), policy=Policy(), **options)
            with pytest.raises(LetGo) as caught:
                one.export(hands_of(one, box, time))
            wait = caught.value.moment - time.clock()
            assert timedelta(minutes=14) <= wait <= timedelta(minutes=16)
            time.pass_(wait.total_seconds())
            in_tries(box, store_of(files), time=time, policy=Policy(), **options)
        owes = owed(box.data(), since=NOW - DAY, until=until)
        assert len(box.requests) == 2
    assert timedelta(minutes=14) <= time.now - NOW <= timedelta(minutes=16)
    assert ids(files, "messages") == sorted(owes.messages)
    assert len(ids(files, "conversations")) == len(owes.conversations)


def test_a_wait_for_the_api_s_clock_is_never_too_short(tmp_path: Path) -> None:
    """The header is cut to whole seconds: what it leaves open is waited for as well."""
    settled = NOW + timedelta(minutes=15)
    asked: list[datetime] = []
    time = Askew(NOW + timedelta(seconds=0.1), 20 * 60.0)
    with box_of(3) as box:
        box.life.add(Life("call", every=1, do=lambda _: asked.append(time.now)))
        window: dict[str, Any] = {"since": NOW - DAY, "until": NOW + timedelta(minutes=10), "settled": settled}
        export_in_time(box, store_of(local(tmp_path)), time=time, policy=Policy(stay=True), **window)
    assert asked[0] < settled <= min(asked[1:])


def test_hands_that_lose_answers_come_to_the_same_records(tmp_path: Path) -> None:
    """Calls that never come back are left behind, and made again."""
    files = local(tmp_path)
    with box_of(60, messages=40, long_every=6) as box:
        one = exporting(box, store_of(files), page_size=10)
        clock = SimulatedTime(NOW)
        hands = hands_of(one, box, clock, seed=3, loses=0.1)
        assert isinstance(hands, SimulatedHands)
        one.export(hands)
        assert_holds(files, owed(box.data()))
        assert len(box.requests) < 4 * list_calls(box.data(), "inbox", 10)
    assert clock.passed > 0
