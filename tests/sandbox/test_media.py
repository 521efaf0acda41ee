"""The files behind links: the sandbox serves them, and lets links end, lead elsewhere, or bring what is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from airflow_provider_pageconv.sandbox import Sandbox, Trouble

NOW = datetime(2026, 11, 21, 10, 0, 0, tzinfo=timezone.utc)


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A Page with two hundred messages, a few of them with files."""
    with Sandbox(conversations=100, now=NOW, media=True, details="all") as running:
        yield running


def links(box: Sandbox) -> list[str]:
    """The links of all attachments that the API gives, in its order."""
    fields = "messages.limit(100){attachments}"
    url = f"{box.url}/v26.0/{box.page.id}/conversations?fields={fields}&limit=100"
    answer = requests.get(url, headers={"Authorization": f"Bearer {box.token}"}, timeout=10).json()
    found: list[str] = []

    def look(value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                look(inner, key)
        elif isinstance(value, list):
            for inner in value:
                look(inner)
        elif name in ("url", "file_url", "media_url"):
            found.append(value)

    look([row.get("messages") for row in answer["data"]])
    return found


def test_links_of_meta_s_hosts_lead_to_the_sandbox_and_others_stay(box: Sandbox) -> None:
    """What is behind one is the same each time, of the kind that the attachment names."""
    found = links(box)
    here = [link for link in found if link.startswith(f"{box.url}/_media/")]
    assert len(here) >= 10
    assert {urlsplit(link).hostname for link in found} - {"127.0.0.1"} == {"example.com"}
    for link in here[:10]:
        answer = requests.get(link, timeout=10)
        assert answer.status_code == 200
        assert answer.content == requests.get(link, timeout=10).content
    kinds = {requests.get(link, timeout=10).headers["Content-Type"] for link in here}
    assert {"image/jpeg", "video/mp4", "application/pdf"} <= kinds


def test_without_media_the_links_are_those_of_meta_s_hosts() -> None:
    """So that what the sandbox gives stays what it was."""
    with Sandbox(conversations=40, now=NOW) as box:
        assert {urlsplit(link).hostname for link in links(box)} <= {
            "lookaside.fbsbx.com",
            "scontent.xx.fbcdn.net",
            "example.com",
        }


def test_a_link_dies_after_its_time_and_the_api_gives_a_new_one(box: Sandbox) -> None:
    """As Meta's do: 403, and words about its signature."""
    assert box.media is not None
    box.media.dies_after = 60
    old = next(link for link in links(box) if "/_media/" in link)
    assert requests.get(old, timeout=10).status_code == 200
    box.clock = lambda: NOW + timedelta(minutes=2)
    dead = requests.get(old, timeout=10)
    assert (dead.status_code, dead.text) == (403, "URL signature expired")
    new = next(link for link in links(box) if "/_media/" in link)
    assert new != old
    assert requests.get(new, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "kind, status", [("dead", 403), ("gone", 404), ("busy", 503), ("redirect", 302), ("page", 200)]
)
def test_a_trouble_answers_as_it_is_called(box: Sandbox, kind: str, status: int) -> None:
    """So many times where it says so; then the file is served."""
    link = next(link for link in links(box) if "/_media/" in link)
    assert box.media is not None
    box.media.troubles = [Trouble(kind, times=1)]
    assert requests.get(link, timeout=10, allow_redirects=False).status_code == status
    assert requests.get(link, timeout=10).status_code == 200


def test_a_file_of_two_gigabytes_says_so_and_begins(box: Sandbox) -> None:
    """It is streamed, and nobody has to take all of it."""
    link = next(link for link in links(box) if "/_media/" in link)
    assert box.media is not None
    box.media.troubles = [Trouble("huge")]
    with requests.get(link, timeout=10, stream=True) as answer:
        assert int(answer.headers["Content-Length"]) == 2 * 2**30
        assert answer.raw.read(3) == b"\0\0\0"


def test_a_stalling_file_says_nothing_and_a_short_one_less_than_it_promised(box: Sandbox) -> None:
    """Both for as long as somebody waits."""
    link = next(link for link in links(box) if "/_media/" in link)
    assert box.media is not None
    box.media.troubles = [Trouble("stall")]
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(link, timeout=0.3)
    box.media.troubles = [Trouble("short")]
    with pytest.raises(requests.exceptions.RequestException):
        requests.get(link, timeout=10)
    box.media.troubles = [Trouble("trickle", seconds=0.01)]
    with requests.get(link, timeout=10, stream=True) as answer:
        assert len(answer.raw.read(5)) == 5


def test_what_the_command_line_orders_is_read_or_refused_in_words() -> None:
    """`--media-fault kind=dead,every=10,times=1`."""
    assert Trouble.parse("kind=dead,every=10,times=1") == Trouble("dead", 10, 1)
    for text in ("dead", "kind=rotten", "every=2", "kind=dead,every=often", "kind=dead,every=0"):
        with pytest.raises(ValueError, match=r"."):
            Trouble.parse(text)


def test_who_asks_for_a_file_is_remembered(box: Sandbox) -> None:
    """With all headers, so that a test sees what came along."""
    link = next(link for link in links(box) if "/_media/" in link)
    requests.get(link, timeout=10, headers={"X-Mine": "yes"})
    assert box.media is not None
    assert box.media.asked[-1][1]["x-mine"] == "yes"
