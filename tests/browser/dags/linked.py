"""Two exports whose links are looked at: to a store that has a web console, and to a folder, which has none."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

with DAG("linked", schedule=None):
    for task_id in ("bucket", "folder"):
        PageConversationsToObjectStorageOperator(
            task_id=task_id,
            destination=os.environ[f"LINKED_{task_id.upper()}"],
        )
    PageConversationsToObjectStorageOperator.partial(task_id="mapped", destination=os.environ["LINKED_FOLDER"]).expand(
        page_id=os.environ["LINKED_PAGES"].split(",")
    )
