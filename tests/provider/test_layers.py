"""Who may import whom: protocol, files and Airflow stay apart, so that each can be read and tested by itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

import airflow_provider_pageconv
from airflow_provider_pageconv import compat

ROOT = "airflow_provider_pageconv"
PACKAGE = Path(airflow_provider_pageconv.__file__).parent

# Of each part: the parts of this package that it may import, beside itself and the version in the root.
MAY_IMPORT = {
    "provider": set(),
    "compat": set(),
    "assets": {"destinations", "parameters"},
    "destinations": set(),
    "lines": set(),
    "live": {"times"},
    "links": {"compat", "destinations"},
    "times": set(),
    "json_text": set(),
    "graph": {"times", "json_text"},
    "dump": {"graph", "lines", "times", "json_text"},
    "sandbox": set(),
    "sql": {"destinations"},
    "connection": {"graph"},
    "hooks": {"compat", "connection", "graph", "parameters", "provider"},
    "parameters": {"compat", "graph", "times"},
    "user_ids": {"compat", "parameters"},
    "triggers": set(),
    "sensors": {"compat", "graph", "hooks", "lines", "parameters", "triggers", "times"},
    "lineage": {"dump", "graph"},
    "metrics": {"compat", "dump"},
    "operators": {"assets", "compat", "destinations", "graph", "dump", "hooks", "lineage", "lines", "links", "live"}
    | {"metrics", "parameters", "rights", "triggers", "times", "user_ids"},
    "rights": {"compat", "destinations", "dump", "hooks", "lines", "parameters", "user_ids"},
    "plugin": {"compat", "links"},
    "examples": set(),
    "standalone": set(),
    "demo_stage": {"standalone"},
    "demo_pages": {"demo_stage", "standalone"},
    "demo": {"demo_pages", "demo_stage", "sql", "standalone"},
    "demo_ui": {"demo", "demo_stage", "standalone"},
    "demo_dags": {"assets", "compat", "operators"},
}
WITHOUT_AIRFLOW = (
    "provider",
    "connection",
    "destinations",
    "lines",
    "live",
    "times",
    "json_text",
    "graph",
    "dump",
    "sandbox",
    "sql",
    "examples",
    "standalone",
    "demo",
    "demo_ui",
)
# Inside `graph` likewise.
GRAPH_MAY_IMPORT = {
    "usage": set(),
    "errors": {"usage"},
    "pace": {"usage"},
    "names": set(),
    "fields": {"names"},
    "protocol": {"errors", "usage"},
    "limits": {"errors", "protocol", "usage"},
    "edges": {"errors", "fields", "protocol"},
    "paging": {"edges", "errors", "fields", "protocol"},
    "failures": {"errors"},
    "client": {"errors", "failures", "pace", "protocol", "usage"},
    "media": set(),
    "media_client": {"media"},
    "access": {"errors", "tokens"},
    "tokens": {"edges", "errors", "paging", "protocol"},
}
# Inside `dump`: who may have to do with threads, and who may know what time it is. The engine and all that it owns may not.
WITH_THREADS = {"workers", "packing", "export", "destination", "objectstores", "erasing"}
WITH_A_CLOCK = {"workers"}
# Only `compat` knows that Airflow's releases differ. What it looks up moved, and the rest of Airflow is taken from where 3.0.6 has it.
TAKEN = sorted(compat._HOMES)
MOVED = (
    "airflow.sdk.exceptions",
    "airflow.exceptions",
    "airflow.sdk.configuration",
    "airflow.configuration",
    "airflow.hooks",
)
VERSIONS = re.compile(
    r"airflow\.__version__|airflow_version|packaging\.version|metadata\.version\(|AIRFLOW_V_|sys\.version_info"
)
RELICS = re.compile(r"readers=0|_torn|threading\.(Lock|Condition)")


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package, by its dotted name without the package's own."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> set[str]:
    """The dotted names that a module imports anywhere, also inside functions and for types alone."""
    return names(ast.parse(path.read_text(encoding="utf-8")).body)


def names(code: Iterable[ast.stmt]) -> set[str]:
    """The dotted names that some statements import."""
    found = set()
    for node in (inner for statement in code for inner in ast.walk(statement)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{node.module} is imported relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = dict(modules())


def test_every_part_has_its_place() -> None:
    """A new one cannot forget to say what it may import."""
    assert {name.partition(".")[0] for name in MODULES} - {""} == set(MAY_IMPORT)


@pytest.mark.parametrize("name", [name for name in MODULES if name.partition(".")[0] in MAY_IMPORT])
def test_a_part_imports_only_the_parts_beneath_it(name: str) -> None:
    """`graph` knows no files, `dump` no Airflow, `sandbox` nothing of what it tests, `demo` only what a user sees."""
    part = name.partition(".")[0]
    ours = {found.split(".")[1] for found in imports(MODULES[name]) if found.startswith(f"{ROOT}.")}
    assert ours - {part, "__version__"} <= MAY_IMPORT[part]


def inside(part: str) -> list[str]:
    """The modules of a part."""
    return [name.removeprefix(f"{part}.") for name in MODULES if name.startswith(f"{part}.")]


def test_every_module_of_graph_has_its_place() -> None:
    """A new one cannot forget to say what it builds on."""
    assert set(inside("graph")) == set(GRAPH_MAY_IMPORT)


@pytest.mark.parametrize("module", inside("graph"))
def test_the_modules_of_graph_build_on_one_another_in_one_direction(module: str) -> None:
    """From usage and errors over protocol and edges to paging; the client beside these knows no edge."""
    prefix = f"{ROOT}.graph."
    found = imports(MODULES[f"graph.{module}"])
    neighbours = {name.removeprefix(prefix).split(".")[0] for name in found if name.startswith(prefix)}
    assert neighbours <= GRAPH_MAY_IMPORT[module]


@pytest.mark.parametrize("module", inside("dump"))
def test_only_the_workers_and_who_starts_them_know_threads_and_clocks(module: str) -> None:
    """One thread owns all state, and what time it is, is handed in: so the tests run the loop that ships."""
    libraries = {name.partition(".")[0] for name in imports(MODULES[f"dump.{module}"])}
    if module not in WITH_THREADS:
        assert not libraries & {"threading", "queue", "concurrent", "asyncio", "multiprocessing", "_thread"}
    if module not in WITH_A_CLOCK:
        assert "time" not in libraries
        assert ".now(" not in MODULES[f"dump.{module}"].read_text(encoding="utf-8")


def test_nothing_in_dump_is_locked_torn_or_there_for_tests_alone() -> None:
    """What one thread owns needs no lock, and cannot be half changed when another looks."""
    found = [
        f"{path}:{number}"
        for path in sorted((PACKAGE / "dump").rglob("*.py"))
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if RELICS.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "path", [*MODULES.values(), *(PACKAGE.parent / "example_dags").glob("*.py")], ids=lambda path: path.stem
)
def test_only_one_module_knows_that_airflows_releases_differ(path: Path) -> None:
    """It detects what is there; nobody compares versions, or catches an import of Airflow's that fails, example DAGs included."""
    if path.stem == "compat":
        return
    text = path.read_text(encoding="utf-8")
    assert not VERSIONS.search(text)
    of_airflow = [name for name in imports(path) if name.partition(".")[0] == "airflow"]
    assert not [name for name in of_airflow if name.startswith(MOVED) or name.rpartition(".")[2] in TAKEN]
    tried = (line for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Try) for line in node.body)
    assert not [name for name in names(tried) if name.partition(".")[0] == "airflow"]


@pytest.mark.parametrize("name", TAKEN)
def test_what_moved_is_found_in_the_installed_airflow(name: str) -> None:
    """A new home that does not hold it would go unseen where the old one still does."""
    assert getattr(compat, name) is getattr(import_module(compat._HOMES[name][0]), name)


@pytest.mark.parametrize("name", MODULES)
def test_only_the_clients_do_http(name: str) -> None:
    """Two modules to look into when something about a connection is odd, and one that knows the errors' names."""
    libraries = {found.partition(".")[0] for found in imports(MODULES[name])}
    if name not in ("graph.client", "graph.failures", "graph.media_client"):
        assert not libraries & {"requests", "urllib3", "httpx", "aiohttp"}


@pytest.mark.parametrize("name", MODULES)
def test_only_the_modules_of_parquet_load_pyarrow_and_not_before_it_is_needed(name: str) -> None:
    """It is an extra, and takes long to load: whoever exports JSON Lines, or parses a DAG file, does without."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    at_once = [one for one in tree.body if isinstance(one, (ast.Import, ast.ImportFrom))]
    loads = "pyarrow" in {found.partition(".")[0] for found in imports(MODULES[name])}
    assert loads == (name in ("dump.arrow", "dump.parquet"))
    assert "pyarrow" not in {found.partition(".")[0] for found in names(at_once)}


@pytest.mark.parametrize("part", WITHOUT_AIRFLOW)
def test_these_parts_run_without_airflow(part: str) -> None:
    """Not one of their modules loads anything of Airflow, neither directly nor through something else."""
    names = [f"{ROOT}.{name}" for name in MODULES if name.partition(".")[0] == part and "__main__" not in name]
    assert names
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'airflow'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
