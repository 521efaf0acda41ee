"""An API server that stands still costs the display, and nothing else: the export goes on meanwhile."""

from __future__ import annotations

import os
import signal
import time

from tests.watching.conftest import Watched

FROZEN_SECONDS = 12


def test_an_export_goes_on_while_the_api_server_stands_still(watched: Watched) -> None:
    """Calls are made all the time, and when the server goes on the store says what was exported."""
    airflow, box = watched.airflow, watched.box
    run_id = airflow.trigger("frozen")
    before = len(box.requests)
    deadline = time.monotonic() + 120
    while len(box.requests) < before + 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    group = airflow.processes.leader("api-server")
    os.killpg(group, signal.SIGSTOP)
    try:
        at_first = len(box.requests)
        time.sleep(FROZEN_SECONDS)
        meanwhile = len(box.requests) - at_first
    finally:
        os.killpg(group, signal.SIGCONT)
    assert airflow.wait_for_end("frozen", run_id, timeout=240) == "success", airflow.logs("frozen")
    assert meanwhile >= FROZEN_SECONDS  # at two calls a second
    shown = [value for dag_id, value in airflow.shown if dag_id == "frozen"]
    assert shown[-1]["state"] == "exported"
    assert shown[-1]["conversations"] == airflow.xcom("frozen", run_id, "export")["conversations"]
