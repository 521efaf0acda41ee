"""What the button Test of a connection says, word by word, and what it costs."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_pageconv import hooks
from airflow_provider_pageconv.graph import client as graph_client
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.sandbox import Fault, Limits, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from tests.graph.loopback import Asked, response, says, serving

PAGE, SECOND = "100200300400500", "100200300400501"
SECRET = "sandbox-app-secret"
IN_9_DAYS = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=9, hours=12)
ON = f"{IN_9_DAYS:%Y-%m-%d %H:%M} UTC (in 9 days)"

OWN = f"The access token is that of the Page {PAGE}"
BOTH = "It has what Messenger and Instagram take."
STOP = "Stop calling and come back later: calls made meanwhile prolong the block."
NEW_TOKEN = "Put a new access token into the connection."
OF_AN_APP = (
    "Graph API: the access token is an app's, which reaches no conversations. Put the Page's own token into the connection, "
    "or a user's or system user's that has a task on the Page."
)
NO_TOKEN_OF_THE_PAGE = (
    f"the access token is not the Page's own, and brings no token of the Page {PAGE}. Give the person or the system user "
    "whose token it is a task on the Page (MESSAGING or MODERATE) and the token pages_show_list and pages_messaging, or put "
    "the Page's own token into the connection."
)
WRONG_PROOF = (
    "Graph API error 100: the signature of the call (appsecret_proof) is wrong or missing. Put the secret of the app that the "
    "token belongs to into the connection's app_secret. (HTTP status 400, fbtrace_id …)"
)
MESSENGER = ["pages_messaging", "pages_manage_metadata", "pages_read_engagement"]
INSTAGRAM = ["instagram_basic", "instagram_manage_messages", "pages_manage_metadata"]
APP = {"app_id": APP_ID, "app_secret": SECRET}

Test = Callable[..., tuple[bool, str]]


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """Three Pages."""
    with Sandbox(pages=3, conversations=4, messages=2, instagram=2, app_secret=SECRET) as running:
        yield running


@pytest.fixture
def test(monkeypatch: pytest.MonkeyPatch) -> Test:
    """Press the button, for a connection to some host; the trace id in what it says is left out.

    The pause before the second try takes no time here, and up to a second in earnest.
    """
    monkeypatch.setattr(graph_client, "_FIRST_PAUSE", 0.0)

    def press(host: str, token: str, **extra: Any) -> tuple[bool, str]:
        # A pace that a second call at it would be waited for: none of these calls keeps it.
        more = {"page_id": PAGE, "calls_per_second": 0.001, **extra}
        connection = {"conn_type": "pageconv", "host": host, "password": token, "extra": more}
        monkeypatch.setenv("AIRFLOW_CONN_PAGECONV_DEFAULT", json.dumps(connection))
        good, sentence = PageConversationsHook().test_connection()
        for secret in (token, extra.get("app_secret")):
            assert not secret or secret not in sentence
        return good, re.sub(r"(?<=fbtrace_id )\w+", "…", sentence)

    return press


def edges(box: Sandbox) -> list[str]:
    """The calls that were made; never one of those that Meta limits for conversations."""
    made = [request.edge for request in box.requests]
    assert not {"conversations", "messages", "inner"} & {*made}
    return made


# ---- a Page's own token


@pytest.mark.parametrize("app", [APP, {"app_secret": SECRET}, {}], ids=["by the app", "signed, by itself", "by itself"])
def test_a_page_s_own_token_is_told(app: dict[str, str], box: Sandbox, test: Test) -> None:
    """Whoever looks at it."""
    assert test(box.url, box.token, **app) == (True, f"{OWN}; it never ends. {BOTH}")
    assert edges(box) == ["me", "debug_token"]


@pytest.mark.parametrize("page_id", [None, "", "me", "the.page"])
def test_the_connection_need_not_name_the_page_by_its_id(page_id: str | None, box: Sandbox, test: Test) -> None:
    """Tasks may name it; and a Page has a name in addresses, which tells nothing of whose token it is."""
    assert test(box.url, box.token, page_id=page_id, **APP) == (True, f"{OWN}; it never ends. {BOTH}")
    assert edges(box) == ["me", "debug_token"]


@pytest.mark.parametrize(
    "facts, good, sentence",
    [
        ({"expires_at": int(IN_9_DAYS.timestamp())}, True, f"{OWN}; it ends on {ON}. {BOTH}"),
        ({"expires_at": str(int(IN_9_DAYS.timestamp()))}, True, f"{OWN}; it ends on {ON}. {BOTH}"),
        ({"expires_at": "0"}, True, f"{OWN}; it never ends. {BOTH}"),
        (
            {"data_access_expires_at": int(IN_9_DAYS.timestamp())},
            True,
            (
                f"{OWN}; it never ends. Its access to data ends on {ON}: the person whose token it is has to log in to the "
                f"app again before. {BOTH}"
            ),
        ),
        (
            {"data_access_expires_at": 1_700_000_000},
            False,
            (
                f"{OWN}; it never ends. Its access to data ended on 2023-11-14 22:13 UTC: the person whose token it is has "
                f"to log in to the app again. {BOTH}"
            ),
        ),
        (
            {"scopes": MESSENGER},
            True,
            (
                f"{OWN}; it never ends. For Messenger it has what it takes, for Instagram it lacks instagram_basic and "
                "instagram_manage_messages."
            ),
        ),
        (
            {"scopes": INSTAGRAM},
            True,
            (
                f"{OWN}; it never ends. For Messenger it lacks pages_messaging and pages_read_engagement, for Instagram it "
                "has what it takes."
            ),
        ),
        (
            {"scopes": ["email"]},
            False,
            (
                f"{OWN}; it never ends. For Messenger it lacks pages_messaging, pages_manage_metadata and "
                "pages_read_engagement, for Instagram it lacks instagram_basic, instagram_manage_messages and "
                "pages_manage_metadata."
            ),
        ),
        (
            {"granular_scopes": [{"scope": "pages_messaging", "target_ids": ["7"]}]},
            True,
            f"{OWN}; it never ends. For Messenger it lacks pages_messaging, for Instagram it has what it takes.",
        ),
        ({"scopes": []}, True, f"{OWN}; it never ends. The API does not say what it may do."),
    ],
)
def test_what_speaks_for_and_against_a_token_is_told(
    facts: dict[str, Any], good: bool, sentence: str, box: Sandbox, test: Test
) -> None:
    """Until when it is good, and what it lacks; it is good as long as it is for one of the platforms."""
    if isinstance(facts.get("expires_at"), str):
        box.rules.debug_token = facts  # the sandbox itself goes by numbers
    else:
        box.add_token("THIS-ONE", box.page, **facts)
    assert test(box.url, box.token if box.rules.debug_token else "THIS-ONE", **APP) == (good, sentence)
    assert edges(box) == ["me", "debug_token"]


# ---- a user's and a system user's


@pytest.mark.parametrize("kind, whose", [("USER", "a user's"), ("SYSTEM_USER", "a system user's")])
@pytest.mark.parametrize("app", [APP, {}], ids=["by the app", "by itself"])
@pytest.mark.parametrize(
    "page_id, what",
    [
        (SECOND, f"brings that of the Page {SECOND}"),
        (None, "reaches 3 Pages, of which each task of a DAG has to name one"),
    ],
)
def test_a_user_s_token_is_told(
    kind: str, whose: str, app: dict[str, str], page_id: str | None, what: str, box: Sandbox, test: Test
) -> None:
    """Whether it brings the Page's own where the connection names a Page, and else how many Pages it is good for."""
    box.add_token("SOMEBODY-S", None, type=kind, expires_at=int(IN_9_DAYS.timestamp()))
    told = test(box.url, "SOMEBODY-S", page_id=page_id, **app)
    assert told == (True, f"The access token is {whose}, and {what}; it ends on {ON}. {BOTH}")
    assert edges(box) == ["me", "debug_token", "accounts"]


def test_one_page_is_one_page(box: Sandbox, test: Test) -> None:
    """And no Pages."""
    box.add_token("SOMEBODY-S", None, [PAGE])
    sentence = (
        "The access token is a user's, and reaches 1 Page, of which each task of a DAG has to name one; it never ends."
    )
    assert test(box.url, "SOMEBODY-S", page_id=None, **APP) == (True, f"{sentence} {BOTH}")


def test_many_pages_are_counted_page_by_page_of_the_list(test: Test) -> None:
    """A hundred a call; no pause is made between them."""
    with Sandbox(pages=230, conversations=0, app_secret=SECRET, max_limit=100) as box:
        sentence = "reaches 230 Pages, of which each task of a DAG has to name one; it never ends."
        assert test(box.url, box.user_token, page_id=None, **APP) == (
            True,
            f"The access token is a user's, and {sentence} {BOTH}",
        )
        assert edges(box) == ["me", "debug_token", *["accounts"] * 3]


def test_who_reaches_no_page_is_told(box: Sandbox, test: Test) -> None:
    """Without any, there is nothing that a task could name."""
    box.add_token("SOMEBODY-S", None, [])
    assert test(box.url, "SOMEBODY-S", page_id=None, **APP) == (
        False,
        "The access token is a user's, and reaches no Page: give whoever it belongs to a task on one.",
    )
    box.forget()
    assert test(box.url, "SOMEBODY-S", **APP) == (False, f"Graph API: {NO_TOKEN_OF_THE_PAGE}")
    assert edges(box) == ["me", "debug_token", "accounts", "node", "accounts"]


def test_who_has_no_task_on_the_page_is_told(box: Sandbox, test: Test) -> None:
    """It stands in the list, and gives no token."""
    box.page.tasks = []
    assert test(box.url, box.user_token, **APP) == (
        False,
        (
            f"Graph API: whoever the access token belongs to has no task on the Page {PAGE} that reads conversations. Give "
            "the person or the system user the task MESSAGING (or MODERATE) on it."
        ),
    )
    assert edges(box) == ["me", "debug_token", "accounts"]


def test_who_has_other_tasks_on_the_page_is_told(box: Sandbox, test: Test) -> None:
    """Messenger needs a certain one; of Instagram it is known only that one is needed."""
    box.page.tasks = ["ANALYZE"]
    assert test(box.url, box.user_token, **APP) == (
        True,
        (
            f"The access token is a user's, and brings that of the Page {PAGE}; it never ends. For Messenger it lacks "
            "the task MESSAGING (or MODERATE) on the Page, for Instagram it has what it takes."
        ),
    )


def test_pages_without_the_task_are_counted(box: Sandbox, test: Test) -> None:
    """One of three may be forgotten."""
    box.page.tasks = ["ANALYZE"]
    assert test(box.url, box.user_token, page_id=None, **APP) == (
        True,
        (
            "The access token is a user's, and reaches 3 Pages (1 of them without the task MESSAGING or MODERATE), of which "
            f"each task of a DAG has to name one; it never ends. {BOTH}"
        ),
    )


def test_where_the_list_of_pages_is_refused_the_page_is_asked(box: Sandbox, test: Test) -> None:
    """As an export does; which tasks there are nobody says then."""
    box.faults.add(Fault(code=200, on="accounts"))
    told = test(box.url, box.user_token, **APP)
    assert told == (
        True,
        f"The access token is a user's, and brings that of the Page {PAGE}; it never ends. {BOTH}",
    )
    assert edges(box) == ["me", "debug_token", "accounts", "node"]


def test_a_list_of_pages_that_is_refused_is_told(box: Sandbox, test: Test) -> None:
    """Without a page_id there is no other way."""
    message = "(#200) Requires pages_show_list permission"
    box.faults.add(Fault(code=200, on="accounts", message=message))
    assert test(box.url, box.user_token, page_id=None, **APP) == (
        False,
        (
            "Graph API error 200: a permission is missing: pages_show_list. Messenger needs the task MESSAGING on the Page "
            "and pages_messaging, pages_manage_metadata and pages_read_engagement; Instagram needs instagram_basic, "
            "instagram_manage_messages and pages_manage_metadata. (HTTP status 403, fbtrace_id …)"
        ),
    )


# ---- tokens that are none, or not this Page's


def test_the_token_of_another_page_is_told(box: Sandbox, test: Test) -> None:
    """With both Pages, and both ways out."""
    box.add_token("SECOND-S", box.pages[SECOND])
    assert test(box.url, "SECOND-S", **APP) == (
        False,
        (
            f"Graph API: the access token is that of the Page {SECOND}, not that of the Page {PAGE}. Put the token of the "
            f"Page {PAGE} into the connection, or export the Page {SECOND}."
        ),
    )
    assert edges(box) == ["me", "debug_token"]


@pytest.mark.parametrize("app", [APP, {}], ids=["by the app", "by itself"])
def test_a_token_that_has_ended_is_told(app: dict[str, str], box: Sandbox, test: Test) -> None:
    """By the first call; a look at it would tell nothing more."""
    box.add_token("OVER", box.page, expires_at=1_700_000_000)
    sentence = f"Graph API error 190/463: the access token has expired. {NEW_TOKEN} (HTTP status 400, fbtrace_id …)"
    assert test(box.url, "OVER", **app) == (False, sentence)
    assert edges(box) == ["me"]


@pytest.mark.parametrize("token", ["NOBODY-S", "100200300", "NOBODY|S"])
def test_a_token_that_nobody_knows_is_told(token: str, box: Sandbox, test: Test) -> None:
    """The API repeats it in its own words; they are not taken over. An id alone is no app's token."""
    sentence = f"Graph API error 190: the access token is not valid. {NEW_TOKEN} (HTTP status 400, fbtrace_id …)"
    assert test(box.url, token, **APP) == (False, sentence)
    assert edges(box) == ["me"]


@pytest.mark.parametrize("page_id", [PAGE, None])
@pytest.mark.parametrize("secret", [SECRET, "of-another-app"])
def test_an_app_s_token_is_told(secret: str, page_id: str | None, box: Sandbox, test: Test) -> None:
    """The API says of it that no token arrived, or that it is none; its form tells what it is."""
    assert test(box.url, f"{APP_ID}|{secret}", page_id=page_id) == (False, OF_AN_APP)
    assert edges(box) == ["me"]


def test_a_token_that_the_api_calls_an_app_s_is_told(box: Sandbox, test: Test) -> None:
    """Also if the first call was answered."""
    box.rules.debug_token = {"type": "APP"}
    assert test(box.url, box.token, **APP) == (False, OF_AN_APP)


def test_a_token_that_ends_between_two_calls_is_told(box: Sandbox, test: Test) -> None:
    """The second one knows better."""
    box.rules.debug_token = {"is_valid": False, "error": {"code": 190, "subcode": 460, "message": "Ana changed it"}}
    assert test(box.url, box.token, **APP) == (
        False,
        f"Graph API: the person who gave the token has changed their password. {NEW_TOKEN}",
    )


# ---- the app's id and secret


def test_a_wrong_app_secret_is_told(box: Sandbox, test: Test) -> None:
    """It signs each call, so that the first one shows it."""
    for app_id in (APP_ID, None):
        assert test(box.url, box.token, app_id=app_id, app_secret="of-another-app") == (False, WRONG_PROOF)
    assert edges(box) == ["me"] * 2


def test_a_missing_app_secret_is_told(box: Sandbox, test: Test) -> None:
    """Where the app demands that calls are signed."""
    box.rules.require_proof = True
    assert test(box.url, box.token, app_id=APP_ID) == (False, WRONG_PROOF)


@pytest.mark.parametrize("app_id, named", [("999", " 999"), ("a-secret-that-strayed", "")])
def test_a_wrong_app_id_is_told(app_id: str, named: str, box: Sandbox, test: Test) -> None:
    """Exports go on with it, but neither look at the token nor renew it. What is no id is not repeated."""
    assert test(box.url, box.token, app_id=app_id, app_secret=SECRET) == (
        False,
        (
            f"{OWN}; it never ends. {BOTH} The app_id{named} and the app_secret of the connection may not look at the token, "
            f"which belongs to the app {APP_ID}, nor renew it: put in those of its app."
        ),
    )
    assert edges(box) == ["me", "debug_token", "debug_token"]


def test_an_app_that_is_not_the_token_s_is_told(box: Sandbox, test: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API answers its look with a refusal inside; the token itself is told more."""
    look = box.api._debug_token

    def of_another_app(at: Any) -> dict[str, Any]:
        if at.call.token != f"{APP_ID}|{SECRET}":
            made: dict[str, Any] = look(at)
            return {"data": {**made["data"], "app_id": "777"}}
        message = "(#100) The App_id in the input_token did not match the Viewing App"
        return {"data": {"is_valid": False, "scopes": [], "error": {"code": 100, "message": message}}}

    monkeypatch.setattr(box.api, "_debug_token", of_another_app)
    assert test(box.url, box.token, **APP) == (
        False,
        (
            f"{OWN}; it never ends. {BOTH} The app_id {APP_ID} and the app_secret of the connection may not look at the "
            "token, which belongs to the app 777, nor renew it: put in those of its app."
        ),
    )
    info = PageConversationsHook().token_info()
    assert (info.type, info.is_valid, info.app_id) == ("page", True, "777")


def test_where_the_app_may_not_look_and_nobody_says_whose_it_is_the_token_stays_good(box: Sandbox, test: Test) -> None:
    """It was answered; what is not known is told."""
    message = "(#100) The App_id in the input_token did not match the Viewing App"
    unsaid = ("app_id", "type", "expires_at", "data_access_expires_at", "granular_scopes", "profile_id")
    error = {"code": 100, "message": message}
    box.rules.debug_token = {**dict.fromkeys(unsaid), "is_valid": False, "scopes": [], "error": error}
    assert test(box.url, box.token, **APP) == (
        True,
        (
            f"{OWN}; the API says neither when it ends nor what it may do. The app_id {APP_ID} and the app_secret of the "
            "connection may not look at the token nor renew it: put in those of its app."
        ),
    )


# ---- a look that tells less than it might


@pytest.mark.parametrize(
    "fault",
    [
        Fault(code=100, on="debug_token", message="You must provide an app access token"),
        Fault(code=190, on="debug_token"),
        Fault(code=10, on="debug_token"),
        Fault(code=2, on="debug_token"),
        Fault(code=999, on="debug_token"),
        Fault("not_json", on="debug_token", message="{}"),
        Fault("html", on="debug_token", status=200),
        Fault("reset", on="debug_token"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.code or fault.message}",
)
@pytest.mark.parametrize("kind", ["page", "user"])
def test_a_look_that_fails_says_nothing_of_the_token(kind: str, fault: Fault, box: Sandbox, test: Test) -> None:
    """The first call was answered, and says whose it is."""
    box.faults.add(fault)
    whose = {"page": OWN, "user": f"The access token is a user's, and brings that of the Page {PAGE}"}[kind]
    token = {"page": box.token, "user": box.user_token}[kind]
    assert test(box.url, token) == (True, f"{whose}; the API says neither when it ends nor what it may do.")
    assert {*edges(box)} == {"me", "debug_token"} | ({"accounts"} if kind == "user" else set())


LOOKS: list[tuple[dict[str, Any], str]] = [
    ({"expires_at": None}, f"{OWN}; the API does not say when it ends. {BOTH}"),
    ({"expires_at": "soon"}, f"{OWN}; the API does not say when it ends. {BOTH}"),
    ({"expires_at": -1}, f"{OWN}; the API does not say when it ends. {BOTH}"),
    ({"expires_at": True}, f"{OWN}; the API does not say when it ends. {BOTH}"),
    ({"expires_at": 1e300}, f"{OWN}; the API does not say when it ends. {BOTH}"),
    ({"expires_at": "9" * 400}, f"{OWN}; the API does not say when it ends. {BOTH}"),
    ({"scopes": None}, f"{OWN}; it never ends. The API does not say what it may do."),
    ({"scopes": "pages_messaging"}, f"{OWN}; it never ends. The API does not say what it may do."),
    ({"scopes": [{"scope": 1}, None]}, f"{OWN}; it never ends. The API does not say what it may do."),
    ({"scopes": None, "expires_at": None}, f"{OWN}; the API says neither when it ends nor what it may do."),
    (
        {"granular_scopes": [None, {"target_ids": 7}, {"scope": None, "target_ids": []}]},
        f"{OWN}; it never ends. {BOTH}",
    ),
    ({"data_access_expires_at": [], "profile_id": {}, "app_id": None}, f"{OWN}; it never ends. {BOTH}"),
    ({"type": None}, f"{OWN}; it never ends. {BOTH}"),
    ({"type": 7, "user_id": None}, f"{OWN}; it never ends. {BOTH}"),
    ({"is_valid": None}, f"{OWN}; it never ends. {BOTH}"),
    ({"error": "what?"}, f"{OWN}; it never ends. {BOTH}"),
]


@pytest.mark.parametrize("facts, sentence", LOOKS, ids=[str(facts)[:60] for facts, _ in LOOKS])
def test_what_a_look_does_not_say_is_not_known(facts: dict[str, Any], sentence: str, box: Sandbox, test: Test) -> None:
    """Neither that a token never ends, nor that it may do nothing."""
    box.rules.debug_token = facts
    assert test(box.url, box.token) == (True, sentence)


def test_a_token_of_a_type_that_is_not_known_is_good_if_it_brings_the_page_s(box: Sandbox, test: Test) -> None:
    """And else tells how many Pages it reaches."""
    box.add_token("OF-ANOTHER-TYPE", None, type="SERVICE")
    whose = "The access token is of a kind that is not known"
    assert test(box.url, "OF-ANOTHER-TYPE", **APP) == (
        True,
        f"{whose}, and brings that of the Page {PAGE}; it never ends. {BOTH}",
    )
    assert test(box.url, "OF-ANOTHER-TYPE", page_id=None, **APP) == (
        True,
        f"{whose}, and reaches 3 Pages, of which each task of a DAG has to name one; it never ends. {BOTH}",
    )


def answering(me: dict[str, Any], accounts: bytes = b'{"data": []}') -> Callable[[socket.socket, Asked], object]:
    """An API that answers `me` in its own way, and does not let anybody look at tokens."""
    refused = json.dumps({"error": {"code": 100, "message": "(#100) no", "fbtrace_id": "Ab"}}).encode()

    def script(connection: socket.socket, asked: Asked) -> None:
        path = asked.line.split(" ")[1].partition("?")[0]
        if path.endswith("/me"):
            connection.sendall(response(json.dumps(me).encode()))
        elif path.endswith("/me/accounts"):
            connection.sendall(response(accounts))
        else:
            connection.sendall(response(refused, status="400 Bad Request"))

    return script


UNSAID = "the API says neither when it ends nor what it may do."


@pytest.mark.parametrize(
    "me, page_id, told",
    [
        ({"id": PAGE}, PAGE, (True, f"{OWN}; {UNSAID}")),
        ({"id": int(PAGE)}, PAGE, (True, f"{OWN}; {UNSAID}")),
        ({"id": PAGE, "name": "Ana Nadie", "metadata": {"type": "page"}}, None, (True, f"{OWN}; {UNSAID}")),
        ({"id": PAGE, "metadata": ["page"]}, PAGE, (True, f"{OWN}; {UNSAID}")),
        ({"id": "7", "name": "Ana Nadie"}, PAGE, (False, f"Graph API error 100: {NO_TOKEN_OF_THE_PAGE} (HTTP status 400, fbtrace_id …)")),
        (
            {"id": "7", "name": "Ana Nadie"},
            None,
            (
                False,
                (
                    "The access token is of a kind that is not known, and reaches no Page: give whoever it belongs to a "
                    "task on one."
                ),
            ),
        ),
    ],
)  # fmt: skip
def test_me_may_say_less_or_more_than_it_was_asked(
    me: dict[str, Any], page_id: str | None, told: tuple[bool, str], test: Test
) -> None:
    """A node without its metadata, or with a name, which is a person's perhaps."""
    with serving(answering(me)) as server:
        assert test(server.url, "a-token", page_id=page_id) == told


def test_where_nobody_says_whose_the_token_is_the_page_has_to_be_named(test: Test) -> None:
    """A Page's own token has no list of Pages."""
    refused = json.dumps({"error": {"code": 100, "message": "(#100) nonexisting field (accounts)", "fbtrace_id": "Ab"}})
    with serving(answering({"id": PAGE}, refused.encode())) as server:
        assert test(server.url, "a-token", page_id=None) == (
            False,
            "The API does not say whose the access token is: put the id of its Page into page_id.",
        )


# ---- a host that is none, or not the one


def test_where_nothing_listens_the_host_is_named(test: Test) -> None:
    """After a second try; the pause before it takes up to a second in earnest."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert test(address, "a-token") == (
        False,
        (
            f"No answer came from {address}: {address.removeprefix('http://')} refused the connection. Check the "
            "connection's host and port, and the proxy if there is one."
        ),
    )


def test_a_proxy_that_is_not_there_is_named(box: Sandbox, test: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says that calls go through one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free.getsockname()[1]}")
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert test(box.url, box.token) == (
        False,
        (
            f"No answer came from {box.url}: the proxy on the way to {box.url.removeprefix('http://')} refused the connection. "
            "Check the connection's host and port, and the proxy if there is one."
        ),
    )
    assert edges(box) == []


def test_a_host_whose_name_does_not_exist_is_named(test: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's own resolver would say of it."""

    def unknown(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert test("https://graph.invalid", "a-token") == (
        False,
        (
            "No answer came from https://graph.invalid: the name of graph.invalid:443 cannot be looked up. Check the "
            "connection's host and port, and the proxy if there is one."
        ),
    )


def test_a_host_that_says_nothing_is_not_waited_for_long(test: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds in earnest, twice, whatever the connection says of its tasks; a shorter time-out of its own holds."""
    assert hooks._TEST_TIMEOUT == 10.0
    monkeypatch.setattr(hooks, "_TEST_TIMEOUT", 0.2)

    def silent(connection: socket.socket, asked: Asked) -> None:
        """Leave the call open."""

    for timeout in (3600, 0.2):
        with serving(silent) as server:
            good, sentence = test(server.url, "a-token", timeout=timeout)
            assert not good
            assert sentence in [
                f"No answer came from {server.url}: {what}. Check the connection's host and port, and the proxy if there is one."
                for what in (f"127.0.0.1:{server.port} said nothing for 0.2 s", "the answer took too long to arrive")
            ]
            assert len(server.asked) == 2


def test_what_does_not_speak_tls_is_named(test: Test) -> None:
    """As where https is asked of a server that speaks something else, and hangs up."""
    with serving(says(response()), hang_up=True) as server:
        address = server.url.replace("http://", "https://")
        assert test(address, "a-token") == (
            False,
            (
                f"No answer came from {address}: the encrypted connection (TLS) to 127.0.0.1:{server.port} failed. Check the "
                "connection's host and port, and the proxy if there is one."
            ),
        )


@pytest.mark.parametrize(
    "answer",
    [
        response(b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
        response(b"<html>Not found</html>", status="404 Not Found", headers={"Content-Type": "text/html"}),
        response(b""),
        response(b'{"status": "ok"}'),
        response(b'{"data": []}'),
        response(b'{"id": null}'),
        response(b'{"id": ""}'),
        response(b'{"id": true}'),
        response(b'{"id": {"of": "something"}}'),
        response(b'["me"]'),
        response(b"null"),
        response(b'{"detail": "Not found"}', status="404 Not Found"),
        response(b'{"error": "not_found"}', status="404 Not Found"),
        response(b'{"error": {"code": 404, "message": "no such thing"}}', status="404 Not Found"),
        response(b'{"error": {"code": 7, "message": "no such thing"}}'),
        response(b'{"error": "unauthorized"}', status="401 Unauthorized"),
    ],
)
def test_a_host_that_is_no_graph_api_is_named(answer: bytes, test: Test) -> None:
    """Whether it answers with pages for people or with JSON of its own."""
    with serving(says(answer)) as server:
        assert test(server.url, "a-token", **APP) == (
            False,
            f"What answers at {server.url} is no Graph API: check the connection's host.",
        )
        assert len(server.asked) <= 2
        assert all("debug_token" not in asked.line for asked in server.asked)


def test_a_redirect_is_not_followed(test: Test) -> None:
    """The token would go elsewhere."""
    answer = response(b"", status="302 Found", headers={"Location": "https://example.com/"})
    with serving(says(answer)) as server:
        assert test(server.url, "a-token") == (
            False,
            (
                "Graph API: the server sends the call elsewhere, and the token is not taken along. Put the base address of "
                "the Graph API itself into the connection's host. (HTTP status 302)"
            ),
        )


def test_trouble_at_meta_is_told(box: Sandbox, test: Test) -> None:
    """After a second try."""
    box.faults.add(Fault(code=2))
    assert test(box.url, box.token, **APP) == (
        False,
        "Graph API error 2: passing trouble at Meta. Try again later. (HTTP status 500, fbtrace_id …)",
    )
    assert edges(box) == ["me", "me"]


def test_trouble_that_passes_is_not_told(box: Sandbox, test: Test) -> None:
    """The second try is answered."""
    box.faults.add(Fault(code=2, times=1))
    assert test(box.url, box.token, **APP) == (True, f"{OWN}; it never ends. {BOTH}")


@pytest.mark.parametrize("code", [2500, 104])
def test_a_proxy_that_takes_the_header_away_is_told(code: int, box: Sandbox, test: Test) -> None:
    """The API answers as if there had been no token."""
    box.rules.swallow_authorization = True
    box.rules.no_token_code = code
    assert test(box.url, box.token, **APP) == (
        False,
        (
            f"Graph API error {code}: no access token arrived. Something on the way takes the Authorization header: look at "
            "the proxy, and at the connection's host. (HTTP status 400, fbtrace_id …)"
        ),
    )
    assert edges(box) == ["me"]


# ---- versions


@pytest.mark.parametrize("token", ["SANDBOX-PAGE-TOKEN", "NOBODY-S"])
def test_a_version_that_does_not_exist_is_told(token: str, box: Sandbox, test: Test) -> None:
    """The API reads it as a path, before it looks at the token."""
    assert test(box.url, token, api_version="v99.0", **APP) == (
        False,
        (
            f"The API at {box.url} has no version v99.0: check the connection's api_version (v26.0 if empty), and its host."
        ),
    )
    assert edges(box) == ["me"]


def test_a_dead_version_is_told(box: Sandbox, test: Test) -> None:
    """The oldest live one answers in its place; the token is good all the same."""
    assert test(box.url, box.token, api_version="v19.0", **APP) == (
        True,
        (
            f"{OWN}; it never ends. {BOTH} The API answered as v21.0 although v19.0 was asked for: that version is dead or "
            "not yet alive. Set api_version in the connection."
        ),
    )


# ---- limits


LIMITS = {
    4: (403, "the app has used up its calls."),
    17: (400, "the user has used up their calls."),
    32: (403, "the Page has used up its calls."),
    341: (400, "the app has used up its calls for now."),
    613: (400, "calls to the conversations API have exceeded its rate limit (2 calls a second for one Page)."),
    80001: (400, "there have been too many calls to this Page account."),
    368: (400, "the calls were held to be abusive and are blocked."),
}


@pytest.mark.parametrize("code", LIMITS)
@pytest.mark.parametrize("on, made", [("me", ["me"]), ("debug_token", ["me", "debug_token"])])
def test_a_limit_says_nothing_of_the_token(code: int, on: str, made: list[str], box: Sandbox, test: Test) -> None:
    """It is met once, and not tried again: that would prolong it."""
    box.faults.add(Fault(code=code, on=on))
    status, meaning = LIMITS[code]
    assert test(box.url, box.token, **APP) == (
        False,
        (
            f"A limit is reached, which says nothing of the access token: Graph API error {code}: {meaning} {STOP} "
            f"(HTTP status {status}, fbtrace_id …)"
        ),
    )
    assert edges(box) == made


def test_conversations_that_are_at_their_limit_do_not_matter(test: Test) -> None:
    """Nor does Test bring them nearer to it."""
    limits = Limits(calls=1, window=3600.0)
    with Sandbox(conversations=1, app_secret=SECRET, account_limits=limits) as box:
        for _ in range(3):
            assert test(box.url, box.token, **APP)[0]
        assert len(list(PageConversationsHook().conversations())) == 1


def test_an_app_that_is_at_its_limit_is_told(test: Test) -> None:
    """Which holds over all its calls."""
    with Sandbox(conversations=0, app_secret=SECRET, app_limits=Limits(calls=2, window=3600.0)) as box:
        assert test(box.url, box.token, **APP)[0]
        assert test(box.url, box.token, **APP)[1].startswith(
            "A limit is reached, which says nothing of the access token: Graph API error 4: the app has used up its calls."
        )


# ---- connections that cannot be used at all


@pytest.mark.parametrize(
    "token, extra, sentence",
    [
        ("", {}, "The connection 'pageconv_default' has no password: it takes the access token of the Page."),
        (
            "two words",
            {},
            (
                "The password of the connection 'pageconv_default' is no access token: it has spaces or characters beyond "
                "ASCII."
            ),
        ),
        (
            "a-token",
            {"timeout": "soon"},
            "timeout of the connection 'pageconv_default' is 'soon': it takes a number from 0.1 to 3600.",
        ),
        (
            "a-token",
            {"api_version": "26"},
            "api_version of the connection 'pageconv_default' is '26': it takes a version such as 'v26.0'.",
        ),
    ],
)
def test_a_connection_that_cannot_be_used_is_told(
    token: str, extra: dict[str, Any], sentence: str, box: Sandbox, test: Test
) -> None:
    """Before the first call."""
    assert test(box.url, token, **extra) == (False, sentence)
    assert edges(box) == []


def test_a_connection_that_is_not_there_is_told() -> None:
    """In Airflow's own sentence."""
    assert PageConversationsHook("nowhere").test_connection() == (False, "The conn_id `nowhere` isn't defined")


def test_a_usage_percentage_that_is_none_is_told(box: Sandbox, test: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Airflow's configuration."""
    monkeypatch.setenv("AIRFLOW__PAGECONV__USAGE_SLOW_PERCENT", "a lot")
    sentence = "[pageconv] usage_slow_percent of Airflow's configuration is 'a lot': it takes a number above 0."
    assert test(box.url, box.token) == (False, sentence)
