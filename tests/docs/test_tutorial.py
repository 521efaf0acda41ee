"""docs/tutorial.md, typed line by line: a Page, a DAG, a limit, everything before, a query."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airflow_provider_pageconv.standalone import Processes
from tests.docs.pasting import answers, environment, manifests, pasted, shell
from tests.servers.ports import free_ports

PAGE = "docs/tutorial.md"
FOLDERS = 4


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="the blocks are for a shell")
def test_the_tutorial_as_it_is_typed(tmp_path: Path) -> None:
    """Each step does what the page says that it does: files, a wait off the worker, no gap, all conversations but today's."""
    home = tmp_path / "home"
    [port] = free_ports(1)
    begin, dag, standalone, unpause, find, limit, lift, examples, begin_past, past, query = pasted(PAGE, port)
    settings = environment(home)
    # A newcomer looks again after some minutes.
    settings["AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL"] = "10"
    dags = home / "airflow" / "dags"
    dags.mkdir(parents=True)
    (dags / "my_page.py").write_text(dag, encoding="utf-8")
    exports = "\n".join(line for line in begin.splitlines() if line.startswith("export "))

    def typed(text: str) -> str:
        """Type in the other terminal, which has the same exports."""
        done = shell(f"{exports}\n{text}", settings)
        return done.stdout if done.returncode == 0 else ""

    def logged(sentence: str) -> bool:
        return any(sentence in path.read_text("utf-8") for path in (home / "airflow" / "logs").rglob("attempt=*.log"))

    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    with Processes(tmp_path / "logs", cwd=home) as processes:
        processes.start("typed", ["/bin/bash", "-c", f"{begin}\n{standalone}"], settings)
        processes.wait_for("its address to answer", lambda: answers(settings["AIRFLOW__API__BASE_URL"]), 240)
        processes.wait_for("the DAG to be there", lambda: "my_page" in typed(unpause), 240)
        processes.wait_for("yesterday's manifests", lambda: len(manifests(home)) == FOLDERS, 240)
        names = typed(find).splitlines()
        assert sum("/_manifests/" in name for name in names) == FOLDERS
        assert any("/messages/" in name for name in names)
        assert any("/conversations/" in name for name in names)

        processes.wait_for("the backfill to be taken", lambda: "window" in typed(limit), 240)
        said = "off the worker: the Page's limit is reached (80006)."
        processes.wait_for("it to wait off the worker", lambda: logged(said), 240)
        assert typed(lift)
        processes.wait_for("two more days", lambda: len(manifests(home)) == 3 * FOLDERS, 400)

        typed(examples)
        assert (dags / "pageconv_backfill.py").is_file()
        processes.wait_for("the example DAG to be there", lambda: "pageconv_backfill" in typed(begin_past), 240)
        processes.wait_for("it to be triggered", lambda: "pageconv_backfill" in typed(past), 240)
        processes.wait_for("everything before", lambda: len(manifests(home)) == 4 * FOLDERS, 400)
        data = json.loads(typed(f"curl -s http://127.0.0.1:{port}/_sandbox/data"))
    since = {datetime.fromisoformat(one["since"].replace("Z", "+00:00")) for one in manifests(home) if one["since"]}
    assert since == {midnight - timedelta(days=number) for number in (3, 2, 1)}
    (home / "query.py").write_text(query, encoding="utf-8")
    answer = shell("python query.py", settings)
    assert answer.returncode == 0, answer.stderr
    windows, gaps, conversations = answer.stdout.split("┌")[1:]
    assert len(re.findall("^│.*00:00:00", windows, re.MULTILINE)) == 4
    assert "0 rows" in gaps
    today = f"{midnight:%Y-%m-%d}"
    before = [one for one in data["threads"] if any(message["created_time"] < today for message in one["messages"])]
    assert re.findall(r"^│ +(\d+) │$", conversations, re.MULTILINE) == [str(len(before))]
