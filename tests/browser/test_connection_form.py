"""The connection, made in the form of Airflow's UI and tried with the button Test, as whoever sets it up does."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from airflow.sdk import Connection
from cryptography.fernet import Fernet

from airflow_provider_pageconv.hooks import read_settings
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.browser.form import fill, make, open_form, press_test, save
from tests.browser.looking import Looking
from tests.servers.deployment import Deployment

SEEN_AT_ONCE = ["Description", "Graph API address", "Page id", "Access token (required)", "Port"]
FOLDED_UP = ["App secret", "App id", "Graph API version", "Calls per second", "Timeout", "Page id in the extra"]
TOKENS_OWN = "The access token is that of the Page 100200300400700; it never ends."
LIMITED = "A limit is reached, which says nothing of the access token"


@pytest.fixture(autouse=True)
def undisturbed(box: Sandbox) -> Iterator[None]:
    """No fault is left over from the test before."""
    box.faults.clear()
    yield
    box.faults.clear()


def stored(airflow: Deployment, conn_id: str) -> Connection:
    """Return what Airflow keeps and hands to a task, secrets included."""
    columns = ("conn_type", "host", "login", "port", "password", "extra")
    with closing(sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=ro", uri=True)) as database:
        query = f"select {', '.join(columns)} from connection where conn_id = ?"
        found = dict(zip(columns, database.execute(query, [conn_id]).fetchone(), strict=True))
    fernet = Fernet(airflow.environment["AIRFLOW__CORE__FERNET_KEY"])
    for secret in ("password", "extra"):
        found[secret] = found[secret] and fernet.decrypt(found[secret].encode()).decode()
    return Connection(conn_id=conn_id, **found)


def test_what_a_connection_needs_is_seen_at_once(looking: Looking) -> None:
    """Without a click on anything: the token, which says that it is required, the Page, and examples of what goes in."""
    for dark in (False, True):
        page, form = open_form(looking, dark=dark)
        texts = form.inner_text().splitlines()
        assert [text for text in texts if text in SEEN_AT_ONCE] == SEEN_AT_ONCE
        assert not set(texts) & set(FOLDED_UP)
        examples = {
            name: form.locator(f"input[name='{name}']").get_attribute("placeholder")
            for name in ("host", "login", "password", "port")
        }
        assert examples["host"] == "https://graph.facebook.com"
        assert all(examples.values())
        assert form.locator("input[name='schema']").count() == 0
        looking.picture(page, f"connection-form{'-dark' if dark else ''}")


def test_the_rest_is_a_click_away_with_a_sentence_each(looking: Looking) -> None:
    """Their examples are not shown by Airflow, so the sentences hold them."""
    page, form = open_form(looking)
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    form.get_by_text(FOLDED_UP[0], exact=True).wait_for()
    texts = form.inner_text().splitlines()
    assert [text for text in texts if text in FOLDED_UP] == FOLDED_UP
    assert "Such as v26.0, which is taken if empty." in texts
    page.close()


def test_a_connection_from_the_form_passes_its_test(looking: Looking, airflow: Deployment, box: Sandbox) -> None:
    """With everything but the needed left empty: the nulls that the form stores for it trip neither Test nor a task."""
    page, row = make(looking, box, "from_the_form")
    told = press_test(page, row)
    assert TOKENS_OWN in told
    looking.picture(page, "connection-test")

    connection = stored(airflow, "from_the_form")
    assert set(connection.extra_dejson.values()) == {None}
    settings = read_settings(connection)
    assert (settings.base_url, settings.page_id) == (box.url, box.page.id)
    assert settings.credentials.token == box.token
    assert (settings.calls_per_second, settings.timeout, settings.api_version) == (2.0, 60.0, "v26.0")


def test_what_was_written_and_taken_out_again_is_as_if_never_written(
    looking: Looking, airflow: Deployment, box: Sandbox
) -> None:
    """In each field that is folded up."""
    page, form = open_form(looking)
    fill(form, connection_id="second_thoughts", host=box.url, login=box.page.id, password=box.token, port="443")
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    names = ("app_secret", "pseudonym_secret", "app_id", "api_version", "calls_per_second", "timeout", "page_id")
    form.locator(f"[name='element_{names[-1]}']").wait_for()
    for text in ("12", ""):
        fill(form, **{f"element_{name}": text for name in names})
        page.keyboard.press("Tab")
    row = save(page, form, "second_thoughts")
    assert TOKENS_OWN in press_test(page, row)
    assert read_settings(stored(airflow, "second_thoughts")).page_id == box.page.id


def test_a_limited_page_is_said_to_be_limited_and_nothing_is_said_of_its_token(looking: Looking, box: Sandbox) -> None:
    """The token may be as good as ever: whoever presses Test then is not sent to get a new one."""
    page, row = make(looking, box, "limited")
    box.faults.add(Fault(code=32, on="me"))
    told = press_test(page, row)
    assert LIMITED in told
    assert "the Page has used up its calls" in told
    assert "Put a new access token" not in told
    looking.picture(page, "connection-test-limited")


def test_a_connection_without_a_port_is_tested_or_refused_by_airflow_itself(
    looking: Looking, airflow: Deployment, box: Sandbox
) -> None:
    """Airflow 3.3.2 answers "Bad Request", which is why the form asks for a port; where that is mended none is needed."""
    looking.tolerate(r"connections/test: 400", r"console: .* 400 \(Bad Request\)")
    page, row = make(looking, box, "portless", port="")
    told = press_test(page, row)
    assert TOKENS_OWN in told or re.search(r"Bad Request", told)
    assert read_settings(stored(airflow, "portless")).base_url == box.url


def test_an_edited_connection_keeps_what_was_not_edited(looking: Looking, airflow: Deployment, box: Sandbox) -> None:
    """The form holds the token as ***, which is not stored."""
    page, row = make(looking, box, "edited")
    row.get_by_role("button", name="Edit").click()
    form = page.get_by_role("dialog")
    form.get_by_text("Access token").wait_for()
    fill(form, description="of the shop")
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")
    assert TOKENS_OWN in press_test(page, row)
    assert stored(airflow, "edited").password == box.token


def test_pictures_are_kept_only_when_asked(looking: Looking, tmp_path: Path) -> None:
    """A run of the tests leaves the checkout as it was."""
    page = looking.open("/connections")
    page.get_by_role("button", name="Add Connection").wait_for()
    kept = looking.picture(page, "connections")
    assert kept.stat().st_size > 1000
    assert kept.is_relative_to(tmp_path) or kept.parent.match("docs/pictures")
