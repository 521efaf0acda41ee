"""Parquet files read back as `docs/schema.md` says, by a reader that knows nothing of the export's own."""

from __future__ import annotations

import io
import json
from datetime import timezone
from typing import Any

EDGES = {
    "conversations": ("participants", "former_participants", "senders"),
    "messages": ("to", "tags", "attachments", "shares", "reactions"),
}
TEXTS_OF_JSON = {"template", "cta"}


def table(content: bytes) -> Any:
    """Return a file as pyarrow reads it."""
    from pyarrow import parquet

    return parquet.read_table(io.BytesIO(content))


def nodes(content: bytes, stream: str) -> list[dict[str, Any]]:
    """Return the records of a file as JSON Lines have them."""
    return [_node(row, stream) for row in table(content).to_pylist()]


def _node(row: dict[str, Any], stream: str) -> dict[str, Any]:
    extra = json.loads(row.pop("_extra") or "{}")
    node = {name: _value(name, value) for name, value in row.items() if value is not None and name not in extra}
    for name in EDGES[stream]:
        if name in node:
            node[name] = {"data": [{"name": one} for one in node[name]] if name == "tags" else node[name]}
    return {**node, **extra}


def _value(name: str, value: Any) -> Any:
    if name in ("updated_time", "created_time"):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S+0000")
    if name == "_fetched_at":
        return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if name in TEXTS_OF_JSON:
        return json.loads(value)
    if isinstance(value, dict):
        return {key: _value(key, inner) for key, inner in value.items() if inner is not None}
    return [_value("", one) for one in value] if isinstance(value, list) else value
