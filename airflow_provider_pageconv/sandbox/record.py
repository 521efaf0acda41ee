"""What was asked, as it came, and what goes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_pageconv.sandbox.faults import Fault
from airflow_provider_pageconv.sandbox.graph_api import Call


@dataclass
class RecordedRequest:
    """One request as it came.

    :param path: the path with its version.
    :param target: path and query, undecoded: what a proxy's log would show.
    :param params: the query, decoded.
    :param headers: the headers, names in lower case.
    :param at: when it came, as `time.time()`.
    :param status: the HTTP status of the answer; None while there is none, and where none was sent.
    :param code: `error.code` of the answer, or None.
    :param version: the version in the path, or None.
    :param edge: "conversations", "messages", "node", "accounts", "me", "debug_token", "inner".
    :param fault: the kind of the fault that struck it, or None.
    """

    method: str
    path: str
    target: str
    params: dict[str, str]
    headers: dict[str, str]
    at: float
    version: str | None
    edge: str
    status: int | None = None
    code: int | None = None
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return everything as a JSON object."""
        return dict(vars(self))


@dataclass
class Reply:
    """What goes back over the wire: the answer's headers and body, and what a fault does to them on the way."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    fault: Fault | None = None
    delay: float = 0.0


def edge_of(call: Call) -> str:
    """Return the name under which a call is recorded, and under which faults find it."""
    parts = call.parts
    if parts == ["debug_token"]:
        return "debug_token"
    if len(parts) >= 2:
        return parts[1] if parts[1] in ("conversations", "messages", "accounts") else "inner"
    return "me" if parts == ["me"] else "node"
