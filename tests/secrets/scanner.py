"""Looks for secrets and people in every byte of some files, in whatever form they may have got there."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from cryptography.fernet import Fernet, InvalidToken

_FERNET = re.compile(rb"gAAAAA[A-Za-z0-9_-]{50,}={0,2}")
_TAG = re.compile(rb"(?:%28|(?<![0-9a-f]))([0-9a-f]{8,10})(?![0-9a-f])")


@dataclass(frozen=True)
class Hit:
    """Something that stands where it must not.

    :param place: the file, and where inside it.
    :param what: its name and form; never itself.
    """

    place: str
    what: str


def base64_cores(secret: bytes) -> dict[str, bytes]:
    """Return what a secret looks like inside of base64 whatever stands before and after it, by offset and alphabet."""
    found = {}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret)
        core = encoded[-(-offset * 8 // 6) : (offset + len(secret)) * 8 // 6]
        found[f"base64 at {offset}"] = core
        found[f"URL-safe base64 at {offset}"] = core.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def forms_of_secret(secret: str) -> dict[str, bytes]:
    """Return the forms in which a token, a secret or a proof may be written down."""
    quoted = quote(secret, safe="")
    forms = {
        "plain": secret,
        "quoted": quote(secret),
        "quoted whole": quoted,
        "quoted whole in lower case": re.sub("%..", lambda found: found.group().lower(), quoted),
        "quoted with plus": quote_plus(secret),
        "quoted twice": quote(quoted, safe=""),
        "in JSON": json.dumps(secret)[1:-1].replace("/", "\\/"),
    }
    return {**{name: text.encode() for name, text in forms.items()}, **base64_cores(secret.encode())}


def forms_of_person(text: str) -> dict[str, bytes]:
    """Return the forms in which a name, an address or a text may be written down."""
    escaped = json.dumps(text)[1:-1]
    forms = {
        "plain": text,
        "in JSON": escaped,
        "in JSON, unescaped": json.dumps(text, ensure_ascii=False)[1:-1],
        "in JSON in JSON": json.dumps(escaped)[1:-1],
        "as Python shows it": repr(text)[1:-1],
        "as Python shows it in ASCII": ascii(text)[1:-1],
        "quoted": quote(text, safe=""),
        "quoted with plus": quote_plus(text),
    }
    return {name: form.encode("utf-8", "surrogatepass") for name, form in forms.items()}


@dataclass
class Scanner:
    """What is looked for.

    :param needles: forms, by what they are.
    :param tags: some hexadecimal digits each, one of a kind, that end every text of the sandbox's people.
    :param fernet_key: Airflow's, to look into what it has encrypted.
    """

    needles: dict[str, bytes] = field(default_factory=dict)
    tags: frozenset[bytes] = frozenset()
    fernet_key: str | None = None

    @classmethod
    def of_secrets(cls, secrets: Mapping[str, str], fernet_key: str | None = None) -> Scanner:
        """Look for secrets, given by their names."""
        return cls(_distinct(secrets, forms_of_secret), fernet_key=fernet_key)

    @classmethod
    def of_people(cls, words: Iterable[str], texts: Iterable[str], fernet_key: str | None = None) -> Scanner:
        """Look for names and addresses, and for texts by their tags and by how they begin."""
        found = {text: re.search(r"\(([0-9a-f]{8,10})\)\Z", text) for text in texts}
        tags = {match.group(1) for match in found.values() if match}
        untagged = {text for text, match in found.items() if not match}
        beginnings = {text[:24] for text in texts if len(text) >= 40}
        people = {
            f"person's word {number}": word for number, word in enumerate(sorted({*words, *beginnings, *untagged}))
        }
        return cls(_distinct(people, forms_of_person), frozenset(tag.encode() for tag in tags), fernet_key)

    def hits(self, content: bytes, place: str) -> list[Hit]:
        """Return what is found in some bytes, and in what Airflow has encrypted in them."""
        found = [Hit(place, what) for what, needle in self.needles.items() if needle in content]
        if self.tags:
            found += [Hit(place, "a text's tag") for tag in _TAG.findall(content) if tag in self.tags]
        if self.fernet_key:
            fernet = Fernet(self.fernet_key)
            for token in _FERNET.findall(content):
                with contextlib.suppress(InvalidToken):
                    found += self.hits(fernet.decrypt(token), f"{place}, decrypted")
        return found


def _distinct(words: Mapping[str, str], forms: Any) -> dict[str, bytes]:
    found: dict[bytes, str] = {}
    for name, word in words.items():
        for form, needle in forms(word).items():
            found.setdefault(needle, f"{name}, {form}")
    return {what: needle for needle, what in found.items()}


def pieces(path: Path) -> Iterator[tuple[str, bytes]]:
    """Give all that a file holds: its bytes, unpacked ones, and a database's values one by one.

    A value that is longer than a page of the database lies in it in several places, and its bytes would not be found.
    """
    content = path.read_bytes()
    yield path.name, content
    if content[:2] == b"\x1f\x8b":
        yield f"{path.name}, unpacked", gzip.decompress(content)
    if content.startswith(b"SQLite format 3\0"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            yield from _values(path.name, database)


def _values(name: str, database: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    database.text_factory = bytes
    tables = [row[0].decode() for row in database.execute("select name from sqlite_master where type = 'table'")]
    for table in tables:
        values = []
        for row in database.execute(f'select * from "{table}"'):
            for value in row:
                if isinstance(value, bytes):
                    values.append(value)
                    with contextlib.suppress(zlib.error):
                        values.append(zlib.decompress(value) if value[:1] == b"\x78" else b"")
        yield f"{name}, table {table}", b"\n".join(values)


def scan(files: Iterable[Path], scanner: Scanner) -> tuple[int, list[Hit]]:
    """Look through files and their names; return how many bytes were looked at, unpacked ones among them, and the hits."""
    size, found = 0, []
    for path in files:
        found += scanner.hits(str(path).encode("utf-8", "surrogateescape"), f"the name of {path.name}")
        for place, content in pieces(path):
            size += len(content)
            found += scanner.hits(content, place)
    return size, found
