"""What ended longer ago than it is kept goes: windows whole, and of what has no first moment the older messages."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import (
    DAY,
    NOW,
    Breaking,
    Broken,
    Meanwhile,
    assert_counts_are_of_the_files,
    assert_tidy,
    bare,
    export,
    moment,
    store_of,
)
from tests.people.crowd import Looking, box_of_a_crowd, by_id, each_format
from tests.people.erasing import Watching, copied, held, retain, with_media
from tests.servers.destinations import Destination, local

CUT = NOW - 3 * DAY


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A Page whose threads have messages from before and after the moment that is kept from."""
    with Sandbox(now=NOW, conversations=0, folders={"inbox": 30}, messages=12, long_every=4, span=8 * DAY) as running:
        oldest = min(running.page.threads(), key=lambda one: one.updated)
        running.page.add_message(oldest.id, at=NOW - DAY)  # a thread from before and after
        yield running


def days(box: Sandbox, files: Destination, **how: Any) -> None:
    """Export five days, each as a window, and what was before."""
    edges = [None, *(NOW - number * DAY for number in range(5, -1, -1))]
    for number, (since, until) in enumerate(itertools.pairwise(edges)):
        export(box, store_of(files), run=f"run-{number}", since=since, until=until, **how)


def test_windows_that_ended_longer_ago_go_whole(box: Sandbox, tmp_path: Path) -> None:
    """Their manifest too; one that is older in part stays as it is until it ended longer ago."""
    files = local(tmp_path)
    days(box, files)
    before = files.snapshot()
    result = retain(store_of(files), NOW - CUT + DAY / 2)
    left = sorted(name.rpartition("=")[2] for name in files.manifests())
    assert [one[:8] for one in left] == ["20261117", "20261118", "20261119", "20261120"]
    assert {name: before[name] for name in files.names()} == files.snapshot()
    assert_tidy(files)
    assert (result["windows"], result["windows_removed"], result["windows_changed"]) == (4, 2, 0)
    assert result["messages"] > 0
    assert retain(store_of(files), NOW - CUT + DAY / 2)["looks"] == 1


@each_format
@pytest.mark.parametrize("until", [None, NOW], ids=["dump", "backfill"])
def test_of_what_has_no_first_moment_the_older_messages_go(
    until: datetime | None, how: dict[str, Any], box: Sandbox, tmp_path: Path
) -> None:
    """And conversations as old of which none stays; the others stay with what is younger, and the manifest says since when."""
    files = local(tmp_path)
    export(box, store_of(files), until=until, max_part_records=50, **how)
    messages, conversations = by_id(files, "messages"), by_id(files, "conversations")
    result = retain(store_of(files))
    kept = {name: one for name, one in messages.items() if "created_time" in one and moment(one["created_time"]) >= CUT}
    assert 0 < len(kept) < len(messages)
    assert {name: bare(one) for name, one in by_id(files, "messages").items()} == {
        name: bare(one) for name, one in kept.items()
    }
    living = {name for name, one in conversations.items() if moment(one["updated_time"]) >= CUT}
    assert set(by_id(files, "conversations")) == living | {one["_conversation_id"] for one in kept.values()}
    assert 0 < len(living) < len(conversations)
    [manifest] = files.manifests().values()
    assert manifest["retained_since"] == "2026-11-18T10:00:00Z"
    assert result["messages"] == len(messages) - len(kept)
    assert (result["windows_changed"], result["windows_removed"]) == (1, 0)
    assert_counts_are_of_the_files(files)
    assert_tidy(files)
    again = files.snapshot()
    assert retain(store_of(files))["looks"] == 1
    assert files.snapshot() == again


def test_a_conversation_stays_with_a_message_that_does(tmp_path: Path) -> None:
    """Whatever its own time says; and one that was updated since stays without any."""
    files = local(tmp_path)
    with Sandbox(now=NOW, conversations=0, folders={"inbox": 3}, messages=2) as box:
        export(box, store_of(files), compression="none")
    [(name, manifest)] = files.manifests().items()
    rows = {"conversations": [], "messages": []}
    for thread, updated, created in (("a", 9, 1), ("b", 1, 9), ("c", 9, 9)):
        time = {days: f"{NOW - days * DAY:%Y-%m-%dT%H:%M:%S+0000}" for days in (1, 9)}
        marks = {"_carried": False, "_unavailable": False, "_fetched_at": "2026-11-21T10:00:00Z"}
        rows["conversations"].append({"id": thread, "updated_time": time[updated], **marks})
        rows["messages"].append(
            {"id": f"m_{thread}", "created_time": time[created], "_conversation_id": thread, **marks}
        )
    put(files, name, manifest, rows)
    retain(store_of(files))
    assert set(by_id(files, "conversations")) == {"a", "b"}
    assert set(by_id(files, "messages")) == {"m_a"}


def test_a_message_without_a_time_is_as_old_as_it_must_be(tmp_path: Path) -> None:
    """Fetched before, or of a thread that was not updated since: it goes. Of others nobody can tell, and a warning says so."""
    files = local(tmp_path)
    with Sandbox(now=NOW, conversations=0, folders={"inbox": 3}, messages=2) as box:
        export(box, store_of(files), compression="none")
    [(name, manifest)] = files.manifests().items()
    marks = {"_carried": False, "_unavailable": True}
    rows: dict[str, list[dict[str, Any]]] = {"conversations": [], "messages": []}
    for thread, updated, fetched in (("a", 9, 1), ("b", 1, 9), ("c", 1, 1)):
        rows["conversations"].append(
            {"id": thread, "updated_time": f"{NOW - updated * DAY:%Y-%m-%dT%H:%M:%S+0000}", **marks}
        )
        at = f"{NOW - fetched * DAY:%Y-%m-%dT%H:%M:%SZ}"
        rows["messages"].append({"id": f"m_{thread}", "_fetched_at": at, "_conversation_id": thread, **marks})
    put(files, name, manifest, rows)
    result = retain(store_of(files))
    assert set(by_id(files, "messages")) == {"m_c"}
    assert set(by_id(files, "conversations")) == {"b", "c"}
    assert any("keeps 1 message without a time" in one for one in result["warnings"])


def put(files: Destination, name: str, manifest: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> None:
    """Let an export hold some records of the test's own."""
    for file in manifest["files"]:
        content = b"".join(json.dumps(row).encode() + b"\n" for row in rows[file["stream"]])
        files.write(file["path"], content)
        file |= {"records": len(rows[file["stream"]]), "bytes": len(content)}
        file["sha256"] = hashlib.sha256(content).hexdigest()
        manifest[file["stream"]] = len(rows[file["stream"]])
    files.write(name, json.dumps(manifest).encode())


def test_a_dump_of_long_ago_goes_whole(box: Sandbox, tmp_path: Path) -> None:
    """Its walk began before, so nothing in it is younger."""
    files = local(tmp_path)
    export(box, store_of(files))
    result = retain(store_of(files), timedelta(days=2), NOW + 3 * DAY)
    assert files.names() == []
    assert result["windows_removed"] == 1


def test_killed_anywhere_readers_see_a_window_whole_or_not_at_all(box: Sandbox, tmp_path: Path) -> None:
    """At each operation of the store; the next run does the rest and leaves nothing behind."""
    first = local(tmp_path / "first")
    days(box, first)
    export(box, store_of(first), "other")
    content, before = first.snapshot(), held(first)
    count = Breaking(store_of(copied(content, tmp_path / "count")))
    retain(count)
    after = held(local(tmp_path / "count"))
    assert len(after) < len(before)
    crashed = 0
    for at in range(1, count.count + 1, 2):
        files = copied(content, tmp_path / str(at))
        watching = Watching(files, [before, after])
        with suppress(Broken):
            retain(Looking(Breaking(store_of(files), at, after=bool(at % 4 // 2)), watching.look))
            crashed -= 1
        crashed += 1
        watching.look()
        retain(Looking(store_of(files), watching.look))
        assert held(files) == after
        retain(store_of(files), keep=NOW - CUT + 30 * DAY, now=datetime.now(timezone.utc) + 30 * DAY)
        assert_tidy(files)
    assert crashed > 10


def test_files_of_messages_that_go_go_with_them(tmp_path: Path) -> None:
    """Of a dump as well, those that a younger message points to stay."""
    box, crowd = box_of_a_crowd(messages=5, span=8 * DAY)
    files = local(tmp_path)
    with box:
        export(box, store_of(files), compression="none", max_part_records=9)
    pointed = with_media(files, crowd)
    result = retain(store_of(files))
    kept = {pointed[name] for name in by_id(files, "messages")}
    assert set(files.names("media")) == kept
    assert result["media_files"] == len(set(pointed.values()) - kept) > 0
    assert_tidy(files)


def test_a_report_changes_nothing_and_says_what_would_go(box: Sandbox, tmp_path: Path) -> None:
    """The same figures as when it is done."""
    files = local(tmp_path)
    days(box, files)
    before = files.snapshot()
    told = retain(store_of(files), report_only=True)
    assert files.snapshot() == before
    done = retain(store_of(files))
    for name in ("conversations", "messages", "files_rewritten", "windows_removed", "windows_changed"):
        assert told[name] == done[name], name
    assert told["windows_removed"] > 0


def test_a_window_that_cannot_be_read_is_named_and_all_else_is_done(box: Sandbox, tmp_path: Path) -> None:
    """It may be one that has to go; nobody can tell."""
    files = local(tmp_path)
    days(box, files)
    wrong = next(name for name in files.manifests() if "begin--" not in name)
    manifest = json.loads(files.read(wrong))
    for content, says in ((b"{", "cannot be read"), (json.dumps({**manifest, "until": None}).encode(), "does not say")):
        files.write(wrong, content)
        with pytest.raises(DumpRefused, match=f"^1 window could not be gone through, all others were.*{says}"):
            retain(store_of(files))
    assert not [name for name in files.names("_manifests") if "begin--" in name]


def test_a_window_that_can_be_read_after_all_is_no_failure(box: Sandbox, tmp_path: Path) -> None:
    """Somebody mends its manifest while the others are gone through: it is looked at again, and goes as they do."""
    files = local(tmp_path)
    days(box, files)
    wrong = next(name for name in files.manifests() if "begin--" not in name)
    content = files.read(wrong)
    files.write(wrong, b"{")
    retain(Meanwhile(store_of(files), lambda: files.write(wrong, content), "delete"))
    assert retain(store_of(files))["looks"] == 1
