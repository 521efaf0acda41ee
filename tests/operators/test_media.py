"""Files of attachments, as a task asks for them: what the connection says of hosts, what the summary tells, what of Instagram."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_pageconv.graph.media import INSTAGRAM_NOTE, MEDIA_HOSTS
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.sandbox import Sandbox, Trouble
from tests.operators.running import CONNECTION, connection, run
from tests.servers.destinations import local


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A Page whose files are served, behind the default connection."""
    with Sandbox(conversations=60, instagram=60, media=True, details="all") as running:
        monkeypatch.setenv(CONNECTION, connection(running))
        yield running


def test_the_summary_counts_files_over_the_folders(box: Sandbox, tmp_path: Path) -> None:
    """Those that there are, their size, and by reason those that could not be had."""
    assert box.media is not None
    box.media.troubles = [Trouble("dead", every=5)]
    place = local(tmp_path / "export")
    summary = run(place.url, download_attachments=True)
    assert summary["media_files"] == len(place.names("media")) > 0
    assert summary["media_bytes"] == sum(len(place.read(name)) for name in place.names("media"))
    assert set(summary["media_failed"]) == {"expired"}
    assert summary["media_failed"]["expired"] == sum(
        one["media_failed"].get("expired", 0) for one in summary["folders"].values()
    )
    assert [one for one in summary["warnings"] if "of attachments could not be had" in one]
    assert not [one for one in summary["warnings"] if INSTAGRAM_NOTE in one]


def test_on_instagram_a_warning_says_what_meta_s_review_asks(box: Sandbox, tmp_path: Path) -> None:
    """In the summary, once, and in the manifest; not where no file is fetched."""
    place = local(tmp_path / "export")
    summary = run(place.url, platform="instagram", download_attachments=True)
    assert summary["warnings"].count(INSTAGRAM_NOTE) == 1
    assert all(INSTAGRAM_NOTE in one["warnings"] for one in place.manifests().values())
    assert summary["media_files"] > 0
    other = run(local(tmp_path / "other").url, platform="instagram")
    assert INSTAGRAM_NOTE not in other["warnings"]


@pytest.mark.parametrize(
    "value, hosts",
    [
        (None, ()),
        ("", ()),
        ([], ()),
        ("fbcdn.net", ("fbcdn.net",)),
        (" FBCDN.net , cdn.example.org,", ("cdn.example.org", "fbcdn.net")),
        (["fbsbx.com"], ("fbsbx.com",)),
    ],
)
def test_the_connection_names_hosts_of_media(
    monkeypatch: pytest.MonkeyPatch, value: Any, hosts: tuple[str, ...]
) -> None:
    """A list, or a text with commas between; those of Meta if it names none."""
    monkeypatch.setenv(CONNECTION, connection(None, media_hosts=value).replace("http://127.0.0.1:9", ""))
    hook = PageConversationsHook()
    assert hook.settings.media_hosts == hosts
    assert hook.media(None, None).rules.hosts == (hosts or MEDIA_HOSTS)


@pytest.mark.parametrize(
    "value", ["https://fbcdn.net", "fbcdn.net/x", "net", "*.fbcdn.net", 7, ["fbcdn.net", None], {"a": 1}]
)
def test_a_host_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: Any) -> None:
    """Before the first call, in a sentence that names the connection."""
    monkeypatch.setenv(CONNECTION, connection(None, page_id="1", media_hosts=value))
    with pytest.raises(
        AirflowFailException, match=r"media_hosts of the connection 'pageconv_default' is .* it takes names of hosts"
    ):
        run(local(tmp_path / "export").url, download_attachments=True)
