"""An export that goes well, and one whose token is dead; both talk to the same Page."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

for dag_id in ("watched", "refused"):
    with DAG(dag_id=dag_id, schedule=None, max_active_runs=1):
        PageConversationsToObjectStorageOperator(
            task_id="export", destination=os.environ["PAGECONV_TEST_PLACE"], pageconv_conn_id=f"conn_of_{dag_id}"
        )
