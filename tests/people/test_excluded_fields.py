"""`exclude_fields` is not asked for at all, of conversations and of messages, wherever they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.sandbox.fields import Field, parse_fields
from tests.dump.exporting import bare, export, owed, store_of
from tests.operators.running import operator
from tests.people.crowd import each_format
from tests.servers.destinations import local

LEFT_OUT = ("attachments", "message", "snippet")


def asked(fields: tuple[Field, ...] | None) -> set[str]:
    """All names in what was asked for, at whatever depth."""
    return {name for one in fields or () for name in (one.name, *asked(one.inner))}


@each_format
def test_it_is_in_no_call_and_in_no_record(how: dict[str, Any], tmp_path: Path) -> None:
    """Of messages inside the list and at their own edge; all else is there, and the manifest names what was asked for."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 12}, messages=60, long_every=4) as box:
        manifest = export(box, store_of(files), page_size=10, exclude_fields=LEFT_OUT, **how)
        owes = owed(box.data(), "inbox")
        calls = [asked(parse_fields(call.params["fields"])) for call in box.requests]
    assert {call.edge for call in box.requests} == {"conversations", "messages"}
    assert not any(set(LEFT_OUT) & names for names in calls)
    for stream, nodes in (("conversations", owes.conversations), ("messages", owes.messages)):
        records = files.records(stream)
        assert len(records) == len(nodes)
        for record in records:
            assert bare(record) == {k: v for k, v in nodes[record["id"]].items() if k not in LEFT_OUT}
        assert not {one.partition("{")[0] for one in manifest["fields"][stream]} & set(LEFT_OUT)
    assert manifest["messages_unavailable"] > 0


def test_of_fields_of_the_user_s_own_it_is_left_out_too(tmp_path: Path) -> None:
    """Whatever stands inside its braces."""
    with Sandbox(conversations=0, folders={"inbox": 3}, messages=2) as box:
        own = {"message_fields": ("from", "message", "attachments{id,url}"), "conversation_fields": ("snippet",)}
        manifest = export(box, store_of(local(tmp_path)), exclude_fields=LEFT_OUT, **own)
    assert manifest["fields"] == {
        "conversations": ["id", "updated_time", "message_count"],
        "messages": ["id", "created_time", "from"],
    }


def test_without_senders_the_manifest_warns_that_nobody_can_tell(tmp_path: Path) -> None:
    """As where fields of the user's own lack them."""
    with Sandbox(conversations=0, folders={"inbox": 3}, messages=30) as box:
        manifest = export(box, store_of(local(tmp_path)), exclude_fields=("from",))
    assert manifest["messages_unavailable"] == 0
    assert (
        "exclude_fields has 'from': nobody can tell which messages came without their details." in manifest["warnings"]
    )


def test_to_replace_an_export_that_has_them_is_refused(tmp_path: Path) -> None:
    """It asks for less; the other way round nothing is lost."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 3}, messages=2) as box:
        export(box, store_of(files))
        box.forget()
        with pytest.raises(DumpRefused, match=r"was asked for attachments, message of messages, and this one is not"):
            export(box, store_of(files), run="run-2", exclude_fields=("attachments", "message"))
        assert box.requests == []
        export(box, store_of(files), run="run-2", exclude_fields=("attachments", "message"), overwrite=True)
        export(box, store_of(files), run="run-3")


@pytest.mark.parametrize(
    "names", [["mesage"], ["id"], ["created_time"], ["message_count"], ["messages"], "updated_time", ["folder"]]
)
def test_what_is_not_asked_for_or_always_asked_for_cannot_be_left_out(names: Any) -> None:
    """Refused when the DAG is parsed, with all that can be; `messages` has a parameter of its own."""
    with pytest.raises(
        ValueError, match=r"^exclude_fields is .*: it takes some of attachments, can_reply, .*, wallpaper, or None;"
    ):
        operator("file:///data", exclude_fields=names)


def test_fields_of_the_user_s_own_are_what_can_be_left_out() -> None:
    """And one that is there only as a template is looked at when it is rendered."""
    own = {"conversation_fields": "id,subject", "message_fields": ["from", "message"]}
    operator("file:///data", exclude_fields=["subject", "message"], **own)
    with pytest.raises(ValueError, match=r"it takes some of from, message, subject, or None; 'snippet' is"):
        operator("file:///data", exclude_fields=["snippet"], **own)
    operator("file:///data", exclude_fields=["snippet"], **{**own, "conversation_fields": "{{ params.fields }}"})
    with pytest.raises(ValueError, match=r"it takes names of whole fields, such as"):
        operator("file:///data", exclude_fields=["attachments{url}"])
