"""Brings what a test needs and the machine lacks, by Debian's or another's package manager."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SECONDS = 300


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process of the tests installs something; several files of tests run side by side."""
    with Path(tempfile.gettempdir(), f"pageconv-installing-{os.getuid()}").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def install(command: Sequence[str]) -> str:
    """Run a package manager; return why that failed, or nothing."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"{' '.join(command)} took more than {SECONDS} s."
    last_lines = "\n".join(done.stderr.splitlines()[-5:])
    return f"{' '.join(command)} failed:\n{last_lines}" if done.returncode else ""


def from_debian(*packages: str) -> str:
    """Have packages of Debian's installed, where root is there to do it; return why they are not here, or nothing."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() or shutil.which("apt-get") is None:
        return f"install Debian's ({' '.join(command)})"
    with alone():
        install(["apt-get", "update"])  # it may fail for a source that is not needed
        return install(command)


def from_npm(package: str, brings: Path, into: Path) -> str:
    """Have a package of npm's, unless what it brings is there; Debian brings npm. Return why it is not here, or nothing."""
    if brings.exists():
        return ""
    if shutil.which("npm") is None and (trouble := from_debian("npm")):
        return f"There is no npm here, which brings {package}: {trouble}."
    with alone():
        command = ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(into), package]
        return "" if brings.exists() else install(command)
