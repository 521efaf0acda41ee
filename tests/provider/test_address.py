"""The address of the project in the package's metadata, known where it is built, and the links of the README with it."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from tests.servers.airflow_home import REPOSITORY
from tests.versions.run import uv

ADDRESS = "https://git.example.org/them/pageconv"
NAMES = ("PROJECT_ADDRESS", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run in a workflow of GitHub's."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the sdist, and from it the wheel, as somebody does who has the sdist alone."""
    return uv("build", "--out-dir", str(folder), str(REPOSITORY))


def metadata(folder: Path) -> Message:
    """What the wheel says of itself."""
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def readme(found: Message) -> str:
    """The README in what the wheel says of itself."""
    return bytes(found.get_payload(decode=True)).decode()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "environment",
    [
        {"PROJECT_ADDRESS": f"{ADDRESS}/"},
        {"GITHUB_SERVER_URL": "https://git.example.org", "GITHUB_REPOSITORY": "them/pageconv"},
    ],
    ids=["given", "a workflow of GitHub's"],
)
def test_the_metadata_names_the_address_and_the_readme_s_links_lead_there(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each link leads to a file that is there, of this version."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert build(tmp_path).returncode == 0
    found = metadata(tmp_path)
    tree = f"{ADDRESS}/blob/v{found['Version']}/"
    assert dict(line.split(", ") for line in found.get_all("Project-URL")) == {
        "Homepage": ADDRESS,
        "Documentation": f"{tree}docs/README.md",
        "Changelog": f"{tree}CHANGELOG.md",
        "Security": f"{tree}SECURITY.md",
        "Issues": f"{ADDRESS}/issues",
    }
    links = re.findall(r"\]\(([^)#]+)", readme(found))
    ours = [link.removeprefix(tree) for link in links if link.startswith(tree)]
    assert "docs/connection.md" in ours
    assert [link for link in ours if not (REPOSITORY / link).is_file()] == []
    assert [link for link in links if not link.startswith("https://")] == []


def test_where_nobody_knows_the_address_none_is_made_up(tmp_path: Path) -> None:
    """The README is as it lies in the repository."""
    assert build(tmp_path).returncode == 0
    found = metadata(tmp_path)
    assert found.get_all("Project-URL") is None
    assert found["Description-Content-Type"] == "text/markdown"
    assert readme(found) == (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("address", ["http://git.example.org/x", "git@example.org:x", "https://a:b@git.example.org/x"])
def test_an_address_that_cannot_be_told_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands before an @ may be a password."""
    monkeypatch.setenv("PROJECT_ADDRESS", address)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "has to be the https:// address of the repository, without a user in it" in done.stdout + done.stderr
    assert address not in done.stdout + done.stderr
