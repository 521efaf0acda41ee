"""Remove what was exported longer ago than it may be kept, once a month.

Before you unpause it, set ``KEEP``, and the variable ``pageconv_destination``, which names the root of the data set, as for the
exports. Windows that ended longer ago go whole; of dumps and backfills the older messages go. The next dump would bring them back:
export windows, as ``pageconv_daily`` does.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_provider_pageconv.compat import CronTriggerTimetable
from airflow_provider_pageconv.operators import PageConversationsRetentionOperator

KEEP = timedelta(days=730)

with DAG(
    "pageconv_retention",
    description="Remove what is older than it may be kept",
    schedule=CronTriggerTimetable("0 4 1 * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):
    PageConversationsRetentionOperator(
        task_id="retain",
        destination="{{ var.value.pageconv_destination }}",
        keep=KEEP,
    )
