"""Ids as weapons: whatever stands in an id of a thread or a message, it is data and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_provider_pageconv.graph.errors import GraphAuthError
from airflow_provider_pageconv.graph.protocol import Request
from tests.dump.exporting import ByFunction, assert_tidy, every_step_saved, export, store_of
from tests.servers.destinations import local

WEAPONS = [
    "..",
    ".",
    "../../../outside",
    "/etc/passwd",
    "a/b\\c",
    "nul\0nul",
    "line\nline\r\u2028line",
    "x" * 10_000,
    "?access_token=x&y=z#w",
    "%2e%2e%2f",
    "\ud800",
    "{{ macros }}",
    "ñ👟",
    " ",
    "CON",
    "window=all.json",
]
LONG = 30


def _message(thread: str, number: int) -> dict[str, Any]:
    return {
        "id": f"{thread}\0/../{number}" if number % 2 else f"{number}:{thread}",
        "created_time": f"2026-11-20T10:{59 - number:02d}:00+0000",
        "from": {"id": "1"},
        "message": thread,
    }


class Armed:
    """An API whose ids are weapons: each thread has 25 messages in the list's answer and five more behind it."""

    def __init__(self, *, dies_at: int = 0) -> None:
        self.paths: list[str] = []
        self.dies_at = dies_at

    def __call__(self, request: Request) -> dict[str, Any]:
        self.paths.append(request.path)
        if len(self.paths) == self.dies_at:
            raise GraphAuthError("the access token is not valid")
        if request.path == "1/conversations":
            return {"data": [self._thread(thread) for thread in WEAPONS]}
        assert request.path.count("/") == 1, request.path
        thread = unquote(request.path.removesuffix("/messages"), errors="surrogatepass")
        assert thread in WEAPONS
        rest = [_message(thread, number) for number in range(25, LONG)]
        return {"data": rest}

    def _thread(self, thread: str) -> dict[str, Any]:
        messages = {
            "data": [_message(thread, number) for number in range(25)],
            "paging": {"cursors": {"after": f"../{thread}"}, "next": "https://x/?access_token=SECRET"},
        }
        return {"id": thread, "updated_time": "2026-11-20T10:59:00+0000", "messages": messages}


@pytest.mark.parametrize("dies_at", [0, 2, 5, 9])
def test_nothing_is_written_outside_the_destination(dies_at: int, tmp_path: Path) -> None:
    """Not by the export, not by its checkpoints, and not when it goes on from them; every record reads back."""
    folder = tmp_path / "deep" / "down" / "export"
    files = local(folder)
    with every_step_saved():
        if dies_at:
            with pytest.raises(GraphAuthError):
                export(None, store_of(files), client=ByFunction(Armed(dies_at=dies_at)))
        export(None, store_of(files), client=ByFunction(Armed()))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents] == []
    assert_tidy(files)
    assert sorted(record["id"] for record in files.records("conversations")) == sorted(WEAPONS)
    reachable = [thread for thread in WEAPONS if thread not in (".", "..")]
    expected = [
        _message(thread, number)["id"] for thread in WEAPONS for number in range(LONG if thread in reachable else 25)
    ]
    assert sorted(record["id"] for record in files.records("messages")) == sorted(expected)
    # No path can name these two: what lies behind their first messages is said to be out of reach.
    unavailable = {record["id"] for record in files.records("conversations") if record["_unavailable"]}
    assert unavailable == {".", ".."}
    for name in files.names():
        assert name.isascii()
        assert len(name) < 300
        assert b"SECRET" not in files.read(name)


def test_ids_do_not_name_files(tmp_path: Path) -> None:
    """Only what the user or the export itself chose does."""
    files = local(tmp_path / "export")
    export(None, store_of(files), client=ByFunction(Armed()))
    for name in files.names():
        assert name.split("/")[1:4] == ["platform=messenger", "page_id=1", "folder=inbox"]
    (manifest,) = files.manifests().values()
    assert "outside" not in json.dumps(manifest)
