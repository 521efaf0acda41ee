"""What is released: the files of sdist and wheel, the project's address in them, and what `make dist` refuses."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from tests.provider.making import git, make, stand_in
from tests.servers.airflow_home import EXAMPLE_DAGS, REPOSITORY

ADDRESS = "https://git.example.org/them/pageconv"
VARIABLES = ("PROJECT_ADDRESS", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_REF_TYPE", "GITHUB_REF_NAME")
PACKAGE = "airflow_provider_pageconv"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run in a workflow of GitHub's."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def checkout(built: Path, tmp_path: Path) -> Path:
    """A repository of its own with all that the sdist holds, committed."""
    with tarfile.open(sdist(built)) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    (folder / "PKG-INFO").unlink()
    git("init", "--quiet", cwd=folder)
    commit(folder)
    stand_in(folder)
    return folder


def commit(folder: Path) -> None:
    """Commit all that is there."""
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "--allow-empty", "--message", "as it is", cwd=folder)


def sdist(folder: Path) -> Path:
    """The sdist that lies there."""
    [found] = folder.glob("*.tar.gz")
    return found


def wheel(folder: Path) -> Path:
    """The wheel that lies there."""
    [found] = folder.glob("*.whl")
    return found


def metadata(folder: Path) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(wheel(folder)) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def readme(found: Message) -> str:
    """The README in what the wheel says of itself."""
    return bytes(found.get_payload(decode=True)).decode()  # type: ignore[arg-type]


def refused(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    """Why nothing was made: the one line that is not make's own."""
    assert done.returncode == 2
    assert not (folder / "dist").exists()
    [sentence, _] = done.stderr.splitlines()
    return sentence


class TestFiles:
    """What lies in them, by rule."""

    def test_the_sdist_holds_what_git_knows_and_its_metadata(self, built: Path) -> None:
        """So that whoever has it can build, test and read all of it; and nothing that lies about."""
        if not (REPOSITORY / ".git").exists():
            pytest.skip("this is no checkout, so nobody knows what git knows")
        known = git("ls-files", "--cached", "--others", "--exclude-standard", cwd=REPOSITORY).splitlines()
        with tarfile.open(sdist(built)) as archive:
            names = {member.name.partition("/")[2] for member in archive.getmembers() if not member.isdir()}
        assert names == {name for name in known if (REPOSITORY / name).is_file()} | {"PKG-INFO"}

    def test_the_wheel_holds_the_package_the_examples_and_its_metadata(self, built: Path) -> None:
        """No test, no page, nothing beside the package's own folder."""
        package = {
            path.relative_to(REPOSITORY).as_posix()
            for path in (REPOSITORY / PACKAGE).rglob("*")
            if path.is_file() and path.parent.name != "__pycache__"
        }
        examples = {f"{PACKAGE}/examples/dags/{path.name}" for path in EXAMPLE_DAGS.glob("*.py")}
        about = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
        with zipfile.ZipFile(wheel(built)) as archive:
            names = archive.namelist()
        [folder] = {name.partition("/")[0] for name in names} - {PACKAGE}
        assert folder.endswith(".dist-info")
        assert sorted(names) == sorted({*package, *examples, *(f"{folder}/{name}" for name in about)})


class TestMetadata:
    """What the index and pip show."""

    def test_where_nobody_knows_the_address_none_is_made_up(self, built: Path) -> None:
        """The README is as it lies in the repository."""
        found = metadata(built)
        assert found.get_all("Project-URL") is None
        assert found["Description-Content-Type"] == "text/markdown"
        assert readme(found) == (REPOSITORY / "README.md").read_text(encoding="utf-8")

    def test_every_python_that_is_tried_has_its_classifier(self, built: Path) -> None:
        """From the least that is required on."""
        found = metadata(built)
        classifiers = found.get_all("Classifier") or []
        versions = [name.rpartition(" ")[2] for name in classifiers if re.search(r":: 3\.\d+$", name)]
        assert versions == ["3.10", "3.11", "3.12", "3.13", "3.14"]
        assert found["Requires-Python"] == ">=3.10"

    def test_every_dependency_says_the_least_that_it_takes(self, built: Path) -> None:
        """Those of the extras as well."""
        needs = metadata(built).get_all("Requires-Dist") or []
        assert len(needs) == 8
        assert [need for need in needs if ">=" not in need] == []

    def test_the_maintainers_are_nobody_s_name(self, built: Path) -> None:
        """Whoever keeps it up is reached by its address; no person stands in the metadata."""
        found = metadata(built)
        assert found["Maintainer"] == "The maintainers of airflow-provider-pageconv"
        assert found["Author"] is found["Author-email"] is found["Maintainer-email"] is None


class TestMakeDist:
    """What `make dist` makes."""

    def test_the_same_commit_gives_the_same_bytes(
        self, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In another folder, with other rights on files, and with the address from a workflow of GitHub's."""
        elsewhere = tmp_path / "a clone"
        subprocess.run(["git", "clone", "--quiet", checkout, elsewhere], umask=0o077, check=True)
        stand_in(elsewhere)
        (checkout / "dist").mkdir()
        (checkout / "dist" / "of-last-time.whl").touch()
        monkeypatch.setenv("PROJECT_ADDRESS", f"{ADDRESS}/")
        first = make("dist", cwd=checkout)
        assert first.returncode == 0, first.stderr
        monkeypatch.delenv("PROJECT_ADDRESS")
        monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example.org")
        monkeypatch.setenv("GITHUB_REPOSITORY", "them/pageconv")
        assert make("dist", cwd=elsewhere).returncode == 0
        made = {path.name: path.read_bytes() for path in (checkout / "dist").iterdir()}
        assert made == {path.name: path.read_bytes() for path in (elsewhere / "dist").iterdir()}
        self.assert_checksums(made)
        self.assert_address(checkout / "dist")

    @staticmethod
    def assert_checksums(made: dict[str, bytes]) -> None:
        """As `sha256sum --check` reads them, of all that is there."""
        sums = dict(line.split("  ")[::-1] for line in made.pop("SHA256SUMS").decode().splitlines())
        assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}
        assert len(sums) == 2

    @staticmethod
    def assert_address(folder: Path) -> None:
        """The metadata names it, and each link of the README leads to a file that is there, of this version."""
        found = metadata(folder)
        tree = f"{ADDRESS}/blob/v{found['Version']}/"
        assert dict(line.split(", ") for line in found.get_all("Project-URL") or ()) == {
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

    def test_without_an_address_it_is_made_only_where_that_is_meant(self, checkout: Path) -> None:
        """The links of what an index shows would lead nowhere."""
        sentence = refused(make("dist", cwd=checkout), checkout)
        assert "PROJECT_ADDRESS=https://" in sentence
        assert "ARGS=--without-address" in sentence
        done = make("dist", "ARGS=--without-address", cwd=checkout)
        assert done.returncode == 0, done.stderr
        assert metadata(checkout / "dist").get_all("Project-URL") is None

    @pytest.mark.parametrize("name", ["README.md", "notes.txt"])
    def test_what_is_not_committed_is_not_released(self, checkout: Path, name: str) -> None:
        """A change and a file that lies about: the first is named."""
        with (checkout / name).open("a", encoding="utf-8") as file:
            file.write("later\n")
        assert f"{name} differs from it" in refused(make("dist", cwd=checkout), checkout)

    def test_package_and_changelog_have_to_name_one_version(self, checkout: Path) -> None:
        """Both are named."""
        page = checkout / "CHANGELOG.md"
        page.write_text(page.read_text(encoding="utf-8").replace("## 0.", "## 7.", 1), encoding="utf-8")
        commit(checkout)
        assert re.search(
            r"version is 0\.\S+, and the top entry of CHANGELOG.md is of 7\.",
            refused(make("dist", cwd=checkout), checkout),
        )

    def test_a_tag_has_to_be_that_of_the_version(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a workflow of GitHub's has it."""
        monkeypatch.setenv("GITHUB_REF_TYPE", "tag")
        monkeypatch.setenv("GITHUB_REF_NAME", "v7.0.0")
        assert "The tag is v7.0.0, and" in refused(make("dist", cwd=checkout), checkout)

    def test_what_is_tagged_has_a_day_in_the_changelog(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reader wants to know since when."""
        page = checkout / "CHANGELOG.md"
        text = re.sub(r"^(## \S+) \(.*\)$", r"\1 (unreleased)", page.read_text(encoding="utf-8"), count=1, flags=re.M)
        page.write_text(text, encoding="utf-8")
        commit(checkout)
        monkeypatch.setenv("GITHUB_REF_TYPE", "tag")
        [version] = re.findall(r"^## (\S+)", text, re.M)[:1]
        monkeypatch.setenv("GITHUB_REF_NAME", f"v{version}")
        assert "says 'unreleased' where the day" in refused(make("dist", cwd=checkout), checkout)

    @pytest.mark.parametrize(
        "address", ["http://git.example.org/x", "git@example.org:x", "https://a:b@git.example.org/x"]
    )
    def test_an_address_that_cannot_be_told_is_refused(
        self, address: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What stands before an @ may be a password."""
        monkeypatch.setenv("PROJECT_ADDRESS", address)
        sentence = refused(make("dist", cwd=checkout), checkout)
        assert "has to be the https:// address of the repository, without a user in it" in sentence
        assert address not in sentence

    def test_what_an_index_would_refuse_is_refused(self, checkout: Path) -> None:
        """A README that it cannot show: `twine check` says so."""
        hook = checkout / ".ci" / "metadata.py"
        hook.write_text(hook.read_text(encoding="utf-8").replace("text/markdown", "text/x-rst"), encoding="utf-8")
        (checkout / "README.md").write_text("Title\n=\n\n.. nothing::\n", encoding="utf-8")
        commit(checkout)
        done = make("dist", "ARGS=--without-address", cwd=checkout)
        assert done.returncode == 2
        assert "twine" in done.stderr
        assert not (checkout / "dist").exists()
