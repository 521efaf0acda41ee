"""docs/promises.md names what proves a promise: each of it is there, and no promise is without."""

from __future__ import annotations

import re

from tests.chaos.kept import PATCHES, TURNS_RED
from tests.docs.reading import REPOSITORY

TEXT = (REPOSITORY / "docs" / "promises.md").read_text(encoding="utf-8")
PROMISES = {
    part.partition(".")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:] if part[0].isdigit()
}


def named_in(text: str) -> set[str]:
    """The tests and benchmarks that a text names."""
    return set(re.findall(r"`(tests/[^`]+)`", text))


def test_what_is_named_is_there() -> None:
    """A test that is moved takes its mention along."""
    assert [name for name in named_in(TEXT) if not (REPOSITORY / name).exists()] == []


def test_every_promise_has_proofs_and_kept_patches() -> None:
    """Those of the table and those of the patches are the same, from 1 on."""
    assert list(PROMISES) == [str(number) for number in range(1, len(PROMISES) + 1)]
    assert {path.name.partition("-")[0] for path in PATCHES.glob("*.patch")} == set(PROMISES)
    assert all(named_in(part) for part in PROMISES.values())


def test_each_is_said_to_be_proved_by_what_its_patches_turn_red() -> None:
    """By one of those tests at least, so that nobody names what proves something else."""
    for number, part in PROMISES.items():
        red = {test.partition("::")[0] for name, test in TURNS_RED.items() if name.startswith(f"{number}-")}
        assert any(test.startswith(tuple(named_in(part))) for test in red), number
