"""Many Pages under one token: what each holds, and those that give nothing, whether or not they say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Page, Sandbox
from tests.sandbox.conftest import NOW, Client

Start = Callable[..., Client]


def accounts(client: Client) -> dict[str, dict[str, Any]]:
    """Return what the user's token is told of each Page, by its id."""
    return {row["id"]: row for row in client.walk("/me/accounts", token=client.box.user_token, limit=5)}


def threads(client: Client, page: Page, **how: Any) -> int:
    """Return how many threads a Page lists in all folders to the token that the user's is exchanged for."""
    token = client.box.api.derived_token(page)
    lists: list[dict[str, Any]] = [{"folder": name} for name in ("inbox", "other", "page_done", "spam")]
    lists = [{"platform": "instagram"}] if how.get("platform") == "instagram" else lists
    return sum(len(client.walk(f"/{page.id}/conversations", token=token, limit=100, **one)) for one in lists)


class TestMany:
    """Pages of different sizes."""

    def test_each_page_has_its_own_number_of_threads(self, sandbox: Start) -> None:
        """Page after Page, and from the first number on again; so for Instagram."""
        client = sandbox(pages=5, conversations=[40, 0, 7], instagram=[2, 1])
        pages = client.box.pages.values()
        assert [threads(client, page) for page in pages] == [40, 0, 7, 40, 0]
        assert [threads(client, page, platform="instagram") for page in pages] == [2, 1, 2, 1, 2]

    def test_two_hundred_pages_are_listed_for_one_system_users_token(self, sandbox: Start) -> None:
        """Each with a name and a token of its own, and the token says whose it is."""
        client = sandbox(pages=200, conversations=1, system_user=True)
        rows = client.walk("/me/accounts", token=client.box.user_token, limit=100)
        assert [row["id"] for row in rows] == list(client.box.pages)
        assert len({row["name"] for row in rows}) == len({row["access_token"] for row in rows}) == 200
        assert len(client.box.requests) == 2
        said = client.get("/debug_token", input_token=client.box.user_token).json()["data"]
        assert (said["type"], said["is_valid"]) == ("SYSTEM_USER", True)

    @pytest.mark.parametrize(
        "wrong", [{"conversations": []}, {"instagram": [3, -1]}, {"conversations": [3, -1], "pages": 2}]
    )
    def test_numbers_that_no_page_can_have_are_refused(self, wrong: dict[str, Any]) -> None:
        """None at all, or fewer than none."""
        with pytest.raises(ValueError, match=r"\w"):
            Sandbox(now=NOW, **wrong)

    def test_a_page_is_found_by_its_number(self, sandbox: Start) -> None:
        """Which counts from 1."""
        box = sandbox(pages=3, conversations=1).box
        assert box.page_at(1) is box.page
        assert [box.page_at(number).id for number in (1, 2, 3)] == list(box.pages)
        for number in (0, 4):
            with pytest.raises(ValueError, match=f"no Page number {number}: they go from 1 to 3"):
                box.page_at(number)


class TestEmptyLists:
    """Lists that answer 200 and hold nothing, though people have written."""

    @pytest.mark.parametrize("platform", ["messenger", "instagram"])
    def test_without_advanced_access_lists_are_empty_and_nothing_is_refused(
        self, sandbox: Start, platform: str
    ) -> None:
        """Of whichever folder, with whatever is asked for, and for whichever token; the other Page's are not."""
        client = sandbox(pages=2, conversations=20, instagram=4)
        page, other = client.box.pages.values()
        page.advanced_access = False
        for how in ({}, {"limit": 5}, {"fields": "id,messages{message}"}):
            answer = client.conversations(platform=platform, **how)
            assert (answer.status_code, answer.json()) == (200, {"data": []})
        assert threads(client, page) == 0
        assert threads(client, other) == 20
        assert client.get(f"/{page.id}", fields="conversations").json() == {"id": page.id}
        page.advanced_access = True
        assert threads(client, page) == 20

    def test_one_apps_token_may_see_nothing_where_anothers_sees_all(self, sandbox: Start) -> None:
        """Access is given to an app."""
        client = sandbox(conversations=20)
        client.box.add_token("OTHER-APP", client.box.page, advanced_access=False)
        assert client.conversations(token="OTHER-APP").json() == {"data": []}
        assert len(client.conversations().json()["data"]) == 14

    @pytest.mark.parametrize(
        "tasks, seen", [((), 0), (("ANALYZE", "ADVERTISE"), 0), (("MESSAGING",), 20), (("MODERATE", "ANALYZE"), 20)]
    )
    def test_who_has_no_task_for_messages_sees_none(self, sandbox: Start, tasks: tuple[str, ...], seen: int) -> None:
        """MESSAGING or MODERATE has to be among the person's tasks on the Page."""
        client = sandbox(conversations=20)
        client.box.page.tasks = tasks
        assert threads(client, client.box.page) == seen


class TestPagesThatGiveNothing:
    """Pages of which one token brings no other, or a dead one."""

    def test_a_page_without_a_task_is_listed_without_a_token(self, sandbox: Start) -> None:
        """Its tasks are an empty list; asked for its token, the Page answers without one."""
        client = sandbox(pages=3, conversations=1)
        page = client.box.page_at(2)
        page.tasks = ()
        told = accounts(client)
        assert len(told) == 3
        assert told[page.id]["tasks"] == []
        assert [ident for ident, row in told.items() if "access_token" not in row] == [page.id]
        answer = client.get(f"/{page.id}", token=client.box.user_token, fields="access_token")
        assert (answer.status_code, answer.json()) == (200, {"id": page.id})

    def test_it_may_refuse_to_be_asked_instead(self, sandbox: Start) -> None:
        """With error 10, that names a permission; its name is told all the same."""
        client = sandbox(pages=2, conversations=1)
        client.box.rules.taskless = "refused"
        page = client.box.page_at(2)
        page.tasks = ()
        refused = client.get(f"/{page.id}", token=client.box.user_token, fields="access_token")
        assert (refused.status_code, client.error(refused)["code"]) == (403, 10)
        assert client.error(refused)["message"].startswith("(#10) This endpoint requires the 'pages_read_engagement'")
        assert client.get(f"/{page.id}", token=client.box.user_token, fields="name").json()["name"] == page.name
        assert accounts(client)[page.id]["tasks"] == []

    def test_a_dead_token_is_handed_out_and_refused(self, sandbox: Start) -> None:
        """The list of Pages does not know of it; the other Pages' tokens go on."""
        client = sandbox(pages=2, conversations=20)
        page, other = client.box.pages.values()
        client.box.end_tokens(page)
        token = accounts(client)[page.id]["access_token"]
        for one in (token, client.box.token):
            refused = client.get(f"/{page.id}/conversations", token=one)
            assert (refused.status_code, client.error(refused)["code"]) == (400, 190)
        assert threads(client, other) == 20

    def test_pages_are_changed_over_http(self, sandbox: Start) -> None:
        """At /_sandbox/pages, that says how each of them is."""
        client = sandbox(pages=3, conversations=1)
        first, second, third = client.box.pages
        order = [
            {"page_id": first, "advanced_access": False},
            {"page_id": second, "tasks": ["ANALYZE"]},
            {"page_id": third, "dead": True},
        ]
        said = client.control("POST", "pages", order).json()
        assert client.control("GET", "pages").json() == said
        assert [one["page_id"] for one in said] == [first, second, third]
        assert [one["advanced_access"] for one in said] == [False, True, True]
        assert [len(one["tasks"]) for one in said] == [6, 1, 6]
        assert [one["dead"] for one in said] == [False, False, True]
        for wrong in ({"page_id": "4711"}, {"tasks": ["SLEEP"]}, {"colour": 1}):
            assert client.control("POST", "pages", wrong).status_code == 400
