"""Writes runs into an Airflow's database, as if a DAG had exported many Pages for a month: `python -m tests.browser.months`.

To run them would take hours. Everything is written through Airflow's own models, so it is what its REST API reads.
"""

from __future__ import annotations

import json
import sys
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import insert

DAG_ID = "months"
FOLDERS = ("inbox", "other", "page_done", "spam")
DAY = timedelta(days=1)


def summary(page_id: str, since: datetime, number: int) -> dict[str, Any]:
    """What a task returns: on Sundays there is less of everything, and now and then something is left out."""
    share = 0.4 if since.isoweekday() == 7 else 1.0 - since.day % 5 / 12
    counts = {
        "conversations": round((40 + number % 7) * share),
        "messages": round((200 + 31 * (number % 11)) * share),
        "messages_unavailable": 0,
        "messages_undated": 12 if number % 97 == 0 else 0,
        "conversations_unavailable": 0,
        "conversations_incomplete": 0,
        "conversations_carried": 0,
        "messages_carried": 0,
        "messages_gone": 0,
        "files": 2,
        "bytes": 48_000 + number,
        "api_calls": 6,
        "waited_seconds": 0.0,
    }
    folder = {**counts, "messages_expected": None, "published": "new"}
    until = since + DAY
    moments = {"since": since, "until": until, "started_at": until + DAY / 144, "finished_at": until + DAY / 120}
    return {
        "destination": "s3://bucket/conversations",
        "page_id": page_id,
        "platform": "messenger",
        **{name: moment.isoformat().replace("+00:00", "Z") for name, moment in moments.items()},
        "manifests": [
            f"_manifests/platform=messenger/page_id={page_id}/folder={name}/window=….json" for name in FOLDERS
        ],
        **{name: len(FOLDERS) * count for name, count in counts.items()},
        "messages_expected": None,
        "folders": dict.fromkeys(FOLDERS, folder),
        "warnings": [
            f"{name}: {counts['messages_undated']} messages of 3 conversations came without a time, so that nobody can tell "
            "what belongs into the window: left out."
            for name in FOLDERS
            if counts["messages_undated"]
        ],
    }


def write(pages: int, days: int, today: datetime) -> None:
    """Write them: one Page misses a day, another one's last failed."""
    with create_session() as session:
        asset = AssetModel(name="months", uri="months://", group="asset", extra={})
        session.add(asset)
        session.flush()
        instances, fields, events = [], [], []
        for back in range(days, 0, -1):
            since = today - back * DAY
            run_id = f"scheduled__{since:%Y-%m-%d}"
            run = {
                "dag_id": DAG_ID,
                "run_id": run_id,
                "run_type": "scheduled",
                "state": "success",
                "run_after": since + DAY,
            }
            session.add(DagRun(**run, logical_date=since, data_interval=(since, since + DAY)))
            session.flush()
            for number in range(pages):
                page_id = str(100200300400000 + number)
                if number == 3 and back == 9:
                    continue
                failed = number == 5 and back == 1
                end = since + DAY + timedelta(minutes=12)
                instances.append(
                    {
                        "id": uuid.uuid4(),
                        "task_id": "export",
                        "dag_id": DAG_ID,
                        "run_id": run_id,
                        "map_index": number,
                        "state": "failed" if failed else "success",
                        "operator": "PageConversationsToObjectStorageOperator",
                        "custom_operator_name": "PageConversationsToObjectStorageOperator",
                        "start_date": end - timedelta(minutes=2),
                        "end_date": end,
                        "try_number": 1,
                        "max_tries": 0,
                        "pool": "default_pool",
                        "pool_slots": 1,
                        "span_status": "ended",
                        "executor_config": {},
                    }
                )
                rendered = {
                    "page_id": page_id,
                    "platform": "messenger",
                    "destination": "s3://aws@bucket/conversations",
                    "since": str(since),
                    "until": str(since + DAY),
                    "folders": None,
                }
                key = {"dag_id": DAG_ID, "task_id": "export", "run_id": run_id, "map_index": number}
                fields.append({**key, "rendered_fields": rendered})
                if not failed:
                    events.append(
                        {
                            "asset_id": asset.id,
                            "extra": summary(page_id, since, number * days + back),
                            "source_dag_id": DAG_ID,
                            "source_task_id": "export",
                            "source_run_id": run_id,
                            "source_map_index": number,
                            "timestamp": end,
                        }
                    )
        session.execute(insert(TaskInstance), instances)
        session.execute(insert(RenderedTaskInstanceFields), fields)
        session.execute(insert(AssetEvent), events)
    print(json.dumps({"instances": len(instances), "events": len(events)}))  # noqa: T201


if __name__ == "__main__":
    now = datetime.now(timezone.utc)
    write(int(sys.argv[1]), int(sys.argv[2]), now.replace(hour=0, minute=0, second=0, microsecond=0))
