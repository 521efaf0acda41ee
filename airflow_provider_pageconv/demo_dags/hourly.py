"""Hourly exports of three made-up Pages: one that is well, one with a gap, one that is at its limit all the time.

Hours that are over are caught up all at once, which `pageconv_hourly` among the examples advises against: here they have to
be there when somebody looks. What goes wrong is arranged.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_pageconv.assets import page_asset
from airflow_provider_pageconv.compat import AirflowFailException, CronDataIntervalTimetable
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

# What the demo says, in one piece: the pages by their part in it, the hours, the destination.
PLAN = json.loads(os.environ["PAGECONV_UI_PLAN"])
GAP = datetime.fromisoformat(PLAN["gap"])


def leave_a_gap(context: Any) -> None:
    """Fail in one hour, before a single call is made."""
    if context["data_interval_start"] == GAP:
        raise AirflowFailException(
            "This hour is left out on purpose: a gap to look at. Clear the task and it fails again."
        )


with DAG(
    "pageconv_ui_hourly",
    description="Hourly exports of three made-up Pages: one is well, one has a gap, one is at its limit",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime.fromisoformat(PLAN["since"]),
    catchup=True,
    max_active_runs=PLAN["hours"] + 2,
    tags=["pageconv"],
    doc_md=__doc__,
):
    for part, page_id in PLAN["pages"].items():
        PageConversationsToObjectStorageOperator(
            task_id=part,
            page_id=page_id,
            destination=PLAN["destination"],
            since="{{ data_interval_start }}",
            until="{{ data_interval_end }}",
            # So many small pages that the calls of an hour do not fit into the limit.
            page_size=PLAN["small_page"] if part == "throttled" else 100,
            retries=2,
            retry_delay=timedelta(seconds=30),
            outlets=[page_asset(PLAN["destination"], page_id)],
            pre_execute=leave_a_gap if part == "gap" else None,
        )
