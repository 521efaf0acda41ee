"""A list without any thread looks like success, and may be none: it is told, and where that is asked for it is an error."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.endings import NothingListed
from airflow_provider_pageconv.dump.export import FoldersFailed
from airflow_provider_pageconv.dump.summary import Outcome, nothing_listed, summary
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import NOW, exporting, in_tries, spec_of, store_of
from tests.servers.destinations import Destination, local
from tests.simulated import SimulatedTime

FOLDERS = ("inbox", "other", "page_done", "spam")
NOTHING = (
    "The lists inbox, other, page_done, spam of the Page 100200300400500 on messenger hold no conversation at all, of "
    "whatever age. Known causes: the app has no Advanced Access, so that only people with a role in it are seen; the person "
    "who gave the token has no task on the Page (MESSAGING or MODERATE); it is the wrong platform. Where it is right, "
    "on_empty='ok' says so."
)


def box_of(**folders: int) -> Sandbox:
    """A box with so many threads in each folder."""
    return Sandbox(folders={name: folders.get(name, 0) for name in FOLDERS}, now=NOW, messages=3)


def outcomes(box: Sandbox, files: Destination, **how: Any) -> dict[str, Outcome]:
    """Export all folders."""
    found, _ = in_tries(box, store_of(files), FOLDERS, policy=Policy(), **how)
    return dict(zip(FOLDERS, found, strict=True))


def warnings(box: Sandbox, found: dict[str, Outcome], **how: Any) -> list[str]:
    """What the task's summary warns of."""
    return list(summary(spec_of(box, **how), "file:///data", found)["warnings"])


def test_lists_that_hold_no_thread_at_all_are_told_with_the_known_causes(tmp_path: Path) -> None:
    """The folders are published all the same; each manifest says how many conversations its list named."""
    files = local(tmp_path)
    with box_of() as box:
        found = outcomes(box, files)
        assert warnings(box, found) == [NOTHING]
        assert warnings(box, found, on_empty="ok") == []
    assert {manifest["conversations_listed"] for manifest in files.manifests().values()} == {0}


def test_a_quiet_hour_is_nothing_to_tell(tmp_path: Path) -> None:
    """The lists name conversations, only none of the window."""
    files = local(tmp_path)
    with box_of(other=3) as box:
        found = outcomes(box, files, since=NOW - timedelta(seconds=1), until=NOW)
        assert warnings(box, found) == []
    assert sum(manifest["conversations"] for manifest in files.manifests().values()) == 0
    assert {name: one.manifest["conversations_listed"] for name, one in found.items()} == {
        "inbox": 0, "other": 3, "page_done": 0, "spam": 0,
    }  # fmt: skip


def test_an_empty_list_beside_the_inbox_is_nothing_to_tell(tmp_path: Path) -> None:
    """A task that exports the spam alone finds none on most days."""
    files = local(tmp_path)
    with box_of() as box:
        [spam], _ = in_tries(box, store_of(files), ("spam",))
        assert warnings(box, {"spam": spam}) == []


@pytest.mark.parametrize("platform", ["messenger", "instagram"])
def test_the_sentence_names_what_is_known_of_the_platform(platform: str) -> None:
    """Instagram hides more."""
    with Sandbox(conversations=0, instagram=1, now=NOW) as box:
        spec = spec_of(box, platform=platform, user_id="77")
        sentence = nothing_listed(spec, ["all"])
    assert ("Requests that were idle for 30 days" in sentence) == (platform == "instagram")
    assert "the user_id is not this Page's name for the person" in sentence


def test_where_it_is_an_error_nothing_is_published_and_the_next_try_looks_again(tmp_path: Path) -> None:
    """Also a folder whose list came with one call waits for the others; what came in meanwhile is found."""
    files = local(tmp_path)
    with box_of() as box:
        box.faults.add(Fault("slow", folder="spam", times=1))  # the others would be published long before
        with pytest.raises(FoldersFailed) as caught:
            exporting(box, store_of(files), FOLDERS, on_empty="fail").run()
        assert str(caught.value) == f"inbox, other, page_done, spam: {NOTHING}"
        assert not caught.value.for_good
        assert all(isinstance(error, NothingListed) for error in caught.value.errors.values())
        assert files.manifests() == {}
        box.page.new_thread("spam", at=NOW + timedelta(seconds=20))
        found = outcomes(box, files, on_empty="fail", time=SimulatedTime(NOW + timedelta(seconds=30)))
        asked = [call.params["folder"] for call in box.requests]
        # The calls of one try are out at once, and land in any order.
        assert [sorted(asked[:4]), sorted(asked[4:])] == [sorted(FOLDERS), sorted(FOLDERS)]
    assert [one.manifest["conversations"] for one in found.values()] == [0, 0, 0, 1]


def test_a_folder_that_failed_may_have_held_something(tmp_path: Path) -> None:
    """Then the others are published, and the error is the folder's own."""
    files = local(tmp_path)
    with box_of() as box:
        box.faults.add(Fault(code=10, folder="page_done"))
        with pytest.raises(FoldersFailed) as caught:
            exporting(box, store_of(files), FOLDERS, on_empty="fail").run()
        assert list(caught.value.errors) == ["page_done"]
    assert len(files.manifests()) == 3


def test_after_a_kill_an_empty_list_is_looked_at_again_where_it_is_an_error(tmp_path: Path) -> None:
    """What an earlier try saw of it is not taken for the present."""
    files = local(tmp_path)
    with box_of(spam=150) as box:
        box.faults.add(Fault(code=4, folder="spam", times=1, at=2))
        found = outcomes(box, files, on_empty="fail", page_size=100)
    assert [one.manifest["conversations"] for one in found.values()] == [0, 0, 0, 150]
