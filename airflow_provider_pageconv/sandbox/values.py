"""What may stand behind an option of the command line: each kind of value reads text, and says in words what it takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airflow_provider_pageconv.sandbox.faults import Fault
from airflow_provider_pageconv.sandbox.graph_api import NODE_FIELDS
from airflow_provider_pageconv.sandbox.limits import USAGE_HEADERS
from airflow_provider_pageconv.sandbox.media import Trouble
from airflow_provider_pageconv.sandbox.nodes import FOLDERS
from airflow_provider_pageconv.sandbox.rules import CHOICES, LEAST, MOST
from airflow_provider_pageconv.sandbox.times import epoch

MOST_THREADS = 10_000_000
"""Of all Pages together: each takes some sixty bytes, and a moment until the sandbox is up."""
MOST_PAGES = 10_000
MOST_MESSAGES = 1_000_000  # of a thread; more would reach back before the calendar begins

RULES = ("time_form", "nested", "nested_every", "message_count", "refusal_form", "swallow_authorization",
         "no_token_code", "date", "detailed_messages", "max_inner_limit", "next_on_full", "inner_paging",
         "taskless", "requests_every")  # fmt: skip
"""What `--rule` can name; the other rules have options of their own."""


@dataclass(frozen=True)
class Value:
    """A kind of value, as argparse's `type`.

    :param allowed: what is taken, in words that go on from "--option takes".
    :param read: the text as a value, or a `ValueError`; if that has words of its own, they say more than `allowed`.
    """

    allowed: str
    read: Callable[[str], Any]

    def __call__(self, text: str) -> Any:
        """Return what the text means; refuse it in words that go on from the option's name."""
        try:
            return self.read(text)
        except _PartError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(f"takes {self.allowed}, not {text!r}") from None


class _PartError(ValueError):
    """Why a text is refused of which a part is at fault."""


def whole(least: int | None = None, most: int = MOST) -> Value:
    """A whole number in a range."""

    def read(text: str) -> int:
        found = int(text)
        if least is not None and not least <= found <= most:
            raise ValueError
        return found

    return Value("a whole number" if least is None else f"a whole number from {least:,} to {most:,}", read)


def number(least: float, most: float, *, above: bool = False) -> Value:
    """A number in a range, whose lower end may be left out."""

    def read(text: str) -> float:
        return _number(text, least, most, above=above)

    return Value(f"a number {'above' if above else 'from'} {least:,} {'and up ' if above else ''}to {most:,}", read)


def _number(text: str, least: float, most: float, *, above: bool = False) -> float:
    found = float(text)
    if not least <= found <= most or (above and found == least):
        raise ValueError
    return found


def one_of(allowed: Iterable[object]) -> Value:
    """One of a few names or numbers."""
    known = {str(each): each for each in allowed}

    def read(text: str) -> object:
        if text not in known:
            raise ValueError
        return known[text]

    return Value(_either(known), read)


def each_from(least: int, most: int, example: str) -> Value:
    """Whole numbers with commas between."""
    single = whole(least, most)

    def read(text: str) -> list[int]:
        return [single.read(part) for part in text.split(",")]

    return Value(f"whole numbers from {least:,} to {most:,} with commas between, such as {example}", read)


def header(what: str) -> Value:
    """A token or a secret: what HTTP carries, and what a shell shows as it is."""

    def read(text: str) -> str:
        if not (text.isascii() and text.isprintable() and text and " " not in text):
            raise ValueError
        return text

    return Value(f"{what} of letters, digits and signs, without spaces", read)


def _page_id(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and text[0] != "0"):
        raise ValueError
    return text


def _moment(text: str) -> datetime:
    made = datetime.fromtimestamp(epoch(text), timezone.utc)
    if not 1970 <= made.year < 9000:
        raise ValueError
    return made


def _folders(text: str) -> dict[str, int]:
    made: dict[str, int] = {}
    for part in text.split(","):
        folder, _, count = part.partition("=")
        if folder.strip() not in FOLDERS or folder.strip() in made:
            raise ValueError
        made[folder.strip()] = whole(0, MOST_THREADS).read(count)
    return made


def _usage_headers(text: str) -> list[str]:
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    if not set(names) <= set(USAGE_HEADERS):
        raise ValueError
    return names


def _foreign(text: str) -> dict[str, float]:
    made: dict[str, float] = {}
    for part in text.split(","):
        kind, _, percent = part.partition("=")
        if not kind.strip():
            raise ValueError
        made[kind.strip()] = _number(percent, 0, MOST)
    return made


def _latency(text: str) -> float | tuple[float, float]:
    least, dash, most = text.partition("-")
    if not dash:
        return _number(least, 0, 3600)
    seconds = _number(least, 0, 3600), _number(most, 0, 3600)
    if seconds[0] > seconds[1]:
        raise ValueError
    return seconds


def _refused_field(text: str) -> tuple[str, str]:
    node_type, dot, field = text.partition(".")
    if not dot:
        raise ValueError
    if node_type not in NODE_FIELDS:
        raise _PartError(f"TYPE is {_either(NODE_FIELDS)}, not {node_type!r}")
    if field not in NODE_FIELDS[node_type]:
        raise _PartError(f"a field of {node_type} is {_either(sorted(NODE_FIELDS[node_type]))}, not {field!r}")
    return node_type, field


def _rule(text: str) -> tuple[str, object]:
    """Return a rule's name and its value: one of its choices, or a number."""
    name, equals, value = text.partition("=")
    if not equals or name not in RULES:
        raise ValueError
    for choice in CHOICES.get(name, ()):
        if str(choice).lower() == value.lower():
            return name, choice
    if name in CHOICES:
        raise _PartError(
            f"{name} is {_either(choice for choice in CHOICES[name] if choice is not None)}, not {value!r}"
        )
    allowed = whole(LEAST[name])
    try:
        return name, allowed.read(value)
    except ValueError:
        raise _PartError(f"{name} is {allowed.allowed}, not {value!r}") from None


def _parsed(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Return what reads a value whose parts have sentences of their own."""

    def read(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise _PartError(str(error)) from None

    return read


def _either(names: Iterable[object]) -> str:
    """Return names as a list of alternatives."""
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}" if others else last


page_id = Value("a number of up to 18 digits that does not begin with 0", _page_id)
moment = Value("a time in ISO with its zone, such as 2026-11-21T10:00:00Z, from 1970 on", _moment)
folders = Value(
    f"numbers of threads by folder, such as inbox=100,spam=3; folders are {', '.join(FOLDERS)}", _folders
)  # fmt: skip
usage_headers = Value(f"none, or some of {', '.join(USAGE_HEADERS)} with commas between", _usage_headers)
foreign_usage = Value("percent from 0 on by product, such as ads_management=100,pages=40", _foreign)
latency = Value(
    "a number of seconds from 0 to 3,600, or two of which the second is not less, such as 0.1-1.5", _latency
)
refused_field = Value("a field by the type of its node, such as UnifiedThread.wallpaper", _refused_field)
rule = Value(f"NAME=VALUE, where NAME is {_either(RULES)}", _rule)
fault = Value("a fault", _parsed(Fault.parse))
media_fault = Value("what is wrong with files", _parsed(Trouble.parse))
