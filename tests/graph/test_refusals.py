"""Every answer that is no good one becomes the error that says what to do next, by its code and not by its status."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphCursorError,
    GraphError,
    GraphPermissionError,
    GraphRateLimitError,
    GraphRequestError,
    GraphTooLargeError,
    GraphTransientError,
    GraphUnavailableError,
)
from airflow_provider_pageconv.graph.protocol import Answer, Request, Response, decipher
from tests.graph.answers import (
    LATER,
    LIST,
    STATUSES,
    TRACE,
    business_row,
    business_usage,
    error_body,
    refusal,
    refused,
)

LIMITS = (4, 17, 32, 341, 613, 80001, 80002, 80006, 368)
BY_CODE = {
    1: GraphTransientError,
    2: GraphTransientError,
    **dict.fromkeys(LIMITS, GraphRateLimitError),
    190: GraphAuthError,
    102: GraphAuthError,
    **dict.fromkeys((3, 10, *range(200, 300)), GraphPermissionError),
    100: GraphRequestError,
    104: GraphRequestError,
    2500: GraphRequestError,
    9000001: GraphUnavailableError,
}
TOO_MUCH = "Please reduce the amount of data you're asking for, then retry your request"


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("code", BY_CODE)
def test_the_code_decides_whatever_the_status(code: int, status: int) -> None:
    """A throttled app was seen as 400 and as 403, and an error may stand in an answer of status 200."""
    error = refused(code, status=status)
    assert type(error) is BY_CODE[code]
    assert (error.code, error.subcode, error.http_status, error.fbtrace_id) == (code, None, status, TRACE)


REGAIN = {
    "no header": ({}, None),
    "business": (business_usage(business_row(7)), 7 * 60),
    "business, the greatest of several": (business_usage(business_row(3), business_row(11, kind="pages")), 11 * 60),
    "business, the last of 32": (business_usage(*[business_row(1)] * 31, business_row(90)), 90 * 60),
    "business, 0": (business_usage(business_row(0)), None),
    "app": ({"x-app-usage": '{"call_count":100,"estimated_time_to_regain_access":4}'}, 4 * 60),
    "app without a time": ({"x-app-usage": '{"call_count":100,"total_time":25,"total_cputime":25}'}, None),
    "page": ({"x-page-usage": '{"call_count":100,"estimated_time_to_regain_access":"5"}'}, 5 * 60),
    "page below, business above": (
        {"x-page-usage": '{"estimated_time_to_regain_access":5}', **business_usage(business_row(6))},
        6 * 60,
    ),
    "Retry-After": ({"retry-after": "90"}, 90),
    "Retry-After below the business header": ({"retry-after": "90", **business_usage(business_row(2))}, 120),
    "Retry-After above the business header": ({"retry-after": "900", **business_usage(business_row(2))}, 900),
    "Retry-After of 0": ({"retry-after": "0"}, None),
    "Retry-After that is a date": ({"retry-after": "Sat, 21 Nov 2026 02:00:00 GMT"}, None),
}


@pytest.mark.parametrize("headers, seconds", REGAIN.values(), ids=REGAIN)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("code", LIMITS)
def test_a_limit_says_when_to_come_back(code: int, status: int, headers: dict[str, str], seconds: int | None) -> None:
    """Minutes in the usage headers, seconds in `Retry-After`; the greatest counts, and 0 names no time."""
    error = refused(code, status=status, headers=headers)
    assert isinstance(error, GraphRateLimitError)
    assert error.retry_after == (None if seconds is None else timedelta(seconds=seconds))


def test_a_limit_brings_the_usage_of_its_own_answer() -> None:
    """What the refusal's headers said about each limit."""
    error = refused(80006, headers=business_usage(business_row(3), business_row(0, kind="pages", percent=40)))
    assert isinstance(error, GraphRateLimitError)
    assert error.usage is not None
    assert error.usage.by_type == {"messenger": 100.0, "pages": 40.0}
    assert refused(80006).usage is None  # type: ignore[attr-defined]


ADS = business_row(45, kind="ads_management")
MESSENGER = Request(LIST.path, LIST.params, True, ("messenger", "pages"))


@pytest.mark.parametrize("code", LIMITS)
def test_a_limit_is_not_waited_for_as_long_as_another_products(code: int) -> None:
    """The business header tells of every product of the business; what governs the call is what counts."""
    error = refused(
        code, headers=business_usage(ADS, business_row(3), business_row(2, kind="pages", percent=40)), request=MESSENGER
    )
    assert isinstance(error, GraphRateLimitError)
    assert error.retry_after == timedelta(minutes=3)
    assert error.usage is not None
    assert error.usage.by_type == {"messenger": 100.0, "pages": 40.0}
    bare = refused(code, headers=business_usage(ADS), request=MESSENGER)
    assert isinstance(bare, GraphRateLimitError)
    assert (bare.retry_after, bare.usage) == (None, None)


def test_a_bare_429_is_not_waited_for_as_long_as_another_products_limit_either() -> None:
    """Its `Retry-After` counts, and the app's own usage."""
    headers = {"retry-after": "30", "x-app-usage": '{"call_count": 100}', **business_usage(ADS)}
    error = refusal(b"", status=429, headers=headers, request=MESSENGER)
    assert isinstance(error, GraphRateLimitError)
    assert error.retry_after == timedelta(seconds=30)
    assert error.usage is not None
    assert error.usage.by_type == {"app": 100.0}


@pytest.mark.parametrize(
    "body", [b"", b"Too many requests", b"<html></html>", b"[]", b'{"error": {}}', b'{"data": []}']
)
def test_a_bare_429_is_a_limit_too(body: bytes) -> None:
    """A proxy or a gateway sends no code."""
    error = refusal(body, status=429, headers={"retry-after": "30"})
    assert type(error) is GraphRateLimitError
    assert error.code is None
    assert error.retry_after == timedelta(seconds=30)


def test_a_429_around_a_code_of_another_kind_is_no_limit() -> None:
    """The code comes first."""
    assert type(refused(190, status=429, headers={"retry-after": "30"})) is GraphAuthError


@pytest.mark.parametrize("subcode", [458, 459, 460, 463, 464, 467, 492, 1, None])
def test_every_subcode_of_190_ends_the_task(subcode: int | None) -> None:
    """The remedies differ, the class does not."""
    error = refused(190, subcode, status=401)
    assert type(error) is GraphAuthError
    assert error.subcode == subcode


@pytest.mark.parametrize("code", [1, 2, None, 99])
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("key", ["message", "error_user_msg", "error_user_title"])
def test_too_much_data_is_seen_in_whichever_text_says_so(key: str, status: int, code: int | None) -> None:
    """Then the same request is never made again, so it must not pass for passing trouble."""
    error = refusal(error_body(code, **{key: TOO_MUCH}), status=status)  # type: ignore[arg-type]
    bare_limit = code is None and status == 429
    assert type(error) is (GraphRateLimitError if bare_limit else GraphTooLargeError)


@pytest.mark.parametrize(
    "body, status",
    [
        (error_body(99, is_transient=True), 400),
        (error_body(99), 500),
        (error_body(None), 503),
        (b"", 500),
        (b"<html>Sorry, something went wrong.</html>", 502),
        (b'{"data": []}', 500),
        (b"", 408),
        (b"", 204),
        (b"", 200),
        (b"<html>Log in to this network</html>", 200),
        (b'{"data": [{"id": "1"', 200),
        (b"[]", 200),
        (b'[{"code": 200, "body": "{}"}]', 200),
        (b"null", 200),
        (b'"text"', 200),
        (b"7", 200),
        (b'{"data": [], "x": NaN}', 200),
        (b'{"data": [], "x": -Infinity}', 200),
        (b'{"data": [], "x": 1e999}', 200),
        (b'\xff\xfe{"data": []}', 200),
        (b'{"data": ["\xff"]}', 200),
        (b"[" * 100_000, 200),
        (b'{"data": ' + b"9" * 5000 + b"}", 200),
    ],
)
def test_what_passes_or_cannot_be_read_is_tried_again_later(body: bytes, status: int) -> None:
    """Cut, empty and unreadable bodies are no good answers, whatever their status."""
    assert type(refusal(body, status=status)) is GraphTransientError


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error(status: int) -> None:
    """Following it would carry the token to another host."""
    error = refusal(b"", status=status, headers={"location": "https://other.example/?access_token=x"})
    assert type(error) is GraphRequestError
    assert "other.example" not in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 410, 451])
@pytest.mark.parametrize("body", [b"", b"<html>Forbidden</html>", b"[]", b'{"data": []}', b'{"message": "no"}'])
def test_a_refusal_that_is_none_of_metas_is_passing_trouble(body: bytes, status: int) -> None:
    """Something on the way answered, and was seen to be gone a moment later: it says nothing of the call."""
    error = refusal(body, status=status)
    assert type(error) is GraphTransientError
    assert (error.code, error.http_status) == (None, status)
    assert "check the connection's host, and the proxy if there is one" in error.remedy


@pytest.mark.parametrize(
    "inner", [{}, [], "no", 7, True, False, {"code": None}, {"code": "x"}, {"code": True}, {"code": [190]}]
)
@pytest.mark.parametrize("status", [200, 400, 403])
def test_an_error_of_no_known_shape_is_still_an_error(inner: object, status: int) -> None:
    """A green run on an error body would be the worst of all."""
    error = refusal(json.dumps({"error": inner, "data": []}).encode(), status=status)
    assert type(error) is GraphError
    assert error.code is None


@pytest.mark.parametrize("code", [0, -3, 5, 99, 506, 1_000_000, 10**11])
def test_an_unknown_code_says_so_and_keeps_its_number(code: int) -> None:
    """It ends the walk, and whoever reads the sentence can look the code up."""
    error = refused(code)
    assert type(error) is GraphError
    assert str(error) == (
        f"Graph API error {code}: an error that this version does not know. Look the code up in Meta's error list. "
        f"(HTTP status 400, fbtrace_id {TRACE})"
    )


def test_codes_may_come_as_text() -> None:
    """Seen in answers that passed through somebody's gateway."""
    error = refusal(error_body("190", "463"))  # type: ignore[arg-type]
    assert type(error) is GraphAuthError
    assert (error.code, error.subcode) == (190, 463)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("code", [2500, 104])
@pytest.mark.parametrize(
    "message",
    [
        "An active access token must be used to query information about the current user.",
        "An access token is required to request this resource.",
        "(#2500) AN ACTIVE ACCESS TOKEN MUST BE USED",
    ],
)
def test_a_call_whose_token_did_not_arrive_is_told_from_a_bad_query(message: str, code: int, status: int) -> None:
    """Somebody has to look at the proxy; at the fields, or at the app secret, they would look in vain."""
    error = refused(code, message=message, status=status)
    assert type(error) is GraphAuthError
    assert error.meaning == "no access token arrived"
    assert error.code == code


@pytest.mark.parametrize("message", ["Unknown path components: /conversations", "Syntax error at character 3", ""])
def test_2500_without_a_word_of_the_token_is_a_bad_query(message: str) -> None:
    """As with a version that does not exist."""
    assert type(refused(2500, message=message)) is GraphRequestError


NOT_THERE = (
    "Unsupported get request. Object with ID 't_1' does not exist, cannot be loaded due to missing permissions, "
    "or does not support this operation"
)


@pytest.mark.parametrize("request_", [LIST, LATER])
@pytest.mark.parametrize("status", STATUSES)
def test_missing_or_forbidden_objects_are_told_from_bad_parameters(status: int, request_: Request) -> None:
    """100/33 is recorded as unavailable, 100 alone ends the task; so with a cursor as without.

    What does not exist may be a limit in other words, with the subcode or, by its text, without one.
    """
    for error in (
        refused(100, 33, status=status, request=request_),
        refused(100, 33, message=NOT_THERE, status=status, request=request_),
        refused(100, message=NOT_THERE, status=status, request=request_),
        refused(100, message="(#100) Object with ID 't_1' does not exist", status=status, request=request_),
    ):
        assert type(error) is GraphUnavailableError
        assert error.may_be_limit


def test_another_subcode_of_100_is_a_bad_parameter() -> None:
    """Whatever its text."""
    assert type(refused(100, 34)) is GraphRequestError
    assert type(refused(100, 34, message=NOT_THERE)) is GraphRequestError


def test_a_message_that_is_unavailable_is_no_limit() -> None:
    """9000001 is taken at its word."""
    error = refused(9000001)
    assert type(error) is GraphUnavailableError
    assert error.may_be_limit is False


def test_an_unavailable_message_is_unavailable_in_a_list_with_a_cursor_too() -> None:
    """The same error stands for a message that was unsent and for one beyond the newest 20."""
    assert type(refused(9000001, request=LATER)) is GraphUnavailableError


@pytest.mark.parametrize(
    "message, too_deep",
    [
        ("(#100) Invalid cursor specified: the cursor is no longer valid for this edge", False),
        ("(#100) Invalid parameter", False),
        ("The After Cursor specified exceeds the max limit supported by this endpoint", True),
    ],
)
@pytest.mark.parametrize("status", STATUSES)
def test_a_parameter_refused_after_a_cursor_is_the_cursor(message: str, too_deep: bool, status: int) -> None:
    """The same request without one was answered; and a cursor that is too deep would be again."""
    error = refused(100, message=message, request=LATER, status=status)
    assert type(error) is GraphCursorError
    assert error.too_deep is too_deep


def test_a_parameter_refused_without_a_cursor_is_the_parameter() -> None:
    """Walking again would be refused again."""
    assert type(refused(100, message="(#100) Param folder must be one of {inbox}", request=LIST)) is GraphRequestError


@pytest.mark.parametrize("code", [3, 10, 200, 230, 283, 299])
def test_the_permission_that_metas_text_names_is_named(code: int) -> None:
    """All of them, and none that it does not name."""
    error = refused(code, message=f"(#{code}) Requires pages_messaging and instagram_basic permission to manage it")
    assert type(error) is GraphPermissionError
    assert error.meaning == "a permission is missing: pages_messaging, instagram_basic"
    assert "instagram_manage_messages" not in error.meaning


def test_a_user_token_where_a_pages_is_needed_is_told_apart() -> None:
    """190 and 210 both say it; the remedy is another token, not another permission."""
    for error in (
        refused(210, message="(#210) A page access token is required to request this resource."),
        refused(190, message="This method must be called with a Page Access Token"),
        refused(200, message="(#200) A page access token is required to request this resource."),
    ):
        assert error.meaning == "the access token is not a Page's"
        assert error.remedy == "Put the Page's own access token into the connection"


def test_a_missing_proof_is_named_although_its_code_is_that_of_a_parameter() -> None:
    """ "API calls from the server require an appsecret_proof argument" comes as 100, with a cursor too."""
    error = refused(100, message="API calls from the server require an appsecret_proof argument", request=LATER)
    assert type(error) is GraphRequestError
    assert error.meaning == refused(104).meaning


def test_the_trace_id_of_the_header_stands_in_for_a_missing_one() -> None:
    """Meta's support asks for it; it comes with bodies that are not Meta's JSON as well."""
    headers = {"x-fb-trace-id": "HdrTrace01"}
    assert refusal(b'{"error": {"code": 190}}', headers=headers).fbtrace_id == "HdrTrace01"
    assert refusal(b"<html></html>", status=502, headers=headers).fbtrace_id == "HdrTrace01"
    assert refusal(error_body(190), headers=headers).fbtrace_id == TRACE


def test_whether_meta_calls_it_passing_is_kept() -> None:
    """For whoever handles errors that this version does not know."""
    assert refusal(error_body(4, is_transient=True)).is_transient is True
    assert refusal(error_body(4, is_transient="true")).is_transient is False
    assert refused(4).is_transient is False


def test_errors_survive_the_way_between_processes() -> None:
    """Pickled and unpickled they say the same."""
    for error in (
        refused(190, 463),
        refused(613, headers=business_usage(business_row(3))),
        refused(100, request=LATER),
        refused(100, message="nonexisting field (subject) on node type (UnifiedThread)"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


# ---- good answers


def test_a_good_answer_brings_what_its_headers_say() -> None:
    """Usage of what governs the call, the version that answered, and what time it is for the API."""
    headers = {
        "facebook-api-version": "v25.0",
        "date": "Sat, 21 Nov 2026 10:00:00 GMT",
        **business_usage(business_row(kind="ads_management"), business_row(percent=12)),
    }
    answer = decipher(Response(200, headers, b'{"data": []}'), MESSENGER)
    assert answer.data == {"data": []}
    assert answer.usage is not None
    assert (answer.usage.percent, answer.usage.by_type) == (12.0, {"messenger": 12.0})
    assert answer.version == "v25.0"
    assert answer.date == datetime(2026, 11, 21, 10, tzinfo=timezone.utc)


def test_a_good_answer_without_headers_is_as_good() -> None:
    """Nothing is made up for what is missing or cannot be read."""
    for headers in ({}, {"date": "soon", "facebook-api-version": "EAAB", "x-app-usage": "{"}):
        assert decipher(Response(200, headers, b'{"id": "1"}'), Request("me")) == Answer({"id": "1"})


def test_a_node_is_a_good_answer_only_where_no_list_was_asked_for() -> None:
    """A list that is none would end a walk as if it were empty."""
    body = Response(200, {}, b'{"id": "1", "data": {}}')
    assert decipher(body, Request("me")).data["id"] == "1"
    with pytest.raises(GraphTransientError):
        decipher(body, MESSENGER)
