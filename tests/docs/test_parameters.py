"""The tables of parameters are those of the code, and their examples do what they are about."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from airflow_provider_pageconv.assets import page_asset
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.operators import (
    PageConversationsErasureOperator,
    PageConversationsRetentionOperator,
    PageConversationsToObjectStorageOperator,
)
from airflow_provider_pageconv.provider import get_provider_info
from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.sensors import PageConversationsRateLimitSensor
from airflow_provider_pageconv.triggers import PageConversationsRateLimitTrigger
from tests.docs.reading import BLOCKS, REPOSITORY, Block, tables_below
from tests.operators.running import CONNECTION, connection, context
from tests.servers.destinations import Destination, local

PAGE = REPOSITORY / "docs" / "parameters.md"
REQUIRED = "required"
DOCUMENTED: list[tuple[str, int, Callable[..., Any]]] = [
    ("Operator", 0, PageConversationsToObjectStorageOperator),
    ("Erasure", 0, PageConversationsErasureOperator),
    ("Retention", 0, PageConversationsRetentionOperator),
    ("Hook", 0, PageConversationsHook),
    ("Hook", 1, PageConversationsHook.conversations),
    ("Hook", 2, PageConversationsHook.messages),
    ("Hook", 3, PageConversationsHook.get_conn),
    ("Sensor", 0, PageConversationsRateLimitSensor),
    ("Trigger", 0, PageConversationsRateLimitTrigger),
    ("Asset", 0, page_asset),
]
NOW = datetime.now(timezone.utc)


def documented(heading: str, number: int) -> list[dict[str, str]]:
    """The rows of a table, by the titles of its columns."""
    title, *rows = tables_below(PAGE, heading)[number]
    return [dict(zip(title, row, strict=True)) for row in rows]


def default_of(cell: str) -> Any:
    """The value that a cell shows."""
    return REQUIRED if cell == REQUIRED else eval(cell.strip("`"), {"timedelta": timedelta})


@pytest.mark.parametrize("heading, number, code", DOCUMENTED, ids=[code.__qualname__ for *_, code in DOCUMENTED])
def test_names_and_defaults_are_those_of_the_code(heading: str, number: int, code: Callable[..., Any]) -> None:
    """In their order; a new parameter needs its row."""
    taken = [
        one
        for one in inspect.signature(code).parameters.values()
        if one.name != "self" and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    expected = [(one.name, REQUIRED if one.default is one.empty else one.default) for one in taken]
    found = [(row["name"].strip("`"), default_of(row["default"])) for row in documented(heading, number)]
    assert found == expected


@pytest.mark.parametrize("heading, number, code", [one for one in DOCUMENTED if hasattr(one[2], "template_fields")])
def test_what_may_hold_a_template_is_said(heading: str, number: int, code: Any) -> None:
    """No more and no less than what Airflow renders."""
    found = {row["name"].strip("`"): row["template"] for row in documented(heading, number)}
    assert {name for name, said in found.items() if said == "yes"} == set(code.template_fields)
    assert set(found.values()) <= {"yes", ""}


def test_the_settings_are_those_of_the_provider() -> None:
    """With the defaults that Airflow is told."""
    options = get_provider_info()["config"]["pageconv"]["options"]
    found = {row["name"].strip("`"): row["default"].strip("`") for row in documented("Airflow's settings", 0)}
    assert found == {name: option["default"] for name, option in options.items()}


# ---- examples


def covered_by(test: str) -> list[Block]:
    """The blocks that name a test of this file."""
    return [block for block in BLOCKS if block.test == f"tests/docs/test_parameters.py::{test}"]


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A Page that has all that the examples are about, behind the default connection."""
    with Sandbox(conversations=40, instagram=20, messages=25, media=True) as running:
        monkeypatch.setenv(CONNECTION, connection(running, pseudonym_secret="long and random"))
        yield running


def export(block: Block, place: Destination, box: Sandbox) -> dict[str, Any]:
    """Run an operator's example as a task would, into a place of this test's own, with its templates rendered."""
    code = f"with DAG('example', schedule=None):\n    operator = \\\n{indent(block.text, '    ')}"
    names = "from airflow.sdk import DAG\nfrom airflow_provider_pageconv.operators import *\n"
    found: dict[str, Any] = {}
    exec(names + code, found)
    operator = found["operator"]
    people_list = Path(place.root).with_name("people.txt")
    people_list.write_text(person(box))
    rendered = {
        "s3://aws_default@my-bucket/people.txt": people_list.as_uri(),
        "{{ data_interval_start }}": (NOW - timedelta(days=20)).isoformat(),
        "{{ data_interval_end }}": (NOW - timedelta(hours=1)).isoformat(),
        "{{ params.user_id }}": person(box),
    }
    for name in operator.template_fields:
        value = getattr(operator, name)
        setattr(operator, name, rendered.get(value, value) if isinstance(value, str) else value)
    operator.destination = place.url
    summary: dict[str, Any] = operator.execute(context())
    return summary


def person(box: Sandbox) -> str:
    """Somebody who has written to the Page."""
    return next(one for thread in box.data()["threads"] for one in people(thread["node"]) if one != box.page.id)


def people(node: dict[str, Any]) -> list[str]:
    """The ids of those who take part in a conversation."""
    return [one["id"] for one in node["participants"]["data"]]


def check_instagram(place: Destination, box: Sandbox) -> None:
    assert {record["_platform"] for record in place.records("messages")} == {"instagram"}


def check_without_messages(place: Destination, box: Sandbox) -> None:
    assert place.records("conversations")
    assert place.records("messages") == []


def check_fields(place: Destination, box: Sandbox) -> None:
    def keys(stream: str) -> set[str]:
        return {key for record in place.records(stream) for key in record if not key.startswith("_")}

    assert keys("conversations") <= {"id", "updated_time", "participants", "message_count"}
    assert {"id", "participants"} <= keys("conversations")
    assert {"id", "created_time", "from", "message"} <= keys("messages")
    assert keys("messages") <= {"id", "created_time", "from", "message", "attachments"}


def check_compression(place: Destination, box: Sandbox) -> None:
    manifests = place.manifests().values()
    files = [file for manifest in manifests for file in manifest["files"]]
    assert files
    assert {manifest["compression"] for manifest in manifests} == {"none"}
    for file in files:
        assert file["path"].endswith(".jsonl")
        assert place.read(file["path"]).startswith(b"{")


def check_parquet(place: Destination, box: Sandbox) -> None:
    manifests = place.manifests().values()
    files = [file for manifest in manifests for file in manifest["files"]]
    assert files
    assert {manifest["compression"] for manifest in manifests} == {"zstd"}
    for file in files:
        assert file["path"].endswith(".parquet")
        assert len(place.lines(file["path"])) == file["records"]


def check_person(place: Destination, box: Sandbox) -> None:
    found = place.records("conversations")
    assert found
    assert all(person(box) in people(record) for record in found)


def check_pseudonyms(place: Destination, box: Sandbox) -> None:
    found = {one for record in place.records("conversations") for one in people(record)}
    assert box.page.id in found
    assert all(len(one) == 64 for one in found - {box.page.id})


def check_people_left_out(place: Destination, box: Sandbox) -> None:
    found = [one for record in place.records("conversations") for one in people(record)]
    assert found
    assert person(box) not in found


def check_files(place: Destination, box: Sandbox) -> None:
    rows = [row for one in place.records("messages") for row in one.get("attachments", {}).get("data", ())]
    found = [row["_media"] for row in rows if "path" in row.get("_media", {})]
    assert found
    assert {one["type"] for one in found} <= {"image/jpeg", "application/pdf"}
    assert {one["path"] for one in found} == set(place.names("media"))


CHECKS = {
    "Instagram": check_instagram,
    "Conversations without messages": check_without_messages,
    "Fields of your own": check_fields,
    "Compression": check_compression,
    "Parquet": check_parquet,
    "One person": check_person,
    "Pseudonyms": check_pseudonyms,
    "How to ask for them": check_files,
    "People who are left out": check_people_left_out,
}


@pytest.mark.parametrize(
    "block", covered_by("test_an_operator_s_example_exports_what_it_is_about"), ids=lambda block: block.heading
)
def test_an_operator_s_example_exports_what_it_is_about(block: Block, box: Sandbox, tmp_path: Path) -> None:
    """Each runs on a sandbox; what is particular about it is seen in what lies there."""
    place = local(tmp_path / "export")
    summary = export(block, place, box)
    assert summary["conversations"] > 0
    CHECKS[block.heading](place, box)


def test_every_operator_s_example_is_tried() -> None:
    """Else the test above would try fewer."""
    assert {block.heading for block in covered_by("test_an_operator_s_example_exports_what_it_is_about")} == set(CHECKS)


def test_the_hook_s_example_counts_who_waits(box: Sandbox) -> None:
    """As the sandbox has it, for the inbox."""
    [block] = covered_by("test_the_hook_s_example_counts_who_waits")
    found: dict[str, Any] = {}
    exec(block.text, found)
    nodes = [thread["node"] for thread in box.data()["threads"] if thread["folder"] == "inbox"]
    expected = {node["id"]: node["unread_count"] for node in nodes if node.get("unread_count")}
    assert found["unread"].function() == expected
    assert expected


def test_the_sensor_s_example_lets_the_export_begin(box: Sandbox) -> None:
    """It comes first, and is done on a Page of which little is used."""
    [block] = covered_by("test_the_sensor_s_example_lets_the_export_begin")
    found: dict[str, Any] = {}
    exec(block.text, found)
    assert found["export"].upstream_task_ids == {"room"}
    assert found["room"].poke({}).is_done
