"""Makes what is released, in `dist/`: the sdist, the wheel that is built from it, and their checksums. `make dist` runs it.

    python .ci/dist.py [--without-address]

A release is made of a commit: the same one gives the same bytes, to the second of its own time, as long as it is built with the
same hatchling, which the wheel names. What is not fit to be released is refused in a sentence, and `dist/` stays as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from datetime import date
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
VERSION = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)
ENTRY = re.compile(r"^## (?P<version>\S+) \((?P<day>.+)\)$", re.MULTILINE)


def main() -> int:
    """Make it.

    :return: what the process ends with: 0, or 1 after a sentence on stderr.
    """
    arguments = argparse.ArgumentParser(description="What is released: sdist, wheel, checksums.")
    arguments.add_argument("--without-address", action="store_true", help="the project has no address yet")
    asked = arguments.parse_args()
    try:
        epoch = _commit()
        _version()
        with tempfile.TemporaryDirectory() as name:
            files = _build(Path(name), epoch)
            if not asked.without_address and not _names_an_address(files[-1]):
                raise _NotFitError(
                    "Nobody knows the project's address: set PROJECT_ADDRESS=https://…, or make one without it "
                    "with make dist ARGS=--without-address."
                )
            _check(files)
            shutil.rmtree(DIST, ignore_errors=True)
            DIST.mkdir()
            for file in files:
                shutil.copy(file, DIST)
    except _NotFitError as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    sums = "".join(f"{hashlib.sha256((DIST / file.name).read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    (DIST / "SHA256SUMS").write_text(sums, encoding="utf-8")
    sys.stdout.write(sums)
    return 0


class _NotFitError(Exception):
    """What is there cannot be released; the text says why, and what to do."""


def _commit() -> str:
    """Return the time of the commit that is checked out and nothing else, in seconds since 1970."""
    if changed := _run("git", "status", "--porcelain"):
        raise _NotFitError(
            f"A release is made of a commit, and {changed.split(maxsplit=1)[1].splitlines()[0]} differs from it: "
            "commit it, or take it away."
        )
    return _run("git", "log", "-1", "--format=%ct")


def _version() -> None:
    """See that all who name the version name the same one: the package, the changelog, and the tag if there is one."""
    package = VERSION.search((ROOT / "airflow_provider_pageconv" / "__init__.py").read_text(encoding="utf-8"))
    entry = ENTRY.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    version = package["version"] if package else "none"
    if entry is None or entry["version"] != version:
        raise _NotFitError(
            f"The package's version is {version}, and the top entry of CHANGELOG.md is of "
            f"{entry['version'] if entry else 'none'}: they have to be the same."
        )
    # What a workflow of GitHub's says of the tag that it runs for.
    if os.environ.get("GITHUB_REF_TYPE") != "tag":
        return
    if (tag := os.environ["GITHUB_REF_NAME"]) != f"v{version}":
        raise _NotFitError(f"The tag is {tag}, and the package's version is {version}: the tag has to be v{version}.")
    try:
        date.fromisoformat(entry["day"])
    except ValueError:
        raise _NotFitError(
            f"The entry of CHANGELOG.md for {version} says {entry['day']!r} where the day of the release has to stand, "
            "as in 2026-11-21."
        ) from None


def _build(folder: Path, epoch: str) -> list[Path]:
    """Build both; the wheel comes last."""
    trusting = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}  # whom the machine trusts; the second until uv 0.11
    command = (sys.executable, "-m", "uv", "build", "--out-dir", str(folder), str(ROOT))
    try:
        _run(*command, SOURCE_DATE_EPOCH=epoch, **trusting)
    except _NotFitError as failed:
        sentence = re.search(r"PROJECT_ADDRESS has .+$", str(failed), re.MULTILINE)  # metadata.py's own
        raise _NotFitError(sentence[0] if sentence else str(failed)) from None
    return [*folder.glob("*.tar.gz"), *folder.glob("*.whl")]


def _names_an_address(wheel: Path) -> bool:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return "Project-URL" in message_from_bytes(archive.read(name))


def _check(files: list[Path]) -> None:
    """Let what an index refuses, or shows badly, be refused here."""
    _run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *map(str, files))


def _run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise _NotFitError(f"{' '.join(command[:4])} … failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
