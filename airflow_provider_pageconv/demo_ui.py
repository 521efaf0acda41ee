"""An Airflow to click on: made-up Pages, a history of exports, the connections, the example DAGs.

    python -m airflow_provider_pageconv.demo_ui

`make ui` runs it. It prints the address and what to look at, and goes on until Ctrl-C. All that it starts listens on loopback
alone and lies in a temporary folder, which goes with it.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.demo import Parser, interrupt, refuse, run
from airflow_provider_pageconv.demo_stage import (
    EXAMPLE_DAGS,
    DemoError,
    Folder,
    FolderError,
    Page,
    of_the_checkout,
    say,
    start_airflow,
    start_sandbox,
)
from airflow_provider_pageconv.standalone import STOP_SIGNALS, Processes, Standalone, StandaloneError

HOURLY = "pageconv_ui_hourly"
HOURS = 12
HOURS_AGO = 5  # of the gap
PARTS = ("steady", "gap", "throttled")
DEMO_DAGS = Path(__file__).with_name("demo_dags")
HISTORY_SECONDS = 600

FIRST_PAGE = 100200300400500
USER_TOKEN = "SANDBOX-USER-TOKEN"  # noqa: S105 - made up, opens nothing but the sandbox
APP_ID, APP_SECRET = "1234567890", "sandbox-app-secret"

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it until it is asked to stop, and return the exit code.

    0: it was asked to stop; 1: something failed, and its folder is still there; 2: nothing was started, and why.
    """
    Parser(
        prog="python -m airflow_provider_pageconv.demo_ui",
        description="Start an Airflow with made-up Pages and a history of exports, to click on until Ctrl-C.",
    ).parse_args(arguments)
    if not EXAMPLE_DAGS.is_dir():
        return refuse(
            f"It shows the DAGs of a checkout of the repository, and there is no {EXAMPLE_DAGS}: run it in one."
        )
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means what it says
            signal.signal(number, interrupt)
    try:
        folder = Folder(Path(tempfile.mkdtemp(prefix="pageconv-ui-")).resolve())
    except OSError as error:
        return refuse(f"No temporary folder can be made: {error.strerror}. TMPDIR names a place for it.")
    try:
        with folder.taken():
            run(folder, show)
    except FolderError as error:
        shutil.rmtree(folder.path, ignore_errors=True)
        return refuse(str(error))
    except KeyboardInterrupt:
        shutil.rmtree(folder.path, ignore_errors=True)
        print(f"Stopped, and with it everything that was started; {folder.path} is gone.")
        return 0
    except (DemoError, StandaloneError) as error:
        print(f"\n{error}\nEverything that was started is stopped. The logs are in {folder.logs}.", file=sys.stderr)
        return 1
    raise AssertionError("it ends when it is asked to")


def show(folder: Folder, processes: Processes) -> None:
    """Set everything up, say what there is to see, and wait."""
    page = start_sandbox(folder, processes, sandbox_options())
    say(f"A Graph API on loopback, {page.url}, serves three made-up Pages; one system user's token reaches them all.")
    plan = the_plan(folder, datetime.now(timezone.utc))
    dags = {HOURLY, *(path.stem for path in EXAMPLE_DAGS.glob("*.py"))}
    airflow = start_airflow(folder, processes, environment(plan, folder), dags, COMPONENTS)
    keep(airflow, folder, page, list(plan["pages"].values()))
    airflow.api("PATCH", f"/dags/{HOURLY}", {"is_paused": False})
    say(f"Airflow is up. It exports the last {HOURS} hours of the three Pages:")
    follow(airflow)
    tell(airflow, folder)
    while True:
        processes.check()
        time.sleep(1)


def sandbox_options() -> list[str]:
    """Return what the sandbox is like: things happen on the first Page, and each Page's calls are counted."""
    options = {
        "--pages": len(PARTS),
        "--page-id": FIRST_PAGE,
        "--user-token": USER_TOKEN,
        "--app-secret": APP_SECRET,
        "--conversations": 240,
        "--instagram": 60,
        "--span-days": 1,
        "--life": 0.2,
        # The whole history takes 200 calls of each Page, of the one with the small pages 800.
        "--account-limit-calls": 300,
        "--account-limit-window": 300,
        "--account-limit-code": 80006,
    }
    return ["--system-user", *(str(part) for option in options.items() for part in option)]


def the_plan(folder: Folder, now: datetime) -> dict[str, Any]:
    """Return what the DAG of the hourly exports is told."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    return {
        "pages": {part: str(FIRST_PAGE + number) for number, part in enumerate(PARTS)},
        "hours": HOURS,
        "since": (hour - timedelta(hours=HOURS)).isoformat(),
        "gap": (hour - timedelta(hours=HOURS_AGO)).isoformat(),
        # Not as_uri(): what it quotes is read as it stands.
        "destination": f"file://{folder.export / 'hourly'}",
        "small_page": 5,
    }


def environment(plan: dict[str, Any], folder: Folder) -> dict[str, str]:
    """Return what this Airflow is told beside what every one of ours is."""
    bundles = {"examples": EXAMPLE_DAGS, "demo": DEMO_DAGS}
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return {
        **of_the_checkout(),
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [{"name": name, "classpath": local, "kwargs": {"path": str(path)}} for name, path in bundles.items()]
        ),
        # The example DAGs read it; the developer's own may name a pool that is not here.
        "PAGECONV_POOL": "default_pool",
        "PAGECONV_INSTAGRAM_POOL": "default_pool",
        # The copy in Iceberg tables: the developer's own catalog is no place for made-up Pages.
        "PYICEBERG_DEFAULT_CATALOG": "default",
        "PYICEBERG_CATALOG__DEFAULT__URI": f"sqlite:///{folder.export / 'iceberg.db'}",
        "PYICEBERG_CATALOG__DEFAULT__WAREHOUSE": f"file://{folder.export / 'iceberg'}",
        "PAGECONV_UI_PLAN": json.dumps(plan),
    }


def keep(airflow: Standalone, folder: Folder, page: Page, pages: Sequence[str]) -> None:
    """Store the connections and the variables that the DAGs go by, as a user does: those of the environment are not listed."""
    of_each = {f"pageconv_{part}": page_id for part, page_id in zip(PARTS, pages, strict=True)}
    for conn_id, page_id in {"pageconv_default": pages[0], **of_each}.items():
        # A made-up Page needs no pause between two calls; a real one does, and 2 a second is the default.
        extra = {"calls_per_second": 20, "app_id": APP_ID, "app_secret": APP_SECRET}
        connection = {"connection_id": conn_id, "conn_type": "pageconv", "host": page.url, "port": 443}
        secrets = {"login": page_id, "password": USER_TOKEN, "extra": json.dumps(extra)}
        airflow.api("POST", "/connections", {**connection, **secrets, "description": f"the made-up Page {page_id}"})
    variables = {
        "pageconv_destination": f"file://{folder.export / 'examples'}",
        "pageconv_connections": json.dumps(list(of_each)),
    }
    for key, value in variables.items():
        airflow.api("POST", "/variables", {"key": key, "value": value})


def follow(airflow: Standalone) -> None:
    """Say how far the exports are, until those that wait for nothing have ended."""
    told = -1

    def there() -> bool:
        nonlocal told
        tasks = airflow.api("GET", f"/dags/{HOURLY}/dagRuns/~/taskInstances?limit=100")["task_instances"]
        states = {part: Counter(task["state"] for task in tasks if task["task_id"] == part) for part in PARTS}
        ended = {part: states[part]["success"] + states[part]["failed"] for part in PARTS}
        if sum(ended.values()) - told >= 6:
            told = sum(ended.values())
            say(f"{told} of {HOURS * len(PARTS)} exports have ended.")
        # The last hour may still settle, and the Page at its limit waits.
        settles = {part: ended[part] + states[part]["up_for_reschedule"] for part in PARTS}
        return all(settles[part] >= HOURS and ended[part] >= HOURS - 1 for part in ("steady", "gap")) and (
            settles["throttled"] >= HOURS
        )

    airflow.processes.wait_for("the exports of the last hours", there, HISTORY_SECONDS)


def tell(airflow: Standalone, folder: Folder) -> None:
    """Print the address, and a line for each thing to look at."""
    say(f"Ready: {airflow.url} (everybody is an admin there, and nobody but this machine reaches it)")
    lines = {
        f"/dags/{HOURLY}": "hourly exports of three Pages: a steady one, one with a gap, one at its limit",
        **{f"/plugin/{app['url_route']}": f"{app['name']}, for all Pages" for app in pages_of_plugins(airflow)},
        "/connections": "the connections: press Test in a row, or open one to see the form",
        "/dags?tags=example": "the example DAGs, paused; Trigger runs one with what is stored here",
        "/assets": "an asset for each Page, with an event for each of its exports",
    }
    for path, what in lines.items():
        print(f"  {airflow.url + path:<60} {what}")
    print(f"The exports lie in {folder.export}, the logs in {folder.logs}.")
    print("Ctrl-C stops everything and removes it.", flush=True)


def pages_of_plugins(airflow: Standalone) -> list[dict[str, Any]]:
    """Return the pages that plugins of ours put into Airflow's menu."""
    plugins = airflow.api("GET", "/plugins?limit=100")["plugins"]
    apps = [app for plugin in plugins for app in plugin.get("react_apps", []) if "pageconv" in str(plugin["source"])]
    return [app for app in apps if app.get("destination") == "nav" and app.get("url_route")]


if __name__ == "__main__":
    sys.exit(main())
