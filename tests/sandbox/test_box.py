"""The sandbox without a network: a call in, a reply out."""

from __future__ import annotations

import json

import pytest

from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.sandbox.box import Box, RecordedRequest, Reply, edge_of
from airflow_provider_pageconv.sandbox.graph_api import Call
from tests.sandbox.conftest import NOW


def asked(box: Box, path: str, **params: str) -> tuple[Reply, RecordedRequest]:
    """Ask as a server would."""
    call = Call("GET", path, params, "v26.0", box.token, "http://127.0.0.1")
    record = RecordedRequest("GET", path, path, dict(params), {}, 0.0, "v26.0", edge_of(call))
    return box.reply(call, record), record


def test_reply_needs_no_server() -> None:
    """A box answers, records what was asked, and says what time it is."""
    box = Box(conversations=5, now=NOW, date="page")
    reply, record = asked(box, f"/{box.page.id}/conversations", limit="2")
    assert (reply.status, record.edge, len(json.loads(reply.body)["data"])) == (200, "conversations", 2)
    assert dict(reply.headers)["Date"] == "Sat, 21 Nov 2026 10:00:00 GMT"
    assert box.requests == [record]


@pytest.mark.parametrize(
    "fault, status, begin",
    [
        (Fault("html"), 502, b"<!DOCTYPE html>"),
        (Fault("heavy", size=1, status=504), 504, b"<!DOCTYPE html>"),
        (Fault("not_json", status=400), 400, b'{"data": [{"id": "t_1", '),
        (Fault("not_json", message="~"), 200, b"~"),
    ],
)
def test_reply_is_what_goes_over_the_wire(fault: Fault, status: int, begin: bytes) -> None:
    """A body that nobody can read is in the reply itself, with its status and its type."""
    box = Box(conversations=5, now=NOW, faults=[fault])
    reply, _ = asked(box, f"/{box.page.id}/conversations", limit="2")
    assert (reply.status, reply.body[: len(begin)]) == (status, begin)
    assert dict(reply.headers)["Content-Type"].startswith("text/html" if b"html" in begin else "application/json")


def test_address_is_known_while_it_runs() -> None:
    """Before it was started, a sandbox has no address."""
    box = Sandbox(conversations=1)
    with pytest.raises(RuntimeError, match="the sandbox is not running"):
        assert box.url
    with box:
        assert box.url == f"http://127.0.0.1:{box.port}"
