"""PostgreSQL and Redis on loopback, as deployments of Airflow run them: Debian's, each with what it keeps in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.installing import from_debian
from tests.servers.ports import free_ports
from tests.servers.processes import Listening, ServerUnavailableError

USER = "airflow"


@contextmanager
def postgres() -> Iterator[Listening]:
    """Start PostgreSQL, whose database `postgres` is empty, and stop it in the end.

    It refuses to be root's: then it is the user's whom Debian's package makes, and so is its folder.

    :raises ServerUnavailableError: it cannot be had.
    """
    programs = _programs()
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="pageconv-postgres-") as name:
        folder, user = Path(name), None if os.geteuid() else "postgres"
        if user:
            shutil.chown(folder, user, user)
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise ServerUnavailableError(f"PostgreSQL's initdb failed:\n{made.stderr[-1000:]}")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 200,
        }
        # It is thrown away in the end, and the disk is shared.
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(programs / "postgres"), "-D", str(folder / "data")]
        command += [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        # Whoever is connected is cut off: the usual signal would wait until they go by themselves.
        with Listening(command, port, folder / "log", user=user, farewell=signal.SIGINT) as server:
            yield server


def airflow_settings(server: Listening) -> dict[str, str]:
    """What an Airflow is told whose metadata lies there."""
    place = f"{USER}@127.0.0.1:{server.port}/postgres"
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{place}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{place}",
    }


@contextmanager
def redis() -> Iterator[Listening]:
    """Start Redis, and stop it in the end.

    :raises ServerUnavailableError: it cannot be had.
    """
    program = shutil.which("redis-server")
    if program is None:
        trouble = from_debian("redis-server")
        program = shutil.which("redis-server")
        if program is None:
            raise ServerUnavailableError(f"There is no Redis here: {trouble}.")
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="pageconv-redis-") as name:
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", name]
        with Listening(command, port, Path(name) / "log") as server:
            yield server


def _programs() -> Path:
    """The folder of PostgreSQL's own programs, which Debian keeps off the search path."""
    if (found := _found()) is None:
        trouble = from_debian("postgresql")
        if (found := _found()) is None:
            raise ServerUnavailableError(f"There is no PostgreSQL here: {trouble}.")
    return found


def _found() -> Path | None:
    beside = [
        Path(shutil.which("initdb") or "").parent,
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    ]
    return next((folder for folder in beside if (folder / "initdb").exists() and (folder / "postgres").exists()), None)
