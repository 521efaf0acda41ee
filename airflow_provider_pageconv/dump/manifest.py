"""What a manifest says of an export, beside its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_pageconv import __version__
from airflow_provider_pageconv.dump.carrying import Carried
from airflow_provider_pageconv.dump.listing import MESSAGE_RUN
from airflow_provider_pageconv.dump.manifest_file import MANIFEST_VERSION
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.tally import Tally
from airflow_provider_pageconv.graph.edges import ConversationsQuery
from airflow_provider_pageconv.graph.media import SAYS, Reason
from airflow_provider_pageconv.graph.protocol import version_note
from airflow_provider_pageconv.times import iso, moment

_COUNTED = (
    "conversations",
    "messages",
    "conversations_carried",
    "messages_carried",
    "conversations_unavailable",
    "messages_unavailable",
    "media_files",
    "media_bytes",
)
"""What of a manifest counts records of its files."""


def describe(
    spec: Spec,
    folder: str,
    progress: Progress,
    query: ConversationsQuery,
    finished_at: datetime,
    *,
    listed: int,
    note: str | None = None,
) -> dict[str, Any]:
    """Describe a folder's finished walk; :func:`complete` adds what is settled when it is published.

    :param query: what the list was asked for in the end.
    :param listed: how many conversations the list named, of whatever age.
    :param note: a warning that goes by what else lies in the folder.
    """
    counts = progress.counts
    hides, fingerprint = spec.hides
    return {
        "manifest_version": MANIFEST_VERSION,
        "export_id": progress.export_id,
        "run_key": dict(spec.run_key),
        "fingerprint": spec.fingerprint(),
        "page_id": spec.page_id,
        "platform": spec.platform,
        "folder": folder,
        "window": spec.window.name,
        "user_id": spec.shown_user_id,
        "since": iso(spec.window.since) if spec.window.since else None,
        "until": iso(spec.window.until) if spec.window.until else progress.began,
        "conversations": counts.conversations,
        "messages": counts.messages,
        "messages_unavailable": counts.messages_unavailable,
        "messages_undated": counts.messages_undated,
        "threads_undated": counts.threads_undated,
        "conversations_unavailable": counts.conversations_unavailable,
        "conversations_incomplete": counts.conversations_incomplete,
        "conversations_incomplete_ids": list(progress.incomplete),
        "conversations_listed": listed,
        "messages_expected": counts.messages_expected if spec.counts_messages else None,
        "fields": {
            CONVERSATIONS: query.fields.expressions,
            MESSAGES: query.message_fields.expressions if query.message_fields else None,
        },
        "dropped_fields": list(progress.dropped),
        "pseudonymize": hides or None,
        "pseudonym_fingerprint": fingerprint,
        "erased_at": None,
        "retained_since": None,
        "download_attachments": spec.downloads,
        "truncated_edges": dict(progress.truncated),
        "file_format": spec.file_format,
        "compression": spec.compression,
        "schema_version": spec.schema_version,
        "graph_version": progress.graph_version,
        "api_calls": progress.api_calls,
        "waited_seconds": round(progress.waited_seconds, 3),
        "started_at": progress.began,
        "finished_at": iso(finished_at),
        "warnings": [
            *notes(spec, progress.graph_version),
            *([note] if note else []),
            *_warnings(spec, progress, query),
        ],
        "provider_version": __version__,
    }


def complete(document: Mapping[str, Any], carried: Carried, predecessor: Mapping[str, Any] | None) -> dict[str, Any]:
    """Complete a manifest by what was settled when it is published; all counts are of what lies in the files.

    :param document: what :func:`describe` made.
    :param predecessor: the manifest that is replaced, if anything of it was to be carried over.
    """
    until, left = document["until"], carried.left
    if document["window"] == "all" and predecessor is not None:
        until = max(until, predecessor["until"], key=moment)
    expected, incomplete = document["messages_expected"], document["conversations_incomplete_ids"]
    made = {name: value for name, value in document.items() if name not in ("window", "threads_undated")}
    made |= {
        "until": until,
        "conversations": document["conversations"] - left.conversations + carried.conversations,
        "messages": document["messages"] - left.messages - carried.dropped + carried.messages,
        "messages_unavailable": (
            document["messages_unavailable"]
            - left.messages_unavailable
            - carried.dropped_unavailable
            + carried.unavailable
        ),
        "messages_undated": carried.unsettled,
        "conversations_unavailable": (
            document["conversations_unavailable"] - left.conversations_unavailable + carried.conversations_unavailable
        ),
        "conversations_incomplete": document["conversations_incomplete"]
        - sum(one in left.incomplete for one in incomplete),
        "conversations_incomplete_ids": [one for one in incomplete if one not in left.incomplete],
        "messages_expected": None if expected is None else expected - left.expected,
        "conversations_carried": carried.conversations,
        "messages_carried": carried.messages,
        "messages_gone": carried.gone,
        "media_files": len(carried.media.files),
        "media_bytes": sum(row.bytes for row in carried.media.files),
        "media_failed": dict(sorted(carried.media.failed.items())),
    }
    return {**made, "warnings": [*document["warnings"], *_count_warnings(made, document["threads_undated"])]}


def recounted(manifest: Mapping[str, Any], went: Tally) -> dict[str, Any]:
    """A published manifest without what went of its records; what it says of the API's list stays.

    :param went: what went.
    """
    made = dict(manifest)
    for name in _COUNTED:
        made[name] = max(0, int(manifest.get(name) or 0) - getattr(went, name))
    # Which messages these were, nobody wrote down.
    made["messages_gone"] = min(int(manifest.get("messages_gone") or 0), made["messages_carried"])
    failed = {
        reason: number - went.media_failed.get(reason, 0)
        for reason, number in (manifest.get("media_failed") or {}).items()
    }
    made["media_failed"] = {reason: number for reason, number in failed.items() if number > 0}
    if manifest.get("messages_expected") is not None:
        made["messages_expected"] = max(0, manifest["messages_expected"] - went.expected)
    incomplete = manifest.get("conversations_incomplete_ids") or []
    made["conversations_incomplete_ids"] = [one for one in incomplete if one not in went.incomplete]
    lost = len(incomplete) - len(made["conversations_incomplete_ids"])
    made["conversations_incomplete"] = max(0, int(manifest.get("conversations_incomplete") or 0) - lost)
    before = list(_count_warnings({**made, **manifest, "messages_undated": 0}, 0))
    kept = [warning for warning in manifest.get("warnings") or [] if warning not in before]
    return {**made, "warnings": [*kept, *_count_warnings({**made, "messages_undated": 0}, 0)]}


def notes(spec: Spec, answered: str | None) -> list[str]:
    """Warnings of what concerns the task's calls, not a folder.

    :param answered: the version that answered, if it said so.
    """
    note = version_note(answered, spec.api_version) if spec.api_version else None
    return [*spec.notes, *([note] if note else [])]


def _count_warnings(made: Mapping[str, Any], threads_undated: int) -> Iterator[str]:
    if number := made["messages_unavailable"]:
        yield (
            f"{_many(number, 'message')} came without details: the API gives those of the 20 newest of a conversation only. "
            "Shorter windows help."
        )
    if number := made["messages_undated"]:
        yield (
            f"{_many(number, 'message')} of {_many(threads_undated, 'conversation')} came without a time, so that nobody can "
            "tell what belongs into the window: left out. The API gives details of the 20 newest messages of a conversation "
            "only; shorter windows help."
        )
    if number := made["conversations_unavailable"]:
        yield (
            f"{_many(number, 'conversation')} could not be read to the end: what was got is there, marked _unavailable."
        )
    if number := made["conversations_incomplete"]:
        yield f"{_many(number, 'conversation')} gave fewer messages than message_count says."
    if failed := made["media_failed"]:
        why = ", ".join(f"{number} ({_said(reason)})" for reason, number in failed.items())
        yield f"{_many(sum(failed.values()), 'file')} of attachments could not be had: {why}."
    if made["messages_carried"] or made["conversations_carried"]:
        yield (
            f"{_many(made['conversations_carried'], 'conversation')} and {_many(made['messages_carried'], 'message')} were "
            f"carried over from the export that was replaced, among them {_many(made['messages_gone'], 'message')} that the "
            "API does not list any more."
        )


def _warnings(spec: Spec, progress: Progress, query: ConversationsQuery) -> list[str]:
    """All that was withheld, left out or not as it should be, with its number and what helps."""
    counts, walk = progress.counts, progress.walk
    warnings = [f"The API refuses the documented field {name!r}: it was left out." for name in progress.dropped]
    if not walk.order.newest_first:
        warnings.append("The list of conversations was not newest first: it was read to its end, and again.")
    if walk.unsettled:
        warnings.append(
            f"The list was read again {_many(walk.readings, 'time')}, and the last one still brought "
            f"{_many(walk.found, 'conversation')} that may have been there before: run the export again."
        )
    if progress.threads_unordered:
        warnings.append(
            f"The messages of {_many(progress.threads_unordered, 'conversation')} were not newest first: they were read to "
            "their end."
        )
    if query.message_fields is not None and not query.asks_for_sender:
        lacks = "exclude_fields has" if "from" in spec.exclude_fields else "message_fields has no"
        warnings.append(f"{lacks} 'from': nobody can tell which messages came without their details.")
    if progress.threads_cut:
        warnings.append(
            f"The reading of {_many(progress.threads_cut, 'conversation')} ended early, since {MESSAGE_RUN} messages in a row "
            "came without a time: what follows there is unknown."
        )
    if counts.conversations_undated:
        warnings.append(f"{_many(counts.conversations_undated, 'conversation')} came without updated_time: left out.")
    warnings += [
        f"The messages of {_many(number, 'conversation')} were refused with error {code}: what was got is there, marked "
        "_unavailable."
        for code, number in sorted(progress.refused.items())
    ]
    if progress.unusable:
        warnings.append(f"{_many(progress.unusable, 'row')} left out: no object, or without an id.")
    warnings += [
        f"{_many(count, 'list')} at {path!r} had further pages, which were not fetched."
        for path, count in sorted(progress.truncated.items())
    ]
    return warnings


def _said(reason: str) -> str:
    """A reason in words; one of a later version as it stands there."""
    return SAYS[Reason(reason)] if reason in set(Reason) else reason


def _many(number: int, noun: str) -> str:
    """A number and what it counts."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
