"""What the page makes of Airflow's records: its rules alone, in the browser that runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_pageconv import plugin

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
START = datetime(2026, 11, 20, tzinfo=timezone.utc)


def ms(time: datetime) -> float:
    return time.timestamp() * 1000


def iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def event(since: datetime | None, until: datetime | None, run: int = 0, **more: Any) -> dict[str, Any]:
    """An asset event as Airflow's REST API tells of it."""
    at = (until or START) + HOUR
    folders = more.pop("folders", ["inbox"])
    extra = {
        "destination": "s3://bucket/data",
        "page_id": "1",
        "platform": "messenger",
        "since": iso(since) if since else None,
        "until": iso(until) if until else None,
        "started_at": iso(at),
        "finished_at": iso(at + timedelta(minutes=3)),
        "manifests": ["_manifests/…"],
        "folders": {folder: {"conversations": 1, "messages": 2, "published": "new"} for folder in folders},
        "messages": 2,
        "warnings": [],
        **more,
    }
    return {
        "extra": extra,
        "timestamp": iso(at),
        "source_dag_id": "daily",
        "source_run_id": f"run {since} {run}",
        "source_task_id": "export",
        "source_map_index": -1,
    }


def instance(since: datetime, until: datetime, state: str, **more: Any) -> dict[str, Any]:
    """A task instance likewise; what Jinja renders of a moment has a blank in place of the T."""
    fields = {"page_id": "1", "platform": "messenger", "destination": "s3://conn@bucket/data", "folders": "None"}
    return {
        "dag_id": "daily",
        "dag_run_id": f"try {since}",
        "task_id": "export",
        "map_index": -1,
        "state": state,
        "operator_name": "PageConversationsToObjectStorageOperator",
        "start_date": iso(until),
        "end_date": None,
        "try_number": 1,
        "rendered_fields": {**fields, "since": str(since), "until": str(until), **more},
    }


class Rules:
    """The module, as the browser has it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        source = (Path(plugin.__file__).parent / "rules.js").read_text(encoding="utf-8")
        page.evaluate(
            "async source => {"
            " const url = URL.createObjectURL(new Blob([source], {type: 'text/javascript'}));"
            " globalThis.rules = await import(url); }",
            source,
        )

    def __call__(self, code: str, **given: Any) -> Any:
        """What an expression gives, in which `rules` is the module, and other names are what is handed over."""
        names = ", ".join(given)
        return self._page.evaluate(f"({{{names}}}) => {code}", given)

    def cells(
        self,
        events: list[dict[str, Any]],
        instances: list[dict[str, Any]] | None = None,
        *,
        now: datetime,
        start: datetime = START - 30 * DAY,
    ) -> dict[str, list[tuple[str, float, float]]]:
        """The strip's cells by folder: state, and both ends in hours since START."""
        rows = self(
            "rules.rowsOf(events.map(rules.exportOfEvent), instances.map((one) => rules.attemptOf(one)), start, now)",
            events=events,
            instances=instances or [],
            start=ms(start),
            now=ms(now),
        )
        assert len(rows) == 1
        zero, hour = ms(START), 3600_000
        return {
            row["folder"]: [(c["state"], (c["from"] - zero) / hour, (c["to"] - zero) / hour) for c in row["cells"]]
            for row in rows[0]["folders"]
        }


@pytest.fixture(scope="module")
def rules(browser: Browser) -> Iterator[Rules]:
    """The rules, in a page that shows nothing."""
    context = browser.new_context(timezone_id="America/New_York")  # whose days are not those of UTC
    yield Rules(context.new_page())
    context.close()


def days(*numbers: int) -> list[dict[str, Any]]:
    return [event(START + number * DAY, START + (number + 1) * DAY) for number in numbers]


class TestTheStrip:
    """What is published, under way, failed, late and missing."""

    def test_windows_that_follow_one_another_leave_no_gap(self, rules: Rules) -> None:
        """Three days, published, and it is soon after the last one."""
        assert rules.cells(days(0, 1, 2), now=START + 3 * DAY + HOUR) == {
            "inbox": [("published", 0, 24), ("published", 24, 48), ("published", 48, 72)]
        }

    def test_a_window_between_two_others_that_nobody_exported_is_missing(self, rules: Rules) -> None:
        """From the end of the one to the beginning of the other, however many windows that were."""
        [cells] = rules.cells(days(0, 3), now=START + 4 * DAY + HOUR).values()
        assert cells == [("published", 0, 24), ("missing", 24, 72), ("published", 72, 96)]

    def test_nothing_is_missing_before_the_first_window(self, rules: Rules) -> None:
        """Who began yesterday has lost nothing."""
        [cells] = rules.cells(days(5), now=START + 6 * DAY + HOUR).values()
        assert cells == [("published", 120, 144)]

    @pytest.mark.parametrize("hours, late", [(24 + 5, 0), (24 + 7, 1), (48 + 7, 2)])
    def test_a_window_that_nobody_has_begun_is_late(self, rules: Rules, hours: int, late: int) -> None:
        """By a quarter of its length: runs begin after their window has settled, and not all at once."""
        [cells] = rules.cells(days(0, 1, 2), now=START + 3 * DAY + hours * HOUR).values()
        assert [state for state, _, _ in cells].count("late") == late

    def test_one_window_says_nothing_of_the_next(self, rules: Rules) -> None:
        """An export by hand has no next one."""
        [cells] = rules.cells(days(0), now=START + 30 * DAY).values()
        assert cells == [("published", 0, 24)]

    def test_what_is_under_way_is_not_late(self, rules: Rules) -> None:
        """Nor is what waits for its next try."""
        running = instance(START + 3 * DAY, START + 4 * DAY, "up_for_retry")
        [cells] = rules.cells(days(0, 1, 2), [running], now=START + 5 * DAY).values()
        assert cells[-1] == ("under way", 72, 96)

    def test_a_failed_window_is_shown_as_that(self, rules: Rules) -> None:
        """It is not merely missing: there is a run to be looked at."""
        [cells] = rules.cells(
            days(0, 2), [instance(START + DAY, START + 2 * DAY, "failed")], now=START + 3 * DAY
        ).values()
        assert cells == [("published", 0, 24), ("failed", 24, 48), ("published", 48, 72)]

    def test_what_was_published_after_a_failure_counts(self, rules: Rules) -> None:
        """By a later run of the same window."""
        [cells] = rules.cells(days(0, 1), [instance(START, START + DAY, "failed")], now=START + 2 * DAY).values()
        assert [state for state, _, _ in cells] == ["published", "published"]

    def test_what_is_exported_again_is_still_there_meanwhile(self, rules: Rules) -> None:
        """A window that is published and under way is published."""
        [cells] = rules.cells(days(0, 1), [instance(START, START + DAY, "running")], now=START + 2 * DAY).values()
        assert [state for state, _, _ in cells] == ["published", "published"]

    def test_a_backfill_reaches_back_to_the_beginning(self, rules: Rules) -> None:
        """It has no `since`, and the daily windows begin where it ends."""
        [cells] = rules.cells([event(None, START), *days(0, 1)], now=START + 2 * DAY, start=START - 2 * DAY).values()
        assert cells == [("published", -48, 0), ("published", 0, 24), ("published", 24, 48)]

    def test_a_dump_reaches_to_the_moment_when_it_began(self, rules: Rules) -> None:
        """It has neither end."""
        [cells] = rules.cells([event(None, None)], now=START + DAY, start=START - DAY).values()
        assert cells == [("published", -24, 1)]

    def test_a_folder_that_one_day_lacks_is_missing_there_alone(self, rules: Rules) -> None:
        """Each folder's window is published by itself."""
        events = [
            event(START, START + DAY, folders=["spam", "inbox"]),
            event(START + DAY, START + 2 * DAY, folders=["inbox"]),
            event(START + 2 * DAY, START + 3 * DAY, folders=["inbox", "spam"]),
        ]
        cells = rules.cells(events, now=START + 3 * DAY)
        assert list(cells) == ["inbox", "spam"]
        assert [state for state, _, _ in cells["spam"]] == ["published", "missing", "published"]
        assert "missing" not in [state for state, _, _ in cells["inbox"]]

    def test_a_page_in_one_line_shows_the_worst(self, rules: Rules) -> None:
        """Where a folder is missing the Page is."""
        merged = rules(
            "rules.merged([{cells: [{from: 0, to: 1, state: 'published'}]}, {cells: [{from: 0, to: 1, state: 'missing'}]}])"
        )
        assert [cell["state"] for cell in merged] == ["missing"]

    def test_troubles_are_counted_by_window(self, rules: Rules) -> None:
        """Not by folder: a day that is missing in four folders is one day."""
        events = [event(START + n * DAY, START + (n + 1) * DAY, folders=["inbox", "spam"]) for n in (0, 2)]
        counts = rules(
            "rules.troubles(rules.rowsOf(events.map(rules.exportOfEvent), [], 0, now))",
            events=events,
            now=ms(START + 3 * DAY),
        )
        assert counts == {"missing": 1, "late": 0, "failed": 0}

    def test_two_destinations_of_a_page_are_two_rows(self, rules: Rules) -> None:
        """Neither fills a gap of the other."""
        events = [event(START, START + DAY), event(START, START + DAY, run=1, destination="s3://other")]
        rows = rules("rules.rowsOf(events.map(rules.exportOfEvent), [], 0, 0)", events=events)
        assert [row["destination"] for row in rows] == ["s3://bucket/data", "s3://other"]

    def test_a_task_that_has_only_just_begun_is_on_no_row(self, rules: Rules) -> None:
        """Nothing is rendered yet: nobody can tell which window it exports."""
        begun = {**instance(START, START + DAY, "running"), "rendered_fields": {}}
        [cells] = rules.cells(days(0, 1), [begun], now=START + 2 * DAY).values()
        assert [state for state, _, _ in cells] == ["published", "published"]


class TestWhatIsRead:
    """Events, results and task instances as they come."""

    def test_events_of_others_are_left_alone(self, rules: Rules) -> None:
        """Whatever stands in their extra."""
        others = [
            {"extra": extra}
            for extra in (None, {}, {"page_id": 7}, {"page_id": "7", "manifests": "none", "folders": {}}, [], "text")
        ]
        assert rules("others.map(rules.exportOfEvent)", others=others) == [None] * len(others)

    def test_a_task_with_several_outlets_exported_once(self, rules: Rules) -> None:
        """Each of them tells of the same export."""
        events = [event(START, START + DAY), {**event(START, START + DAY), "uri": "another"}]
        assert rules("rules.eachOnce(events.map(rules.exportOfEvent)).length", events=events) == 1

    def test_a_result_is_read_as_text_and_as_a_value(self, rules: Rules) -> None:
        """Airflow's REST API gives it as either."""
        value = event(START, START + DAY)["extra"]
        one = instance(START, START + DAY, "success")
        for form in (value, json.dumps(value)):
            assert rules("rules.exportOfResult(one, form).pageId", one=one, form=form) == "1"
        assert rules("rules.exportOfResult(one, '{')", one=one) is None

    def test_a_page_that_the_connection_names_is_known_by_its_earlier_exports(self, rules: Rules) -> None:
        """Its task has no page_id of its own."""
        nameless = instance(START + DAY, START + 2 * DAY, "failed", page_id="None")
        found = rules(
            "rules.attemptOf(one, null, rules.pagesOfTasks(events.map(rules.exportOfEvent))).pageId",
            one=nameless,
            events=days(0),
        )
        assert found == "1"

    def test_progress_says_more_than_what_was_rendered(self, rules: Rules) -> None:
        """It has the window that `since` alone leads to, and the Page of the connection."""
        progress = {"page_id": "9", "since": iso(START), "until": iso(START + HOUR), "platform": "instagram"}
        one = rules("rules.attemptOf(one, progress)", one=instance(START, START, "running"), progress=progress)
        assert (one["pageId"], one["platform"], one["until"]) == ("9", "instagram", ms(START + HOUR))

    def test_no_connection_id_is_shown(self, rules: Rules) -> None:
        """Else a failed export stood on another row than those that were published."""
        one = rules("rules.attemptOf(one)", one=instance(START, START + DAY, "failed"))
        assert one["destination"] == "s3://bucket/data"

    @pytest.mark.parametrize("text", ["None", "", None, "yesterday", 7])
    def test_what_is_no_time_is_none(self, rules: Rules, text: Any) -> None:
        """Nothing is guessed."""
        assert rules("rules.parseTime(text)", text=text) is None


class TestWords:
    """Numbers, times and sizes as people read them; all times are UTC, wherever the browser is."""

    @pytest.mark.parametrize(
        "since, until, words",
        [
            (START, START + DAY, "2026-11-20"),
            (START, START + 7 * DAY, "2026-11-20 – 11-27"),
            (START, START + HOUR, "2026-11-20 00:00–01:00"),
            (START + 23 * HOUR, START + DAY, "2026-11-20 23:00–24:00"),
            (START + 20 * HOUR, START + 26 * HOUR, "2026-11-20 20:00 – 11-21 02:00"),
            (None, START, "before 2026-11-20"),
            (START, None, "from 2026-11-20"),
            (None, None, "everything"),
            (START + 41 * DAY, START + 42 * DAY, "2026-12-31"),
            (START + 41 * DAY, START + 43 * DAY, "2026-12-31 – 2027-01-02"),
        ],
    )
    def test_a_window(self, rules: Rules, since: datetime | None, until: datetime | None, words: str) -> None:
        """Without what is the same in both ends."""
        ends = [ms(time) if time else None for time in (since, until)]
        assert rules("rules.windowText(...ends)", ends=ends) == words

    @pytest.mark.parametrize(
        "seconds, words",
        [
            (0, "0 s"),
            (80, "80 s"),
            (179.6, "3 min"),
            (3600, "1 h"),
            (3660, "1 h 1 min"),
            (180000, "2 d 2 h"),
            (None, "–"),
        ],
    )
    def test_a_duration(self, rules: Rules, seconds: float | None, words: str) -> None:
        """In two units at the most."""
        assert rules("rules.duration(seconds)", seconds=seconds) == words

    @pytest.mark.parametrize(
        "count, words", [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (5_678_901, "5.7 MB"), (3e11, "300 GB")]
    )
    def test_a_size(self, rules: Rules, count: float, words: str) -> None:
        """In units of a thousand."""
        assert rules("rules.bytes(count)", count=count) == words

    def test_what_has_no_value_is_sorted_last(self, rules: Rules) -> None:
        """Whichever way."""
        rows = [{"n": 1}, {"n": None}, {"n": 3}, {}]
        for descending, order in ((False, [1, 3, None, None]), (True, [3, 1, None, None])):
            found = rules("rules.sorted(rows, 'n', descending)", rows=rows, descending=descending)
            assert [row.get("n") for row in found] == order

    def test_what_was_withheld_is_said_with_its_reason(self, rules: Rules) -> None:
        """Each kind by itself, and nothing where there is nothing."""
        one = {
            "messages_unavailable": 3,
            "messages_undated": 1200,
            "conversations_unavailable": 1,
            "conversations_incomplete": 0,
        }
        assert rules("rules.withheldWords(one)", one=one) == [
            "3 came without details",
            "1,200 had no time and were left out",
            "1 conversation was gone half-way",
        ]
        assert rules("rules.withheldWords({})") == []
