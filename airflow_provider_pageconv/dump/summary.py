"""What a task hands on about its export: sums, and the same numbers by folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_pageconv.dump.spec import Spec

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
    warnings = [f"{folder}: {warning}" for folder, one in outcomes.items() for warning in one.manifest["warnings"]]
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
        # The folders of a task wait together.
        "waited_seconds": max((numbers["waited_seconds"] for numbers in folders.values()), default=0.0),
        "folders": folders,
        "warnings": warnings,
    }
