"""An Airflow that is watched: by the real OpenLineage provider, whose events go into a file, and by a StatsD listener."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Sandbox
from tests.servers.deployment import Deployment
from tests.servers.destinations import Destination, local
from tests.servers.statsd import StatsdListener

DAGS = ("watched", "refused")
DEAD_TOKEN = "A-TOKEN-THAT-IS-DEAD"


@dataclass
class Watched:
    """What was seen of both runs.

    :param summary: what the good one returned.
    :param events: the file that OpenLineage's events went into.
    """

    airflow: Deployment
    box: Sandbox
    place: Destination
    summary: dict[str, Any]
    events: Path
    statsd: StatsdListener

    def event(self, dag_id: str, kind: str) -> dict[str, Any]:
        """The one event of a kind (``START``, ``COMPLETE``, ``FAIL``) of a DAG's task."""
        found = [
            event
            for event in map(json.loads, self.events.read_text(encoding="utf-8").splitlines())
            if event["job"]["name"] == f"{dag_id}.export" and event["eventType"] == kind
        ]
        assert len(found) == 1, f"{len(found)} events:\n{self.airflow.logs(dag_id)}"
        return found[0]


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Both DAGs have run once, in worker processes of a real scheduler."""
    home = tmp_path_factory.mktemp("watched")
    place, events = local(home / "export"), home / "events.jsonl"
    events.touch()
    with ExitStack() as stack:
        box = stack.enter_context(Sandbox(seed=5, conversations=30, messages=30, long_every=3))
        statsd = stack.enter_context(StatsdListener())
        environment = {
            "PAGECONV_TEST_ROOT": home.as_uri(),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(events), "append": True}
            ),
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }
        for dag_id, token, pace in zip((*DAGS, "frozen"), (box.token, DEAD_TOKEN, box.token), (0, 0, 2), strict=True):
            environment[f"AIRFLOW_CONN_CONN_OF_{dag_id.upper()}"] = json.dumps(
                {
                    "conn_type": "pageconv",
                    "host": box.url,
                    "password": token,
                    "extra": {"page_id": box.page.id, "calls_per_second": pace},
                }
            )
        airflow = stack.enter_context(
            Deployment(home / "airflow", Path(__file__).parent / "dags", environment).running()
        )
        # One after the other: they share a destination.
        states = {}
        for dag_id in DAGS:
            run_id = airflow.trigger(dag_id)
            states[dag_id] = airflow.wait_for_end(dag_id, run_id, timeout=240)
            if dag_id == "watched":
                assert states[dag_id] == "success", airflow.logs(dag_id)
                summary = airflow.xcom(dag_id, run_id, "export")
        assert states["refused"] == "failed"
        # The worker tells of its task when the task has ended.
        deadline = time.monotonic() + 60
        while '"FAIL"' not in events.read_text(encoding="utf-8") and time.monotonic() < deadline:
            time.sleep(0.5)
        yield Watched(airflow, box, place, summary, events, statsd)
