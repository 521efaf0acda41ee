"""The Makefile does what its words say: of all targets, without running what they run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.provider.making import make
from tests.servers.airflow_home import REPOSITORY
from tests.versions.rows import DAYS

COMMANDS = (
    "demo",
    "ui",
    "test",
    "test-stores",
    "test-chaos",
    "test-deployment",
    "test-spark",
    "soak",
    "test-versions",
    "lint",
    "docs",
    "secrets",
    "audit",
    "dist",
    "bench",
)


def dry(*arguments: str) -> str:
    """What would be run."""
    done = make("-n", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def phony() -> list[str]:
    """The targets that are no files, as make itself knows them."""
    found = re.search(r"^\.PHONY: (.*)$", dry("-p", "help"), re.MULTILINE)
    assert found
    return found[1].split()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What of the repository the Makefile itself needs, where nothing can be spoilt."""
    for name in ("Makefile", "pyproject.toml", "tests/versions/rows.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    for name in ("airflow_provider_pageconv", "example_dags"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_make_alone_helps() -> None:
    """And starts nothing."""
    assert make().stdout == make("help").stdout != ""


def test_the_help_has_every_target_and_how_long_it_takes() -> None:
    """As make knows them: none is forgotten."""
    text = make("help").stdout
    entries = dict(re.findall(r"^  ([\w-]+) +(\S.*(?:\n +\(.+\))?)$", text, re.MULTILINE))
    assert set(phony()) == {*COMMANDS, "help", "clean"} == set(entries) - {"PYTHON", "AIRFLOW", "ARGS", "MINUTES"}
    assert {"PYTHON", "AIRFLOW", "ARGS", "MINUTES"} < set(entries)
    assert all(re.search(r"\n +\(.*(minute|hour)", entries[target]) for target in COMMANDS)


@pytest.mark.parametrize("target", COMMANDS)
def test_a_target_says_first_how_long_it_takes(target: str) -> None:
    """In the words of the help."""
    first = dry(target).splitlines()[0]
    found = re.fullmatch(rf"make {target}: (.+?)(, and before that, once, .+ to set up \.venv)?\.", first)
    assert found, first
    assert f"({found[1]})\n" in make("help").stdout


@pytest.mark.parametrize(
    "variables, folder",
    [
        ([], ".venv"),
        (["PYTHON=python3"], ".venv"),
        (["PYTHON=python3.12"], ".venv-python3.12"),
        (["AIRFLOW=3.2.2"], ".venv-airflow3.2.2"),
        (["PYTHON=python3.12", "AIRFLOW=3.2.2"], ".venv-python3.12-airflow3.2.2"),
        (["PYTHON=/opt/python/bin/python3"], ".venv-opt-python-bin-python3"),
    ],
)
@pytest.mark.parametrize("target", COMMANDS)
def test_python_and_airflow_choose_an_environment_and_all_runs_in_it(
    variables: list[str], folder: str, target: str
) -> None:
    """One of its own for each choice, so that what is asked for is what runs."""
    # As if it was not there yet.
    said = dry(target, *variables, "-W", "pyproject.toml")
    assert set(re.findall(r"\.venv(?:[\w.-]*\w)?", said)) == {folder}
    assert f"{folder}/bin/python " in said.splitlines()[-1]


def test_a_release_of_airflow_is_installed_as_of_its_day() -> None:
    """With nothing that came later, which old releases do not survive; the newest needs no day."""
    said = dry("test", "AIRFLOW=3.0.6", "-W", "pyproject.toml")
    assert re.search(
        r"uv .*--exclude-newer \$\(python3 -m tests\.versions\.rows 3\.0\.6\) .* apache-airflow==3\.0\.6$", said, re.M
    )
    assert "--exclude-newer" not in dry("test", "-W", "pyproject.toml")


def test_the_day_of_each_release_is_the_one_that_the_tests_go_by() -> None:
    """There is one table."""
    for release, day in DAYS.items():
        done = subprocess.run(
            [sys.executable, "-m", "tests.versions.rows", release],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{day}\n"


def test_a_release_whose_day_nobody_knows_is_refused_in_a_sentence(copy: Path) -> None:
    """Before anything is set up."""
    done = make("lint", "AIRFLOW=2.9", cwd=copy)
    assert done.returncode == 2
    sentence, *_ = done.stderr.splitlines()
    assert sentence.startswith("AIRFLOW is one of 3.0.6, ")
    assert "not 2.9" in sentence
    assert not list(copy.glob(".venv*"))


def test_clean_removes_every_environment(copy: Path) -> None:
    """Whatever was chosen; and leaves what it did not make."""
    for name in (".venv", ".venv-python3.12", ".venv-python3.12-airflow3.2.2", "mine"):
        (copy / name / "bin").mkdir(parents=True)
    assert make("clean", cwd=copy).returncode == 0
    assert sorted(path.name for path in copy.iterdir()) == [
        "Makefile", "airflow_provider_pageconv", "example_dags", "mine", "pyproject.toml", "tests",
    ]  # fmt: skip
