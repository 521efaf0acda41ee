"""The places that tests export to, each seen from both sides: as a user names it, and as it lies in storage."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from tests.servers import parquet_files
from tests.servers.seaweedfs import S3Server

S3_CONNECTION = "pageconv_test_s3"


@dataclass(frozen=True)
class Destination:
    """The root of a data set.

    `url` is what a DAG's author writes; `fs` and `root` reach the same place without Airflow, so that a test
    does not look at the result through what it tests.
    """

    url: str
    fs: Any
    root: str

    def names(self, below: str = "") -> list[str]:
        """Return the names of all files below a folder of the root, relative to the root, sorted.

        What an S3 server lists for a folder that has just become empty is not a file.
        """
        top = f"{self.root}/{below}".rstrip("/")
        try:
            found = self.fs.find(top)
        except FileNotFoundError:
            return []
        names = (str(name).removeprefix(self.root).lstrip("/") for name in found)
        return sorted(name for name in names if name and not name.endswith("/"))

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        content: bytes = self.fs.cat_file(f"{self.root}/{name}")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, with the folders it needs."""
        path = f"{self.root}/{name}"
        self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        self.fs.pipe_file(path, content)

    def remove(self, name: str) -> None:
        """Delete a file."""
        self.fs.rm_file(f"{self.root}/{name}")

    def snapshot(self) -> dict[str, bytes]:
        """Return everything that is there, to compare with what is there later."""
        return {name: self.read(name) for name in self.names()}

    def manifests(self) -> dict[str, dict[str, Any]]:
        """Return the published manifests by their names."""
        return {name: json.loads(self.read(name)) for name in self.names("_manifests") if name.endswith(".json")}

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Return the records of a stream ("conversations", "messages"), from the files that the manifests name."""
        return [
            record
            for manifest in self.manifests().values()
            for entry in manifest["files"]
            if entry["stream"] == stream
            for record in self.lines(entry["path"])
        ]

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the records of one part file."""
        content = self.read(name)
        if name.endswith(".parquet"):
            return parquet_files.nodes(content, name.partition("/")[0])
        if name.endswith(".gz"):
            content = gzip.decompress(content)
        # Only LF ends a record: `splitlines()` would also cut at U+2028.
        return [json.loads(line) for line in content.decode("utf-8").split("\n") if line]


def local(folder: Path) -> Destination:
    """Return a local folder as a place to export to."""
    return Destination(url=folder.as_uri(), fs=fsspec.filesystem("file"), root=str(folder))


def on_s3(server: S3Server, prefix: str) -> Destination:
    """Return what begins with a prefix in the bucket of an S3 server; the connection has to be in the environment."""
    root = f"{server.bucket}/{prefix}"
    return Destination(url=f"s3://{S3_CONNECTION}@{root}", fs=server.filesystem(), root=root)
