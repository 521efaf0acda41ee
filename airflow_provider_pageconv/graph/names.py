"""What a user may name: the folders of each platform, and fields in the Graph API's own syntax.

Apart from the fields themselves, since every DAG file that is parsed imports it.
"""

from __future__ import annotations

from collections.abc import Iterable

FOLDERS = {"messenger": ("inbox", "other", "page_done", "spam"), "instagram": ("all",)}
"""The folders of each platform; Instagram has one list, for which no folder is sent."""

PSEUDONYMS = ("name", "email", "username", "id")
"""What of people may become a keyed hash."""


def split_fields(text: str) -> tuple[str, ...]:
    """Split a field expression at its outermost commas.

    :raises ValueError: its braces or parentheses do not match, or a field has no name.
    """
    fields, start, depth = [], 0, 0
    for at, char in enumerate(text + ","):
        if char in "{(":
            depth += 1
        elif char in "})":
            depth -= 1
            if depth < 0:
                raise ValueError(f"braces do not match in {text!r}")
        elif char == "," and depth == 0:
            fields.append(text[start:at].strip())
            start = at + 1
    if depth:
        raise ValueError(f"braces do not match in {text!r}")
    if not all(field_name(one).replace("_", "").isalnum() for one in fields):
        raise ValueError(f"a field without a name in {text!r}")
    return tuple(fields)


def parse_fields(name: str, asked: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Read a user's choice of fields: one expression, or a list of them.

    :param name: of the parameter, for the sentence.
    :raises ValueError: it names no field, or cannot be read.
    """
    if asked is None:
        return None
    parts = [asked] if isinstance(asked, str) else asked
    try:
        fields = tuple(one for part in parts for one in split_fields(part))
    except (ValueError, TypeError, AttributeError):
        fields = ()
    if not fields:
        raise ValueError(
            f"{name} is {asked!r}: it takes names of Graph API fields, such as 'id,participants', or None."
        )
    return fields


def field_name(one: str) -> str:
    """Name the field of one outermost expression, without its modifiers and inner fields."""
    for at, char in enumerate(one):
        if char in ".{(":
            return one[:at].strip()
    return one.strip()
