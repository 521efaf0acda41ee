"""The links beside an export's task, in an Airflow that lies below a path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from airflow_provider_pageconv.sandbox import Sandbox
from tests.browser.looking import Looking
from tests.servers.deployment import Deployment
from tests.servers.destinations import S3_CONNECTION
from tests.servers.seaweedfs import S3Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ["Exported files", "Inbox in Meta Business Suite", "Exports of this Page"]


@pytest.fixture(scope="module")
def run_id(
    airflow: Deployment, logins: dict[str, str], seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A run of the three tasks, which was a success."""
    store = json.loads(seaweedfs.connection())
    airflow.api("POST", "/connections", {"connection_id": S3_CONNECTION, **store, "extra": json.dumps(store["extra"])})
    places = {
        "bucket": f"s3://{S3_CONNECTION}@{seaweedfs.bucket}/linked",
        "folder": tmp_path_factory.mktemp("linked").as_uri(),
    }
    run = airflow.trigger("linked", conf=places)
    assert airflow.wait_for_end("linked", run, 300) == "success", airflow.logs("linked")
    return run


def shown(page: Page) -> dict[str, str]:
    """The links that a task's page shows, by their names."""
    page.get_by_text("Extra Links").wait_for()
    found = page.get_by_role("link").filter(has_text="Exported files").or_(page.get_by_role("link", name="Inbox in"))
    found = found.or_(page.get_by_role("link", name="Exports of this Page"))
    found.first.wait_for()
    return {link.inner_text(): link.get_attribute("href") or "" for link in found.all()}


def details(looking: Looking, run_id: str, task: str, *, dark: bool = False) -> Page:
    """Open the tab of a task on which Airflow shows its links."""
    return looking.open(f"/dags/linked/runs/{quote(run_id)}/tasks/{task}/details", dark=dark)


def test_a_task_leads_to_its_files_its_inbox_and_its_exports(
    looking: Looking, airflow: Deployment, run_id: str, seaweedfs: S3Server, box: Sandbox
) -> None:
    """For the Page that the connection named; the provider's page is found below Airflow's path."""
    page = details(looking, run_id, "bucket")
    found = shown(page)
    folder = f"linked/messages/platform=messenger/page_id={box.page.id}/"
    assert found == {
        NAMES[0]: f"https://s3.console.aws.amazon.com/s3/buckets/{seaweedfs.bucket}?prefix={folder}",
        NAMES[1]: f"https://business.facebook.com/latest/inbox/all?asset_id={box.page.id}",
        NAMES[2]: f"{airflow.url}/plugin/page-conversations?page_id={box.page.id}",
    }
    assert S3_CONNECTION not in str(found)
    looking.picture(page, "extra-links")


def test_a_folder_has_no_console_to_be_shown_in(looking: Looking, run_id: str) -> None:
    """So there are two."""
    assert set(shown(details(looking, run_id, "folder"))) == set(NAMES[1:])


def test_each_mapped_task_leads_to_its_own_page(looking: Looking, run_id: str, box: Sandbox) -> None:
    """By the id that it was mapped over."""
    for number, page_id in enumerate(box.pages):
        found = shown(details(looking, run_id, f"mapped/mapped/{number}"))
        assert all(address.endswith(page_id) for address in found.values()), found


def test_a_link_to_elsewhere_opens_beside_airflow_and_one_to_airflow_in_it(looking: Looking, run_id: str) -> None:
    """Nobody loses the task that they were looking at, and nobody gets a second Airflow."""
    page = details(looking, run_id, "folder", dark=True)
    assert page.get_by_role("link", name=NAMES[1]).get_attribute("target") == "_blank"
    assert page.get_by_role("link", name=NAMES[2]).get_attribute("target") == "_self"
