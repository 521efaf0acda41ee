"""Tries the installed wheel on the installed Airflow: the metadata, the form, and all operators and the sensor under a scheduler.

It runs in an environment that has nothing of the tests, and takes nothing of this repository but DAGs. What it
found is the last line that it prints, as JSON; what is not as it should be ends it with a sentence.

    python trial.py FOLDER
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_provider_pageconv import __version__
from airflow_provider_pageconv.compat import hosts_react
from airflow_provider_pageconv.provider import get_provider_info
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.standalone import Processes, Standalone

WAYS = ("reschedule", "defer", "mapped")
AFTERWARDS = ("erase", "retain")
"""What removes some of what was exported."""

MODES = ("poke", "reschedule", "deferrable")
SECONDS = 300
LIMIT_SECONDS = 60
EXAMPLES = Path(__file__).parents[2] / "example_dags"
NAMED = ("apache-airflow", "requests", "pendulum", "msgspec", "urllib3", "fsspec", "apache-airflow-providers-standard")


class TrialError(Exception):
    """Something is not as it should be."""


def check(condition: object, sentence: str) -> None:
    """Go on if it is so."""
    if not condition:
        raise TrialError(sentence)


def boxes() -> dict[str, Sandbox]:
    """A made-up API for each DAG: exports are refused by a limit at their third page, sensors at their first look."""
    found = {
        f"export_{way}": Sandbox(
            seed=seed,
            conversations=400,
            messages=60,
            long_every=40,
            short_messages=2,
            faults=[Fault("error", code=80006, regain=1, on="conversations", at=3)],
            latency=0.15,
        )
        for seed, way in enumerate(WAYS)
    }
    found |= {
        f"sense_{mode}": Sandbox(seed=7, conversations=4, faults=[Fault("error", code=80006, regain=1, at=1)])
        for mode in MODES
    }
    found["refused"] = Sandbox(seed=9, conversations=4, faults=[Fault("error", code=190)])
    return found


def metadata_is_read(environment: dict[str, str]) -> None:
    """What `airflow providers` says."""
    command = [sys.executable, "-m", "airflow", "providers", "get", "airflow-provider-pageconv", "-o", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    check(done.returncode == 0, f"airflow providers get failed:\n{done.stdout}{done.stderr}")
    check("airflow-provider-pageconv" in done.stdout, f"airflow providers get does not know it:\n{done.stdout}")


def form(airflow: Standalone) -> str:
    """How the connection form looks, as the API server hands it to the UI."""
    shown = airflow.api("GET", "/connections/hook_meta", root="/ui")
    forms = [one for one in shown if one["connection_type"] == "pageconv"]
    check(len(forms) == 1, f"the connection form is there {len(forms)} times")
    fields = forms[0]["extra_fields"] or {}
    if not fields:
        return "extra as JSON"
    wanted = get_provider_info()["connection-types"][0]["conn-fields"]
    check(set(fields) == set(wanted), f"the form's fields are {sorted(fields)}")
    return "own fields"


def kill_one(folder: Path, dag_id: str, box: Sandbox) -> None:
    """Kill the export's process at once when it came back from its limit and made a call again."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        refused = next((one.at for one in box.requests if one.code == 80006), float("inf"))
        # Some may have left before it was known; the wait is a minute.
        if sum(one.at > refused + LIMIT_SECONDS / 2 for one in box.requests) >= 2:
            newest = max((folder / "processes").glob(f"{dag_id}.*"), key=lambda path: path.stat().st_mtime)
            os.kill(int(newest.suffix[1:]), signal.SIGKILL)
            return
        time.sleep(0.02)
    raise TrialError(f"{dag_id} did not come back from its limit within {SECONDS} s")


def examples_are_read(environment: dict[str, str]) -> None:
    """The example DAGs import and are serialized."""
    environment = {**environment, "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES)}
    for order in (["reserialize"], ["list", "-o", "json"]):
        command = [sys.executable, "-m", "airflow", "dags", *order]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
        check(done.returncode == 0, f"airflow dags {order[0]} failed:\n{done.stdout}{done.stderr}")
    missing = [path.stem for path in EXAMPLES.glob("*.py") if path.stem not in done.stdout]
    check(not missing, f"the example DAGs {missing} were not read:\n{done.stdout}{done.stderr}")


def console(environment: dict[str, str], dag_id: str, token: str) -> bool:
    """Whether `airflow dags test`, on a terminal, shows the token, with an error that it shows in full."""
    command = [sys.executable, "-m", "airflow", "dags", "test", dag_id]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    said = done.stdout + done.stderr
    check("The access token is not valid" in said or "190" in said, f"airflow dags test said:\n{said[-2000:]}")
    return token in said


def page_is_offered(airflow: Standalone) -> None:
    """The page and the tab are registered, and their code is served, where the UI can show them; elsewhere neither is."""
    plugins = {plugin["name"]: plugin for plugin in airflow.api("GET", "/plugins?limit=100")["plugins"]}
    check("pageconv" in plugins, f"the plugins are {sorted(plugins)}")
    apps = [app["destination"] for app in plugins["pageconv"].get("react_apps", [])]
    check(apps == (["nav", "task_instance"] if hosts_react() else []), f"the UI is offered {apps}")
    token = json.loads(answer_of(f"{airflow.url}/auth/token")[2])["access_token"]
    status, kind, _ = answer_of(f"{airflow.url}/pageconv/{__version__}/page.js", token)
    # What is not there is answered with the UI's own page.
    wanted = "text/javascript" if hosts_react() else "text/html"
    check(status == 200 and kind.startswith(wanted), f"the page's code is answered with {status} and {kind}")


def answer_of(url: str, token: str | None = None) -> tuple[int, str, bytes]:
    """Status, content type and body of what a server answers to nobody, or to whom a token was given."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, answer.headers["content-type"] or "", answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"] or "", error.read()


def wait_for_end(airflow: Standalone, dag_id: str, run_id: str) -> str:
    """The state in which a run ends."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        state = airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
        if state in ("success", "failed"):
            return str(state)
        time.sleep(1)
    return "without an end"


def clear(airflow: Standalone, dag_id: str, run_id: str) -> None:
    """Have a task run once more, as one does in the UI where Airflow gave it up: early ones do so with whatever was killed."""
    order = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": ["sense" if dag_id.startswith("sense") else "export"],
        "only_failed": True,
        "reset_dag_runs": True,
    }
    airflow.api("POST", f"/dags/{dag_id}/clearTaskInstances", order)


def is_complete(box: Sandbox, place: Path) -> None:
    """Every conversation and message is named by a manifest, once."""
    files = [
        file
        for manifest in place.glob("_manifests/**/*.json")
        for file in json.loads(manifest.read_text(encoding="utf-8"))["files"]
    ]
    threads = box.data()["threads"]
    owed = {
        "conversations": sorted(thread["node"]["id"] for thread in threads),
        "messages": sorted(message["id"] for thread in threads for message in thread["messages"]),
    }
    for stream, ids in owed.items():
        found = []
        for file in files:
            if file["stream"] == stream:
                lines = gzip.decompress((place / file["path"]).read_bytes()).splitlines()
                found += [json.loads(line)["id"] for line in lines]
        check(sorted(found) == ids, f"{len(found)} {stream} are in {place}, of {len(ids)}")
    check(not list(place.glob("_staging/**/*.*")), f"{place} has leftovers in _staging")


def links_lead_to_the_page(airflow: Standalone, dag_id: str, run_id: str, page_id: str) -> None:
    """The task shows the Page's inbox, and the provider's page, or nothing where this Airflow shows no such pages."""
    path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/export/links"
    shown = airflow.api("GET", f"{path}?map_index={0 if dag_id == 'export_mapped' else -1}")["extra_links"]
    inbox, page = shown["Inbox in Meta Business Suite"], shown["Exports of this Page"]
    check(str(inbox).endswith(f"asset_id={page_id}"), f"the links of {dag_id} are {shown}")
    wanted = f"{airflow.url}/plugin/page-conversations?page_id={page_id}" if hosts_react() else None
    check(page == wanted, f"the links of {dag_id} are {shown}")


def somebody(box: Sandbox) -> str:
    """The id of who writes with the Page in the first of its threads."""
    people = [one["id"] for one in box.data()["threads"][0]["node"]["participants"]["data"]]
    return str(next(one for one in people if one != box.page.id))


def is_removed(airflow: Standalone, folder: Path, person: str) -> None:
    """Who was erased is nowhere in the data; of what is kept no longer nothing is left; Airflow keeps no id of either."""
    for name in AFTERWARDS:
        run = airflow.api("POST", f"/dags/{name}/dagRuns", {"logical_date": None})["dag_run_id"]
        state = wait_for_end(airflow, name, run)
        check(state == "success", f"the run of {name} ended as {state}")
    for path in (folder / "data" / "reschedule").rglob("*.*"):
        if path.is_file():
            content = path.read_bytes()
            text = gzip.decompress(content) if path.suffix == ".gz" else content
            check(person.encode() not in text, f"{path} has somebody in it who was erased")
    left = [path for path in (folder / "data" / "defer").rglob("*.*") if path.is_file()]
    check(not left, f"what is kept no longer left {left}")
    database = (folder / "home" / "airflow.db").read_bytes()
    check(person.encode() not in database, "Airflow's database names who was erased")


def tell_no_secret(folder: Path, secrets: list[str]) -> None:
    """No token lies in a log, or anywhere else but in Airflow's own database, where connections are not kept here."""
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in secrets:
                check(secret.encode() not in content, f"{path} shows a token")


def quiet(logs: str) -> None:
    """Nothing of ours is deprecated, missing or unknown to this Airflow."""
    for line in logs.splitlines():
        complaint = re.search(r"Deprecat|ImportError|ModuleNotFound|AttributeError", line)
        check(not (complaint and "pageconv" in line), f"the log complains: {line}")


def tries(database: Path) -> dict[str, int]:
    """The number of the last try of each DAG's task."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        return dict(opened.execute("select dag_id, try_number from task_instance").fetchall())


def lost_starts(database: Path) -> dict[str, int]:
    """By DAG, how many tries Airflow took for dead before they began: on a busy machine its executor may tell of the end of one
    stretch only when the task is queued for the next (`state mismatch`, in its scheduler_job_runner.py), and an early one starts a
    task before it has written down that it is queued, and refuses it then. The same is written, with another state, of a process
    that was killed while it ran.
    """
    query = "select dag_id, count(*) from log where event = ? and extra like ? group by dag_id"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        found = opened.execute(query, ("state mismatch", "%the task instance's state attribute is queued.%"))
        return dict(found.fetchall())


def trial(folder: Path) -> dict[str, Any]:
    """Try all of it.

    :raises TrialError: something is not as it should be.
    """
    (folder / "processes").mkdir(parents=True)
    places = {name: f"file://{folder / 'data' / name}" for name in (*WAYS, "refused")}
    with ExitStack() as stack:
        served = {name: stack.enter_context(box) for name, box in boxes().items()}
        person = somebody(served["export_reschedule"])
        people = folder / "people.txt"
        people.write_text(f"{person}\n", encoding="utf-8")
        environment = {
            "PAGECONV_TRIED": json.dumps({**places, "processes": str(folder / "processes"), "people": str(people)}),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        }
        for name, box in served.items():
            extra = {"page_id": box.page.id, "calls_per_second": 4}
            connection = {"conn_type": "pageconv", "host": box.url, "password": box.token, "extra": extra}
            environment[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(connection)
        processes = stack.enter_context(Processes(folder / "logs"))
        airflow = Standalone(processes, folder / "home", Path(__file__).parent / "dags", environment)
        airflow.migrate()
        metadata_is_read(airflow.environment)
        airflow.start()
        airflow.wait_until_healthy(SECONDS)
        shown = form(airflow)
        page_is_offered(airflow)
        processes.wait_for(
            "the DAGs", lambda: airflow.api("GET", "/dags")["total_entries"] == len(served) + len(AFTERWARDS), SECONDS
        )
        runs = {
            name: airflow.api("POST", f"/dags/{name}/dagRuns", {"logical_date": None})["dag_run_id"] for name in served
        }
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda way: kill_one(folder, f"export_{way}", served[f"export_{way}"]), WAYS))
        ended = {name: wait_for_end(airflow, name, run_id) for name, run_id in runs.items()}
        wanted = {name: "failed" if name == "refused" else "success" for name in served}
        given_up = [name for name in served if ended[name] == "failed" != wanted[name]]
        for name in given_up:  # by Airflow itself, or the tries below are too many
            clear(airflow, name, runs[name])
            ended[name] = wait_for_end(airflow, name, runs[name])
        check(ended == wanted, f"the runs ended as {ended}")
        for way in WAYS:
            is_complete(served[f"export_{way}"], folder / "data" / way)
            started = len(list((folder / "processes").glob(f"export_{way}.*")))
            # It begins, comes back from the limit when that is over and not before, and begins again after the kill.
            check(started == 3, f"export_{way} was started {started} times")
            links_lead_to_the_page(airflow, f"export_{way}", runs[f"export_{way}"], served[f"export_{way}"].page.id)
        assets = airflow.api("GET", "/assets/events")["asset_events"]
        check(len(assets) == 2, f"{len(assets)} events of assets")
        check(all(event["extra"]["conversations"] == 400 for event in assets), f"the events say {assets}")
        is_removed(airflow, folder, person)
        secrets = [box.token for box in served.values()]
        processes.stop()  # else its scheduler takes up the run as well
        examples_are_read(airflow.environment)
        told = console(airflow.environment, "refused", served["refused"].token)
    last, lost = tries(folder / "home" / "airflow.db"), lost_starts(folder / "home" / "airflow.db")
    wanted_tries = {name: (2 if name.startswith("export") else 1) + lost.get(name, 0) for name in (*runs, *AFTERWARDS)}
    check(last == wanted_tries, f"the last tries were {last}, and of these Airflow lost {lost}")
    tell_no_secret(folder, secrets)
    logs = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in folder.rglob("*.log"))
    quiet(logs)
    return {
        "form": shown,
        "killed": "is to be cleared" if any(f"export_{way}" in given_up for way in WAYS) else "is tried again",
        "console": "shows the token" if told else "hides the token",
    }


def main() -> int:
    """Try, and print what was found."""
    versions = {}
    for name in NAMED:
        versions[name] = metadata.version(name)
    began = time.monotonic()
    try:
        found = trial(Path(sys.argv[1]).resolve())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told to who started this
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    seconds = round(time.monotonic() - began)
    print(json.dumps({"python": platform.python_version(), "versions": versions, "seconds": seconds, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
