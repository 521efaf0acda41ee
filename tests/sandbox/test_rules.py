"""The ways of the API that can be chosen: how times are written, what is nested, how a field is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from airflow_provider_pageconv.sandbox import Clock, Fault, Sandbox
from airflow_provider_pageconv.sandbox.rules import CHOICES
from airflow_provider_pageconv.sandbox.times import TIME_FORMS
from tests.sandbox.conftest import NOW, Client

Start = Callable[..., Client]
NESTED = "message_count,updated_time,messages.limit(10){id,created_time}"
FORMS: dict[str, object] = {
    "graph": "2026-11-21T10:00:00+0000", "z": "2026-11-21T10:00:00Z", "colon": "2026-11-21T10:00:00+00:00",
    "offset": "2026-11-21T15:30:00+0530", "fraction": "2026-11-21T10:00:00.000+0000", "seconds": 1795255200,
    "millis": 1795255200000, "text_seconds": "1795255200", "unreadable": "yesterday",
}  # fmt: skip


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """Return the ids of rows, in order."""
    return [row["id"] for row in rows]


class TestTimes:
    """Moments as they are answered, which the data document never takes part in."""

    def test_every_form_is_tested_here(self) -> None:
        """No form is without its example."""
        assert list(FORMS) == list(TIME_FORMS)

    @pytest.mark.parametrize("form", TIME_FORMS)
    def test_form(self, sandbox: Start, form: str) -> None:
        """Threads and messages carry their time in the form that was chosen: in lists, nested, on the edge, by id."""
        client = sandbox(time_form=form)
        opened = client.box.page.new_thread()
        message = opened.messages[0].id
        row = client.conversations(limit=1, fields=NESTED).json()["data"][0]
        answers = [
            row["updated_time"],
            row["messages"]["data"][0]["created_time"],
            client.get(f"/{opened.id}", fields="updated_time").json()["updated_time"],
            client.walk(f"/{opened.id}/messages")[0]["created_time"],
            client.get(f"/{message}").json()["created_time"],
        ]
        assert answers == [FORMS[form]] * 5
        assert client.box.data()["threads"][0]["node"]["updated_time"] == FORMS["graph"]

    def test_form_changes_live(self, sandbox: Start) -> None:
        """Rows that were answered before come in the new form, and by the control address as well."""
        client = sandbox()
        assert isinstance(client.conversations().json()["data"][5]["updated_time"], str)
        client.box.rules.time_form = "seconds"
        assert isinstance(client.conversations().json()["data"][5]["updated_time"], int)
        assert client.control("POST", "rules", {"time_form": "z"}).json()["time_form"] == "z"
        assert client.conversations().json()["data"][5]["updated_time"].endswith("Z")

    @pytest.mark.parametrize("value", ["2031-01-01T00:00:00+0000", "soon", 4711, ["x"], "", None])
    def test_time_of_one_thread_and_one_message(self, sandbox: Start, value: object) -> None:
        """One thread and one message show any JSON value, or nothing; their places and the truth stay."""
        client = sandbox()
        before = client.walk(fields="updated_time")
        thread = client.box.data()["threads"][3]
        client.box.page.show_updated(before[3]["id"], value)
        client.box.page.show_created(thread["messages"][1]["id"], value)
        after = client.walk(fields="updated_time")
        assert ids(after) == ids(before)
        assert after[3].get("updated_time") == value
        assert after[:3] + after[4:] == before[:3] + before[4:]
        messages = client.walk(f"/{before[3]['id']}/messages")
        assert ids(messages) == ids(thread["messages"])
        assert messages[1].get("created_time") == value
        assert ("created_time" in messages[1]) == (value is not None)
        assert client.box.data()["threads"][3] == thread

    def test_time_is_shown_over_http(self, sandbox: Start) -> None:
        """The control address does the same, and refuses what it does not know."""
        client = sandbox()
        row = client.conversations().json()["data"][2]
        assert client.control("POST", "page", {"show_updated": row["id"], "value": "soon"}).status_code == 200
        assert client.conversations().json()["data"][2]["updated_time"] == "soon"
        for wrong in ({"x": 1}, {"pin": "t_1"}, {"show_updated": row["id"], "colour": 1}, {"show_updated": row["id"]}):
            assert client.control("POST", "page", wrong).status_code == 400


class TestNested:
    """Messages inside the rows of /conversations."""

    @pytest.mark.parametrize("every", [1, 3])
    @pytest.mark.parametrize("nested", ["absent", "null", "empty", "short"])
    def test_what_stands_at_messages(self, sandbox: Start, nested: str, every: int) -> None:
        """So many threads come without their messages, in the way that was chosen; the count of them stays right."""
        client = sandbox(folders={"inbox": 30}, nested=nested, nested_every=every)
        whole = {thread["node"]["id"]: thread["messages"] for thread in client.box.data()["threads"]}
        bent = 0
        for row in client.walk(fields=NESTED):
            messages = whole[row["id"]]
            full = [{"id": m["id"], "created_time": m["created_time"]} for m in messages][:10]
            assert row["message_count"] == len(messages)
            if row.get("messages", {"data": ()}) is not None and row.get("messages", {}).get("data") == full:
                continue
            bent += 1
            if nested == "absent":
                assert "messages" not in row
            elif nested == "short":
                assert row["messages"]["data"] == full[: len(full) // 2]
                assert "next" not in row["messages"]["paging"]
            else:
                assert row["messages"] == (None if nested == "null" else {"data": []})
        assert bent == 30 // every
        thread = next(ident for ident, messages in whole.items() if len(messages) == 30)
        assert len(client.walk(f"/{thread}/messages")) == 30
        assert len(client.get(f"/{thread}", fields="messages.limit(10){id}").json()["messages"]["data"]) == 10

    @pytest.mark.parametrize("count", ["right", "absent", "wrong"])
    def test_message_count(self, sandbox: Start, count: str) -> None:
        """The count is right, absent, or one too high: in the list and on the thread."""
        client = sandbox(message_count=count)
        row = client.conversations(fields="message_count").json()["data"][0]
        true = len(client.box.data()["threads"][0]["messages"])
        assert row.get("message_count") == {"right": true, "absent": None, "wrong": true + 1}[count]
        assert client.get(f"/{row['id']}", fields="message_count").json() == row


class TestRefusedFields:
    """The words for a field that is refused."""

    @pytest.mark.parametrize(
        "form, message",
        [
            ("node_type", "(#100) Tried accessing nonexisting field (shares) on node type (Message)"),
            ("no_type", "(#100) Tried accessing nonexisting field (shares)"),
            ("other_type", "(#100) Tried accessing nonexisting field (shares) on node type (MessagesConnection)"),
            ("unknown", "(#100) Unknown field: shares"),
            ("list", "(#100) Tried accessing nonexisting fields (shares,story) on node type (Message)"),
            ("deprecated", "(#100) shares field is deprecated for versions v24.0 and higher"),
        ],
    )
    def test_form(self, sandbox: Start, form: str, message: str) -> None:
        """Each form names the first refused field, "list" all of the node type at once."""
        client = sandbox(refusal_form=form, refused_fields={"Message": {"shares", "story"}})
        error = client.error(client.conversations(fields="id,messages{id,shares{id},from,story}"))
        assert (error["code"], error["message"]) == (100, message)


class TestAuthorization:
    """A header that does not arrive."""

    @pytest.mark.parametrize("code", [None, 2500, 104])
    def test_swallowed(self, sandbox: Start, code: int | None) -> None:
        """Every call is answered as one without a token, whichever edge it asks."""
        client = sandbox(swallow_authorization=True, no_token_code=code)
        for path in ("/me", f"/{client.box.page.id}/conversations", "/t_1/messages", "/debug_token"):
            response = client.get(path)
            error = client.error(response)
            assert (response.status_code, error["code"]) == (400, code or 2500)
            if code != 104:
                assert error["message"].startswith("An active access token must be used")
        client.box.rules.swallow_authorization = False
        assert client.conversations().status_code == 200

    def test_no_token_code(self, sandbox: Start) -> None:
        """Calls without a token are answered with the code that was chosen."""
        client = sandbox(no_token_code=2500)
        address = f"{client.box.url}/v26.0/{client.box.page.id}/conversations"
        assert requests.get(address, timeout=10).json()["error"]["code"] == 2500


class TestDate:
    """What time it is where the API is."""

    def test_date_header(self, sandbox: Start) -> None:
        """Good answers, errors and pages for people carry one Date, by the Page's clock if that was chosen."""
        client = sandbox(date="page")
        client.box.clock = Clock(NOW + timedelta(days=3), ticking=False)
        responses = [client.conversations(), client.conversations(limit="x"), client.conversations(token="nobody")]
        client.box.faults.add(Fault("html"))
        for response in (*responses, client.conversations()):
            assert response.headers["Date"] == "Tue, 24 Nov 2026 10:00:00 GMT"
            assert [name for name in response.raw.headers if name.lower() == "date"] == ["Date"]

    def test_own_addresses_carry_the_real_date(self, sandbox: Start) -> None:
        """Nor are other answers of the Page's time, if nobody chose that."""
        own = sandbox(date="page").control("GET", "requests").headers["Date"]
        for date in (own, sandbox().conversations().headers["Date"]):
            assert abs(datetime.now(timezone.utc) - parsedate_to_datetime(date)) < timedelta(minutes=1)


class TestChoice:
    """Rules are chosen when the sandbox is made, live, or over HTTP."""

    @pytest.mark.parametrize(
        "wrong",
        [{name: "x"} for name in CHOICES]
        + [{"max_limit": 0}, {"max_inner_limit": 0}, {"nested_every": 0}, {"detailed_messages": -1}, {"pages": 0}],
    )
    def test_what_cannot_be_is_refused(self, wrong: dict[str, Any]) -> None:
        """A rule that is none, or a number that is too low, is refused in a sentence."""
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Sandbox(conversations=1, **wrong)

    def test_live(self, sandbox: Start) -> None:
        """The same holds for what is changed later; a name that is none is refused too."""
        client = sandbox()
        with pytest.raises(ValueError, match=r"time_form is one of .*, not 'x'"):
            client.box.rules.time_form = "x"
        with pytest.raises(ValueError, match="there is no rule 'times'"):
            client.box.rules.times = "z"  # type: ignore[attr-defined]
        assert client.control("POST", "rules", {"nested": "x"}).status_code == 400
        assert client.control("GET", "rules").json()["nested"] == "full"
        assert "app_secret" not in client.control("GET", "rules").json()
