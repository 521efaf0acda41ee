"""What Airflow is told about this provider, and what it makes of that."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from airflow.sdk import Connection
from packaging.requirements import Requirement

import airflow_provider_pageconv
from airflow_provider_pageconv.connection import read_settings
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.provider import get_provider_info
from tests.servers.airflow_home import airflow

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DISTRIBUTION = "airflow-provider-pageconv"
PACKAGE = Path(airflow_provider_pageconv.__file__).parent

# What a module of this name holds, by the key under which the metadata lists it.
LISTED_MODULES = {"hooks": "hooks", "operators": "operators", "sensors": "sensors", "triggers": "triggers"}


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    """The metadata as it goes to Airflow."""
    return get_provider_info()


@pytest.fixture(scope="module")
def pyproject(pytestconfig: pytest.Config) -> dict[str, Any]:
    """The project's own description."""
    return tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text(encoding="utf-8"))


def schema(name: str) -> dict[str, Any]:
    """A schema that the installed Airflow brings."""
    content: dict[str, Any] = json.loads((resources.files("airflow") / name).read_text(encoding="utf-8"))
    return content


def class_paths(info: dict[str, Any]) -> Iterator[str]:
    """Every dotted name in the metadata, whether of a class or of a module."""
    for connection_type in info["connection-types"]:
        yield connection_type["hook-class-name"]
    yield from info.get("extra-links", [])
    for key in LISTED_MODULES:
        for entry in info.get(key, []):
            yield from entry["python-modules"]


class TestSchemas:
    """Both of Airflow's schemas accept the metadata."""

    def test_the_runtime_schema_accepts_it(self, info: dict[str, Any]) -> None:
        """This is what Airflow checks when it discovers providers; what fails here is dropped with a warning."""
        jsonschema.validate(info, schema("provider_info.schema.json"))

    def test_the_schema_of_provider_yaml_accepts_it(self, info: dict[str, Any]) -> None:
        """The runtime schema knows no `conn-fields`, so a misspelt one would pass there and show a blank form."""
        only_for_airflows_own_releases = {"state": "ready", "source-date-epoch": 0}
        jsonschema.validate({**info, **only_for_airflows_own_releases}, schema("provider.yaml.schema.json"))

    def test_the_schema_of_provider_yaml_would_find_a_misspelt_field(self, info: dict[str, Any]) -> None:
        """The check above can fail."""
        connection_type = {**info["connection-types"][0], "conn-fields": {"page_id": {"lable": "Page id"}}}
        wrong = {**info, "state": "ready", "source-date-epoch": 0, "connection-types": [connection_type]}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema("provider.yaml.schema.json"))


class TestContent:
    """The metadata agrees with the package."""

    def test_it_names_the_distribution_and_its_version(self, info: dict[str, Any]) -> None:
        """Airflow compares `package-name` with the distribution that the entry point belongs to."""
        assert info["package-name"] == DISTRIBUTION
        assert info["versions"][0] == airflow_provider_pageconv.__version__ == metadata.version(DISTRIBUTION)

    def test_everything_it_names_can_be_imported(self, info: dict[str, Any]) -> None:
        """A name that does not import takes the connection type or the operators from the UI."""
        for path in class_paths(info):
            pkgutil.resolve_name(path)

    @pytest.mark.parametrize("key", LISTED_MODULES)
    def test_every_module_of_a_kind_is_listed(self, key: str, info: dict[str, Any]) -> None:
        """And none that does not exist."""
        listed = {module for entry in info.get(key, []) for module in entry["python-modules"]}
        stem = LISTED_MODULES[key]
        there = {f"airflow_provider_pageconv.{stem}"} if (PACKAGE / f"{stem}.py").is_file() else set()
        if (PACKAGE / stem).is_dir():
            modules = (PACKAGE / stem).glob("[!_]*.py")
            there |= {f"airflow_provider_pageconv.{stem}.{module.stem}" for module in modules}
        assert listed == there

    def test_every_entry_belongs_to_an_integration(self, info: dict[str, Any]) -> None:
        """Airflow's docs and UI group by it."""
        integrations = {entry["integration-name"] for entry in info["integrations"]}
        assert {entry["integration-name"] for key in LISTED_MODULES for entry in info.get(key, [])} == integrations

    def test_the_hook_says_the_same_as_the_metadata(self, info: dict[str, Any]) -> None:
        """Airflow falls back to the hook's own attributes."""
        (connection_type,) = info["connection-types"]
        hook = pkgutil.resolve_name(connection_type["hook-class-name"])
        assert hook.conn_type == connection_type["connection-type"] == "pageconv"
        assert hook.hook_name == connection_type["hook-name"]
        assert hook.conn_name_attr == "pageconv_conn_id"
        assert hook.default_conn_name == "pageconv_default"

    def test_the_connection_form_has_the_fields_of_the_connection(self, info: dict[str, Any]) -> None:
        """The secret among them is shown as one, and every field may be left empty."""
        (connection_type,) = info["connection-types"]
        fields = connection_type["conn-fields"]
        secrets = {"app_secret", "pseudonym_secret"}
        assert (
            set(fields) == {"page_id", "app_id", "api_version", "calls_per_second", "timeout", "media_hosts"} | secrets
        )
        assert {name for name, field in fields.items() if field["schema"].get("format") == "password"} == secrets
        assert all("null" in field["schema"]["type"] for field in fields.values())

    def test_each_field_of_the_form_says_what_goes_into_it(self, info: dict[str, Any]) -> None:
        """With a label, an example, and a sentence, which is all of it that Airflow 3.2 and 3.3 show below a field of ours.

        Of a standard field they show the example.
        """
        (connection_type,) = info["connection-types"]
        fields, behaviour = connection_type["conn-fields"], connection_type["ui-field-behaviour"]
        assert set(behaviour["placeholders"]) == {*fields, "password", "login", "host", "port"}
        assert set(behaviour["relabeling"]) == {"password", "login", "host"}
        assert all(behaviour["placeholders"].values())
        for field in fields.values():
            assert re.fullmatch(r"[A-Z]\w+( \w+)*", field["label"])
            assert re.fullmatch(r"[A-Z].+\.", field["description"])
            assert "default" not in field["schema"]

    def test_the_form_opens_with_what_a_connection_needs(self, info: dict[str, Any]) -> None:
        """Airflow shows the standard fields at once and folds up the others; the token alone is needed, and says so."""
        behaviour = info["connection-types"][0]["ui-field-behaviour"]
        assert behaviour["hidden-fields"] == ["schema", "extra"]
        assert behaviour["relabeling"]["password"] == "Access token (required)"
        assert behaviour["relabeling"]["login"] == "Page id"
        assert behaviour["placeholders"]["port"].startswith("443")

    def test_the_form_names_what_an_empty_field_means(self, info: dict[str, Any]) -> None:
        """The values that the hook takes then."""
        (connection_type,) = info["connection-types"]
        fields = connection_type["conn-fields"]
        examples = connection_type["ui-field-behaviour"]["placeholders"]
        empty = read_settings(Connection(conn_id="page", conn_type="pageconv", password="a-token"))
        assert examples["host"] == empty.base_url
        for name in ("api_version", "calls_per_second", "timeout"):
            value = getattr(empty, name)
            text = value if isinstance(value, str) else f"{value:g}"
            assert examples[name] == text
            assert re.search(rf"(?<!\S){re.escape(text)}(?=[ ,.]).* if empty", fields[name]["description"])
        assert "May stay empty" in fields["page_id"]["description"]
        assert empty.page_id is empty.app_id is empty.credentials.app_secret is empty.pseudonym_secret is None

    def test_every_option_that_the_package_reads_is_described(self, info: dict[str, Any]) -> None:
        """And none that it does not read: `airflow config list` shows them to the user."""
        read = set()
        for module in PACKAGE.rglob("*.py"):
            read |= set(re.findall(r"conf\.get\w*\(\s*\"pageconv\",\s*\"(\w+)\"", module.read_text(encoding="utf-8")))
        assert set(info.get("config", {}).get("pageconv", {}).get("options", {})) == read


class TestWhatAirflowSays:
    """What the command line of the installed Airflow prints about this provider."""

    def test_providers_get(self, airflow_home: Path, info: dict[str, Any]) -> None:
        """Airflow has discovered the provider through its entry point."""
        (printed,) = json.loads(airflow("providers", "get", DISTRIBUTION, "--full", "--output", "json"))
        assert printed["package-name"] == DISTRIBUTION
        assert printed["name"] == info["name"]
        assert printed["versions"] == info["versions"]
        assert printed["connection-types"][0]["hook-class-name"] == info["connection-types"][0]["hook-class-name"]

    def test_providers_hooks(self, airflow_home: Path, info: dict[str, Any]) -> None:
        """The connection type is registered, its hook imports, and the id's attribute is known."""
        printed = json.loads(airflow("providers", "hooks", "--output", "json"))
        (ours,) = [row for row in printed if row["connection_type"] == "pageconv"]
        assert ours == {
            "connection_type": "pageconv",
            "class": "airflow_provider_pageconv.hooks.PageConversationsHook",
            "conn_id_attribute_name": "pageconv_conn_id",
            "package_name": DISTRIBUTION,
            "hook_name": info["connection-types"][0]["hook-name"],
        }

    def test_providers_behaviours(self, airflow_home: Path) -> None:
        """Airflow has taken the form's labels and hidden fields: it drops with a warning what it cannot read."""
        printed = json.loads(airflow("providers", "behaviours", "--output", "json"))
        assert {"field_behaviours": "pageconv"} in printed

    def test_providers_widgets(self, airflow_home: Path, info: dict[str, Any]) -> None:
        """The form has every field of ours."""
        printed = json.loads(airflow("providers", "widgets", "--output", "json"))
        names = {row["connection_parameter_name"] for row in printed if row["package_name"] == DISTRIBUTION}
        assert names == {f"extra__pageconv__{name}" for name in info["connection-types"][0]["conn-fields"]}

    def test_providers_links(self, airflow_home: Path, info: dict[str, Any]) -> None:
        """Every link of the operator is registered."""
        printed = json.loads(airflow("providers", "links", "--output", "json"))
        names = {row["extra_link_class_name"] for row in printed}
        of_the_operator = PageConversationsToObjectStorageOperator.operator_extra_links
        assert {f"{type(link).__module__}.{type(link).__name__}" for link in of_the_operator} == set(
            info["extra-links"]
        )
        assert set(info["extra-links"]) <= names

    def test_the_connection_form(self, airflow_home: Path, info: dict[str, Any]) -> None:
        """What the UI gets to draw the form from is what the metadata says."""
        code = (
            "from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService\n"
            "(form,) = [meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == 'pageconv']\n"
            "print('RESULT ' + form.model_dump_json())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        form = json.loads(done.stdout.rpartition("RESULT ")[2])
        (wanted,) = info["connection-types"]
        behaviour = wanted["ui-field-behaviour"]

        assert form["hook_name"] == wanted["hook-name"]
        standard = form["standard_fields"]
        assert {name for name, field in standard.items() if field and field["hidden"]} == {"url_schema"}
        for name, label in behaviour["relabeling"].items():
            assert standard[name]["title"] == label
        for name in ("password", "login", "host", "port"):
            assert standard[name]["placeholder"] == behaviour["placeholders"][name]
        assert {name: field["schema"]["title"] for name, field in form["extra_fields"].items()} == {
            name: field["label"] for name, field in wanted["conn-fields"].items()
        }
        assert {name: field["description"] for name, field in form["extra_fields"].items()} == {
            name: field["description"] for name, field in wanted["conn-fields"].items()
        }
        assert form["extra_fields"]["app_secret"]["schema"]["format"] == "password"


class TestPackaging:
    """What `pip install` brings, and what it does not."""

    def test_dependencies(self, pyproject: dict[str, Any]) -> None:
        """Airflow from 3.0.6 on, `requests`, `pendulum`, `msgspec`, which Airflow brings along, and nothing more."""
        assert pyproject["project"]["dependencies"] == [
            "apache-airflow>=3.0.6,<4",
            "requests>=2.31.0",
            "pendulum>=3.0.0",
            "msgspec>=0.19.0",
        ]
        installed = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
        assert {str(requirement) for requirement in installed if requirement.marker is None} == {
            "apache-airflow<4,>=3.0.6",
            "requests>=2.31.0",
            "pendulum>=3.0.0",
            "msgspec>=0.19.0",
        }

    def test_extras(self, pyproject: dict[str, Any]) -> None:
        """One for each object store, with the official provider and its file system, and one for Parquet."""
        extras = pyproject["project"]["optional-dependencies"]
        assert set(extras) == {"s3", "gcs", "azure", "parquet"}
        assert extras["s3"] == ["apache-airflow-providers-amazon[s3fs]>=9.12.0"]
        assert extras["parquet"] == ["pyarrow>=17.0.0"]

    def test_entry_points(self) -> None:
        """The ones through which Airflow finds the provider, and the plugin, which it does not look for in metadata."""
        points = metadata.distribution(DISTRIBUTION).entry_points
        assert sorted((point.group, point.name, point.value) for point in points) == [
            ("airflow.plugins", "pageconv", "airflow_provider_pageconv.plugin:PageConversationsPlugin"),
            ("apache_airflow_provider", "provider_info", "airflow_provider_pageconv.provider:get_provider_info"),
        ]
        assert points["provider_info"].load() is get_provider_info

    def test_it_is_typed_and_says_its_licence(self, pytestconfig: pytest.Config) -> None:
        """Type checkers read our annotations only where `py.typed` lies beside them."""
        assert (PACKAGE / "py.typed").is_file()
        assert metadata.metadata(DISTRIBUTION)["License-Expression"] == "Apache-2.0"
        assert re.match(r"\s*Apache License\s+Version 2\.0", (pytestconfig.rootpath / "LICENSE").read_text("utf-8"))


def test_the_metadata_and_the_package_root_import_nothing_of_airflow() -> None:
    """Airflow reads the metadata in each of its processes; what it imports is paid for there."""
    code = (
        "import sys; before = set(sys.modules); import airflow_provider_pageconv; root = set(sys.modules) - before\n"
        "from airflow_provider_pageconv.provider import get_provider_info; get_provider_info()\n"
        "print(sorted(root)); print(sorted(name.partition('.')[0] for name in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    root, everything = done.stdout.splitlines()
    assert root == "['airflow_provider_pageconv']"
    assert "'airflow'" not in everything
    assert "'requests'" not in everything
