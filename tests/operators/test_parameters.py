"""Wrong parameters are refused in one sentence: when the DAG is parsed, or, out of a template, before the first call."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pageconv import parameters
from airflow_provider_pageconv.dump import formats
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.sandbox import Sandbox
from tests.operators.running import CONNECTION, connection, context, operator

ROOT = "the root of the data set, such as 's3://aws_default@bucket/pages' or 'file:///data'"
AN_ID = "an id of the Graph API (letters, digits, '.', '_' and '-'), or None"
FOLDERS = "a list of some of inbox, other, page_done, spam, each once; or None for all of them"
MOMENT = "a datetime with a time zone, ISO 8601 text with one such as '2026-11-21T00:00:00Z', or None"
FIELDS = "names of Graph API fields, such as 'id,participants', or None"
COMPRESSION = "'gzip' or 'none' with 'jsonl', 'zstd' or 'gzip' or 'snappy' or 'none' with 'parquet', or None for the first of them"
KINDS = "a list of MIME types such as ['image/*', 'application/pdf'], or None for all"
NAIVE = datetime(2026, 11, 21)  # noqa: DTZ001 - that is the point

WRONG: list[tuple[str, Any, str]] = [
    *(("destination", value, ROOT) for value in ("", " ", "relative/path", None, 7, "://", "file://", "file://data",
                                                  "s3://", "s3://aws_default@", "s3:///pages", "/", "///", "file:///")),
    *(("page_id", value, AN_ID) for value in ("", "a/b", "..", ".x", "a b", "x" * 129, "1\n", True, 1.5, ["1"])),
    *(("user_id", value, AN_ID) for value in ("", "../x", "ñ", b"1")),
    *(("folders", value, FOLDERS) for value in ((), [], "", "Inbox", "archive", "inbox,other", ["inbox", "inbox"], {"inbox": 1}, [3])),
    *(("platform", value, "'messenger' or 'instagram'") for value in ("", "facebook", None, 1)),
    *(("since", value, MOMENT) for value in ("", "None", "2026-11-21", "2026-11-21T00:00:00", NAIVE, 5, "yesterday",
                                             "2026-13-21T00:00:00Z", "P1D", "2026-11-21T00:00:00Z/2026-11-22T00:00:00Z")),
    *(("until", value, MOMENT) for value in ("", "None", NAIVE, True)),
    ("until", "9999-12-31T23:59:59Z", "a moment up to 9998-12-30, or None for what there is by now"),
    *(("settle", value, "a timedelta from 0 to 366 days") for value in (5, None, timedelta(seconds=-1), "5m",
                                                                        timedelta.max)),
    *(("messages", value, "True or False") for value in (1, None, "false")),
    *(("conversation_fields", value, FIELDS) for value in ("", [], "id,,name", "id{", "id}", "{x}", 7, [None])),
    *(("message_fields", value, FIELDS) for value in ("", "from{id", ["id", ""], "a b")),
    ("conversation_fields", "id,messages{id}", "fields of conversations; messages have their own, message_fields"),
    *(("page_size", value, "a whole number, 1 or more") for value in (0, -1, 2.5, "100", True, None)),
    *(("max_part_records", value, "a whole number, 1 or more") for value in (0, "1", False)),
    *(("file_format", value, "'jsonl' or 'parquet'") for value in ("csv", None, "JSONL")),
    *(("compression", value, COMPRESSION) for value in ("lz4", "", False)),
    *(("overwrite", value, "True or False") for value in (0, "yes")),
    *(("download_attachments", value, "True or False") for value in (1, "yes", None)),
    *(("max_attachment_bytes", value, "a whole number, 1 or more, or None") for value in (0, -1, "100 MB", 1.5, True)),
    *(("attachment_kinds", value, KINDS) for value in ([], "", "images", ["image"], ["*/*"], ["image/*; q=1"], [None], {"image/*"}, 7)),
    *(("on_rate_limit", value, "'reschedule' or 'defer' or 'wait' or 'fail'") for value in ("sleep", None)),
    *(("rate_limit_timeout", value, "a timedelta, 0 or longer") for value in (24, None)),
    *(("release_slot_after", value, "a timedelta longer than 0, or None") for value in (60, timedelta(0))),
    *(("pageconv_conn_id", value, "the id of a connection of type pageconv") for value in ("", " ", None, 3)),
]  # fmt: skip
TEMPLATED = {
    "destination", "page_id", "folders", "platform", "user_id", "since", "until", "conversation_fields", "message_fields",
    "exclude_user_ids", "pageconv_conn_id",
}  # fmt: skip


def test_the_parameters_that_may_be_templates_are_those_that_are_rendered() -> None:
    """Here, and where Airflow renders them; those that are checked go by the same."""
    assert set(operator("file:///data").template_fields) == TEMPLATED


def _sentence(name: str, value: Any, allowed: str) -> str:
    return f"{name} is {value!r}: it takes {allowed}."


@pytest.mark.parametrize("name, value, allowed", WRONG, ids=[f"{row[0]}={row[1]!r}"[:40] for row in WRONG])
def test_a_wrong_parameter_is_refused_when_the_dag_is_parsed(name: str, value: Any, allowed: str) -> None:
    """The sentence names the parameter, the value and what is allowed."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        operator(**{"destination": "file:///data", name: value})
    assert str(caught.value) == _sentence(name, value, allowed)


@pytest.mark.parametrize("name, value, allowed", WRONG, ids=[f"{row[0]}={row[1]!r}"[:40] for row in WRONG])
def test_a_wrong_parameter_of_mapped_tasks_is_refused_when_the_dag_is_parsed(
    name: str, value: Any, allowed: str
) -> None:
    """What all of them share is known then, although Airflow makes them only in the run."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        PageConversationsToObjectStorageOperator.partial(task_id="export", **{name: value})
    assert str(caught.value) == _sentence(name, value, allowed)


def test_a_wrong_parameter_that_tasks_are_mapped_over_ends_each_of_them_without_further_tries() -> None:
    """Airflow makes a mapped task, and with it checks the value, when the task runs."""
    with DAG("mapped", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        mapped = PageConversationsToObjectStorageOperator.partial(
            task_id="export", destination="file:///data", page_size=10
        ).expand(page_id=["1", "a/b"])
    assert mapped.unmap({"page_id": "1"}).page_size == 10
    with pytest.raises(AirflowFailException) as caught:
        mapped.unmap({"page_id": "a/b"})
    assert str(caught.value) == _sentence("page_id", "a/b", AN_ID)


RENDERED = [row for row in WRONG if row[0] in TEMPLATED and (isinstance(row[1], str) or row[0] == "folders")]


@pytest.mark.parametrize("name, value, allowed", RENDERED, ids=[f"{row[0]}={row[1]!r}"[:40] for row in RENDERED])
def test_a_wrong_parameter_out_of_a_template_is_refused_before_the_first_call(
    name: str, value: Any, allowed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same sentence, and no further try."""
    with Sandbox(conversations=1) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        task = operator(**{"destination": tmp_path.as_uri(), name: "{{ dag_run.conf.value }}"})
        setattr(task, name, value)  # what rendering does
        with pytest.raises(AirflowFailException) as caught:
            task.execute(context())  # type: ignore[arg-type]
        assert str(caught.value) == _sentence(name, value, allowed)
        assert box.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted({row[0] for row in WRONG} - TEMPLATED))
def test_a_template_where_none_is_rendered_is_refused_when_the_dag_is_parsed(name: str) -> None:
    """Nobody would ever render it: it is a wrong value like any other."""
    value = "{{ params.value }}"
    allowed = next(row[2] for row in WRONG if row[0] == name)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        operator(**{"destination": "file:///data", name: value})
    assert str(caught.value) == _sentence(name, value, allowed)


@pytest.mark.parametrize("name", sorted(TEMPLATED))
def test_a_template_is_left_alone_when_the_dag_is_parsed(name: str) -> None:
    """Whatever it will be; the others are checked all the same."""
    value: Any = "{{ dag_run.conf.value }}"
    operator(**{"destination": "file:///data", name: value})
    operator(**{"destination": "file:///data", name: [value, "x"] if name in ("folders", "message_fields") else value})
    with pytest.raises(ValueError, match=r"^page_size is 0"):
        operator(**{"destination": "file:///data", name: value, "page_size": 0})


@pytest.mark.parametrize("name", ["since", "destination", "page_id"])
def test_a_rendered_value_that_looks_like_a_template_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rendering is over when the task runs: what still looks like a template is a value, and a wrong one."""
    monkeypatch.setenv(CONNECTION, connection(None, page_id="1"))
    monkeypatch.setattr("airflow_provider_pageconv.graph.client.ATTEMPTS", 1)
    monkeypatch.chdir(tmp_path)
    task = operator(**{"destination": tmp_path.as_uri(), name: "{{ x }}"})
    allowed = {"since": MOMENT, "destination": ROOT, "page_id": AN_ID}[name]
    with pytest.raises(AirflowFailException) as caught:
        task.execute(context())  # type: ignore[arg-type]
    assert str(caught.value) == _sentence(name, "{{ x }}", allowed)


@given(st.text(max_size=20))
def test_an_id_is_taken_only_if_it_is_one_plain_step_of_a_path(name: str) -> None:
    """Letters, digits, dot, dash and underscore, and no dot in front: it stands in paths as it is."""
    try:
        taken = parameters.identifier("page_id", name)
    except ValueError:
        return
    assert taken == name
    assert name.isascii()
    assert not set(name) & set("/\\\0\n \t%?#=&")
    assert not name.startswith(".")


EMPTY = (
    "since is {since} and until is {until}: since has to be before until. In Airflow 3 a schedule such as '@daily' has an "
    "empty data interval; CronDataIntervalTimetable gives the task a whole one."
)


@pytest.mark.parametrize(
    "since, until",
    [("2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z"), ("2026-11-22T00:00:00Z", "2026-11-21T00:00:00Z")],
)
def test_an_empty_window_is_refused_with_a_word_about_airflow_3(since: str, until: str) -> None:
    """At parse time, and out of a template when the task runs."""
    sentence = EMPTY.format(since=since.replace("Z", "+00:00"), until=until.replace("Z", "+00:00"))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        operator("file:///data", since=since, until=until)
    assert str(caught.value) == sentence
    task = operator("file:///data", since="{{ a }}", until="{{ b }}")
    task.since, task.until = since, until
    with pytest.raises(AirflowFailException) as failed:
        task.execute(context())  # type: ignore[arg-type]
    assert str(failed.value) == sentence


def test_since_that_lies_behind_the_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """``since`` alone ends at ``run_after - settle``."""
    monkeypatch.setenv(CONNECTION, connection(None, page_id="1"))
    at = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
    task = operator("file:///data", since=at, settle=timedelta(minutes=5))
    with pytest.raises(AirflowFailException) as caught:
        task.execute(context(run_after=at + timedelta(minutes=5)))  # type: ignore[arg-type]
    assert str(caught.value) == EMPTY.format(since=at.isoformat(), until=at.isoformat())


def test_folders_of_one_platform_are_refused_on_the_other() -> None:
    """Instagram has one list."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        operator("file:///data", platform="Instagram", folders="inbox")
    assert str(caught.value) == "folders is 'inbox': it takes on instagram some of all, or None."
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - likewise
        operator("file:///data", folders=["all"])
    assert (
        str(caught.value) == "folders is ['all']: it takes on messenger some of inbox, other, page_done, spam, or None."
    )


@pytest.mark.parametrize("file_format, value", [("jsonl", "zstd"), ("jsonl", "snappy")])
def test_a_compression_that_only_another_format_has_is_refused(file_format: str, value: str) -> None:
    """Also where tasks are mapped and both are known; where only one is, the other one may still come."""
    for make in (operator, PageConversationsToObjectStorageOperator.partial):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
            make(task_id="export", destination="file:///data", file_format=file_format, compression=value)
        assert str(caught.value) == _sentence("compression", value, COMPRESSION)
    with DAG("mapped", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        mapped = PageConversationsToObjectStorageOperator.partial(
            task_id="export", destination="file:///data", compression=value
        ).expand(file_format=["parquet"])
    assert mapped.unmap({"file_format": "parquet"}).compression == value


@pytest.mark.parametrize("file_format, compression", [("jsonl", "gzip"), ("parquet", "zstd")])
def test_a_format_brings_its_own_compression(file_format: str, compression: str) -> None:
    """Where none is named."""
    checked = parameters.check({"file_format": file_format, "compression": None})
    assert checked == {"file_format": file_format, "compression": compression}


def test_formats_and_compressions_are_those_that_can_be_written() -> None:
    """What a task may name, and what the export knows how to name, write and read back."""
    known = [(file_format, one) for file_format, some in parameters.COMPRESSIONS.items() for one in some]
    assert sorted(known) == sorted(formats._SUFFIXES)


def test_parquet_without_pyarrow_is_refused_when_the_dag_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence with the command that helps; JSON Lines do not need it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    operator("file:///data")
    for make in (operator, PageConversationsToObjectStorageOperator.partial):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
            make(task_id="export", destination="file:///data", file_format="parquet")
        assert str(caught.value) == (
            "file_format is 'parquet': it needs a package that is not installed here: "
            "pip install 'airflow-provider-pageconv[parquet]' wherever DAG files are parsed and tasks run."
        )


def test_a_dag_file_with_parquet_does_not_load_it() -> None:
    """It is looked for, no more: DAG files are parsed all day."""
    code = (
        "import sys\n"
        "from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator as Export\n"
        "Export(task_id='export', destination='file:///data', file_format='parquet')\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'pyarrow'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_page_is_an_error_that_says_where_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the task nor the connection does."""
    monkeypatch.setenv(CONNECTION, connection(None))
    with pytest.raises(AirflowFailException) as caught:
        operator(tmp_path.as_uri()).execute(context())  # type: ignore[arg-type]
    assert str(caught.value) == (
        "No page_id: neither the task nor the extra of the connection 'pageconv_default' names a Page."
    )


@pytest.mark.parametrize(
    "options",
    [
        {"destination": "s3://aws_default@bucket/pages"},
        {"destination": ObjectStoragePath("file:///data")},
        {"destination": "/data"},
        {"page_id": 100200300},
        {"folders": "spam"},
        {"folders": ("inbox", "other")},
        {"platform": "INSTAGRAM"},
        {"platform": "Instagram", "folders": "all"},
        {"since": "2026-11-21T00:00:00+01:00"},
        {"since": "2026-11-21 00:00:00.123456Z", "until": datetime(2026, 11, 22, tzinfo=timezone.utc)},
        {"settle": timedelta(0)},
        {"conversation_fields": "id,participants{id,name}"},
        {"message_fields": ["id", "attachments.limit(5){id,image_data{url}}"]},
        {"compression": "none"},
        {"file_format": "parquet"},
        *({"file_format": "parquet", "compression": value} for value in (None, "zstd", "gzip", "snappy", "none")),
        {"release_slot_after": None},
    ],
    ids=str,
)
def test_right_parameters_are_taken(options: dict[str, Any]) -> None:
    """In all the forms that users write them."""
    operator(**{"destination": "file:///data", **options})


NO_LINKS = "it is there that the links to files stand."


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"messages": False}, "download_attachments needs messages=True: attachments are those of messages."),
        (
            {"message_fields": "id,message"},
            f"download_attachments needs attachments among message_fields, and not among exclude_fields: {NO_LINKS}",
        ),
        (
            {"exclude_fields": ["attachments"]},
            f"download_attachments needs attachments among message_fields, and not among exclude_fields: {NO_LINKS}",
        ),
        (
            {"message_fields": "id,attachments{id,name,mime_type}"},
            "download_attachments needs one of url, file_url, image_data, video_data inside attachments{…} of message_fields: "
            + NO_LINKS,
        ),
    ],
    ids=str,
)
def test_files_whose_links_are_not_asked_for_are_refused(options: dict[str, Any], sentence: str) -> None:
    """When the DAG is parsed; without them the same is right."""
    with pytest.raises(ValueError, match=r".") as caught:
        operator("file:///data", download_attachments=True, **options)
    assert str(caught.value) == sentence
    operator("file:///data", **options)


def test_kinds_of_files_that_are_not_fetched_are_refused() -> None:
    """Whoever names some wants them."""
    with pytest.raises(ValueError, match=r"it takes None where download_attachments is not True"):
        operator("file:///data", attachment_kinds=["image/*"])
    operator("file:///data", download_attachments=True, attachment_kinds="Image/*", max_attachment_bytes=None)
