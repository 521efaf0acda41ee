"""Answers in Meta's shape, as the tests of this folder feed them to pure functions."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_pageconv.graph.errors import GraphError
from airflow_provider_pageconv.graph.protocol import Answer, Request, Response, decipher

LIST = Request(
    "100/conversations", {"platform": "messenger", "folder": "inbox", "fields": "id,link,subject", "limit": "100"}
)
LATER = Request(LIST.path, {**LIST.params, "after": "QVFIUj"})
TRACE = "AbC1dEfGhIjKlMnOpQrStUv"  # pragma: allowlist secret

STATUSES = (200, 400, 403, 429, 500)


def error_body(code: int | None, subcode: int | None = None, message: str = "Something is wrong", **more: Any) -> bytes:
    """The body of a refusal."""
    error: dict[str, Any] = {"message": message, "type": "OAuthException", "fbtrace_id": TRACE, **more}
    if code is not None:
        error["code"] = code
    if subcode is not None:
        error["error_subcode"] = subcode
    return json.dumps({"error": error}).encode()


def refusal(
    body: bytes, *, status: int = 400, headers: dict[str, str] | None = None, request: Request = LIST
) -> GraphError:
    """The error that an answer is read as."""
    try:
        answer: Answer = decipher(Response(status, headers or {}, body), request)
    except GraphError as error:
        return error
    raise AssertionError(f"read as a good answer: {answer}")


def refused(
    code: int | None, subcode: int | None = None, message: str = "Something is wrong", **how: Any
) -> GraphError:
    """The error that a code is read as."""
    return refusal(error_body(code, subcode, message), **how)


def business_usage(*rows: dict[str, Any], owner: str = "100") -> dict[str, str]:
    """The usage header of business use cases."""
    return {"x-business-use-case-usage": json.dumps({owner: list(rows)})}


def business_row(regain: int = 0, *, kind: str = "messenger", percent: int = 100) -> dict[str, Any]:
    """One object of that header; the time until access is regained is in minutes."""
    return {
        "type": kind,
        "call_count": percent,
        "total_cputime": 1,
        "total_time": 1,
        "estimated_time_to_regain_access": regain,
    }
