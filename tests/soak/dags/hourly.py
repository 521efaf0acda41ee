"""Hourly exports of a Page whose clock is fast: an hour there is half a minute here."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, DeltaDataIntervalTimetable

from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

START = datetime.fromisoformat(os.environ["PAGECONV_TEST_START"])
END = datetime.fromisoformat(os.environ["PAGECONV_TEST_END"])
PAGE_START = datetime.fromisoformat(os.environ["PAGECONV_TEST_PAGE_START"])
SPEED = int(os.environ["PAGECONV_TEST_SPEED"])


def on_the_page(at: datetime) -> str:
    """What time it was there at a time of here, to the second."""
    return (PAGE_START + (at - START) * SPEED).astimezone(timezone.utc).isoformat(timespec="seconds")


with DAG(
    dag_id="hourly",
    schedule=DeltaDataIntervalTimetable(timedelta(hours=1) / SPEED),
    start_date=START,
    end_date=END,
    catchup=True,
    max_active_runs=1,
    user_defined_macros={"on_the_page": on_the_page},
):
    PageConversationsToObjectStorageOperator(
        task_id="export",
        destination=os.environ["PAGECONV_TEST_DESTINATION"],
        since="{{ on_the_page(data_interval_start) }}",
        until="{{ on_the_page(data_interval_end) }}",
        settle=timedelta(0),  # nothing comes late there
        on_rate_limit="defer",
        retries=5,
        retry_delay=timedelta(seconds=5),
    )
