"""The pages that users and builders read, taken apart: their blocks of code, their tables, their links, their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
"""All of them, by their paths."""

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<language>[\w+-]*) *$")
_NAMES_ITS_TEST = re.compile(r"^ *<!-- (?P<test>tests/\S+::\S+) -->$")
_HEADING = re.compile(r"^(?P<marks>#{1,6}) +(?P<text>.*?)\s*$")
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(
    r"\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^()\s]+(?:\([^()]*\))?)\)|(?:src|srcset|href)=\"(?P<tag>[^\"]+)\""
)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    :param page: its page, relative to the repository.
    :param number: of the line on which it begins.
    :param test: the test that a comment above it names.
    """

    page: str
    number: int
    language: str
    text: str
    heading: str
    test: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.number}"


def lines_of(path: Path) -> list[str]:
    """The lines of a page."""
    return path.read_text(encoding="utf-8").splitlines()


def name_of(path: Path) -> str:
    """Name a page as its readers do."""
    return path.relative_to(REPOSITORY).as_posix()


def blocks_of(path: Path) -> Iterator[Block]:
    """The blocks of a page, in their order."""
    heading, before, opened, begun = "", "", None, 0
    inside: list[str] = []
    for number, line in enumerate(lines_of(path), 1):
        if opened is not None:
            if line.strip() == opened["fence"]:
                named = _NAMES_ITS_TEST.match(before)
                text = "".join(f"{one.removeprefix(opened['indent'])}\n" for one in inside)
                test = named["test"] if named else None
                yield Block(name_of(path), begun, opened["language"], text, heading, test)
                opened, before = None, ""
            else:
                inside.append(line)
        elif (found := _FENCE.match(line)) is not None:
            opened, begun, inside = found, number, []
        else:
            heading = found["text"] if (found := _HEADING.match(line)) else heading
            before = line
    assert opened is None, f"{name_of(path)}:{begun}: the block has no end"


BLOCKS = [block for path in PAGES for block in blocks_of(path)]


def blocks(page: str, language: str) -> list[str]:
    """The texts of a page's blocks in one language."""
    return [block.text for block in BLOCKS if (block.page, block.language) == (page, language)]


def prose_of(path: Path) -> Iterator[str]:
    """The lines of a page outside of its blocks."""
    fence = None
    for line in lines_of(path):
        found = _FENCE.match(line)
        if found and fence in (None, found["fence"]):
            fence = None if fence else found["fence"]
        elif fence is None:
            yield line


def anchors_of(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page: https://docs.github.com/en/get-started/writing-on-github"""
    found: list[str] = []
    for line in prose_of(path):
        if heading := _HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"]).replace("`", "").replace("*", "")
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def links_of(path: Path) -> list[str]:
    """Where a page points to, pictures among it."""
    text = _CODE.sub("", "\n".join(prose_of(path)))
    return [found["target"] or found["tag"] for found in _LINK.finditer(text)]


def tables_below(path: Path, heading: str) -> list[list[list[str]]]:
    """The rows of each table between a heading and the next one, cell by cell; the first row is the table's head."""
    current, found, inside = "", [], False
    for line in prose_of(path):
        if (title := _HEADING.match(line)) is not None:
            current = title["text"]
        if current == heading and line.startswith("|"):
            if not inside:
                found.append([])
            if not re.fullmatch(r"[|\-: ]+", line):
                found[-1].append([cell.strip() for cell in line.strip().strip("|").split("|")])
            elif not inside:
                raise AssertionError(f"a table of {name_of(path)} has no head")
        inside = current == heading and line.startswith("|")
    return found
