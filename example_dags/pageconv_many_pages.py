"""Export the conversations of many Pages every day, each Page by a task of its own.

Each Page has a limit of its own at Meta, so the Pages are exported side by side. A task that meets its Page's limit frees
its worker and comes back when calls are let through (``on_rate_limit="reschedule"``, which is the default): few workers are
enough for many Pages, since most of the time most exports wait.

Before you unpause it:

- each Page has a connection of type ``pageconv``, with its access token and, in its extra, its ``page_id``;
- the variable ``pageconv_connections`` names them, as a JSON list: ``["pageconv_shop", "pageconv_cafe"]``. A Page that is
  added there is exported from the next run on;
- the variable ``pageconv_destination`` names the root of the data set, as in ``pageconv_daily``. All Pages share it.

How many at once: an export that is under way holds a worker, one that waits holds none. ``PAGES_AT_ONCE`` bounds the first
kind. To bound it together with other DAGs, use a pool: ``airflow pools set pageconv 8 "exports under way"``, then
PAGECONV_POOL=pageconv, or its name below. Do not choose a pool that includes deferred tasks, or one Page that waits keeps
the next one from beginning.

Do not let two tasks export one Page: a task that waits in this way keeps no place, so the other one runs straight into the
same limit. To export the folders of one Page by tasks of their own see ``pageconv_folders``.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, Variable, task

from airflow_provider_pageconv.compat import CronDataIntervalTimetable
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

# One event for each Page; it names the Page and the manifests of its export.
CONVERSATIONS = Asset("page_conversations")

POOL = os.environ.get("PAGECONV_POOL", "default_pool")
PAGES_AT_ONCE = 8

with DAG(
    "pageconv_many_pages",
    description="Export yesterday's conversations of many Pages",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    # Two days at once would only halve each other's pace.
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):

    @task
    def connections() -> list[str]:
        """Name the connections of all Pages; read when the DAG runs, not each time the file is parsed."""
        names: list[str] = Variable.get("pageconv_connections", deserialize_json=True)
        return names

    PageConversationsToObjectStorageOperator.partial(
        task_id="export",
        destination="{{ var.value.pageconv_destination }}",
        since="{{ data_interval_start }}",
        until="{{ data_interval_end }}",
        on_rate_limit="reschedule",
        pool=POOL,
        max_active_tis_per_dag=PAGES_AT_ONCE,
        # What the tasks are called in the UI, in place of 0, 1, 2 …
        map_index_template="{{ task.pageconv_conn_id }}",
        outlets=[CONVERSATIONS],
    ).expand(pageconv_conn_id=connections())
