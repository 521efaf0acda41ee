"""One place for JSON: quick where ``msgspec`` takes it, by the standard library where it does not."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec


def read(text: bytes) -> Any:
    """Read a JSON document.

    :raises ValueError: it is none. What is no number of JSON, NaN for example, and what no float holds, is refused.
    :raises RecursionError: it is nested too deep.
    """
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        pass  # it refuses lone surrogates, for one, which texts of people have
    return json.loads(text, parse_float=_finite, parse_constant=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a JSON number")
    return value


def write(document: Any) -> bytes:
    """Write what :func:`read` has read, in UTF-8 and without a line end; lone surrogates stay the escapes that they came as.

    ``msgspec`` writes a number that is none, which nothing that was read holds, as ``null``.
    """
    try:
        return msgspec.json.encode(document)
    except ValueError:  # a lone surrogate
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")
