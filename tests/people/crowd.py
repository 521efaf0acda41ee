"""A Page with people wherever the API may name them, and a search for them through everything that is written down."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.sandbox.nodes import Person
from tests.dump.exporting import NOW
from tests.servers.destinations import Destination

ALL = ("name", "email", "username", "id")
KEY = b"a long random text"
EARLIER = NOW - timedelta(minutes=1)
FORMATS = [
    {"file_format": "jsonl", "compression": "none"},
    {"file_format": "parquet", "compression": "none"},
]
each_format = pytest.mark.parametrize("how", FORMATS, ids=lambda how: how["file_format"])
OUTSIDERS = ("7000000000000001", "7000000000000002")
"""Who only reacts, or is mentioned."""


def hashed(value: str, key: bytes = KEY) -> str:
    """What anybody with the secret can make of a value."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def pseudonyms(*fields: str) -> dict[str, Any]:
    return {"pseudonymize": fields or ALL, "pseudonym_key": KEY}


@dataclass(frozen=True)
class Crowd:
    """Who is where.

    :param alone: writes with the Page in a thread of their own, and in the group.
    :param other: writes in the group, and in a thread of their own.
    :param own_thread: of ``alone``.
    :param group: a thread of both.
    """

    alone: Person
    other: Person
    own_thread: str
    group: str


def box_of_a_crowd(**options: Any) -> tuple[Sandbox, Crowd]:
    """A Page of which one thread is a group, in which everybody is named in every way; start it with ``with``."""
    options = {"conversations": 0, "folders": {"inbox": 14, "other": 4}, "messages": 40, "long_every": 6, **options}
    box = Sandbox(now=NOW, **options)
    threads = [thread for thread in box.page.threads() if thread.folder == "inbox" and len(thread.messages) < 20]
    own, other = threads[2], next(one for one in threads[3:] if one.person.id != threads[2].person.id)
    group = box.page.new_thread("inbox", messages=0, user_id=own.person.id, at=EARLIER)
    box.page.join(group.id, other.person.id)
    crowd = Crowd(own.person, other.person, own.id, group.id)
    for by in (None, other.person.id):
        person = crowd.alone if by is None else crowd.other
        box.page.add_message(group.id, at=EARLIER, by=by, text="good morning", fields=_everywhere(box, person))
    box.page.add_message(
        group.id, at=EARLIER, from_page=True, text="good evening", fields=_everywhere(box, crowd.alone)
    )
    box.page.thread(group.id).fields["name"] = f"The friends of {crowd.alone.name}"
    box.page.thread(group.id).fields["former_participants"] = {"data": [crowd.alone.as_sender("messenger")]}
    return box, crowd


def _everywhere(box: Sandbox, person: Person) -> dict[str, Any]:
    """Fields of a message that name somebody: in known places, and in such as nobody has documented."""
    node = person.as_sender("messenger")
    users = [{"id": OUTSIDERS[0], "name": "Outsider One"}, node]
    file = {"id": "900000000000001", "name": "a file.pdf", "image_data": {"taken_by": [node], "width": 1, "height": 1}}
    return {
        "reactions": {"data": [{"reaction": "love", "users": users}, {"reaction": "sad", "users": [node]}]},
        "tags": {"data": [{"name": "inbox"}, {**node, "type": "user"}, {"id": OUTSIDERS[1], "name": "Outsider Two"}]},
        "attachments": {"data": [file]},
        "shares": {"data": [{"id": "900000000000002", "name": "a post", "template": {"seen_by": {"data": [node]}}}]},
        "story": {"mention": {"id": "900000000000003", "link": f"https://example.com/{person.id}/story", "user": node}},
    }


def everybody(box: Sandbox) -> set[str]:
    """Ids, names and addresses of all people on a Page, the Page itself apart."""
    found = {"Outsider One", "Outsider Two", *OUTSIDERS}
    for thread in box.page.threads():
        for one in (thread.person, *thread.joined):
            found |= {one.id, one.name, one.email}
    return found


def told(crowd: Person) -> set[str]:
    """What tells of somebody."""
    return {crowd.id, crowd.name, crowd.email}


def written(folder: Path) -> Iterator[tuple[str, str]]:
    """All files below a folder, each as a text that shows what is in it: packed with gzip, or not at all, as Parquet may be."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # it has just got its name, and is looked at next time
            continue
        yield str(path), path.name
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8", "replace")
        yield str(path), text


def search(folder: Path, words: Iterable[str]) -> set[str]:
    """Where some words are written below a folder, as ``word in file``."""
    forms = {word: {word, json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1]} for word in words}
    return {
        f"{word} in {path}"
        for path, text in written(folder)
        for word, each in forms.items()
        if any(form in text for form in each)
    }


class Looking:
    """A store that looks at all that is written after each of its changes, on its side and on the worker's disk."""

    def __init__(self, store: Any, look: Callable[[], None]) -> None:
        self._store, self._look = store, look

    def with_scratch(self, prefix: str) -> Any:
        return Looking(self._store.with_scratch(prefix), self._look)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in ("put", "put_bytes", "copy", "delete"):
            return method

        def operation(*arguments: Any) -> Any:
            self._look()
            made = method(*arguments)
            self._look()
            return made

        return operation


@contextmanager
def scratch_in(folder: Path) -> Iterator[None]:
    """Let temporary files lie in a folder of the test's own."""
    folder.mkdir(parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def by_id(files: Destination, stream: str) -> Mapping[str, dict[str, Any]]:
    """The published records of a stream."""
    records = files.records(stream)
    found = {record["id"]: record for record in records}
    assert len(found) == len(records)
    return found


def without(*ids: str) -> dict[str, Any]:
    return {"exclude_user_ids": frozenset(ids)}


IDS = st.sampled_from(["11111111", "22222222", "33333333", 11111111, None])


NODES = st.recursive(
    IDS | st.sampled_from(["", "Ana", "https://example.com/11111111/x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "name", "users", "user_id", "data", "from", "else"]), inner)
    ),
    max_leaves=14,
)
