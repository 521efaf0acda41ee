"""Each quirk of the API alone, and any two at once, through the operator and over HTTP: nothing is lost, nothing is there twice.

A failure names its quirks and its seed. The test that failed is replayed by itself with

    PAGECONV_QUIRK_SEED=<seed> PAGECONV_QUIRK_RUNS=1

Real threads make the calls, so that it may take a few goes until they come in the same order again. What a quirk does is in
`quirks.py`, and so is the judge.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.quirks import APART, QUIRKS, Run, Verdict

RUNS = int(os.environ.get("PAGECONV_QUIRK_RUNS", "0"))
"""Seeds for each pair, and three times as many for a quirk alone; 0: two for a quirk alone, and one for some of the pairs."""

SEED = int(os.environ.get("PAGECONV_QUIRK_SEED", "20251")) or random.SystemRandom().randrange(1, 2**32)
ALONE = RUNS * 3 or 2
PAIRS = [pair for pair in itertools.combinations(QUIRKS, 2) if set(pair) not in APART]
if not RUNS:
    PAIRS = random.Random(SEED).sample(PAIRS, 90)

verdicts: dict[tuple[str, ...], list[Verdict]] = {}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of lines on what was ordered."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _name(quirks: tuple[str, ...]) -> str:
    return "+".join(quirks)


def _go(quirks: tuple[str, ...], runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run some seeds, and fail for those that are not good."""
    bad = []
    for seed in range(SEED, SEED + runs):
        verdict = Run(quirks, seed, tmp_path / str(seed)).run(monkeypatch)
        verdicts.setdefault(quirks, []).append(verdict)
        if not verdict.is_good:
            bad.append(f"PAGECONV_QUIRK_SEED={seed} {_name(quirks)}: {verdict}")
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_quirk_alone_loses_nothing(quirk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the API does not give is counted, and a warning says so."""
    _go((quirk,), ALONE, tmp_path, monkeypatch)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("quirks", PAIRS, ids=_name)
def test_two_quirks_at_once_lose_nothing(
    quirks: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where one hides the other."""
    _go(quirks, RUNS or 1, tmp_path, monkeypatch)


def test_the_quirks_really_showed() -> None:
    """Prints the table. A quirk that never showed would have proven nothing."""
    rows = []
    for quirk in QUIRKS:
        runs = [(names, one) for names, found in verdicts.items() if quirk in names for one in found]
        alone = [one for names, one in runs if len(names) == 1]
        found = [one for _, one in runs]
        rows.append(
            f"{quirk:<28}{len(alone):>6}{len(found) - len(alone):>7}{sum(one.struck[quirk] for one in found):>8}"
            f"{sum(one.owed for one in found):>10}{sum(len(one.lost) for one in alone):>6}"
            f"{sum(len(one.lost) for one in found):>6}{sum(len(one.doubled) for one in found):>6}"
            f"{sum(len(one.foreign) for one in found):>8}{sum(len(one.wrong) for one in found):>7}"
            f"{sum(one.withheld for one in found):>9}"
        )
    print(f"\nPAGECONV_QUIRK_SEED={SEED} PAGECONV_QUIRK_RUNS={RUNS}")
    print(f"{'quirk':<28} alone  pairs  showed      owed  lost +pairs twice foreign  wrong withheld")
    print("\n".join(rows))
    idle = [
        quirk
        for quirk in QUIRKS
        if (found := [one for names, some in verdicts.items() if quirk in names for one in some])
        and len(found) >= ALONE
        and not any(one.struck[quirk] for one in found)
    ]
    assert not idle, "quirks that never showed"
