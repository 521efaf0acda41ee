"""What is there for older releases of Airflow, as far as it can be tried without one; `tests/versions` tries the rest on them."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from airflow.sdk import BaseOperator, BaseSensorOperator

from airflow_provider_pageconv import compat
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.provider import get_provider_info

CONNECTION = get_provider_info()["connection-types"][0]


class Field:
    """A field of wtforms, as Airflow 3.0 and 3.1 replace it with one of their own."""

    def __init__(self, label: str, description: str = "") -> None:
        self.label, self.description = label, description


class Password(Field):
    """One whose content is not shown."""


def test_the_old_form_has_the_fields_of_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same labels and sentences; the secret among them is not shown."""
    wtforms: Any = types.ModuleType("wtforms")
    wtforms.StringField, wtforms.PasswordField = Field, Password
    monkeypatch.setitem(sys.modules, "wtforms", wtforms)
    shown = PageConversationsHook.get_connection_form_widgets()
    assert {name: (field.label, field.description) for name, field in shown.items()} == {
        name: (field["label"], field["description"]) for name, field in CONNECTION["conn-fields"].items()
    }
    assert [name for name, field in shown.items() if isinstance(field, Password)] == [
        "app_secret", "pseudonym_secret"
    ]  # fmt: skip


def test_the_old_form_hides_and_names_what_the_new_one_does() -> None:
    """Its keys are spelled with underscores."""
    new = CONNECTION["ui-field-behaviour"]
    assert PageConversationsHook.get_ui_field_behaviour() == {
        "hidden_fields": new["hidden-fields"],
        "relabeling": new["relabeling"],
        "placeholders": new["placeholders"],
    }


def test_the_export_is_no_sensor_where_the_scheduler_heeds_every_reschedule() -> None:
    """It would be drawn as one."""
    assert not issubclass(PageConversationsToObjectStorageOperator, BaseSensorOperator)
    assert not PageConversationsToObjectStorageOperator._is_sensor


def test_the_export_is_declared_a_sensor_where_the_scheduler_heeds_those_of_sensors_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain and mapped: what the scheduler looks at is serialized."""
    monkeypatch.setattr(compat, "import_module", lambda _: types.ModuleType("old"))

    @compat.heed_reschedules
    class Operator(BaseOperator):
        """An operator of our own."""

    assert issubclass(Operator, BaseSensorOperator)
    assert Operator._is_sensor
    assert Operator(task_id="one").reschedule  # type: ignore[attr-defined]
    assert {"reschedule", "_is_sensor"} <= Operator.get_serialized_fields()
    assert "reschedule" not in BaseOperator.get_serialized_fields()


def test_a_name_that_is_nowhere_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow that is too old says so itself."""
    monkeypatch.setitem(compat._HOMES, "Nothing", ("airflow.sdk", "airflow.nowhere"))
    with pytest.raises(ImportError, match=r"no Nothing in airflow\.sdk or airflow\.nowhere: 3\.0\.6 is the oldest"):
        compat.Nothing  # noqa: B018 - the look-up is what is tried
    with pytest.raises(AttributeError, match="Something"):
        compat.Something  # noqa: B018
