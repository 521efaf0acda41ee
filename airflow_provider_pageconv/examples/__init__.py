"""The example DAGs, for whoever has the wheel alone: `python -m airflow_provider_pageconv.examples FOLDER` writes them.

They are the files of the repository's `example_dags/`, which the wheel takes along as `examples/dags/`. Not as `example_dags/`
in the package: where `[core] load_examples` is on, Airflow runs what lies in a provider's folder of that name.
"""

from __future__ import annotations

import ast
from pathlib import Path

_HERE = Path(__file__).resolve().parent


class ExamplesError(Exception):
    """Why nothing was written, in a sentence."""


def sources() -> list[Path]:
    """Return the files, from the wheel or from the checkout that the package lies in.

    :raises ExamplesError: they are in neither.
    """
    for folder in (_HERE / "dags", _HERE.parents[1] / "example_dags"):
        if found := sorted(folder.glob("*.py")):
            return found
    raise ExamplesError(
        f"The example DAGs are not where they should be, in {_HERE / 'dags'}: install the package anew."
    )


def title(source: Path) -> str:
    """Return what a DAG's file says first."""
    return (ast.get_docstring(ast.parse(source.read_bytes())) or "").partition("\n")[0]


def write(folder: Path) -> list[Path]:
    """Write them into a folder, which is made if it is not there; a file that is the same already is left alone.

    :return: what was written.
    :raises ExamplesError: something is in the way; nothing was written.
    """
    wanted = {folder / source.name: source.read_bytes() for source in sources()}
    if folder.exists() and not folder.is_dir():
        raise ExamplesError(f"{folder} is a file: name a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {path: path.read_bytes() for path in wanted if path.exists()}
        changed = [path for path, content in there.items() if content != wanted[path]]
        if changed:
            raise ExamplesError(
                f"{changed[0]} is there already and differs, so nothing was written: name another folder, or move it away."
            )
        written = [path for path in wanted if path not in there]
        for path in written:
            path.write_bytes(wanted[path])
    except OSError as error:
        raise ExamplesError(f"{error.filename or folder} cannot be written: {error.strerror}.") from error
    return written
