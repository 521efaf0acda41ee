"""The demo of many Pages: one token, a DAG that lists what it reaches, and two Pages that cannot be exported.

`make demo ARGS="--pages 12"` tells it. It shows that the others end all the same, and that nobody has to look for the two.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

from airflow_provider_pageconv.demo_stage import (
    SETTLE,
    DemoError,
    Folder,
    Page,
    environment,
    first_run,
    moment,
    say,
    show_log_line,
    shown,
    start_airflow,
    start_sandbox,
)
from airflow_provider_pageconv.standalone import Processes, Standalone

ALL_PAGES = "pageconv_all_pages"
FEWEST, MOST = 3, 200
USER_TOKEN = "SANDBOX-USER-TOKEN"  # noqa: S105 - made up, opens nothing but the sandbox
FIRST_PAGE = 100200300400500
DEAD, TASKLESS = 1, 2  # the places of those that cannot be exported


def demonstrate(folder: Folder, processes: Processes, count: int) -> None:
    """The whole story."""
    today = (datetime.now(timezone.utc) + SETTLE).replace(hour=0, minute=0, second=0, microsecond=0)
    options = ["--pages", str(count), "--page-id", str(FIRST_PAGE), "--user-token", USER_TOKEN]
    options += ["--conversations", "30", "--messages", "15", "--now", today.isoformat(), "--span-days", "2"]
    options += ["--system-user", "--dead-pages", str(DEAD + 1), "--taskless-pages", str(TASKLESS + 1)]
    page = replace(start_sandbox(folder, processes, options), page_id=None, token=USER_TOKEN)
    say(f"A Graph API on loopback, {page.url}, serves {count} made-up Pages; one system user's token reaches them all.")
    say(
        f"The own token of the Page {FIRST_PAGE + DEAD} is dead, and on {FIRST_PAGE + TASKLESS} the system user has no task."
    )
    # Each task is a process: two at once would be slow for so many.
    settings = {**environment(folder, page), "AIRFLOW__CORE__PARALLELISM": "4"}
    airflow = start_airflow(folder, processes, settings, {ALL_PAGES})

    say(f"Airflow is up: {airflow.url} while the demo runs. The DAG {ALL_PAGES} is switched on.")
    airflow.api("PATCH", f"/dags/{ALL_PAGES}", {"is_paused": False})
    settles = max(0.0, (today + SETTLE - datetime.now(timezone.utc)).total_seconds())
    state, tasks = follow_pages(airflow, first_run(airflow, ALL_PAGES), count, 180 + 10 * count + settles)
    say(f"The run is in state {state}, so that somebody looks. What its last task says:")
    for log in airflow.task_logs.glob(f"dag_id={ALL_PAGES}/**/task_id=report/*.log"):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            show_log_line(line)
    show_pages(folder, tasks)
    compare(folder, page, count, today)


def follow_pages(
    airflow: Standalone, run: dict[str, Any], count: int, seconds: float
) -> tuple[str, list[dict[str, Any]]]:
    """Tell how many Pages have ended, until the run has; return its state, and the task of each Page."""
    path = f"/dags/{ALL_PAGES}/dagRuns/{quote(run['dag_run_id'], safe='')}"
    state, told = "none", 0
    tasks: dict[int, dict[str, Any]] = {}

    def finished() -> bool:
        nonlocal state, told
        state = airflow.api("GET", path)["state"]
        for offset in range(0, count + 2, 100):
            for task in airflow.api("GET", f"{path}/taskInstances?limit=100&offset={offset}")["task_instances"]:
                if task["task_id"] == "export":
                    tasks[task["map_index"]] = task
        ended = sum(task["state"] in ("success", "failed") for task in tasks.values())
        if ended - told >= count / 6 or (ended == count and told < count):
            told = ended
            say(f"{ended} of {count} Pages have ended.")
        return state in ("success", "failed")

    airflow.processes.wait_for(f"the run of {ALL_PAGES} to end", finished, seconds)
    return state, [task for number, task in sorted(tasks.items()) if number >= 0]


def manifests(folder: Folder) -> list[dict[str, Any]]:
    """Return the manifest of each Page's folders."""
    found = sorted(folder.export.glob("_manifests/**/*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def show_pages(folder: Folder, tasks: list[dict[str, Any]]) -> None:
    """Print how each Page's task ended, as Airflow's grid shows it, and what was exported in all."""
    say("The grid, by the names of the Pages:")
    for task in tasks:
        print(f"  {task['state']:<10}{task['rendered_map_index']}")
    found = manifests(folder)
    conversations, messages = (sum(one[stream] for one in found) for stream in ("conversations", "messages"))
    pages = len({one["page_id"] for one in found})
    print(f"  {pages} Pages, {len(found)} manifests, {conversations:,} conversations, {messages:,} messages", end=" ")
    print(f"in {shown(folder.export)}/.")


def compare(folder: Folder, page: Page, count: int, until: datetime) -> None:
    """Hold each Page's export against what the sandbox has drawn of it; those two have none."""
    exported = Counter[str]()
    for manifest in manifests(folder):
        exported[manifest["page_id"]] += manifest["messages"]
    drawn = Counter[str]()
    for place in set(range(count)) - {DEAD, TASKLESS}:
        page_id = str(FIRST_PAGE + place)
        address = f"{page.url}/_sandbox/data?page_id={page_id}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as answer:
            threads = json.load(answer)["threads"]
        # Of all but a thread's 20 newest messages the API tells no time.
        times = [message.get("created_time") for thread in threads for message in thread["visible"]]
        drawn[page_id] = sum(bool(time) and until - timedelta(days=1) <= moment(time) < until for time in times)
    say("Compared with what the sandbox has of the day:")
    if exported != drawn:
        raise DemoError(f"The exports hold other numbers of messages: {dict(exported)} instead of {dict(drawn)}.")
    print(
        f"  {len(drawn)} Pages hold {drawn.total():,} messages of it, and their exports hold just as many, Page by Page."
    )
