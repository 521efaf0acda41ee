"""Every kind of fault, once over the wire, and when they strike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests

from airflow_provider_pageconv.sandbox import KINDS, Clock, Fault, Sandbox
from tests.sandbox.conftest import NOW, Client

Start = Callable[..., Client]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """Return the ids of rows, in order."""
    return [row["id"] for row in rows]


@pytest.fixture
def client(sandbox: Start) -> Client:
    """A Page with 42 threads in its inbox."""
    return sandbox()


def order(client: Client, kind: str = "error", **fault: Any) -> Fault:
    """Order a fault."""
    return client.box.faults.add(Fault(kind, **fault))


class TestErrors:
    """Errors in Meta's shape."""

    @pytest.mark.parametrize(
        "code, subcode, status",
        [(1, None, 500), (4, None, 403), (10, None, 403), (17, None, 400), (32, None, 403), (100, None, 400),
         (104, None, 400), (190, 463, 401), (200, None, 403), (230, None, 403), (341, None, 400), (368, None, 400),
         (613, None, 400), (2500, None, 400), (80001, None, 400), (80002, None, 400), (80006, None, 400),
         (9000001, None, 400), (4711, None, 400)],
    )  # fmt: skip
    def test_any_code(self, client: Client, code: int, subcode: int | None, status: int) -> None:
        """A code comes with the status and the words that are usual for it, then all is well again."""
        order(client, code=code, subcode=subcode, at=1)
        response = client.conversations()
        error = client.error(response)
        assert response.status_code == status
        assert (error["code"], error.get("error_subcode")) == (code, subcode)
        assert error["message"]
        assert error["fbtrace_id"]
        assert client.conversations().status_code == 200
        assert [(request.code, request.fault) for request in client.box.requests] == [(code, "error"), (None, None)]

    def test_everything_can_be_said(self, client: Client) -> None:
        """Status, words, title and transience are whatever the order says; the regain time is in the usage header."""
        order(
            client, code=80006, status=429, message="m", type="T", is_transient=True, user_title="t", user_msg="u",
            regain=7, retry_after=30,
        )  # fmt: skip
        response = client.conversations()
        error = client.error(response)
        assert response.status_code == 429
        assert error == {
            "message": "m", "type": "T", "code": 80006, "is_transient": True, "error_user_title": "t",
            "error_user_msg": "u", "fbtrace_id": error["fbtrace_id"],
        }  # fmt: skip
        usage = json.loads(response.headers["x-business-use-case-usage"])[client.box.page.id][0]
        assert (usage["type"], usage["estimated_time_to_regain_access"], usage["call_count"]) == ("messenger", 7, 100)
        assert response.headers["Retry-After"] == "30"

    def test_error_in_a_200(self, client: Client) -> None:
        """An error may come with 200, and without any usage header."""
        order(client, code=613, status=200, headers=False)
        response = client.conversations()
        assert response.status_code == 200
        assert client.error(response)["code"] == 613
        assert not [name for name in response.headers if "usage" in name]

    def test_too_much_data(self, client: Client) -> None:
        """Above the size, in rows or rows × nested messages, the answer is error 1; at the size all is well."""
        order(client, "too_much_data", size=50)
        assert client.conversations(limit=50).status_code == 200
        response = client.conversations(limit=51)
        assert response.status_code == 500
        assert client.error(response)["code"] == 1
        assert client.error(response)["message"].startswith("Please reduce the amount of data")
        assert client.conversations(limit=5, fields="messages.limit(10){id}").status_code == 200
        assert client.conversations(limit=5, fields="messages.limit(11){id}").status_code == 500
        assert client.conversations(limit=3, fields="messages{id}").status_code == 500

    def test_dead_cursor(self, client: Client) -> None:
        """A cursor that died stays dead; other cursors live."""
        order(client, "dead_cursor", at=1)
        first = client.conversations(limit=5).json()["paging"]["cursors"]["after"]
        other = client.conversations(limit=6).json()["paging"]["cursors"]["after"]
        for _ in range(2):
            assert client.error(client.conversations(limit=5, after=first))["code"] == 100
        assert client.conversations(limit=5, after=other).status_code == 200

    def test_deep_cursor(self, client: Client) -> None:
        """Beyond a depth cursors are refused with Meta's sentence."""
        order(client, "deep_cursor", size=20)
        after = None
        for _ in range(2):
            answer = client.conversations(limit=10, after=after).json()
            after = answer["paging"]["cursors"]["after"]
        assert (
            "The After Cursor specified exceeds the max limit supported by this endpoint"
            in (client.error(client.conversations(limit=10, after=after))["message"])
        )

    @pytest.mark.parametrize("pages", ["first", "later"])
    def test_thread_becomes_unavailable(self, client: Client, pages: str) -> None:
        """A thread answers 100/33 at its first page of messages or at a later one, and from then on for good."""
        thread = next(t["node"]["id"] for t in client.box.data()["threads"] if len(t["messages"]) == 30)
        order(client, "unavailable", thread=thread, pages=pages)
        first = client.get(f"/{thread}/messages", limit=10)
        if pages == "later":
            after = first.json()["paging"]["cursors"]["after"]
            first = client.get(f"/{thread}/messages", limit=10, after=after)
        assert client.error(first)["error_subcode"] == 33
        assert client.error(client.get(f"/{thread}/messages", limit=10))["error_subcode"] == 33
        assert client.error(client.get(f"/{thread}"))["error_subcode"] == 33

    @pytest.mark.parametrize(
        "fault, status, said",
        [
            ({}, 500, (1, "An unknown error occurred")),
            ({"code": 1, "status": 400}, 400, (1, "An unknown error has occurred.")),
            ({"code": 2}, 500, (2, "An unexpected error has occurred. Please retry your request later.")),
            ({"status": 504}, 504, None),
        ],
    )
    def test_too_much_data_that_nothing_tells(
        self, client: Client, fault: dict[str, Any], status: int, said: tuple[int, str] | None
    ) -> None:
        """What is too heavy is answered by a vague error or a page for people; what is lighter is answered well."""
        order(client, "heavy", size=50, **fault)
        assert client.conversations(limit=50).status_code == 200
        assert client.conversations(limit=5, fields="messages.limit(10){id}").status_code == 200
        for response in (client.conversations(limit=51), client.conversations(limit=5, fields="messages.limit(11)")):
            assert response.status_code == status
            if said is None:
                assert response.text.startswith("<!DOCTYPE html>")
                assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            else:
                assert (client.error(response)["code"], client.error(response)["message"]) == said

    @pytest.mark.parametrize("on", ["conversations", "messages"])
    def test_missing_that_is_not_missing(self, client: Client, on: str) -> None:
        """A list may answer 100/33, or 100 that it does not exist without a subcode, and be there again."""
        thread = client.conversations().json()["data"][0]["id"]
        ident = client.box.page.id if on == "conversations" else thread
        order(client, code=100, subcode=33, on=on, at=1)
        order(client, "does_not_exist", on=on, at=2)
        first, second = (client.error(client.get(f"/{ident}/{on}")) for _ in range(2))
        assert (first["code"], first["error_subcode"]) == (100, 33)
        assert f"Object with ID '{ident}' does not exist, cannot be loaded" in first["message"]
        assert (second["code"], second.get("error_subcode")) == (100, None)
        assert second["message"] == f"(#100) Object with ID '{ident}' does not exist"
        assert client.get(f"/{ident}/{on}").status_code == 200

    @pytest.mark.parametrize("limit", [5, 7, 10])
    def test_dead_depth(self, client: Client, limit: int) -> None:
        """Wherever a walk comes from, whatever its pages, it meets a cursor that is refused at the same depth."""
        fault = order(client, "dead_at", size=20)
        for _ in range(2):
            after, rows = None, 0
            while True:
                response = client.conversations(limit=limit, after=after)
                if response.status_code != 200:
                    break
                rows += len(response.json()["data"])
                after = response.json()["paging"]["cursors"]["after"]
            assert client.error(response)["code"] == 100
            assert "Invalid cursor" in client.error(response)["message"]
            assert 20 <= rows < 20 + limit
            client.box.page.new_thread()
        assert fault.fired == 2


class TestLists:
    """Pages that are not as they should be. What the list holds stays complete."""

    @pytest.mark.parametrize("style", ["anchored", "offset"])
    @pytest.mark.parametrize("kind", ["empty", "short"])
    @pytest.mark.parametrize("every", [1, 2])
    def test_gaps(self, sandbox: Start, kind: str, style: str, every: int) -> None:
        """Empty and short pages have a next one, and the walk still brings each thread once."""
        client = sandbox(cursor_style=style)
        fault = order(client, kind, every=every, times=6)
        expected = [t["node"]["id"] for t in client.box.data()["threads"] if t["folder"] == "inbox"]
        assert ids(client.walk(limit=10)) == expected
        assert fault.fired >= 2

    def test_empty_page_at_first(self, client: Client) -> None:
        """Even the first page may be empty."""
        order(client, "empty", at=1)
        answer = client.conversations().json()
        assert answer["data"] == []
        assert set(answer["paging"]) == {"cursors", "next"}
        assert len(client.session.get(answer["paging"]["next"]).json()["data"]) == 25

    @pytest.mark.parametrize("size", [1, 2])
    def test_loop(self, client: Client, size: int) -> None:
        """The cursor that comes back was used before."""
        used = []
        after = None
        for _ in range(3):
            after = client.conversations(limit=5, after=after).json()["paging"]["cursors"]["after"]
            used.append(after)
        order(client, "loop", size=size)
        answer = client.conversations(limit=5, after=after).json()
        assert answer["paging"]["cursors"]["after"] == used[-size]
        assert answer["paging"]["next"].endswith(f"after={used[-size]}")

    def test_repeated_row(self, client: Client) -> None:
        """A page begins with the last row of the one before."""
        order(client, "repeat", pages="later", at=1)
        rows = ids(client.walk(limit=20))
        assert len(rows) == 43
        assert rows[19] == rows[20]
        assert len(set(rows)) == 42

    def test_broken_order(self, client: Client) -> None:
        """A page comes oldest first; the walk goes on behind it as if nothing were."""
        expected = ids(client.walk(limit=20))
        order(client, "disorder", at=1)
        assert ids(client.walk(limit=20)) == expected[19::-1] + expected[20:]

    @pytest.mark.parametrize("edge", ["conversations", "messages"])
    @pytest.mark.parametrize(
        "kind, is_it",
        [
            ("null_row", lambda row: row is None),
            ("text_row", lambda row: isinstance(row, str)),
            ("row_without_id", lambda row: isinstance(row, dict) and "id" not in row),
        ],
    )
    def test_rows_that_cannot_be_used(
        self, client: Client, kind: str, is_it: Callable[[object], bool], edge: str
    ) -> None:
        """Among the rows of a page there is one more, and none of the others is missing."""
        thread = next(t for t in client.box.data()["threads"] if len(t["messages"]) == 30)["node"]["id"]
        path = f"/{client.box.page.id if edge == 'conversations' else thread}/{edge}"
        expected = client.walk(path, limit=10)
        order(client, kind, every=2)
        rows = client.walk(path, limit=10)
        assert [row for row in rows if not is_it(row)] == expected
        assert len(rows) - len(expected) == client.box.faults.counts[kind] > 0

    def test_row_that_cannot_be_used_alone(self, sandbox: Start) -> None:
        """A list without any other row may have one too."""
        client = sandbox(folders={"inbox": 0}, faults=[Fault("null_row")])
        assert client.conversations().json()["data"] == [None]

    @pytest.mark.parametrize("size, first", [(None, 4), (0, 0), (8, 8)])
    def test_neighbours_change_places(self, client: Client, size: int | None, first: int) -> None:
        """Two rows of a page stand the wrong way round, and all else is as it was."""
        expected = ids(client.walk(limit=10))
        order(client, "swap", size=size, at=2)
        expected[10 + first : 12 + first] = expected[10 + first : 12 + first][::-1]
        assert ids(client.walk(limit=10)) == expected

    @pytest.mark.parametrize("style", ["anchored", "offset"])
    @pytest.mark.parametrize("limit", [6, 20, 50])
    def test_circle(self, sandbox: Start, style: str, limit: int) -> None:
        """Behind a depth the same rows come again and again, and no cursor twice."""
        client = sandbox(folders={"inbox": 42}, cursor_style=style)
        expected = ids(client.walk())[:20]
        order(client, "circle", size=20)
        after, rows, used = None, [], set()
        for _ in range(12):
            answer = client.conversations(limit=limit, after=after).json()
            rows += ids(answer["data"])
            after = answer["paging"]["cursors"]["after"]
            assert answer["paging"]["next"].endswith(f"after={after}")
            assert after not in used
            used.add(after)
        assert rows == (expected * 20)[: len(rows)]
        assert len(rows) > 40

    def test_circle_below_the_end(self, client: Client) -> None:
        """A list that is not so deep ends as it would."""
        order(client, "circle", size=43)
        assert len(client.walk(limit=40)) == 42


class TestWire:
    """What happens below the API."""

    def test_html(self, client: Client) -> None:
        """A 5xx with a page for people."""
        order(client, "html", status=503)
        response = client.conversations()
        assert (response.status_code, response.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert response.text.startswith("<!DOCTYPE html>")

    def test_not_json(self, client: Client) -> None:
        """A 200 that is no JSON."""
        order(client, "not_json")
        response = client.conversations()
        assert response.status_code == 200
        with pytest.raises(ValueError, match=r"."):
            response.json()

    def test_refusal_that_cannot_be_read(self, client: Client) -> None:
        """A 4xx that is no JSON, or a page for people."""
        order(client, "not_json", status=400, at=1)
        order(client, "html", status=403)
        for status in (400, 403):
            response = client.conversations()
            assert response.status_code == status
            with pytest.raises(ValueError, match=r"."):
                response.json()
        assert [(request.status, request.code) for request in client.box.requests] == [(400, None), (403, None)]

    def test_cut(self, client: Client) -> None:
        """A body that ends before its length."""
        order(client, "cut", size=10)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            client.conversations()

    def test_reset(self, client: Client) -> None:
        """A connection that is reset; the record has no status."""
        order(client, "reset", at=1)
        with pytest.raises(requests.ConnectionError):
            client.conversations()
        assert client.conversations().status_code == 200
        assert [request.status for request in client.box.requests] == [None, 200]

    def test_silence(self, client: Client) -> None:
        """A server that says nothing; the end of the sandbox ends it."""
        order(client, "silence")
        with pytest.raises(requests.Timeout):
            client.session.get(f"{client.box.url}/me", timeout=0.2)
        begin = time.monotonic()
        client.box.stop()
        assert time.monotonic() - begin < 5

    def test_drip(self, client: Client) -> None:
        """A body byte by byte is whole in the end."""
        order(client, "drip", seconds=0.001)
        begin = time.monotonic()
        answer = client.get("/me")
        assert answer.json()["id"] == client.box.page.id
        assert time.monotonic() - begin >= 0.001 * len(answer.content)

    def test_slow(self, client: Client) -> None:
        """An answer that takes its time."""
        order(client, "slow", seconds=0.1)
        begin = time.monotonic()
        assert client.get("/me").status_code == 200
        assert time.monotonic() - begin >= 0.1

    def test_redirect(self, client: Client) -> None:
        """A redirect to another host, or to this one by another name."""
        fault = order(client, "redirect")
        response = client.get("/me", limit=3)
        assert response.status_code == 302
        assert response.headers["Location"] == f"http://localhost:{client.box.port}/v26.0/me?limit=3"
        client.box.faults.remove(fault)
        order(client, "redirect", location="http://127.0.0.1:1/elsewhere", status=307)
        response = client.get("/me")
        assert (response.status_code, response.headers["Location"]) == (307, "http://127.0.0.1:1/elsewhere")

    def test_version(self, client: Client) -> None:
        """The version header is another than what was asked."""
        order(client, "version", version="v22.0")
        assert client.get("/me").headers["facebook-api-version"] == "v22.0"

    def test_no_headers(self, client: Client) -> None:
        """A good answer without usage headers."""
        order(client, "no_headers")
        response = client.conversations()
        assert response.status_code == 200
        assert not [name for name in response.headers if "usage" in name]


class TestWhen:
    """Which calls are struck."""

    def struck(self, client: Client, calls: int = 8, **params: Any) -> list[int]:
        """Return which of so many calls were struck."""
        return [n for n in range(1, calls + 1) if client.conversations(limit=1, **params).status_code != 200]

    @pytest.mark.parametrize(
        "when, expected",
        [
            ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
            ({"at": 3}, [3]),
            ({"at": 3, "times": 2}, [3, 4]),
            ({"every": 3}, [3, 6]),
            ({"every": 3, "times": 1}, [3]),
            ({"times": 2}, [1, 2]),
            ({"p": 0.0}, []),
        ],
    )
    def test_counting(self, client: Client, when: dict[str, Any], expected: list[int]) -> None:
        """At, every, times: counted over the calls that match."""
        fault = order(client, code=2, on="conversations", **when)
        client.get("/me")
        assert self.struck(client) == expected
        assert (fault.seen, fault.fired) == (8, len(expected))

    def test_spell(self, client: Client) -> None:
        """A fault lasts so many seconds of the Page's time from its first strike on, and never comes back."""
        box = client.box
        fault = order(client, code=100, subcode=33, on="conversations", lasts=120)
        box.clock = Clock(NOW + timedelta(hours=1), ticking=False)  # it has not struck yet
        seen = []
        for seconds in (0, 119, 120, 500):
            box.clock = Clock(NOW + timedelta(hours=1, seconds=seconds), ticking=False)
            seen.append(client.conversations().status_code)
        assert seen == [400, 400, 200, 200]
        assert fault.fired == 2

    def test_spell_from_the_third_call_on(self, client: Client) -> None:
        """With `at` it begins there, and is not over after one strike."""
        order(client, code=2, at=3, lasts=10)
        assert self.struck(client, 5) == [3, 4, 5]
        client.control("POST", "clock", {"advance": 10})
        assert self.struck(client, 5) == []

    def test_spell_of_some_calls(self, client: Client) -> None:
        """With a probability, some calls are struck and the same ones are well a moment later."""
        order(client, code=100, subcode=33, on="messages", p=0.5, lasts=60)
        thread = client.conversations().json()["data"][0]["id"]
        statuses = [client.get(f"/{thread}/messages").status_code for _ in range(30)]
        assert set(statuses) == {200, 400}
        client.control("POST", "clock", {"advance": 60})
        assert {client.get(f"/{thread}/messages").status_code for _ in range(30)} == {200}

    def test_what_died_in_a_spell_lives_again(self, client: Client) -> None:
        """Threads and cursors that a fault ended for good are there again when it is over."""
        first = client.conversations(limit=5).json()
        thread, cursor = first["data"][0]["id"], first["paging"]["cursors"]["after"]
        order(client, "unavailable", lasts=60)
        order(client, "dead_cursor", lasts=60)
        for status in (400, 400, 200):
            if status == 200:
                client.control("POST", "clock", {"advance": 60})
            assert client.get(f"/{thread}/messages").status_code == status
            assert client.conversations(limit=5, after=cursor).status_code == status

    def test_chance_is_of_the_seed(self, sandbox: Start) -> None:
        """With a probability the same calls are struck for the same seed."""
        one, other = (self.struck(sandbox(faults=[Fault(code=2, p=0.5)], seed=5), calls=30) for _ in range(2))
        assert one == other
        assert 5 < len(one) < 25

    def test_matching(self, client: Client) -> None:
        """Edge, folder, platform, path and page narrow the calls that count."""
        order(client, code=2, on="conversations", folder="spam")
        assert client.conversations().status_code == 200
        assert client.conversations(folder="spam").status_code == 500
        client.box.faults.clear()
        order(client, code=2, path="/me$")
        assert client.get("/me").status_code == 500
        assert client.get("/me/conversations").status_code == 200
        client.box.faults.clear()
        order(client, code=2, platform="instagram")
        assert client.conversations().status_code == 200
        assert client.conversations(platform="INSTAGRAM").status_code == 500
        client.box.faults.clear()
        order(client, code=2, when=lambda call: call.params.get("limit") == "13")
        assert [client.conversations(limit=limit).status_code for limit in (12, 13)] == [200, 500]

    def test_live_over_http(self, client: Client) -> None:
        """Faults are ordered, counted and taken back at /_sandbox/faults; wrong orders are refused in a sentence."""
        made = client.control("POST", "faults", [{"code": 613, "at": 1}, {"kind": "short", "every": "2"}])
        assert made.status_code == 200
        assert client.error(client.conversations())["code"] == 613
        listed = client.control("GET", "faults").json()
        assert [(fault["kind"], fault["fired"]) for fault in listed["faults"]] == [("error", 1), ("short", 0)]
        assert listed["counts"] == {"error": 1}
        assert client.control("DELETE", "faults").json()["faults"] == []
        for wrong in ({"kind": "x"}, {"colour": 1}, {"code": "x"}, {"kind": "deep_cursor"}, ["x"], {}):
            refused = client.control("POST", "faults", wrong)
            assert refused.status_code == 400
            assert refused.json()["error"]

    def test_command_line_form(self) -> None:
        """`k=v` pairs with commas between, quotes where a value holds one."""
        fault = Fault.parse('code=613,status=400,on=conversations,at=5,times=3,regain=2,headers=off,message="a, b"')
        assert fault == Fault(
            code=613, status=400, on="conversations", at=5, times=3, regain=2, headers=False, message="a, b"
        )
        assert Fault.parse("code=100,subcode=33,p=0.5,lasts=90") == Fault(code=100, subcode=33, p=0.5, lasts=90.0)
        assert Fault.parse("kind=silence,seconds=0.5,is_transient=true,code=2").is_transient is True
        for wrong in ("code", "at=x,code=1", "nonsense=1", 'code=1,message="x', "code=1,at=0", "code=1,on=moon",
                      "code=1,lasts=0", "kind=dead_at", "kind=heavy"):  # fmt: skip
            with pytest.raises(ValueError, match=r"\w"):
                Fault.parse(wrong)

    def test_every_kind_is_tested_here(self) -> None:
        """No kind is without a test in this file."""
        import inspect
        import sys

        source = inspect.getsource(sys.modules[__name__])
        assert [kind for kind in KINDS if f'"{kind}"' not in source and kind != "error"] == []


def test_sandbox_takes_faults_from_the_start() -> None:
    """Faults may be handed in when the sandbox is made."""
    with Sandbox(conversations=1, faults=[Fault(code=2, at=1)]) as box:
        assert Client(box).get("/me").status_code == 500
        assert Client(box).get("/me").status_code == 200
