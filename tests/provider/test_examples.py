"""The example DAGs for whoever has the wheel alone: the repository's own files, and a command that writes them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from airflow_provider_pageconv.examples import sources, write
from tests.servers.airflow_home import EXAMPLE_DAGS, REPOSITORY

OURS = {path.name: path.read_bytes() for path in EXAMPLE_DAGS.glob("*.py")}
COMMAND = [sys.executable, "-m", "airflow_provider_pageconv.examples"]


def run(*arguments: str, cwd: Path, path: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run the command of the package that lies in `path`."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def contents(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel's files lie."""
    folder = tmp_path_factory.mktemp("installed")
    [wheel] = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_holds_the_very_files(installed: Path) -> None:
    """Byte for byte, and nothing beside them."""
    assert contents(installed / "airflow_provider_pageconv" / "examples" / "dags") == OURS


def test_no_folder_of_the_wheel_is_one_that_airflow_loads_by_itself(installed: Path) -> None:
    """Where `load_examples` is on, 3.3 takes up a provider's `example_dags`; and nothing lies outside of the package."""
    assert list(installed.rglob("example_dags")) == []
    assert [path.name for path in installed.iterdir() if path.suffix != ".dist-info"] == ["airflow_provider_pageconv"]


def test_the_command_of_the_wheel_writes_them(installed: Path, tmp_path: Path) -> None:
    """Into a folder that it makes, and says which."""
    done = run("dags/of mine", cwd=tmp_path, path=installed)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"dags/of mine/{name}" for name in sorted(OURS)]
    assert contents(tmp_path / "dags" / "of mine") == OURS


def test_in_a_checkout_they_are_those_beside_the_package(tmp_path: Path) -> None:
    """There is no second copy that could be older."""
    assert {path.parent for path in sources()} == {EXAMPLE_DAGS}
    assert {path.name for path in write(tmp_path)} == set(OURS)
    assert contents(tmp_path) == OURS


def test_without_a_folder_each_is_listed_with_what_it_does(tmp_path: Path) -> None:
    """In the first line of its docstring; nothing is written."""
    done = run(cwd=tmp_path)
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        [name, OURS[name].decode().splitlines()[0].strip('"')] for name in sorted(OURS)
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_is_the_same_is_left_alone_and_what_is_missing_written(tmp_path: Path) -> None:
    """Twice does no harm."""
    write(tmp_path)
    (tmp_path / "pageconv_daily.py").unlink()
    before = (tmp_path / "pageconv_hourly.py").stat().st_mtime_ns
    assert run(str(tmp_path), cwd=tmp_path).stdout == f"{tmp_path / 'pageconv_daily.py'}\n"
    assert run(".", cwd=tmp_path).stdout == "All of them are in . already.\n"
    assert (tmp_path / "pageconv_hourly.py").stat().st_mtime_ns == before


def test_a_file_that_differs_is_not_overwritten_and_nothing_else_written(tmp_path: Path) -> None:
    """Somebody has made it their own."""
    (tmp_path / "pageconv_hourly.py").write_text("mine")
    done = run(str(tmp_path), cwd=tmp_path)
    place = tmp_path / "pageconv_hourly.py"
    assert done.returncode == 2
    assert (
        done.stderr
        == f"{place} is there already and differs, so nothing was written: name another folder, or move it away.\n"
    )
    assert contents(tmp_path) == {"pageconv_hourly.py": b"mine"}


@pytest.mark.parametrize("arguments", [["file"], ["file/below"], ["--wrong"], ["one", "two"], [""]])
def test_what_cannot_be_a_folder_is_a_sentence(arguments: list[str], tmp_path: Path) -> None:
    """And leaves everything as it was."""
    (tmp_path / "file").write_text("somebody's")
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert contents(tmp_path) == {"file": b"somebody's"}


def test_help_is_printed(tmp_path: Path) -> None:
    """And nothing done."""
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("python -m airflow_provider_pageconv.examples takes the folder")
