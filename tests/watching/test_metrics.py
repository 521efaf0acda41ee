"""What a StatsD server sees of an export."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRescheduleException, TaskDeferred
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from airflow_provider_pageconv import compat
from airflow_provider_pageconv.dump.summary import Outcome
from airflow_provider_pageconv.dump.workers import Workers
from airflow_provider_pageconv.metrics import ERRORS, WAITS, figures
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.operators.running import CONNECTION, connection, context, operator, run
from tests.servers.statsd import StatsdListener
from tests.watching.conftest import Watched

PREFIX = "airflow.pageconv."
DOCS = Path(__file__).parents[2] / "docs" / "watching-metrics.md"


def now() -> datetime:
    return datetime.now(timezone.utc)


def counters(summary: dict[str, Any]) -> dict[str, int]:
    """What the counters of a run come to, by its summary."""
    return {
        "conversations": summary["conversations"],
        "messages": summary["messages"],
        "messages_withheld": summary["messages_unavailable"] + summary["messages_undated"],
        "api_calls": summary["api_calls"],
        "waited_seconds": round(summary["waited_seconds"]),
    }


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(conversations=60, messages=30) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        yield box


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdListener]:
    """Airflow's own client in this process, set up as a worker sets it up; tags are in the names."""
    with StatsdListener() as listener:
        for name, value in {
            "STATSD_ON": "True",
            "STATSD_HOST": "127.0.0.1",
            "STATSD_PORT": str(listener.port),
            "STATSD_INFLUXDB_ENABLED": "True",
        }.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", value)
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
        yield listener
        monkeypatch.undo()
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)


class Settled:
    """Looks at the listener when all that was sent has come."""

    def __init__(self, listener: StatsdListener) -> None:
        self._listener = listener
        self._marks = 0

    def __call__(self, *tags: str) -> dict[Any, int]:
        self._marks += 1
        stats.incr("mark")
        self._listener.wait_for(lambda: len(self._listener.samples("airflow.mark")) == self._marks, 5)
        sums = self._listener.sums(PREFIX, *tags)
        return {key if tags else key[0]: number for key, number in sums.items()}


@pytest.fixture
def counted(statsd: StatsdListener) -> Settled:
    return Settled(statsd)


class TestInWorkers:
    """The processes of a real scheduler's tasks send them."""

    def test_an_export_is_counted_as_its_summary_has_it(self, watched: Watched) -> None:
        """Each name once, with all tags."""
        tags = {"dag_id": "watched", "task_id": "export", "page_id": watched.box.page.id, "platform": "messenger"}
        samples = [one for one in watched.statsd.samples(PREFIX) if ("dag_id", "watched") in one.tags]
        assert {one.tags for one in samples} == {frozenset(tags.items())}
        assert [one.name.removeprefix(PREFIX) for one in samples] == list(counters(watched.summary))
        assert {one.name.removeprefix(PREFIX): one.number for one in samples} == counters(watched.summary)
        assert watched.summary["messages_unavailable"] > 0

    def test_an_error_is_counted_by_its_class(self, watched: Watched) -> None:
        """One for each folder that a dead token kept from being published; nothing else of that run is counted."""
        sums = watched.statsd.sums(PREFIX, "dag_id", "page_id", "platform", "error")
        assert {key: number for key, number in sums.items() if key[1] == "refused"} == {
            (ERRORS, "refused", watched.box.page.id, "messenger", "GraphAuthError"): 4
        }


class TestFolders:
    """A folder is counted by the try that published it."""

    def test_a_run_that_has_published_all_counts_nothing_more(
        self, box: Sandbox, tmp_path: Path, counted: Settled
    ) -> None:
        """Its worker was lost before Airflow heard of the end, for one."""
        summary = run((tmp_path / "export").as_uri())
        assert counted() == counters(summary)
        run((tmp_path / "export").as_uri())
        assert counted() == counters(summary)

    def test_what_a_failed_try_published_is_counted_then(self, box: Sandbox, tmp_path: Path, counted: Settled) -> None:
        """The next one counts the rest, so that all tries together come to what the summary says."""
        refusal = box.faults.add(Fault(code=10, folder="inbox"))
        with pytest.raises(AirflowFailException):
            run((tmp_path / "export").as_uri())
        first = counted()
        assert first[ERRORS] == 1
        assert first["conversations"] == sum(thread["folder"] != "inbox" for thread in box.data()["threads"])
        box.faults.remove(refusal)
        summary = run((tmp_path / "export").as_uri())
        assert counted() == {**counters(summary), ERRORS: 1}

    def test_a_try_that_published_nothing_counts_no_zeros(self, box: Sandbox, tmp_path: Path, counted: Settled) -> None:
        """There is nothing to count yet."""
        box.faults.add(Fault(code=190))
        with pytest.raises(AirflowFailException):
            run((tmp_path / "export").as_uri())
        assert set(counted()) == {ERRORS}

    def test_what_folders_waited_together_counts_once_over_all_tries(self) -> None:
        """One that was published after the first wait, one after the second."""

        def outcome(waited: float, *, new: bool) -> Outcome:
            return Outcome("_manifests/…", {"files": [], "api_calls": 1, "waited_seconds": waited}, new)

        first, second = outcome(600.2, new=True), outcome(1200.4, new=True)
        assert figures([first])["waited_seconds"] == 600
        assert figures([outcome(600.2, new=False), second])["waited_seconds"] == 600
        assert figures([first, second])["waited_seconds"] == 1200
        assert figures([outcome(1200.4, new=False), first])["waited_seconds"] == 0
        assert figures([outcome(600.2, new=False)]) == {}


class TestWaits:
    """Waiting is no error."""

    @pytest.mark.parametrize("way, pause", [("reschedule", AirflowRescheduleException), ("defer", TaskDeferred)])
    def test_a_limit_is_one_wait_and_its_seconds_are_counted_in_the_end(
        self, way: str, pause: type[BaseException], monkeypatch: pytest.MonkeyPatch, box: Sandbox, tmp_path: Path,
        counted: Settled,
    ) -> None:  # fmt: skip
        """Woken too soon the task goes on waiting for the same limit."""
        box.faults.add(Fault(code=80006, regain=10, at=2))
        for _ in range(2):
            with pytest.raises(pause):
                run((tmp_path / "export").as_uri(), on_rate_limit=way)
            told = counted()
            assert (told[WAITS], told.get(ERRORS)) == (1, None)
        later = timedelta(minutes=11)
        monkeypatch.setattr(Workers, "clock", lambda _: now() + later)
        box.clock = lambda: now() + later
        summary = run((tmp_path / "export").as_uri(), on_rate_limit=way)
        assert summary["waited_seconds"] > 590
        assert counted() == {**counters(summary), WAITS: 1}

    def test_a_limit_that_fails_the_try_is_an_error(self, box: Sandbox, tmp_path: Path, counted: Settled) -> None:
        """``on_rate_limit="fail"`` says so."""
        box.faults.add(Fault(code=80006, at=1))
        with pytest.raises(AirflowException):
            run((tmp_path / "export").as_uri(), folders="inbox")
        assert counted("error") == {(ERRORS, "GraphRateLimitError"): 1}

    @pytest.mark.parametrize("way, pause", [("reschedule", AirflowRescheduleException), ("defer", TaskDeferred)])
    def test_a_window_that_settles_is_neither(
        self, way: str, pause: type[BaseException], box: Sandbox, tmp_path: Path, counted: Settled
    ) -> None:
        """No limit was met."""
        with pytest.raises(pause):
            run((tmp_path / "export").as_uri(), on_rate_limit=way, until=now(), settle=timedelta(minutes=10))
        assert counted() == {}

    def test_making_room_for_others_is_neither(self, box: Sandbox, tmp_path: Path, counted: Settled) -> None:
        """It is what ``release_slot_after`` asks for."""
        box.latency = 0.1
        room = timedelta(microseconds=1)
        with pytest.raises(AirflowRescheduleException):
            run((tmp_path / "export").as_uri(), on_rate_limit="reschedule", release_slot_after=room, page_size=10)
        assert not {WAITS, ERRORS} & set(counted())


class TestErrors:
    """By class, with what is known of the task when they come."""

    def test_each_folder_that_failed_counts(self, box: Sandbox, tmp_path: Path, counted: Settled) -> None:
        """By its own error."""
        box.faults.add(Fault(code=10, folder="inbox"))
        box.faults.add(Fault(code=10, folder="spam"))
        box.faults.add(Fault(code=100, folder="other"))
        with pytest.raises(AirflowFailException):
            run((tmp_path / "export").as_uri())
        errors = {key: number for key, number in counted("error").items() if key[0] == ERRORS}
        assert errors == {(ERRORS, "GraphPermissionError"): 2, (ERRORS, "GraphRequestError"): 1}

    def test_what_is_refused_before_the_page_is_known_names_none(
        self, box: Sandbox, tmp_path: Path, counted: Settled
    ) -> None:
        """A template that came to nothing, for one."""
        task = operator((tmp_path / "export").as_uri(), page_id="{{ page }}")
        task.page_id = "no page"
        with pytest.raises(AirflowFailException):
            task.execute(context())  # type: ignore[arg-type]
        assert counted("error", "dag_id", "task_id", "page_id") == {
            (ERRORS, "ParameterError", "daily", "export", ""): 1
        }

    def test_what_would_break_the_data_set_counts_for_its_page(
        self, box: Sandbox, tmp_path: Path, counted: Settled
    ) -> None:
        """No call was made, but the Page is known."""
        url = (tmp_path / "export").as_uri()
        run(url, "run-1")
        with pytest.raises(AirflowFailException):
            run(url, "run-2", until="2026-01-01T00:00:00Z")
        assert counted("error", "page_id")[ERRORS, "DumpRefused", box.page.id] == 1

    def test_a_stop_counts_by_its_name(self, box: Sandbox, tmp_path: Path, counted: Settled) -> None:
        """Somebody killed the task."""
        task = operator((tmp_path / "export").as_uri())
        task.on_kill()
        with pytest.raises(AirflowException):
            task.execute(context())  # type: ignore[arg-type]
        assert counted("error") == {(ERRORS, "Stopped"): 1}


class TestBackends:
    """Whatever they are, the export goes its way."""

    def test_plain_statsd_gets_the_names_alone(
        self, box: Sandbox, tmp_path: Path, statsd: StatsdListener, counted: Settled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It knows no tags."""
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "False")
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
        summary = run((tmp_path / "export").as_uri())
        assert counted() == counters(summary)
        assert f"airflow.pageconv.messages:{summary['messages']}|c" in statsd.received

    def test_one_that_fails_does_no_harm(
        self, box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Only who looks for it in the log at DEBUG hears of it."""

        class Failing:
            @staticmethod
            def incr(*_: object, **__: object) -> None:
                raise OSError("no route to the server")

        monkeypatch.setattr(compat, "Stats", Failing, raising=False)
        with caplog.at_level("DEBUG", "airflow_provider_pageconv.metrics"):
            assert run((tmp_path / "export").as_uri())["conversations"] == 60
        assert [record.levelname for record in caplog.records if record.name.endswith(".metrics")] == ["DEBUG"]
        assert "no route to the server" in caplog.text

    def test_where_airflow_has_none_nothing_is_sent(
        self, box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Settled
    ) -> None:
        """Nor missed."""
        monkeypatch.delitem(vars(compat), "Stats", raising=False)
        monkeypatch.setitem(compat._HOMES, "Stats", ("airflow.nowhere",))
        assert run((tmp_path / "export").as_uri())["conversations"] == 60
        assert counted() == {}


def test_the_documentation_has_every_name() -> None:
    """And no other."""
    documented = Counter(re.findall(r"^\| `pageconv\.(\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    manifest = {"files": [], "api_calls": 0, "waited_seconds": 0}
    assert documented == Counter([*figures([Outcome("", manifest, new=True)]), WAITS, ERRORS])


def test_nothing_of_it_is_imported_while_dags_are_parsed() -> None:
    """The operator's module costs what it did."""
    code = (
        "import sys; import airflow_provider_pageconv.operators\n"
        "print([name for name in sys.modules if name.endswith(('_pageconv.metrics', '_pageconv.lineage'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
