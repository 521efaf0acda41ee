"""What README and docs show to be copied does what they say."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk import Asset

from airflow_provider_pageconv.hooks import PageConversationsHook
from tests.docs.reading import BLOCKS, REPOSITORY, blocks
from tests.operators.running import CONNECTION
from tests.servers.ports import free_ports

CONNECTIONS = (REPOSITORY / "docs" / "connection.md").read_text(encoding="utf-8")


def shown(beginning: str, page: str | None = None) -> list[list[str]]:
    """Return the words of each command that begins so, of one page or of all."""
    texts = [block.text for block in BLOCKS if block.language == "sh" and page in (None, block.page)]
    lines = [line for text in texts for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(beginning)]


def test_the_first_example_is_a_dag(airflow_home: Path, tmp_path: Path) -> None:
    """Airflow reads it without an error: one task, and a timetable that has a data interval."""
    from airflow.dag_processing.dagbag import DagBag

    (code,) = blocks("README.md", "python")
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    bag = DagBag(tmp_path)
    assert not bag.import_errors
    [dag] = bag.dags.values()
    assert [task.task_id for task in dag.tasks] == ["export"]
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"


def test_the_asset_of_one_page_is_named_as_it_is_shown() -> None:
    """It names the Page's manifests in the data set of the README's example."""
    (code,) = blocks("docs/files.md", "python")
    found: dict[str, list[Asset]] = {}
    exec(code, {}, found)
    assert [asset.uri for asset in found["schedule"]] == [
        "s3://my-bucket/pages/_manifests/platform=messenger/page_id=100200300400500"
    ]


def test_the_connections_are_read_as_they_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each from the environment, under its default id: a live one and the sandbox's."""
    pages = {}
    for _, assignment in shown("export AIRFLOW_CONN"):
        name, _, value = assignment.partition("=")
        assert name == CONNECTION
        monkeypatch.setenv(name, value)
        settings = PageConversationsHook().settings
        pages[settings.page_id] = settings.base_url
    assert pages == {"1234567890": "https://graph.facebook.com", "100200300400500": "http://127.0.0.1:8765"}


@pytest.mark.parametrize("page", ["README.md", "docs/sandbox.md"])
def test_the_sandbox_is_the_one_of_the_connection_beside_it(page: str) -> None:
    """It takes the options that are shown, and its Page and token are those of the connection; it gives the shell back."""
    [command] = shown("python -m airflow_provider_pageconv.sandbox", page)
    assert command.pop() == "&"
    [[_, assignment]] = shown("export AIRFLOW_CONN", page)
    connection = json.loads(assignment.partition("=")[2])
    [port] = free_ports(1)
    started = subprocess.Popen([sys.executable, *command[1:], "--port", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        said = started.stdout.readline()
    finally:
        started.terminate()
        started.communicate(timeout=30)
    assert f"for Page {connection['extra']['page_id']}, token {connection['password']} " in said


ROWS = re.findall(r"^\| (none|`--[^`|]+`)( \(U\))? \| ([^|]+) \|$", CONNECTIONS, re.MULTILINE)


@pytest.mark.parametrize("options, is_user, sentence", ROWS, ids=[options for options, _, _ in ROWS])
def test_each_sentence_of_test_is_seen_with_the_options_beside_it(
    options: str, is_user: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the sandbox, with the connection that its page shows for it."""
    [[_, assignment]] = shown("export AIRFLOW_CONN", "docs/sandbox.md")
    value = assignment.partition("=")[2]
    [port] = free_ports(1)
    value = value.replace("8765", str(port))
    monkeypatch.setenv(CONNECTION, value.replace("SANDBOX-PAGE-TOKEN", "SANDBOX-USER-TOKEN") if is_user else value)
    monkeypatch.setattr("airflow_provider_pageconv.graph.client._FIRST_PAUSE", 0.0)
    arguments = [] if options == "none" else shlex.split(options.strip("`"))
    command = [sys.executable, "-m", "airflow_provider_pageconv.sandbox", *arguments, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            assert sandbox.stdout is not None
            sandbox.stdout.readline()
            _, said = PageConversationsHook().test_connection()
        finally:
            sandbox.terminate()
    assert sentence.strip().replace("8765", str(port)) in said


def test_the_table_of_sentences_is_there() -> None:
    """Else the test above would try none."""
    assert len(ROWS) == 10
