"""An export that goes well, one whose token is dead, and a slow one; all talk to the same Page."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

PLACES = {"watched": "export", "refused": "export", "frozen": "slow"}

for dag_id, place in PLACES.items():
    with DAG(dag_id=dag_id, schedule=None, max_active_runs=1):
        PageConversationsToObjectStorageOperator(
            task_id="export",
            destination=f"{os.environ['PAGECONV_TEST_ROOT']}/{place}",
            page_size=1 if dag_id == "frozen" else 100,
            pageconv_conn_id=f"conn_of_{dag_id}",
        )
