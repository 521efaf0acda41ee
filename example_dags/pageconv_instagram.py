"""Export each day's conversations of a Page and of its Instagram account, side by side.

Meta counts the calls for Messenger and those for Instagram apart. So each has a task of its own, with a pace of its own
(``calls_per_second`` of the connection holds within one task), and a limit that one of them meets does not slow the other.

Before you unpause it:

- the connection ``pageconv_default`` holds the Page's access token, with ``instagram_manage_messages`` beside
  ``pages_messaging``, and in its extra the ``page_id``: the id of the Page that the Instagram account is linked to, for both;
- the Instagram account allows access to its messages (in Instagram's settings; without it the list is empty);
- the variable ``pageconv_destination`` names the root of the data set, as in ``pageconv_daily``. Both share it: their files
  lie in partitions of their own, ``platform=messenger`` and ``platform=instagram``.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset

from airflow_provider_pageconv.compat import CronDataIntervalTimetable
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

CONVERSATIONS = Asset("page_conversations")

# A pool with one slot makes the tasks that share a limit take turns: see pageconv_daily. The two limits are not shared, so
# each has its pool. With one pool for both, the second export would only begin when the first one has ended.
POOLS = {
    "messenger": os.environ.get("PAGECONV_POOL", "default_pool"),
    "instagram": os.environ.get("PAGECONV_INSTAGRAM_POOL", "default_pool"),
}

with DAG(
    "pageconv_instagram",
    description="Export yesterday's conversations of a Page on Messenger and on Instagram",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):
    for platform, pool in POOLS.items():
        PageConversationsToObjectStorageOperator(
            task_id=f"export_{platform}",
            platform=platform,
            destination="{{ var.value.pageconv_destination }}",
            since="{{ data_interval_start }}",
            until="{{ data_interval_end }}",
            pool=pool,
            outlets=[CONVERSATIONS],
        )
