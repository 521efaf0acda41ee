"""Exports that are killed, put to sleep and let meet each other; they write down what they do to their store."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_provider_pageconv.dump import folder
from airflow_provider_pageconv.dump.store import LocalStore
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

TRACE = Path(os.environ["PAGECONV_TEST_TRACE"])
# A slow store, so that checkpoints and publishes are large enough to be hit.
STAGING_SECONDS = 0.04
PUBLISHING_SECONDS = 0.4

folder.CHECKPOINT_SECONDS = float(os.environ["PAGECONV_TEST_CHECKPOINT_SECONDS"])


@contextlib.contextmanager
def _traced(operation: str, key: str) -> Iterator[None]:
    _tell("begin", operation, key)
    yield
    time.sleep(STAGING_SECONDS if key.startswith("_staging/") else PUBLISHING_SECONDS)
    _tell("end", operation, key)


def _tell(what: str, operation: str, key: str) -> None:
    line = json.dumps({"at": time.time(), "pid": os.getpid(), "what": what, "operation": operation, "key": key})
    with TRACE.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


class SlowStore(LocalStore):
    """A local folder that takes its time, before a file is in its place and after."""

    def with_scratch(self, prefix: str) -> SlowStore:
        return SlowStore(self._fs, self._root, prefix)

    def _place(self, key: str, write: Any) -> None:
        operation = "write" if not key.startswith(("conversations/", "messages/")) else "publish a part"
        with _traced(operation, key):
            if not key.startswith("_staging/"):
                time.sleep(PUBLISHING_SECONDS)
            super()._place(key, write)

    def delete(self, keys: Any) -> None:
        for key in keys:
            _tell("begin", "delete", key)
            super().delete([key])
            time.sleep(STAGING_SECONDS)
            _tell("end", "delete", key)


class Export(PageConversationsToObjectStorageOperator):
    """The operator, with the slow store in place of the local one."""

    def execute(self, context: Any) -> Any:
        from airflow_provider_pageconv.dump import store

        store.LocalStore = SlowStore  # type: ignore[misc]
        _tell("begin", "try", context["ti"].run_id)
        try:
            return super().execute(context)
        finally:
            _tell("end", "try", context["ti"].run_id)


with DAG(dag_id="killed", schedule=None, max_active_runs=1):
    Export(
        task_id="export",
        destination=os.environ["PAGECONV_TEST_ROOT"],
        page_size=10,
        max_part_records=60,
        retries=1000,
        retry_delay=timedelta(seconds=2),
    )

with DAG(dag_id="twins", schedule=None, max_active_runs=8):
    Export(
        task_id="export",
        destination=f"{os.environ['PAGECONV_TEST_ROOT']}/{{{{ run_id }}}}",
        page_size=5,
        pageconv_conn_id="pageconv_twins",
        retries=5,
        retry_delay=timedelta(seconds=1),
    )

with DAG(
    dag_id="meeting",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=2,
):
    Export(
        task_id="export",
        destination=f"{os.environ['PAGECONV_TEST_ROOT']}/meeting",
        since="{{ data_interval_start }}",
        until="{{ data_interval_end }}",
        settle=timedelta(0),
        page_size=5,
        pageconv_conn_id="pageconv_meeting",
    )
