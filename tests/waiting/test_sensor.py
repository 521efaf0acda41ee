"""The sensor in its three modes: when it is done, when it looks again, what fails it, and what Airflow's parameters mean."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases import sensor as airflow_sensor
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphError,
    GraphPermissionError,
    GraphRateLimitError,
    GraphRequestError,
    GraphTransientError,
)
from airflow_provider_pageconv.graph.protocol import Answer, Request
from airflow_provider_pageconv.graph.usage import Usage
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.sandbox import Fault, Limits, Sandbox
from airflow_provider_pageconv.sensors import PageConversationsRateLimitSensor
from airflow_provider_pageconv.triggers import PageConversationsRateLimitTrigger
from tests.graph.answers import business_row, business_usage, error_body
from tests.graph.loopback import response, says, serving

MODES = ("poke", "reschedule", "deferrable")
MINUTE = timedelta(minutes=1)
TOLERANCE = timedelta(seconds=5)
PASSING = GraphTransientError("passing trouble at Meta")
NO_LIMITS: Sequence[GraphError] = (
    GraphAuthError("the access token has expired", code=190),
    GraphPermissionError("a permission is missing", code=10),
    GraphRequestError("a parameter is not valid", code=100),
    GraphError("an error that this version does not know", code=12345),
)


def refused(named: timedelta | None = None) -> GraphRateLimitError:
    """A refusal that names a time, or none."""
    usage = Usage(percent=100, regain=named, by_type={"messenger": 100})
    return GraphRateLimitError("too many calls", code=80006, retry_after=named, usage=usage)


def page(percent: float | None = None, regain: timedelta | None = None) -> Answer:
    """A good answer, with what its headers say of usage."""
    usage = None if percent is None else Usage(percent=percent, regain=regain, by_type={"messenger": percent})
    return Answer({"data": []}, usage, "v26.0")


class Napping:
    """A monotonic clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return sum(self.naps)

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)


class Scripted:
    """A client that answers with what the script says, one after the other, and with good pages from then on."""

    def __init__(self, script: Sequence[Answer | GraphError]) -> None:
        self.script = list(script)
        self.calls: list[Request] = []

    def get(self, request: Request) -> Answer:
        self.calls.append(request)
        said = self.script.pop(0) if self.script else page()
        if isinstance(said, GraphError):
            raise said
        return said


def now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class Look:
    """How one stretch of a sensor's work ended.

    :param again: after how long it looks again, None where it does not.
    :param looks: how many times it looked.
    """

    value: Any = None
    again: timedelta | None = None
    looks: int = 0
    error: BaseException | None = None
    deferred: TaskDeferred | None = None


class Sensing:
    """A sensor that is answered by a script, and what Airflow would do with it.

    :param mode: one of the three.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mode: str, script: Sequence[Any], **options: Any) -> None:
        self.time = Napping()
        self.client = Scripted(script)
        monkeypatch.setenv(
            "AIRFLOW_CONN_SENSE",
            json.dumps({"conn_type": "pageconv", "password": "TOKEN", "extra": {"page_id": "100"}}),
        )
        monkeypatch.setattr(PageConversationsHook, "get_conn", lambda _, page_id=None: self.client)
        # In `poke` mode Airflow sleeps by itself.
        fake = SimpleNamespace(sleep=self.time.sleep, monotonic=self.time.monotonic)
        monkeypatch.setattr(airflow_sensor, "time", fake)
        self.rendered: dict[str, Any] = {}
        self.options = {
            "task_id": "sense",
            "pageconv_conn_id": "sense",
            "mode": "poke" if mode == "deferrable" else mode,
            "deferrable": mode == "deferrable",
            "poke_interval": 40,
            "timeout": 1000,
            **options,
        }

    def look(self, elapsed: float = 0, **kwargs: Any) -> Look:
        """Run the sensor until it succeeds, fails, or is put aside, in a process of its own as it were.

        :param elapsed: seconds since it began to wait.
        :param kwargs: what a deferral hands on.
        """
        sensor = PageConversationsRateLimitSensor(**self.options)
        vars(sensor).update(self.rendered)
        began = now() - timedelta(seconds=elapsed)
        ti = SimpleNamespace(start_date=began, get_first_reschedule_date=lambda _: began)
        before, naps = len(self.client.calls), len(self.time.naps)
        result = Look()
        try:
            if kwargs:
                method = kwargs.pop("method_name")
                result.value = sensor.resume_execution(method, {**kwargs, "event": now()}, {"ti": ti})  # type: ignore[arg-type]
            else:
                result.value = sensor.execute({"ti": ti})  # type: ignore[arg-type]
        except AirflowRescheduleException as pause:
            result.again = pause.reschedule_date - now()
        except TaskDeferred as pause:
            result.deferred = pause
            result.again = pause.trigger.moment - now()  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001 - the test looks at it
            result.error = error
        result.looks = len(self.client.calls) - before
        if len(self.time.naps) > naps:
            result.again = timedelta(seconds=self.time.naps[naps])
        return result


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def about(found: timedelta | None, wanted: timedelta) -> bool:
    """Whether it is the wanted time, or a moment less that has passed meanwhile."""
    return found is not None and wanted - TOLERANCE < found <= wanted


class TestDone:
    """When it is enough."""

    @pytest.mark.parametrize("percent", [None, 0.0, 79.0])
    def test_a_good_answer_and_low_usage(
        self, monkeypatch: pytest.MonkeyPatch, mode: str, percent: float | None
    ) -> None:
        """One call. The XCom is the usage and the moment; without headers a good answer is enough."""
        sensing = Sensing(monkeypatch, mode, [page(percent)])
        look = sensing.look()
        assert look.error is None
        assert look.looks == 1
        assert set(look.value) == {"usage_percent", "checked_at"}
        assert look.value["usage_percent"] == percent
        assert abs(datetime.fromisoformat(look.value["checked_at"]) - now()) < TOLERANCE

    @pytest.mark.parametrize("percent", [80.0, 100.0])
    def test_high_usage_is_waited_for(self, monkeypatch: pytest.MonkeyPatch, mode: str, percent: float) -> None:
        """Until it is below; `poke_interval` where no time is named, the named time where there is one."""
        assert about(Sensing(monkeypatch, mode, [page(percent)]).look().again, timedelta(seconds=40))
        assert about(Sensing(monkeypatch, mode, [page(percent, 7 * MINUTE)]).look().again, 7 * MINUTE)

    def test_the_percentage_is_the_user_s(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """Below it, not at it."""
        assert Sensing(monkeypatch, mode, [page(49.9)], max_usage_percent=50).look().value
        assert Sensing(monkeypatch, mode, [page(50)], max_usage_percent=50).look().again


class TestLooksAgain:
    """When it is not enough."""

    def test_at_the_server_s_moment_where_it_names_one(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """Longer or shorter than `poke_interval`, backoff or not; with jitter of nobody's."""
        for named in (timedelta(seconds=5), 7 * MINUTE):
            for backoff in (False, True):
                sensing = Sensing(monkeypatch, mode, [refused(named)], exponential_backoff=backoff)
                assert about(sensing.look().again, named), (named, backoff)

    def test_else_after_poke_interval(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """Each time the same."""
        assert about(Sensing(monkeypatch, mode, [refused()]).look().again, timedelta(seconds=40))

    def test_a_named_moment_holds_for_one_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In `poke` mode it is one process: after a named time comes `poke_interval` again."""
        sensing = Sensing(monkeypatch, "poke", [refused(7 * MINUTE), refused(), refused(MINUTE), page()])
        assert sensing.look().looks == 4
        assert sensing.time.naps == [420, 40, 60]

    def test_airflow_s_backoff_where_none_is_named(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """It grows with the time that has passed, with Airflow's own jitter.

        Its n-th wait of 60 s is between 30 * 2 ** (n - 1) s and twice that, and where it has to guess n from the
        elapsed time E it takes the n whose waits so far add up to E: so a wait is from E / 4 + 15 s to 2 * E + 60 s.
        """
        sensing = Sensing(
            monkeypatch, mode, [refused()] * 5, exponential_backoff=True, poke_interval=60, timeout=100_000
        )
        waits: list[float] = []
        if mode == "poke":
            sensing.look()
            waits = sensing.time.naps
        else:
            kwargs: dict[str, Any] = {}
            while sensing.client.script:
                look = sensing.look(elapsed=sum(waits), **kwargs)
                assert look.again is not None
                waits.append(look.again.total_seconds())
                if look.deferred:
                    kwargs = {"method_name": look.deferred.method_name, **(look.deferred.kwargs or {})}
        assert len(waits) == 5
        for wait, elapsed in zip(waits, itertools.accumulate(waits, initial=0.0), strict=False):
            assert elapsed / 4 + 15 - TOLERANCE.total_seconds() < wait < 2 * elapsed + 60

    def test_max_wait_bounds_the_backoff_and_not_the_server_s_word(
        self, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        """The server knows better."""
        options = {"exponential_backoff": True, "max_wait": 10}
        assert about(Sensing(monkeypatch, mode, [refused()], **options).look().again, timedelta(seconds=10))
        assert about(Sensing(monkeypatch, mode, [refused(7 * MINUTE)], **options).look().again, 7 * MINUTE)

    def test_a_deferred_one_looks_again_when_the_triggerer_hands_it_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One call for each time; then it is done."""
        sensing = Sensing(monkeypatch, "deferrable", [refused(MINUTE), refused(MINUTE)])
        first = sensing.look()
        assert first.deferred is not None
        assert first.deferred.timeout is None
        resumed = {"method_name": first.deferred.method_name, **(first.deferred.kwargs or {})}
        second = sensing.look(elapsed=60, **resumed)
        assert about(second.again, MINUTE)
        assert sensing.look(elapsed=120, **resumed).value
        assert len(sensing.client.calls) == 3


class TestTimeout:
    """`timeout`, `soft_fail` and `never_fail` keep Airflow's meaning."""

    def end(self, monkeypatch: pytest.MonkeyPatch, mode: str, script: Sequence[Any], **options: Any) -> Look:
        """How it ends when its time is up."""
        sensing = Sensing(monkeypatch, mode, script, timeout=90, **options)
        return sensing.look(elapsed=0 if mode == "poke" else 91)

    def test_it_fails_when_its_time_is_up(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """Not sooner than after one last look."""
        look = self.end(monkeypatch, mode, [refused()] * 9)
        assert isinstance(look.error, AirflowSensorTimeout)

    def test_the_last_look_is_when_the_time_is_up(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """Though Meta names a later moment: a sensor that is asked for 1000 s does not hold on for an hour."""
        look = Sensing(monkeypatch, mode, [refused(60 * MINUTE)] * 9).look()
        assert about(look.again, timedelta(seconds=1000))

    def test_the_last_look_is_when_what_is_left_of_the_time_is_up(
        self, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        """Also after it has waited for a while."""
        sensing = Sensing(monkeypatch, mode, [refused(10 * MINUTE)] * 9)
        if mode == "poke":
            assert isinstance(sensing.look().error, AirflowSensorTimeout)
            assert [round(nap) for nap in sensing.time.naps] == [600, 400, 1]
        else:
            assert about(sensing.look(elapsed=700).again, timedelta(seconds=300))

    @pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
    def test_it_is_skipped_then(self, monkeypatch: pytest.MonkeyPatch, mode: str, option: str) -> None:
        """`never_fail` in `poke` and `reschedule` mode is not asked about a time-out: so it is with Airflow's sensors."""
        look = self.end(monkeypatch, mode, [refused()] * 9, **{option: True})
        timed_out_all_the_same = option == "never_fail" and mode != "deferrable"
        assert isinstance(look.error, AirflowSensorTimeout if timed_out_all_the_same else AirflowSkipException)

    def test_a_good_answer_at_the_last_moment_is_one(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """It looks before it looks at the clock."""
        assert self.end(monkeypatch, mode, [page()]).value


class TestErrors:
    """What is no limit."""

    @pytest.mark.parametrize("error", NO_LIMITS, ids=lambda error: type(error).__name__)
    def test_it_fails_at_once(self, monkeypatch: pytest.MonkeyPatch, mode: str, error: GraphError) -> None:
        """Without further tries, and with the sentence; `silent_fail` does not hide it."""
        for options in ({}, {"silent_fail": True}):
            look = Sensing(monkeypatch, mode, [error], **options).look()
            assert isinstance(look.error, AirflowFailException)
            assert str(look.error) == str(error)
            assert look.looks == 1

    @pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
    def test_it_is_skipped_at_once(self, monkeypatch: pytest.MonkeyPatch, mode: str, option: str) -> None:
        """Where the user wants that."""
        look = Sensing(monkeypatch, mode, [NO_LIMITS[0]], **{option: True}).look()
        assert isinstance(look.error, AirflowSkipException)

    def test_passing_trouble_ends_the_try(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """After the client's own patience; Airflow's retries come then, also with `soft_fail`."""
        for options in ({}, {"soft_fail": True}):
            look = Sensing(monkeypatch, mode, [PASSING], **options).look()
            assert look.error is PASSING

    def test_passing_trouble_is_looked_past_with_silent_fail(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """It looks again after `poke_interval`, and no earlier named time lingers."""
        sensing = Sensing(monkeypatch, mode, [PASSING], silent_fail=True)
        look = sensing.look()
        assert about(look.again, timedelta(seconds=40))

    def test_passing_trouble_with_never_fail_is_a_skip(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """In each mode."""
        look = Sensing(monkeypatch, mode, [PASSING], never_fail=True).look()
        assert isinstance(look.error, AirflowSkipException)

    def test_no_page_anywhere(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """Before the first call, in one sentence."""
        sensing = Sensing(monkeypatch, mode, [])
        monkeypatch.setenv("AIRFLOW_CONN_SENSE", json.dumps({"conn_type": "pageconv", "password": "TOKEN"}))
        look = sensing.look()
        assert isinstance(look.error, AirflowFailException)
        assert str(look.error) == ("No page_id: neither the task nor the extra of the connection 'sense' names a Page.")
        assert look.looks == 0


class TestParameters:
    """Refused when the DAG is parsed, in one sentence; what holds a template, when the task runs."""

    @pytest.mark.parametrize(
        "parameter, sentence",
        [
            ({"max_usage_percent": 0}, "max_usage_percent is 0: it takes a number above 0, up to 100."),
            ({"max_usage_percent": 101}, "max_usage_percent is 101: it takes a number above 0, up to 100."),
            ({"max_usage_percent": True}, "max_usage_percent is True: it takes a number above 0, up to 100."),
            ({"max_usage_percent": "80"}, "max_usage_percent is '80': it takes a number above 0, up to 100."),
            ({"max_usage_percent": float("nan")}, "max_usage_percent is nan: it takes a number above 0, up to 100."),
            ({"platform": "whatsapp"}, "platform is 'whatsapp': it takes 'messenger' or 'instagram'."),
            ({"platform": None}, "platform is None: it takes 'messenger' or 'instagram'."),
            (
                {"page_id": "a/b"},
                "page_id is 'a/b': it takes an id of the Graph API (letters, digits, '.', '_' and '-'), or None.",
            ),
            ({"pageconv_conn_id": ""}, "pageconv_conn_id is '': it takes the id of a connection of type pageconv."),
        ],
    )
    def test_a_wrong_one_is_refused(self, parameter: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the sentence is what matters
            PageConversationsRateLimitSensor(task_id="sense", **parameter)
        assert str(caught.value) == sentence

    @pytest.mark.parametrize("parameter", [{"platform": "{{ params.p }}"}, {"page_id": "{{ params.p }}"}])
    def test_a_template_is_looked_at_later(
        self, monkeypatch: pytest.MonkeyPatch, mode: str, parameter: dict[str, Any]
    ) -> None:
        """When it has been rendered, before the call."""
        sensing = Sensing(monkeypatch, mode, [], **parameter)
        [name] = parameter
        sensing.rendered = {name: "a/b"}
        look = sensing.look()
        assert isinstance(look.error, AirflowFailException)
        assert str(look.error).startswith(f"{name} is 'a/b': it takes ")
        assert look.looks == 0

    def test_it_defers_where_the_deployment_says_so(self) -> None:
        """`[operators] default_deferrable` is read when the module is imported, as with Airflow's own sensors."""
        code = (
            "from airflow_provider_pageconv.sensors import PageConversationsRateLimitSensor as S;"
            "print('deferrable', S(task_id='s').deferrable)"
        )
        for text in ("True", "False"):
            environment = {**os.environ, "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": text}
            done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
            assert f"deferrable {text}" in done.stdout, done.stderr


class TestProbe:
    """What the look asks of a real server."""

    @pytest.mark.parametrize("platform", ["messenger", "Instagram"])
    def test_it_is_one_row_of_the_edge_that_is_limited(self, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
        """Of the platform's own list: Messenger and Instagram have a limit each."""
        with Sandbox(seed=3, conversations=8, instagram=8, usage_headers=True) as box:
            _connect(monkeypatch, box)
            sensor = PageConversationsRateLimitSensor(task_id="sense", platform=platform, pageconv_conn_id="sense")
            value = sensor.execute({"ti": SimpleNamespace(start_date=now())})  # type: ignore[arg-type]
            [request] = box.requests
        assert (request.edge, request.code) == ("conversations", None)
        assert request.params == {"platform": platform.lower(), "fields": "id", "limit": "1"}
        assert value["usage_percent"] == 1.0

    @pytest.mark.parametrize("status", [400, 403, 429, 200])
    @pytest.mark.parametrize("code", [4, 17, 32, 341, 613, 80001, 80002, 80006, 368])
    def test_every_limit_is_waited_for(self, monkeypatch: pytest.MonkeyPatch, code: int, status: int) -> None:
        """Whatever the status; the minutes of the header are the next look."""
        fault = Fault("error", code=code, status=status, regain=3)
        with Sandbox(seed=3, conversations=1, faults=[fault]) as box:
            _connect(monkeypatch, box)
            sensor = PageConversationsRateLimitSensor(task_id="sense", pageconv_conn_id="sense", deferrable=True)
            with pytest.raises(TaskDeferred) as caught:
                sensor.execute({"ti": SimpleNamespace(start_date=now())})  # type: ignore[arg-type]
            assert len(box.requests) == 1
        assert isinstance(caught.value.trigger, PageConversationsRateLimitTrigger)
        assert about(caught.value.trigger.moment - now(), 3 * MINUTE)

    @pytest.mark.parametrize("foreign", ["ads_management", "instagram"])
    def test_the_usage_of_another_product_does_not_hold_it(
        self, monkeypatch: pytest.MonkeyPatch, mode: str, foreign: str
    ) -> None:
        """Though it is at 100 %, and names when access is regained."""
        with Sandbox(seed=3, conversations=1, limits=Limits(foreign={foreign: 100.0})) as box:
            _connect(monkeypatch, box)
            value = _sense(mode)
            assert len(box.requests) == 1
        assert value["usage_percent"] < 80

    @pytest.mark.parametrize("kind", ["messenger", "pages"])
    def test_the_usage_that_governs_the_call_holds_it(
        self, monkeypatch: pytest.MonkeyPatch, mode: str, kind: str
    ) -> None:
        """The platform's and the Page's, as long as they say; another's longer time does not count."""
        headers = business_usage(business_row(3, kind=kind), business_row(45, kind="ads_management"))
        with serving(says(response(headers=headers))) as server:
            _connect_to(monkeypatch, server.url)
            assert about(_sense(mode), 3 * MINUTE)

    def test_a_refusal_is_waited_for_as_long_as_what_governs_the_call_says(
        self, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        """And after `poke_interval` where only another product's time is named."""
        ads = business_row(45, kind="ads_management")
        for rows, wait in (([business_row(3), ads], 3 * MINUTE), ([ads], timedelta(seconds=40))):
            answer = response(error_body(80006), status="400 Bad Request", headers=business_usage(*rows))
            with serving(says(answer)) as server:
                _connect_to(monkeypatch, server.url)
                assert about(_sense(mode), wait)

    @pytest.mark.parametrize(
        "answer, sentence",
        [
            (response(error_body(190, 463)), "the access token has expired"),
            (response(error_body(2500, message="An active access token must be used")), "no access token arrived"),
            (response(error_body(100, 33), status="400 Bad Request"), "the object does not exist"),
        ],
    )
    def test_what_is_no_limit_fails_in_a_sentence(
        self, monkeypatch: pytest.MonkeyPatch, mode: str, answer: bytes, sentence: str
    ) -> None:
        """At the first look."""
        with serving(says(answer)) as server:
            _connect_to(monkeypatch, server.url)
            with pytest.raises(AirflowFailException, match=sentence):
                _sense(mode)
            assert len(server.asked) == 1


def _sense(mode: str) -> Any:
    """Look once at a real server: the value, or how long the sensor would stay away."""
    sensor = PageConversationsRateLimitSensor(
        task_id="sense",
        pageconv_conn_id="sense",
        mode="poke" if mode == "deferrable" else mode,
        deferrable=mode == "deferrable",
        poke_interval=40,
        timeout=1000,
    )
    ti = SimpleNamespace(start_date=now(), get_first_reschedule_date=lambda _: now())
    if mode == "poke":
        result = sensor.poke({"ti": ti})  # type: ignore[arg-type]
        return result.xcom_value if result.is_done else timedelta(seconds=sensor.poke_interval)
    try:
        return sensor.execute({"ti": ti})  # type: ignore[arg-type]
    except AirflowRescheduleException as pause:
        return pause.reschedule_date - now()
    except TaskDeferred as pause:
        return pause.trigger.moment - now()  # type: ignore[attr-defined]


def _connect_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    extra = {"page_id": "100", "calls_per_second": 0}
    connection = {"conn_type": "pageconv", "host": url, "password": "TOKEN", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SENSE", json.dumps(connection))


def _connect(monkeypatch: pytest.MonkeyPatch, box: Sandbox) -> None:
    connection = {
        "conn_type": "pageconv",
        "host": box.url,
        "password": box.token,
        "extra": {"page_id": box.page.id, "calls_per_second": 0},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SENSE", json.dumps(connection))


@pytest.mark.parametrize("module", ["sensors", "triggers"])
def test_nothing_heavy_is_imported_when_a_dag_is_parsed(module: str) -> None:
    """Neither HTTP nor files, beside what Airflow has loaded by itself."""
    code = (
        "import sys; from airflow.sdk import BaseSensorOperator;"
        "import airflow.providers.standard.triggers.temporal;"
        "before = set(sys.modules);"
        f"import airflow_provider_pageconv.{module};"
        "new = set(sys.modules) - before;"
        "print('new', sorted(name for name in new if name.split('.')[0] in ('requests', 'urllib3', 'fsspec', 'pyarrow')"
        " or name.startswith(('airflow_provider_pageconv.dump.engine', 'airflow_provider_pageconv.dump.store',"
        " 'airflow_provider_pageconv.graph.client'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("new []"), done.stdout + done.stderr
