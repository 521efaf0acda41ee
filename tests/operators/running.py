"""Runs the operator as a task would, against a sandbox and without a scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.sandbox import Sandbox

CONNECTION = "AIRFLOW_CONN_PAGECONV_DEFAULT"


def connection(box: Sandbox | None, *, token: str | None = None, **extra: Any) -> str:
    """Return the connection to a sandbox, as the value of an environment variable."""
    whole = {"page_id": box.page.id, **extra} if box else extra
    return json.dumps(
        {
            "conn_type": "pageconv",
            "password": token or (box.token if box else "TOKEN"),
            "host": box.url if box else "http://127.0.0.1:9",
            "extra": {"calls_per_second": "0", **whole},
        }
    )


def context(run: str = "run-1", clear: int = 0, run_after: datetime | None = None, **more: Any) -> dict[str, Any]:
    """Return what Airflow hands to ``execute``, as far as it is looked at."""
    return {
        "dag_run": SimpleNamespace(run_after=run_after or datetime.now(timezone.utc), clear_number=clear),
        "ti": SimpleNamespace(dag_id="daily", run_id=run, task_id="export", map_index=-1),
        **more,
    }


def operator(destination: Any, **options: Any) -> PageConversationsToObjectStorageOperator:
    """Return an operator; at a limit it fails at once, unless told otherwise."""
    return PageConversationsToObjectStorageOperator(
        **{"task_id": "export", "destination": destination, "on_rate_limit": "fail", **options}
    )


def run(
    destination: Any, run_id: str = "run-1", more: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Run the operator once."""
    return operator(destination, **options).execute(context(run_id, **(more or {})))  # type: ignore[arg-type]
