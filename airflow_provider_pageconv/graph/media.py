"""Which links of attachments are followed, and what an answer means. Pure; :mod:`~airflow_provider_pageconv.graph.media_client` follows them.

Links are what people send, so they are trusted with nothing: they are followed over https, to the hosts that Meta serves media
from, never by a redirect, and never to an address that is not of the public internet.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

MEDIA_HOSTS = ("fbcdn.net", "fbsbx.com", "cdninstagram.com")
"""Meta serves the media of messages from these hosts and those below them. None of its pages lists them: they are what public
code and reports show (``lookaside.fbsbx.com/ig_messaging_cdn``, ``scontent.….fbcdn.net``, ``scontent.cdninstagram.com``)."""

# https://developers.facebook.com/docs/messenger-platform/instagram/app-review; the words stand in refusals that developers
# published: https://github.com/chatwoot/chatwoot/issues/8583 (2023-12-19).
INSTAGRAM_NOTE = (
    "Meta's review of apps for Instagram messaging asks for \"proper handling of media CDN URLs by not storing/caching the media "
    'content", and this export stores it (download_attachments): clear with Meta that your app may.'
)

_UNTOLD_TYPES = ("", "application/octet-stream", "binary/octet-stream")
_NAT64, _NAT64_HERE = ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}\Z")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Reason(str, Enum):
    """Why a file was not had; what stands in records and manifests."""

    EXPIRED = "expired"
    """The link is dead: the server says that it is not there, not allowed, or not signed any more."""
    TOO_LARGE = "too_large"
    UNWANTED = "unwanted_kind"
    HOST = "foreign_host"
    """The link leads to a host that is none of Meta's for media, or it is no https."""
    ADDRESS = "private_address"
    """The host's name leads to an address that is not of the public internet."""
    REDIRECT = "redirect"
    SLOW = "too_slow"
    NETWORK = "unreachable"
    """No answer that can be used: no way there, an error of the server's, a body that was cut."""
    LOST = "lost"
    """The export that was replaced had it, and was itself replaced or damaged meanwhile."""
    SKIPPED = "not_fetched"
    """Nobody tried: it was known only later that the message stays."""


SAYS: Mapping[Reason, str] = {
    Reason.EXPIRED: "the link is dead",
    Reason.TOO_LARGE: "larger than max_attachment_bytes",
    Reason.UNWANTED: "of a kind that attachment_kinds does not name",
    Reason.HOST: "the link leads to a host that is not among media_hosts, or is no https",
    Reason.ADDRESS: "the link's host leads to a private address",
    Reason.REDIRECT: "the link leads elsewhere",
    Reason.SLOW: "the server was too slow",
    Reason.NETWORK: "the server was not reached or gave no whole file",
    Reason.LOST: "the file of the replaced export is gone",
    Reason.SKIPPED: "not fetched",
}
"""In words, for warnings."""


class MediaError(Exception):
    """A file cannot be had.

    :param passing: whether it may be had a little later.
    """

    def __init__(self, reason: Reason, *, passing: bool = False) -> None:
        super().__init__(SAYS[reason])
        self.reason = reason
        self.passing = passing


# ---- the rules


@dataclass(frozen=True)
class MediaRules:
    """Which files are fetched.

    :param hosts: of the servers; those below them count as well.
    :param origin: scheme, host and port of the Graph API where that is on this machine itself, as the sandbox is: then media
        come from there, and from nowhere else.
    :param max_bytes: of the largest file; ``None`` for any size.
    :param kinds: patterns of the MIME types that are wanted, such as ``image/*``; ``None`` for all.
    """

    hosts: tuple[str, ...] = MEDIA_HOSTS
    origin: tuple[str, str, int] | None = None
    max_bytes: int | None = None
    kinds: tuple[str, ...] | None = None

    @classmethod
    def of(cls, base_url: str, hosts: Sequence[str], max_bytes: int | None, kinds: Sequence[str] | None) -> MediaRules:
        """The rules of a connection and a task.

        :param base_url: of the Graph API.
        """
        origin = _origin(base_url)
        at_home = origin if origin is not None and origin[1] in _LOOPBACK else None
        return cls(tuple(hosts), at_home, max_bytes, None if kinds is None else tuple(kinds))

    def takes(self, link: str) -> bool:
        """Whether a link leads where media are."""
        origin = _origin(link)
        if origin is None:
            return False
        if self.origin is not None:
            return origin == self.origin
        scheme, host, port = origin
        return scheme == "https" and port == 443 and any(host == one or host.endswith(f".{one}") for one in self.hosts)

    def check_link(self, link: str) -> None:
        """Refuse a link that leads elsewhere.

        :raises MediaError: it does.
        """
        if not self.takes(link):
            raise MediaError(Reason.HOST)

    def check_kind(self, mime_type: str) -> None:
        """Refuse what is not wanted.

        :raises MediaError: it is not.
        """
        if self.kinds is not None and not any(_matches(mime_type, one) for one in self.kinds):
            raise MediaError(Reason.UNWANTED)

    def check_size(self, size: int) -> None:
        """Refuse what is too large.

        :raises MediaError: it is.
        """
        if self.max_bytes is not None and size > self.max_bytes:
            raise MediaError(Reason.TOO_LARGE)

    def check_address(self, address: str) -> None:
        """Refuse an address that is not of the public internet, but for the sandbox's.

        :raises MediaError: it is none.
        """
        found = ipaddress.ip_address(address.partition("%")[0])
        if self.origin is not None:
            if not found.is_loopback:
                raise MediaError(Reason.ADDRESS)
            return
        inside = _inside(found)
        if not inside.is_global or inside.is_multicast:
            raise MediaError(Reason.ADDRESS)


def _inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that is called in the end, where one of IPv6 stands for one of IPv4 (mapped, 6to4, NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64_HERE:
        return ipaddress.IPv4Address(0)  # of a network's own
    if address in _NAT64:  # https://www.rfc-editor.org/rfc/rfc6052
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _origin(link: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address; ``None`` where it is none that may be called."""
    if not link.isascii() or not link.isprintable() or any(sign in link for sign in " \\<>\"'"):
        return None
    try:
        parts = urlsplit(link)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in ("https", "http") or not host or "@" in parts.netloc or not port:
        return None
    return parts.scheme, host, port


def read_type(header: str | None) -> str:
    """The MIME type that a header or an attachment names, in lower case; empty where it names none or says nothing with it."""
    found = (header or "").partition(";")[0].strip().lower()
    return found if _TYPE.match(found) and found not in _UNTOLD_TYPES else ""


def _matches(mime_type: str, pattern: str) -> bool:
    major, _, minor = pattern.partition("/")
    return mime_type == pattern or (minor == "*" and mime_type.partition("/")[0] == major)


def judge(status: int, headers: Mapping[str, str]) -> None:
    """See from the head of an answer whether a file follows.

    A link that has ended was seen to answer 403 with "URL signature expired" or "Bad URL timestamp", and 404 or 410 once the file
    is gone; other refusals of 400 and above say no more than that.

    :param headers: names in lower case.
    :raises MediaError: none does.
    """
    if 300 <= status < 400:
        raise MediaError(Reason.REDIRECT)
    if status in (408, 425, 429) or status >= 500:
        raise MediaError(Reason.NETWORK, passing=True)
    if status >= 400:
        raise MediaError(Reason.EXPIRED)
    if status != 200 or headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise MediaError(Reason.NETWORK, passing=True)  # a part of it, or packed though nobody asked for that
    if not headers.get("content-length", "").isdecimal() and "chunked" not in headers.get("transfer-encoding", ""):
        raise MediaError(Reason.NETWORK, passing=True)  # nobody could tell the whole of it from a part
