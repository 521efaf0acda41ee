"""A call that fails on its way says which host and port it was, and what happened there; nothing else of the address."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.errors import GraphError, GraphTransientError
from airflow_provider_pageconv.graph.protocol import Credentials, Request
from airflow_provider_pageconv.sandbox import Sandbox
from tests.graph.loopback import response, says, serving

LOOK = "Check the connection's host and port, or try again later."
LATER = "Try again later."


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests names none."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def said_of(url: str, timeout: float = 0.3) -> str:
    """What the error of one call says; the call is signed, so that its address holds a secret."""
    client = GraphClient(
        url,
        Credentials("a-token", "a-secret"),
        version="v26.0",
        calls_per_second=0,
        timeout=timeout,
        sleep=lambda _: None,
    )
    with pytest.raises(GraphTransientError) as caught:
        client.exchange(Request("me", {"fields": "id"}), threading.Event())
    assert not [secret for secret in ("a-token", "a-secret", "appsecret_proof", "/me") if secret in str(caught.value)]
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.fixture
def closed() -> int:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def full() -> Iterator[int]:
    """A port that takes no further connection: its queue is full and nobody accepts."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
            waiting.append(one)
        yield listening.getsockname()[1]
        for one in waiting:
            one.close()


def unknown(*_: object, **__: object) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_port_at_which_nothing_listens(closed: int) -> None:
    """As where the server is down, or the port is wrong."""
    assert said_of(f"http://127.0.0.1:{closed}") == f"Graph API: 127.0.0.1:{closed} refused the connection. {LOOK}"


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port is told although the address names none."""
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert said_of("https://graph.invalid") == f"Graph API: the name of graph.invalid:443 cannot be looked up. {LOOK}"


def test_what_stands_before_the_host_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address may hold a name and a password."""
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = said_of("https://somebody:hidden@graph.invalid:8443/below")
    assert said == f"Graph API: the name of graph.invalid:8443 cannot be looked up. {LOOK}"


def test_a_connection_that_is_not_taken(full: int) -> None:
    """As behind a firewall that drops what it does not like."""
    said = said_of(f"http://127.0.0.1:{full}")
    assert said == f"Graph API: 127.0.0.1:{full} did not take the connection within 0.3 s. {LOOK}"


def test_no_way_to_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a network, or without IPv6."""

    def unreachable(*_: object, **__: object) -> socket.socket:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert said_of("http://[::1]:8080") == f"Graph API: no way leads to [::1]:8080. {LOOK}"


def test_a_server_that_says_nothing() -> None:
    """It took the call, and no answer comes."""
    with serving(lambda connection, asked: None) as server:
        said = said_of(server.url)
        assert said == f"Graph API: 127.0.0.1:{server.port} said nothing for 0.3 s. {LATER}"


@pytest.mark.parametrize(
    "beginning",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"],
    ids=["before the answer", "within the answer"],
)
def test_a_server_that_stops_half_way(beginning: bytes) -> None:
    """The link ends in the midst of a call."""

    def script(connection: socket.socket, asked: object) -> None:
        connection.sendall(beginning)
        connection.shutdown(socket.SHUT_RDWR)

    with serving(script) as server:
        assert said_of(server.url) == f"Graph API: 127.0.0.1:{server.port} cut the connection. {LATER}"


def test_a_server_that_falls_silent_half_way() -> None:
    """The beginning of the answer came, the rest does not."""
    with serving(
        lambda connection, asked: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
    ) as server:
        assert said_of(server.url) == f"Graph API: 127.0.0.1:{server.port} said nothing for 0.3 s. {LATER}"


def test_a_server_that_speaks_plain_http() -> None:
    """As where the sandbox's host is given without `http://`."""
    with Sandbox() as box:
        said = said_of(box.url.replace("http://", "https://"))
        assert said == (
            f"Graph API: {box.url.removeprefix('http://')} does not speak https (a host on this machine may be given with "
            f"http:// before it). {LOOK}"
        )


def test_a_server_that_hangs_up_when_tls_begins() -> None:
    """What it speaks cannot be told."""
    with serving(says(response()), hang_up=True) as server:
        said = said_of(server.url.replace("http://", "https://"))
        assert said == f"Graph API: the encrypted connection (TLS) to 127.0.0.1:{server.port} failed. {LOOK}"


def test_a_proxy_that_is_not_there(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address may hold a password, so that it is only said that there is one."""
    monkeypatch.setenv("HTTP_PROXY", f"http://somebody:hidden@127.0.0.1:{closed}")
    monkeypatch.setenv("NO_PROXY", "")
    said = said_of("http://127.0.0.1:8080")
    assert said == (
        "Graph API: the proxy on the way to 127.0.0.1:8080 refused the connection. Check the proxy that the environment names."
    )


def test_an_answer_that_is_none() -> None:
    """It came whole, and cannot be unpacked."""
    answer = response(b"no gzip", headers={"Content-Encoding": "gzip"})
    with serving(says(answer)) as server:
        said = said_of(server.url)
        assert said == f"Graph API: the answer of 127.0.0.1:{server.port} cannot be read (DecodeError). {LATER}"


def test_a_port_that_is_none_is_no_riddle() -> None:
    """It is the address that is wrong, and it will not get better."""
    client = GraphClient("http://127.0.0.1:99999", Credentials("a-token", None), version="v26.0")
    with pytest.raises(GraphError) as caught:
        client.exchange(Request("me", {}), threading.Event())
    assert str(caught.value) == (
        "Graph API: the address of the server cannot be used. Check the connection's host and port."
    )
