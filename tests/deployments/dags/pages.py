"""Eight Pages of one token, each by a mapped task; each way of waiting for a limit takes its turn among them."""

from __future__ import annotations

import json
import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

WAYS = ("defer", "reschedule", "defer", "wait")
PAGES = json.loads(os.environ["PAGECONV_TEST_PAGES"])

with DAG(dag_id="pages", schedule=None):
    PageConversationsToObjectStorageOperator.partial(
        task_id="export",
        destination=os.environ["PAGECONV_TEST_DESTINATION"],
        retries=10,
        retry_delay=timedelta(seconds=5),
        max_active_tis_per_dag=6,
    ).expand_kwargs([{"page_id": page, "on_rate_limit": WAYS[at % len(WAYS)]} for at, page in enumerate(PAGES)])
