"""The example DAGs do what their first sentences say, on a Page of the sandbox, with a local folder and with S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from tests.servers.airflow_home import EXAMPLE_DAGS, environment, run_dags
from tests.servers.destinations import Destination, local

DAY = timedelta(days=1)
SECRET = "sandbox-app-secret"


@dataclass(frozen=True)
class Drawn:
    """What the sandbox drew, for one span of time: the ids that an export of it has to hold."""

    conversations: set[str]
    messages: set[str]


def moment(wire_time: str) -> datetime:
    """Read a time as the Graph API writes it."""
    return datetime.strptime(wire_time, "%Y-%m-%dT%H:%M:%S%z")


def drawn(box: Sandbox, since: datetime | None, until: datetime, platform: str = "messenger") -> Drawn:
    """What lies in [since, until), by the sandbox's own document; messages that the API gives no date of are left out."""
    first = since or datetime.min.replace(tzinfo=timezone.utc)
    conversations, messages = set(), set()
    for thread in box.data()["threads"]:
        if thread["platform"] != platform:
            continue
        in_window = {
            message["id"]
            for message in thread["visible"]
            if "created_time" in message and first <= moment(message["created_time"]) < until
        }
        messages |= in_window
        if in_window or first <= moment(thread["node"]["updated_time"]) < until:
            conversations.add(thread["node"]["id"])
    return Drawn(conversations, messages)


@pytest.fixture
def today() -> datetime:
    """A midnight that is surely over, whenever the test runs."""
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - DAY


@pytest.fixture
def box(today: datetime) -> Iterator[Sandbox]:
    """A Page whose newest conversation is from just before midnight, behind an API whose clock goes right."""
    with Sandbox(seed=1, conversations=200, instagram=100, now=today, span=4 * DAY) as running:
        running.clock = lambda: datetime.now(timezone.utc)
        yield running


@pytest.mark.usefixtures("airflow_home")
class TestRuns:
    """The DAGs on a real Airflow, through `dag.test()`."""

    def test_a_backfill_the_day_after_it_and_the_consumer_of_both(
        self, box: Sandbox, destination_files: Destination, today: datetime
    ) -> None:
        """The backfill ends where the daily window begins; the consumer counts what both have published."""
        since = today - DAY
        backfill, daily, consumer = run_dags(
            [
                {"dag_id": "pageconv_backfill", "conf": {"until": since.isoformat()}},
                {"dag_id": "pageconv_daily", "logical_date": today.isoformat()},
                {"dag_id": "pageconv_consumer", "logical_date": None, "consumes": True},
            ],
            environment=environment(box, destination_files.url),
        )

        assert (backfill["state"], daily["state"], consumer["state"]) == ("success",) * 3, daily["log"]
        before, yesterday = drawn(box, None, since), drawn(box, since, today)
        assert before.messages
        assert yesterday.messages

        summary = daily["xcoms"]["export"]
        assert datetime.fromisoformat(summary["since"].replace("Z", "+00:00")) == since
        assert datetime.fromisoformat(summary["until"].replace("Z", "+00:00")) == today
        assert summary["conversations"] == len(yesterday.conversations)
        assert summary["messages"] == len(yesterday.messages)
        assert daily["events"] == [summary]

        # What is there, as whoever goes by the manifests sees it.
        by_window: dict[str, set[str]] = {}
        for record in destination_files.records("messages"):
            if "created_time" in record:
                window = "before" if moment(record["created_time"]) < since else "yesterday"
                by_window.setdefault(window, set()).add(record["id"])
        assert by_window["yesterday"] == yesterday.messages
        assert by_window["before"] == before.messages

        assert consumer["xcoms"]["count"] == {
            "conversations": summary["conversations"] + backfill["xcoms"]["export"]["conversations"],
            "messages": summary["messages"] + backfill["xcoms"]["export"]["messages"],
        }

    def test_a_run_without_a_data_interval_fails_for_good_and_says_how_to_trigger(
        self, box: Sandbox, tmp_path: Path
    ) -> None:
        """As `airflow dags trigger` and the REST API make one; a retry would only keep the next day's run from starting."""
        names = ("daily", "hourly", "folders", "instagram", "all_pages")
        runs = run_dags(
            [{"dag_id": f"pageconv_{name}", "logical_date": None} for name in names],
            environment=environment(box, (tmp_path / "export").as_uri()),
        )
        assert [run["state"] for run in runs] == ["failed"] * len(names)
        log = runs[0]["log"]
        said = log.count(
            "since is '{{ data_interval_start }}', and this run has no data interval: give it a logical date (Trigger in the UI, "
            "or airflow dags trigger --logical-date: the last interval that is over), fetch another day with airflow backfill "
            "create, or give the task a since and until of its own."
        )
        assert said >= len(names)
        assert "up_for_retry" not in log.lower()
        assert "UndefinedError" not in log
        assert not (tmp_path / "export").exists()

    def test_the_consumer_counts_nothing_where_no_export_started_it(self, box: Sandbox, tmp_path: Path) -> None:
        """Somebody who starts it by hand gets zeros, not an error."""
        (consumer,) = run_dags(
            [{"dag_id": "pageconv_consumer", "logical_date": None}],
            environment=environment(box, (tmp_path / "export").as_uri()),
        )
        assert consumer["state"] == "success"
        assert consumer["xcoms"]["count"] == {"conversations": 0, "messages": 0}

    def test_messenger_and_instagram_of_a_page_side_by_side(
        self, box: Sandbox, tmp_path: Path, today: datetime
    ) -> None:
        """Each whole, and in partitions of its own."""
        place = local(tmp_path / "export")
        (both,) = run_dags(
            [{"dag_id": "pageconv_instagram", "logical_date": today.isoformat()}],
            environment=environment(box, place.url),
        )

        assert both["state"] == "success", both["log"]
        for platform in ("messenger", "instagram"):
            yesterday = drawn(box, today - DAY, today, platform)
            assert yesterday.messages
            summary = both["xcoms"][f"export_{platform}"]
            assert (summary["platform"], summary["messages"]) == (platform, len(yesterday.messages))
            ids = {
                record["id"]
                for record in place.records("messages")
                if record["_platform"] == platform and "created_time" in record
            }
            assert ids == yesterday.messages

    def test_with_a_page_s_own_token_all_pages_are_that_one(
        self, box: Sandbox, tmp_path: Path, today: datetime
    ) -> None:
        """The same DAG serves whoever has one Page only."""
        place = local(tmp_path / "export")
        (run,) = run_dags(
            [{"dag_id": "pageconv_all_pages", "logical_date": today.isoformat()}],
            environment=environment(box, place.url),
        )
        assert run["state"] == "success", run["log"]
        dated = {record["id"] for record in place.records("messages") if "created_time" in record}
        assert dated == drawn(box, today - DAY, today).messages

    def test_a_page_without_a_task_is_named_also_where_nobody_looks_at_the_token_first(
        self, tmp_path: Path, today: datetime
    ) -> None:
        """The connection has no app: what is wrong shows when the token is used, and the other Pages end complete."""
        place = local(tmp_path / "export")
        with Sandbox(seed=1, pages=3, conversations=5, now=today, span=DAY) as box:
            box.clock = lambda: datetime.now(timezone.utc)
            first, second, third = box.pages.values()
            first.tasks = ()
            box.end_tokens(second)
            connection = {"conn_type": "pageconv", "host": box.url, "password": box.user_token}
            (run,) = run_dags(
                [{"dag_id": "pageconv_all_pages", "logical_date": today.isoformat()}],
                environment={
                    **environment(box, place.url),
                    "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(connection),
                },
            )
        log = run["log"]
        assert run["state"] == "failed", log
        assert (
            f"brings no token of the Page {first.id}. Give the person or the system user whose token it is a task"
            in log
        )
        assert "Give the person or the system user whose token is in the connection a task on the Page again" in log
        named = ", ".join(f"{page.name} ({page.id})" for page in (first, second))
        assert f"2 of 3 Pages were not exported: {named}." in log
        assert {record["_page_id"] for record in place.records("conversations")} == {third.id}
        assert len(place.records("conversations")) == 5

    @pytest.mark.parametrize(
        "token, sentence",
        [
            ("NOBODY-S", "the access token is not valid"),
            ("OF-SOMEBODY-WITHOUT-PAGES", "The token reaches no Page: give the system user a task on each Page."),
        ],
    )
    def test_a_token_that_lists_no_page_makes_the_run_red_at_once(
        self, token: str, sentence: str, box: Sandbox, tmp_path: Path
    ) -> None:
        """The first task says why, the last one where to look, and neither is tried again."""
        box.add_token("OF-SOMEBODY-WITHOUT-PAGES", None, reaches=[])
        connection = {"conn_type": "pageconv", "host": box.url, "password": token}
        (run,) = run_dags(
            [{"dag_id": "pageconv_all_pages"}],
            environment={
                **environment(box, (tmp_path / "export").as_uri()),
                "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(connection),
            },
        )
        assert run["state"] == "failed", run["log"]
        assert sentence in run["log"]
        assert "There was no Page to export: the log of the task `pages` says why." in run["log"]
        assert token not in run["log"]

    def test_a_token_that_ends_soon_is_told_in_time(self, box: Sandbox) -> None:
        """In a sentence that makes the run red; the token itself is in no log and in no XCom."""
        now = datetime.now(timezone.utc)
        soon, later = now + 9 * DAY, now + 40 * DAY
        facts = {
            "ends_soon": {"expires_at": soon},
            "has_ended": {"expires_at": now - DAY},
            "gives_no_data": {"expires_at": later, "data_access_expires_at": soon},
            "lasts": {"expires_at": later, "data_access_expires_at": later},
            "never_ends": {},
        }
        says = {
            "ends_soon": f"ends on {soon:%Y-%m-%d at %H:%M} UTC: renew it",
            "has_ended": "is not valid: the access token has expired. Make a new one and put it in.",
            "gives_no_data": f"gives no data any more from {soon:%Y-%m-%d at %H:%M} UTC on",
            "lasts": f"is valid and ends on {later:%Y-%m-%d}.",
            "never_ends": "is valid and names no end.",
        }
        box.rules.app_secret = SECRET
        connections = {}
        for name, moments in facts.items():
            ends = {fact: int(moment.timestamp()) for fact, moment in moments.items()}
            box.add_token(f"TOKEN-THAT-{name}", None, type="SYSTEM_USER", **ends)
            extra = {"app_id": APP_ID, "app_secret": SECRET}
            connections[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(
                {"conn_type": "pageconv", "host": box.url, "password": f"TOKEN-THAT-{name}", "extra": extra}
            )

        runs = run_dags(
            [{"dag_id": "pageconv_token_watch", "conf": {"connections": [name]}} for name in facts],
            environment=connections,
        )

        log = runs[0]["log"]
        states = {name: run["state"] for name, run in zip(facts, runs, strict=True)}
        good = ("lasts", "never_ends")
        assert states == {name: "success" if name in good else "failed" for name in facts}, log
        for name, sentence in says.items():
            assert f"The token of the connection {name} {sentence}" in log
        assert "TOKEN-THAT-" not in log + json.dumps([run["xcoms"] for run in runs])
        assert SECRET not in log

    def test_a_token_that_cannot_be_renewed_makes_the_run_red_at_once(self, box: Sandbox) -> None:
        """The sentence says what the connection lacks, or what the API refuses; no other try is made in vain."""
        box.rules.app_secret = SECRET
        ends = int((datetime.now(timezone.utc) + 9 * DAY).timestamp())
        connections = {}
        for name, extra in (
            ("without_app", {}),
            ("refused", {"app_id": APP_ID, "app_secret": SECRET}),
        ):
            box.add_token(f"TOKEN-THAT-IS-{name}", None, type="SYSTEM_USER", expires_at=ends)
            connections[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(
                {"conn_type": "pageconv", "host": box.url, "password": f"TOKEN-THAT-IS-{name}", "extra": extra}
            )
        box.faults.add(Fault(code=190, subcode=463, path="/oauth/access_token"))

        runs = run_dags(
            [
                {"dag_id": "pageconv_token_watch", "conf": {"connections": [name], "renew": True}}
                for name in ("without_app", "refused")
            ],
            environment=connections,
        )

        log = runs[0]["log"]
        assert [run["state"] for run in runs] == ["failed", "failed"], log
        assert (
            "The connection 'without_app' cannot renew its token: its extra takes the app_id and the app_secret of the app "
            "that the token belongs to."
        ) in log
        assert (
            "The token of the connection refused could not be renewed. Graph API error 190/463: the access token has expired."
        ) in log
        assert "UP_FOR_RETRY" not in log
        assert [request.path for request in box.requests].count("/v26.0/oauth/access_token") == 1
        assert "TOKEN-THAT-IS-" not in log
        assert SECRET not in log

    def test_people_are_erased_and_what_is_old_is_removed(self, box: Sandbox, tmp_path: Path, today: datetime) -> None:
        """From one list; the ids are in no log and no result. What is younger than it is kept stays."""
        place, people = local(tmp_path / "export"), tmp_path / "people.txt"
        person = next(box.page.threads()).person
        people.write_text(f"# asked on a Monday\n{person.id}\n")
        variables = environment(box, place.url) | {"AIRFLOW_VAR_PAGECONV_PEOPLE": people.as_uri()}
        (daily,) = run_dags([{"dag_id": "pageconv_daily", "logical_date": today.isoformat()}], environment=variables)
        assert daily["state"] == "success", daily["log"]
        assert person.id in json.dumps(place.records("messages"))
        erased, retained = run_dags(
            [{"dag_id": "pageconv_erasure"}, {"dag_id": "pageconv_retention"}], environment=variables
        )
        assert (erased["state"], retained["state"]) == ("success",) * 2, erased["log"]
        assert person.id not in json.dumps([place.records("conversations"), place.records("messages")])
        assert place.records("messages")
        report = erased["xcoms"]["erase"]
        assert report["messages"] > 0
        assert retained["xcoms"]["retain"]["windows_removed"] == 0
        assert person.id not in erased["log"] + json.dumps([erased["xcoms"], retained["xcoms"]])

    def test_an_erasure_is_red_while_somebody_is_left_in_what_is_under_way(self, box: Sandbox, tmp_path: Path) -> None:
        """It cannot touch what another run may go on with, and says what to do."""
        place, people = local(tmp_path / "export"), tmp_path / "people.txt"
        people.write_text("1403689654214327")
        place.write("_staging/platform=messenger/page_id=1/folder=inbox/run/part", b'{"id": "1403689654214327"}')
        variables = environment(box, place.url) | {"AIRFLOW_VAR_PAGECONV_PEOPLE": people.as_uri()}
        (run,) = run_dags([{"dag_id": "pageconv_erasure"}], environment=variables)
        assert run["state"] == "failed", run["log"]
        assert run["xcoms"]["erase"]["staging_left"] == 1
        assert "1 runs or files still hold them: clear this run when those exports are over." in run["log"]
        assert "1403689654214327" not in run["log"]


@pytest.fixture
def dags(airflow_home: Path) -> dict[str, Any]:
    """The DAGs by their ids, freshly read."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(EXAMPLE_DAGS)
    assert bag.import_errors == {}
    return bag.dags


class TestParsing:
    """What happens each time Airflow reads the files."""

    def test_every_file_is_a_dag(self, dags: dict[str, Any]) -> None:
        """Airflow imports whatever lies there every half minute."""
        assert set(dags) == {path.stem for path in EXAMPLE_DAGS.glob("*.py")}

    def test_no_connection_is_looked_up(self, dags: dict[str, Any]) -> None:
        """The destination is still text: a path object would open the connection, in every parse."""
        for dag in dags.values():
            for task in dag.tasks:
                assert isinstance(getattr(task, "destination", ""), str)

    def test_a_page_is_read_by_one_run_at_a_time(self, dags: dict[str, Any]) -> None:
        """Two runs of one Page would share its limit, and days that were missed would all start at once."""
        for name in ("pageconv_daily", "pageconv_backfill", "pageconv_all_pages", "pageconv_instagram"):
            assert dags[name].max_active_runs == 1
            assert dags[name].catchup is False

    def test_the_pool_is_the_default_one(self, dags: dict[str, Any]) -> None:
        """A pool that does not exist would keep the task waiting for ever."""
        pools = {task.pool for dag in dags.values() for task in dag.tasks if task.task_id.startswith("export")}
        assert pools == {"default_pool"}

    def test_each_platform_has_a_pool_of_its_own(
        self, airflow_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """With a slot each, neither waits for the other."""
        from airflow.dag_processing.dagbag import DagBag

        monkeypatch.setenv("PAGECONV_POOL", "messenger_calls")
        monkeypatch.setenv("PAGECONV_INSTAGRAM_POOL", "instagram_calls")
        dag = DagBag(EXAMPLE_DAGS / "pageconv_instagram.py").dags["pageconv_instagram"]
        pools = {task.platform: (task.pool, task.upstream_task_ids) for task in dag.tasks}
        assert pools == {"messenger": ("messenger_calls", set()), "instagram": ("instagram_calls", set())}
