"""What the operator's parameters may be; every refusal is one sentence with the parameter, its value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from typing import Any

from airflow_provider_pageconv.compat import AirflowFailException
from airflow_provider_pageconv.graph.names import FOLDERS, PSEUDONYMS, field_name, parse_fields
from airflow_provider_pageconv.times import round_up

COMPRESSIONS = {"jsonl": ("gzip", "none"), "parquet": ("zstd", "gzip", "snappy", "none")}
"""By format; the first is taken where none is named."""

FILE_FORMATS = tuple(COMPRESSIONS)
LONGEST_SETTLE = timedelta(days=366)
ON_EMPTY = ("warn", "ok", "fail")
ON_RATE_LIMIT = ("reschedule", "defer", "wait", "fail")

# As texts: compiled when they are first used, they cost a DAG file that is only parsed nothing.
_LAST = datetime.max.replace(microsecond=0, tzinfo=timezone.utc) - LONGEST_SETTLE
# A path below the root, or an address that names more than a scheme and a connection; file addresses hold such a path.
_ROOT = r"(file://)?/+[^/]|(?!file:)[A-Za-z][A-Za-z0-9+.-]*://([^/@]+@)?[^/@]+(/|\Z)"
# It stands in paths as it is.
_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z"
_ASKS_FOR_INTERVAL = (
    r"\b(data_interval_(start|end)|logical_date|ds(_nodash)?|ts(_nodash(_with_tz)?)?|task_instance_key_str)\b"
)
_MIME = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/(\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,80})\Z"
_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "adl", "az", "wasb", "wasbs"), "azure"),
}
_ZONED = r"\d{4}-?\d\d-?\d\d[T ]\d\d(:?\d\d){0,2}([.,]\d+)?\s?(Z|[+-]\d\d(:?\d\d)?)\Z"


class ParameterError(AirflowFailException, ValueError):
    """A parameter cannot be used. Airflow makes mapped tasks only when they run, and is not to try such a one again."""


class NoInterval(str):
    """A template that cannot be rendered: it asks for the data interval of a run that has none."""

    __slots__ = ()


class UserIds:
    """Ids of people, or templates of some. Airflow writes down what a task was given, in two tables; of this it writes
    how many there are.

    :param values: as they were given.
    """

    template_fields = ("values",)
    """Where Airflow looks for the outputs of other tasks."""

    def __init__(self, values: Any) -> None:
        self.values: tuple[Any, ...] = tuple(values) if isinstance(values, (list, tuple, set, frozenset)) else (values,)

    def __repr__(self) -> str:
        return f"<{len(self.values)} {'id' if len(self.values) == 1 else 'ids'}, not shown>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UserIds) and other.values == self.values

    def __hash__(self) -> int:
        return hash(self.values)


def hidden(value: Any) -> Any:
    """Ids of people as something that tells none of them; the path of a list, a template and ``None`` stay as they are."""
    if value is None or isinstance(value, UserIds) or hasattr(value, "iter_references"):
        return value
    is_path = not isinstance(value, (list, tuple, set, frozenset, int)) and ("/" in str(value) or is_template(value))
    return value if is_path else UserIds(value)


def is_template(value: object) -> bool:
    """Whether a value is known only when the task runs: it holds Jinja, or is the output of another task."""
    if isinstance(value, UserIds):
        return is_template(value.values)
    if isinstance(value, str):
        return any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(is_template(item) for item in value)
    return hasattr(value, "iter_references")


def refuse(name: str, value: object, allowed: str) -> ParameterError:
    return ParameterError(f"{name} is {value!r}: it takes {allowed}.")


def asks_for_interval(template: str) -> bool:
    """Whether a template asks for what only a run with a logical date has.

    https://airflow.apache.org/docs/apache-airflow/stable/templates-ref.html
    """
    return bool(re.search(_ASKS_FOR_INTERVAL, template))


def no_file_system(value: object, found: object, name: str = "destination") -> ParameterError:
    """What is said of a path whose scheme nothing here can read."""
    scheme = str(value).partition("://")[0]
    extra = _EXTRAS.get(scheme)
    if extra is None:
        return refuse(name, str(value), f"s3://, gs://, abfs:// or file:// ({found})")
    return ParameterError(
        f"{name} is {str(value)!r}: {scheme}:// needs a package that is not installed here: "
        f"pip install 'airflow-provider-pageconv[{extra}]' wherever tasks run."
    )


def destination(name: str, value: Any) -> Any:
    if not re.match(_ROOT, str(value) if value is not None else ""):
        raise refuse(name, value, "the root of the data set, such as 's3://aws_default@bucket/pages' or 'file:///data'")
    return value


def identifier(name: str, value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not re.match(_ID, text) or text == "None":
        raise refuse(name, value, "an id of the Graph API (letters, digits, '.', '_' and '-'), or None")
    return text


def platform(name: str, value: Any) -> str:
    if not isinstance(value, str) or value.lower() not in FOLDERS:
        raise refuse(name, value, "'messenger' or 'instagram'")
    return value.lower()


def one_folder(platform_value: Any, folder: Any) -> tuple[str, str]:
    """The platform and the list of it that somebody reads; Instagram has one, for which ``folder`` is left alone."""
    chosen = platform("platform", platform_value)
    if chosen == "instagram":
        if folder != "inbox":
            raise refuse("folder", folder, "nothing here, for Instagram has one list only")
        return chosen, FOLDERS[chosen][0]
    if folder not in FOLDERS[chosen]:
        raise refuse("folder", folder, f"one of {', '.join(FOLDERS[chosen])}")
    return chosen, str(folder)


def node_id(name: str, value: Any) -> str:
    """An id that the API gave; what is in it is the API's business."""
    if not isinstance(value, str) or not value:
        raise refuse(name, value, "the id of a conversation")
    return value


def percent(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 100:
        raise refuse(name, value, "a number above 0, up to 100")
    return value


def folders(name: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    listed = [value] if isinstance(value, str) else value
    known = [folder for each in FOLDERS.values() for folder in each]
    good = isinstance(listed, (list, tuple)) and listed and all(folder in known for folder in listed)
    if not good or len(set(listed)) < len(listed):
        raise refuse(
            name, value, f"a list of some of {', '.join(FOLDERS['messenger'])}, each once; or None for all of them"
        )
    return tuple(listed)


def conversation_fields(name: str, value: Any) -> tuple[str, ...] | None:
    fields = message_fields(name, value)
    if fields and any(field_name(one) == "messages" for one in fields):
        raise refuse(name, value, "fields of conversations; messages have their own, message_fields")
    return fields


def message_fields(name: str, value: Any) -> tuple[str, ...] | None:
    try:
        return parse_fields(name, value)
    except ValueError as error:
        raise ParameterError(str(error)) from None


def pseudonymize(name: str, value: Any) -> tuple[str, ...]:
    """What of people becomes a keyed hash, in one order whatever it was named in."""
    if value is None:
        return ()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)) or not listed or any(one not in PSEUDONYMS for one in listed):
        raise refuse(name, value, f"a list of some of {', '.join(PSEUDONYMS)}; or None")
    return tuple(one for one in PSEUDONYMS if one in listed)


def attachment_kinds(name: str, value: Any) -> tuple[str, ...] | None:
    """Patterns of MIME types, in lower case."""
    if value is None:
        return None
    listed = [value] if isinstance(value, str) else value
    good = isinstance(listed, (list, tuple)) and listed and all(isinstance(one, str) for one in listed)
    if not good or not all(re.match(_MIME, one.lower()) for one in listed):
        raise refuse(name, value, "a list of MIME types such as ['image/*', 'application/pdf'], or None for all")
    return tuple(sorted({one.lower() for one in listed}))


def exclude_fields(name: str, value: Any) -> tuple[str, ...]:
    """Names of fields that are not asked for; whether there are such, :func:`check` sees."""
    if value is None:
        return ()
    fields = message_fields(name, value) or ()
    if any(field_name(one) != one for one in fields):
        raise refuse(name, value, "names of whole fields, such as ['message', 'attachments']; or None")
    return tuple(sorted(set(fields)))


def is_id_of_a_person(value: object) -> bool:
    """Whether this is what the API calls people by: a number, as text or not."""
    return (
        not isinstance(value, bool) and isinstance(value, (str, int)) and bool(re.match(r"[0-9]{1,64}\Z", str(value)))
    )


def optional_user_ids(name: str, value: Any) -> UserIds | str | None:
    """As :func:`user_ids`, or ``None``."""
    return None if value is None else user_ids(name, value, ", or None")


def user_ids(name: str, value: Any, otherwise: str = "") -> UserIds | str:
    """Ids of people, hidden, or the path of a list of them, to be read with :func:`~.user_ids.read_user_ids`.

    :param otherwise: what else is allowed.
    :raises ParameterError: it is neither; the sentence shows no id, nor what may be a name.
    """
    found = hidden(value)
    allowed = "ids of people (digits alone, at least one), or the path of a list of them such as 's3://aws_default@bucket/ids'"
    if found is not None and not isinstance(found, UserIds):
        return str(found)
    found = found or UserIds(())
    wrong = [place for place, one in enumerate(found.values, 1) if not is_id_of_a_person(one)]
    if wrong or not found.values:
        where = f"number {wrong[0]} of {len(found.values)} is none" if wrong else "it is empty"
        raise ParameterError(f"{name} cannot be used, {where}: it takes {allowed}{otherwise}.")
    return found


def moment(name: str, value: Any) -> datetime | None:
    """A moment with a time zone, rounded up to whole seconds, in UTC."""
    if value is None:
        return None
    allowed = "a datetime with a time zone, ISO 8601 text with one such as '2026-11-21T00:00:00Z', or None"
    time = value
    if isinstance(value, str):
        if not re.match(_ZONED, value.strip()):
            raise refuse(name, value, allowed)
        import pendulum

        try:
            time = pendulum.parse(value.strip())
        except ValueError:
            raise refuse(name, value, allowed) from None
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise refuse(name, value, allowed)
    try:
        return round_up(time)
    except OverflowError:
        raise refuse(name, value, allowed) from None


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise refuse(name, value, "True or False")
    return value


def count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refuse(name, value, "a whole number, 1 or more")
    return value


def optional_count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refuse(name, value, "a whole number, 1 or more, or None")
    return value


def duration(name: str, value: Any) -> timedelta:
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise refuse(name, value, "a timedelta, 0 or longer")
    return value


def keep(name: str, value: Any) -> timedelta:
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise refuse(name, value, "a timedelta longer than 0, such as timedelta(days=730)")
    return value


def optional_platform(name: str, value: Any) -> str | None:
    return None if value is None else platform(name, value)


def settle(name: str, value: Any) -> timedelta:
    if not isinstance(value, timedelta) or not timedelta(0) <= value <= LONGEST_SETTLE:
        raise refuse(name, value, f"a timedelta from 0 to {LONGEST_SETTLE.days} days")
    return value


def optional_duration(name: str, value: Any) -> timedelta | None:
    if value is None:
        return None
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise refuse(name, value, "a timedelta longer than 0, or None")
    return value


def file_format(name: str, value: Any) -> str:
    chosen = _one_of(name, value, FILE_FORMATS)
    # Only looked for: loaded it is when a task writes with it, and not whenever its DAG file is parsed.
    if chosen == "parquet" and find_spec("pyarrow") is None:
        raise ParameterError(
            f"{name} is {value!r}: it needs a package that is not installed here: "
            "pip install 'airflow-provider-pageconv[parquet]' wherever DAG files are parsed and tasks run."
        )
    return chosen


def compression(name: str, value: Any, file_formats: Sequence[str] = FILE_FORMATS) -> str | None:
    """A compression that one of these formats has; ``None`` for the format's own."""
    if value is None:
        return None
    if not any(value in COMPRESSIONS[one] for one in file_formats):
        each = ", ".join(f"{_either(some)} with {one!r}" for one, some in COMPRESSIONS.items())
        raise refuse(name, value, f"{each}, or None for the first of them")
    return str(value)


def on_empty(name: str, value: Any) -> str:
    return _one_of(name, value, ON_EMPTY)


def on_rate_limit(name: str, value: Any) -> str:
    return _one_of(name, value, ON_RATE_LIMIT)


def connection_id(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise refuse(name, value, "the id of a connection of type pageconv")
    return value


def _one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise refuse(name, value, _either(allowed))
    return str(value)


def _either(allowed: Sequence[str]) -> str:
    return " or ".join(repr(one) for one in allowed)


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "destination": destination,
    "page_id": identifier,
    "folders": folders,
    "platform": platform,
    "user_id": identifier,
    "since": moment,
    "until": moment,
    "settle": settle,
    "messages": flag,
    "conversation_fields": conversation_fields,
    "message_fields": message_fields,
    "page_size": count,
    "file_format": file_format,
    "compression": compression,
    "max_part_records": count,
    "keep_deleted": flag,
    "overwrite": flag,
    "download_attachments": flag,
    "max_attachment_bytes": optional_count,
    "attachment_kinds": attachment_kinds,
    "pseudonymize": pseudonymize,
    "exclude_fields": exclude_fields,
    "exclude_user_ids": optional_user_ids,
    "on_empty": on_empty,
    "on_rate_limit": on_rate_limit,
    "rate_limit_timeout": duration,
    "release_slot_after": optional_duration,
    "pageconv_conn_id": connection_id,
}

PUBLISHED: Mapping[str, Callable[[str, Any], Any]] = {
    "destination": destination,
    "user_ids": user_ids,
    "keep": keep,
    "page_id": identifier,
    "platform": optional_platform,
    "report_only": flag,
    "pageconv_conn_id": connection_id,
}
"""Of the operators that change what is published; each takes some of them."""


TEMPLATED = (
    "destination",
    "page_id",
    "folders",
    "platform",
    "user_id",
    "since",
    "until",
    "conversation_fields",
    "message_fields",
    "exclude_user_ids",
    "pageconv_conn_id",
)
"""Those that are rendered; in the others a template is a wrong value like any other."""


def check(
    values: Mapping[str, Any],
    *,
    rendered: bool = False,
    checks: Mapping[str, Callable[[str, Any], Any]] = CHECKS,
    templated: Collection[str] = TEMPLATED,
) -> dict[str, Any]:
    """Check parameters, those that hold a template left aside.

    :param values: by name.
    :param checks: what each of them may be.
    :param templated: names of those that are rendered.
    :param rendered: whether templates have been rendered, so that what looks like one is a value.
    :return: the checked ones in the form that the export works with.
    :raises ParameterError: one of them cannot be used, by itself or together with another.
    """
    for name, value in values.items():
        if isinstance(value, NoInterval):
            raise ParameterError(
                f"{name} is {str(value)!r}, and this run has no data interval: give it a logical date (Trigger in the UI, or "
                "airflow dags trigger --logical-date: the last interval that is over), fetch another day with airflow backfill "
                "create, or give the task a since and until of its own."
            )
    known = {
        name: value for name, value in values.items() if rendered or name not in templated or not is_template(value)
    }
    checked = {name: checks[name](name, value) for name, value in known.items()}
    if "platform" in checked and checked.get("folders"):
        wrong = [folder for folder in checked["folders"] if folder not in FOLDERS[checked["platform"]]]
        if wrong:
            allowed = ", ".join(FOLDERS[checked["platform"]])
            raise refuse("folders", values["folders"], f"on {checked['platform']} some of {allowed}, or None")
    if "file_format" in checked and "compression" in checked:
        chosen = checked["file_format"]
        checked["compression"] = compression("compression", checked["compression"], [chosen]) or COMPRESSIONS[chosen][0]
    _check_fields(values, checked)
    _check_downloads(values, checked)
    since, until = checked.get("since"), checked.get("until")
    if since is not None and until is not None:
        check_order(since, until)
    if until is not None and until > _LAST:
        raise refuse("until", values["until"], f"a moment up to {_LAST:%Y-%m-%d}, or None for what there is by now")
    return checked


def _check_fields(values: Mapping[str, Any], checked: Mapping[str, Any]) -> None:
    """Refuse to leave out fields that are not asked for, or without which nobody can tell whose something is.

    :raises ParameterError: they are such.
    """
    asked = {name: checked.get(name) for name in ("conversation_fields", "message_fields") if name in checked}
    left_out = checked.get("exclude_fields", ())
    if left_out and len(asked) == 2:
        from airflow_provider_pageconv.graph.fields import excludable

        known = excludable(*asked.values())
        if wrong := [one for one in left_out if one not in known]:
            why = f"{wrong[0]!r} is always asked for, or not at all"
            raise refuse("exclude_fields", values["exclude_fields"], f"some of {', '.join(known)}, or None; {why}")
    if values.get("exclude_user_ids") is None:
        return
    for name, needed in (("conversation_fields", "participants"), ("message_fields", "from")):
        fields = asked.get(name)
        if needed in left_out or (fields and needed not in map(field_name, fields)):
            raise ParameterError(
                f"exclude_user_ids needs {needed} among {name}, and not among exclude_fields: without it nobody can tell "
                "whose a conversation or a message is."
            )


_LINKS = ("url", "file_url", "image_data", "video_data")
"""Fields of attachments that hold links to files."""


def _check_downloads(values: Mapping[str, Any], checked: Mapping[str, Any]) -> None:
    """Refuse to fetch files whose links are not asked for.

    :raises ParameterError: they are not, or kinds of files are named and none are fetched.
    """
    if not checked.get("download_attachments"):
        if checked.get("attachment_kinds") is not None:
            raise refuse("attachment_kinds", values["attachment_kinds"], "None where download_attachments is not True")
        return
    if checked.get("messages") is False:
        raise ParameterError("download_attachments needs messages=True: attachments are those of messages.")
    asked = checked.get("message_fields")
    given = None if asked is None else [one for one in asked if field_name(one) == "attachments"]
    if "attachments" in checked.get("exclude_fields", ()) or given == []:
        raise ParameterError(
            "download_attachments needs attachments among message_fields, and not among exclude_fields: it is there that the "
            "links to files stand."
        )
    inner = given[0].partition("{")[2] if given else ""
    if inner and not any(re.search(rf"\b{name}\b", inner) for name in _LINKS):
        raise ParameterError(
            f"download_attachments needs one of {', '.join(_LINKS)} inside attachments{{…}} of message_fields: it is there that "
            "the links to files stand."
        )


def check_order(since: datetime, until: datetime) -> None:
    """Refuse a window that holds nothing.

    :raises ParameterError: ``since`` is not before ``until``.
    """
    if since >= until:
        raise ParameterError(
            f"since is {since.isoformat()} and until is {until.isoformat()}: since has to be before until. "
            "In Airflow 3 a schedule such as '@daily' has an empty data interval; "
            "CronDataIntervalTimetable gives the task a whole one."
        )
