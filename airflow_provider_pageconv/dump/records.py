"""From a Graph node to a record, and what of two records of one thing is worth more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_pageconv.graph.fields import REQUIRED_OF_MESSAGES

CONVERSATIONS, MESSAGES = "conversations", "messages"
STREAMS = (CONVERSATIONS, MESSAGES)

# What some readers take for the end of a line though JSON allows it inside a text.
_SEPARATORS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})

SETTLED = 3
"""Worth of a message with details and a time: nothing is worth more."""


def line(record: Mapping[str, Any]) -> bytes:
    """One JSON object in UTF-8 and a newline; lone surrogates stay the escapes that they came as."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_SEPARATORS).encode("utf-8", "backslashreplace") + b"\n"


def worth(message: Mapping[str, Any], *, asks_for_details: bool) -> int:
    """What a message's record is worth: with details more than without, dated more than undated.

    :param asks_for_details: whether more than ids and times was asked for.
    """
    detailed = not message.get("_unavailable") and (
        not asks_for_details or any(not name.startswith("_") and name not in REQUIRED_OF_MESSAGES for name in message)
    )
    return 2 * detailed + (message.get("created_time") is not None)
