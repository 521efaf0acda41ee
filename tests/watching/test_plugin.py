"""What the plugin tells Airflow, and what it costs who does not look at it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

from airflow_provider_pageconv import compat, plugin


def fresh(code: str, tmp_path: Path, **environment: str) -> str:
    """What some code prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def reloaded(monkeypatch: pytest.MonkeyPatch, *, hosts: bool) -> ModuleType:
    monkeypatch.setattr(compat, "hosts_react", lambda: hosts)
    return importlib.reload(plugin)


def test_airflow_finds_it() -> None:
    """By its entry point, since what a provider's metadata says of plugins is not read."""
    [point] = entry_points(group="airflow.plugins", name="pageconv")
    assert point.load().name == "pageconv"


def test_page_and_tab_are_registered_side_by_side() -> None:
    """Each with an address of its own; the page stands under Browse, where its name has room."""
    page, tab = plugin.PageConversationsPlugin.react_apps
    assert (page["destination"], page["category"]) == ("nav", "browse")
    assert tab["destination"] == "task_instance"
    assert page["url_route"] != tab["url_route"]
    assert page["name"] != tab["name"], "the code sets one global for each name"


def test_where_the_ui_cannot_show_it_nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Airflow 3.0 and 3.1; nothing else is missed there."""
    try:
        older = reloaded(monkeypatch, hosts=False).PageConversationsPlugin
        assert not older.react_apps
        assert not older.fastapi_apps
    finally:
        monkeypatch.undo()
        importlib.reload(plugin)


@pytest.mark.parametrize(
    "base, path",
    [
        ("", "/pageconv/"),
        ("http://localhost:8080", "/pageconv/"),
        ("https://example.com/air/flow/", "/air/flow/pageconv/"),
    ],
)
def test_the_code_is_looked_for_below_the_deployments_path(base: str, path: str, tmp_path: Path) -> None:
    """The whole path is named: what an address is relative to is another thing in each release."""
    code = "from airflow_provider_pageconv.plugin import _bundle; print(_bundle())"
    assert fresh(code, tmp_path, AIRFLOW__API__BASE_URL=base).startswith(path)


def test_whoever_does_not_look_at_it_does_not_import_it(tmp_path: Path) -> None:
    """A task process loads the plugins of all entry points: beside Airflow's own modules ours alone is new, no FastAPI."""
    code = (
        "import sys, json, airflow.plugins_manager, airflow.sdk, airflow.sdk.configuration, airflow.sdk.exceptions\n"
        "before = set(sys.modules)\n"
        "import airflow_provider_pageconv.plugin\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    new = json.loads(fresh(code, tmp_path))
    assert {name.partition(".")[0] for name in new} <= {"airflow_provider_pageconv", "airflow"}
    assert "airflow_provider_pageconv.plugin.routes" not in new
    assert not [name for name in new if "api_fastapi" in name]


def test_its_files_are_part_of_the_package() -> None:
    """Three of them, next to the module that serves them."""
    assert sorted(path.name for path in Path(plugin.__file__).parent.glob("*.js")) == [
        "page.js",
        "records.js",
        "rules.js",
    ]
