"""Links are followed to where Meta serves media, and nowhere else; what comes of one is a file, or a reason."""

from __future__ import annotations

import hashlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.graph.media import MEDIA_HOSTS, MediaError, MediaRules, Reason, judge, read_type
from airflow_provider_pageconv.graph.media_client import Fetched, MediaClient, Watch
from airflow_provider_pageconv.sandbox import Sandbox, Trouble
from airflow_provider_pageconv.sandbox.media import content
from tests.graph.loopback import certificate_of, dripping, response, says, serving

GRAPH = "https://graph.facebook.com"
LINK = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=17&signature=s3cret"


def rules(base_url: str = GRAPH, max_bytes: int | None = None, kinds: list[str] | None = None) -> MediaRules:
    """The rules of a connection to Meta's own API, if nothing else is said."""
    return MediaRules.of(base_url, MEDIA_HOSTS, max_bytes, kinds)


# ---- the rules


@pytest.mark.parametrize(
    "link",
    [
        LINK,
        "https://fbcdn.net/x",
        "https://scontent-mad1-1.xx.fbcdn.net/v/t1.15752-9/1_n.jpg?oh=00&oe=6744D0A1",
        "https://scontent.cdninstagram.com:443/v/1.mp4",
        "HTTPS://CDN.FBSBX.COM/x",
    ],
)
def test_a_link_to_a_host_of_meta_s_is_followed(link: str) -> None:
    """Over https, on its usual port, whatever is below one of the three."""
    assert rules().takes(link)


@pytest.mark.parametrize(
    "link",
    [
        "http://lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com:8443/x",
        "https://example.com/x",
        "https://evilfbcdn.net/x",
        "https://fbcdn.net.example.com/x",
        "https://example.com/?x=.fbcdn.net",
        "https://fbcdn.net@example.com/x",
        "https://example.com\\@fbcdn.net/x",
        "https://example.com#.fbcdn.net",
        "https://user:pass@lookaside.fbsbx.com/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://ⅼookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com/\r\nHost: example.com",
        "file:///etc/passwd",
        "//lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com:99999/x",
        "https://[/x",
        "",
    ],
)
def test_a_link_to_anywhere_else_is_not_followed(link: str) -> None:
    """Neither another host nor another scheme or port, however it is dressed up."""
    assert not rules().takes(link)
    with pytest.raises(MediaError) as refused:
        rules().check_link(link)
    assert refused.value.reason is Reason.HOST


def test_where_the_graph_api_is_this_machine_media_come_from_there_and_from_nowhere_else() -> None:
    """The sandbox: its own scheme, host and port; a trial never calls Meta."""
    sandbox = rules("http://127.0.0.1:8765")
    assert sandbox.takes("http://127.0.0.1:8765/_media/x")
    for link in (LINK, "http://127.0.0.1:8766/x", "https://127.0.0.1:8765/x", "http://localhost:8765/x"):
        assert not sandbox.takes(link)
    assert not rules("http://10.0.0.1:8765").takes("http://10.0.0.1:8765/x")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    """Loopback, private, link-local (where clouds hand out credentials), shared, multicast, reserved, and those wrapped in IPv6."""
    with pytest.raises(MediaError) as refused:
        rules().check_address(address)
    assert refused.value.reason is Reason.ADDRESS


@pytest.mark.parametrize("address", ["157.240.1.1", "2a03:2880:f12f:83:face:b00c:0:25de", "64:ff9b::9df0:101"])
def test_a_public_address_is_taken_but_not_by_the_sandbox_s_rules(address: str) -> None:
    """There only this machine itself is."""
    rules().check_address(address)
    with pytest.raises(MediaError):
        rules("http://127.0.0.1:8765").check_address(address)
    rules("http://127.0.0.1:8765").check_address("127.0.0.1")


@pytest.mark.parametrize(
    "header, kind",
    [
        ("image/jpeg", "image/jpeg"),
        ("Image/JPEG; charset=binary", "image/jpeg"),
        ("application/octet-stream", ""),
        (None, ""),
        ("../../etc", ""),
        ("a" * 300 + "/b", ""),
        ("image/*", ""),
        ("text/html\r\nX: y", ""),
    ],
)
def test_a_type_is_read_or_counts_as_none(header: str | None, kind: str) -> None:
    """Nothing that could be a path or a header gets on."""
    assert read_type(header) == kind


def test_kinds_are_types_or_whole_groups_of_them() -> None:
    """`image/*` and `application/pdf`; what tells no type is none of them."""
    wants = rules(kinds=["image/*", "application/pdf"])
    wants.check_kind("image/png")
    wants.check_kind("application/pdf")
    for other in ("application/zip", "video/mp4", "imagery/png", ""):
        with pytest.raises(MediaError) as refused:
            wants.check_kind(other)
        assert refused.value.reason is Reason.UNWANTED
    rules().check_kind("")


@pytest.mark.parametrize(
    "status, reason, passing",
    [
        (403, Reason.EXPIRED, False),
        (404, Reason.EXPIRED, False),
        (410, Reason.EXPIRED, False),
        (400, Reason.EXPIRED, False),
        (301, Reason.REDIRECT, False),
        (302, Reason.REDIRECT, False),
        (307, Reason.REDIRECT, False),
        (429, Reason.NETWORK, True),
        (500, Reason.NETWORK, True),
        (503, Reason.NETWORK, True),
        (206, Reason.NETWORK, True),
        (204, Reason.NETWORK, True),
    ],
)
def test_a_status_is_a_reason(status: int, reason: Reason, passing: bool) -> None:
    """What may pass is told from what stays."""
    with pytest.raises(MediaError) as refused:
        judge(status, {})
    assert (refused.value.reason, refused.value.passing) == (reason, passing)


def test_what_is_packed_though_nobody_asked_for_that_is_no_file() -> None:
    """Unpacked it may be of any size."""
    judge(200, {"content-encoding": "identity", "content-length": "3"})
    with pytest.raises(MediaError):
        judge(200, {"content-encoding": "gzip", "content-length": "3"})


def test_an_answer_that_does_not_tell_where_it_ends_is_no_file() -> None:
    """A connection that is cut would look like its end."""
    judge(200, {"transfer-encoding": "chunked"})
    for headers in ({}, {"content-length": "-1"}, {"content-length": "many"}):
        with pytest.raises(MediaError) as refused:
            judge(200, headers)
        assert (refused.value.reason, refused.value.passing) == (Reason.NETWORK, True)


# ---- the client, against the sandbox


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A sandbox that serves files."""
    with Sandbox(conversations=1, media=True) as running:
        yield running


def fetch(
    box: Sandbox, tmp_path: Path, *troubles: Trouble, timeout: float = 10.0, watch: Watch | None = None, **limits: Any
) -> Fetched | Reason:
    """Follow one link; the file, or the reason."""
    assert box.media is not None
    box.media.troubles = list(troubles)
    client = MediaClient(rules(box.url, **limits), timeout=timeout)
    link = f"{box.url}/_media/lookaside.fbsbx.com/x?asset_id=1&type=image/jpeg"
    try:
        found: Fetched | Reason = client.fetch(link, "", tmp_path / "file", watch or Watch())
    except MediaError as error:
        found = error.reason
    return found


CONTENT = content("/_media/lookaside.fbsbx.com/x&asset_id=1")


def test_a_file_is_had_whole_with_its_hash_size_and_type(box: Sandbox, tmp_path: Path) -> None:
    """Byte by byte what the server holds."""
    found = fetch(box, tmp_path)
    assert found == Fetched(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "image/jpeg")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_no_credential_goes_along(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, no cookie, nothing from `.netrc`."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert isinstance(fetch(box, tmp_path), Fetched)
    assert box.media is not None
    [(_, headers)] = box.media.asked
    assert set(headers) <= {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("dead", Reason.EXPIRED),
        ("gone", Reason.EXPIRED),
        ("redirect", Reason.REDIRECT),
        ("busy", Reason.NETWORK),
        ("short", Reason.NETWORK),
        ("reset", Reason.NETWORK),
    ],
)
def test_what_is_wrong_with_a_file_is_its_reason(box: Sandbox, tmp_path: Path, kind: str, reason: Reason) -> None:
    """A redirect is not followed, wherever it leads."""
    location = f"{box.url}/_media/elsewhere" if kind == "redirect" else ""
    assert fetch(box, tmp_path, Trouble(kind, location=location)) is reason
    assert box.media is not None
    assert len(box.media.asked) == 1


def test_a_file_of_two_gigabytes_costs_nothing(box: Sandbox, tmp_path: Path) -> None:
    """Its head says how long it is; not a byte of it is written."""
    watch = Watch()
    assert fetch(box, tmp_path, Trouble("huge"), max_bytes=100 * 2**20, watch=watch) is Reason.TOO_LARGE
    assert watch.received == 0


def test_a_file_that_does_not_say_how_long_it_is_ends_at_the_limit(box: Sandbox, tmp_path: Path) -> None:
    """And no later than a piece behind it."""
    watch = Watch()
    assert fetch(box, tmp_path, Trouble("endless"), max_bytes=2**20, watch=watch) is Reason.TOO_LARGE
    assert watch.received < 2 * 2**20


def test_a_kind_that_is_not_wanted_is_not_read(box: Sandbox, tmp_path: Path) -> None:
    """By what the server says, which counts more than what the attachment does."""
    assert fetch(box, tmp_path, kinds=["video/*"]) is Reason.UNWANTED
    assert fetch(box, tmp_path, Trouble("page"), kinds=["image/*"]) is Reason.UNWANTED


def test_a_kind_that_the_attachment_says_is_not_wanted_costs_no_call(box: Sandbox, tmp_path: Path) -> None:
    """Nor a connection."""
    client = MediaClient(rules(box.url, kinds=["image/*"]))
    with pytest.raises(MediaError):
        client.fetch(f"{box.url}/_media/x", "video/mp4", tmp_path / "file", Watch())
    assert box.media is not None
    assert box.media.asked == []


@pytest.mark.parametrize("trouble", [Trouble("stall"), Trouble("trickle", seconds=0.2)], ids=lambda one: one.kind)
def test_who_waits_no_longer_ends_what_stalls_or_trickles_at_once(
    box: Sandbox, tmp_path: Path, trouble: Trouble
) -> None:
    """A worker thread is not held, though the server goes on."""
    watch = Watch()
    threading.Timer(0.5, watch.leave).start()
    began = time.monotonic()
    assert fetch(box, tmp_path, trouble, timeout=60, watch=watch) in (Reason.NETWORK, Reason.SLOW)
    assert time.monotonic() - began < 5


def test_a_head_that_drips_is_ended_as_well(tmp_path: Path) -> None:
    """Each of its bytes comes in time, and it never ends."""
    with serving(dripping(b"HTTP/1.1 200 OK\r\n", b"X-Drip: 1\r\n", 0.05)) as server:
        watch = Watch()
        threading.Timer(0.5, watch.leave).start()
        with pytest.raises(MediaError):
            MediaClient(rules(server.url), timeout=60).fetch(f"{server.url}/x", "", tmp_path / "file", watch)


def test_neither_an_error_nor_a_debug_line_shows_the_key_in_a_link(
    box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has the link has the file."""
    caplog.set_level(logging.DEBUG)
    link = f"{box.url}/_media/lookaside.fbsbx.com/x?asset_id=1&signature=s3cret"
    client = MediaClient(rules(box.url))
    client.fetch(link, "", tmp_path / "file", Watch())
    assert box.media is not None
    box.media.troubles = [Trouble("reset")]
    with pytest.raises(MediaError) as refused:
        client.fetch(link, "", tmp_path / "file", Watch())
    assert refused.value.__context__ is None  # one of requests would quote it
    assert "s3cret" not in str(refused.value)
    assert "_media" in caplog.text
    assert "s3cret" not in caplog.text


# ---- the client, against names that lead where they should not


@dataclass(frozen=True)
class Lenient(MediaRules):
    """Takes every address: what stands for Meta's servers here is on loopback."""

    def check_address(self, address: str) -> None:
        return


def resolver(port: int, *addresses: str) -> tuple[Callable[[str, int], list[tuple[Any, ...]]], list[str]]:
    """A name server of our own, and the names that it was asked for."""
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    return resolve, asked


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("157.240.1.1", "127.0.0.1")])
def test_a_host_that_resolves_to_loopback_is_not_called(tmp_path: Path, addresses: tuple[str, ...]) -> None:
    """Nor one of which any address does: which of them would be called is chance."""
    with serving(says(response())) as server:
        resolve, _ = resolver(server.port, *addresses)
        with pytest.raises(MediaError) as refused:
            MediaClient(rules(), resolve=resolve).fetch(LINK, "", tmp_path / "file", Watch())
        assert refused.value.reason is Reason.ADDRESS
        assert not refused.value.passing
        assert server.connections == 0


def test_a_name_is_looked_up_once_and_its_certificate_has_to_be_the_host_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at is what is called; and who answers there has to be who the link names."""
    for host in ("lookaside.fbsbx.com", "example.com", None):
        certificate = certificate_of(tmp_path, host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with serving(says(response(b"file")), tls=context) as server:
            resolve, asked = resolver(server.port, "127.0.0.1")
            client = MediaClient(Lenient(hosts=MEDIA_HOSTS), resolve=resolve)
            if host == "lookaside.fbsbx.com":
                assert client.fetch(LINK, "", tmp_path / "file", Watch()).bytes == 4
                assert server.asked[0].headers["host"] == host
            else:
                with pytest.raises(MediaError) as refused:
                    client.fetch(LINK, "", tmp_path / "file", Watch())
                assert refused.value.reason is Reason.NETWORK
                assert server.asked == []
            assert asked == ["lookaside.fbsbx.com"]


def test_a_name_that_cannot_be_looked_up_is_passing_trouble(tmp_path: Path) -> None:
    """It may be known a little later."""

    def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    with pytest.raises(MediaError) as refused:
        MediaClient(rules(), resolve=resolve).fetch(LINK, "", tmp_path / "file", Watch())
    assert (refused.value.reason, refused.value.passing) == (Reason.NETWORK, True)


def test_through_a_proxy_of_the_environment_the_proxy_looks_up_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called with the host's name, and no name is looked up here."""
    with serving(says(b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        resolve, asked = resolver(proxy.port, "127.0.0.1")
        with pytest.raises(MediaError) as refused:
            MediaClient(rules(), resolve=resolve).fetch(LINK, "", tmp_path / "file", Watch())
        assert refused.value.reason is Reason.NETWORK
        assert {one.line.rpartition(" ")[0] for one in proxy.asked} == {"CONNECT lookaside.fbsbx.com:443"}
        assert asked == []
