"""The scanner finds what it is to find: every form, planted in every kind of file."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from cryptography.fernet import Fernet

from tests.secrets.scanner import Scanner, forms_of_person, scan

TOKEN = "EAAB/+=%&?#~secret-9x"
KEY = Fernet.generate_key().decode()
NAME = "Zoë “Ñ” García 👟"
TEXT = "¿Siguen teniendo la talla M en color azul marino? (0123456789)"


def secrets() -> Scanner:
    return Scanner.of_secrets({"token": TOKEN}, KEY)


def people() -> Scanner:
    return Scanner.of_people([NAME, "buzón@büro.example"], [TEXT])


PLANTED = {
    "plain": TOKEN,
    "in a line": f"Authorization: Bearer {TOKEN}\r\n",
    "quoted": f"/me?access_token={quote(TOKEN)}&limit=5",
    "quoted whole": quote(TOKEN, safe=""),
    "quoted with plus": quote_plus(TOKEN + " x"),
    "in lower case": quote(TOKEN, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d").replace("%3F", "%3f"),
    "quoted twice": quote(quote(TOKEN, safe=""), safe=""),
    "in JSON": json.dumps({"password": TOKEN}),
    "in JSON with escaped slashes": json.dumps({"password": TOKEN}).replace("/", "\\/"),
    "in base64 that ends with it": base64.b64encode(f"user:{TOKEN}".encode()).decode(),
    **{
        f"in base64 at {offset}": base64.b64encode(b"x" * offset + TOKEN.encode() + b"tail").decode()
        for offset in range(5)
    },
    **{
        f"in URL-safe base64 at {offset}": base64.urlsafe_b64encode(b"\xff" * offset + TOKEN.encode()).decode()
        for offset in range(3)
    },
    "encrypted by Airflow": f"kwargs={Fernet(KEY).encrypt(json.dumps({'token': TOKEN}).encode()).decode()}",
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_secret_is_found_in_each_form(planted: str, tmp_path: Path) -> None:
    """In a log, in a packed file, and in a value of a database that no page of it holds whole."""
    log, packed, database = tmp_path / "task.log", tmp_path / "part", tmp_path / "airflow.db"
    log.write_text(f"before\n{planted}\nafter\n", encoding="utf-8")
    packed.write_bytes(gzip.compress(planted.encode()))
    with sqlite3.connect(database) as connection:
        connection.execute("create table xcom (value text)")
        connection.execute("insert into xcom values (?)", ["a" * 4090 + f" {planted} " + "z" * 9000])
    for path in (log, packed, database):
        size, found = scan([path], secrets())
        assert found, path.name
        assert size >= path.stat().st_size
        assert TOKEN not in str(found)


def test_a_secret_is_found_in_a_file_name_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    """Neither the beginning of a token nor its end alone is taken for it."""
    clean = tmp_path / "clean.log"
    clean.write_text(f"{TOKEN[:-1]} {TOKEN[1:]} {quote(TOKEN[:-1])}")
    assert scan([clean], secrets())[1] == []
    named = tmp_path / quote(TOKEN, safe="")
    named.write_text("")
    assert scan([named], secrets())[1]


def test_people_are_found_in_each_form(tmp_path: Path) -> None:
    """Names and addresses in all that logs and JSON make of them; texts whole, cut short, or by their tag."""
    for number, word in enumerate((NAME, "buzón@büro.example", TEXT, TEXT[:30], "a line with (0123456789) in it")):
        for form, content in forms_of_person(word).items():
            path = tmp_path / f"{number} {form}".replace(",", "")
            path.write_bytes(b"{" + content + b"}")
            assert scan([path], people())[1], (word, form)
    clean = tmp_path / "clean"
    clean.write_text("00123456789 0123456789a Zoe talla marino")
    assert scan([clean], people())[1] == []
