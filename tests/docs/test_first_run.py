"""The README's way from nothing to a first run, pasted as it stands: the sandbox, the example DAGs, an Airflow, a query."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.standalone import Processes, without_airflow
from tests.docs.reading import BLOCKS, REPOSITORY
from tests.servers.ports import free_ports

HEADING = "From nothing to a first run"
BACKFILL = re.compile(r"`(airflow backfill create [^`]+)`")
FOLDERS = 4


def pasted(port: int) -> list[str]:
    """The blocks below the heading; what is installed is here already, and the port is one that is free."""
    found = [block.text for block in BLOCKS if (block.page, block.heading) == ("README.md", HEADING)]
    found[0] = "\n".join(line for line in found[0].splitlines() if not line.startswith("pip install"))
    sandbox = "python -m airflow_provider_pageconv.sandbox"
    assert f"{sandbox} --instagram 200 &" in found[0]
    return [text.replace(sandbox, f"{sandbox} --port {port}").replace("8765", str(port)) for text in found]


def environment(home: Path) -> dict[str, str]:
    """A newcomer's shell, but for the ports on which Airflow listens."""
    port, logs, triggers = free_ports(3)
    hidden = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME")
    return {
        **{name: value for name, value in without_airflow(os.environ).items() if name not in hidden},
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{port}/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggers),
    }


def answers(url: str) -> bool:
    """Whether there is somebody at an address."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10):
        return True


def manifests(home: Path) -> list[dict[str, Any]]:
    """What is published by now."""
    return [json.loads(path.read_text("utf-8")) for path in (home / "airflow" / "pages").glob("_manifests/**/*.json")]


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="the blocks are for a shell")
def test_the_first_run_as_it_is_pasted(tmp_path: Path) -> None:
    """Yesterday is exported once the DAG is unpaused, another day by the command that is named, and the query counts both."""
    home = tmp_path / "home"
    home.mkdir()
    [port] = free_ports(1)
    begin, unpause, query = pasted(port)
    settings = environment(home)

    def shell(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-c", text], env=settings, cwd=home, capture_output=True, text=True, check=False, timeout=120
        )

    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    with Processes(tmp_path / "logs", cwd=home) as processes:
        processes.start("pasted", ["/bin/bash", "-c", begin], settings)
        # Else the first task begins before there is an API server to ask, and Airflow tries it again ten minutes later.
        processes.wait_for("its address to answer", lambda: answers(settings["AIRFLOW__API__BASE_URL"]), 240)
        processes.wait_for("the DAGs to be there", lambda: "pageconv_daily" in shell(unpause).stdout, 240)
        processes.wait_for("yesterday's manifests", lambda: len(manifests(home)) == FOLDERS, 240)
        [command] = BACKFILL.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))
        day = midnight - timedelta(days=3)
        command = re.sub(r"\d{4}-\d\d-\d\d", f"{day:%Y-%m-%d}", command)
        # SQLite, which an Airflow for trying things out keeps its state in, may be locked for a while on a busy machine.
        processes.wait_for("the backfill to be taken", lambda: shell(command).returncode == 0, 240)
        processes.wait_for("the other day's manifests", lambda: len(manifests(home)) == 2 * FOLDERS, 240)
    windows = {one["since"] for one in manifests(home)}
    assert {datetime.fromisoformat(one.replace("Z", "+00:00")) for one in windows} == {
        midnight - timedelta(days=1),
        day,
    }
    answer = shell(query)
    assert answer.returncode == 0, answer.stderr
    expected: dict[str, int] = {}
    for one in manifests(home):
        expected[one["folder"]] = expected.get(one["folder"], 0) + one["messages"]
    shown = dict(re.findall(r"│\s*messenger\s*│\s*(\w+)\s*│\s*(\d+)\s*│", answer.stdout))
    assert {folder: int(count) for folder, count in shown.items()} == {name: n for name, n in expected.items() if n}
    assert sum(expected.values()) > 0
