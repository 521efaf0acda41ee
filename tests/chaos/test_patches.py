"""The proofs can fail: for each promise a small patch is kept that breaks it, and turns its test red.

| promise of the contract | broken by | attacked by |
|---|---|---|
| 1 complete, each once | `1-…` | `tests/dump/test_windows.py`, `tests/dump/test_exactness.py`, `tests/chaos/test_machine.py` |
| 2 readers see one export | `2-…` | `tests/dump/test_readers.py`, `tests/dump/test_publishing.py`, the machine's invariant |
| 3 goes on where it stopped | `3-…` | `tests/dump/test_resume.py`, `tests/dump/test_kill.py`, `tests/chaos/test_kills.py` |
| 4 replaces, unless it holds fewer | `4-…` | `tests/dump/test_publishing.py`, `tests/chaos/test_two_at_once.py` |
| 5 no overlap, no mixing | `5-…` | `tests/dump/test_publishing.py`, `tests/dump/test_values.py` |
| 6 memory | `6-…` | `tests/dump/test_values.py`, `tests/benchmarks/bench_memory.py` |
| 7 secrets and people | `7-…` | `tests/graph/test_client_secrets.py`, `tests/operators/test_secrets.py`, `tests/secrets/test_leaks.py` |
| 8 one sentence for what is wrong | `8-…` | `tests/operators/test_parameters.py` |
| 9 one pace for a task | `9-…` | `tests/graph/test_pace.py`, `tests/benchmarks/bench_pace.py` |

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

REPOSITORY = Path(__file__).parents[2]
PATCHES = Path(__file__).parent / "patches"

TURNS_RED = {
    "1-head-not-read-again": "tests/dump/test_windows.py::"
    "test_a_thread_that_jumps_between_two_pages_is_caught_by_reading_the_head_again",
    "2-files-go-before-the-manifest": "tests/dump/test_publishing.py::"
    "test_the_manifest_is_the_last_thing_before_the_sweeping_up",
    "3-threads-still-to-be-read-are-forgotten": "tests/dump/test_resume.py::"
    "test_a_refusal_at_any_call_costs_that_call_and_nothing_else",
    "3-what-waits-is-not-made-safe": "tests/dump/test_kill.py::"
    "test_killed_while_a_call_hangs_it_keeps_what_was_fetched_before",
    "4-fewer-replaces-more": "tests/dump/test_publishing.py::test_newer_messages_do_not_make_up_for_forgotten_ones",
    "4-killed-tries-publish": "tests/dump/test_publishing.py::"
    "test_on_kill_between_the_walk_and_the_manifest_nothing_is_published",
    "4-superseded-tries-go-on": "tests/dump/test_resume.py::"
    "test_a_try_that_was_superseded_adds_nothing_and_publishes_nothing",
    "5-overlaps-are-let-in": "tests/dump/test_publishing.py::"
    "test_an_overlap_that_came_up_meanwhile_is_refused_before_publishing",
    "6-buckets-that-hold-one-id": "tests/dump/test_values.py::test_an_id_costs_no_more_than_32_bytes_to_remember",
    "7-paging-stays-in-records": "tests/graph/test_any_answer.py::test_no_paging_is_left_in_any_node",
    "7-proof-in-debug-lines": "tests/graph/test_client_secrets.py::"
    "test_the_debug_lines_of_the_libraries_hold_no_secret",
    "8-empty-windows-are-let-in": "tests/operators/test_parameters.py",
    "9-worker-threads-keep-no-pace": "tests/graph/test_pace.py::test_the_pace_holds_over_all_worker_threads",
}


def run(tree: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run a test in a copy of the tree; what is imported is the copy."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
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
    assert "ERROR" not in broken.stdout
