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


# ---- the Instagram account of a Page, and its Messenger


def objects(client: Client, response: requests.Response) -> list[tuple[str, int, int]]:
    """Return type, percent and minutes of all that the business header reports for the Page."""
    usage = json.loads(response.headers["x-business-use-case-usage"])[client.box.page.id]
    return [(one["type"], one["call_count"], one["estimated_time_to_regain_access"]) for one in usage]


def app_usage(response: requests.Response) -> int:
    """Return the percentage of calls that the app has made."""
    return int(json.loads(response.headers["x-app-usage"])["call_count"])


def test_messenger_and_instagram_of_a_page_are_counted_apart(sandbox: Start) -> None:
    """Two calls a second each: the third of one is refused while the other still has both of its own."""
    clock = HandClock()
    client = sandbox(instagram=5, account_limits=Limits(calls=2, window=1, clock=clock))
    assert [client.conversations().status_code for _ in range(3)] == [200, 200, 400]
    answers = [client.conversations(platform="instagram") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert [client.error(answers[2])[name] for name in ("code", "message")] == [
        613, "(#613) Calls to this api have exceeded the rate limit.",
    ]  # fmt: skip
    assert client.get(f"/{client.box.page.id}").status_code == 200, "that is no call of the conversations"
    clock.now += 1
    assert [client.conversations(platform=platform).status_code for platform in ("messenger", "instagram")] == [200] * 2


def test_calls_for_an_instagram_thread_count_for_instagram(sandbox: Start) -> None:
    """By whichever address: the list, a thread, its messages, a message, and what hangs on one."""
    client = sandbox(instagram=5, account_limits=Limits(calls=10, window=60, clock=HandClock()))
    thread = client.conversations(platform="instagram").json()["data"][0]["id"]
    message = client.get(f"/{thread}/messages").json()["data"][0]["id"]
    for path in (f"/{thread}", f"/{message}", f"/{message}/attachments", "/me/conversations?platform=instagram"):
        answer = client.get(path)
        assert answer.status_code == 200
    assert objects(client, answer) == [("instagram", 60, 0)]
    assert objects(client, client.conversations()) == [("messenger", 10, 0)]


def test_each_page_has_accounts_of_its_own(sandbox: Start) -> None:
    """What one Page's calls use up, another Page's do not miss."""
    client = sandbox(pages=2, account_limits=Limits(calls=1, window=60, clock=HandClock()))
    first, second = client.box.pages.values()
    assert [client.conversations().status_code for _ in range(2)] == [200, 400]
    token = client.box.api.derived_token(second)
    assert client.get(f"/{second.id}/conversations", token=token).status_code == 200
    assert client.get(f"/{first.id}/conversations", token=client.box.derived_token).status_code == 400


@pytest.mark.parametrize("code", [80002, 80006])
def test_a_business_limit_has_the_code_of_its_account(sandbox: Start, code: int) -> None:
    """80006 for Messenger, 80002 for Instagram, whichever was ordered, each with the minutes of its own."""
    clock = HandClock()
    client = sandbox(instagram=5, account_limits=Limits(calls=1, window=600, code=code, clock=clock, prolongs=False))
    client.conversations()
    clock.now += 300
    client.conversations(platform="instagram")
    messenger, instagram = client.conversations(), client.conversations(platform="instagram")
    assert (client.error(messenger)["code"], client.error(instagram)["code"]) == (80006, 80002)
    assert client.error(instagram)["message"] == (
        "(#80002) There have been too many calls to this Instagram account. Wait a bit and try again."
    )
    assert objects(client, messenger) == [("messenger", 100, 5)]
    assert objects(client, instagram) == [("instagram", 100, 10)]
    assert app_usage(instagram) == 1, "the app has no limit"


# ---- the app


def test_an_apps_limit_holds_over_all_pages_and_tokens(sandbox: Start) -> None:
    """Once its calls are made, every call of every Page answers 4 until the window lets go of one."""
    clock = HandClock()
    client = sandbox(pages=3, app_limits=Limits(calls=4, window=3600, clock=clock, prolongs=False))
    box = client.box
    asks = [
        (f"/{page.id}/conversations", {"token": box.api.derived_token(page)}) for page in box.pages.values()
    ] + [("/me/accounts", {"token": box.user_token})]  # fmt: skip
    shares = []
    for path, how in asks:
        answer = client.get(path, **how)
        assert answer.status_code == 200
        shares.append(app_usage(answer))
        clock.now += 60
    assert shares == [25, 50, 75, 100]
    for path, how in [*asks, (f"/debug_token?input_token={box.token}", {}), (f"/{box.page.id}", {})]:
        refused = client.get(path, **how)
        assert (refused.status_code, client.error(refused)["code"]) == (403, 4)
        assert client.error(refused)["message"] == "(#4) Application request limit reached"
        assert app_usage(refused) == 100
    clock.now += 3600 - 4 * 60
    assert [client.get(path, **how).status_code for path, how in asks] == [200, 403, 403, 403]
    assert box.app_limits.refused == 9


def test_an_apps_limit_names_no_time_and_is_none_of_the_page(sandbox: Start) -> None:
    """The app's header has no minutes to name, and the business header goes on reporting what the Page has used."""
    client = sandbox(
        app_limits=Limits(calls=1, window=600, clock=HandClock()),
        account_limits=Limits(calls=10, window=600, clock=HandClock()),
    )
    client.conversations()
    refused = client.conversations()
    assert objects(client, refused) == [("messenger", 10, 0)]
    assert app_usage(refused) == 200, "calls while refused count as well"
    client.box.app_limits.refusal_headers = False
    assert "x-app-usage" not in client.conversations().headers


def test_an_apps_limit_has_a_code_of_an_app(sandbox: Start) -> None:
    """4, unless it is one of the others."""
    for code, answered in ((613, 4), (17, 17), (341, 341)):
        client = sandbox(app_limits=Limits(calls=0, code=code))
        assert client.error(client.conversations())["code"] == answered


def test_what_one_limit_refuses_is_not_counted_by_the_next(sandbox: Start) -> None:
    """The account has not had a call that its app may not make."""
    client = sandbox(
        app_limits=Limits(calls=0, window=60, clock=HandClock()),
        account_limits=Limits(calls=1, window=60, clock=HandClock()),
    )
    assert client.error(client.conversations())["code"] == 4
    client.box.app_limits.calls = None
    assert client.conversations().status_code == 200


def test_limits_of_the_app_and_the_accounts_over_http(sandbox: Start) -> None:
    """They are changed, read and lifted at /_sandbox/limits as well."""
    client = sandbox(instagram=2)
    client.control("POST", "limits", [{"of": "app", "calls": 3, "window": 1000, "code": 17}])
    client.control("POST", "limits", {"of": "accounts", "calls": 1, "window": 1000, "code": 80006})
    codes = [client.conversations(platform="instagram").json().get("error", {}).get("code") for _ in range(4)]
    assert codes == [None, 80002, 80002, 17]
    said = client.control("GET", "limits").json()
    assert [said["app"][name] for name in ("calls", "code", "refused")] == [3, 17, 1]
    assert [said["accounts"][name] for name in ("calls", "code", "refused")] == [1, 80006, 2]
    client.control("DELETE", "limits")
    assert client.conversations(platform="instagram").status_code == 200
    for wrong in ({"of": "nobody"}, {"of": "app", "code": 613}, {"of": "accounts", "colour": 1}):
        assert client.control("POST", "limits", wrong).status_code == 400
