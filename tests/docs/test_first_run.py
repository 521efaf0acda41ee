"""The README's way from nothing to a first run, pasted as it stands: the sandbox, the example DAGs, an Airflow, a query."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airflow_provider_pageconv.standalone import Processes
from tests.docs.pasting import answers, environment, manifests, pasted, shell
from tests.docs.reading import REPOSITORY
from tests.servers.ports import free_ports

HEADING = "From nothing to a first run"
BACKFILL = re.compile(r"`(airflow backfill create [^`]+)`")
FOLDERS = 4


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="the blocks are for a shell")
def test_the_first_run_as_it_is_pasted(tmp_path: Path) -> None:
    """Yesterday is exported once the DAG is unpaused, another day by the command that is named, and the query counts both."""
    home = tmp_path / "home"
    home.mkdir()
    [port] = free_ports(1)
    begin, unpause, query = pasted("README.md", port, HEADING)
    assert "--instagram 200 &" in begin
    settings = environment(home)
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    with Processes(tmp_path / "logs", cwd=home) as processes:
        processes.start("pasted", ["/bin/bash", "-c", begin], settings)
        # Else the first task begins before there is an API server to ask, and Airflow tries it again ten minutes later.
        processes.wait_for("its address to answer", lambda: answers(settings["AIRFLOW__API__BASE_URL"]), 240)
        processes.wait_for("the DAGs to be there", lambda: "pageconv_daily" in shell(unpause, settings).stdout, 240)
        processes.wait_for("yesterday's manifests", lambda: len(manifests(home)) == FOLDERS, 240)
        [command] = BACKFILL.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))
        day = midnight - timedelta(days=3)
        command = re.sub(r"\d{4}-\d\d-\d\d", f"{day:%Y-%m-%d}", command)
        # SQLite, which an Airflow for trying things out keeps its state in, may be locked for a while on a busy machine.
        processes.wait_for("the backfill to be taken", lambda: shell(command, settings).returncode == 0, 240)
        processes.wait_for("the other day's manifests", lambda: len(manifests(home)) == 2 * FOLDERS, 240)
    windows = {one["since"] for one in manifests(home)}
    assert {datetime.fromisoformat(one.replace("Z", "+00:00")) for one in windows} == {
        midnight - timedelta(days=1),
        day,
    }
    answer = shell(query, settings)
    assert answer.returncode == 0, answer.stderr
    expected: dict[str, int] = {}
    for one in manifests(home):
        expected[one["folder"]] = expected.get(one["folder"], 0) + one["messages"]
    shown = dict(re.findall(r"│\s*messenger\s*│\s*(\w+)\s*│\s*(\d+)\s*│", answer.stdout))
    assert {folder: int(count) for folder, count in shown.items()} == {name: n for name, n in expected.items() if n}
    assert sum(expected.values()) > 0
