"""Export the conversations of every Page that one token reaches, each Page by a task of its own.

For whoever has what Meta recommends: one system user's token for all Pages. They are listed when a run begins, so a Page that
is added to the system user is exported from the next run on. A Page whose export fails keeps no other one from ending. The
last task names those that failed, each with its reason, and fails, so that the run is red and somebody looks; what a good
export warns of, it repeats as a warning.

Before you unpause it:

- the connection ``pageconv_default`` holds the system user's token (or a person's), and in its extra no ``page_id``;
- the variable ``pageconv_destination`` names the root of the data set, as in ``pageconv_daily``. All Pages share it.

How many at once: ``PAGES_AT_ONCE``. Each Page has a limit of its own at Meta, but one app's calls for all its Pages are
limited too. An export that waits for a limit holds no worker, but it keeps its place: if the next Pages came up meanwhile,
each of them would run into the app's limit as well, and prolong it. To bound the exports together with other DAGs, use a
pool: ``airflow pools set pageconv 8 "exports under way" --include-deferred``, then PAGECONV_POOL=pageconv, or its name below.

Where each Page has a token and a connection of its own see ``pageconv_many_pages``.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, task

from airflow_provider_pageconv.compat import AirflowException, AirflowFailException, CronDataIntervalTimetable
from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphPermissionError
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

log = logging.getLogger(__name__)

# One event for each Page; it names the Page and the manifests of its export.
CONVERSATIONS = Asset("page_conversations")
# Becomes page_asset(destination, page_id) of each Page, on which a DAG for that Page alone can be scheduled.
EACH_PAGE = AssetAlias("page_conversations_each")

POOL = os.environ.get("PAGECONV_POOL", "default_pool")
PAGES_AT_ONCE = 8


def leave_reason(context: Any) -> None:
    """Leave why an export failed where the last task finds it: a task is told the states of the others, not their errors."""
    error = context.get("exception")
    # The provider's own sentences hold no secret; what stands in any other error nobody can say.
    reason = str(error) if isinstance(error, AirflowException) else type(error).__name__
    context["ti"].xcom_push("failure", reason)


with DAG(
    "pageconv_all_pages",
    description="Export yesterday's conversations of every Page that a token reaches",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    # Two days at once would only halve each other's pace.
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):

    @task
    def pages() -> list[dict[str, Any]]:
        """List the Pages, with their names and without their tokens."""
        try:
            found = list(PageConversationsHook().pages())
        except (GraphAuthError, GraphPermissionError) as error:
            raise AirflowFailException(str(error)) from None  # another try would not help
        if not found:
            raise AirflowFailException("The token reaches no Page: give the system user a task on each Page.")
        return found

    listed = pages()

    export = PageConversationsToObjectStorageOperator.partial(
        task_id="export",
        destination="{{ var.value.pageconv_destination }}",
        since="{{ data_interval_start }}",
        until="{{ data_interval_end }}",
        # Through the triggerer; "reschedule" would give the place away.
        on_rate_limit="defer",
        pool=POOL,
        max_active_tis_per_dag=PAGES_AT_ONCE,
        # What the tasks are called in the UI, in place of 0, 1, 2 …
        map_index_template="{{ ti.xcom_pull('pages')[ti.map_index]['name'] }}",
        on_failure_callback=leave_reason,
        outlets=[CONVERSATIONS, EACH_PAGE],
    ).expand(page_id=listed.map(lambda page: page["id"]))

    @task(trigger_rule="all_done", retries=0)
    def report(ti: Any = None) -> None:
        """Name the Pages that were not exported, and repeat the warnings of the others."""
        found = ti.xcom_pull("pages")
        if not found:
            raise AirflowFailException("There was no Page to export: the log of the task `pages` says why.")
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=["export"], run_ids=[ti.run_id])[ti.run_id]
        failed = []
        warned: dict[str, list[str]] = {}
        for number, page in enumerate(found):
            name = f"{page['name']} ({page['id']})"
            state = states.get(f"export_{number}")
            if state == "success":
                for warning in ti.xcom_pull("export", map_indexes=number)["warnings"]:
                    warned.setdefault(warning, []).append(name)
            else:
                failed.append(name)
                # A worker that was killed leaves no reason.
                reason = ti.xcom_pull("export", key="failure", map_indexes=number)
                log.error("%s: %s", name, reason or f"its export ended as {state}; the log says how far it came")
        for warning, names in warned.items():
            # What is said of the token, that it ends soon for one, every Page says.
            log.warning("%s: %s", names[0] if len(names) == 1 else f"{len(names)} Pages, {names[0]} for one", warning)
        if failed:
            raise AirflowFailException(f"{len(failed)} of {len(found)} Pages were not exported: {', '.join(failed)}.")

    export >> report()
