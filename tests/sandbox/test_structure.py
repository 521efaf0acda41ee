"""Which module of the sandbox builds on which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airflow_provider_pageconv.sandbox as package

ROOT = Path(package.__file__).parent
PREFIX = f"{package.__name__}."
# Each module may import those of the lines above it, and none beside or below.
LAYERS = (
    ("errors", "words", "times", "encoding", "clock"),
    ("cursors", "fields", "rules", "limits", "nodes"),
    ("ids", "twists", "media"),
    ("drawing",),
    ("rows",),
    ("page",),
    ("graph_api", "life"),
    ("faults",),
    ("record", "values"),
    ("box",),
    ("control",),
    ("server",),
    ("serving",),
    ("options",),
    ("__init__",),
    ("__main__",),
)
PLACE = {name: place for place, names in enumerate(LAYERS) for name in names}


def neighbours(name: str) -> set[str]:
    """Return the modules of the sandbox that one of them imports, wherever in it, and for types alone too."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / f"{name}.py").read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name.removeprefix(PREFIX).split(".")[0] for name in names if name.startswith(PREFIX)}
    return found


def test_every_module_has_its_place() -> None:
    """No module is missing from the drawing, and none is there twice."""
    assert sorted(PLACE) == sorted(path.stem for path in ROOT.glob("*.py"))
    assert len(PLACE) == sum(len(names) for names in LAYERS)


@pytest.mark.parametrize("name", PLACE)
def test_modules_build_on_one_another_in_one_direction(name: str) -> None:
    """From errors and words over the Page and the API to the box, its control addresses and its server."""
    assert {other for other in neighbours(name) if PLACE[other] >= PLACE[name]} == set()
