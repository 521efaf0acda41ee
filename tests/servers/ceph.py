"""Ceph's RADOS Gateway on loopback, which speaks S3: one monitor, one OSD that keeps everything in memory, and the gateway.

Its keys lie in one flat space, in the order of their bytes, as AWS's do. Debian packages it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.servers.installing import from_debian
from tests.servers.ports import free_ports
from tests.servers.processes import Listening, ServerUnavailableError
from tests.servers.seaweedfs import S3Server

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool", "ceph-authtool")
SECONDS = 120


@contextmanager
def running() -> Iterator[S3Server]:
    """Start the gateway with an empty bucket, and stop all of it in the end.

    :raises ServerUnavailableError: it cannot be had.
    """
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        trouble = from_debian(*PACKAGES)
        if any(shutil.which(name) is None for name in missing):
            raise ServerUnavailableError(f"There is no Ceph here: {trouble}.")
    monitor, osd, gateway = free_ports(3)
    server = S3Server(endpoint=f"http://127.0.0.1:{gateway}", bucket="test-bucket")
    with tempfile.TemporaryDirectory(prefix="pageconv-ceph-") as name, ExitStack() as stack:
        folder, cluster, device = Path(name), str(uuid.uuid4()), str(uuid.uuid4())
        conf = folder / "ceph.conf"
        conf.write_text(_settings(folder, cluster, monitor, osd, gateway), encoding="utf-8")
        common = ("-c", str(conf))
        address = f"[v2:127.0.0.1:{monitor}]"
        _run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, str(folder / "monmap"))
        # The gateway does not do without keys; one ring holds everybody's.
        keyring = str(folder / "keyring")
        _run("ceph-authtool", "--create-keyring", keyring)
        for one in ("mon.", "client.admin", "osd.0", "client.rgw"):
            _run("ceph-authtool", keyring, "--gen-key", "-n", one, "--cap", "mon", "allow *", "--cap", "osd", "allow *")
        _run("ceph-mon", *common, "--mkfs", "-i", "a", "--monmap", str(folder / "monmap"))
        stack.enter_context(Listening(["ceph-mon", *common, "-f", "-i", "a"], monitor, folder / "mon.log"))
        _run("ceph", *common, "osd", "new", device)
        (folder / "osd").mkdir()
        _run("ceph-osd", *common, "--mkfs", "-i", "0", "--osd-uuid", device)
        stack.enter_context(Listening(["ceph-osd", *common, "-f", "-i", "0"], osd, folder / "osd.log"))
        command = ["radosgw", *common, "-f", "-n", "client.rgw"]
        stack.enter_context(Listening(command, gateway, folder / "gateway.log", seconds=40))
        for one in (server, server.read_only, server.one_bucket):
            keys = ["--access-key", one.access_key, "--secret-key", one.secret_key]
            names = ["--uid", one.access_key, "--display-name", one.access_key]
            _run("radosgw-admin", *common, "-n", "client.rgw", "user", "create", *names, *keys)
        owner = server.filesystem()
        owner.mkdir(server.bucket)
        owner.call_s3("put_bucket_policy", Bucket=server.bucket, Policy=json.dumps(_policy(server)))
        yield server


def _policy(server: S3Server) -> dict[str, Any]:
    """What each key may do: the one that may read, and the one with the rights that `docs/stores.md` names."""
    reading = {"bucket": ["ListBucket"], "objects": ["GetObject"]}
    rights = {
        server.read_only.access_key: reading,
        server.one_bucket.access_key: {
            **reading,
            "objects": ["GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"],
        },
    }
    resources = {"bucket": f"arn:aws:s3:::{server.bucket}", "objects": f"arn:aws:s3:::{server.bucket}/*"}
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam:::user/{user}"]},
            "Action": [f"s3:{action}" for action in actions],
            "Resource": resources[what],
        }
        for user, allowed in rights.items()
        for what, actions in allowed.items()
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _settings(folder: Path, cluster: str, monitor: int, osd: int, gateway: int) -> str:
    """Everything on loopback, and one copy of each object is enough."""
    return f"""[global]
fsid = {cluster}
mon host = [v2:127.0.0.1:{monitor}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
run dir = {folder}
log file =
log to stderr = true
admin socket = {folder}/$name.asok
mon cluster log file =
[mon]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
ms bind msgr1 = false
ms bind port min = {osd}
ms bind port max = {osd + 50}
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw data = {folder}
rgw relaxed region enforcement = true
"""


def _run(*command: str) -> None:
    """Run one of its programs to its end.

    :raises ServerUnavailableError: it fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise ServerUnavailableError(f"Ceph: {' '.join(command[:4])} took more than {SECONDS} s.") from None
    if done.returncode:
        raise ServerUnavailableError(f"Ceph: {' '.join(command)} failed:\n{done.stderr[-1000:]}")
