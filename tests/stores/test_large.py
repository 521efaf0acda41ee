"""Parts that are too large for one request."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.stores.conftest import Cloud

MIB = 2**20
# Above it s3fs uploads in pieces of 50 MiB from 100 MiB on, gcsfs in pieces of 50 MiB, Azure's client in blocks from 64 MiB on.
SIZE = 130 * MIB


def digest(path: Path) -> str:
    """What tells two files apart."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(MIB):
            made.update(piece)
    return made.hexdigest()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in which no piece is like another one."""
    path = tmp_path_factory.mktemp("large") / "part"
    with path.open("wb") as file:
        for number in range(SIZE // MIB):
            file.write(hashlib.sha256(str(number).encode()).digest() * (MIB // 32))
    return path


def test_a_part_beyond_one_request_is_uploaded_copied_and_read_whole(cloud: Cloud, large: Path, tmp_path: Path) -> None:
    """In several pieces, by the store's own way; then it can be deleted like any other."""
    store = cloud.store()
    store.put(large, "staged/part")
    assert cloud.proxy.counts["PUT"] + cloud.proxy.counts["POST"] > 1
    store.copy("staged/part", "data/part")
    assert store.size("data/part") == SIZE
    store.delete(["staged/part"])
    store.fetch("data/part", tmp_path / "back")
    assert digest(tmp_path / "back") == digest(large)
    assert [entry.key for entry in store.list("data")] == ["data/part"]
    store.delete(["data/part"])
    assert store.list("data") == []
