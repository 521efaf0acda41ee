"""The token is looked at before an export begins: what speaks against it is one sentence, and what ends soon is warned of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.operators import ExportFailed
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from tests.operators.running import CONNECTION, connection, run
from tests.servers.destinations import local

SECRET = "sandbox-app-secret"
NEEDED = {
    "messenger": ["pages_messaging", "pages_manage_metadata", "pages_read_engagement"],
    "instagram": ["instagram_basic", "instagram_manage_messages", "pages_manage_metadata"],
}
TASK = "Give the person or the system user the task MESSAGING (or MODERATE) on it."


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """Two Pages, whose app wants its calls signed."""
    with Sandbox(pages=2, conversations=4, instagram=2, messages=2, app_secret=SECRET, require_proof=True) as running:
        yield running


@pytest.fixture
def export(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exports with a token of certain facts; returns the summary."""

    def one(token: str, *, extra: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        more = {"app_id": APP_ID, "app_secret": SECRET, **(extra or {})}
        monkeypatch.setenv(CONNECTION, connection(box, token=token, **more))
        return run(local(tmp_path).url, **options)

    return one


def looks(box: Sandbox) -> int:
    """How often a token was looked at."""
    return sum(request.edge == "debug_token" for request in box.requests)


def refusal(export: Any, token: str, **options: Any) -> str:
    """The sentence with which an export ends before it has begun."""
    with pytest.raises(ExportFailed) as caught:
        export(token, **options)
    assert caught.value.__suppress_context__
    return str(caught.value)


def test_a_good_token_costs_one_look_which_is_no_call_of_the_export(box: Sandbox, export: Any) -> None:
    """Nothing is said of it."""
    result = export(box.token)
    assert looks(box) == 1
    assert result["api_calls"] == len(box.requests) - 1
    assert result["warnings"] == []
    assert result["conversations"] == 4


def test_a_token_that_has_ended_exports_nothing(box: Sandbox, export: Any, tmp_path: Path) -> None:
    """Not one call of the conversations is made."""
    box.add_token("OVER", box.page, expires_at=1)
    sentence = refusal(export, "OVER")
    assert sentence == ("Graph API: the access token has expired. Put a new access token into the connection.")
    assert [request.edge for request in box.requests] == ["debug_token"]
    assert local(tmp_path).names() == []


@pytest.mark.parametrize(
    "platform, missing",
    [(platform, permission) for platform, permissions in NEEDED.items() for permission in permissions],
)
def test_a_token_that_lacks_a_permission_of_the_platform_exports_nothing(
    platform: str, missing: str, box: Sandbox, export: Any
) -> None:
    """The sentence names it, and all that the platform needs."""
    scopes = [name for name in NEEDED[platform] if name != missing]
    box.add_token("POOR", box.page, scopes=scopes)
    first, second, third = NEEDED[platform]
    assert refusal(export, "POOR", platform=platform) == (
        f"Graph API: the access token lacks {missing} for {platform.capitalize()} of the Page {box.page.id}. "
        f"Give the app a token again that has {first}, {second} and {third}."
    )


def test_a_permission_of_the_other_platform_is_not_missed(box: Sandbox, export: Any) -> None:
    """Messenger needs nothing of Instagram's."""
    box.add_token("POOR", box.page, scopes=NEEDED["messenger"])
    assert export("POOR")["conversations"] == 4


def test_a_permission_that_is_granted_for_other_pages_is_missing(box: Sandbox, export: Any) -> None:
    """What is granted for Instagram accounts does not name Pages."""
    granted = [{"scope": name, "target_ids": [box.page.id]} for name in NEEDED["messenger"]]
    box.add_token("NARROW", box.page, granular_scopes=granted)
    assert export("NARROW")["conversations"] == 4
    granted[0]["target_ids"] = ["1"]
    box.add_token("NARROW", box.page, granular_scopes=granted)
    assert "lacks pages_messaging for Messenger" in refusal(export, "NARROW", run_id="run-2")


def test_another_page_s_own_token_exports_nothing(box: Sandbox, export: Any) -> None:
    """The sentence names both Pages."""
    first, second = box.pages
    box.add_token("SECOND-S", box.pages[second])
    assert refusal(export, "SECOND-S") == (
        f"Graph API: the access token is that of the Page {second}, not that of the Page {first}. "
        f"Put the token of the Page {first} into the connection, or export the Page {second}."
    )


def test_a_token_that_the_look_takes_for_another_page_s_is_asked_whose_it_is(box: Sandbox, export: Any) -> None:
    """What it says of itself counts."""
    box.add_token("FIRST-S", box.page, profile_id="999")
    assert export("FIRST-S")["conversations"] == 4


def test_an_app_s_token_exports_nothing(box: Sandbox, export: Any) -> None:
    """It reaches no conversations."""
    box.add_token("APP-S", None, type="APP")
    assert refusal(export, "APP-S").startswith(
        "Graph API: the access token is an app's, which reaches no conversations."
    )


@pytest.mark.parametrize("tasks", [[], ["ANALYZE", "ADVERTISE"]], ids=["none", "others"])
def test_a_person_without_the_task_exports_nothing(
    tasks: list[str], box: Sandbox, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of Pages says which tasks they have."""
    give_tasks(monkeypatch, box, tasks)
    assert refusal(export, box.user_token) == (
        f"Graph API: whoever the access token belongs to has no task on the Page {box.page.id} that reads conversations. {TASK}"
    )


@pytest.mark.parametrize(
    "tasks", [["MODERATE"], ["PROFILE_PLUS_MESSAGING"], ["PROFILE_PLUS_FULL_CONTROL"], ["MANAGE"], None]
)
def test_any_task_that_reads_conversations_will_do(
    tasks: list[str] | None, box: Sandbox, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of a Page of the new kind, and where nobody says which there are."""
    give_tasks(monkeypatch, box, tasks)
    assert export(box.user_token)["conversations"] == 4


def give_tasks(monkeypatch: pytest.MonkeyPatch, box: Sandbox, tasks: list[str] | None) -> None:
    """Let /me/accounts name these tasks on each Page."""
    node = box.api._page_node

    def with_tasks(*args: Any) -> dict[str, Any]:
        made = dict(node(*args))
        if tasks is None:
            made.pop("tasks", None)
        elif "tasks" in made:
            made["tasks"] = tasks
        return made

    monkeypatch.setattr(box.api, "_page_node", with_tasks)


def test_a_user_s_token_is_exchanged_on_the_occasion_of_the_look(box: Sandbox, export: Any) -> None:
    """So no call of the conversations is made in vain, and none of what it took counts."""
    box.add_token("OF-THE-SYSTEM", None, type="SYSTEM_USER")
    result = export("OF-THE-SYSTEM")
    edges = [request.edge for request in box.requests]
    assert edges[:3] == ["debug_token", "accounts", "conversations"]
    assert result["api_calls"] == len(edges) - 2
    assert box.requests[2].params["appsecret_proof"] == box.proof(box.derived_token)


def test_where_the_list_of_pages_is_refused_the_page_itself_is_asked(box: Sandbox, export: Any) -> None:
    """Once the API wants the Page's own token."""
    box.faults.add(Fault(code=200, on="accounts"))
    assert export(box.user_token)["conversations"] == 4


@pytest.mark.parametrize(
    "fault",
    [
        Fault(code=200, on="debug_token"),
        Fault(code=190, on="debug_token"),
        Fault(code=4, on="debug_token"),
        Fault("not_json", on="debug_token"),
        Fault(code=2, on="debug_token", times=2),
    ],
    ids=["a permission", "the app's own token", "a limit", "no JSON", "passing trouble"],
)
def test_a_look_that_fails_changes_nothing(
    fault: Fault, box: Sandbox, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is the secret that is wrong: the calls themselves show that."""
    monkeypatch.setattr("airflow_provider_pageconv.graph.client._FIRST_PAUSE", 0.0)
    box.faults.add(fault)
    result = export(box.token)
    assert fault.fired
    assert (result["conversations"], result["warnings"]) == (4, [])


def test_what_is_said_of_a_token_of_another_app_changes_nothing(box: Sandbox, export: Any) -> None:
    """The API calls it not valid then, and means that the app may not look at it."""
    message = "(#100) The App_id in the input_token did not match the Viewing App"
    box.rules.debug_token = {"is_valid": False, "scopes": [], "error": {"code": 100, "message": message}}
    assert export(box.token)["conversations"] == 4


def test_without_the_app_or_where_it_is_switched_off_nobody_looks(
    box: Sandbox, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`[pageconv] check_token`."""
    export(box.token, extra={"app_id": None})
    monkeypatch.setenv("AIRFLOW__PAGECONV__CHECK_TOKEN", "False")
    export(box.token, run_id="run-2")
    assert looks(box) == 0


@pytest.mark.parametrize(
    "fact, sentence",
    [
        (
            "expires_at",
            "The access token ends on {:%Y-%m-%d %H:%M} UTC (in 9 days): renew it before, or put a new one into the connection.",
        ),
        (
            "data_access_expires_at",
            (
                "The access token's access to data ends on {:%Y-%m-%d %H:%M} UTC (in 9 days): the person whose token it is "
                "has to log in to the app again before."
            ),
        ),
    ],
)
def test_an_end_within_two_weeks_is_warned_of(
    fact: str, sentence: str, box: Sandbox, export: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, in the summary, once, and in every manifest."""
    ends = datetime.now(timezone.utc) + timedelta(days=9, hours=1)
    box.add_token("ENDS", box.page, **{fact: int(ends.timestamp())})
    with caplog.at_level(logging.WARNING):
        result = export("ENDS")
    expected = sentence.format(ends)
    assert result["warnings"] == [expected]
    assert expected in " ".join(message.strip() for message in caplog.messages)
    assert [manifest["warnings"] for manifest in local(tmp_path).manifests().values()] == [[expected]] * 4


def test_how_early_it_is_warned_is_to_be_chosen(box: Sandbox, export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`[pageconv] warn_days`, which takes a number above 0."""
    ends = datetime.now(timezone.utc) + timedelta(days=9)
    box.add_token("ENDS", box.page, expires_at=int(ends.timestamp()))
    monkeypatch.setenv("AIRFLOW__PAGECONV__WARN_DAYS", "7")
    assert export("ENDS")["warnings"] == []
    monkeypatch.setenv("AIRFLOW__PAGECONV__WARN_DAYS", "soon")
    assert refusal(export, "ENDS", run_id="run-2") == (
        "[pageconv] warn_days of Airflow's configuration is 'soon': it takes a number above 0."
    )


def test_a_version_that_is_not_there_is_told_in_manifest_and_summary(
    box: Sandbox, export: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in the summary."""
    result = export(box.token, extra={"api_version": "v19.0"})
    warning = (
        "The API answered as v21.0 although v19.0 was asked for: that version is dead or not yet alive. Set api_version in "
        "the connection."
    )
    assert result["warnings"].count(warning) == 1
    told = " ".join(message.strip() for message in caplog.messages)
    assert told.count(warning) == 2  # when it is seen, and in the summary
    assert [manifest["warnings"].count(warning) for manifest in local(tmp_path).manifests().values()] == [1] * 4


def test_no_log_and_no_sentence_shows_a_token(box: Sandbox, export: Any, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, of urllib3 too, where the token stands in the look's address."""
    caplog.set_level(logging.DEBUG)
    box.add_token("OF-THE-SYSTEM", None, type="SYSTEM_USER")
    result = export("OF-THE-SYSTEM")
    for secret in ("OF-THE-SYSTEM", box.derived_token, SECRET, f"{APP_ID}%7C{SECRET}", f"{APP_ID}|{SECRET}"):
        assert secret not in caplog.text
        assert secret not in str(result)
