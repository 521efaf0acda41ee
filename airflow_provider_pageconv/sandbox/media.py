"""The files behind the links of attachments: what they hold, until when, and what may be wrong with them.

Meta serves them from other hosts than its API, without a token, under links that end: `oe=` in them is the end, in hexadecimal
seconds since 1970, and later they answer 403 and "URL signature expired". Here they lie beneath `/_media`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from airflow_provider_pageconv.sandbox.rules import at_least, between, one_of

PREFIX = "/_media/"
TROUBLES = ("dead", "gone", "redirect", "stall", "trickle", "huge", "endless", "short", "busy", "reset", "page")
"""What may be wrong: 403 as of a link that has ended, 404, a redirect, silence after the request, a byte now and then, 2 GB, a body
without an end, one that is shorter than it says, 503, a cut connection, a page of HTML."""

HUGE = 2 * 2**30
_MEDIA_HOSTS = ("fbsbx.com", "fbcdn.net", "cdninstagram.com")
_LARGEST = 20_000
_TYPES = {"image_data": "image/jpeg", "video_data": "video/mp4"}


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong with some files.

    :param kind: one of `TROUBLES`.
    :param every: with every so many files, by their address; 1: with all.
    :param times: so many answers of each of these files; 0: all.
    :param location: where a redirect leads.
    :param seconds: between two bytes of a trickle.
    """

    kind: str
    every: int = 1
    times: int = 0
    location: str = ""
    seconds: float = 1.0

    def __post_init__(self) -> None:
        one_of("kind", self.kind, TROUBLES)
        at_least("every", self.every, 1)
        at_least("times", self.times, 0)
        between("seconds", self.seconds, 0, 3600)

    @classmethod
    def parse(cls, text: str) -> Trouble:
        """Read what the command line says: `kind=dead,every=10,times=1`; `ValueError` says what is wrong."""
        found: dict[str, Any] = {}
        for part in text.split(","):
            name, equals, value = part.partition("=")
            if not equals or name not in ("kind", "every", "times", "location", "seconds"):
                raise ValueError("a trouble is kind=, every=, times=, location=, seconds= with commas between")
            number: Any = {"every": int, "times": int, "seconds": float}.get(name, str)
            try:
                found[name] = number(value)
            except ValueError:
                raise ValueError(f"{name} is a number, not {value!r}") from None
        if "kind" not in found:
            raise ValueError(f"a trouble names its kind: {', '.join(TROUBLES)}")
        return cls(**found)


class MediaReply(NamedTuple):
    """What goes back for a file; `trouble` says how, where it is not whole."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    trouble: Trouble | None = None


@dataclass
class Media:
    """The files, and how they are served.

    :param dies_after: seconds for which a link is good, by the Page's clock; `None`: for good.
    :param troubles: what is wrong; of several that a file has, the first that is not used up.
    """

    dies_after: float | None = None
    troubles: Sequence[Trouble] = ()
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers, names in lower case, of every request for a file."""
    _struck: dict[tuple[int, str], int] = field(default_factory=dict)

    def of(self, node: Mapping[str, Any], base: str, now: int) -> dict[str, Any]:
        """Return a message whose attachments' links lead here.

        :param base: the address that links start with.
        :param now: the Page's present, seconds since 1970.
        """
        attachments = node.get("attachments")
        if not isinstance(attachments, dict) or not isinstance(attachments.get("data"), list):
            return dict(node)
        end = None if self.dies_after is None else now + int(self.dies_after)
        rows = [self._row(row, base, end) if isinstance(row, dict) else row for row in attachments["data"]]
        return {**node, "attachments": {**attachments, "data": rows}}

    def _row(self, row: Mapping[str, Any], base: str, end: int | None, kind: str = "") -> dict[str, Any]:
        kind = str(row.get("mime_type") or kind or "application/octet-stream")
        made: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, dict):
                inner = kind if row.get("mime_type") else _TYPES.get(name, kind)
                made[name] = self._row(value, base, end, inner)
            elif isinstance(value, str) and name.endswith("url"):
                made[name] = _link(value, base, kind, end)
            else:
                made[name] = value
        return made

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now: int) -> MediaReply:
        """Return what goes back for a file.

        :param query: of its address.
        :param now: the Page's present, seconds since 1970.
        """
        name = "&".join(
            (path, *(f"{key}={value}" for key, value in sorted(query.items()) if key not in ("oe", "type")))
        )
        self.asked.append((name, dict(headers)))
        if "oe" in query and int(query["oe"], 16) <= now:
            return _refusal(403, b"URL signature expired")
        trouble = self._trouble(name)
        kind = trouble.kind if trouble else ""
        if kind == "dead":
            return _refusal(403, b"URL signature expired")
        if kind == "gone":
            return _refusal(404, b"Content not found")
        if kind == "busy":
            return _refusal(503, b"busy")
        if trouble is not None and kind == "redirect":
            return MediaReply(302, [("Location", trouble.location or "http://localhost:9/elsewhere")], b"")
        if kind == "page":
            return MediaReply(200, [("Content-Type", "text/html; charset=utf-8")], b"<html>Log in to Facebook</html>")
        return MediaReply(
            200, [("Content-Type", query.get("type", "application/octet-stream"))], content(name), trouble
        )

    def _trouble(self, name: str) -> Trouble | None:
        drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
        for number, trouble in enumerate(self.troubles):
            struck = self._struck.get((number, name), 0)
            if drawn % trouble.every == 0 and (not trouble.times or struck < trouble.times):
                self._struck[number, name] = struck + 1
                return trouble
        return None


def content(name: str) -> bytes:
    """Return what a file holds, by the path and the query of its address."""
    made = hashlib.shake_256(name.encode())
    return made.digest(200 + int.from_bytes(made.digest(4), "big") % _LARGEST)


def _link(link: str, base: str, kind: str, end: int | None) -> str:
    """Return where a file lies here; a link to another host than one of Meta's for media stays."""
    parts = urlsplit(link)
    host = parts.hostname or ""
    if not any(host == one or host.endswith(f".{one}") for one in _MEDIA_HOSTS):
        return link
    query = {"type": kind, **({} if end is None else {"oe": f"{end:08x}"})}
    sign = f"{parts.query}&" if parts.query else ""
    return f"{base}{PREFIX}{host}{parts.path}?{sign}{urlencode(query)}"


def _refusal(status: int, text: bytes) -> MediaReply:
    return MediaReply(status, [("Content-Type", "text/plain")], text)
