"""Erasure and retention where listings, copies and deletions are a store's own."""

from __future__ import annotations

import hashlib
import json

from tests.dump.exporting import DAY, NOW, assert_tidy, export
from tests.people.crowd import box_of_a_crowd, told
from tests.people.erasing import erase, retain
from tests.stores.conftest import Cloud


def test_who_is_erased_is_gone_with_their_files_and_all_else_is_whole(cloud: Cloud) -> None:
    """Window by window: what is named is there, nothing else is, and a second run finds nothing to do."""
    box, crowd = box_of_a_crowd(folders={"inbox": 8, "other": 2}, messages=6, media=True)
    photo = {"id": "9", "mime_type": "image/jpeg", "image_data": {"url": "https://scontent.fbcdn.net/a.jpg"}}
    box.page.add_message(crowd.own_thread, at=NOW - DAY / 2, fields={"attachments": {"data": [photo]}})
    with box:
        for number, (since, until) in enumerate(((None, NOW - DAY), (NOW - DAY, NOW))):
            how = {"max_part_records": 20, "download_attachments": True}
            export(box, cloud.store(), run=f"run-{number}", since=since, until=until, **how)
    before = cloud.files.snapshot()
    result = erase(cloud.store(), crowd.alone.id)
    assert result["windows_changed"] == 2
    assert result["media_files"] >= 1
    content = json.dumps([cloud.files.records(stream) for stream in ("conversations", "messages")])
    assert not [one for one in told(crowd.alone) if one in content]
    assert crowd.other.id in content
    named = [file for manifest in cloud.files.manifests().values() for file in manifest["files"]]
    assert all(hashlib.sha256(cloud.files.read(file["path"])).hexdigest() == file["sha256"] for file in named)
    assert_tidy(cloud.files)
    assert set(cloud.files.names()) != set(before)
    assert erase(cloud.store(), crowd.alone.id)["looks"] == 1


def test_what_is_too_old_is_gone_and_what_is_not_is_whole(cloud: Cloud) -> None:
    """A window whole, and of what has no first moment the older messages."""
    box, _ = box_of_a_crowd(folders={"inbox": 8, "other": 2}, messages=6)
    cut = NOW - 2 * DAY
    with box:
        export(box, cloud.store(), run="backfill", until=NOW - DAY)
        export(box, cloud.store(), "other", run="old", since=NOW - 4 * DAY, until=NOW - 3 * DAY)
    result = retain(cloud.store(), NOW - cut)
    assert (result["windows_removed"], result["windows_changed"]) == (1, 1)
    [manifest] = cloud.files.manifests().values()
    assert manifest["retained_since"] == cut.isoformat().replace("+00:00", "Z")
    assert len(cloud.files.records("messages")) == manifest["messages"]
    assert_tidy(cloud.files)
    assert retain(cloud.store(), NOW - cut)["looks"] == 1
