"""Start when an export is complete, and count what it holds.

The event of the asset names the export's manifests, and the manifests name its files: reading only those is what makes
sure that nothing half-done and nothing twice is counted. Connection and variable as in ``pageconv_daily``.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections import Counter
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, ObjectStoragePath, Variable, task

log = logging.getLogger(__name__)

# Of one Page alone: schedule=[page_asset(destination, page_id)], which pageconv_all_pages tells of as well
# (from airflow_provider_pageconv.assets import page_asset).
CONVERSATIONS = Asset("page_conversations")

with DAG(
    "pageconv_consumer",
    description="Count the conversations and messages of each export",
    schedule=[CONVERSATIONS],
    # A newer export of the same window may replace a file while it is being read: then read the manifests again.
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):

    @task
    def count(triggering_asset_events: Any = None) -> dict[str, int]:
        """Return how many records the exports behind this run hold, by stream."""
        root = ObjectStoragePath(Variable.get("pageconv_destination"))
        manifests = {
            name for events in triggering_asset_events.values() for event in events for name in event.extra["manifests"]
        }
        records: Counter[str] = Counter(conversations=0, messages=0)
        for name in sorted(manifests):
            manifest = json.loads((root / name).read_text(encoding="utf-8"))
            for file in manifest["files"]:
                if file["stream"] not in records:
                    continue  # files of attachments, where the export fetches them
                with (root / file["path"]).open("rb") as stored, gzip.open(stored) as lines:
                    records[file["stream"]] += sum(1 for _ in lines)
        log.info(
            "%d conversations and %d messages in %d manifests",
            records["conversations"],
            records["messages"],
            len(manifests),
        )
        return dict(records)

    count()
