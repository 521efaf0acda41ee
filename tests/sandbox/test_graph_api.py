"""What the sandbox answers when nothing goes wrong, and to calls that are wrong themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from airflow_provider_pageconv.sandbox import FOLDERS, Sandbox
from tests.sandbox.conftest import NOW, Client

Start = Callable[..., Client]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """Return the ids of rows, in order."""
    return [row["id"] for row in rows]


def links(node: Any) -> Iterator[str]:
    """Yield every next and previous link, at whatever depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("next", "previous"):
                yield value
            else:
                yield from links(value)
    elif isinstance(node, list):
        for value in node:
            yield from links(value)


class TestData:
    """The Page itself."""

    def test_same_seed_same_page(self) -> None:
        """Two sandboxes with the same seed and now hold the same, to the last byte."""
        one, other = (Sandbox(seed=7, conversations=50, instagram=5, now=NOW).data() for _ in range(2))
        assert json.dumps(one) == json.dumps(other)

    def test_other_seed_other_page(self) -> None:
        """Another seed makes other threads, people and texts."""
        one, other = (Sandbox(seed=seed, conversations=50, now=NOW).data()["threads"] for seed in (1, 2))
        assert not {thread["node"]["id"] for thread in one} & {thread["node"]["id"] for thread in other}

    def test_shape(self) -> None:
        """So many threads in four folders, every tenth long, each in a second of its own and inside the span."""
        threads = Sandbox(conversations=200, now=NOW, span=timedelta(days=3)).data()["threads"]
        folders = [thread["folder"] for thread in threads]
        assert [folders.count(folder) for folder in FOLDERS] == [140, 20, 30, 10]
        assert sorted({len(thread["messages"]) for thread in threads}) == [2, 30]
        assert sum(len(thread["messages"]) == 30 for thread in threads) == 20
        times = [thread["node"]["updated_time"] for thread in threads]
        assert len(set(times)) == 200
        assert "2026-11-18T10:00:00+0000" <= min(times) <= max(times) < "2026-11-21T10:00:00+0000"
        for thread in threads:
            sent = [message["created_time"] for message in thread["messages"]]
            assert sent == sorted(sent, reverse=True)
            assert len(set(sent)) == len(sent)
            assert sent[0] == thread["node"]["updated_time"]

    def test_exact_folders(self) -> None:
        """`folders` sets the counts."""
        threads = Sandbox(folders={"inbox": 3, "spam": 2}, now=NOW).data()["threads"]
        assert sorted(thread["folder"] for thread in threads) == ["inbox", "inbox", "inbox", "spam", "spam"]

    def test_ties(self) -> None:
        """With ties threads and messages share seconds, and the order is kept all the same."""
        threads = Sandbox(conversations=60, ties=True, now=NOW).data()["threads"]
        assert len({thread["node"]["updated_time"] for thread in threads}) <= 20
        long = next(thread for thread in threads if len(thread["messages"]) == 30)
        assert len({message["created_time"] for message in long["messages"]}) == 10

    def test_texts_are_nasty(self) -> None:
        """Line separators, NUL, quotes, astral and combining characters, right-to-left script are in it."""
        text = json.dumps(Sandbox(conversations=600, now=NOW).data(), ensure_ascii=False)
        for part in (
            "\u2028",
            "\u2029",
            "\u0085",
            "\\u0000",
            "\\n",
            '\\"',
            "𠜎",
            "e\u0301",
            "مرحبا",
            "👨‍👩‍👧‍👦",
            "さくら",
        ):
            assert part in text

    def test_every_kind_of_content(self) -> None:
        """Each documented message field is there somewhere, and threads lack fields here and there."""
        threads = Sandbox(conversations=600, now=NOW).data()["threads"]
        seen = {name for thread in threads for message in thread["messages"] for name in message}
        assert seen == {
            "id", "created_time", "from", "to", "message", "tags", "attachments", "shares", "story", "reactions",
            "is_unsupported", "reply_to", "sticker",
        }  # fmt: skip
        for name in ("snippet", "senders", "unread_count", "name", "former_participants"):
            assert 0 < sum(name in thread["node"] for thread in threads) < 600

    def test_attachments_and_shares_of_newer_kinds(self, sandbox: Start) -> None:
        """Bookings and stickers come as attachments, templates and machine-made stickers as shares: by all fields."""
        client = sandbox(conversations=1500)
        messages = [message for thread in client.box.data()["threads"] for message in thread["visible"]]
        attachments = [a for m in messages for a in m.get("attachments", {"data": []})["data"]]
        shares = [share for m in messages for share in m.get("shares", {"data": []})["data"]]
        assert {a.get("type") for a in attachments} == {None, "appointment_booking", "sticker"}
        assert {share.get("type") for share in shares} == {None, "template", "ai_sticker"}
        for edge, fields, of_type in (
            ("attachments", "id,name,mime_type,size,file_url,image_data,video_data,generic_template,title,type,url",
             {"appointment_booking", "sticker"}),
            ("shares", "id,type,url,title,link,name,description,template", {"template", "ai_sticker"}),
        ):  # fmt: skip
            for kind in of_type:
                message = next(
                    m for m in messages if kind in [row.get("type") for row in m.get(edge, {"data": []})["data"]]
                )
                asked = client.get(f"/{message['id']}", fields=f"{edge}{{{fields}}}").json()
                assert asked[edge]["data"] == message[edge]["data"]

    def test_too_many_for_the_span(self) -> None:
        """More threads than seconds are refused, unless ties are allowed."""
        with pytest.raises(ValueError, match="a longer span or ties is needed"):
            Sandbox(conversations=100, span=timedelta(seconds=50), now=NOW)
        assert len(Sandbox(conversations=100, span=timedelta(seconds=50), ties=True, now=NOW).data()["threads"]) == 100

    @pytest.mark.parametrize(
        "options",
        [{"details": "x"}, {"cursor_style": "x"}, {"order": "x"}, {"folders": {"x": 1}}, {"page_id": "x"},
         {"require_proof": True}, {"now": NOW.replace(tzinfo=None)}, {"refused_fields": {"X": {"y"}}}],
    )  # fmt: skip
    def test_wrong_options(self, options: dict[str, Any]) -> None:
        """What cannot be is refused when the sandbox is made."""
        with pytest.raises(ValueError, match=r"\w"):
            Sandbox(**options)


class TestLists:
    """Conversations and messages, page after page."""

    @pytest.mark.parametrize("style", ["anchored", "offset"])
    @pytest.mark.parametrize("limit", [1, 7, 42, 100])
    def test_walk_is_complete(self, sandbox: Start, style: str, limit: int) -> None:
        """Whatever the size of a page, the walk brings each thread once, newest first, in the fewest calls."""
        client = sandbox(folders={"inbox": 42}, cursor_style=style)
        expected = [thread["node"]["id"] for thread in client.box.data()["threads"]]
        assert ids(client.walk(limit=limit)) == expected
        assert len(client.box.requests) == -(-42 // limit)

    def test_folders(self, sandbox: Start) -> None:
        """Each folder lists its own; without one, the inbox answers."""
        client = sandbox()
        for folder in FOLDERS:
            expected = [t["node"]["id"] for t in client.box.data()["threads"] if t["folder"] == folder]
            assert ids(client.walk(folder=folder)) == expected
            if folder == "inbox":
                assert ids(client.walk()) == expected
        assert client.error(client.conversations(folder="drafts"))["code"] == 100

    def test_platforms(self, sandbox: Start) -> None:
        """Either platform in either case; Instagram has one list, user names, and takes no folder."""
        client = sandbox(instagram=9)
        for platform in ("instagram", "INSTAGRAM"):
            rows = client.walk(platform=platform, fields="participants")
            assert ids(rows) == [t["node"]["id"] for t in client.box.data()["threads"] if t["platform"] == "instagram"]
            assert set(rows[0]["participants"]["data"][0]) == {"username", "id"}
        for platform in ("messenger", "MESSENGER"):
            assert ids(client.walk(platform=platform)) == ids(client.walk())
        assert client.error(client.conversations(platform="instagram", folder="inbox"))["code"] == 100
        assert client.error(client.conversations(platform="whatsapp"))["code"] == 100

    def test_user_id(self, sandbox: Start) -> None:
        """A person's threads are found, two of them where there are two; nobody's list is empty, without paging."""
        client = sandbox(folders={"inbox": 120})
        by_person: dict[str, list[str]] = {}
        for thread in client.box.data()["threads"]:
            node = thread["node"]
            by_person.setdefault(node["participants"]["data"][0]["id"], []).append(node["id"])
        assert {len(threads) for threads in by_person.values()} == {1, 2}
        for person, threads in sorted(by_person.items(), key=lambda item: -len(item[1]))[:5]:
            assert ids(client.walk(user_id=person)) == threads
        assert client.conversations(user_id="4711").json() == {"data": []}
        assert client.conversations(user_id=person, folder="spam").json() == {"data": []}

    def test_time_parameters_are_ignored(self, sandbox: Start) -> None:
        """`since` and `until` change nothing: time-based paging is not available here."""
        client = sandbox()
        assert client.conversations(since=1, until=2).json()["data"] == client.conversations().json()["data"]

    def test_second_reading(self, sandbox: Start) -> None:
        """Rows are the same when they are asked for again, differ for another question, and what is new shows."""
        client = sandbox(folders={"inbox": 5})
        fields = "updated_time,messages.limit(3){message}"
        first = client.walk(fields=fields)
        assert client.walk(fields=fields) == first
        assert set(client.walk(fields="updated_time")[0]) == {"id", "updated_time"}
        client.box.page.add_message(first[3]["id"], text="nuevo")
        again = client.walk(fields=fields)
        assert again[0]["id"] == first[3]["id"]
        assert again[0]["messages"]["data"][0]["message"] == "nuevo"
        assert again[1:] == first[:3] + first[4:]

    def test_default_and_greatest_limit(self, sandbox: Start) -> None:
        """25 rows by default, never more than the cap, and a limit that is none is refused."""
        client = sandbox(folders={"inbox": 60}, max_limit=50)
        assert len(client.conversations().json()["data"]) == 25
        assert len(client.conversations(limit=1000).json()["data"]) == 50
        for limit in ("x", "0", "-1"):
            assert client.error(client.conversations(limit=limit))["code"] == 100

    def test_next_and_previous(self, sandbox: Start) -> None:
        """`next` is there exactly if more follows, `previous` if something is before; both lead where they say."""
        client = sandbox(folders={"inbox": 6})
        first = client.conversations(limit=2).json()
        second = client.session.get(first["paging"]["next"]).json()
        third = client.session.get(second["paging"]["next"]).json()
        assert [set(page["paging"]) for page in (first, second, third)] == [
            {"cursors", "next"}, {"cursors", "next", "previous"}, {"cursors", "previous"},
        ]  # fmt: skip
        assert client.session.get(third["paging"]["previous"]).json()["data"] == second["data"]
        assert sandbox(folders={"inbox": 0}).conversations().json() == {"data": []}

    def test_next_on_full(self, sandbox: Start) -> None:
        """Where it is asked for, every full page has a next one, be it empty."""
        client = sandbox(folders={"inbox": 4}, next_on_full=True)
        assert len(client.walk(limit=2)) == 4
        assert len(client.box.requests) == 3

    def test_token_in_links_at_every_level(self, sandbox: Start) -> None:
        """Links of the list, of the messages in it and of the attachments in these carry the token, and no proof."""
        client = sandbox(crowded_every=1, app_secret="geheim", conversations=20)
        fields = "participants,messages.limit(1){id,attachments.limit(2){id},reactions}"
        answer = client.conversations(limit=2, fields=fields, appsecret_proof=client.box.proof()).json()
        row = answer["data"][0]
        message = row["messages"]["data"][0]
        for level in (answer, row["messages"], message["attachments"], message["reactions"]):
            assert f"access_token={client.box.token}" in level["paging"]["next"]
        found = list(links(answer))
        assert len(found) == 1 + 2 * 3
        assert all(parse_qs(urlsplit(link).query)["access_token"] == [client.box.token] for link in found)
        assert "proof" not in "".join(found)

    def test_next_fails_where_proof_is_required(self, sandbox: Start) -> None:
        """The link of page 2 lacks the proof, as Meta's does."""
        client = sandbox(app_secret="geheim", require_proof=True)
        answer = client.conversations(appsecret_proof=client.box.proof()).json()
        assert requests.get(answer["paging"]["next"], timeout=10).json()["error"]["code"] == 100

    @pytest.mark.parametrize("details", ["bare", "dated", "all"])
    def test_only_twenty_messages_have_details(self, sandbox: Start, details: str) -> None:
        """Beyond the newest 20: bare ids, dated ids, or all there is; nested and on the edge."""
        client = sandbox(details=details, messages=33, long_every=1, folders={"inbox": 1})
        thread = client.box.data()["threads"][0]
        rest = {"bare": {"id"}, "dated": {"id", "created_time"}}.get(details)
        nested = client.conversations(fields="messages.limit(50){id,created_time,from,message}").json()
        edge = client.walk(f"/{thread['node']['id']}/messages", limit=9, fields="id,created_time,from,message")
        for rows in (nested["data"][0]["messages"]["data"], edge):
            assert ids(rows) == ids(thread["messages"])
            assert all("from" in row for row in rows[:20])
            assert all("from" in row if rest is None else set(row) == rest for row in rows[20:])
        default = client.walk(f"/{thread['node']['id']}/messages")
        assert all(set(row) == (rest or {"id", "created_time"}) for row in default[20:])
        assert all(set(row) == {"id", "created_time"} for row in default[:20])

    def test_old_message_by_id(self, sandbox: Start) -> None:
        """A message that is too old answers 9000001, a newer one its details, one that never was 100/33."""
        client = sandbox(messages=25, long_every=1, folders={"inbox": 1})
        messages = client.box.data()["threads"][0]["messages"]
        assert client.get(f"/{messages[19]['id']}", fields="id,from").json()["from"] == messages[19]["from"]
        assert client.error(client.get(f"/{messages[20]['id']}"))["code"] == 9000001
        assert client.error(client.get("/m_nothing"))["error_subcode"] == 33

    def test_inner_lists_have_further_pages(self, sandbox: Start) -> None:
        """A crowded message's attachments and reactions go on behind their own links and on their own edges."""
        client = sandbox(crowded_every=1, folders={"inbox": 1})
        message = client.box.data()["threads"][0]["visible"][0]
        answer = client.get(f"/{message['id']}", fields="attachments{id,name},reactions").json()
        assert len(answer["attachments"]["data"]) == 25
        rest = requests.get(answer["attachments"]["paging"]["next"], timeout=10).json()
        assert len(answer["attachments"]["data"] + rest["data"]) == 30
        assert "next" not in rest["paging"]
        assert client.walk(f"/{message['id']}/reactions") == message["reactions"]["data"]
        assert client.walk(f"/{message['id']}/attachments", limit=4) == message["attachments"]["data"]

    def test_cursor_of_another_list(self, sandbox: Start) -> None:
        """A cursor that was made up, or belongs to another list, is refused with 100."""
        client = sandbox()
        cursor = client.conversations(limit=2).json()["paging"]["cursors"]["after"]
        assert client.error(client.conversations(after=cursor, folder="page_done"))["code"] == 100
        assert client.error(client.conversations(after="made-up"))["code"] == 100
        assert client.error(client.conversations(after=cursor[:-4] + "AAAA"))["code"] == 100

    @pytest.mark.parametrize("order", ["oldest", "shuffled"])
    def test_other_orders(self, sandbox: Start, order: str) -> None:
        """A list that is not newest first is complete too."""
        client = sandbox(folders={"inbox": 40}, order=order)
        times = [row["updated_time"] for row in client.walk(limit=7)]
        assert len(set(times)) == 40
        assert (times == sorted(times)) == (order == "oldest")
        assert times != sorted(times, reverse=True)


class TestFields:
    """The fields parameter."""

    def test_defaults(self, sandbox: Start) -> None:
        """Without fields the edge's own few come."""
        client = sandbox()
        assert set(client.conversations().json()["data"][0]) == {"id", "updated_time", "link"}

    def test_nesting(self, sandbox: Start) -> None:
        """Braces choose at every depth; the id comes with every node, empty fields do not come."""
        client = sandbox(conversations=300)
        rows = client.walk(fields="unread_count,messages.limit(3){from{name},attachments{name,image_data{url}}}")
        assert {"id", "messages"} in [set(row) for row in rows]
        assert {"id", "messages", "unread_count"} in [set(row) for row in rows]
        messages = [message for row in rows for message in row["messages"]["data"]]
        assert set(messages[0]["from"]) == {"name", "id"}
        images = [a for m in messages for a in m.get("attachments", {"data": []})["data"] if "image_data" in a]
        assert set(images[0]) == {"id", "name", "image_data"}
        assert set(images[0]["image_data"]) == {"url"}

    def test_shares_have_to_be_asked_for(self, sandbox: Start) -> None:
        """Without sub-fields a share is an id; with them it has what was asked."""
        client = sandbox(conversations=300)
        shared = next(m for t in client.box.data()["threads"] for m in t["visible"] if "shares" in m)
        plain = client.get(f"/{shared['id']}", fields="shares").json()
        assert [set(share) for share in plain["shares"]["data"]] == [{"id"}]
        asked = client.get(f"/{shared['id']}", fields="shares{link}").json()
        assert [set(share) for share in asked["shares"]["data"]] == [{"id", "link"}]

    @pytest.mark.parametrize(
        "fields, code, message",
        [
            ("id,colour", 100, "(#100) Tried accessing nonexisting field (colour) on node type (UnifiedThread)"),
            ("messages{mood}", 100, "(#100) Tried accessing nonexisting field (mood) on node type (Message)"),
            ("subject", 100, "(#100) Tried accessing nonexisting field (subject) on node type (UnifiedThread)"),
            ("id}", 2500, 'Syntax error "Expected end of string instead of "}"." at character 2: id}'),
            ("messages{id", 2500, 'Syntax error "Expected "}" instead of end of string." at character 11: messages{id'),
        ],
    )
    def test_wrong_fields(self, sandbox: Start, fields: str, code: int, message: str) -> None:
        """What is not a field, or cannot be read, is refused with Meta's words."""
        client = sandbox()
        error = client.error(client.conversations(fields=fields))
        assert (error["code"], error["message"]) == (code, message)

    def test_refused_fields(self, sandbox: Start) -> None:
        """A documented field can be made one that this API refuses."""
        client = sandbox(refused_fields={"UnifiedThread": {"wallpaper"}, "Message": {"sticker"}})
        assert client.conversations(fields="id,snippet").status_code == 200
        assert "(wallpaper)" in client.error(client.conversations(fields="id,wallpaper"))["message"]
        assert "(sticker)" in client.error(client.conversations(fields="messages{sticker}"))["message"]

    def test_fields_by_version(self, sandbox: Start) -> None:
        """`is_owner` came and `subject` went with v24."""
        client = sandbox()
        assert client.conversations(fields="subject", version="v23.0").status_code == 200
        assert client.conversations(fields="is_owner", version="v23.0").status_code == 400
        assert client.conversations(fields="is_owner", version="v24.0").status_code == 200


class TestAccess:
    """Tokens, proofs, and what a user's token may."""

    def test_token_in_header_or_parameter(self, sandbox: Start) -> None:
        """Either place is good; without one it is 104, with a wrong one 190 that repeats it, in the header too."""
        client = sandbox()
        address = f"{client.box.url}/v26.0/{client.box.page.id}/conversations"
        assert requests.get(address, params={"access_token": client.box.token}, timeout=10).status_code == 200
        assert requests.get(address, timeout=10).json()["error"]["code"] == 104
        assert requests.get(f"{client.box.url}/me", timeout=10).json()["error"]["code"] == 2500
        wrong = client.conversations(token="EAAwrong")
        assert client.error(wrong)["message"] == "Malformed access token EAAwrong"
        assert client.error(wrong)["code"] == 190
        assert "EAAwrong" in wrong.headers["WWW-Authenticate"]

    def test_proof_belongs_to_one_token(self, sandbox: Start) -> None:
        """A missing proof and another token's are refused with 100 and Meta's sentences."""
        client = sandbox(app_secret="geheim", require_proof=True)
        box = client.box
        assert client.error(client.conversations())["message"] == (
            "API calls from the server require an appsecret_proof argument"
        )
        assert client.error(client.conversations(appsecret_proof=box.proof(box.user_token)))["message"] == (
            "Invalid appsecret_proof provided in the API argument"
        )
        assert client.conversations(appsecret_proof=box.proof()).status_code == 200
        derived = client.conversations(token=box.derived_token, appsecret_proof=box.proof(box.derived_token))
        assert derived.status_code == 200

    @pytest.mark.parametrize(
        "code, message",
        [
            (190, "This method must be called with a Page Access Token"),
            (210, "(#210) A page access token is required to request this resource."),
        ],
    )
    def test_user_token_on_conversations(self, sandbox: Start, code: int, message: str) -> None:
        """A user's token does not open conversations; the code is one of two."""
        client = sandbox(user_token_error=code)
        error = client.error(client.conversations(token=client.box.user_token))
        assert (error["code"], error["message"]) == (code, message)

    def test_exchange(self, sandbox: Start) -> None:
        """A user's token gets the Page's own by either road, and that one opens conversations."""
        client = sandbox(pages=3)
        box = client.box
        accounts = client.walk("/me/accounts", token=box.user_token, limit=2)
        assert ids(accounts) == list(box.pages)
        assert {"id", "name", "tasks", "access_token", "category", "category_list"} == set(accounts[0])
        node = client.get(f"/{box.page.id}", token=box.user_token, fields="access_token").json()
        assert node == {"access_token": box.derived_token, "id": box.page.id}
        assert accounts[0]["access_token"] == box.derived_token != box.token
        other = accounts[2]
        threads = client.walk(f"/{other['id']}/conversations", token=other["access_token"])
        assert ids(threads) == [t["node"]["id"] for t in box.data(other["id"])["threads"] if t["folder"] == "inbox"]
        assert client.get(f"/{box.page.id}/conversations", token=other["access_token"]).status_code == 400

    def test_me(self, sandbox: Start) -> None:
        """`/me` is the Page for its token and the user for theirs."""
        client = sandbox()
        assert client.get("/me").json()["id"] == client.box.page.id
        assert client.get("/me", token=client.box.user_token).json()["id"] != client.box.page.id
        assert len(client.walk("/me/conversations")) == 42

    def test_debug_token(self, sandbox: Start) -> None:
        """`/debug_token` tells a Page's token from a user's and from none, and can be told what to say."""
        client = sandbox(debug_token={"expires_at": 1})
        box = client.box
        page = client.get("/debug_token", input_token=box.token).json()["data"]
        assert (page["type"], page["is_valid"], page["profile_id"], page["expires_at"]) == (
            "PAGE",
            True,
            box.page.id,
            1,
        )
        assert client.get("/debug_token", input_token=box.user_token).json()["data"]["type"] == "USER"
        assert client.get("/debug_token", input_token="x").json()["data"]["is_valid"] is False

    def test_only_get(self, sandbox: Start) -> None:
        """Every other method is an unsupported request."""
        client = sandbox()
        for method in ("POST", "DELETE", "PUT"):
            error = client.session.request(method, f"{client.box.url}/v26.0/me", data={"a": "b"}, timeout=10).json()[
                "error"
            ]
            assert (error["code"], error["type"]) == (100, "GraphMethodException")
            assert error["message"].startswith(f"Unsupported {method.lower()} request.")


class TestAround:
    """Versions, headers, what Meta has given up, the record."""

    @pytest.mark.parametrize(
        "asked, answered",
        [("v26.0", "v26.0"), ("v21.0", "v21.0"), ("v19.0", "v21.0"), ("v2.6", "v21.0"), (None, "v21.0")],
    )
    def test_versions(self, sandbox: Start, asked: str | None, answered: str) -> None:
        """Dead versions and none are answered by the oldest live one, and the header says so; links name it."""
        response = sandbox().conversations(version=asked)
        assert response.headers["facebook-api-version"] == answered
        assert f"/{answered}/" in response.json()["paging"]["next"]

    def test_unborn_version(self, sandbox: Start) -> None:
        """A version that does not exist yet is refused."""
        client = sandbox()
        assert client.error(client.conversations(version="v99.0"))["code"] == 2500

    def test_headers(self, sandbox: Start) -> None:
        """Trace and usage headers are there; usage is reported as messenger, instagram or pages, for this Page."""
        client = sandbox(instagram=2)
        thread = client.conversations().json()["data"][0]["id"]
        paths = {
            f"/{client.box.page.id}": "pages",
            f"/{client.box.page.id}/conversations": "messenger",
            f"/{client.box.page.id}/conversations?platform=instagram": "instagram",
            f"/{thread}/messages": "messenger",
        }
        for path, kind in paths.items():
            headers = client.get(path).headers
            usage = json.loads(headers["x-business-use-case-usage"])
            assert usage[client.box.page.id][0]["type"] == kind
            assert set(json.loads(headers["x-app-usage"])) == {"call_count", "total_time", "total_cputime"}
            for name in ("x-fb-trace-id", "x-fb-debug", "x-fb-rev"):
                assert headers[name]

    def test_usage_headers_can_be_chosen(self, sandbox: Start) -> None:
        """None, or just some of them."""
        none = sandbox(usage_headers=False).conversations().headers
        assert not [name for name in none if "usage" in name.lower()]
        page = sandbox(usage_headers=["page"]).conversations().headers
        assert [name for name in page if "usage" in name.lower()] == ["x-page-usage"]

    def test_many_ids(self, sandbox: Start) -> None:
        """`?ids=` is refused, on nodes and on edges, and counts as one call."""
        client = sandbox()
        threads = ids(client.conversations().json()["data"])[:3]
        for path in ("/", "/messages"):
            error = client.error(client.get(path, ids=",".join(threads)))
            assert (error["code"], error["message"].startswith("(#100) The ids parameter is not supported")) == (
                100,
                True,
            )

    def test_links_carry_what_meta_knows(self, sandbox: Start) -> None:
        """Parameters that Meta has given up are in no link."""
        link = sandbox().conversations(limit=3, pretty=0, debug="all", date_format="U").json()["paging"]["next"]
        assert set(parse_qs(urlsplit(link).query)) == {"access_token", "limit", "after"}

    @pytest.mark.parametrize("path", ["/nothing", "/123", "/t_1/messages", "/me/feed", "/{page}/feed"])
    def test_what_is_not_there(self, sandbox: Start, path: str) -> None:
        """Unknown objects and edges answer 100/33."""
        client = sandbox()
        error = client.error(client.get(path.replace("{page}", client.box.page.id)))
        assert (error["code"], error["error_subcode"]) == (100, 33)

    def test_record(self, sandbox: Start) -> None:
        """Every request is recorded as it came, with its answer; the sandbox's own addresses are not."""
        client = sandbox()
        client.conversations(folder="spam", limit=3)
        client.get("/t_1/messages", token="nobody")
        client.control("GET", "requests")
        first, second = client.box.requests
        assert (first.method, first.version, first.edge, first.status, first.code) == (
            "GET", "v26.0", "conversations", 200, None,
        )  # fmt: skip
        assert first.path == f"/v26.0/{client.box.page.id}/conversations"
        assert first.params == {"folder": "spam", "limit": "3"}
        assert first.headers["authorization"] == f"Bearer {client.box.token}"
        assert (second.status, second.code) == (400, 190)
        client.box.forget()
        assert client.box.requests == []

    def test_a_hundred_thousand_threads(self, sandbox: Start) -> None:
        """A large Page is there in seconds, its first page in an instant, its last one too."""
        client = sandbox(conversations=100_000)
        box = client.box
        assert len(client.conversations(limit=100).json()["data"]) == 100
        last = box.page.rows("messenger", "inbox")
        assert last is not None
        thread = box.page.thread_at(last.serial(len(last) - 1))
        assert client.get(f"/{thread.id}").json()["id"] == thread.id
