"""`make docs`: the pages and the docstrings as a site that needs nobody else's server, and what it refuses."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_provider_pageconv import assets, hooks, operators, sensors, triggers
from tests.docs.reading import PAGES, REPOSITORY, name_of

HOOK = hooks.PageConversationsHook
CLASSES = [
    one
    for module in (hooks, operators, sensors, triggers)
    for name, one in vars(module).items()
    if name.startswith("PageConversations") and inspect.isclass(one)
]
"""Whatever is added to these modules under our name needs its place in the reference."""

CALLED = [*CLASSES, HOOK.conversations, HOOK.messages, HOOK.get_conn, assets.page_asset]
PROMISED = [
    *(one.__qualname__ for one in CALLED),
    *(f"PageConversationsHook.{name}" for name in ("pages", "token_info", "renew_token", "usage", "test_connection")),
    "TokenInfo",
    "GraphError",
    "GraphAuthError",
    "GraphPermissionError",
    "GraphRequestError",
    "GraphTransientError",
    "GraphRateLimitError",
]


def make_site(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Make a site as `make docs` does."""
    [command] = re.findall(r"-m sphinx .*(?= -c docs)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"))
    return subprocess.run(
        [sys.executable, *command.split(), "-c", str(source / "docs"), str(source), str(target)],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, made without a warning."""
    folder = tmp_path_factory.mktemp("site")
    done = make_site(REPOSITORY, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_can_be_reached_from_every_page(site: Path) -> None:
    """By the sidebar, the API reference as well; whoever opens the folder is led to the first one."""
    sidebar = (site / "docs" / "limits.html").read_text(encoding="utf-8").partition("<article")[0]
    linked = {os.path.normpath(os.path.join("docs", link)) for link in re.findall(r'href="([^"#]+\.html)"', sidebar)}  # noqa: PTH118 - addresses
    pages = {name_of(path).removesuffix(".md") + ".html" for path in PAGES}
    assert (pages | {"docs/api.html"}) - {"docs/limits.html"} <= linked
    assert 'url=docs/README.html"' in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROMISED)
def test_the_reference_has_what_users_hold_on_to(site: Path, name: str) -> None:
    """With its signature, made from the code."""
    assert _entry(site, name)


@pytest.mark.parametrize("code", CALLED, ids=lambda code: code.__qualname__)
def test_every_parameter_is_explained(site: Path, code: Callable[..., Any]) -> None:
    """A docstring that forgets one shows here."""
    taken = [one for one in inspect.signature(code).parameters if one not in ("self", "kwargs")]
    assert taken
    assert [name for name in taken if f"<strong>{name}</strong>" not in _entry(site, code.__qualname__)] == []


def _entry(site: Path, name: str) -> str:
    """What the reference has of a name; nothing where it has none."""
    text = (site / "docs" / "api.html").read_text(encoding="utf-8")
    parts = text.split('<dt class="sig')
    return next((part for part in parts if re.search(rf' id="airflow_provider_pageconv\.[\w.]+\.{name}"', part)), "")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """It can be read where there is no net; what it loads is there."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|source|iframe)\b[^>]*?\bsrc(?:set)?="([^"]+)"', text)
        loaded += re.findall(r'<link\b(?=[^>]*rel="stylesheet")[^>]*?href="([^"]+)"', text)
        missing = [one for one in loaded if not (page.parent / unquote(one.partition("?")[0])).is_file()]
        assert missing == [], page


def test_a_plot_goes_with_light_and_dark(site: Path) -> None:
    """As where the repository is shown."""
    text = (site / "docs" / "speed.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img [^>]*class="only-(?:light|dark)"[^>]*speed-(?:light|dark)\.svg"', text)) == 2
    assert "<picture>" not in text


@pytest.mark.parametrize(
    "text, why",
    [
        ("[there](nothing.md)", "nothing.md"),
        ("[there](#nothing)", "nothing"),
        ("[there](other.md#nothing)", "nothing"),
        ("![a picture](nothing.png)", "nothing.png"),
        ("```{toctree}\nnothing\n```", "nothing"),
    ],
)
def test_a_page_that_is_wrong_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """Else the site would be made of whatever is there."""
    said = refused(tmp_path, text)
    assert "page.md:3: WARNING" in said
    assert why in said


def refused(folder: Path, text: str, forgotten: str = "") -> str:
    """What is said of a site of one page, and of one that no table names."""
    docs = folder / "docs"
    docs.mkdir()
    for name in ("conf.py", "_templates/index.html"):
        (docs / name).parent.mkdir(exist_ok=True)
        (docs / name).write_text((REPOSITORY / "docs" / name).read_text(encoding="utf-8"), encoding="utf-8")
    (docs / "README.md").write_text("# Index\n\n## All\n\n| | |\n|---|---|\n| [Page](page.md) | |\n", encoding="utf-8")
    (docs / "page.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
    if forgotten:
        (docs / "forgotten.md").write_text(f"# Page\n\n{forgotten}\n", encoding="utf-8")
    done = make_site(folder, folder / "made")
    assert done.returncode == 1
    return done.stderr


def test_a_page_that_the_index_forgot_is_refused(tmp_path: Path) -> None:
    """Its sidebar is made of the tables there, so nobody would find it."""
    done = refused(tmp_path, "the index names this one", "and not this one")
    assert "forgotten.md: WARNING" in done
