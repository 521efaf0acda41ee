"""What a manifest says of an export, beside its files."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_pageconv import __version__
from airflow_provider_pageconv.dump.checkpoint import Progress
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.threads import iso
from airflow_provider_pageconv.graph.edges import ConversationsQuery

MANIFEST_VERSION = 1


def describe(
    spec: Spec, folder: str, progress: Progress, query: ConversationsQuery, finished_at: datetime
) -> dict[str, Any]:
    """Describe a folder's finished walk.

    :param query: what the list was asked for in the end.
    """
    counts = progress.counts
    return {
        "manifest_version": MANIFEST_VERSION,
        "export_id": progress.export_id,
        "run_key": dict(spec.run_key),
        "fingerprint": spec.fingerprint(),
        "page_id": spec.page_id,
        "platform": spec.platform,
        "folder": folder,
        "user_id": spec.user_id,
        "since": iso(spec.window.since) if spec.window.since else None,
        "until": iso(spec.window.until) if spec.window.until else progress.began,
        "conversations": counts.conversations,
        "messages": counts.messages,
        "messages_unavailable": counts.messages_unavailable,
        "messages_detailed": counts.messages_detailed,
        "messages_undated": counts.messages_undated,
        "conversations_unavailable": counts.conversations_unavailable,
        "fields": {
            CONVERSATIONS: query.fields.expressions,
            MESSAGES: query.message_fields.expressions if query.message_fields else None,
        },
        "dropped_fields": list(progress.dropped),
        "truncated_edges": dict(progress.truncated),
        "file_format": spec.file_format,
        "compression": spec.compression,
        "graph_version": progress.graph_version,
        "api_calls": progress.api_calls,
        "waited_seconds": round(progress.waited_seconds, 3),
        "started_at": progress.began,
        "finished_at": iso(finished_at),
        "warnings": _warnings(progress, query),
        "provider_version": __version__,
    }


def _warnings(progress: Progress, query: ConversationsQuery) -> list[str]:
    undated = progress.counts.conversations_undated
    warnings = [f"The API refuses the documented field {name!r}: it was left out." for name in progress.dropped]
    if not progress.list_ordered:
        warnings.append("The list of conversations was not newest first: it was read to its end.")
    if progress.threads_unordered:
        warnings.append(
            f"The messages of {progress.threads_unordered} conversations were not newest first: they were read to their end."
        )
    if query.message_fields is not None and not query.asks_for_sender:
        warnings.append("message_fields has no 'from': nobody can tell which messages came without their details.")
    if undated:
        warnings.append(f"{undated} conversations came without updated_time: left out.")
    warnings += [
        f"{count} lists at {path!r} had further pages, which were not fetched."
        for path, count in sorted(progress.truncated.items())
    ]
    return warnings
