"""The `fields` parameter: `id,updated_time,messages.limit(25){id,attachments{name}}`, read into a tree.

https://developers.facebook.com/docs/graph-api/guides/field-expansion
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from airflow_provider_pageconv.sandbox.errors import GraphApiError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ARGUMENT = re.compile(r"[^()]*")


@dataclass(frozen=True)
class Field:
    """One field that was asked for; `inner` is None where no braces follow, `source` is what stood between them."""

    name: str
    alias: str
    args: tuple[tuple[str, str], ...] = ()
    inner: tuple[Field, ...] | None = None
    source: str = ""

    def arg(self, name: str) -> str | None:
        """Return what stands in `.name(…)`."""
        return dict(self.args).get(name)


@lru_cache(maxsize=512)
def parse_fields(text: str) -> tuple[Field, ...]:
    """Return the fields of a `fields` parameter; error 2500 for what cannot be read."""
    fields, end = _parse_list(text, 0)
    if end != len(text):
        raise _syntax_error("end of string", text, end)
    return fields


def _parse_list(text: str, at: int) -> tuple[tuple[Field, ...], int]:
    fields: list[Field] = []
    while True:
        at = _skip_space(text, at)
        if (at < len(text) and text[at] == "}") or at == len(text):
            break  # A trailing comma is forgiven, and so is nothing at all.
        field, at = _parse_field(text, at)
        fields.append(field)
        at = _skip_space(text, at)
        if at == len(text) or text[at] != ",":
            break
        at += 1
    names = [field.alias for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise GraphApiError(2500, f'Syntax error "Field {name} specified more than once. This is only possible '
                                      f'before version 2.1" at character {max(0, at - 1)}: {text}')  # fmt: skip
    return tuple(fields), at


def _parse_field(text: str, at: int) -> tuple[Field, int]:
    match = _NAME.match(text, at)
    if match is None:
        raise _syntax_error("a field name", text, at)
    name, at = match.group(), match.end()
    args: list[tuple[str, str]] = []
    inner: tuple[Field, ...] | None = None
    source = ""
    while at < len(text) and text[at] in ".{":
        if text[at] == "{":
            inner, end = _parse_list(text, at + 1)
            if end >= len(text) or text[end] != "}":
                raise _syntax_error('"}"', text, end)
            source, at = text[at + 1 : end], end + 1
            continue
        modifier = _NAME.match(text, at + 1)
        if modifier is None or modifier.end() >= len(text) or text[modifier.end()] != "(":
            raise _syntax_error("a modifier", text, at + 1)
        argument = _ARGUMENT.match(text, modifier.end() + 1)
        if argument is None or argument.end() >= len(text) or text[argument.end()] != ")":
            raise _syntax_error('")"', text, modifier.end() + 1)
        args.append((modifier.group(), argument.group()))
        at = argument.end() + 1
    alias = dict(args).get("as", name)
    return Field(name, alias, tuple(args), inner, source), at


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _syntax_error(expected: str, text: str, at: int) -> GraphApiError:
    found = f'"{text[at]}"' if at < len(text) else "end of string"
    return GraphApiError(2500, f'Syntax error "Expected {expected} instead of {found}." at character {at}: {text}')
