"""The proofs can fail: for each promise a small patch is kept that breaks it, and turns its test red.

| promise of the contract | broken by | attacked by |
|---|---|---|
| 1 complete, each once | `1-…` | `tests/dump/test_windows.py`, `test_green_means_complete.py`, `test_disguises.py`, `test_incomplete.py`, the machine, `tests/chaos/test_quirks.py` |
| 2 readers see one export | `2-…` | `tests/dump/test_readers.py`, `tests/dump/test_publishing.py`, the machine's invariant |
| 3 goes on where it stopped, folders apart | `3-…` | `tests/dump/test_resume.py`, `test_folders.py`, `test_kill.py`, `tests/chaos/test_kills.py` |
| 4 replaces, and forgets nothing | `4-…` | `tests/dump/test_carrying.py`, `test_parquet.py`, `test_schema.py`, `tests/chaos/test_two_at_once.py`, `tests/chaos/test_nights.py`, `tests/people`, `tests/dump/test_media.py`, the machine |
| 5 no overlap, no mixing | `5-…` | `tests/dump/test_publishing.py`, `tests/dump/test_values.py` |
| 6 memory | `6-…` | `tests/dump/test_values.py`, `test_parquet.py`, `tests/benchmarks/bench_memory.py` |
| 7 secrets and people | `7-…` | `tests/graph/test_media.py`, `tests/graph/test_client_secrets.py`, `tests/hooks/test_tokens.py`, `tests/operators/test_secrets.py`, `tests/secrets/test_leaks.py`, `tests/people`, the machine |
| 8 one sentence for what is wrong | `8-…` | `tests/operators/test_parameters.py` |
| 9 one pace for a task | `9-…` | `tests/graph/test_pace.py`, `tests/waiting/test_engine.py`, `tests/benchmarks/bench_pace.py` |

What the promises rest on: storage that fails (`tests/dump/test_storage.py`), answers that no one would expect (`tests/graph/test_any_answer.py`,
`tests/graph/test_client_patience.py`, `tests/dump/test_any_node.py`), ids as weapons (`tests/dump/test_weapons.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.kept import PATCHES, TURNS_RED

REPOSITORY = Path(__file__).parents[2]


def run(tree: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run a test in a copy of the tree; what is imported is the copy, and histories are those of an ordinary run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAGECONV_CHAOS_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=tree,
        env={**environment, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def test_every_patch_has_its_test_and_still_fits() -> None:
    """None is kept without being used, and none is for lines that are no more."""
    assert {path.stem for path in PATCHES.glob("*.patch")} == set(TURNS_RED)
    for path in PATCHES.glob("*.patch"):
        subprocess.run(["git", "apply", "--check", path], cwd=REPOSITORY, check=True)


@pytest.mark.chaos
@pytest.mark.parametrize("name", sorted(TURNS_RED))
def test_a_broken_promise_turns_its_test_red(name: str, tmp_path: Path) -> None:
    """Green as the tree is, red with the patch, by a failed test and not by an error."""
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    shutil.copytree(REPOSITORY, tree, ignore=ignored)
    good = run(tree, TURNS_RED[name])
    assert good.returncode == 0, good.stdout
    with (PATCHES / f"{name}.patch").open("rb") as patch:
        subprocess.run(["git", "apply"], cwd=tree, stdin=patch, check=True)
    broken = run(tree, TURNS_RED[name])
    assert broken.returncode == 1, broken.stdout
    assert "FAILED" in broken.stdout
    assert "\nERROR tests" not in broken.stdout
