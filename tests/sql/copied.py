"""What docs/querying.md shows to be copied, piece by piece."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "querying.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
ROOT = "/data/pages"


def block(language: str, having: str) -> str:
    """Return the only piece of code in a language that has this in it."""
    [code] = [code for one, code in BLOCKS if one == language and having in code]
    return str(code)
