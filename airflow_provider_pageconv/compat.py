"""Where each Airflow, from 3.0.6 to the newest, has what this package takes of it. Nobody else asks which one is installed.

A name is looked for in the newest home first, and only when it is asked for: what a release lacks is missed by whoever
uses it alone. No version is compared.

The homes that moved: https://airflow.apache.org/docs/task-sdk/stable/api.html
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

_Operator = TypeVar("_Operator")

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Stats as Stats
    from airflow.sdk import BaseHook as BaseHook
    from airflow.sdk import CronDataIntervalTimetable as CronDataIntervalTimetable
    from airflow.sdk import CronTriggerTimetable as CronTriggerTimetable
    from airflow.sdk.configuration import conf as conf
    from airflow.sdk.exceptions import AirflowException as AirflowException
    from airflow.sdk.exceptions import AirflowFailException as AirflowFailException
    from airflow.sdk.exceptions import AirflowNotFoundException as AirflowNotFoundException
    from airflow.sdk.exceptions import AirflowRescheduleException as AirflowRescheduleException
    from airflow.sdk.exceptions import AirflowSensorTimeout as AirflowSensorTimeout
    from airflow.sdk.exceptions import AirflowSkipException as AirflowSkipException
    from airflow.sdk.exceptions import TaskDeferred as TaskDeferred
else:
    _EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")  # the second until 3.1
    _HOMES = {
        "BaseHook": ("airflow.sdk", "airflow.hooks.base"),  # until 3.0
        "CronDataIntervalTimetable": ("airflow.sdk", "airflow.timetables.interval"),  # until 3.1
        "CronTriggerTimetable": ("airflow.sdk", "airflow.timetables.trigger"),  # until 3.1
        "Stats": ("airflow.providers.common.compat.sdk", "airflow.stats"),  # until 3.1, whose common.compat may lack it
        "conf": ("airflow.sdk.configuration", "airflow.configuration"),  # until 3.1
        "AirflowException": _EXCEPTIONS,
        "AirflowFailException": _EXCEPTIONS,
        "AirflowNotFoundException": _EXCEPTIONS,
        "AirflowRescheduleException": _EXCEPTIONS,
        "AirflowSensorTimeout": _EXCEPTIONS,
        "AirflowSkipException": _EXCEPTIONS,
        "TaskDeferred": _EXCEPTIONS,
    }

    def __getattr__(name: str) -> Any:
        """Look a name up once.

        :raises AttributeError: it is none of those that moved.
        :raises ImportError: the installed Airflow has it nowhere.
        """
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for home in _HOMES[name]:
            try:
                found = getattr(import_module(home), name)
            except (ImportError, AttributeError):
                continue
            globals()[name] = found
            return found
        raise ImportError(
            f"This Airflow has no {name} in {' or '.join(_HOMES[name])}: 3.0.6 is the oldest that is supported."
        )


def _is_newer_than_3_1() -> bool:
    """From 3.2 on the SDK has exceptions of its own."""
    return hasattr(import_module("airflow.sdk.exceptions"), "AirflowRescheduleException")


def hosts_react() -> bool:
    """Whether the UI gives plugins what they are built of: 3.0 knows none, 3.1 gives them no Chakra.

    https://airflow.apache.org/docs/apache-airflow/stable/howto/custom-view-plugin.html
    """
    return _is_newer_than_3_1()


def heed_reschedules(operator: type[_Operator]) -> type[_Operator]:
    """Have the scheduler heed the moment of an operator's ``AirflowRescheduleException``.

    That of 3.0 and 3.1 does so for sensors alone, and starts any other task again at once, until its tries are used up; it is
    told there that the operator is one. Later ones ask no more what kind of task it was.

    https://github.com/apache/airflow/blob/3.0.6/airflow-core/src/airflow/ti_deps/deps/ready_to_reschedule.py
    """
    if _is_newer_than_3_1():  # as old as what is needed
        return operator
    from airflow.sdk import BaseSensorOperator

    BaseSensorOperator.register(operator)  # so a mapped one is known for what it is

    def serialized(cls: Any) -> Any:
        return super(operator, cls).get_serialized_fields() | {"reschedule", "_is_sensor"}

    for name, value in {
        "_is_sensor": True,
        "reschedule": True,
        "get_serialized_fields": classmethod(serialized),
    }.items():
        setattr(operator, name, value)
    return operator


def form_widgets(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of the connection form, as Airflow 3.0 and 3.1 read them of the hook; newer ones read the metadata alone.

    Those show them only where ``wtforms`` is installed, which comes with the FAB provider; elsewhere the extra is edited as JSON.

    :param fields: the ``conn-fields`` of the provider's metadata.
    :raises ImportError: ``wtforms`` is not installed; Airflow does not ask then.
    """
    wtforms = import_module("wtforms")
    return {
        # Text also for numbers: the old form's fields for them know no fraction.
        name: (wtforms.PasswordField if field["schema"].get("format") == "password" else wtforms.StringField)(
            field["label"], description=field["description"]
        )
        for name, field in fields.items()
    }


def form_behaviour(behaviour: dict[str, Any]) -> dict[str, Any]:
    """What the form hides and how it names things, as Airflow 3.0 and 3.1 read it of the hook.

    :param behaviour: the ``ui-field-behaviour`` of the provider's metadata.
    """
    return {name.replace("-", "_"): value for name, value in behaviour.items()}
