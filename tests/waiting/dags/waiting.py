"""Each way of waiting for a limit as a DAG of its own; every one talks to a Page, and a sandbox, of its own."""

from __future__ import annotations

import json
import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.sensors import PageConversationsRateLimitSensor

PLACES = json.loads(os.environ["PAGECONV_TEST_PLACES"])

for way, destination in PLACES.items():
    with DAG(dag_id=f"export_{way}", schedule=None, max_active_runs=1):
        PageConversationsToObjectStorageOperator(
            task_id="export",
            destination=destination,
            on_rate_limit=way,
            pageconv_conn_id=f"export_{way}",
            retries=1 if way == "fail" else 0,
            retry_delay=timedelta(seconds=75),
        )

for mode in ("poke", "reschedule", "deferrable"):
    with DAG(dag_id=f"sense_{mode}", schedule=None, max_active_runs=1):
        PageConversationsRateLimitSensor(
            task_id="sense",
            pageconv_conn_id=f"sense_{mode}",
            mode="poke" if mode == "deferrable" else mode,
            deferrable=mode == "deferrable",
            poke_interval=5,
            timeout=600,
        )
