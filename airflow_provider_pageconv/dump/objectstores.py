"""Object stores, in the requests that they need and no more, each of them bounded in time.

What fsspec's common methods do for all stores alike costs a HEAD before each GET and up to four requests for an empty listing,
and retries for minutes where the link is cut. An object store has no folders, so what is asked of it here is one request each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from fsspec.asyn import sync
from fsspec.exceptions import FSTimeoutError

from airflow_provider_pageconv.dump.file_table import in_pieces
from airflow_provider_pageconv.dump.store import Entry, FsspecStore, modified
from airflow_provider_pageconv.dump.store_errors import StoreError, no_such_bucket, told

SECONDS = 30.0
"""How long a request may take, with all that the store's own library tries again, beside what its bytes take."""

SLOWEST = 2**20
"""Bytes a second below which a store counts as cut off."""

_AFTER_A_CUT = 5.0
"""The same after one that got no answer: that the link is cut need not be found out for each file anew."""

_LONG = 4
"""By so much longer may a copy take, which is the store's own work, or a file that is read, of whatever size."""

_CHUNK = 8 * 2**20
"""Bytes of a file that are sent at once; those of s3fs and gcsfs, 50 MiB, would lie in memory for each of eight threads."""

_NO_SUCH_RANGE = 416
_MOST_AT_ONCE = {"s3": 1000, "gcs": 100, "azure": 64}
_PENDING_SECONDS = 0.5


class ObjectStore(FsspecStore):
    """A :class:`~airflow_provider_pageconv.dump.store.Store` in a bucket.

    :param fs: an asynchronous fsspec file system.
    :param root: bucket, and what the keys begin with there.
    """

    kind = ""
    first: int | None = None
    """Where the reading of a whole object begins, if it has to be said."""
    putting: ClassVar[Mapping[str, Any]] = {}
    getting: ClassVar[Mapping[str, Any]] = {}
    """How a file is put, and got: in little memory, and in as few requests as may be, which others' PUTs cannot come between."""

    _lost = False

    def _ask(self, doing: str, method: Callable[..., Any], *args: Any, weight: float = 0.0, **kwargs: Any) -> Any:
        """Ask for something, for so long.

        :param weight: how much longer than :data:`SECONDS` it may take, in seconds.
        """
        seconds = (_AFTER_A_CUT if self._lost else SECONDS) + weight
        try:
            result = method(*args, **kwargs, timeout=seconds)
        except (FSTimeoutError, TimeoutError) as error:
            self._lost = True
            raise StoreError(f"Cannot {doing}: the store did not answer within {seconds:.0f} s") from error
        self._lost = False
        return result

    def _write(self, doing: str, method: Callable[..., Any], *args: Any, weight: float = 0.0, **how: Any) -> None:
        with told(doing):
            try:
                self._ask(doing, method, *args, weight=weight, **how)
            except FileNotFoundError as error:  # who writes an object finds everything but a bucket missing
                raise no_such_bucket(doing) from error

    def put(self, local: Path, key: str) -> None:
        path = self._path(key)
        weight = local.stat().st_size / SLOWEST
        self._write(f"write {path}", self._fs.put_file, str(local), path, weight=weight, **self.putting)

    def put_bytes(self, data: bytes, key: str) -> None:
        path = self._path(key)
        self._write(f"write {path}", self._fs.pipe_file, path, data, weight=len(data) / SLOWEST)

    def read(self, key: str, most: int | None = None) -> bytes:
        path = self._path(key)
        with told(f"read {path}", FileNotFoundError):
            data: bytes = self._ask(f"read {path}", self._cat, path, most)
        return data

    def _cat(self, path: str, most: int | None, timeout: float) -> bytes:
        try:
            data: bytes = self._fs.cat_file(path, start=self.first, end=most, timeout=timeout)
        except FileNotFoundError:
            raise
        except Exception as error:
            if not _has_no_first_byte(error):
                raise
            return b""
        return data

    def fetch(self, key: str, local: Path) -> None:
        path = self._path(key)
        with told(f"read {path}", FileNotFoundError):
            self._ask(f"read {path}", self._fs.get_file, path, str(local), weight=_LONG * SECONDS, **self.getting)

    def _info(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(f"look at {path}", self._fs.info, path)
        return found

    def _found(self, base: str) -> Iterator[Entry]:
        """Page by page; a prefix, unlike a path, needs no look at what it is."""
        doing, token = f"list {base}", None
        while True:
            with told(doing):
                try:
                    entries, token = self._ask(doing, self._page, base, token)
                except FileNotFoundError as error:  # of a bucket that is there, nothing is an empty list
                    raise no_such_bucket(doing) from error
            yield from (entry for entry in entries if not entry.key.endswith("/"))
            if not token:
                return

    def _page(self, base: str, token: str | None, timeout: float) -> tuple[list[Entry], str | None]:
        """A page of a listing.

        :param token: where it goes on; ``None`` for the first one.
        :return: what stands on it, and where the next one goes on, if there is one.
        """
        raise NotImplementedError

    def _entry(self, path: str, size: int, written: datetime | None) -> Entry:
        return Entry(path[len(self._root) + 1 :], size, written)

    def copy(self, source: str, key: str) -> None:
        origin, path = self._path(source), self._path(key)
        with told(f"copy {origin} to {path}"):
            self._ask(f"copy {origin} to {path}", self._copy, origin, path, weight=(_LONG - 1) * SECONDS)

    def _copy(self, origin: str, path: str, timeout: float) -> None:
        self._fs.cp_file(origin, path, timeout=timeout)

    def delete(self, keys: Iterable[str]) -> None:
        for some in in_pieces(map(self._path, keys), _MOST_AT_ONCE[self.kind]):
            if len(some) > 1:
                with contextlib.suppress(_NotAtOnceError), told(f"delete {some[0]} and {len(some) - 1} others"):
                    self._ask(f"delete {some[0]} and others", self._delete_some, some, weight=SECONDS)
                    continue
            for path in some:
                with contextlib.suppress(FileNotFoundError), told(f"delete {path}", FileNotFoundError):
                    self._ask(f"delete {path}", self._fs.rm_file, path)

    def _delete_some(self, paths: Sequence[str], timeout: float) -> None:
        """Delete several objects at once.

        :raises _NotAtOnceError: they have to be deleted one by one, which also tells what is wrong with any of them.
        """
        raise NotImplementedError


class _NotAtOnceError(StoreError):
    """This store does not delete several objects at once, or not all of these."""


def _has_no_first_byte(error: Exception) -> bool:
    """Whether a range was refused since the object is empty."""
    answers = [one for one in (error, error.__cause__) if one is not None]
    codes = [getattr(one, name, None) for one in answers for name in ("code", "status_code")]
    told_by_s3 = [getattr(one, "response", None) for one in answers]
    return _NO_SUCH_RANGE in codes or any(
        isinstance(one, dict) and one.get("Error", {}).get("Code") == "InvalidRange" for one in told_by_s3
    )


class S3Store(ObjectStore):
    """On S3 and whatever speaks its language, by s3fs."""

    kind = "s3"
    first = 0  # with a range s3fs does not ask for the size first
    putting: ClassVar = {"chunksize": _CHUNK, "max_concurrency": 4}
    getting: ClassVar = {"max_concurrency": 1}

    def _page(self, base: str, token: str | None, timeout: float) -> tuple[list[Entry], str | None]:
        bucket, name, _ = self._fs.split_path(base)
        further = {"ContinuationToken": token} if token else {}
        found = self._fs.call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=f"{name}/", **further, **self._fs.req_kw, timeout=timeout
        )
        rows = found.get("Contents") or ()
        entries = [self._entry(f"{bucket}/{row['Key']}", row["Size"], row["LastModified"]) for row in rows]
        return entries, found["NextContinuationToken"] if found.get("IsTruncated") else None

    def _delete_some(self, paths: Sequence[str], timeout: float) -> None:
        bucket = self._fs.split_path(paths[0])[0]
        objects = [{"Key": self._fs.split_path(path)[1]} for path in paths]
        try:
            answer = self._fs.call_s3(
                "delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True}, timeout=timeout
            )
        except (FSTimeoutError, TimeoutError):
            raise
        except Exception as error:  # Google's S3 interface has no such request
            raise _NotAtOnceError(str(error)) from error
        if answer.get("Errors"):
            raise _NotAtOnceError("some were not deleted")


class GcsStore(ObjectStore):
    """On Google Cloud Storage, by gcsfs."""

    kind = "gcs"
    putting: ClassVar = {"chunksize": _CHUNK}
    getting: ClassVar = {"concurrency": 1}

    def _page(self, base: str, token: str | None, timeout: float) -> tuple[list[Entry], str | None]:
        bucket, name, _ = self._fs.split_path(base)
        further = {"pageToken": token} if token else {}
        found = self._fs.call(
            "GET", "b/{}/o", bucket, prefix=f"{name}/", maxResults=1000, **further, json_out=True, timeout=timeout
        )
        rows = found.get("items") or ()
        entries = [self._entry(f"{bucket}/{row['name']}", int(row["size"]), modified(row)) for row in rows]
        return entries, found.get("nextPageToken")

    def _delete_some(self, paths: Sequence[str], timeout: float) -> None:
        if any(sign in path for path in paths for sign in "*?["):
            raise _NotAtOnceError("gcsfs would take a path for a pattern")
        try:
            self._fs.rm(list(paths), timeout=timeout)
        except FileNotFoundError:
            return
        except (FSTimeoutError, TimeoutError):
            raise
        except Exception as error:
            raise _NotAtOnceError(str(error)) from error


class AzureStore(ObjectStore):
    """On Azure Blob Storage and Data Lake Storage, by adlfs, whose client it uses for what adlfs does in several requests."""

    kind = "azure"

    def _run(self, work: Callable[[Any, str], Any], path: str, timeout: float) -> Any:
        """Let something be done with the container's client in the file system's own loop."""
        container, name, _ = self._fs.split_path(path)

        async def run() -> Any:
            async with self._fs.service_client.get_container_client(container=container) as client:
                return await work(client, name)

        return sync(self._fs.loop, run, timeout=timeout)

    def _page(self, base: str, token: str | None, timeout: float) -> tuple[list[Entry], str | None]:
        async def look(client: Any, name: str) -> tuple[list[Entry], str | None]:
            pages = client.list_blobs(name_starts_with=f"{name}/", include=["metadata"]).by_page(token)
            top = base.removesuffix(name)
            entries = [
                self._entry(top + blob.name, blob.size, blob.last_modified)
                async for blob in await anext(pages)
                if (blob.metadata or {}).get("hdi_isfolder") != "true"  # Data Lake Storage has folders
            ]
            return entries, pages.continuation_token

        result: tuple[list[Entry], str | None] = self._run(look, base, timeout)
        return result

    def _copy(self, origin: str, path: str, timeout: float) -> None:
        _, target, _ = self._fs.split_path(path)

        async def copy(client: Any, name: str) -> None:
            blob = client.get_blob_client(target)
            state = (await blob.start_copy_from_url(client.get_blob_client(name).url))["copy_status"]
            while state == "pending":  # the store may take its time; until then the copy holds nothing
                await asyncio.sleep(_PENDING_SECONDS)
                state = (await blob.get_blob_properties()).copy.status
            if state != "success":
                raise StoreError(f"Cannot copy {origin} to {path}: it ended as {state!r}")

        self._run(copy, origin, timeout)

    def _delete_some(self, paths: Sequence[str], timeout: float) -> None:
        names = [self._fs.split_path(path)[1] for path in paths]

        async def delete(client: Any, _: str) -> None:
            ended = await asyncio.gather(*(client.delete_blob(name) for name in names), return_exceptions=True)
            errors = [one for one in ended if isinstance(one, BaseException) and getattr(one, "status_code", 0) != 404]
            if errors:
                raise _NotAtOnceError(str(errors[0])) from errors[0]

        self._run(delete, paths[0], timeout)


_STORES: dict[str, tuple[type[ObjectStore], str, int]] = {
    "s3": (S3Store, "botocore", logging.WARNING),
    # It logs a traceback for each request that it gives up, beside raising the error.
    "gs": (GcsStore, "gcsfs", logging.CRITICAL),
    "abfs": (AzureStore, "azure", logging.WARNING),
}


def object_store(fs: Any, protocols: Iterable[str], root: str) -> ObjectStore | None:
    """The store for a file system that is known here; ``None`` for another one."""
    for protocol in protocols:
        if protocol in _STORES:
            kind, logger, level = _STORES[protocol]
            if logging.getLogger(logger).level == logging.NOTSET:  # who wants to see more has said so
                logging.getLogger(logger).setLevel(level)
            return kind(fs, root)
    return None
