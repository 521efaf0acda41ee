"""What a task hands on about its export: sums, and the same numbers by folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_pageconv.dump.manifest import notes
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.graph.names import FOLDERS

_COUNTS = (
    "conversations",
    "messages",
    "messages_unavailable",
    "messages_undated",
    "conversations_unavailable",
    "conversations_incomplete",
    "conversations_carried",
    "messages_carried",
    "messages_gone",
    "media_files",
    "media_bytes",
)
_SUMS = (*_COUNTS, "files", "bytes", "api_calls")


@dataclass(frozen=True)
class Outcome:
    """How a folder ended.

    :param manifest_path: where the manifest lies, relative to the destination.
    :param manifest: the one that is published now.
    :param new: whether this try published it, or an earlier one.
    """

    manifest_path: str
    manifest: Mapping[str, Any]
    new: bool

    def numbers(self) -> dict[str, Any]:
        """What lies in the destination of the folder, and what its export cost over all tries of the run."""
        files = self.manifest["files"]
        return {
            **{key: self.manifest.get(key, 0) for key in _COUNTS},
            "messages_expected": self.manifest.get("messages_expected"),
            "media_failed": dict(self.manifest.get("media_failed") or {}),
            "files": len(files),
            "bytes": sum(file["bytes"] for file in files),
            "api_calls": int(self.manifest["api_calls"]),
            "waited_seconds": float(self.manifest["waited_seconds"]),
            "published": "new" if self.new else "earlier",
        }


def summary(spec: Spec, destination: str, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """What a task returns.

    :param destination: as the user gave it, without a connection id.
    :param outcomes: by folder.
    """
    folders = {folder: outcome.numbers() for folder, outcome in outcomes.items()}
    manifests = [outcome.manifest for outcome in outcomes.values()]
    expected = [numbers["messages_expected"] for numbers in folders.values()]
    since, until = spec.window.since, spec.window.until
    return {
        "destination": destination,
        "page_id": spec.page_id,
        "platform": spec.platform,
        "since": since.isoformat().replace("+00:00", "Z") if since else None,
        "until": until.isoformat().replace("+00:00", "Z") if until else None,
        "started_at": min((manifest["started_at"] for manifest in manifests), default=None),
        "finished_at": max((manifest["finished_at"] for manifest in manifests), default=None),
        "manifests": [outcome.manifest_path for outcome in outcomes.values()],
        **{key: sum(numbers[key] for numbers in folders.values()) for key in _SUMS},
        "messages_expected": None if None in expected else sum(expected),
        "media_failed": dict(sum((Counter(numbers["media_failed"]) for numbers in folders.values()), Counter())),
        # The folders of a task wait together.
        "waited_seconds": max((numbers["waited_seconds"] for numbers in folders.values()), default=0.0),
        "folders": folders,
        "warnings": list(_warnings(spec, outcomes)),
    }


def _warnings(spec: Spec, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Those of all folders; what concerns the task's calls, and not a folder, once."""
    of_the_task: dict[str, None] = {}
    of_folders = []
    for folder, outcome in outcomes.items():
        known = notes(spec, outcome.manifest["graph_version"])
        for warning in outcome.manifest["warnings"]:
            if warning in known:
                of_the_task[warning] = None
            else:
                of_folders.append(f"{folder}: {warning}")
    yield from of_the_task
    yield from of_folders
    empty = all(outcome.manifest.get("conversations_listed") == 0 for outcome in outcomes.values())
    # That nothing is in spam, or in the other lists beside the first, is no news.
    if spec.on_empty != "ok" and empty and FOLDERS[spec.platform][0] in outcomes:
        yield nothing_listed(spec, list(outcomes))


def nothing_listed(spec: Spec, folders: Sequence[str]) -> str:
    """What it may mean that the API lists no thread at all.

    https://developers.facebook.com/docs/messenger-platform/conversations
    """
    where = f"of the Page {spec.page_id} on {spec.platform}"
    lists = (
        f"The lists {', '.join(folders)} {where} hold" if len(folders) > 1 else f"The list {folders[0]} {where} holds"
    )
    causes = [
        "the app has no Advanced Access, so that only people with a role in it are seen",
        "the person who gave the token has no task on the Page (MESSAGING or MODERATE)",
        "it is the wrong platform",
    ]
    if spec.platform == "instagram":
        causes += [
            "the account does not allow access to its messages (Settings, Messages, Connected tools)",
            "all threads are Requests that were idle for 30 days",
        ]
    if spec.user_id:
        causes.append("the user_id is not this Page's name for the person")
    return (
        f"{lists} no conversation at all, of whatever age. Known causes: {'; '.join(causes)}. "
        "Where it is right, on_empty='ok' says so."
    )
