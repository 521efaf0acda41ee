"""What a task shows of itself while it runs: how far, how fast, why it waits and until when, and when it will end."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowRescheduleException

from airflow_provider_pageconv import live
from airflow_provider_pageconv.dump.endings import LetGo
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.live import KEY, MOST_BYTES, Live, fitted
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.times import moment
from tests.operators.running import CONNECTION, connection, context, operator
from tests.simulated import START
from tests.waiting.fakes import HOUR, SIZE, Page, Task, refused

DAY = timedelta(days=1)


def each_once(values: list[Any]) -> list[Any]:
    return [value for value, _ in groupby(values)]


class TestWhatTheExportSays:
    """The value that the engine's reporter makes, in a time of the test's own."""

    def test_it_goes_through_the_phases_in_their_order(self) -> None:
        """Lists, heads, histories, publishing; the task is where the folder is that has the most before it."""
        task = Task({"inbox": 3, "other": 2}, long_threads=2, thread_pages=3, seconds=0.5, put_seconds=0.5)
        task.run()
        phases = each_once([value["phase"] for _, value in task.shown])
        assert phases == ["lists", "heads", "histories", "publishing"]
        folders = each_once([value["folders"]["other"]["phase"] for _, value in task.shown])
        assert folders[0] == "lists"
        assert folders[-1] in ("publishing", "published")

    def test_an_export_that_replaces_another_carries_over(self) -> None:
        """Before it publishes; the run was cleared, so the folder is exported anew."""
        task = Task({"inbox": 1}, put_seconds=0.5)
        task.run()
        task.clear_number += 1
        task.next().run()
        assert [value["phase"] for _, value in task.shown][-1] == "carrying over"

    def test_the_share_is_that_of_the_windows_time(self) -> None:
        """Thirty threads a page and an hour between two of them: 3 pages of the 120 hours of the window, then the rest."""
        window = Window(START - 120 * HOUR, START)
        task = Task({"inbox": 6}, window=window, seconds=2.0)
        task.run()
        walked = [value for _, value in task.shown if value["phase"] == "lists"]
        shares = [value["share"] for value in walked]
        assert shares == sorted(shares)
        assert shares[0] == 0
        for value in walked[1:]:
            reached = moment(value["folders"]["inbox"]["reached"])
            assert value["share"] == pytest.approx((START - reached) / (120 * HOUR), abs=0.01)
        assert task.shown[-1][1]["share"] == 1

    def test_a_dump_has_no_share_but_says_how_far_back_it_is(self) -> None:
        """Nobody knows when a Page's first conversation was."""
        task = Task({"inbox": 4}, seconds=2.0)
        task.run()
        walked = [value for _, value in task.shown if value["phase"] == "lists"]
        assert {value["share"] for value in walked} == {None}
        reached = [value["folders"]["inbox"]["reached"] for value in walked[1:]]
        assert reached == sorted(reached, reverse=True)
        assert len(set(reached)) > 1

    def test_a_pinned_old_thread_does_not_make_it_look_nearly_done(self) -> None:
        """How far back a list is, is told by its eleventh oldest row: up to ten may stand where they do not belong."""
        window = Window(START - 120 * HOUR, START)
        task = Task({"inbox": 4}, window=window, seconds=2.0)
        row = task.page._row

        def pinned(folder: str, number: int) -> dict[str, Any]:
            return row(folder, 119 if number == 0 else number)

        task.page._row = pinned  # type: ignore[method-assign]
        task.run()
        first = next(value for _, value in task.shown if value["conversations"])
        assert first["share"] < 0.3

    def test_the_rate_is_the_one_of_late(self) -> None:
        """Two calls a second, as the pace says."""
        task = Task({"inbox": 80}, calls_per_second=2, seconds=0.1)
        task.run()
        rates = [value["calls_per_second"] for at, value in task.shown if 10 < at < 35]
        assert rates
        assert all(1.8 <= rate <= 2.1 for rate in rates)

    def test_the_end_is_foretold_once_it_can_be(self) -> None:
        """Not within the first half minute; then to a quarter of what is left."""
        window = Window(START - 3000 * HOUR, START)
        task = Task({"inbox": 110}, window=window, calls_per_second=1, seconds=0.1)
        task.run()
        lists = [(at, value["expected_end"]) for at, value in task.shown if value["phase"] == "lists"]
        assert not [end for at, end in lists if at < 30 and end]
        ends = [(at, (moment(end) - START).total_seconds()) for at, end in lists if end]
        assert ends
        walked = lists[-1][0]
        assert all(abs(end - walked) < 0.25 * (walked - at) + 5 for at, end in ends)

    def test_no_end_is_foretold_for_a_dump(self) -> None:
        """It has no share to go by."""
        task = Task({"inbox": 60}, calls_per_second=1, seconds=0.1)
        task.run()
        assert not [value for _, value in task.shown if value["phase"] == "lists" and value["expected_end"]]

    def test_a_wait_in_place_is_shown_when_it_begins(self) -> None:
        """With its end and its reason, before the sleep and not after it."""
        task = Task({"inbox": 3}, [Page(), refused(timedelta(seconds=40), code=80006)], policy=Policy(stay=True))
        task.run()
        at, value = next((at, value) for at, value in task.shown if value["state"] == "waiting")
        assert at == 0
        assert value["waiting"]["reason"] == "the Page's limit is reached (80006)"
        assert 40 <= (moment(value["waiting"]["until"]) - START).total_seconds() <= 70
        assert value["expected_end"] is None
        assert task.shown[-1][1]["waiting"] is None
        assert task.shown[-1][1]["waited_seconds"] >= 40

    def test_a_wait_before_the_limit_is_met_is_shown_too(self) -> None:
        """The usage alone says that the next call would be refused."""
        task = Task({"inbox": 3}, [Page(), Page(97, 0.5)], policy=Policy(stay=True))
        task.run()
        value = next(value for _, value in task.shown if value["state"] == "waiting")
        assert "97 %" in value["waiting"]["reason"]
        assert value["usage_percent"] == 97

    def test_a_wait_of_an_earlier_try_is_known_as_that(self) -> None:
        """Who comes back before its end goes on waiting, and says so."""
        task = Task({"inbox": 3}, [Page(), refused(10 * timedelta(minutes=1))])
        with pytest.raises(LetGo):
            task.run()
        task.next(policy=Policy(stay=True)).run()
        waits = [value["waiting"] for _, value in task.shown if value["state"] == "waiting"]
        assert waits[-1]["reason"] == "the limit has not been waited out yet"

    def test_counts_are_those_of_all_tries(self) -> None:
        """And `began` stays that of the first one."""
        task = Task({"inbox": 3}, [Page(), refused(10 * timedelta(minutes=1))])
        with pytest.raises(LetGo):
            task.run()
        before = task.shown[-1][1]
        task.next(policy=Policy(stay=True)).run()
        after = task.shown[-1][1]
        assert before["conversations"] == SIZE
        assert after["conversations"] == 3 * SIZE
        assert after["began"] == before["began"]
        assert after["api_calls"] == len(task.calls)

    def test_it_is_shown_about_once_a_second(self) -> None:
        """However fast the answers come."""
        task = Task({"inbox": 400}, seconds=0.01)
        task.run()
        assert len(task.shown) <= task.time.passed + 8


class SlowKeeper:
    """A Task State Store that takes its time, or does not answer, or refuses."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.values: list[tuple[float, dict[str, Any]]] = []
        self.refuses = False
        self.asked = 0
        self.frozen = threading.Event()
        self.frozen.set()

    def set(self, key: str, value: Any) -> None:
        assert key == KEY
        self.asked += 1
        self.frozen.wait()
        time.sleep(self.seconds)
        if self.refuses:
            raise RuntimeError("the API server is down")
        self.values.append((time.monotonic(), value))

    @property
    def states(self) -> list[str]:
        return [value["state"] for _, value in self.values]


class TestHowItIsKept:
    """A thread of its own writes; who shows something never waits."""

    def test_the_latest_value_wins(self) -> None:
        """What was overtaken while the store was busy is never written."""
        keeper = SlowKeeper(0.2)
        shown = Live(keeper)
        for number in range(50):
            shown.show({"state": str(number)})
            time.sleep(0.005)
        shown.close()
        assert len(keeper.values) < 10
        assert keeper.states[-1] == "49"

    def test_what_was_shown_before_stays_where_nothing_else_is_said(self) -> None:
        """A wait of the operator's keeps the counts of the export."""
        keeper = SlowKeeper()
        shown = Live(keeper)
        shown.show({"state": "exporting", "messages": 7})
        shown.show({"state": "waiting"})
        shown.close()
        assert keeper.values[-1][1]["messages"] == 7

    def test_a_frozen_store_holds_nobody_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not while it is shown, and some seconds at the most at the end."""
        monkeypatch.setattr(live, "_LAST_SECONDS", 0.2)
        keeper = SlowKeeper()
        keeper.frozen.clear()
        shown = Live(keeper)
        began = time.monotonic()
        for number in range(1000):
            shown.show({"state": str(number)})
        shown.close()
        assert time.monotonic() - began < 2
        keeper.frozen.set()

    def test_a_store_that_refuses_is_left_alone_for_a_while(self, caplog: pytest.LogCaptureFixture) -> None:
        """Not asked again at each change, and not a word of it in the log that people read."""
        keeper = SlowKeeper()
        keeper.refuses = True
        shown = Live(keeper)
        for number in range(20):
            shown.show({"state": str(number)})
            time.sleep(0.01)
        assert keeper.asked == 1
        keeper.refuses = False
        shown.close()
        assert keeper.states == ["19"]
        assert not [record for record in caplog.records if record.levelname in ("INFO", "WARNING", "ERROR")]

    def test_what_changes_no_state_waits_for_its_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Counts are written every ten seconds, a change of state at once."""
        monkeypatch.setattr(live, "EVERY_SECONDS", 0.3)
        keeper = SlowKeeper()
        shown = Live(keeper)
        shown.show({"state": "exporting", "messages": 0})
        for number in range(60):
            shown.show({"messages": number})
            time.sleep(0.01)
        assert 2 <= len(keeper.values) <= 5
        shown.close()
        assert keeper.values[-1][1]["messages"] == 59

    def test_without_a_store_nothing_is_started(self) -> None:
        """As on Airflow 3.2 and older."""
        shown = Live(None)
        before = threading.active_count()
        shown.show({"state": "exporting"})
        assert threading.active_count() == before
        shown.close()

    @pytest.mark.parametrize("folders", [4, 40])
    def test_a_value_takes_two_kilobytes_at_the_most(self, folders: int) -> None:
        """However long a reason or a destination is; the figures of the task stay."""
        one = {"phase": "carrying over", "share": 0.123, "reached": "2026-11-21T00:00:00Z", "conversations": 10**9}
        value = fitted(
            {
                "state": "failed",
                "reason": "x" * 5000,
                "destination": "s3://" + "é" * 1000,
                "messages": 10**9,
                "folders": {f"folder_{number}": one for number in range(folders)},
            }
        )
        assert len(json.dumps(value)) <= MOST_BYTES
        assert value["messages"] == 10**9
        assert value["reason"].startswith("xxx")
        assert (value["folders"] is not None) == (folders == 4)


class TestWhatTheTaskShows:
    """The operator, with a store as Airflow 3.3 hands it."""

    @pytest.fixture
    def box(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A Page, and the connection to it."""
        with Sandbox(seed=5, conversations=30, now=datetime.fromisoformat("2026-11-22T00:00:00+00:00")) as box:
            monkeypatch.setenv(CONNECTION, connection(box))
            yield box

    def test_from_its_start_to_its_end(self, box: Sandbox, tmp_path: Path) -> None:
        """Starting, exporting, exported; whose it is and where it goes stand in it, and no connection id."""
        keeper = SlowKeeper()
        result = operator(tmp_path.as_uri()).execute(context(task_state_store=keeper))  # type: ignore[arg-type]
        assert each_once(keeper.states)[0] == "starting"
        last = keeper.values[-1][1]
        assert last["state"] == "exported"
        assert {name: last[name] for name in ("page_id", "platform", "conversations", "messages", "api_calls")} == {
            name: result[name] for name in ("page_id", "platform", "conversations", "messages", "api_calls")
        }
        assert set(last["folders"]) == set(result["folders"])

    def test_a_failure_is_shown_with_its_sentence(self, box: Sandbox, tmp_path: Path) -> None:
        """The same that the log ends with."""
        keeper = SlowKeeper()
        box.faults.add(Fault("error", code=190, times=5))
        with pytest.raises(AirflowException) as caught:
            operator(tmp_path.as_uri()).execute(context(task_state_store=keeper))  # type: ignore[arg-type]
        assert keeper.values[-1][1]["state"] == "failed"
        assert keeper.values[-1][1]["reason"].startswith(str(caught.value)[:100])

    def test_a_settling_window_is_shown_as_a_wait(self, box: Sandbox, tmp_path: Path) -> None:
        """Until when, and that it is the window and not a limit; no call was made."""
        keeper = SlowKeeper()
        until = datetime.now().astimezone() + timedelta(minutes=10)
        task = operator(tmp_path.as_uri(), since=until - DAY, until=until, on_rate_limit="reschedule")
        with pytest.raises(AirflowRescheduleException):
            task.execute(context(task_state_store=keeper))  # type: ignore[arg-type]
        last = keeper.values[-1][1]
        assert last["state"] == "waiting"
        assert last["waiting"]["reason"] == "the window settles"
        assert not box.requests

    def test_a_store_that_is_down_costs_nothing_but_the_display(self, box: Sandbox, tmp_path: Path) -> None:
        """The export is the same."""
        keeper = SlowKeeper()
        keeper.refuses = True
        result = operator(tmp_path.as_uri()).execute(context(task_state_store=keeper))  # type: ignore[arg-type]
        assert result["conversations"] == 30
        assert not keeper.values

    def test_neither_token_nor_person_is_shown(self, box: Sandbox, tmp_path: Path) -> None:
        """The store masks nothing."""
        keeper = SlowKeeper()
        operator(tmp_path.as_uri()).execute(context(task_state_store=keeper))  # type: ignore[arg-type]
        said = json.dumps([value for _, value in keeper.values])
        assert box.token not in said
        people = {
            person["name"] for thread in box.data()["threads"] for person in thread["node"]["participants"]["data"]
        }
        assert people
        assert not [name for name in people if name != "Corner Shop" and name in said]
