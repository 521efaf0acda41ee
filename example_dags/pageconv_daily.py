"""Export each day's conversations of a Page, the day after.

Before you unpause it:

- the connection ``pageconv_default`` holds the Page's access token, and in its extra the ``page_id``;
- the variable ``pageconv_destination`` names the root of the data set, for example ``s3://aws_default@bucket/pageconv``
  (a connection's id in front of the bucket), or ``file:///var/data/pageconv``.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset

from airflow_provider_pageconv.compat import CronDataIntervalTimetable
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

# What other DAGs wait for; each of its events names the manifests of one export.
CONVERSATIONS = Asset("page_conversations")

# All tasks that read one Page share one rate limit, whatever DAG they are in. A pool with a single slot makes them wait
# for one another: `airflow pools set pageconv 1 "one task for each Page"`, then PAGECONV_POOL=pageconv, or its name here.
POOL = os.environ.get("PAGECONV_POOL", "default_pool")

with DAG(
    "pageconv_daily",
    description="Export yesterday's conversations of a Page",
    # Not schedule="@daily": in Airflow 3 that has an empty data interval, so there would be nothing to export.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    # Days that were missed are fetched faster in one run: see pageconv_backfill.
    catchup=False,
    # Two days at once would only halve each other's pace.
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):
    PageConversationsToObjectStorageOperator(
        task_id="export",
        destination="{{ var.value.pageconv_destination }}",
        # The day of this run. The task waits a few minutes after its end by itself, so that late arrivals are in.
        since="{{ data_interval_start }}",
        until="{{ data_interval_end }}",
        pool=POOL,
        outlets=[CONVERSATIONS],
    )
