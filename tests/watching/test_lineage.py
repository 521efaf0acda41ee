"""What OpenLineage is told of an export, by its real provider."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_pageconv.dump.schema import COLUMNS
from airflow_provider_pageconv.lineage import Ends
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.operators.running import CONNECTION, connection, context, operator
from tests.servers.destinations import S3_CONNECTION, Destination, local
from tests.watching.conftest import DEAD_TOKEN, Watched

FOLDERS = ("inbox", "other", "page_done", "spam")


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(conversations=20, messages=30, instagram=3) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        yield box


def told(destination: str, **options: Any) -> Any:
    """Export, and ask the operator as the provider does."""
    task = operator(destination, **options)
    task.execute(context())  # type: ignore[arg-type]
    return task.get_openlineage_facets_on_complete(None)


def columns(dataset: Any) -> list[str]:
    return [field.name for field in dataset.facets["schema"].fields]


class TestEvents:
    """In the file of the real provider's file transport, from the worker of a real scheduler."""

    def test_the_pages_folders_are_the_inputs(self, watched: Watched) -> None:
        """Each with the number of conversations that its list named."""
        inputs = watched.event("watched", "COMPLETE")["inputs"]
        listed = {
            manifest["folder"]: manifest["conversations_listed"] for manifest in watched.place.manifests().values()
        }
        assert sum(listed.values()) == len(watched.box.data()["threads"])
        assert {
            (one["namespace"], one["name"], one["inputFacets"]["inputStatistics"]["rowCount"]) for one in inputs
        } == {
            (
                watched.box.url,
                f"{watched.box.page.id}/conversations?folder={folder}&platform=messenger",
                listed[folder],
            )
            for folder in FOLDERS
        }

    @pytest.mark.parametrize("stream", ["conversations", "messages"])
    def test_a_stream_is_an_output_with_its_rows_bytes_and_files(self, watched: Watched, stream: str) -> None:
        """As they lie in the destination, and as the summary counts them."""
        outputs = watched.event("watched", "COMPLETE")["outputs"]
        assert len(outputs) == 2
        [output] = [one for one in outputs if one["name"].endswith(f"/{stream}")]
        assert (output["namespace"], output["name"]) == ("file", f"{watched.place.root}/{stream}")
        size = output["outputFacets"]["outputStatistics"]
        files = [name for name in watched.place.names(stream) if name.endswith(".jsonl.gz")]
        assert size["rowCount"] == watched.summary[stream] == len(watched.place.records(stream))
        assert size["size"] == sum(len(watched.place.read(name)) for name in files)
        assert size["fileCount"] == len(files)

    @pytest.mark.parametrize("stream", ["conversations", "messages"])
    def test_the_schema_names_every_field_of_every_record(self, watched: Watched, stream: str) -> None:
        """What was asked for, and what we add, of which the types are known."""
        outputs = watched.event("watched", "COMPLETE")["outputs"]
        [output] = [one for one in outputs if one["name"].endswith(f"/{stream}")]
        types = {field["name"]: field.get("type") for field in output["facets"]["schema"]["fields"]}
        met = {name for record in watched.place.records(stream) for name in record}
        assert met <= set(types)
        assert {name for name in met if name.startswith("_")} == {name for name in types if name.startswith("_")}
        assert types["_carried"] == "boolean"
        assert types["_fetched_at"] == "timestamp"

    def test_an_export_that_failed_tells_of_no_data(self, watched: Watched) -> None:
        """It has published nothing that another event would not tell of."""
        event = watched.event("refused", "FAIL")
        assert (event["inputs"], event["outputs"]) == ([], [])

    def test_no_secret_and_no_person_is_in_any_event(self, watched: Watched) -> None:
        """Neither in ours nor in what the provider itself adds; no connection is in what we tell."""
        text = watched.events.read_text(encoding="utf-8")
        assert watched.box.token not in text
        assert DEAD_TOKEN not in text
        people = {
            person[key]
            for thread in watched.box.data()["threads"]
            for person in thread["node"]["participants"]["data"]
            for key in ("name", "id")
        } - {watched.box.page.id, watched.box.page.name}
        assert people
        assert [one for one in people if one in text] == []
        event = watched.event("watched", "COMPLETE")
        assert "conn_of_watched" not in json.dumps([event["inputs"], event["outputs"]])


class TestNames:
    """They follow OpenLineage's naming of storage, so that other tools name the same files alike."""

    @pytest.mark.parametrize(
        "protocol, path, account, namespace, name",
        [
            ("file", "/data/export/", None, "file", "/data/export/messages"),
            ("s3", "bucket/a/b", None, "s3://bucket", "a/b/messages"),
            ("s3a", "bucket", None, "s3://bucket", "messages"),
            ("gs", "bucket/a", None, "gs://bucket", "a/messages"),
            ("gcs", "bucket/a", None, "gs://bucket", "a/messages"),
            ("abfs", "box/a", "account", "abfss://box@account.dfs.core.windows.net", "a/messages"),
            ("abfss", "box/a", None, "abfss://box", "a/messages"),
        ],
    )
    def test_a_stream(self, protocol: str, path: str, account: str | None, namespace: str, name: str) -> None:
        """The bucket, or container and account, and the table's path in it."""
        assert Ends("https://graph.facebook.com", protocol, path, account).stream("messages") == (namespace, name)

    def test_a_folder(self) -> None:
        """The host, and the edge; what stands before the edge on a gateway of one's own belongs to its path."""
        edge = "1/conversations?folder=inbox&platform=messenger"
        assert Ends("https://graph.facebook.com", "s3", "b").folder("1", "messenger", "inbox") == (
            "https://graph.facebook.com",
            edge,
        )
        assert Ends("https://gateway:8443/meta", "s3", "b").folder("1", "messenger", "inbox") == (
            "https://gateway:8443",
            f"meta/{edge}",
        )

    def test_the_connection_of_the_destination_is_in_none(self, box: Sandbox, destination_files: Destination) -> None:
        """With a local folder, and with an S3 that is reached through a connection."""
        lineage = told(destination_files.url)
        whole = {f"{one.namespace}/{one.name}" for one in lineage.outputs}
        root = destination_files.root
        scheme = "file/" if root.startswith("/") else "s3://"
        assert whole == {f"{scheme}{root}/conversations", f"{scheme}{root}/messages"}
        assert S3_CONNECTION not in str(lineage)

    def test_instagrams_one_list_has_no_folder(self, box: Sandbox, tmp_path: Path) -> None:
        """None is sent, so none is named."""
        [source] = told(local(tmp_path / "export").url, platform="instagram").inputs
        assert source.name == f"{box.page.id}/conversations?platform=instagram"

    def test_the_person_of_a_user_id_is_in_none(self, box: Sandbox, tmp_path: Path) -> None:
        """The list is the Page's, however little of it was asked for."""
        [thread, *_] = [thread for thread in box.data()["threads"] if thread["folder"] == "inbox"]
        [person] = [one["id"] for one in thread["node"]["participants"]["data"] if one["id"] != box.page.id]
        lineage = told(local(tmp_path / "export").url, user_id=person)
        assert lineage.inputs
        assert person not in str(lineage)


class TestFigures:
    """What stands beside the names."""

    def test_without_messages_there_is_one_output(self, box: Sandbox, tmp_path: Path) -> None:
        """And its schema has the fields of conversations alone."""
        [output] = told(local(tmp_path / "export").url, messages=False, conversation_fields="id,link").outputs
        assert output.name.endswith("/conversations")
        assert [name for name in columns(output) if not name.startswith("_")] == [
            "updated_time",
            "message_count",
            "id",
            "link",
        ]

    def test_in_parquet_the_schema_is_that_of_the_files(self, box: Sandbox, tmp_path: Path) -> None:
        """All columns with their types, whatever was asked for."""
        lineage = told(local(tmp_path / "export").url, file_format="parquet", message_fields="from")
        for output, stream in zip(lineage.outputs, ("conversations", "messages"), strict=True):
            fields = [(field.name, field.type) for field in output.facets["schema"].fields]
            assert fields == [(name, kind.type) for name, kind in COLUMNS[stream].items()]

    def test_a_field_that_the_api_refused_is_no_column(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Nobody finds it in the files."""
        with Sandbox(conversations=5, refused_fields={"Message": ["story"]}) as box:
            monkeypatch.setenv(CONNECTION, connection(box))
            [_, messages] = told(local(tmp_path / "export").url).outputs
        assert "story" not in columns(messages)
        assert "sticker" in columns(messages)

    def test_where_nothing_was_found_rows_bytes_and_files_are_none(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The streams were written all the same: with nothing."""
        with Sandbox(conversations=0) as box:
            monkeypatch.setenv(CONNECTION, connection(box))
            lineage = told(local(tmp_path / "export").url)
        sizes = [output.outputFacets["outputStatistics"] for output in lineage.outputs]
        assert [(size.rowCount, size.size, size.fileCount) for size in sizes] == [(0, 0, 0)] * 2
        assert [one.inputFacets["inputStatistics"].rowCount for one in lineage.inputs] == [0] * 4

    def test_what_an_earlier_try_published_is_told_of_by_the_one_that_ends_well(
        self, box: Sandbox, tmp_path: Path
    ) -> None:
        """The first told of nothing, so each figure stands in one event."""
        url = local(tmp_path / "export").url
        refusal = box.faults.add(Fault(code=10, folder="inbox"))
        failed = operator(url)
        with pytest.raises(AirflowFailException):
            failed.execute(context())  # type: ignore[arg-type]
        nothing = failed.get_openlineage_facets_on_complete(None)
        assert (nothing.inputs, nothing.outputs) == ([], [])
        box.faults.remove(refusal)
        [conversations, _] = told(url).outputs
        drawn = [thread for thread in box.data()["threads"] if thread["platform"] == "messenger"]
        assert conversations.outputFacets["outputStatistics"].rowCount == len(drawn)


def test_without_openlineage_nothing_is_missed(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export imports nothing of it."""
    for name in [name for name in sys.modules if "openlineage" in name]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("openlineage", "airflow.providers.openlineage"):
        monkeypatch.setitem(sys.modules, name, None)
    task = operator(local(tmp_path / "export").url)
    assert task.execute(context())["conversations"]  # type: ignore[arg-type]
    with pytest.raises(ImportError):
        task.get_openlineage_facets_on_complete(None)
