"""Exports whose links are looked at: to a store that has a web console, and to a folder, which has none."""

from __future__ import annotations

import json
import os

from airflow.sdk import DAG

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

PAGES = json.loads(os.environ["LINKED_PAGES"])

with DAG("linked", schedule=None):
    for task_id in ("bucket", "folder"):
        PageConversationsToObjectStorageOperator(
            task_id=task_id, pageconv_conn_id="linked", destination=f"{{{{ dag_run.conf.{task_id} }}}}"
        )
    PageConversationsToObjectStorageOperator.partial(
        task_id="mapped", pageconv_conn_id="linked", destination="{{ dag_run.conf.folder }}"
    ).expand(page_id=PAGES)
