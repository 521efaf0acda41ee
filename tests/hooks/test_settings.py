"""What a connection says, however it was written down; and the sentence for each thing in it that cannot be used."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_pageconv.connection import Settings, read_settings

TOKEN = "EAAB/x+7=="
GRAPH = "https://graph.facebook.com"


def fields(**named: Any) -> Connection:
    """A connection written field by field."""
    extra = named.pop("extra", None)
    if isinstance(extra, dict):
        extra = json.dumps(extra)
    return Connection(**{"conn_id": "page", "conn_type": "pageconv", "password": TOKEN, "extra": extra, **named})


def uri(text: str) -> Connection:
    """A connection written as a URI, as in an environment variable."""
    return Connection.from_uri(text, conn_id="page")


def refused(connection: Connection) -> str:
    """The sentence with which a connection is refused."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        read_settings(connection)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_a_token_is_enough() -> None:
    """Everything else has a documented default."""
    settings = read_settings(fields())
    assert settings == Settings(GRAPH, settings.credentials, None, "v26.0", 2.0, 60.0)
    assert (settings.credentials.token, settings.credentials.app_secret) == (TOKEN, None)


def test_every_field_is_read() -> None:
    """Host, port and schema make the address."""
    extra = {
        "page_id": "100200",
        "app_secret": "top-secret",
        "api_version": "v25.0",
        "calls_per_second": 0.5,
        "timeout": 12,
    }
    settings = read_settings(fields(host="graph.example", port=8443, schema="https", extra=extra))
    assert settings == Settings("https://graph.example:8443", settings.credentials, "100200", "v25.0", 0.5, 12.0)
    assert settings.credentials.app_secret == "top-secret"


def test_what_is_empty_counts_as_left_out() -> None:
    """As a form sends it."""
    extra = {"page_id": "", "app_secret": " ", "api_version": "", "calls_per_second": "", "timeout": None}
    settings = read_settings(fields(host="", schema="", extra=extra, password=f" {TOKEN}\n"))
    assert settings == Settings(GRAPH, settings.credentials, None, "v26.0", 2.0, 60.0)
    assert (settings.credentials.token, settings.credentials.app_secret) == (TOKEN, None)


def test_what_the_form_leaves_empty_comes_as_null() -> None:
    """Airflow's form stores a null for each of its extra fields."""
    names = ("page_id", "app_secret", "app_id", "api_version", "calls_per_second", "timeout")
    empty = fields(host=None, schema=None, port=None, login=None, extra=dict.fromkeys(names))
    settings = read_settings(empty)
    assert settings == Settings(GRAPH, settings.credentials, None, "v26.0", 2.0, 60.0)
    assert settings.credentials.app_secret is None


@pytest.mark.parametrize(
    "login, in_extra, page_id",
    [
        ("100200", None, "100200"),
        (" 100200 ", "", "100200"),
        ("100200", "100200", "100200"),
        ("100200", 100200, "100200"),
        ("", "100200", "100200"),
        ("somebody", "100200", "100200"),
        ("somebody", None, None),
        ("१००", None, None),
    ],
)
def test_the_page_may_be_named_where_the_form_asks_for_it(
    login: str, in_extra: str | int | None, page_id: str | None
) -> None:
    """In the login, which the form shows as the Page's id; a login that is no number means nothing."""
    one = fields(login=login, extra={"page_id": in_extra})
    for connection in (one, uri(one.get_uri()), Connection.from_json(one.as_json(), conn_id="page")):
        assert read_settings(connection).page_id == page_id


def test_two_pages_are_one_too_many() -> None:
    """Whichever was taken, somebody would export the wrong one."""
    assert refused(fields(login="100200", extra={"page_id": "100201"})) == (
        "The connection 'page' names two Pages, 100200 as its login and 100201 as its extra's page_id: leave one of them."
    )


def test_numbers_may_come_as_text_and_an_id_as_a_number() -> None:
    """Secrets backends and JSON by hand."""
    settings = read_settings(fields(extra={"page_id": 100200, "calls_per_second": " 0 ", "timeout": "2.5"}))
    assert (settings.page_id, settings.calls_per_second, settings.timeout) == ("100200", 0.0, 2.5)


ADDRESSES = [
    ({"host": "graph.facebook.com"}, GRAPH),
    ({"host": "graph.facebook.com", "schema": "https"}, GRAPH),
    ({"host": "graph.facebook.com", "schema": "pageconv"}, GRAPH),
    ({"host": "https://graph.facebook.com/"}, GRAPH),
    ({"host": "HTTPS://Graph.Facebook.com"}, GRAPH),
    ({"host": "https://graph.example:8443"}, "https://graph.example:8443"),
    ({"host": "https://graph.example", "port": 8443}, "https://graph.example:8443"),
    ({"host": "graph.facebook.com", "port": 443}, GRAPH),
    ({"host": "https://graph.facebook.com", "port": 443}, GRAPH),
    ({"port": 443}, GRAPH),
    ({"port": 0}, GRAPH),
    ({"host": "http://127.0.0.1:8765", "port": 443}, "http://127.0.0.1:8765"),
    ({"host": "https://proxy.example/meta/"}, "https://proxy.example/meta"),
    ({"host": "https://proxy.example:8443/meta:v1"}, "https://proxy.example:8443/meta:v1"),
    ({"host": "graph.facebook.com/"}, GRAPH),
    ({"host": "http://127.0.0.1:8765"}, "http://127.0.0.1:8765"),
    ({"host": "http://127.0.0.1", "port": 8765}, "http://127.0.0.1:8765"),
    ({"host": "127.0.0.1", "port": 8765, "schema": "http"}, "http://127.0.0.1:8765"),
    ({"host": "127.0.0.1:8765", "schema": "HTTP"}, "http://127.0.0.1:8765"),
    ({"host": "http://localhost:8765"}, "http://localhost:8765"),
    ({"host": "http://LOCALHOST:8765/"}, "http://localhost:8765"),
    ({"host": "http://[::1]:8765"}, "http://[::1]:8765"),
    ({"host": "[::1]", "port": 8765, "schema": "http"}, "http://[::1]:8765"),
    ({"host": "::1", "port": 8765, "schema": "http"}, "http://[::1]:8765"),
    ({"host": "http://::1", "port": 8765}, "http://[::1]:8765"),
]


@pytest.mark.parametrize("written, address", ADDRESSES)
def test_an_address_may_be_written_in_many_ways(written: dict[str, Any], address: str) -> None:
    """In fields; the same connection as a URI and as JSON, made by Airflow itself, says the same."""
    extra = {"page_id": "100200", "app_secret": "s/3+&?", "timeout": "7"}
    one = fields(**written, extra=extra)
    for connection in (one, uri(one.get_uri()), Connection.from_json(one.as_json(), conn_id="page")):
        settings = read_settings(connection)
        assert settings.base_url == address
        assert (settings.page_id, settings.timeout) == ("100200", 7.0)
        assert (settings.credentials.token, settings.credentials.app_secret) == (TOKEN, "s/3+&?")


@pytest.mark.parametrize(
    "text, address",
    [
        ("pageconv://:tok@", GRAPH),
        ("pageconv://:tok@/?page_id=100200", GRAPH),
        ("pageconv://http://:tok@127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("pageconv://http://:tok@127.0.0.1:8765/?page_id=100200", "http://127.0.0.1:8765"),
        ("pageconv://:tok@127.0.0.1:8765/http", "http://127.0.0.1:8765"),
        ("pageconv://:tok@127.0.0.1:8765/http?page_id=100200", "http://127.0.0.1:8765"),
        ("pageconv://:tok@http%3A%2F%2F127.0.0.1%3A8765", "http://127.0.0.1:8765"),
        ("pageconv://http://:tok@[::1]:8765", "http://[::1]:8765"),
        ("pageconv://:tok@[::1]:8765/http", "http://[::1]:8765"),
        ("pageconv://:tok@graph.example", "https://graph.example"),
        ("pageconv://https://:tok@graph.example:8443", "https://graph.example:8443"),
        ("pageconv://:tok@/?__extra__=%7B%22page_id%22%3A+%22100200%22%7D", GRAPH),
    ],
)
def test_a_uri_may_be_written_by_hand(text: str, address: str) -> None:
    """The forms that Airflow's documentation shows."""
    settings = read_settings(uri(text))
    assert settings.base_url == address
    assert settings.credentials.token == "tok"
    assert settings.page_id == ("100200" if "page_id" in text else None)


def test_json_may_be_written_by_hand() -> None:
    """With the extra as an object or as text."""
    for extra in ({"page_id": "100200"}, '{"page_id": "100200"}'):
        text = json.dumps(
            {"conn_type": "pageconv", "password": "tok", "port": "8765", "host": "http://127.0.0.1", "extra": extra}
        )
        settings = read_settings(Connection.from_json(text, conn_id="page"))
        assert (settings.base_url, settings.page_id) == ("http://127.0.0.1:8765", "100200")


HTTP_ONLY_HERE = "it takes an address such as 'https://graph.facebook.com', plain http only on this machine itself."


@pytest.mark.parametrize(
    "host",
    [
        "http://graph.facebook.com",
        "http://10.0.0.5:8765",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com:80",
        "http://0.0.0.0:8765",
        "http://[::2]:8765",
        "http://127.0.0.1%2eexample.com",
    ],
)
def test_plain_http_leaves_this_machine_never(host: str) -> None:
    """The token would be read by everybody on the way."""
    from urllib.parse import urlsplit

    hostname = urlsplit(host).hostname
    assert refused(fields(host=host)) == (
        f"The host of the connection 'page' is {hostname!r} over plain http: {HTTP_ONLY_HERE}"
    )
    assert "over plain http" in refused(fields(host="graph.facebook.com", schema="http"))


@pytest.mark.parametrize(
    "host",
    [
        "ftp://graph.facebook.com",
        "file:///etc/passwd",
        "https://",
        "https://:8443",
        "https://user:pw@graph.facebook.com",
        "https://:pw@graph.facebook.com",
        "http://127.0.0.1\\@graph.example",
        "https://graph.facebook.com?x=1",
        "https://graph.facebook.com#x",
        "https://graph.facebook.com:99999",
        "https://graph.facebook.com:port",
        "https://[::1",
        "https://a:b:c:d",
        "127.0.0.1:8765:1",
    ],
)
def test_an_address_that_cannot_be_used_is_not_repeated(host: str) -> None:
    """It may hold a password."""
    assert refused(fields(host=host)) == f"The host of the connection 'page' cannot be used: {HTTP_ONLY_HERE}"


@pytest.mark.parametrize("password", [None, "", "  ", "\n"])
def test_without_a_token_there_is_nothing_to_do(password: str | None) -> None:
    """The sentence says what belongs there."""
    assert refused(fields(password=password)) == (
        "The connection 'page' has no password: it takes the access token of the Page."
    )


@pytest.mark.parametrize(
    "password", ["Bearer EAAB", "EAAB\nx", "EAAB\r\nHost: x", "EAABñ", "EAAB\x00", "a\tb", "\u200bEAAB"]
)
def test_what_cannot_be_a_token_is_not_sent(password: str) -> None:
    """Nor repeated: it may be one after all."""
    assert refused(fields(password=password)) == (
        "The password of the connection 'page' is no access token: it has spaces or characters beyond ASCII."
    )


@pytest.mark.parametrize("version", ["26.0", "v26", "26", "latest", "v26.0/me", "V26.0", 26.0, "v26.0\n/../.."])
def test_a_version_has_one_form(version: object) -> None:
    """It becomes a part of the address."""
    assert refused(fields(extra={"api_version": version})) == (
        f"api_version of the connection 'page' is {str(version)!r}: it takes a version such as 'v26.0'."
    )


@pytest.mark.parametrize("value", ["x", "-1", -0.5, "nan", "inf", "-inf", True, False, [], {}, "1,5", "0x10"])
def test_a_pace_is_a_number_from_0(value: object) -> None:
    """0 for none."""
    assert refused(fields(extra={"calls_per_second": value})) == (
        f"calls_per_second of the connection 'page' is {value!r}: it takes a number from 0 to 1000."
    )


@pytest.mark.parametrize("value", ["x", 0, "0", -1, 0.05, "nan", "1e999", True, [60], {"s": 60}])
def test_a_timeout_is_a_number_from_a_tenth(value: object) -> None:
    """None at all would wait for ever."""
    assert refused(fields(extra={"timeout": value})) == (
        f"timeout of the connection 'page' is {value!r}: it takes a number from 0.1 to 3600."
    )


@pytest.mark.parametrize("extra", ["[]", "[1]", '"page_id"', "7", "null", "page_id=7", "{page_id: 7}"])
def test_an_extra_that_is_no_object_is_refused(extra: str) -> None:
    """Airflow makes nothing of it; an app secret in it would silently be left out."""
    assert refused(fields(extra=extra)) == "The extra of the connection 'page' cannot be read: it takes a JSON object."


@pytest.mark.parametrize("extra", [None, "", "{}", " { }\n"])
def test_an_empty_extra_is_none(extra: str | None) -> None:
    """As it comes from forms."""
    assert read_settings(fields(extra=extra)).page_id is None


def test_settings_do_not_show_their_secrets() -> None:
    """In a log or a debugger."""
    text = repr(read_settings(fields(extra={"app_secret": "top-secret"})))
    assert TOKEN not in text
    assert "top-secret" not in text
