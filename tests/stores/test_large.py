"""What is too large for one request."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.stores.conftest import Cloud

MIB = 2**20
# Above it s3fs uploads in pieces of 50 MiB from 100 MiB on, gcsfs in pieces of 50 MiB, Azure's client in blocks from 64 MiB on.
SIZE = 130 * MIB
# Of two pages on S3 and at Google, which have a thousand on each.
PAGES = 1500


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
    assert not list(store.list("data"))


def test_a_listing_of_several_pages_names_each_object_once(cloud: Cloud) -> None:
    """With its size, and nothing that lies beside; then all of them are deleted at once."""
    store = cloud.store()
    names = {f"many/{number % 3}/{number:04d}" for number in range(PAGES)}
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda name: store.put_bytes(name.encode(), name), [*names, "many-others", "manyfold/1"]))
    listed = [(entry.key, entry.size) for entry in store.list("many")]
    assert sorted(listed) == sorted((name, len(name)) for name in names)
    store.delete(sorted(names))
    assert not list(store.list("many"))
    assert len(list(store.list("manyfold"))) == 1


def test_an_object_without_a_byte_is_read_as_that(cloud: Cloud) -> None:
    """Whole, or so much of it; one that is not there is told from it."""
    store = cloud.store()
    store.put_bytes(b"", "empty")
    store.put_bytes(b"some", "short")
    assert [store.read(key, most) for key in ("empty", "short") for most in (None, 2, 100)] == [
        b"", b"", b"", b"some", b"so", b"some"
    ]  # fmt: skip
    for most in (None, 2):
        with pytest.raises(FileNotFoundError):
            store.read("nothing", most)


def test_a_long_file_that_others_replace_has_another_version(cloud: Cloud) -> None:
    """Also where it is as long as before; what is not there has none."""
    store = cloud.store()
    store.put_bytes(b"one", "file")
    first = store.version("file")
    assert first == store.version("file")
    store.put_bytes(b"two", "file")
    assert store.version("file") not in (first, None)
    assert store.version("nothing") is None
