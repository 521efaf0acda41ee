"""From a Graph node to a record, and what of two records of one thing is worth more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.graph.fields import REQUIRED_OF_MESSAGES

CONVERSATIONS, MESSAGES = "conversations", "messages"
STREAMS = (CONVERSATIONS, MESSAGES)

_SEPARATORS = "\x85\u2028\u2029"
"""What some readers take for the end of a line though JSON allows it inside a text."""

SETTLED = 3
"""Worth of a message with details and a time: nothing is worth more."""


def line(record: Mapping[str, Any]) -> bytes:
    """One JSON object in UTF-8 and a newline."""
    written = json_text.write(record)
    return (written if written.isascii() else _without_separators(written)) + b"\n"


def _without_separators(written: bytes) -> bytes:
    """Escape what some readers take for the end of a line; outside of texts there is none."""
    for separator in _SEPARATORS:
        if (raw := separator.encode()) in written:
            written = written.replace(raw, f"\\u{ord(separator):04x}".encode())
    return written


def worth(message: Mapping[str, Any], *, asks_for_details: bool) -> int:
    """What a message's record is worth: with details more than without, dated more than undated.

    :param asks_for_details: whether more than ids and times was asked for.
    """
    detailed = not message.get("_unavailable") and (
        not asks_for_details or any(not name.startswith("_") and name not in REQUIRED_OF_MESSAGES for name in message)
    )
    return 2 * detailed + (message.get("created_time") is not None)
