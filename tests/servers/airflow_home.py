"""An Airflow of the tests' own: settings that touch nothing outside, and a runner for the example DAGs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.standalone import settings, without_airflow

REPOSITORY = Path(__file__).parents[2]
EXAMPLE_DAGS = REPOSITORY / "example_dags"


def use_own_airflow(environment: MutableMapping[str, str], home: Path) -> None:
    """Point `environment` at an Airflow in `home`, and let nothing of the developer's own settings through.

    It has to happen before anything imports Airflow, which reads all of this once.
    """
    kept = {name for name in without_airflow(environment) if not name.startswith("AWS_")}
    for name in set(environment) - kept:
        del environment[name]
    environment.update(settings(home, EXAMPLE_DAGS))
    environment.update(
        {
            # No test asks the cloud.
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
    )


def airflow(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run Airflow's command line in a process of its own and return what it prints on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"airflow {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_dags(runs: Sequence[Mapping[str, Any]], *, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Run DAGs of `example_dags/` one after the other with `dag.test()`, in one fresh process.

    :param runs: what `tests.servers.dag_runner` takes: for each run `dag_id`, and perhaps `logical_date` (ISO
        text, None for a run without one), `conf`, and `consumes` (take up the asset events of the runs before, or those of
        them whose places in their order are listed)
    :param environment: connections and settings of the DAGs, beside those of the tests' own Airflow
    :return: for each run its `state`, the `xcoms` that its tasks returned by task id, and the `events` (extra of
        the asset events that it caused)
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.servers.dag_runner"],
        input=json.dumps(list(runs)),
        env={**os.environ, **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    answer = done.stdout.rpartition("RESULT ")[2]
    assert answer, f"the DAGs could not be run:\n{done.stdout}\n{done.stderr}"
    results: list[dict[str, Any]] = json.loads(answer)
    for result in results:
        result["log"] = done.stdout + done.stderr
    return results


def environment(box: Sandbox, destination: str) -> dict[str, str]:
    """What a user of the examples sets up: the connection and the variable."""
    connection = {
        "conn_type": "pageconv",
        "host": box.url,
        "password": box.token,
        "extra": {"page_id": box.page.id, "calls_per_second": 0},
    }
    return {
        "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(connection),
        "AIRFLOW_VAR_PAGECONV_DESTINATION": destination,
    }
