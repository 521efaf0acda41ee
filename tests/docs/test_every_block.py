"""Every block of code that a page shows is covered: by a test that a comment above it names, or by what is known of its kind."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from airflow_provider_pageconv.hooks import PageConversationsHook
from tests.docs.reading import BLOCKS, REPOSITORY, Block, blocks_of

DISTRIBUTION = "airflow-provider-pageconv"
PACKAGE = "airflow_provider_pageconv"
CONNECTION = re.compile(r"AIRFLOW_CONN_[A-Z_]+")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_covered(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_home: Path
) -> None:
    """Who pastes it gets what the page says; what no test knows how to try fails here."""
    cover(block, tmp_path, monkeypatch)


def cover(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Try a block, or find the test that does."""
    if block.test is not None:
        assert block.test in names_in(block.test), f"{block} names {block.test}, which is no test"
    elif block.language == "sh":
        for words in commands(block.text):
            try_command(words, monkeypatch)
    elif block.language == "python":
        try_python(block.text, folder)
    else:
        pytest.fail(
            f"{block}: no test covers this block; name one in a comment right above it, <!-- tests/…::test_… -->"
        )


def names_in(name: str) -> set[str]:
    """The tests in the file that a test is said to be in, those of classes among them."""
    file = name.partition("::")[0]
    path = REPOSITORY / file
    if not path.is_file():
        return set()
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {f"{file}::{prefix}{one.name}" for one in inside if isinstance(one, ast.FunctionDef)}
    return {one for one in found if one.rpartition("::")[2].startswith("test_")}


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block, without comments, settings before them, where their output goes, and `&`."""
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word in ("&&", "&", ";"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def try_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """See that a command could be run; what it does is tried by tests of its own."""
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if ">" in words:
        words = words[: words.index(">")]
    first, *rest = words
    if first == "make":
        done = subprocess.run(["make", "-n", *rest], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif words[:2] == ["pip", "install"]:
        for one in rest[1:]:
            try_requirement(Requirement(one))
    elif first == "export":
        try_export(*rest[0].split("=", 1), monkeypatch)
    elif first == "airflow":
        from airflow.cli.cli_parser import get_parser

        get_parser().parse_args(rest)
    elif first.rpartition("/")[2] == "python" and rest[0] == "-c":
        compile(rest[1], "-c", "exec")
    elif first.rpartition("/")[2] == "python" and rest[:2] == ["-m", "pytest"]:
        named = [one for one in rest[2:] if one.startswith("tests/")]
        assert named
        assert all((REPOSITORY / one).exists() for one in named), named
    elif first.rpartition("/")[2] == "python" and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]) is not None, f"there is no {rest[1]}"
    else:
        pytest.fail(f"no test knows how to try the command {shlex.join(words)!r}")


def try_requirement(requirement: Requirement) -> None:
    """What is installed is ours, with extras that there are, or is used by our tests."""
    name = canonicalize_name(requirement.name)
    found = metadata.metadata(name)
    if name == DISTRIBUTION:
        assert requirement.extras <= set(found.get_all("Provides-Extra") or ())


def try_export(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is read by the hook, a setting is one of Airflow's, a variable has a value; nothing else is known here."""
    assert value
    if CONNECTION.fullmatch(name):
        monkeypatch.setenv(name, value)
        assert PageConversationsHook(name.removeprefix("AIRFLOW_CONN_").lower()).settings.credentials.token
    elif name.startswith("AIRFLOW__"):
        from airflow.configuration import conf

        assert conf.has_option(*name.removeprefix("AIRFLOW__").lower().split("__"))
    else:
        assert name.startswith("AIRFLOW_VAR_"), f"no test knows how to try {name}"


def try_python(text: str, folder: Path) -> None:
    """A DAG is read by Airflow without an error; anything else runs."""
    if "DAG(" not in text:
        exec(compile(text, "block", "exec"), {"__name__": "block"})
        return
    from airflow.dag_processing.dagbag import DagBag

    (folder / "block.py").write_text(text, encoding="utf-8")
    bag = DagBag(folder)
    assert bag.import_errors == {}
    assert bag.dags


@pytest.mark.parametrize(
    "text, why",
    [
        ("```sh\nmake nothing\n```", "No rule to make target"),
        ("```sh\nrm -rf /\n```", "no test knows how to try"),
        ("```sh\npip install 'airflow-provider-pageconv[gopher]'\n```", "gopher"),
        ("```sh\npython -m airflow_provider_pageconv.nothing\n```", "there is no"),
        ('```sh\nexport AIRFLOW_CONN_X=\'{"conn_type": "pageconv"}\'\n```', "no password"),
        ("```sh\nexport PAGECONV=1\n```", "no test knows how to try"),
        ("```sh\nairflow dags pause\n```", ""),
        ("```python\nfrom airflow_provider_pageconv import nothing\n```", "nothing"),
        ("```python\nfrom airflow.sdk import DAG\nDAG('x', scheduel=None)\n```", "scheduel"),
        ("```sql\nSELECT 1\n```", "no test covers"),
        ("```\nSELECT 1\n```", "no test covers"),
        ("<!-- tests/docs/test_every_block.py::test_no_such_thing -->\n```sql\nSELECT 1\n```", "is no test"),
        (
            "<!-- tests/docs/test_every_block.py::test_every_block_is_covered -->\n\n```sql\nSELECT 1\n```",
            "no test covers",
        ),
    ],
)
def test_a_block_that_is_wrong_is_found(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_home: Path
) -> None:
    """The test above can fail, for each kind."""
    monkeypatch.setattr("tests.docs.reading.REPOSITORY", tmp_path)
    (tmp_path / "page.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
    [block] = blocks_of(tmp_path / "page.md")
    dags = tmp_path / "dags"
    dags.mkdir()
    with pytest.raises((Exception, SystemExit, pytest.fail.Exception)) as found:
        cover(block, dags, monkeypatch)
    assert why in str(found.value)
