"""People whom a task names are shown nowhere, and what cannot be used is refused in a sentence without them."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.parameters import UserIds
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import every_step_saved
from tests.operators.running import CONNECTION, connection, context, operator, run
from tests.people.crowd import ALL, KEY, box_of_a_crowd, everybody, hashed, search, told
from tests.people.named import SOMEBODY, SOMEBODY_ELSE, WRONG, WRONG_LISTS
from tests.servers.airflow_home import run_dags
from tests.servers.destinations import local

SECRET = KEY.decode()


# ---- the list


LISTS: list[tuple[bytes, set[str]]] = [
    (b"1403689654214327\n1404936837137626\n", {SOMEBODY, SOMEBODY_ELSE}),
    (b"\xef\xbb\xbf# asked on 2026-11-20\r\n\r\n  1403689654214327  # Ana\r\n", {SOMEBODY}),
    (b"1404936837137626", {SOMEBODY_ELSE}),
]


@pytest.mark.parametrize("content, left_out", LISTS)
def test_a_list_has_an_id_on_a_line(
    content: bytes, left_out: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty lines and what follows a # count as none, and a mark of the order of bytes is none of an id."""
    box, crowd = box_of_a_crowd()
    people = tmp_path / "people.txt"
    people.write_bytes(content)
    assert {crowd.alone.id, crowd.other.id} == {SOMEBODY, SOMEBODY_ELSE}
    with box:
        monkeypatch.setenv(CONNECTION, connection(box))
        run((tmp_path / "export").as_uri(), folders="inbox", exclude_user_ids=people.as_uri())
    found = search(tmp_path / "export", {SOMEBODY, SOMEBODY_ELSE})
    assert {one.partition(" in ")[0] for one in found} == {SOMEBODY, SOMEBODY_ELSE} - left_out


@pytest.mark.parametrize("content, says", WRONG_LISTS)
def test_a_list_that_cannot_be_used_is_refused_before_the_first_call(
    content: bytes | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a sentence with its path and nothing of what is in it, for good, and with nothing written."""
    people = tmp_path / "people.txt"
    if content is not None:
        people.write_bytes(content)
    with Sandbox(conversations=3) as box, caplog.at_level(logging.DEBUG):
        monkeypatch.setenv(CONNECTION, connection(box))
        with pytest.raises(AirflowFailException) as caught:
            run((tmp_path / "export").as_uri(), exclude_user_ids=people.as_uri())
        assert box.requests == []
    assert str(caught.value) == f"exclude_user_ids is {people.as_uri()!r}, {says}."
    assert "Brontes" not in caplog.text
    assert not (tmp_path / "export").exists()


def test_a_list_whose_store_does_not_answer_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That may pass, so Airflow's retries go on; to export without the list would publish who is on it."""
    from fsspec.implementations.local import LocalFileSystem

    def cut_off(*_: Any, **__: Any) -> bytes:
        raise ConnectionError("Ana Brontes")

    people = tmp_path / "people.txt"
    with Sandbox(conversations=3) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        monkeypatch.setattr(LocalFileSystem, "cat_file", cut_off)
        with pytest.raises(AirflowException) as caught:
            run((tmp_path / "export").as_uri(), exclude_user_ids=people.as_uri())
        assert not isinstance(caught.value, AirflowFailException)
        assert (
            str(caught.value) == f"exclude_user_ids is {people.as_uri()!r}, which could not be read: ConnectionError."
        )
        assert box.requests == []


def test_the_list_is_read_at_the_start_of_every_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is put on it after a try has failed is not published by the next one."""
    box, crowd = box_of_a_crowd()
    people, root = tmp_path / "people.txt", tmp_path / "export"
    people.write_text(crowd.other.id)
    with box, every_step_saved():
        monkeypatch.setenv(CONNECTION, connection(box))
        how = {"folders": "inbox", "page_size": 5, "exclude_user_ids": people.as_uri()}
        box.faults.add(Fault(code=190, at=4))
        with pytest.raises(AirflowException):
            run(root.as_uri(), **how)
        assert search(root / "_staging", {crowd.alone.id})
        people.write_text(f"{crowd.other.id}\n{crowd.alone.id}")
        box.faults.clear()
        run(root.as_uri(), **how)
    assert search(root, told(crowd.alone) | {crowd.other.id}) == set()


# ---- what is refused when the DAG is parsed


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_what_is_no_id_is_refused_when_the_dag_is_parsed(value: Any) -> None:
    """By its place alone: it may be a name."""
    for make in (operator, PageConversationsToObjectStorageOperator.partial):
        with pytest.raises(ValueError, match=r"^exclude_user_ids cannot be used, .*: it takes ids of people") as caught:
            make(task_id="export", destination="file:///data", exclude_user_ids=value)
        assert "Brontes" not in str(caught.value)
        assert SOMEBODY not in str(caught.value)


@pytest.mark.parametrize(
    "fields, needed",
    [
        ({"conversation_fields": "id,snippet"}, "participants"),
        ({"message_fields": ["id", "message"]}, "from"),
        ({"exclude_fields": ["participants"]}, "participants"),
        ({"exclude_fields": ["from"]}, "from"),
    ],
)
def test_people_cannot_be_left_out_where_nobody_can_tell_who_is_who(fields: dict[str, Any], needed: str) -> None:
    """Refused when the DAG is parsed, even where the ids come out of a template."""
    for value in ([SOMEBODY], "{{ var.value.people }}"):
        with pytest.raises(
            ValueError, match=rf"^exclude_user_ids needs {needed} among .*, and not among exclude_fields"
        ):
            operator("file:///data", exclude_user_ids=value, **fields)


@pytest.mark.parametrize("value", [[], "id,name", ["phone"], [["id"]], 5, {"id"}, ""])
def test_only_four_fields_can_be_pseudonymised(value: Any) -> None:
    """Any other would stay as it is, which nobody may find out too late."""
    with pytest.raises(
        ValueError, match=r"^pseudonymize is .*: it takes a list of some of name, email, username, id; or None"
    ):
        operator("file:///data", pseudonymize=value)


# ---- the secret


@pytest.mark.parametrize("extra", [{}, {"pseudonym_secret": ""}, {"pseudonym_secret": "  "}])
def test_without_a_secret_nothing_is_exported(
    extra: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence before the first call, for good."""
    with Sandbox(conversations=3) as box:
        monkeypatch.setenv(CONNECTION, connection(box, **extra))
        with pytest.raises(
            AirflowFailException, match=r"'pageconv_default' has no pseudonym_secret\. Put a long random"
        ):
            run(tmp_path.as_uri(), pseudonymize=["id"])
        assert box.requests == []
        monkeypatch.setenv(CONNECTION, connection(box, **extra))
        run(tmp_path.as_uri())


def test_with_another_secret_an_export_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest knows the secret by a fingerprint, and the sentence shows neither."""
    with Sandbox(conversations=3) as box:
        monkeypatch.setenv(CONNECTION, connection(box, pseudonym_secret=SECRET))
        run(tmp_path.as_uri(), pseudonymize=["id"])
        monkeypatch.setenv(CONNECTION, connection(box, pseudonym_secret="another"))
        with pytest.raises(
            AirflowFailException, match="with another pseudonym_secret than the connection has now"
        ) as caught:
            run(tmp_path.as_uri(), "run-2", pseudonymize=["id"])
    for text in (SECRET, "'another'"):
        assert text not in str(caught.value)


def test_the_secret_is_masked_and_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the token is."""
    from airflow_provider_pageconv import hooks

    told_to_mask: list[Any] = []
    monkeypatch.setattr(hooks, "_mask_texts", lambda *texts: told_to_mask.extend(texts))
    with Sandbox(conversations=0) as box:
        monkeypatch.setenv(CONNECTION, connection(box, pseudonym_secret=SECRET))
        hook = PageConversationsHook()
        assert SECRET not in repr(hook.settings)
        assert SECRET in told_to_mask
        assert hook.pseudonym_key() == KEY


def test_on_instagram_the_account_stays_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Page is asked for its id; one that names none is refused, and a limit there is waited out like any other."""
    with Sandbox(conversations=0, instagram=4, messages=2) as box:
        monkeypatch.setenv(CONNECTION, connection(box, pseudonym_secret=SECRET))
        run(tmp_path.as_uri(), platform="instagram", pseudonymize=ALL)
        own = {"username": "sandbox.page", "id": box.page.instagram_id}
        for record in local(tmp_path).records("conversations"):
            assert own in record["participants"]["data"]
        box.faults.add(Fault(code=80002, path="/[0-9]+$", regain=7))
        from airflow.sdk.exceptions import AirflowRescheduleException

        with pytest.raises(AirflowRescheduleException):
            run(tmp_path.as_uri(), "run-2", platform="instagram", pseudonymize=ALL, on_rate_limit="reschedule")
        box.faults.clear()
        box.faults.add(Fault(code=10, path="/[0-9]+$"))
        with pytest.raises(AirflowFailException):
            run(tmp_path.as_uri(), "run-3", platform="instagram", pseudonymize=ALL)


# ---- shown nowhere


def test_ids_and_secrets_are_in_no_log_result_error_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With every logger at DEBUG; people stand in the data alone, and there as pseudonyms."""
    box, crowd = box_of_a_crowd()
    for name in ("urllib3", "airflow_provider_pageconv"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    with box, every_step_saved(), caplog.at_level(logging.DEBUG):
        monkeypatch.setenv(CONNECTION, connection(box, pseudonym_secret=SECRET))
        how = {"pseudonymize": ALL, "exclude_user_ids": [crowd.other.id], "page_size": 5, "folders": "inbox"}
        task = operator(tmp_path.as_uri(), **how)
        result = task.execute(context())  # type: ignore[arg-type]
        texts = [json.dumps(result), repr(task._export._spec), caplog.text, repr(task), str(task.exclude_user_ids)]
        texts += [str(record.args) for record in caplog.records]
        people = everybody(box)
    assert any("urllib3" in record.name for record in caplog.records)
    for text in texts:
        assert not [one for one in {*people, SECRET, hashed(crowd.other.id)} if one in text]
    assert search(tmp_path, {*people, SECRET, *(hashed(one) for one in told(crowd.other))}) == set()


def test_what_airflow_keeps_of_a_dag_tells_how_many_ids_there_are_and_no_more() -> None:
    """Parsed, and mapped over something else; a path and a template are kept as they are."""
    with DAG("people", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        operator("file:///data", exclude_user_ids=[SOMEBODY, int(SOMEBODY_ELSE)])
        operator("file:///data", task_id="one", exclude_user_ids=SOMEBODY)
        operator("file:///data", task_id="mixed", exclude_user_ids=[SOMEBODY, "{{ params.who }}"])
        operator("file:///data", task_id="path", exclude_user_ids="s3://aws_default@lists/people.txt")
        operator("file:///data", task_id="template", exclude_user_ids="{{ var.value.people }}")
        PageConversationsToObjectStorageOperator.partial(
            task_id="mapped", destination="file:///data", exclude_user_ids=[SOMEBODY]
        ).expand(page_id=["1", "2"])
    text = json.dumps(DagSerialization.to_dict(dag))
    assert SOMEBODY not in text
    assert SOMEBODY_ELSE not in text
    for shown in (
        "<2 ids, not shown>",
        "<1 id, not shown>",
        "s3://aws_default@lists/people.txt",
        "{{ var.value.people }}",
    ):
        assert shown in text


def test_rendered_ids_are_hidden_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of a template by itself, out of one in a list, and what stands beside it there."""
    box, crowd = box_of_a_crowd()
    with box:
        monkeypatch.setenv(CONNECTION, connection(box))
        for number, value in enumerate(("{{ who }}", ["{{ who }}", crowd.other.id])):
            root = tmp_path / str(number)
            task = operator(root.as_uri(), folders="inbox", exclude_user_ids=value)
            task.render_template_fields({"who": crowd.alone.id})  # type: ignore[arg-type]
            assert isinstance(task.exclude_user_ids, UserIds)
            assert crowd.alone.id not in repr(task.exclude_user_ids)
            task.execute(context())  # type: ignore[arg-type]
            assert search(root, {crowd.alone.id}) == set()
            assert bool(search(root, {crowd.other.id})) == (number == 0)


def test_airflow_s_own_database_holds_none_of_them(airflow_home: Path, tmp_path: Path) -> None:
    """After real runs: rendered fields, the DAG as it is kept, results, all other rows. A variable is the user's to hide."""
    box, crowd = box_of_a_crowd()
    (tmp_path / "people.txt").write_text(f"{crowd.alone.id}\n{crowd.other.id}")
    with box:
        environment = {
            CONNECTION: connection(box, pseudonym_secret=SECRET),
            "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
            "AIRFLOW_VAR_SOMEBODY": crowd.other.id,
            "PAGECONV_TEST_ROOT": tmp_path.as_uri(),
            "PAGECONV_TEST_PEOPLE": json.dumps([crowd.alone.id, crowd.other.id]),
        }
        [ran] = run_dags([{"dag_id": "named"}], environment=environment)
        assert ran["state"] == "success", ran["log"][-3000:]
        people = everybody(box)
    with closing(sqlite3.connect(f"file:{airflow_home / 'airflow.db'}?mode=ro", uri=True)) as database:
        query = "select task_id, rendered_fields from rendered_task_instance_fields where dag_id = 'named'"
        shown = [(task, json.loads(fields)["exclude_user_ids"]) for task, fields in database.execute(query)]
        [(kept,)] = database.execute("select data from serialized_dag where dag_id = 'named'")
        everything = "\n".join(database.iterdump())
    assert sorted(shown) == [
        ("in_a_file", f"{tmp_path.as_uri()}/people.txt"),
        ("listed", "<2 ids, not shown>"),
        ("listed_beside_a_template", "<3 ids, not shown>"),
        ("mapped", "<2 ids, not shown>"),
        ("mapped", "<2 ids, not shown>"),
        ("out_of_a_variable", "<1 id, not shown>"),
    ]
    assert "<2 ids, not shown>" in kept
    assert not [one for one in (*people, SECRET) if one in everything or one in ran["log"]]
    for name in ("listed", "in_a_file", "mapped-2"):
        assert search(tmp_path / name, {crowd.alone.id, crowd.other.id, hashed(crowd.alone.id)}) == set()
    assert search(tmp_path / "out_of_a_variable", {hashed(crowd.alone.id)})
