"""Export each hour's conversations of a Page, the hour after.

For Pages with conversations that get more than 20 messages a day: Meta gives the details of a conversation's 20 newest
messages only, so that a daily export would find the older ones of a long talk without text and time.

Before you unpause it:

- the connection ``pageconv_default`` holds the Page's access token, and in its extra the ``page_id``;
- the variable ``pageconv_destination`` names the root of the data set, for example ``s3://aws_default@bucket/pageconv``
  (a connection's id in front of the bucket), or ``file:///var/data/pageconv``. Hours and days of one Page overlap: where
  ``pageconv_daily`` has exported days, begin with the hour at which its last day ended.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset

from airflow_provider_pageconv.compat import CronDataIntervalTimetable
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

# All tasks that read one Page share one rate limit: see pageconv_daily.
POOL = os.environ.get("PAGECONV_POOL", "default_pool")

with DAG(
    "pageconv_hourly",
    description="Export the last hour's conversations of a Page",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    # Hours that were missed are fetched faster in one run: see pageconv_backfill.
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):
    PageConversationsToObjectStorageOperator(
        task_id="export",
        destination="{{ var.value.pageconv_destination }}",
        since="{{ data_interval_start }}",
        until="{{ data_interval_end }}",
        pool=POOL,
        outlets=[Asset("page_conversations_hourly")],
    )
