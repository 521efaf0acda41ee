"""What a task hands on when it has succeeded."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias, ObjectStoragePath
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_pageconv.assets import page_asset
from airflow_provider_pageconv.lines import LONGEST
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import assert_holds, owed
from tests.operators.running import CONNECTION, connection, operator, run
from tests.servers.destinations import Destination, local

KEYS = {
    "page_id", "platform", "since", "until", "manifests", "conversations", "messages", "messages_unavailable", "files",
    "bytes", "api_calls", "waited_seconds", "folders", "warnings", "destination", "messages_undated",
    "conversations_unavailable", "conversations_incomplete", "conversations_carried", "messages_carried", "messages_gone",
    "started_at", "finished_at", "messages_expected", "media_files", "media_bytes", "media_failed",
}  # fmt: skip
COUNTS = (
    "conversations", "messages", "messages_unavailable", "messages_undated", "conversations_unavailable",
    "conversations_incomplete", "conversations_carried", "messages_carried", "messages_gone",
    "media_files", "media_bytes",
)  # fmt: skip
NUMBERS = (*COUNTS, "files", "bytes", "api_calls", "waited_seconds")


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Any:
    with Sandbox(conversations=30, messages=30, instagram=3) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        yield box


def test_the_summary_says_what_lies_in_the_destination(box: Sandbox, destination_files: Destination) -> None:
    """Sums, and the same numbers by folder; JSON through and through."""
    result = run(destination_files.url)
    assert set(result) == KEYS
    assert json.loads(json.dumps(result)) == result
    manifests = destination_files.manifests()
    assert sorted(result["manifests"]) == sorted(manifests)
    assert (result["page_id"], result["platform"], result["since"], result["until"]) == (
        box.page.id,
        "messenger",
        None,
        None,
    )
    assert set(result["folders"]) == {"inbox", "other", "page_done", "spam"}
    for name, manifest in manifests.items():
        assert name in result["manifests"]
        numbers = result["folders"][manifest["folder"]]
        assert set(numbers) == {*NUMBERS, "published", "messages_expected", "media_failed"}
        assert numbers["published"] == "new"
        assert numbers["files"] == len(manifest["files"])
        assert numbers["bytes"] == sum(len(destination_files.read(entry["path"])) for entry in manifest["files"])
        for key in ("conversations", "messages", "messages_unavailable", "messages_undated", "api_calls", "waited_seconds",
                    "conversations_unavailable", "conversations_incomplete", "messages_expected"):  # fmt: skip
            assert numbers[key] == manifest[key]
    for key in NUMBERS:
        assert result[key] == sum(numbers[key] for numbers in result["folders"].values())
    assert result["api_calls"] == len(box.requests)
    assert result["destination"] == destination_files.url.replace("pageconv_test_s3@", "")
    assert result["started_at"] == min(manifest["started_at"] for manifest in manifests.values())
    assert result["finished_at"] == max(manifest["finished_at"] for manifest in manifests.values())
    assert result["warnings"] == [
        f"{manifest['folder']}: {warning}"
        for folder in result["folders"]
        for manifest in manifests.values()
        if manifest["folder"] == folder
        for warning in manifest["warnings"]
    ]
    data = box.data()
    data["threads"] = [thread for thread in data["threads"] if thread["platform"] == "messenger"]
    assert_holds(destination_files, owed(data))


def test_a_second_try_of_the_run_says_the_same(box: Sandbox, tmp_path: Path) -> None:
    """All folders are published: no call, no new file, the same summary."""
    files = local(tmp_path / "export")
    first = run(files.url)
    before = files.snapshot()
    box.forget()
    for numbers in first["folders"].values():
        numbers["published"] = "earlier"
    assert run(files.url) == first
    assert box.requests == []
    assert files.snapshot() == before


def test_every_outlet_s_event_carries_the_summary(box: Sandbox, tmp_path: Path) -> None:
    """A consumer finds the manifests in it."""
    outlets = [Asset("pages"), Asset(name="other", uri="file:///elsewhere")]
    events = OutletEventAccessors()
    result = run((tmp_path / "export").as_uri(), outlets=outlets, more={"outlet_events": events})
    for outlet in outlets:
        assert events[outlet].extra == result


def test_an_outlet_that_is_named_by_reference_carries_it_too(box: Sandbox, tmp_path: Path) -> None:
    """Only a running task can look up which asset that is, so the events are made up."""
    events: dict[Any, Any] = defaultdict(SimpleNamespace)
    reference = Asset.ref(name="pages")
    result = run((tmp_path / "export").as_uri(), outlets=[reference], more={"outlet_events": events})
    assert events[reference].extra == result


def test_a_destination_may_be_a_path_object(box: Sandbox, tmp_path: Path) -> None:
    """As well as a text."""
    run(ObjectStoragePath((tmp_path / "export").as_uri()), folders="spam")
    assert len(local(tmp_path / "export").manifests()) == 1


def test_platform_is_taken_in_any_case_and_written_in_lower_case(box: Sandbox, tmp_path: Path) -> None:
    """Instagram has one folder, ``all``."""
    files = local(tmp_path / "export")
    result = run(files.url, platform="INSTAGRAM")
    assert result["platform"] == "instagram"
    assert list(result["folders"]) == ["all"]
    assert all("platform=instagram" in name for name in files.names())
    assert result["conversations"] == 3


@pytest.mark.parametrize("given, used", [(None, "100200300400500"), ("100200300400501", "100200300400501")])
def test_the_task_s_page_comes_before_the_connection_s(
    given: str | None, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``page_id`` of the connection is for tasks that name none."""
    with Sandbox(conversations=2, pages=2) as box:
        other = box.pages["100200300400501"]
        box.add_token("OTHER-TOKEN", other)
        monkeypatch.setenv(CONNECTION, connection(box, token="OTHER-TOKEN" if given else None))
        result = run((tmp_path / "export").as_uri(), page_id=given, folders="inbox")
        assert result["page_id"] == used
        assert {call.path.split("/")[2] for call in box.requests if call.edge == "conversations"} == {used}


def test_one_user_s_token_exports_every_page_that_it_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look for each Page's own token, which lies in no file, and counts among no calls of the export."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=4, messages=30, pages=2, long_every=2, app_secret="secret", require_proof=True) as box:
        monkeypatch.setenv(CONNECTION, connection(box, token=box.user_token, app_secret="secret", page_id=None))
        for page_id, page in box.pages.items():
            box.forget()
            result = run(files.url, page_id=page_id)
            assert result["conversations"] == len(box.data(page_id)["threads"])
            assert len([call for call in box.requests if call.path.endswith(f"/{page_id}")]) == 1
            refused = [call for call in box.requests if call.code is not None]
            assert 1 <= len(refused) <= 4, "those that left before there was the Page's own token"
            assert result["api_calls"] == len(box.requests) - 1 - len(refused)
            token = box.api.derived_token(page)
            assert not [
                path
                for path in (tmp_path / "export").rglob("*")
                if path.is_file() and token in path.read_text("latin-1")
            ]


def test_since_alone_ends_at_run_after_less_settle_rounded_up(box: Sandbox, tmp_path: Path) -> None:
    """So that every try of the run, and every Clear, exports the same window."""
    files = local(tmp_path / "export")
    run_after = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=timezone.utc)
    result = run(
        files.url, folders="spam", since="2026-11-01T00:00:00+01:00", settle=timedelta(minutes=10),
        more={"run_after": run_after},
    )  # fmt: skip
    assert (result["since"], result["until"]) == ("2026-10-31T23:00:00Z", "2026-11-20T11:50:01Z")
    assert "window=20261031T230000Z--20261120T115001Z.json" in result["manifests"][0]


def test_moments_are_rounded_up_to_whole_seconds(box: Sandbox, tmp_path: Path) -> None:
    """Both ends alike, so that windows that touch still touch."""
    result = run(
        (tmp_path / "export").as_uri(),
        folders="spam",
        since=datetime(2026, 11, 1, 0, 0, 0, 1, tzinfo=timezone.utc),
        until="2026-11-02T00:00:00.999Z",
    )
    assert (result["since"], result["until"]) == ("2026-11-01T00:00:01Z", "2026-11-02T00:00:01Z")


def test_after_a_clear_the_run_exports_anew(box: Sandbox, tmp_path: Path) -> None:
    """The number of clears comes from the run."""
    files = local(tmp_path / "export")
    run(files.url, folders="inbox")
    before = set(files.names())
    box.forget()
    run(files.url, folders="inbox", more={"clear": 1})
    assert box.requests
    (manifest,) = files.manifests().values()
    assert manifest["run_key"] == {
        "dag_id": "daily", "run_id": "run-1", "task_id": "export", "map_index": -1, "clear_number": 1,
    }  # fmt: skip
    assert not before & {entry["path"] for entry in manifest["files"]}


def test_an_alias_becomes_the_pages_own_asset(box: Sandbox, tmp_path: Path) -> None:
    """So many Pages that share an outlet are told apart, and a consumer can wait for one of them."""
    place, alias = (tmp_path / "export").as_uri(), AssetAlias("pages")
    events = OutletEventAccessors()
    result = run(place, more={"outlet_events": events}, folders="inbox", outlets=[alias])
    [event] = events[alias].asset_alias_events
    asset = page_asset(place, box.page.id)
    assert (event.dest_asset_key.name, event.dest_asset_key.uri) == (asset.name, asset.uri)
    assert event.extra == result


@pytest.mark.parametrize(
    "destination, root",
    [
        ("file:///data/export/", "file:///data/export"),
        ("s3://my_conn@bucket/a b", "s3://bucket/a%20b"),
        (ObjectStoragePath("file:///data/ü"), "file:///data/%C3%BC"),
    ],
)
def test_producer_and_consumer_name_the_same_asset(destination: Any, root: str) -> None:
    """Whatever the connection, the platform's case, and letters that Airflow does not take."""
    asset = page_asset(destination, "123", "Instagram")
    assert asset.uri == f"{root}/_manifests/platform=instagram/page_id=123"


@pytest.mark.parametrize("wrong", [{"page_id": "no number"}, {"platform": "whatsapp"}, {"destination": "bucket"}])
def test_an_asset_of_what_cannot_be_exported_is_refused(wrong: dict[str, Any]) -> None:
    """In the sentence that the operator has for it."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        page_asset(**{"destination": "file:///data", "page_id": "1", **wrong})


def test_progress_and_a_summary_are_in_the_log(box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For who reads along."""
    with caplog.at_level("INFO"):
        result = run((tmp_path / "export").as_uri(), folders="inbox")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider_pageconv")]
    assert lines[0] == f"Exporting Page {box.page.id} (messenger), all messages: inbox."
    told = f"{result['conversations']} conversations, {result['messages']} messages"
    assert lines[-3].startswith(f"inbox: {told}")
    assert lines[-2] == f"In {result['destination']}: _manifests/platform=messenger/page_id={box.page.id}"
    assert lines[-1].startswith(f"Exported Page {box.page.id}: {told}")
    assert lines[-1].endswith(f", {result['api_calls']} calls.")
    assert [line for line in lines if len(line) > LONGEST] in ([], [lines[-2]])  # a path stays whole, to be copied
    assert len(set(lines)) == len(lines)


def test_the_fields_that_hold_templates_are_those_that_users_hold_on_to() -> None:
    """In the contract's order."""
    assert operator("file:///data").template_fields == (
        "destination", "page_id", "folders", "platform", "user_id", "since", "until", "conversation_fields",
        "message_fields", "exclude_user_ids", "pageconv_conn_id",
    )  # fmt: skip
