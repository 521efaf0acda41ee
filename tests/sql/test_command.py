"""How the views come to whoever wants them: as text, from Python or from a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_provider_pageconv.sql import views
from airflow_provider_pageconv.sql.__main__ import main
from tests.sql.story import ROOT, Story


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell does."""
    return subprocess.run(
        [sys.executable, "-m", "airflow_provider_pageconv.sql", *arguments], capture_output=True, encoding="utf-8"
    )


def root_of(script: str) -> str:
    """Return the root that a script sets, as DuckDB understands it."""
    with duckdb.connect() as database:
        database.execute(script.splitlines()[0])
        return str(database.execute("SELECT getvariable('root')").fetchall()[0][0])


@pytest.mark.parametrize(
    "given, root",
    [
        ("/data/pages", "/data/pages"),
        ("/data/pages/", "/data/pages/"),
        ("data/pages", "data/pages"),
        (Path("/data/pages"), "/data/pages"),
        ("file:///data/pages", "/data/pages"),
        (f"file:///{ROOT}", f"/{ROOT}"),
        ("file:///data/my%20pages", "/data/my%20pages"),
        ("s3://aws_default@bucket/pages", "s3://bucket/pages"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("gs://google_cloud_default@bucket", "gs://bucket"),
    ],
)
def test_the_root_is_named_as_the_export_s_destination_is(given: Any, root: str) -> None:
    """Or as a path; the export reads %20 in an address as it stands, and so do we."""
    assert root_of(views(given)) == root


def test_a_slash_at_the_end_does_not_count(story: Story) -> None:
    """Files are named without two of them."""
    with duckdb.connect() as database:
        database.execute(views(f"{story.files.root}/"))
        assert database.execute("SELECT count(*) FROM messages").fetchall() == [(len(story.messages),)]


def test_the_command_prints_what_python_gets(story: Story) -> None:
    """In UTF-8, whatever the root is called."""
    done = command(story.files.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == views(story.files.root)


def test_the_command_needs_neither_airflow_nor_duckdb() -> None:
    """It prints text: an analyst's machine has no Airflow that is set up, and a scheduler no DuckDB."""
    code = (
        "import sys\n"
        "from airflow_provider_pageconv.sql.__main__ import main\n"
        "assert main(['/data/pages']) == 0\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'airflow', 'duckdb'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("wrong", ["", "  ", "file://elsewhere/data", "file:data", "a\0b", "not \udcff unicode", None])
def test_a_root_that_is_none_is_refused_in_a_sentence(wrong: Any) -> None:
    """With its value and what is allowed."""
    with pytest.raises(
        ValueError, match=r"^root is .*: it takes the root of the data set, such as [^\n]*\.$"
    ) as caught:
        views(wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("arguments", [[], ["a", "b"], [""], ["file://elsewhere/data"]], ids=str)
def test_bad_use_of_the_command_gets_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, so that no half of a script is piped on."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "the root of the data set" in said.err


def test_help_is_the_same_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output."""
    assert main(["--help"]) == 0
    assert "the root of the data set" in capsys.readouterr().out


def test_a_script_that_was_told_no_root_says_so() -> None:
    """Where somebody runs the file as it is, empty views would look like an empty data set."""
    script = views("/data/pages").partition("\n")[2]
    with duckdb.connect() as database, pytest.raises(duckdb.Error, match="No data set is named: SET VARIABLE root = "):
        database.execute(script)


def test_a_root_below_which_nothing_is_published_is_said_aloud(tmp_path: Path) -> None:
    """A mistyped one looks like a day without messages; what is printed works all the same, once something is there."""
    for root in (str(tmp_path / "pagse"), f"file://{tmp_path}/pagse"):
        done = command(root)
        assert done.returncode == 0
        assert done.stdout == views(root)
        assert done.stderr == (
            f"No manifest lies below {tmp_path}/pagse: nothing is published there yet, or another root is meant.\n"
        )


def test_a_root_with_an_export_is_not_warned_of(story: Story) -> None:
    """Nor one in a bucket, which nobody looks into."""
    assert command(story.files.root).stderr == ""
    assert command("s3://bucket/pages").stderr == ""
