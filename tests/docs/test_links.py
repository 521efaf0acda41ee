"""Every page leads on: its links and pictures are there, and each page and example DAG can be found from the README."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.reading import PAGES, REPOSITORY, anchors_of, lines_of, links_of, name_of

MOST_LINES = 110


def dead(path: Path) -> list[str]:
    """The links of a page that lead nowhere, but for those to other sites."""
    found = []
    for link in links_of(path):
        if "://" in link or link.startswith("mailto:"):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_and_picture_leads_somewhere(path: Path) -> None:
    """To a file that is there, and in it to a heading."""
    assert dead(path) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    """The test above can fail, for files, pictures and headings."""
    other = tmp_path / "other.md"
    other.write_text(
        "# A heading, `with` code\n\n```sh\n# no heading\n```\n\n## A heading, `with` code\n", encoding="utf-8"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "[good](other.md) [good](other.md#a-heading-with-code) [good](other.md#a-heading-with-code-1) [good](#here)\n"
        "`[no](link.md)` [far](https://example.org/x) [bad](others.md) [bad](other.md#no-heading) [bad](#there)\n"
        '![bad](picture.png) <img src="bad.svg">\n\n# Here\n',
        encoding="utf-8",
    )
    assert dead(page) == ["others.md", "other.md#no-heading", "#there", "picture.png", "bad.svg"]


def reached(path: Path) -> set[Path]:
    """The pages that a page leads to."""
    targets = {(path.parent / link.partition("#")[0]).resolve() for link in links_of(path) if "://" not in link}
    return targets & set(PAGES)


def test_the_readme_and_the_index_lead_to_every_page() -> None:
    """Nobody has to guess the name of one."""
    docs = {path for path in PAGES if path.parent.name == "docs"}
    index = REPOSITORY / "docs" / "README.md"
    assert docs - {index} <= reached(REPOSITORY / "README.md")
    assert docs - {index} <= reached(index)
    assert {REPOSITORY / name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")} <= reached(
        REPOSITORY / "README.md"
    )


def test_every_example_dag_is_named_by_the_readme() -> None:
    """With its file's name."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    names = [path.name for path in (REPOSITORY / "example_dags").glob("*.py")]
    assert names
    assert [name for name in names if f"`{name}`" not in readme and f"/{name}`" not in readme] == []


def test_every_picture_is_shown_somewhere() -> None:
    """None is kept for nobody; those for dark pages are beside one for light ones."""
    shown = {(path.parent / link).resolve() for path in PAGES for link in links_of(path) if "://" not in link}
    kept = [path for path in (REPOSITORY / "docs").rglob("*.[ps][nv]g") if not path.stem.endswith("-dark")]
    assert kept
    assert [path.name for path in kept if path not in shown] == []


def test_the_readme_is_two_screens() -> None:
    """Whatever it outgrows belongs into docs."""
    assert len(lines_of(REPOSITORY / "README.md")) <= MOST_LINES
