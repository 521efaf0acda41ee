"""What a person reads: the whole sentence of each error, with nothing in it that Meta's own text may carry."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import pytest

from airflow_provider_pageconv.graph.errors import GraphError
from tests.graph.answers import LATER, LIST, STATUSES, TRACE, business_row, business_usage, error_body, refusal, refused

FACTS = f"(HTTP status 400, fbtrace_id {TRACE})"
STOP = "Stop calling and come back later: calls made meanwhile prolong the block."
NEW_TOKEN = "Put a new access token into the connection."
PERMISSIONS = (
    "Messenger needs the task MESSAGING on the Page and pages_messaging, pages_manage_metadata and "
    "pages_read_engagement; Instagram needs instagram_basic, instagram_manage_messages and pages_manage_metadata."
)
LOG_IN = "Log in, then put a new token in if need be."

SENTENCES = [
    (200, None, "a permission is missing.", PERMISSIONS),
    (10, None, "a permission is missing.", PERMISSIONS),
    (230, None, "the permission for messages to or from this person is missing.", PERMISSIONS),
    (
        100,
        None,
        "a parameter is not valid.",
        "Check the page id, the user_id and the fields that the task names.",
    ),
    (
        100,
        33,
        "the object does not exist, or the token may not see it.",
        "Check the id, and that the token is the Page's.",
    ),
    (190, None, "the access token is not valid.", NEW_TOKEN),
    (190, 458, "the person who gave the token has removed the app.", NEW_TOKEN),
    (190, 459, "the person who gave the token has to log in to Facebook first.", LOG_IN),
    (190, 460, "the person who gave the token has changed their password.", NEW_TOKEN),
    (190, 463, "the access token has expired.", NEW_TOKEN),
    (190, 464, "the person who gave the token has to confirm their account.", LOG_IN),
    (190, 467, "the access token is no longer valid.", NEW_TOKEN),
    (
        190,
        492,
        "the person who gave the token has lost their role on the Page.",
        "Let someone with a role give a new token.",
    ),
    (190, 999, "the access token is not valid.", NEW_TOKEN),
    (102, None, "the access token is not valid.", NEW_TOKEN),
    (
        613,
        None,
        "calls to the conversations API have exceeded its rate limit (2 calls a second for one Page).",
        STOP,
    ),
    (368, None, "the calls were held to be abusive and are blocked.", STOP),
    (80006, None, "there have been too many Messenger API calls to this Page account.", STOP),
    (4, None, "the app has used up its calls.", STOP),
    (17, None, "the user has used up their calls.", STOP),
    (32, None, "the Page has used up its calls.", STOP),
    (341, None, "the app has used up its calls for now.", STOP),
    (80001, None, "there have been too many calls to this Page account.", STOP),
    (80002, None, "there have been too many calls to this Instagram account.", STOP),
    (80005, None, "a limit on calls is reached.", STOP),
    (
        104,
        None,
        "the signature of the call (appsecret_proof) is wrong or missing.",
        "Put the secret of the app that the token belongs to into the connection's app_secret.",
    ),
    (2500, None, "the query cannot be parsed.", "Check the page id and the fields that the task names."),
    (1, None, "passing trouble at Meta.", "Try again later."),
    (2, None, "passing trouble at Meta.", "Try again later."),
]


@pytest.mark.parametrize("code, subcode, meaning, remedy", SENTENCES)
def test_the_sentence_of_each_code(code: int, subcode: int | None, meaning: str, remedy: str) -> None:
    """What happened, what to do, and what Meta's support asks for."""
    name = f"{code}/{subcode}" if subcode is not None else f"{code}"
    assert str(refused(code, subcode)) == f"Graph API error {name}: {meaning} {remedy} {FACTS}"


def test_the_sentences_of_what_needs_no_remedy_or_has_no_code() -> None:
    """They stay whole without the parts that are missing."""
    assert str(refused(9000001)) == f"Graph API error 9000001: the message is not available (any more). {FACTS}"
    for status in (404, 502):
        assert str(refusal(b"<html></html>", status=status)) == (
            "Graph API: the answer cannot be read. Try again later; if it stays, check the connection's host, and the "
            f"proxy if there is one. (HTTP status {status})"
        )
    assert str(refusal(b"", status=302)) == (
        "Graph API: the server sends the call elsewhere, and the token is not taken along. "
        "Put the base address of the Graph API itself into the connection's host. (HTTP status 302)"
    )
    assert str(refusal(b"", status=429)) == f"Graph API: the server refuses calls for now. {STOP} (HTTP status 429)"
    assert str(GraphError("it broke")) == "Graph API: it broke."


@pytest.mark.parametrize("code", [2500, 104])
def test_the_sentence_of_a_token_that_did_not_arrive(code: int) -> None:
    """It is neither the token's fault nor the query's."""
    assert str(refused(code, message="An active access token must be used to query information")) == (
        f"Graph API error {code}: no access token arrived. Something on the way takes the Authorization header: look at "
        f"the proxy, and at the connection's host. {FACTS}"
    )


def test_the_sentences_of_cursors_fields_and_sizes() -> None:
    """Those that the export handles by itself, and that surface once it cannot."""
    assert str(refused(100, request=LATER)) == (
        f"Graph API error 100: the cursor is not valid any more. Walk the list again from its beginning. {FACTS}"
    )
    assert str(refused(100, message="The After Cursor specified exceeds the max limit", request=LATER)) == (
        f"Graph API error 100: the cursor lies deeper than the API goes. Walk the list again from its beginning. {FACTS}"
    )
    assert str(refused(100, message="nonexisting field (subject) on node type (UnifiedThread)")) == (
        f"Graph API error 100: the field 'subject' is not known. Leave it out of the fields. {FACTS}"
    )
    several = refused(100, message="nonexisting fields (subject, link) on node type (UnifiedThread)")
    assert several.meaning == "the fields 'subject', 'link' are not known"
    assert str(refused(1, message="Please reduce the amount of data you're asking for")) == (
        f"Graph API error 1: the answer would be too large. Ask for less at once. {FACTS}"
    )
    assert str(refused(200, message="(#200) Requires pages_messaging permission")) == (
        f"Graph API error 200: a permission is missing: pages_messaging. {PERMISSIONS} {FACTS}"
    )


TOKEN = "EAAGm0PX4ZCpsBAKZC" + "x7Qz" * 40 + "ZD"
PRIVATE = (TOKEN, "Ana María", "Ñandú", "ana.maria@example.com", "te veo a las 8")


def texts(error: BaseException) -> Iterator[str]:
    """Everything that a log, a traceback or a debugger would make of an error."""
    yield str(error)
    yield repr(error)
    yield repr(error.args)
    yield repr(vars(error))
    yield "".join(traceback.format_exception(error))
    for value in vars(error).values():
        yield str(value)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("request_", [LIST, LATER], ids=["first page", "later page"])
@pytest.mark.parametrize(
    "code", [None, 0, 1, 2, 3, 4, 10, 12, 17, 99, 100, 102, 104, 190, 200, 210, 230, 368, 613, 2500, 80006, 9000001]
)
@pytest.mark.parametrize("subcode", [None, 33, 463])
def test_nothing_of_metas_own_text_is_in_an_error(
    code: int | None, subcode: int | None, request_: object, status: int
) -> None:
    """It quotes tokens and names people, in any of its texts, in the trace id's place and in headers."""
    hidden = f"Sent by {' '.join(PRIVATE)} (nonexisting field ({TOKEN})) on node type ({TOKEN})"
    body = error_body(
        code,
        subcode,
        hidden,
        type=hidden,
        error_user_title=hidden,
        error_user_msg=hidden,
        error_data={"blame": hidden},
        fbtrace_id=hidden,
    )
    headers = {
        "x-fb-trace-id": TOKEN,
        "www-authenticate": hidden,
        "retry-after": TOKEN,
        **business_usage({**business_row(3), "type": "ana.maria@example.com"}, owner=TOKEN),
    }
    error = refusal(body, status=status, headers=headers, request=request_)  # type: ignore[arg-type]
    for text in texts(error):
        for secret in PRIVATE:
            assert secret not in text


def test_nothing_of_a_page_that_is_no_answer_of_metas_is_in_an_error() -> None:
    """A proxy's page may quote the whole request."""
    for status in (200, 302, 403, 404, 429, 502):
        error = refusal(f"<p>{' '.join(PRIVATE)}</p>".encode(), status=status, headers={"location": f"/?t={TOKEN}"})
        for text in texts(error):
            for secret in PRIVATE:
                assert secret not in text


def test_credentials_do_not_show() -> None:
    """Neither in `repr` nor in an f-string."""
    from airflow_provider_pageconv.graph.protocol import Credentials

    credentials = Credentials(TOKEN, "the-app-secret")
    for text in (repr(credentials), f"{credentials}"):
        assert TOKEN not in text
        assert "the-app-secret" not in text
        assert credentials.proof is not None
        assert credentials.proof not in text
