"""An export that is killed again and again; it writes down what it does to its store, so that one sees what a kill hits."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_pageconv.dump import walk
from airflow_provider_pageconv.dump.store import LocalStore
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

TRACE = Path(os.environ["PAGECONV_TEST_TRACE"])
# A slow store, so that checkpoints and publishes are large enough to be hit.
STAGING_SECONDS = 0.04
PUBLISHING_SECONDS = 0.4

walk.CHECKPOINT_SECONDS = float(os.environ["PAGECONV_TEST_CHECKPOINT_SECONDS"])


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
        _tell("begin", "try", str(context["ti"].try_number))
        result = super().execute(context)
        _tell("end", "try", str(context["ti"].try_number))
        return result


with DAG(dag_id="killed", schedule=None, max_active_runs=1):
    Export(
        task_id="export",
        destination=os.environ["PAGECONV_TEST_ROOT"],
        page_size=10,
        max_part_records=60,
        retries=1000,
        retry_delay=timedelta(seconds=2),
    )
