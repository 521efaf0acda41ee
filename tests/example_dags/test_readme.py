"""What the README shows to be copied does what the README says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from airflow.sdk import Asset

from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.sandbox import Sandbox
from tests.operators.running import CONNECTION, connection, run
from tests.servers.ports import free_ports

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the pieces of code in one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def shown(beginning: str) -> list[list[str]]:
    """Return the words of each command of the README that begins so."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(beginning)]


def test_the_first_example_is_a_dag(airflow_home: Path, tmp_path: Path) -> None:
    """Airflow reads it without an error: one task, and a timetable that has a data interval."""
    from airflow.dag_processing.dagbag import DagBag

    code, _ = blocks("python")
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    bag = DagBag(tmp_path)
    assert not bag.import_errors
    [dag] = bag.dags.values()
    assert [task.task_id for task in dag.tasks] == ["export"]
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"


def test_the_asset_of_one_page_is_named_as_it_is_shown() -> None:
    """The second example names the Page's manifests in the data set of the first."""
    _, code = blocks("python")
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


def test_the_sandbox_is_the_one_of_the_connection_beside_it() -> None:
    """It takes the options that are shown, and its Page and token are those of the connection."""
    [command] = shown("python -m airflow_provider_pageconv.sandbox")
    known = [json.loads(words[1].partition("=")[2]) for words in shown("export AIRFLOW_CONN")]
    [port] = free_ports(1)
    started = subprocess.Popen([sys.executable, *command[1:], "--port", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        said = started.stdout.readline()
    finally:
        started.terminate()
        started.communicate(timeout=30)
    [other] = [one for one in known if one["password"] in said]
    assert f"for Page {other['extra']['page_id']}, token {other['password']} " in said


ROWS = re.findall(r"^\| (none|`--[^`|]+`)( \(U\))? \| ([^|]+) \|$", README, re.MULTILINE)


@pytest.mark.parametrize("options, is_user, sentence", ROWS, ids=[options for options, _, _ in ROWS])
def test_each_sentence_of_test_is_seen_with_the_options_beside_it(
    options: str, is_user: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the sandbox, with the connection that the README shows for it."""
    [value] = [words[1].partition("=")[2] for words in shown("export AIRFLOW_CONN") if "8765" in words[1]]
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


def test_the_query_counts_what_was_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By folder, as the task's summary does."""
    with Sandbox(conversations=30, messages=30) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        summary = run((tmp_path / "export").as_uri())
    [query] = [code for code in blocks("sql") if "read_json" in code]
    assert "'/data/pages'" in query
    rows = duckdb.connect().execute(query.replace("/data/pages", f"{tmp_path}/export")).fetchall()
    counted = {folder: messages for folder, messages, _ in rows}
    assert counted == {folder: numbers["messages"] for folder, numbers in summary["folders"].items()}
