"""Secrets are nowhere, and people are in the data only."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import every_step_saved
from tests.operators.running import CONNECTION, connection, context, operator
from tests.servers.destinations import local

TOKEN = "EAAB+secret/token==with%and&?#"
SECRET = "an-app-secret-0123456789"  # pragma: allowlist secret


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), quote(secret), base64.b64encode(secret.encode()).decode().rstrip("=")}


def _people(box: Sandbox) -> set[str]:
    found = {SECRET}
    for thread in box.data()["threads"]:
        found |= {person["name"] for person in thread["node"]["participants"]["data"]}
        found |= {person.get("email", SECRET) for person in thread["node"]["participants"]["data"]}
        found |= {message["message"] for message in thread["messages"] if len(message.get("message", "")) > 12}
    found.discard(SECRET)
    return found


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault(code=190, at=3, message=f"Malformed access token {TOKEN}"),
        Fault(code=200, on="conversations", at=4),
        Fault(code=200, on="messages", at=1),
        Fault(code=613, at=4),
        Fault(code=100, at=1, message=f"Invalid parameter {TOKEN} of Ana"),
        Fault("html", at=3),
        Fault("reset", at=3, times=1000),
        Fault("redirect", on="conversations", at=3, location="http://localhost:1/elsewhere"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.code}-{fault.on}" if fault else "success",
)
def test_secrets_and_people_are_in_no_log_error_summary_manifest_or_checkpoint(
    fault: Fault | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With every logger at DEBUG, urllib3's included, on success and on every way to fail, the traceback too."""
    from airflow_provider_pageconv.graph import client

    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.0)
    files = local(tmp_path / "export")
    for name in ("urllib3", "requests", "airflow_provider_pageconv"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    with (
        Sandbox(
            conversations=0, folders={"inbox": 40}, messages=30, token=TOKEN, app_secret=SECRET, require_proof=True
        ) as box,
        every_step_saved(),
        caplog.at_level(logging.DEBUG),
    ):
        monkeypatch.setenv(CONNECTION, connection(box, app_secret=SECRET))
        if fault:
            box.faults.add(fault)
        task = operator(files.url, folders="inbox", page_size=10)
        texts: list[str] = []
        succeeded = False
        try:
            texts.append(json.dumps(task.execute(context()), ensure_ascii=False))  # type: ignore[arg-type]
            succeeded = True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is scanned
            texts += [str(error), repr(error), "".join(traceback.format_exception(error))]
            while error.__cause__ or error.__context__:
                error = error.__cause__ or error.__context__  # type: ignore[assignment]
                texts += [str(error), repr(error), repr(vars(error))]
        rendered = {name: getattr(task, name) for name in task.template_fields}
        texts += [repr(rendered), repr(task), caplog.text]
        texts += [str(record.args) for record in caplog.records]
        secrets = _forms(TOKEN) | _forms(SECRET) | {box.proof()}
        people = _people(box)
    assert succeeded == (fault is None or fault.kind == "html" or fault.on == "messages")
    assert any("urllib3" in record.name for record in caplog.records)
    assert len(people) > 50
    for text in texts:
        for one in secrets | people:
            assert one not in text
    for name in files.names():
        content = files.read(name)
        for secret in secrets:
            assert secret.encode() not in content
            assert secret not in name
        if name.startswith("_manifests/") or "/checkpoint-" in name:
            text = content.decode() + json.dumps(json.loads(content), ensure_ascii=False)
            for one in people:
                assert one not in text
    if not succeeded:
        assert any("checkpoint" in name for name in files.names())


def test_the_token_of_a_connection_is_masked_in_the_log_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prints it: Airflow's masker knows it from the moment the connection is read."""
    from airflow_provider_pageconv import hooks

    told: list[Any] = []
    monkeypatch.setattr(hooks, "_mask", told.append)
    with Sandbox(conversations=0) as box:
        monkeypatch.setenv(CONNECTION, connection(box, app_secret=SECRET))
        hooks.PageConversationsHook().settings  # noqa: B018 - reading it is the point
    assert [credentials.token for credentials in told] == ["SANDBOX-PAGE-TOKEN"]
    assert "SANDBOX" not in repr(told)
