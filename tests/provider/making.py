"""Runs the Makefile as a newcomer does, in this repository or in a small one of a test's own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.servers.airflow_home import REPOSITORY


def make(*arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run make, whatever make runs the tests."""
    ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "AIRFLOW", "ARGS", "MINUTES")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        ["make", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def git(*arguments: str, cwd: Path) -> str:
    """Run git with nobody's settings, at a time of its own; return what it says."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        own |= {f"GIT_{role}_NAME": "a test", f"GIT_{role}_EMAIL": "", f"GIT_{role}_DATE": "2026-11-21T10:00:00Z"}
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env={**os.environ, **own}, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def stand_in(folder: Path) -> None:
    """Let the environment that make would set up there be the one that runs the tests."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (folder / ".venv" / "ready").touch()
