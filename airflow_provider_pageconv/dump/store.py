"""The little that a dump needs of a store, over any fsspec file system."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_pageconv.dump.store_errors import told

_ATTEMPTS = 20

_VERSIONS = ("ETag", "etag", "generation", "ino")
"""What file systems call that which tells one content of a file from the next."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a store.

    :param key: relative to the store's root.
    :param size: bytes.
    :param modified: when it was last written, ``None`` where the store does not tell.
    """

    key: str
    size: int
    modified: datetime | None


class Store(Protocol):
    """Whole files by key. A file is there with all its bytes, or not at all.

    Whatever goes wrong is a :class:`~airflow_provider_pageconv.dump.store_errors.StoreError`, but for what a method says of files that are not there.
    """

    def put(self, local: Path, key: str) -> None:
        """Put a finished local file."""

    def put_bytes(self, data: bytes, key: str) -> None:
        """Put a small file."""

    def read(self, key: str, most: int | None = None) -> bytes:
        """Read a file, or so many of its bytes; :class:`FileNotFoundError` if it is not there."""

    def fetch(self, key: str, local: Path) -> None:
        """Copy a file into a local one; :class:`FileNotFoundError` if it is not there."""

    def size(self, key: str) -> int | None:
        """The size of a file in bytes, whatever a late listing says; ``None`` if it is not there."""

    def version(self, key: str) -> Any:
        """What changes whenever a file is put anew; ``None`` if it is not there."""

    def list(self, prefix: str) -> Iterable[Entry]:
        """Every file below a prefix, as they come: there may be very many."""

    def copy(self, source: str, key: str) -> None:
        """Copy a file inside the store."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files; those that are not there are left aside."""

    def with_scratch(self, prefix: str) -> Store:
        """The same store, with a place for what has to be written before it is put."""


class FsspecStore:
    """A :class:`Store` below a root in an fsspec file system.

    An exception inside ``with fs.open(..., "wb")`` publishes the half-written object on every file system that was tried,
    so only finished files are put, in one call.

    :param fs: the file system.
    :param root: path of the root in it, without a protocol.
    """

    def __init__(self, fs: Any, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")

    def _path(self, key: str) -> str:
        parts = key.split("/")
        if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
            raise ValueError(f"a key that leads out of the destination: {key!r}")
        return f"{self._root}/{key}"

    def put(self, local: Path, key: str) -> None:
        path = self._path(key)
        with told(f"write {path}"):
            self._fs.put_file(str(local), path)

    def put_bytes(self, data: bytes, key: str) -> None:
        path = self._path(key)
        with told(f"write {path}"):
            self._fs.pipe_file(path, data)

    def read(self, key: str, most: int | None = None) -> bytes:
        path = self._path(key)
        with told(f"read {path}", FileNotFoundError):
            data: bytes = self._fs.cat_file(path, end=most)
        return data

    def fetch(self, key: str, local: Path) -> None:
        path = self._path(key)
        with told(f"read {path}", FileNotFoundError):
            self._fs.get_file(path, str(local))

    def size(self, key: str) -> int | None:
        found = self._look_at(key)
        return int(found["size"]) if found is not None else None

    def version(self, key: str) -> Any:
        found = self._look_at(key)
        return found and [found["size"], modified(found), *(found.get(name) for name in _VERSIONS)]

    def _look_at(self, key: str) -> dict[str, Any] | None:
        path = self._path(key)
        try:
            with told(f"look at {path}", FileNotFoundError):
                self._fs.invalidate_cache()
                return self._info(path)
        except FileNotFoundError:
            return None

    def _info(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._fs.info(path)
        return found

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every file below a prefix; of a file system that is only known to fsspec in one piece, however many there are."""
        return self._found(self._path(prefix))

    def _found(self, base: str) -> Iterator[Entry]:
        self._fs.invalidate_cache()
        try:
            with told(f"list {base}", FileNotFoundError):
                found = self._fs.find(base, detail=True)
        except FileNotFoundError:
            return
        cut = len(self._root) + 1
        for path, info in found.items():
            if info.get("type") != "directory" and not path.endswith("/"):
                yield Entry(self._relative(path, cut), int(info.get("size") or 0), modified(info))

    def with_scratch(self, prefix: str) -> Store:  # noqa: ARG002 - an object store needs no such place
        return self

    def _relative(self, path: str, cut: int) -> str:
        if path.startswith(self._root + "/"):
            return path[cut:]
        # Some file systems name their files without the root's leading slash.
        return path[path.index(self._root.lstrip("/")) + len(self._root.lstrip("/")) + 1 :]

    def copy(self, source: str, key: str) -> None:
        origin, path = self._path(source), self._path(key)
        with told(f"copy {origin} to {path}"):
            self._fs.cp_file(origin, path)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._path(key)
            with contextlib.suppress(FileNotFoundError), told(f"delete {path}", FileNotFoundError):
                self._fs.rm_file(path)


class LocalStore(FsspecStore):
    """A :class:`Store` in a local folder: fsspec copies in place there, so files are renamed into their place.

    :param root: absolute path of the folder; made when the first file is put.
    :param scratch: where files lie until they are renamed; what a killed process leaves there is swept with it.
    """

    def __init__(self, fs: Any, root: str, scratch: str = "_staging") -> None:
        super().__init__(fs, root)
        self._scratch = scratch

    def with_scratch(self, prefix: str) -> Store:
        return LocalStore(self._fs, self._root, prefix)

    def put(self, local: Path, key: str) -> None:
        self._place(key, lambda target: shutil.copyfile(local, target))

    def put_bytes(self, data: bytes, key: str) -> None:
        self._place(key, lambda target: Path(target).write_bytes(data))

    def copy(self, source: str, key: str) -> None:
        origin = self._path(source)

        def link(target: str) -> None:
            try:
                os.link(origin, target)
            except OSError:  # a file system without links
                shutil.copyfile(origin, target)

        self._place(key, link)

    def _found(self, base: str) -> Iterator[Entry]:
        # fsspec would take a folder that cannot be read for an empty one.
        with told(f"list {base}"):
            yield from self._below(base)

    def _below(self, folder: str) -> Iterator[Entry]:
        folders = []
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:  # it may be removed while one looks
            for one in found:
                with contextlib.suppress(FileNotFoundError):
                    if one.is_dir():
                        folders += [] if one.is_symlink() else [one.path]
                        continue
                    stat = one.stat()
                    written = datetime.fromtimestamp(stat.st_mtime, timezone.utc)
                    yield Entry(one.path[len(self._root) + 1 :], stat.st_size, written)
        for inner in folders:
            yield from self._below(inner)

    def delete(self, keys: Iterable[str]) -> None:
        folders = set()
        for key in keys:
            path = Path(self._path(key))
            with told(f"delete {path}"):
                path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in folders:
            self._prune(folder)

    def _place(self, key: str, write: Any) -> None:
        path = self._path(key)
        with told(f"write {path}"):
            self._rename_into(path, write)

    def _rename_into(self, path: str, write: Any) -> None:
        passing = f"{self._root}/{self._scratch}/.{uuid.uuid4().hex}"
        for attempt in range(_ATTEMPTS):
            try:
                Path(passing).parent.mkdir(parents=True, exist_ok=True)
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write(passing)
                _sync(passing)
                os.replace(passing, path)  # noqa: PTH105 - both are plain texts
                break
            except (FileNotFoundError, FileExistsError):  # somebody removed a folder that was empty just then
                if attempt == _ATTEMPTS - 1:
                    raise
            finally:
                Path(passing).unlink(missing_ok=True)
        self._prune(Path(passing).parent)

    def _prune(self, folder: Path) -> None:
        """Remove a folder and those above it while they are empty, up to the root: an object store has no folders."""
        root = Path(self._root)
        while folder != root and root in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _sync(path: str) -> None:
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())


def modified(info: dict[str, Any]) -> datetime | None:
    """When a file was last written, by whatever name the file system gives it."""
    for key in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, timezone.utc)
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value.replace("Z", "+00:00"))
            except ValueError:
                continue
    return None
