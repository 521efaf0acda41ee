"""Bodies as JSON, with rows that may be JSON already: a Page is often walked more than once."""

from __future__ import annotations

import json
from typing import Any


class EncodedRow(str):
    """A row of a list that is JSON already; see `encoded`."""

    __slots__ = ()


def encoded(body: Any) -> bytes:
    """Return a body as JSON, in ASCII as Meta writes it; rows that are JSON already are put in as they are."""
    rows = body.get("data") if isinstance(body, dict) else None
    if isinstance(rows, list) and rows and isinstance(rows[0], EncodedRow):
        rest = "".join(f",{json.dumps(name)}:{dumps(value)}" for name, value in body.items() if name != "data")
        return f'{{"data":[{",".join(rows)}]{rest}}}'.encode("ascii")
    return dumps(body).encode("ascii")


def dumps(value: Any) -> str:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":"))
