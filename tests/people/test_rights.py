"""The operators that erase and retain: what they refuse, what they show of people, and what they return."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.operators import PageConversationsErasureOperator, PageConversationsRetentionOperator
from airflow_provider_pageconv.parameters import UserIds
from tests.dump.exporting import export, store_of
from tests.operators.running import CONNECTION, connection, context
from tests.people.crowd import KEY, box_of_a_crowd, everybody, hashed, pseudonyms, search, told
from tests.people.named import SOMEBODY, SOMEBODY_ELSE, WRONG, WRONG_LISTS
from tests.servers.airflow_home import run_dags
from tests.servers.destinations import Destination, local

SECRET = KEY.decode()
TWO_YEARS = timedelta(days=730)
BOTH = [
    (PageConversationsErasureOperator, {"user_ids": [SOMEBODY]}),
    (PageConversationsRetentionOperator, {"keep": TWO_YEARS}),
]
both = pytest.mark.parametrize("operator, needed", BOTH, ids=["erasure", "retention"])


def erasure(destination: str, user_ids: Any, **options: Any) -> PageConversationsErasureOperator:
    return PageConversationsErasureOperator(
        **{"task_id": "erase", "destination": destination, "user_ids": user_ids, **options}
    )


def retention(destination: str, keep: Any = TWO_YEARS, **options: Any) -> PageConversationsRetentionOperator:
    return PageConversationsRetentionOperator(
        **{"task_id": "retain", "destination": destination, "keep": keep, **options}
    )


def run(task: Any) -> dict[str, Any]:
    result: dict[str, Any] = task.execute(context())
    return result


def exported(folder: Path, **how: Any) -> tuple[Destination, Any, Any]:
    """A data set, its Page and who is on it."""
    box, crowd = box_of_a_crowd()
    files = local(folder)
    with box:
        export(box, store_of(files), **how)
    return files, box, crowd


# ---- what is refused when the DAG is parsed


@pytest.mark.parametrize("value", [*WRONG, None], ids=repr)
def test_what_is_no_id_is_refused_when_the_dag_is_parsed(value: Any) -> None:
    """Nobody too: an erasure of nobody is a mistake. What is wrong may be a name, and is not shown."""
    for make in (erasure, lambda destination, user_ids: PageConversationsErasureOperator.partial(
        task_id="erase", destination=destination, user_ids=user_ids
    )):  # fmt: skip
        with pytest.raises(ValueError, match=r"^user_ids cannot be used, .*: it takes ids of people") as caught:
            make("file:///data", value)
        assert "Brontes" not in str(caught.value)
        assert SOMEBODY not in str(caught.value)
        assert "or None" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 730, "730 days", timedelta(0), timedelta(days=-1), "{{ var.value.keep }}"])
def test_how_long_something_is_kept_is_a_timedelta(value: Any) -> None:
    """Not a number of days, nor nothing at all."""
    with pytest.raises(ValueError, match=r"^keep is .*: it takes a timedelta longer than 0, such as timedelta\(days"):
        retention("file:///data", value)


@both
@pytest.mark.parametrize(
    "wrong", [{"destination": "data"}, {"page_id": "a/b"}, {"platform": "x"}, {"report_only": "yes"}, {"pageconv_conn_id": ""}]
)  # fmt: skip
def test_each_wrong_value_is_refused_in_a_sentence(
    operator: Any, needed: dict[str, Any], wrong: dict[str, Any]
) -> None:
    """When the DAG is parsed, mapped or not."""
    [name] = wrong
    values = {"task_id": "it", "destination": "file:///data", **needed, **wrong}
    for make in (operator, operator.partial):
        with pytest.raises(ValueError, match=rf"^{name} is .*: it takes "):
            make(**values)


@both
def test_a_destination_that_nothing_can_reach_ends_the_task(operator: Any, needed: dict[str, Any]) -> None:
    """For good, in a sentence."""
    with pytest.raises(AirflowFailException, match=r"^destination is 'nowhere://data'"):
        run(operator(task_id="it", destination="nowhere://data", **needed))


# ---- the list, and the secret


@pytest.mark.parametrize("content, says", WRONG_LISTS)
def test_a_list_that_cannot_be_used_is_refused_before_anything_is_changed(
    content: bytes | None, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a sentence with its path and nothing of what is in it."""
    files, _, _ = exported(tmp_path / "export")
    before = files.snapshot()
    people = tmp_path / "people.txt"
    if content is not None:
        people.write_bytes(content)
    with caplog.at_level(logging.DEBUG), pytest.raises(AirflowFailException) as caught:
        run(erasure(files.url, people.as_uri()))
    says = says.removesuffix(", or None to leave out nobody")
    assert str(caught.value) == f"user_ids is {people.as_uri()!r}, {says}."
    assert "Brontes" not in caplog.text
    assert files.snapshot() == before


def test_the_connection_is_read_only_where_ids_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not even exist; where it is needed, a sentence says what it lacks, before anything is changed."""
    files, _, crowd = exported(tmp_path / "plain")
    run(erasure(files.url, crowd.alone.id, pageconv_conn_id="nowhere"))
    assert search(tmp_path / "plain", told(crowd.alone)) == set()
    files, _, crowd = exported(tmp_path / "hashed", **pseudonyms())
    before = files.snapshot()
    monkeypatch.setenv(CONNECTION, connection(None))
    for conn_id in ("nowhere", "pageconv_default"):
        with pytest.raises(AirflowFailException, match=f"the connection {conn_id!r} has none. Put it into its extra"):
            run(erasure(files.url, crowd.alone.id, pageconv_conn_id=conn_id))
    assert files.snapshot() == before
    monkeypatch.setenv(CONNECTION, connection(None, pseudonym_secret="another"))
    with pytest.raises(AirflowFailException, match="another pseudonym_secret than the connection has now") as caught:
        run(erasure(files.url, crowd.alone.id))
    assert not [one for one in ("'another'", crowd.alone.id, hashed(crowd.alone.id)) if one in str(caught.value)]
    monkeypatch.setenv(CONNECTION, connection(None, pseudonym_secret=SECRET))
    run(erasure(files.url, crowd.alone.id))
    assert search(tmp_path / "hashed", {hashed(one) for one in told(crowd.alone)}) == set()
    assert run(retention(files.url, pageconv_conn_id="nowhere"))["windows"] == 1


def test_a_store_that_does_not_answer_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That may pass, so Airflow's retries go on."""
    from airflow_provider_pageconv.dump.store import LocalStore

    files, _, crowd = exported(tmp_path)

    def cut_off(*_: Any) -> Any:
        raise StoreError("Cannot list the bucket: it did not answer")

    monkeypatch.setattr(LocalStore, "list", cut_off)
    for task in (erasure(files.url, crowd.alone.id), retention(files.url)):
        with pytest.raises(StoreError, match="did not answer") as caught:
            run(task)
        assert not isinstance(caught.value, AirflowFailException)


def test_killed_it_says_that_the_next_try_does_the_rest(tmp_path: Path) -> None:
    """It changes nothing more, and is no failure for good."""
    files, _, crowd = exported(tmp_path)
    before = files.snapshot()
    for task in (erasure(files.url, crowd.alone.id), retention(files.url, timedelta(days=1))):
        task.on_kill()
        with pytest.raises(AirflowException, match="the next try does the rest") as caught:
            run(task)
        assert not isinstance(caught.value, AirflowFailException)
    assert files.snapshot() == before


# ---- what is shown, and returned


def test_ids_are_in_no_log_result_error_or_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every logger at DEBUG, where it is done, where it is only told, and where a window is damaged."""
    monkeypatch.setattr(logging.getLogger("airflow_provider_pageconv"), "level", logging.DEBUG)
    texts = []
    with caplog.at_level(logging.DEBUG):
        for number, damaged in enumerate((False, True)):
            files, box, crowd = exported(tmp_path / str(number))
            task = erasure(files.url, [crowd.alone.id, crowd.other.id])
            texts += [repr(task), str(task.user_ids)]
            if damaged:
                files.write(files.names("messages")[0], b"")
            for report_only in (True, False):
                task.report_only = report_only
                with suppress(AirflowException):
                    texts.append(json.dumps(run(task)))
    texts += [caplog.text, *(str(record.args) for record in caplog.records)]
    assert "conversation" in caplog.text
    for text in texts:
        assert not [one for one in everybody(box) if one in text]


def test_what_airflow_keeps_of_a_dag_tells_how_many_ids_there_are_and_no_more() -> None:
    """Parsed, and mapped over something else; a path and a template are kept as they are."""
    with DAG("forget", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        erasure("file:///data", [SOMEBODY, int(SOMEBODY_ELSE)])
        erasure("file:///data", SOMEBODY, task_id="one")
        erasure("file:///data", [SOMEBODY, "{{ params.who }}"], task_id="mixed")
        erasure("file:///data", "s3://aws_default@lists/people.txt", task_id="path")
        erasure("file:///data", "{{ var.value.people }}", task_id="template")
        PageConversationsErasureOperator.partial(
            task_id="mapped", destination="file:///data", user_ids=[SOMEBODY]
        ).expand(page_id=["1", "2"])
        retention("file:///data", task_id="retain")
    text = json.dumps(DagSerialization.to_dict(dag))
    assert SOMEBODY not in text
    assert SOMEBODY_ELSE not in text
    for shown in ("<2 ids, not shown>", "<1 id, not shown>", "s3://aws_default@lists/people.txt"):
        assert shown in text


def test_rendered_ids_are_hidden_and_used(tmp_path: Path) -> None:
    """Out of a template by itself, and out of one in a list."""
    for number, value in enumerate(("{{ who }}", ["{{ who }}"])):
        files, _, crowd = exported(tmp_path / str(number))
        task = erasure(files.url, value)
        task.render_template_fields({"who": crowd.alone.id})  # type: ignore[arg-type]
        assert isinstance(task.user_ids, UserIds)
        assert crowd.alone.id not in repr(task.user_ids)
        run(task)
        assert search(tmp_path / str(number), told(crowd.alone)) == set()


@both
def test_what_may_hold_a_template_is_what_the_contract_says(operator: Any, needed: dict[str, Any]) -> None:
    """And a path that is a template is read when it is rendered."""
    whole = {"destination", "user_ids", "page_id", "platform", "pageconv_conn_id"}
    assert set(operator.template_fields) == whole - ({"user_ids"} - needed.keys())


def test_what_was_done_is_returned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Windows, files, records; a line for each window that was changed, and one at the end."""
    files, _, crowd = exported(tmp_path)
    with caplog.at_level(logging.INFO):
        result = run(erasure(files.url, crowd.alone.id))
    assert {name: result[name] for name in ("report_only", "pages", "windows", "windows_changed", "windows_removed")} == {
        "report_only": False, "pages": 1, "windows": 1, "windows_changed": 1, "windows_removed": 0
    }  # fmt: skip
    assert result["destination"] == files.url
    assert result["conversations"] == 1
    assert result["messages"] > 1
    assert result["files_rewritten"] == 2
    assert result["warnings"] == []
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider_pageconv")]
    assert lines[-1].startswith(f"Erased 1 conversation, {result['messages']} messages")
    assert any(", inbox, all messages: 1 conversation" in line for line in lines)


def test_airflow_s_own_database_holds_none_of_them(airflow_home: Path, tmp_path: Path) -> None:
    """After a real run: rendered fields, the DAG as it is kept, the result, all other rows."""
    files, box, crowd = exported(tmp_path / "export")
    environment = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
        "PAGECONV_TEST_ROOT": files.url,
        "PAGECONV_TEST_PEOPLE": json.dumps([crowd.alone.id, crowd.other.id]),
    }
    [ran] = run_dags([{"dag_id": "forgotten"}], environment=environment)
    assert ran["state"] == "success", ran["log"][-3000:]
    assert ran["xcoms"]["listed"]["windows_changed"] == 1
    assert search(tmp_path / "export", told(crowd.alone) | told(crowd.other)) == set()
    with closing(sqlite3.connect(f"file:{airflow_home / 'airflow.db'}?mode=ro", uri=True)) as database:
        query = "select rendered_fields from rendered_task_instance_fields where dag_id = 'forgotten'"
        shown = {json.loads(fields)["user_ids"] for (fields,) in database.execute(query)}
        everything = "\n".join(database.iterdump())
    assert shown == {"<2 ids, not shown>"}
    assert not [one for one in everybody(box) if one in everything or one in ran["log"]]
