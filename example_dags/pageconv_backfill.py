"""Export everything from before the daily windows begin, in one run.

Give ``until`` the moment where the first daily window begins, as shown by its manifests or by the first run of
``pageconv_daily``. One walk over the list of conversations takes far fewer calls than one walk for each day, and it may
last as long as it needs: a try that is stopped goes on where it was. Connection and variable as in ``pageconv_daily``.
"""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, Asset, Param

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

CONVERSATIONS = Asset("page_conversations")

# The same pool as in pageconv_daily: the backfill and the daily export share the Page's limit.
POOL = os.environ.get("PAGECONV_POOL", "default_pool")

with DAG(
    "pageconv_backfill",
    description="Export a Page's conversations from the beginning up to a moment",
    schedule=None,
    max_active_runs=1,
    params={
        "until": Param(
            type="string",
            format="date-time",
            title="Up to",
            description="Where the daily windows begin, with its zone: 2026-11-01T00:00:00+00:00",
        ),
    },
    default_args={"retries": 10, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):
    PageConversationsToObjectStorageOperator(
        task_id="export",
        destination="{{ var.value.pageconv_destination }}",
        until="{{ params.until }}",
        pool=POOL,
        outlets=[CONVERSATIONS],
    )
