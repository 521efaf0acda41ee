"""A newcomer's shell, in which what a page shows is pasted as it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.standalone import without_airflow
from tests.docs.reading import BLOCKS, REPOSITORY
from tests.servers.ports import free_ports


def environment(home: Path) -> dict[str, str]:
    """A newcomer's shell, but for the ports on which Airflow listens."""
    port, logs, triggers = free_ports(3)
    hidden = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME")
    return {
        **{name: value for name, value in without_airflow(os.environ).items() if name not in hidden},
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{port}/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggers),
    }


def shell(text: str, settings: dict[str, str], seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run what was pasted to its end, in the newcomer's home."""
    command = ["/bin/bash", "-c", text]
    home = settings["HOME"]
    return subprocess.run(command, env=settings, cwd=home, capture_output=True, text=True, check=False, timeout=seconds)


def pasted(page: str, port: int, heading: str | None = None) -> list[str]:
    """The blocks of a page; what is installed is here already, and the sandbox listens on a port that is free."""
    sandbox = "python -m airflow_provider_pageconv.sandbox"
    found = []
    for block in BLOCKS:
        if block.page == page and heading in (None, block.heading):
            lines = [line for line in block.text.splitlines() if not line.startswith("pip install")]
            text = "\n".join(lines)
            found.append(text.replace(f"{sandbox} ", f"{sandbox} --port {port} ").replace("8765", str(port)))
    return found


def answers(url: str) -> bool:
    """Whether there is somebody at an address."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10):
        return True


def manifests(home: Path) -> list[dict[str, Any]]:
    """What is published by now."""
    return [json.loads(path.read_text("utf-8")) for path in (home / "airflow" / "pages").glob("_manifests/**/*.json")]
