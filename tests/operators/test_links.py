"""The links beside a task: where they lead, when there are none, and what they never tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_pageconv import compat
from airflow_provider_pageconv.links import ExportedFilesLink, PageExportsLink, PageInboxLink
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.operators.running import CONNECTION, connection, context, operator

PAGE = "100200300400500"
AWS = "https://s3.console.aws.amazon.com/s3/buckets"
GOOGLE = "https://console.cloud.google.com/storage/browser"
AZURE = "https://portal.azure.com/#view/HubsExtension/BrowseResource/resourceType/Microsoft.Storage%2FStorageAccounts"
TI: Any = SimpleNamespace(dag_id="daily", run_id="run-1", task_id="export", map_index=-1)


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A small Page, and the connection to it, which names the Page."""
    with Sandbox(conversations=3, messages=2, instagram=2) as running:
        monkeypatch.setenv(CONNECTION, connection(running))
        yield running


def links(task: Any) -> dict[str, str]:
    """Every link of a task, as Airflow asks for it when the task has run."""
    return {link.name: link.get_link(task, ti_key=TI) for link in task.operator_extra_links}


def ran(destination: Any, platform: str = "messenger", **options: Any) -> PageConversationsToObjectStorageOperator:
    """An operator as it is after its run, without one."""
    task = operator(destination, **options)
    task.exported = platform, PAGE
    return task


def test_after_a_run_they_lead_to_the_page_that_the_connection_named(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task itself named none. What lies in a local folder has no console."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/team/")
    task = operator(f"file://{tmp_path}/export")
    task.execute(context())  # type: ignore[arg-type]
    assert links(task) == {
        "Exported files": "",
        "Inbox in Meta Business Suite": f"https://business.facebook.com/latest/inbox/all?asset_id={PAGE}",
        "Exports of this Page": f"https://airflow.example/team/plugin/page-conversations?page_id={PAGE}",
    }


def test_before_the_page_is_known_there_are_none(tmp_path: Path) -> None:
    """A task that failed while it was rendered has run no export, and its parameters are templates still."""
    task = operator("s3://{{ var.value.bucket }}/export")
    assert links(task) == dict.fromkeys(links(task), "")


def test_a_failed_export_has_them_as_well(box: Sandbox, tmp_path: Path) -> None:
    """Whoever looks into the failure wants to see the Page."""
    box.faults.add(Fault(code=190, on="conversations"))
    task = operator(f"file://{tmp_path}/export")
    with pytest.raises(Exception, match="token"):
        task.execute(context())  # type: ignore[arg-type]
    assert links(task)["Inbox in Meta Business Suite"].endswith(PAGE)


@pytest.mark.parametrize(
    "destination, console",
    [
        ("s3://aws_default@bucket/base/", f"{AWS}/bucket?prefix=base/messages/platform=messenger/page_id={PAGE}/"),
        ("s3://bucket", f"{AWS}/bucket?prefix=messages/platform=messenger/page_id={PAGE}/"),
        ("s3a://bucket/a b/ü#?", f"{AWS}/bucket?prefix=a%20b/%C3%BC%23%3F/messages/platform=messenger/page_id={PAGE}/"),
        ("gs://gcp@bucket/a b", f"{GOOGLE}/bucket/a%20b/messages/platform=messenger/page_id={PAGE}/"),
        ("abfs://azure@container/base", AZURE),
        ("abfs://container@account.dfs.core.windows.net/base", AZURE),
        ("file:///srv/export", ""),
        ("/srv/export", ""),
        ("hdfs://namenode/export", ""),
    ],
)
def test_the_files_are_shown_where_the_store_has_a_console(destination: str, console: str) -> None:
    """On the Page's own folder, as far as the console's addresses go; the connection id is in none of them."""
    assert ExportedFilesLink().get_link(ran(destination), ti_key=TI) == console


def test_the_files_of_a_task_without_messages_are_its_conversations() -> None:
    """And those of Instagram lie beside Messenger's."""
    task = ran("s3://bucket/base", "instagram", messages=False)
    assert (
        ExportedFilesLink().get_link(task, ti_key=TI)
        == f"{AWS}/bucket?prefix=base/conversations/platform=instagram/page_id={PAGE}/"
    )


def test_a_destination_may_be_a_path(tmp_path: Path) -> None:
    """As the operator takes it."""
    assert ExportedFilesLink().get_link(ran(ObjectStoragePath(f"file://{tmp_path}")), ti_key=TI) == ""


@pytest.mark.parametrize(
    "base_url, address",
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/plugin/page-conversations"),
        ("https://airflow.example/team/airflow/", "https://airflow.example/team/airflow/plugin/page-conversations"),
        ("", "/plugin/page-conversations"),
    ],
)
def test_the_provider_s_page_lies_below_airflow_s_own_address(
    base_url: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that is not set, the host is the one that shows the link."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    assert PageExportsLink().get_link(ran("s3://bucket"), ti_key=TI) == f"{address}?page_id={PAGE}"


def test_an_airflow_that_shows_no_pages_of_plugins_gets_no_link_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would lead to nothing."""
    monkeypatch.setattr(compat, "import_module", lambda _: SimpleNamespace(AirflowPlugin=object))
    assert PageExportsLink().get_link(ran("s3://bucket"), ti_key=TI) == ""


def test_none_of_them_tells_what_the_connection_keeps(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are stored as XComs, which nobody masks."""
    task = operator(f"file://{tmp_path}/export", pageconv_conn_id="pageconv_default")
    task.execute(context())  # type: ignore[arg-type]
    told = json.dumps(links(task))
    assert box.token not in told
    assert "pageconv_default" not in told


def test_links_of_other_operators_are_none() -> None:
    """A plugin may hang them onto any."""
    for link in (ExportedFilesLink(), PageInboxLink(), PageExportsLink()):
        assert link.get_link(SimpleNamespace(), ti_key=TI) == ""  # type: ignore[arg-type]


def test_each_is_kept_under_a_key_of_its_own() -> None:
    """By which Airflow finds it again."""
    shown = PageConversationsToObjectStorageOperator.operator_extra_links
    assert len({link.xcom_key for link in shown}) == len({link.name for link in shown}) == 3
