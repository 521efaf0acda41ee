"""What is tried on each Airflow: an export that meets a limit and a kill, what removes some of it, and the sensor in each mode."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset

from airflow_provider_pageconv.operators import (
    PageConversationsErasureOperator,
    PageConversationsRetentionOperator,
    PageConversationsToObjectStorageOperator,
)
from airflow_provider_pageconv.sensors import PageConversationsRateLimitSensor

PLACES: dict[str, str] = json.loads(os.environ["PAGECONV_TRIED"])


class Export(PageConversationsToObjectStorageOperator):
    """The operator; its process can be found, to be killed."""

    def execute(self, context: Any) -> Any:
        Path(PLACES["processes"], f"{self.dag.dag_id}.{os.getpid()}").touch()
        return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: Any, context: Any) -> Any:
        Path(PLACES["processes"], f"{self.dag.dag_id}.{os.getpid()}").touch()
        return super().resume_execution(next_method, next_kwargs, context)


for way in ("reschedule", "defer"):
    with DAG(dag_id=f"export_{way}", schedule=None, max_active_runs=1):
        Export(
            task_id="export",
            destination=PLACES[way],
            on_rate_limit=way,
            pageconv_conn_id=f"export_{way}",
            retries=2,
            retry_delay=timedelta(seconds=2),
            outlets=[Asset(name=f"conversations_{way}", uri=PLACES[way])],
        )

if "mapped" in PLACES:
    with DAG(dag_id="export_mapped", schedule=None, max_active_runs=1):
        Export.partial(
            task_id="export", pageconv_conn_id="export_mapped", retries=2, retry_delay=timedelta(seconds=2)
        ).expand(destination=[PLACES["mapped"]])

with DAG(dag_id="erase", schedule=None):
    PageConversationsErasureOperator(task_id="erase", destination=PLACES["reschedule"], user_ids=PLACES["people"])

with DAG(dag_id="retain", schedule=None):
    PageConversationsRetentionOperator(task_id="retain", destination=PLACES["defer"], keep=timedelta(seconds=1))

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

with DAG(dag_id="refused", schedule=None):
    PageConversationsToObjectStorageOperator(
        task_id="export", destination=PLACES["refused"], pageconv_conn_id="refused", retries=2
    )
