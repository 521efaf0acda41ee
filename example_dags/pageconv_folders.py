"""Export the folders of one Page every day, each folder by a task of its own.

One task exports all folders of a Page side by side, and that is the faster way: see ``pageconv_daily``. Tasks of their own
are of use where the folders are to be seen, retried and cleared one by one. What is written is the same.

The folders share the Page's limit, so their tasks take turns: ``max_active_tis_per_dag=1``. With
``on_rate_limit="defer"`` a folder that waits for the limit keeps its turn, although it holds no worker; the triggerer wakes
it. With ``"reschedule"`` it would give up its turn, and the next folder would run straight into the same limit.

Several DAGs that read one Page take turns through a pool. It has to include deferred tasks, for the same reason:
``airflow pools set --include-deferred pageconv_shop 1 "calls for one Page"``, then PAGECONV_POOL=pageconv_shop, or its name
below, in each of them, and ``on_rate_limit="defer"`` too.

Connection and variable as in ``pageconv_daily``. A triggerer has to run.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset

from airflow_provider_pageconv.compat import CronDataIntervalTimetable
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

# One event for each folder.
CONVERSATIONS = Asset("page_conversations")

POOL = os.environ.get("PAGECONV_POOL", "default_pool")

with DAG(
    "pageconv_folders",
    description="Export yesterday's conversations of a Page, folder by folder",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):
    PageConversationsToObjectStorageOperator.partial(
        task_id="export",
        destination="{{ var.value.pageconv_destination }}",
        since="{{ data_interval_start }}",
        until="{{ data_interval_end }}",
        on_rate_limit="defer",
        pool=POOL,
        max_active_tis_per_dag=1,
        map_index_template="{{ task.folders }}",
        outlets=[CONVERSATIONS],
    ).expand(folders=["inbox", "other", "page_done", "spam"])
