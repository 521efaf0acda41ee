"""DAGs that export made-up Pages, for looking at: one Page, several by mapped tasks, one without an outlet, one that not all may see."""

from __future__ import annotations

import json
import os

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AssetAlias

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

DESTINATION = os.environ["PAGECONV_TEST_DESTINATION"]
PAGES = json.loads(os.environ["PAGECONV_TEST_PAGES"])
WINDOW = {"since": "{{ dag_run.conf.since }}", "until": "{{ dag_run.conf.until }}"}

with DAG("shop", schedule=None, params=json.loads(os.environ["PAGECONV_TEST_WINDOW"])):
    # The connection names the Page.
    export = PageConversationsToObjectStorageOperator(
        task_id="export",
        destination=DESTINATION,
        outlets=[AssetAlias("shop")],
        since="{{ params.since }}",
        until="{{ params.until }}",
        pageconv_conn_id="shop_connection",
    )
    EmptyOperator(task_id="other") >> export

with DAG("branches", schedule=None):
    PageConversationsToObjectStorageOperator.partial(
        task_id="export",
        destination=DESTINATION,
        outlets=[AssetAlias("branches")],
        map_index_template="{{ task.page_id }}",
        **WINDOW,
    ).expand(page_id=PAGES[1:3])

with DAG("without_outlet", schedule=None):
    PageConversationsToObjectStorageOperator(
        task_id="export", destination=DESTINATION, page_id=PAGES[3], folders=["inbox"], **WINDOW
    )

with DAG("secret", schedule=None):
    PageConversationsToObjectStorageOperator(
        task_id="export", destination=DESTINATION, page_id=PAGES[4], outlets=[AssetAlias("secret")], **WINDOW
    )

with DAG("months", schedule=None):
    # Its runs are written into the database: a month of fifty Pages.
    PageConversationsToObjectStorageOperator.partial(
        task_id="export", destination=DESTINATION, outlets=[AssetAlias("months")], **WINDOW
    ).expand(page_id=PAGES[:2])
