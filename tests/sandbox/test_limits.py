"""Calls that fit into a window, refusals, and what the usage headers say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_pageconv.sandbox import Limits
from tests.sandbox.conftest import Client

Start = Callable[..., Client]


class HandClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def business(client: Client, response: requests.Response) -> dict[str, Any]:
    """Return the usage that is reported for the Page."""
    usage: dict[str, Any] = json.loads(response.headers["x-business-use-case-usage"])[client.box.page.id][0]
    return usage


def test_window_slides(sandbox: Start) -> None:
    """So many calls are let through, then none until the first of them is a window old; the header counts up."""
    clock = HandClock()
    client = sandbox(limits=Limits(calls=4, window=60, clock=clock, prolongs=False))
    shares = []
    for _ in range(4):
        response = client.conversations()
        assert response.status_code == 200
        shares.append(business(client, response)["call_count"])
        clock.now += 10
    assert shares == [25, 50, 75, 100]
    refused = client.conversations()
    assert (refused.status_code, client.error(refused)["code"]) == (400, 613)
    assert business(client, refused)["estimated_time_to_regain_access"] == 1
    clock.now += 20
    assert client.conversations().status_code == 200
    assert client.conversations().status_code == 400
    assert client.box.limits.refused == 2


@pytest.mark.parametrize("prolongs", [True, False])
def test_calls_while_refused(sandbox: Start, prolongs: bool) -> None:
    """Calls made while refused keep the window full, if so ordered."""
    clock = HandClock()
    client = sandbox(limits=Limits(calls=2, window=600, clock=clock, prolongs=prolongs))
    for _ in range(2):
        client.conversations()
    clock.now += 500
    refused = client.conversations()
    assert refused.status_code == 400
    assert business(client, refused)["estimated_time_to_regain_access"] == 2
    clock.now += 101
    client.conversations()
    assert client.conversations().status_code == (400 if prolongs else 200)


@pytest.mark.parametrize("code, status", [(613, 400), (80006, 400), (80002, 429), (4, 403), (17, 400), (32, 200)])
def test_refusals(sandbox: Start, code: int, status: int) -> None:
    """Any code with any status, with or without the minutes, with or without headers."""
    client = sandbox(limits=Limits(calls=0, window=3600, code=code, status=status, regain=False))
    refused = client.conversations()
    assert (refused.status_code, client.error(refused)["code"]) == (status, code)
    assert business(client, refused)["estimated_time_to_regain_access"] == 0
    client.box.limits.refusal_headers = False
    assert "x-app-usage" not in client.conversations().headers


def test_percent_can_be_set(sandbox: Start) -> None:
    """The headers can say anything, whatever was used."""
    client = sandbox()
    client.box.limits.percent = 96
    assert business(client, client.conversations())["call_count"] == 96


def test_usage_of_another_product(sandbox: Start) -> None:
    """What other products use is reported for the Page and for a business that is not ours, beside our own usage."""
    client = sandbox(limits=Limits(foreign={"ads_management": 100.0, "pages": 40}))
    usage = json.loads(client.conversations().headers["x-business-use-case-usage"])
    page = client.box.page.id
    [other] = set(usage) - {page}
    assert [found["type"] for found in usage[page]] == ["messenger", "ads_management", "pages"]
    assert [found["call_count"] for found in usage[page]] == [1, 100, 40]
    assert usage[other] == usage[page][1:]
    assert [found["estimated_time_to_regain_access"] for found in usage[page]] == [0, 45, 0]
    me = client.get("/me/accounts", token=client.box.user_token)
    assert list(json.loads(me.headers["x-business-use-case-usage"])) == [other]


def test_usage_of_many_products(sandbox: Start) -> None:
    """There are no more than 32 objects."""
    client = sandbox(limits=Limits(foreign={f"product_{number}": 90 for number in range(40)}))
    usage = json.loads(client.conversations().headers["x-business-use-case-usage"])
    assert sum(len(objects) for objects in usage.values()) == 32


def test_usage_that_cannot_be_read(sandbox: Start) -> None:
    """Usage headers may be no JSON at all, on good answers and on refusals."""
    client = sandbox(limits=Limits(calls=1, window=1000, garbled=True), usage_headers=["app", "business", "page"])
    for status in (200, 400):
        response = client.conversations()
        assert response.status_code == status
        names = [name for name in response.headers if "usage" in name]
        assert len(names) == 3
        for name in names:
            with pytest.raises(ValueError, match=r"."):
                json.loads(response.headers[name])


def test_limits_are_the_sandboxs_own(sandbox: Start) -> None:
    """What was handed in stays as it was, so that two sandboxes can be given the same."""
    limits = Limits(calls=1, window=1000)
    one, other = (sandbox(limits=limits, usage_headers=headers) for headers in (["app"], ["page"]))
    assert [one.conversations().status_code for _ in range(2)] == [200, 400]
    assert other.conversations().status_code == 200
    assert "x-app-usage" in one.conversations().headers
    assert limits == Limits(calls=1, window=1000)


def test_limits_over_http(sandbox: Start) -> None:
    """Limits are changed, read and lifted at /_sandbox/limits."""
    client = sandbox()
    assert client.control("POST", "limits", {"calls": 1, "window": 1000, "code": 80006}).status_code == 200
    assert [client.conversations().status_code for _ in range(2)] == [200, 400]
    said = client.control("GET", "limits").json()
    assert (said["calls"], said["refused"], said["code"]) == (1, 1, 80006)
    client.control("DELETE", "limits")
    assert client.conversations().status_code == 200
    client.control("POST", "limits", {"foreign": {"ads_management": 100}, "garbled": True})
    assert client.box.limits.garbled
    for wrong in ({"colour": 1}, {"code": 5}, {"foreign": 3}, {"window": 0}, {"calls": "x"}):
        assert client.control("POST", "limits", wrong).status_code == 400
