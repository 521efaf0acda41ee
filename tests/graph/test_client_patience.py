"""What passes is waited out, within bounds; what does not is raised at once; and a single call, as an engine makes it."""

from __future__ import annotations

import contextlib
import gzip
import logging
import socket
import struct
import threading
import time

import pytest

from airflow_provider_pageconv.graph import client as client_module
from airflow_provider_pageconv.graph.client import ATTEMPTS, GraphClient
from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphError,
    GraphPermissionError,
    GraphRateLimitError,
    GraphRequestError,
    GraphTooLargeError,
    GraphTransientError,
)
from airflow_provider_pageconv.graph.protocol import Credentials, Request, Response
from tests.graph.answers import business_row, business_usage, error_body
from tests.graph.loopback import Asked, dripping, response, says, serving
from tests.under_way import no_call_is_left

REQUEST = Request("100/conversations", {"fields": "id"}, is_list=True)
GOOD = response(b'{"data": [{"id": "1"}]}')


def client(url: str, slept: list[float] | None = None, timeout: float = 5.0) -> GraphClient:
    """A client without pace; what it would sleep is written down instead."""
    slept = [] if slept is None else slept
    return GraphClient(
        url, Credentials("token"), version="v26.0", calls_per_second=0, timeout=timeout, sleep=slept.append
    )


def reset(connection: socket.socket, asked: Asked) -> None:
    """End the connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


PASSING = {
    "500 in Meta's shape": response(error_body(2), status="500 Internal Server Error"),
    "1 with status 200": response(error_body(1)),
    "502 in HTML": response(b"<html></html>", status="502 Bad Gateway"),
    "an empty body": response(b""),
    "no JSON": response(b'{"data": ['),
    "no word at all": b"",
    "403 in HTML": response(b"<html></html>", status="403 Forbidden"),
    "404 without a body": response(b"", status="404 Not Found"),
    "a list that is none": response(b'{"data": {}}'),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no HTTP": b"\x00\x01\x02nonsense\r\n\r\n",
    "an encoding that it is not in": response(b"plain", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING)
def test_passing_trouble_is_tried_again(answer: bytes) -> None:
    """After a pause, and then all is well."""
    slept: list[float] = []
    with serving(says(answer, answer, GOOD)) as server:
        one = client(server.url, slept)
        assert one.get(REQUEST).data == {"data": [{"id": "1"}]}
    assert len(server.asked) == one.calls == 3
    assert len(slept) == 2


def test_a_body_that_is_cut_is_tried_again() -> None:
    """Its length was announced; so with a chunk that never ends."""
    for beginning in (
        b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"data": []}',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{"data": []}\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{"data": []}\r\n',
    ):

        def script(connection: socket.socket, asked: Asked, beginning: bytes = beginning) -> None:
            connection.sendall(GOOD if asked.number else beginning)
            if not asked.number:
                connection.shutdown(socket.SHUT_RDWR)

        with serving(script) as server:
            one = client(server.url)
            assert one.get(REQUEST).data == {"data": [{"id": "1"}]}
            assert one.calls == 2


def test_a_connection_that_is_reset_is_tried_again() -> None:
    """On a fresh one."""
    with serving(
        lambda connection, asked: reset(connection, asked) if asked.number < 2 else connection.sendall(GOOD)
    ) as server:
        one = client(server.url)
        one.get(REQUEST)
    assert one.calls == 3


def test_a_length_that_contradicts_itself_is_passing_trouble() -> None:
    """The address is good, the answer is not."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 13\r\n\r\n" + b'{"data": []}'
    with serving(says(answer, GOOD)) as server:
        one = client(server.url)
        assert one.get(REQUEST).data == {"data": [{"id": "1"}]}
        assert one.calls == 2


def test_a_server_that_is_not_there_is_passing_trouble() -> None:
    """It may come back."""
    slept: list[float] = []
    with pytest.raises(GraphTransientError) as caught:
        client("http://127.0.0.1:1", slept).get(REQUEST)
    assert str(caught.value) == (
        "Graph API: 127.0.0.1:1 refused the connection. Check the connection's host and port, or try again later."
    )
    assert len(slept) == ATTEMPTS - 1


def test_the_pauses_grow_and_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """1, 2, 4, 8, 16 seconds at most and half of that at least; six calls, then the error itself."""
    spread = set()
    with serving(says(PASSING["502 in HTML"])) as server:
        for _ in range(3):
            slept: list[float] = []
            one = client(server.url, slept)
            with pytest.raises(GraphTransientError) as caught:
                one.get(REQUEST)
            assert caught.value.http_status == 502
            assert one.calls == ATTEMPTS == 6
            for pause, most in zip(slept, (1, 2, 4, 8, 16), strict=True):
                assert most / 2 <= pause <= most
            spread.add(tuple(slept))
        assert len(server.asked) == 18
    assert len(spread) == 3
    monkeypatch.setattr(client_module, "ATTEMPTS", 9)
    with serving(says(PASSING["502 in HTML"])) as server:
        slept = []
        with pytest.raises(GraphTransientError):
            client(server.url, slept).get(REQUEST)
    assert max(slept) <= 30


def test_each_pause_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    """So that a task that waits does not look like one that hangs."""
    with serving(says(PASSING["502 in HTML"], GOOD)) as server:
        client(server.url).get(REQUEST)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith(
        "Graph API: the answer cannot be read. Try again later; if it stays, check the connection's host"
    )
    assert "(HTTP status 502) Trying again in " in line
    assert line.endswith(" s (1 of 5).")


@pytest.mark.parametrize(
    "answer, kind",
    [
        (response(error_body(190), status="401 Unauthorized"), GraphAuthError),
        (response(error_body(200), status="500 Oops"), GraphPermissionError),
        (response(error_body(100), status="500 Oops"), GraphRequestError),
        (response(error_body(613), status="500 Oops"), GraphRateLimitError),
        (response(error_body(368)), GraphRateLimitError),
        (response(b"slow down", status="429 Too Many Requests"), GraphRateLimitError),
        (response(error_body(1, message="Please reduce the amount of data"), status="500 Oops"), GraphTooLargeError),
        (response(error_body(99)), GraphError),
        (response(error_body(2500, message="An active access token must be used")), GraphAuthError),
        (response(b"", status="302 Found"), GraphRequestError),
    ],
)
def test_what_does_not_pass_is_raised_at_the_first_call(answer: bytes, kind: type[GraphError]) -> None:
    """Above all a limit: calls made meanwhile prolong the block."""
    slept: list[float] = []
    with serving(says(answer)) as server:
        one = client(server.url, slept)
        with pytest.raises(GraphError) as caught:
            one.get(REQUEST)
    assert type(caught.value) is kind
    assert one.calls == len(server.asked) == 1
    assert slept == []


def test_every_call_is_counted() -> None:
    """The repeated ones too."""
    with serving(says(PASSING["no word at all"], GOOD)) as server:
        one = client(server.url)
        one.get(REQUEST)
        one.get(REQUEST)
        assert one.calls == len(server.asked) == 3


def test_calls_share_one_connection() -> None:
    """Kept alive, also after a refusal in Meta's shape."""
    with serving(says(GOOD, response(error_body(100), status="400 Bad Request"), GOOD)) as server:
        one = client(server.url)
        one.get(REQUEST)
        with pytest.raises(GraphRequestError):
            one.get(REQUEST)
        for _ in range(4):
            one.get(REQUEST)
    assert (len(server.asked), server.connections) == (6, 1)


def test_a_compressed_answer_is_read() -> None:
    """And was asked for."""
    body = gzip.compress(b'{"data": [{"id": "\xc3\xb1"}]}')
    with serving(says(response(body, headers={"Content-Encoding": "gzip"}))) as server:
        assert client(server.url).get(REQUEST).data == {"data": [{"id": "ñ"}]}
    assert "gzip" in server.asked[0].headers["accept-encoding"]


# ---- servers that do not end


@pytest.mark.parametrize(
    "beginning, drop",
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X-Drop: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["silent", "headers drip", "body drips", "chunks drip"],
)
def test_a_server_that_is_silent_or_drips_is_left(beginning: bytes, drop: bytes) -> None:
    """In some time-outs per call, all six of them."""
    begun = time.monotonic()
    with serving(dripping(beginning, drop, 0.02)) as server:
        with pytest.raises(GraphTransientError):
            client(server.url, timeout=0.08).get(REQUEST)
        assert len(server.asked) == ATTEMPTS
    assert time.monotonic() - begun < 30  # and not for ever; a second or two, where the machine is not busy


def test_a_slow_answer_in_which_something_arrives_is_waited_for() -> None:
    """The time-out is for silence, not for the whole."""

    def script(connection: socket.socket, asked: Asked) -> None:
        for at in range(len(GOOD)):
            connection.sendall(GOOD[at : at + 1])
            time.sleep(0.01)

    with serving(script) as server:
        one = client(server.url, timeout=0.4)
        one.get(REQUEST)
    assert one.calls == 1
    assert len(GOOD) * 0.01 > 0.4


@pytest.mark.parametrize("compressed", [False, True])
def test_an_endless_body_is_left_at_64_mib(compressed: bool) -> None:
    """Asking for less may help; asking for the same again does not."""
    block = b" " * (1 << 20)
    sent = 0

    def script(connection: socket.socket, asked: Asked) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + (b"Content-Encoding: gzip\r\n" if compressed else b"") + b"\r\n")
        if compressed:
            import zlib

            pack = zlib.compressobj(wbits=31)
            while True:
                connection.sendall(pack.compress(block) + pack.flush(zlib.Z_SYNC_FLUSH))
                sent += len(block)
        while True:
            connection.sendall(block)
            sent += len(block)

    with serving(script) as server:
        one = client(server.url)
        with pytest.raises(GraphTooLargeError) as caught:
            one.get(REQUEST)
        assert one.calls == 1
    assert str(caught.value) == "Graph API: the answer is larger than 64 MiB. Ask for less at once."
    if not compressed:
        assert sent < 80 << 20


def test_an_answer_that_drips_is_left_after_some_time_outs() -> None:
    """And what is left behind ends with the next drop, so that no worker threads pile up."""
    with serving(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" ", 0.02)) as server:
        one = client(server.url, timeout=0.1)
        assert one.patience == pytest.approx(0.5)
        begun = time.monotonic()
        with pytest.raises(GraphTransientError) as caught:
            one.get(REQUEST)
        assert str(caught.value) == "Graph API: the answer took too long to arrive. Try again later."
        assert time.monotonic() - begun >= ATTEMPTS * one.patience
        assert no_call_is_left(5)


def test_a_silent_server_is_left_after_one_time_out_a_call() -> None:
    """It is told from one that is slow."""
    with serving(dripping(b"", b"", 0.02)) as server:
        begun = time.monotonic()
        with pytest.raises(GraphTransientError, match=r"127\.0\.0\.1:\d+ said nothing for 0\.1 s\. Try again later\.$"):
            client(server.url, timeout=0.1).exchange(REQUEST, threading.Event())
        assert 0.1 <= time.monotonic() - begun < 5
        assert len(server.asked) == 1


# ---- one call alone


@pytest.mark.parametrize(
    "answer, status, body",
    [
        (GOOD, 200, b'{"data": [{"id": "1"}]}'),
        (response(error_body(613), status="400 Bad Request"), 400, error_body(613)),
        (response(error_body(2), status="500 Oops"), 500, error_body(2)),
        (response(b"<html></html>", status="403 Forbidden"), 403, b"<html></html>"),
        (response(b"", status="302 Found", headers={"Location": "http://127.0.0.1:1/"}), 302, b""),
        (response(b"not JSON"), 200, b"not JSON"),
        (response(gzip.compress(b"packed"), headers={"Content-Encoding": "gzip"}), 200, b"packed"),
    ],
)
def test_an_exchange_is_one_call_and_brings_whatever_came(answer: bytes, status: int, body: bytes) -> None:
    """It judges nothing, repeats nothing, waits for no turn and counts nothing: its owner does."""
    slept: list[float] = []
    with serving(says(answer)) as server:
        one = GraphClient(
            server.url, Credentials("token"), version="v26.0", calls_per_second=0.01, timeout=5, sleep=slept.append
        )
        for _ in range(2):
            came = one.exchange(REQUEST, threading.Event())
            assert type(came) is Response
            assert (came.status, came.body) == (status, body)
            assert came.headers["content-type"] == "application/json"
        assert len(server.asked) == 2
    assert (slept, one.calls, one.usage) == ([], 0, None)


def test_an_exchange_raises_only_what_brought_nothing() -> None:
    """As passing trouble; or as an address, or a certificate, that stays as it is."""
    for answer in (b"", b"\x00\x01nonsense\r\n\r\n", PASSING["an encoding that it is not in"]):
        with serving(says(answer)) as server:
            with pytest.raises(GraphTransientError):
                client(server.url).exchange(REQUEST, threading.Event())
            assert len(server.asked) == 1
    with pytest.raises(GraphTransientError):
        client("http://127.0.0.1:1").exchange(REQUEST, threading.Event())
    with pytest.raises(GraphRequestError):
        client("http://127.0.0.1:notaport").exchange(REQUEST, threading.Event())


def test_an_exchange_that_was_abandoned_ends_with_the_next_drop() -> None:
    """Nobody waits for what it brings any more; only its worker thread is to come to an end."""
    with serving(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" ", 0.02)) as server:
        abandoned = threading.Event()
        threading.Timer(0.2, abandoned.set).start()
        begun = time.monotonic()
        client(server.url).exchange(REQUEST, abandoned)
        assert 0.2 <= time.monotonic() - begun < 3
        assert len(server.asked) == 1


def test_the_next_call_after_an_abandoned_one_gets_its_own_answer() -> None:
    """What is left on the old connection is not read as another's."""

    def script(connection: socket.socket, asked: Asked) -> None:
        if asked.number:
            connection.sendall(GOOD)
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n ")
        time.sleep(0.1)
        connection.sendall(b' {"data": [{"id": "of the first call"}]}')

    with serving(script) as server:
        one = client(server.url)
        abandoned = threading.Event()
        abandoned.set()
        one.exchange(REQUEST, abandoned)
        assert one.get(REQUEST).data == {"data": [{"id": "1"}]}


def test_a_single_call_is_deciphered_by_whoever_owns_the_client() -> None:
    """A good answer is taken in for the pace, and any for the usage, by the types that the request names."""
    one = client("http://127.0.0.1:1")
    asked = Request("100/conversations", {}, True, ("messenger", "pages"))
    busy = business_usage(business_row(percent=95), business_row(kind="ads_management"))
    before = one.pace.interval
    answer = one.read(asked, Response(200, busy, b'{"data": []}'))
    assert answer.usage == one.usage
    assert one.usage is not None
    assert one.usage.by_type == {"messenger": 95.0}
    assert one.pace.interval > before
    with pytest.raises(GraphRateLimitError):
        one.read(asked, Response(400, business_usage(business_row(kind="ads_management")), error_body(80006)))
    assert one.usage is None


# ---- what answers say besides


def test_a_version_that_was_not_asked_for_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A dead version is answered by the oldest live one."""
    with serving(says(response(headers={"facebook-api-version": "v21.0"}))) as server:
        one = client(server.url)
        for _ in range(3):
            assert one.get(REQUEST).version == "v21.0"
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == (
        "The API answered as v21.0 although v26.0 was asked for: that version is dead or not yet alive. "
        "Set api_version in the connection."
    )


@pytest.mark.parametrize("version", ["v26.0", "", "EAAB-token", None])
def test_the_version_that_was_asked_for_or_no_version_is_nothing_to_warn_of(
    version: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is what is no version at all, which would go into the log."""
    headers = {"facebook-api-version": version} if version is not None else {}
    with serving(says(response(headers=headers))) as server:
        client(server.url).get(REQUEST)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_usage_is_that_of_the_last_answer() -> None:
    """Refusals included; nothing where that answer said nothing."""
    with serving(
        says(
            response(headers={"X-App-Usage": '{"call_count": 12}'}),
            response(),
            response(error_body(190), headers={"X-App-Usage": '{"call_count": 13}'}),
            response(error_body(4), headers={"X-App-Usage": '{"call_count": 100}'}),
            response(error_body(4)),
        )
    ) as server:
        one = client(server.url)
        assert one.usage is None
        seen = []
        for _ in range(5):
            with contextlib.suppress(GraphError):
                one.get(REQUEST)
            seen.append(one.usage and one.usage.percent)
    assert seen == [12.0, None, 13.0, 100.0, None]


@pytest.mark.parametrize("count", [1, 4])
def test_a_client_is_shared_between_worker_threads(count: int) -> None:
    """Each gets its own answer."""

    def script(connection: socket.socket, asked: Asked) -> None:
        node = asked.line.split(" ")[1].rpartition("/")[2]
        connection.sendall(response(f'{{"id": "{node}"}}'.encode()))

    got: list[tuple[int, object]] = []
    with serving(script) as server:
        one = client(server.url)

        def work(number: int) -> None:
            for step in range(10):
                node = number * 100 + step
                got.append((node, one.get(Request(str(node))).data["id"]))

        workers = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(got) == one.calls == count * 10
    assert all(str(node) == answered for node, answered in got)
    assert server.connections <= count
