"""Erase people who asked to be forgotten from everything that was exported, once a week.

Before you unpause it:

- the variable ``pageconv_destination`` names the root of the data set, as for the exports;
- the variable ``pageconv_people`` names one list of the people, such as ``s3://aws_default@bucket/people.txt``: a text with one id a
  line, as the API gives them. Empty lines count as none, and so does what follows a ``#``. Give the same list to your exports as
  ``exclude_user_ids``, else what the API still gives comes back;
- where ids are pseudonymised, the connection ``pageconv_default`` holds the ``pseudonym_secret`` that they were hashed with.

With ``report_only=True`` it tells what would go, and changes nothing. What it does not reach (versions in a bucket, backups, copies)
is in ``docs/people.md``.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_pageconv.compat import CronTriggerTimetable
from airflow_provider_pageconv.operators import PageConversationsErasureOperator

with DAG(
    "pageconv_erasure",
    description="Erase people who asked to be forgotten",
    schedule=CronTriggerTimetable("0 5 * * 1", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):
    erase = PageConversationsErasureOperator(
        task_id="erase",
        destination="{{ var.value.pageconv_destination }}",
        user_ids="{{ var.value.pageconv_people }}",
    )

    @task(retries=0)
    def is_done(report: Any) -> None:
        """Make the run red where somebody is left in what is under way: clear it when those exports are over."""
        left = report["staging_left"] + report["files_left"]
        if left:
            raise RuntimeError(f"{left} runs or files still hold them: clear this run when those exports are over.")

    is_done(erase.output)
