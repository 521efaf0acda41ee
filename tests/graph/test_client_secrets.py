"""Where the token, the app secret and the proof go, and where they do not."""

from __future__ import annotations

import hashlib
import hmac
import logging
import ssl
import threading
import traceback
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.errors import GraphError, GraphRequestError, GraphTransientError
from airflow_provider_pageconv.graph.protocol import Credentials, Request
from tests.graph.loopback import RawServer, certificate_of, dripping, response, says, serving

TOKEN = "EAAGm0PX4ZCps/BA+KZC=x7Qz"
SECRET = "the-app-secret"
PROOF = hmac.new(SECRET.encode(), TOKEN.encode(), hashlib.sha256).hexdigest()
REQUEST = Request("100/conversations", {"fields": "id", "limit": "5"})


def client(url: str, secret: str | None = None, timeout: float = 5) -> GraphClient:
    """A client without pace that does not sleep."""
    return GraphClient(
        url,
        Credentials(TOKEN, secret),
        version="v26.0",
        calls_per_second=0,
        timeout=timeout,
        sleep=lambda seconds: None,
    )


def query(server: RawServer, number: int = -1) -> dict[str, list[str]]:
    """The query of a request."""
    return parse_qs(urlsplit(server.asked[number].line.split(" ")[1]).query)


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.netrc` that has a password for loopback, where `requests` looks for one."""
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login somebody password else\ndefault login somebody password else\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("netrc")
def test_the_token_goes_into_a_header_and_no_netrc_takes_its_place() -> None:
    """It stands in no request line, where every proxy would log it."""
    with serving(says(response())) as server:
        client(server.url).get(REQUEST)
    (asked,) = server.asked
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.line == "GET /v26.0/100/conversations?fields=id&limit=5 HTTP/1.1"
    assert asked.head.count(TOKEN) == 1


def test_every_call_is_signed_if_there_is_an_app_secret() -> None:
    """With the HMAC-SHA256 of the token, also on later pages; the secret itself stays here."""
    with serving(says(response())) as server:
        one = client(server.url, SECRET)
        one.get(REQUEST)
        one.get(Request(REQUEST.path, {**REQUEST.params, "after": "QVFI=="}))
        for number in (0, 1):
            assert query(server, number)["appsecret_proof"] == [PROOF]
            assert SECRET not in server.asked[number].head
    assert query(server)["after"] == ["QVFI=="]


def test_without_an_app_secret_nothing_is_signed() -> None:
    """An empty one is none."""
    with serving(says(response())) as server:
        client(server.url, "").get(REQUEST)
    assert "appsecret_proof" not in server.asked[0].head


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str) -> None:
    """Neither to another port of the same host nor to the same server."""
    with serving(says(response())) as other:
        answer = response(b"", status=status, headers={"Location": f"{other.url}/v26.0/100/conversations"})
        with (
            serving(says(answer)) as server,
            pytest.raises(GraphRequestError, match="sends the call elsewhere") as caught,
        ):
            client(server.url, SECRET).get(REQUEST)
        assert len(server.asked) == 1
        assert other.connections == 0
    assert str(other.port) not in str(caught.value)


def test_cookies_are_not_kept() -> None:
    """Nothing that one answer says changes the next request."""
    with serving(says(response(headers={"Set-Cookie": "sb=person; Path=/"}))) as server:
        one = client(server.url)
        one.get(REQUEST)
        one.get(REQUEST)
    assert all("cookie" not in asked.headers for asked in server.asked)


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the whole address, and the proxy's own name is never looked up elsewhere."""
    with serving(says(response())) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        client("http://graph.invalid").get(REQUEST)
    assert proxy.asked[0].line == "GET http://graph.invalid/v26.0/100/conversations?fields=id&limit=5 HTTP/1.1"


def test_a_host_that_the_environment_excepts_is_reached_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`NO_PROXY`, in capitals or not."""
    with serving(says(response())) as proxy, serving(says(response())) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        client(server.url).get(REQUEST)
        assert proxy.connections == 0
        assert len(server.asked) == 1


@pytest.mark.parametrize("way", ["direct", "proxy", "refused", "cut"])
def test_the_debug_lines_of_the_libraries_hold_no_secret(
    way: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the API takes the proof in the address only; neither do errors and warnings."""
    caplog.set_level(logging.DEBUG)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{" if way == "cut" else response()
    with serving(says(answer)) as server:
        url = server.url
        if way == "proxy":
            monkeypatch.setenv("http_proxy", server.url)
            url = "http://graph.invalid"
        if way == "refused":
            url = "http://127.0.0.1:1"
        # The script closes nothing, so that the cut shows as silence; a short time-out is enough.
        one = client(url, SECRET, timeout=0.2 if way == "cut" else 5)
        if way in ("direct", "proxy"):
            one.get(REQUEST)
        else:
            with pytest.raises(GraphTransientError) as caught:
                one.get(REQUEST)
            assert_secret(all_that_is_said(caught.value))
    assert any(record.name.startswith("urllib3") for record in caplog.records)
    for record in caplog.records:
        assert_secret(record.getMessage() + repr(record.args) + repr(record.exc_info))
    assert_secret(caplog.text)


@pytest.mark.parametrize("way", ["refused", "silent", "no HTTP", "no address", "no scheme", "not packed"])
def test_an_exchange_that_failed_holds_no_secret_in_its_error(way: str) -> None:
    """Nor in those that it came from, which a tool that reports errors looks at: they quote the whole address."""
    answer = {"no HTTP": b"\x00\r\n\r\n", "not packed": response(b"plain", headers={"Content-Encoding": "gzip"})}
    script = dripping(b"", b"", 0.02) if way == "silent" else says(answer.get(way, b""))
    with serving(script) as server:
        addresses = {"refused": "http://127.0.0.1:1", "no address": "http://127.0.0.1:notaport", "no scheme": "nothing"}
        one = client(addresses.get(way, server.url), SECRET, timeout=0.2)
        with pytest.raises(GraphError) as caught:
            one.exchange(REQUEST, threading.Event())
    assert_secret(all_that_is_said(caught.value))


def all_that_is_said(error: BaseException | None) -> str:
    """What an error says, and every error that it came from, shown with it or not."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def assert_secret(text: str) -> None:
    """None of the secrets is in a text."""
    for secret in (TOKEN, SECRET, PROOF):
        assert secret not in text


def test_a_client_does_not_show_its_secrets() -> None:
    """In a debugger's or a log's `repr`."""
    assert_secret(repr(client("http://127.0.0.1:1", SECRET)))


def test_an_address_that_cannot_be_used_is_named_without_the_address() -> None:
    """It holds the proof."""
    for url in (
        "http://127.0.0.1:notaport",
        "http://" + "a" * 300 + ".invalid",
        "ftp://127.0.0.1",
        "http://[",
        "nothing",
    ):
        with pytest.raises(GraphError) as caught:
            client(url, SECRET).get(REQUEST)
        assert_secret(str(caught.value))
        if not url.startswith("http://aaa"):
            assert str(caught.value) == (
                "Graph API: the address of the server cannot be used. Check the connection's host and port."
            )


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for loopback, with its key, that nobody has signed but itself."""
    return certificate_of(tmp_path)


def test_certificates_are_always_checked(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody knows ends the task before the token is sent; the environment can name its CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(says(response()), tls=context) as server:
        url = f"https://127.0.0.1:{server.port}"
        one = client(url, SECRET)
        with pytest.raises(GraphRequestError) as caught:
            one.get(REQUEST)
        assert str(caught.value) == (
            f"Graph API: the certificate of 127.0.0.1:{server.port} is not trusted. Name the CA in REQUESTS_CA_BUNDLE."
        )
        assert one.calls == 1
        assert not server.asked
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        client(url, SECRET).get(REQUEST)
        assert len(server.asked) == 1


def test_a_handshake_that_is_cut_is_passing_trouble() -> None:
    """It says nothing of the certificate; load balancers do it while they are changed."""
    with serving(says(response()), hang_up=True) as server:
        one = client(f"https://127.0.0.1:{server.port}", SECRET)
        with pytest.raises(GraphTransientError):
            one.get(REQUEST)
        assert one.calls == 6
