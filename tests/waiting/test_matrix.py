"""What limits, and when to come back: every code, under every status, with every way to name a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_pageconv.dump.endings import LetGo
from airflow_provider_pageconv.graph import limits
from airflow_provider_pageconv.graph.errors import GraphError, GraphRateLimitError
from airflow_provider_pageconv.graph.protocol import Request, Response, decipher
from airflow_provider_pageconv.graph.usage import time_to_wait
from tests.waiting.fakes import HOUR, MINUTE, Task

THROTTLED = (4, 17, 32, 341, 80001, 80002, 80006)
TOO_FAST, ABUSIVE = 613, 368
CODES = (*THROTTLED, TOO_FAST, ABUSIVE)
STATUSES = (400, 403, 429, 200)
ASKED = Request("100/conversations", {"platform": "messenger"})


@dataclass(frozen=True)
class Told:
    """What the headers of a refusal say, and what that comes to."""

    name: str
    headers: dict[str, str]
    named: timedelta | None


def _business(*minutes: int) -> str:
    """The header of business use cases, an object for each of some times, those of two owners."""
    rows = [
        {"type": "messenger", "call_count": 100, "total_time": 1, "estimated_time_to_regain_access": each}
        for each in minutes
    ]
    return json.dumps({"100": rows[:1], "200": rows[1:]})


TELLING = (
    Told("no header", {}, None),
    Told("usage without a time", {"x-app-usage": '{"call_count":100}'}, None),
    Told("0 minutes", {"x-business-use-case-usage": _business(0)}, None),
    Told("7 minutes", {"x-business-use-case-usage": _business(7)}, 7 * MINUTE),
    Told("the greatest of all objects", {"x-business-use-case-usage": _business(3, 0, 90, 12)}, 90 * MINUTE),
    Told(
        "the greatest of all headers",
        {
            "x-business-use-case-usage": _business(3),
            "x-app-usage": '{"call_count":100,"estimated_time_to_regain_access":11}',
            "x-page-usage": '{"call_count":100,"estimated_time_to_regain_access":5}',
        },
        11 * MINUTE,
    ),
    Told("Retry-After", {"retry-after": "150"}, timedelta(seconds=150)),
    Told("Retry-After and minutes", {"retry-after": "150", "x-business-use-case-usage": _business(7)}, 7 * MINUTE),
)


def _refusal(response: Response) -> GraphRateLimitError:
    """What the client makes of it."""
    with pytest.raises(GraphError) as caught:
        decipher(response, ASKED)
    assert isinstance(caught.value, GraphRateLimitError), caught.value
    return caught.value


def _body(code: int) -> bytes:
    # Some codes are marked as passing; a limit is none of that.
    return json.dumps({"error": {"message": f"(#{code}) no", "code": code, "is_transient": True}}).encode()


def _comes_back(monkeypatch: pytest.MonkeyPatch, refusals: list[Response], jitter: float) -> tuple[timedelta, Task]:
    """After how long a task that meets these refusals and no page in between looks again."""
    monkeypatch.setattr(limits, "random", SimpleNamespace(uniform=lambda _, most: min(jitter, most)))
    task = Task({"inbox": 3}, refusals)
    with pytest.raises(LetGo) as caught:
        task.run()
    assert task.time.passed <= 1, "slept, although the wait is longer than a minute"
    return caught.value.moment - task.time.now, task


@pytest.mark.parametrize("told", TELLING, ids=lambda told: told.name)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("code", CODES)
def test_a_limit_is_one_by_its_code(code: int, status: int, told: Told) -> None:
    """Whatever the status: a limit, with the greatest time that any header names, and 0 names none."""
    error = _refusal(Response(status, told.headers, _body(code)))
    assert (error.code, error.http_status, error.retry_after) == (code, status, told.named)
    assert (error.usage is None) == (not any("usage" in name for name in told.headers))


@pytest.mark.parametrize("told", TELLING, ids=lambda told: told.name)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("code", THROTTLED)
def test_a_throttled_task_comes_back_when_it_is_told(
    monkeypatch: pytest.MonkeyPatch, code: int, status: int, told: Told
) -> None:
    """At the named time, else after a minute, and the jitter comes on top."""
    for jitter in (0.5, 30.0):
        after, task = _comes_back(monkeypatch, [Response(status, told.headers, _body(code))], jitter)
        assert after == (told.named or MINUTE) + timedelta(seconds=jitter)
        assert len(task.calls) == 1
        assert task.client.pace.interval == 0


@pytest.mark.parametrize("told", TELLING, ids=lambda told: told.name)
@pytest.mark.parametrize("status", STATUSES)
def test_613_goes_slower_before_it_waits(monkeypatch: pytest.MonkeyPatch, status: int, told: Told) -> None:
    """The first time it is called again, slower; a second one waits, as does a first one that names a time."""
    after, task = _comes_back(monkeypatch, [Response(status, told.headers, _body(TOO_FAST))] * 2, 1.0)
    assert after == (told.named or MINUTE) + timedelta(seconds=1)
    slows = told.named is None
    assert (task.client.pace.interval, len(task.calls)) == ((1.0, 2) if slows else (0.0, 1))


@pytest.mark.parametrize("told", TELLING, ids=lambda told: told.name)
@pytest.mark.parametrize("status", STATUSES)
def test_368_waits_long(monkeypatch: pytest.MonkeyPatch, status: int, told: Told) -> None:
    """An hour, or the named time where that is longer."""
    after, _ = _comes_back(monkeypatch, [Response(status, told.headers, _body(ABUSIVE))], 1.0)
    assert after == max(told.named or HOUR, HOUR) + timedelta(seconds=1)


@pytest.mark.parametrize("body", [b"", b"<html>Too many requests</html>", b"{}", b'{"error":{"message":"slow down"}}'])
@pytest.mark.parametrize("told", TELLING, ids=lambda told: told.name)
def test_a_bare_429_is_a_limit(monkeypatch: pytest.MonkeyPatch, told: Told, body: bytes) -> None:
    """It comes from whatever stands before the API; `Retry-After` is in seconds."""
    response = Response(429, told.headers, body)
    error = _refusal(response)
    assert (error.code, error.retry_after) == (None, told.named)
    after, _ = _comes_back(monkeypatch, [response], 2.0)
    assert after == (told.named or MINUTE) + timedelta(seconds=2)


def test_a_short_retry_after_is_slept_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """To let go of a worker and come back takes as long as a minute."""
    monkeypatch.setattr(limits, "random", SimpleNamespace(uniform=lambda _, most: min(9.0, most)))
    task = Task({"inbox": 1}, [Response(429, {"retry-after": "20"}, b"")])
    task.run()
    assert task.times == [0, 29]


@pytest.mark.parametrize("status", [403, 503])
def test_a_retry_after_without_a_limit_is_none(status: int) -> None:
    """A proxy that refuses, and a server that is down, are no limit of the API."""
    with pytest.raises(GraphError) as caught:
        decipher(Response(status, {"retry-after": "150"}, b"<html></html>"), ASKED)
    assert not isinstance(caught.value, GraphRateLimitError)


def test_the_schedule_where_nothing_is_named() -> None:
    """1, 2, 5, 10, 20, 30 minutes, and half an hour from then on."""
    waits = [time_to_wait(None, refusals) for refusals in range(1, 10)]
    assert [wait / MINUTE for wait in waits] == [1, 2, 5, 10, 20, 30, 30, 30, 30]


@pytest.mark.parametrize("refusals", range(1, 9))
@pytest.mark.parametrize("seconds", [1, 59, 60, 61, 600, 86_400])
def test_the_server_s_word_beats_the_schedule(seconds: int, refusals: int) -> None:
    """Neither sooner nor later, however often it refused; if held to be abusive, an hour at least."""
    named = timedelta(seconds=seconds)
    assert time_to_wait(named, refusals) == named
    assert time_to_wait(named, refusals, abuse=True) == max(named, HOUR)
    assert time_to_wait(None, refusals, abuse=True) == HOUR
