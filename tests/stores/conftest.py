"""The stores that people export to, each by its real file system, with something in between that counts and cuts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from airflow_provider_pageconv.dump.opening import open_store
from airflow_provider_pageconv.dump.store import Store
from tests.conftest import do_without
from tests.servers import ceph, clouds
from tests.servers.destinations import Destination
from tests.servers.processes import ServerUnavailableError
from tests.servers.proxies import Proxy, proxied
from tests.servers.seaweedfs import S3Server

CEPH = pytest.param("ceph", marks=pytest.mark.chaos)
"""In the long form (`make test-stores`): S3 once more, by a server whose keys lie in one flat space, and which knows rights."""

KINDS = ("s3", CEPH, "google", "azure")


@dataclass(frozen=True)
class Cloud:
    """One kind of object store, seen through a proxy and past it.

    :param fs: makes a file system; "wrong" gives it a key that is not known there. On S3 there are a "read-only" one, and one
        for "one bucket" with no more rights than are needed.
    """

    kind: str
    proxy: Proxy
    bucket: str
    fs: Callable[..., Any]
    past: Any
    root: str

    def store(self, *, key: str = "right", root: str | None = None) -> Store:
        """The store of a data set of this test's own, which nothing else lies in."""
        return open_store(self.fs(key), root or self.root)

    @property
    def files(self) -> Destination:
        """The same place, past the proxy and past what is tested."""
        return Destination(self.root, self.past, self.root)


@pytest.fixture(scope="session")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The addresses of Google's and Azure's stand-ins, each started when it is first asked for."""
    started: dict[str, str] = {}
    with ExitStack() as stack:

        def address(kind: str) -> str:
            if kind not in started:
                server = clouds.google if kind == "google" else clouds.azure
                try:
                    started[kind] = stack.enter_context(server(tmp_path_factory.mktemp(kind)))
                except ServerUnavailableError as error:
                    do_without(str(error))
            return started[kind]

        yield address


@pytest.fixture(scope="session")
def gateway() -> Iterator[S3Server]:
    """Ceph's RADOS Gateway."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(ceph.running())
        except ServerUnavailableError as error:
            do_without(str(error))
            raise
        yield server


@pytest.fixture(params=KINDS)
def cloud(
    request: pytest.FixtureRequest, addresses: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    """Each kind in turn; the data set's path has what people put into paths."""
    kind: str = request.param
    root = f"{clouds.BUCKET}/{uuid.uuid4().hex[:8]}/every day+100%=#é"
    if kind in ("s3", "ceph"):
        server: S3Server = request.getfixturevalue("seaweedfs" if kind == "s3" else "gateway")
        with proxied(server.endpoint) as proxy:
            yield Cloud(
                kind, proxy, server.bucket, lambda key="right": _s3(server, proxy, key), server.filesystem(), root
            )
        return
    with proxied(addresses(kind)) as proxy:
        if kind == "google":
            # gcsfs asks real Google at each start whether a bucket has folders, and for minutes if that does not answer.
            monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            monkeypatch.setenv("NO_GCE_CHECK", "true")
            yield Cloud(
                kind, proxy, clouds.BUCKET, lambda key="right": _google(proxy.url), _google(addresses(kind)), root
            )
        else:
            past = _azure(addresses(kind), "right")
            if not past.exists(clouds.BUCKET):
                past.mkdir(clouds.BUCKET)
            yield Cloud(kind, proxy, clouds.BUCKET, lambda key="right": _azure(proxy.url, key), past, root)


def _s3(server: S3Server, proxy: Proxy, key: str) -> Any:
    seen = replace(server, endpoint=proxy.url)
    kinds = {
        "right": seen,
        "read-only": seen.read_only,
        "one bucket": seen.one_bucket,
        "wrong": replace(seen, access_key="AKIAWRONGKEY", secret_key="wrong/secret"),
    }
    return kinds[key].filesystem()


def _google(address: str) -> Any:
    import gcsfs

    return gcsfs.GCSFileSystem(token="anon", project="test", endpoint_url=address, skip_instance_cache=True)


def _azure(address: str, key: str) -> Any:
    import adlfs

    secret = clouds.AZURE_KEY if key == "right" else "d3Jvbmcgc2VjcmV0"
    return adlfs.AzureBlobFileSystem(
        connection_string=f"DefaultEndpointsProtocol=http;AccountName={clouds.AZURE_ACCOUNT};AccountKey={secret};"
        f"BlobEndpoint={address}/{clouds.AZURE_ACCOUNT};",
        skip_instance_cache=True,
    )
