"""Tries the built wheel on each Airflow, with each Python, in fresh environments without anything of the tests; makes the table.

    python -m tests.versions.run [--rows WORD …] [--into FOLDER] [--table]

A row that has no interpreter here is named and left out; `--rows 3.0.6 3.14` takes those whose name holds one of the words;
`--table` puts the table into docs/versions.md, and what it comes to into the README.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.standalone import without_airflow
from tests.versions.rows import DAYS, EXTRAS, LEAST, NEWEST, OURS_NEWEST, ROWS, Row

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PAGE, FRONT = REPOSITORY / "docs" / "versions.md", REPOSITORY / "README.md"
MARKS = ("<!-- versions: made by make test-versions -->", "<!-- versions: end -->")
SCHEMES = {"s3": "s3", "gcs": "gs", "azure": "abfs"}
SHOWN = ("requests", "pendulum", "msgspec")


@dataclass(frozen=True)
class Result:
    """How a row went.

    :param sentence: why it failed; empty if all is well.
    """

    row: Row
    sentence: str
    found: dict[str, Any]


def environment() -> dict[str, str]:
    """Nothing of another Airflow, nor of the tests' own Python."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    return {name: value for name, value in without_airflow(os.environ).items() if name not in hidden}


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv, which resolves for a day in the past, and for the oldest that is allowed; it trusts whom the machine trusts."""
    command = [sys.executable, "-m", "uv", "--quiet", *arguments]
    trusting = {**environment(), "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}  # the second until uv 0.11
    return subprocess.run(command, env=trusting, capture_output=True, text=True, check=False)


def interpreter(version: str) -> str | None:
    """The path of a Python of this version: one that is here, else what uv can bring, else one of pyenv's."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        return sys.executable
    for folder in sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*")):
        if (folder / "bin" / "python").exists():
            return str(folder / "bin" / "python")
    found = uv("python", "find", version)
    if found.returncode and uv("python", "install", version).returncode == 0:
        found = uv("python", "find", version)
    return found.stdout.strip() or None if found.returncode == 0 else None


def build(into: Path) -> Path:
    """Build the wheel."""
    built = uv("build", "--wheel", "--out-dir", str(into), str(REPOSITORY))
    if built.returncode:
        raise SystemExit(f"The wheel could not be built:\n{built.stderr}")
    (wheel,) = into.glob("*.whl")
    return wheel


def install(row: Row, python: str, wheel: Path, folder: Path) -> str:
    """Make a row's environment.

    :return: why that failed, or nothing.
    """
    made = uv("venv", "--clear", "--python", python, str(folder))
    if made.returncode:
        return f"no environment: {made.stderr.strip()[-300:]}"
    ours = f"airflow-provider-pageconv{f'[{row.extra}]' if row.extra else ''} @ {wheel.as_uri()}"
    options = ["--python", str(folder / "bin" / "python")]
    if row.libraries != NEWEST:
        options += ["--exclude-newer", DAYS[row.airflow]]
    wanted = [ours, f"apache-airflow=={row.airflow}", *filter(None, [row.beside])]
    if row.libraries == OURS_NEWEST:
        for name in (*SHOWN, "urllib3", "charset-normalizer", "idna", "certifi"):
            options += ["--exclude-newer-package", f"{name}=2100-01-01"]
    if row.libraries == LEAST:
        floors = folder / "floors.txt"
        floors.write_text("".join(f"{floor}\n" for floor in least(row.extra)), encoding="utf-8")
        options += ["--constraints", str(floors)]
    installed = uv("pip", "install", *options, *wanted)
    return f"it does not install: {installed.stderr.strip()[-600:]}" if installed.returncode else ""


def least(extra: str | None) -> list[str]:
    """What our pyproject.toml allows at the least, as constraints."""
    project = _project()
    named = [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())]
    floors = []
    for text in named:
        name, bar, bound = text.partition(">=")
        if bar and name != "apache-airflow":
            floors.append(f"{name.partition('[')[0]}=={bound.partition(',')[0]}")
    return floors


def _project() -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    content: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return content


def try_row(row: Row, wheel: Path, into: Path) -> Result | None:
    """Make the environment, and try the wheel in it.

    :return: ``None`` where there is no interpreter.
    """
    python = interpreter(row.python)
    if python is None:
        return None
    folder = into / row.name
    shutil.rmtree(folder, ignore_errors=True)
    sentence = install(row, python, wheel, folder / "venv")
    if sentence:
        return Result(row, sentence, {})
    inside = str(folder / "venv" / "bin" / "python")
    if row.extra:
        command = [inside, "-c", EXTRA.format(extra=row.extra, scheme=SCHEMES.get(row.extra))]
    else:
        # Compiled beforehand: each of Airflow's processes starts ten seconds earlier.
        subprocess.run(
            [inside, "-m", "compileall", "-qq", str(folder / "venv" / "lib")], env=environment(), check=False
        )
        command = [inside, str(HERE / "trial.py"), str(folder / "trial")]
    done = subprocess.run(command, env=environment(), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        return Result(row, done.stderr.strip()[-3000:], {})
    return Result(row, "", json.loads(done.stdout.splitlines()[-1]))


EXTRA = """
import json, platform
from importlib import import_module, metadata
from importlib.util import find_spec
names = {{"s3": "apache-airflow-providers-amazon", "gcs": "apache-airflow-providers-google",
         "azure": "apache-airflow-providers-microsoft-azure", "parquet": "pyarrow"}}
if {extra!r} == "parquet":
    import pyarrow.parquet
else:
    stores = import_module("airflow.sdk.io.fs" if find_spec("airflow.sdk.io.fs") else "airflow.io")  # the second until 3.1
    assert stores.has_fs({scheme!r}), "Airflow has no file system for {scheme}://"
print(json.dumps({{"python": platform.python_version(), "form": "", "seconds": 0,
                  "versions": {{name: metadata.version(name) for name in ("apache-airflow", names[{extra!r}])}}}}))
"""


def table(results: Iterable[Result], missing: Sequence[Row]) -> str:
    """The rows in the words of docs/versions.md."""
    lines = [
        "| Airflow | Python | libraries | requests, pendulum, msgspec | connection form | a killed task | `dags test` | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        row, versions = result.row, result.found.get("versions", {})
        if row.extra:
            (name, version), *_ = [item for item in versions.items() if item[0] != "apache-airflow"] or [("", "")]
            cells = [
                row.airflow,
                row.python,
                f"[{row.extra}], {row.libraries}",
                f"{name} {version}".strip(),
                "",
                "",
                "",
            ]
        else:
            shown = ", ".join(versions.get(name, "") for name in SHOWN)
            libraries = row.libraries + (f", {row.beside.rpartition('-')[2].upper()}" if row.beside else "")
            found = [result.found.get(name, "") for name in ("form", "killed", "console")]
            cells = [row.airflow, result.found.get("python", row.python), libraries, shown, *found]
        lines.append("| " + " | ".join([*cells, "fails" if result.sentence else "passes"]) + " |")
    lines += [f"| {row.airflow} | {row.python} | {row.libraries} | | | | | no interpreter here |" for row in missing]
    return "\n".join(lines)


def short_table(text: str) -> str:
    """What the rows come to: with which Pythons each Airflow passes.

    :param text: the table.
    """
    pythons: dict[str, list[str]] = {}
    for line in text.splitlines()[2:]:
        airflow, python, libraries, *_, ended = (cell.strip() for cell in line.strip("|").split("|"))
        if ended == "passes" and not libraries.startswith("["):
            pythons.setdefault(airflow, []).append(".".join(python.split(".")[:2]))
    told = [", ".join(sorted(some, key=lambda one: int(one.partition(".")[2]))) for some in pythons.values()]
    rows = (["Airflow", *pythons], ["---"] * (len(pythons) + 1), ["Python", *told])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def write(page: Path, text: str) -> None:
    """Put a table into its page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    assert begin, f"{page.name} has no place for the table"
    assert end, f"{page.name} has no end of the table"
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> int:
    """Try the rows that are asked for."""
    arguments = argparse.ArgumentParser(description="The wheel on each Airflow, with each Python.")
    arguments.add_argument("--rows", nargs="*", default=[])
    arguments.add_argument("--into", type=Path, default=REPOSITORY / ".versions")
    arguments.add_argument("--table", action="store_true")
    asked = arguments.parse_args()
    rows = [row for row in (*ROWS, *EXTRAS) if not asked.rows or any(word in row.name for word in asked.rows)]
    shutil.rmtree(asked.into / "dist", ignore_errors=True)
    for version in sorted({row.python for row in rows}):
        print(f"Python {version}: {interpreter(version) or 'none here'}", flush=True)
    wheel = build(asked.into / "dist")

    def try_and_tell(row: Row) -> Result | None:
        began = time.monotonic()
        result = try_row(row, wheel, asked.into)
        shutil.rmtree(asked.into / row.name / "venv", ignore_errors=True)
        if result is None:
            print(f"{row.name}: no Python {row.python} here", flush=True)
        else:
            said = f"FAILED: {result.sentence}" if result.sentence else "passes"
            print(f"{row.name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
        return result

    with ThreadPoolExecutor(2) as pool:  # most of a trial is waiting for a limit
        tried = list(pool.map(try_and_tell, rows))
    results = [result for result in tried if result is not None]
    missing = [row for row, result in zip(rows, tried, strict=True) if result is None]
    text = table(results, missing)
    print(text)
    if asked.table and not asked.rows:
        write(PAGE, text)
        write(FRONT, short_table(text))
    return int(any(result.sentence for result in results))


if __name__ == "__main__":
    sys.exit(main())
