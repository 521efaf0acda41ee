"""What passes is waited out, within bounds; what does not is raised at once; a stop ends everything soon."""

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
    CallsStopped,
    GraphAuthError,
    GraphError,
    GraphPermissionError,
    GraphRateLimitError,
    GraphRequestError,
    GraphTooLargeError,
    GraphTransientError,
)
from airflow_provider_pageconv.graph.protocol import Credentials, Request
from tests.graph.answers import error_body
from tests.graph.loopback import Asked, dripping, response, says, serving

REQUEST = Request("100/conversations", {"fields": "id"})
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
    """It may come back; the sentence names the kind of failure and no address."""
    slept: list[float] = []
    with pytest.raises(GraphTransientError) as caught:
        client("http://127.0.0.1:1", slept).get(REQUEST)
    assert str(caught.value) == "Graph API: the network failed (ConnectionError). Try again later."
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
    assert line.startswith("Graph API: the answer cannot be read. Try again later. (HTTP status 502) Trying again in ")
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
        (response(b"<html></html>", status="403 Forbidden"), GraphRequestError),
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


def test_every_call_is_counted_and_told_of() -> None:
    """The repeated ones too, before they are made."""
    told: list[int] = []
    with serving(says(PASSING["no word at all"], GOOD)) as server:
        one = client(server.url)
        one.get(REQUEST, lambda: told.append(len(server.asked)))
        one.get(REQUEST)
    assert told == [0, 1]
    assert one.calls == 3


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


# ---- stopping


@pytest.mark.parametrize(
    "beginning, drop",
    [(b"", b""), (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" ")],
    ids=["silent", "dripping"],
)
def test_a_call_that_is_abandoned_ends_soon(beginning: bytes, drop: bytes) -> None:
    """Within the grace and a little more; nothing is called any more, and what is left behind ends with the next drop."""
    with serving(dripping(beginning, drop, 0.02)) as server:
        one = GraphClient(server.url, Credentials("token"), version="v26.0", calls_per_second=0, timeout=3)
        threading.Timer(0.2, one.abandon, [0.2]).start()
        begun = time.monotonic()
        with pytest.raises(CallsStopped):
            one.get(REQUEST)
        assert 0.4 <= time.monotonic() - begun < 2.9
        with pytest.raises(CallsStopped):
            one.get(REQUEST)
        assert one.calls == len(server.asked) == 1
        if drop:
            assert no_call_is_left(1)


def no_call_is_left(seconds: float) -> bool:
    """Whether every call has ended, with the worker thread that made it, at the latest after some seconds."""
    deadline = time.monotonic() + seconds
    while any(worker.name == "graph-call" for worker in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("way", ["stop", "abandon"])
def test_an_answer_that_is_under_way_when_the_stop_comes_is_still_given(way: str) -> None:
    """It is paid for; the next call is not made."""
    stop = threading.Event()

    def script(connection: socket.socket, asked: Asked) -> None:
        one.abandon(3) if way == "abandon" else stop.set()
        time.sleep(0.3)
        connection.sendall(GOOD)

    with serving(script) as server:
        one = GraphClient(server.url, Credentials("token"), version="v26.0", calls_per_second=0, timeout=3, stop=stop)
        assert one.get(REQUEST).data == {"data": [{"id": "1"}]}
        with pytest.raises(CallsStopped):
            one.get(REQUEST)
        assert one.calls == len(server.asked) == 1


def test_a_stop_ends_the_tries_at_a_passing_trouble() -> None:
    """The call under way is the last one."""
    stop = threading.Event()

    def script(connection: socket.socket, asked: Asked) -> None:
        stop.set()
        connection.sendall(PASSING["502 in HTML"])

    with serving(script) as server:
        one = GraphClient(server.url, Credentials("token"), version="v26.0", calls_per_second=0, timeout=3, stop=stop)
        with pytest.raises(CallsStopped):
            one.get(REQUEST)
        assert len(server.asked) == 1


@pytest.mark.parametrize("calls_per_second", [0.01, 0])
def test_a_stop_during_a_pause_ends_it(calls_per_second: float) -> None:
    """Whether it waits for its turn or for trouble to pass."""
    stop = threading.Event()
    answer = GOOD if calls_per_second else PASSING["502 in HTML"]
    with serving(says(answer)) as server:
        one = GraphClient(
            server.url, Credentials("token"), version="v26.0", calls_per_second=calls_per_second, stop=stop
        )
        threading.Timer(0.2, stop.set).start()
        begun = time.monotonic()
        if calls_per_second:
            one.get(REQUEST)
        with pytest.raises(CallsStopped):
            one.get(REQUEST)
        assert time.monotonic() - begun < 50
        assert len(server.asked) == 1


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
