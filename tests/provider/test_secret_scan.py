"""`make secrets` finds what must not be committed, says where, and repeats none of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.provider.making import git, make, stand_in
from tests.servers.airflow_home import REPOSITORY

# Put together here, so that this file holds none.
MIXED = "aB3dE6gH9kL2"
TOKENS = {
    "a Page's token": "EAA" + MIXED * 5,
    "a token of Instagram's": "IGAA" + MIXED * 5,
    "an app's token": "123456789012345" + "|" + MIXED * 2,
    "a key of Amazon's": "AKIA" + "Q3EGRZ7WXKM2NV5T",
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
}
NOT_PLAIN = "7d9f31"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with nothing but what the target needs."""
    for name in ("Makefile", "pyproject.toml", ".ci/meta_token.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    stand_in(tmp_path)
    git("init", "--quiet", cwd=tmp_path)
    git("add", "Makefile", "pyproject.toml", ".ci", cwd=tmp_path)
    return tmp_path


def commit(checkout: Path, name: str, text: str) -> None:
    """Make a file one that git knows."""
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text(text, encoding="utf-8")
    git("add", name, cwd=checkout)


@pytest.mark.parametrize("token", TOKENS.values(), ids=list(TOKENS))
def test_a_token_is_found_wherever_it_stands(checkout: Path, token: str) -> None:
    """In prose as well, in a folder of tests too; the file and the line are named, the token is not."""
    commit(checkout, "tests/notes.md", f"Tried today\nwith {token} and it works.\n")
    done = make("secrets", cwd=checkout)
    assert done.returncode == 2
    assert "tests/notes.md:2" in done.stdout
    assert token not in done.stdout + done.stderr


def test_where_git_knows_no_file_it_fails(checkout: Path) -> None:
    """It would have looked at none."""
    shutil.rmtree(checkout / ".git")
    assert make("secrets", cwd=checkout).returncode == 2


def test_a_password_is_found_by_the_name_it_has(checkout: Path) -> None:
    """Whatever it looks like."""
    commit(checkout, "dag.py", f'app_secret = "{NOT_PLAIN}"\n')
    assert "dag.py:1" in make("secrets", cwd=checkout).stdout


def test_what_is_made_up_is_none(checkout: Path) -> None:
    """The sandbox's tokens, plain words, what the sandbox wrote, and what says of itself that it is none."""
    commit(checkout, "dag.py", 'password = "SANDBOX-PAGE-TOKEN"\napp_secret = "the app secret"\n')
    commit(checkout, "tests/earlier/0.1.0/page.json", f'{{"password": "{NOT_PLAIN}"}}\n')
    commit(checkout, "tests/test_it.py", f'app_secret = "{NOT_PLAIN}"  # pragma: allowlist secret\n')
    done = make("secrets", cwd=checkout)
    assert (done.returncode, done.stderr) == (0, "")
