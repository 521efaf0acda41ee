"""How long people waited for an answer: by hand, to the second, and nothing that the API made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sql.by_hand import data_set, look, record, rows
from tests.sql.story import FORMATS

PAGE, ACCOUNT = "1", "178"
TAGS = {
    "human": ["inbox", "sent", "source:web"],
    "bot": ["inbox", "sent", "source:bot"],
    "instant": ["pages_comm_instant_reply", "sent"],
    "auto": ["sent", "source:pages:auto_response"],
    "market": ["source:marketplace:bot"],
    "robot": ["source:robotics"],
    "system": ["source:generic_admin_text"],
}
"""What is tagged how; all of it by the Page, and `page` without any tags, as on Instagram."""


def says(when: str, who: str, **fields: Any) -> dict[str, Any]:
    """Return what somebody wrote: at a time of 20 November, or on another day where that is named."""
    day, _, clock = when.rpartition("T")
    given: dict[str, Any] = {"id": f"m_{when}_{who}", "created_time": f"2026-11-{day or 20}T{clock}+0000"}
    if who == "nobody":
        given |= {"from": None, "_unavailable": True}
    elif who in TAGS:
        given |= {"from": {"id": PAGE}, "tags": {"data": [{"name": name} for name in TAGS[who]]}}
    else:
        given["from"] = {"id": PAGE if who == "page" else who}
    return record(0, **{"_fetched_at": "2026-11-30T00:00:00.000Z", **given, **fields})


def talk(text: str) -> list[dict[str, Any]]:
    """Return the messages of a thread, told as `10:00:00 ana, 10:05:00 page`."""
    return [says(*one.split()) for one in text.split(", ") if one]


def bare(number: int = 0, **fields: Any) -> dict[str, Any]:
    """Return what has an id and no more."""
    return says("", "nobody", id=f"m_bare_{number}", created_time=None, **fields)


def turns(root: Path, zone: str = "UTC") -> list[tuple[Any, ...]]:
    """Return of each turn: when it began, by how many messages, how long it took and by a bot, how long a human, and the flag."""
    with look(root) as database:
        database.execute(f"SET TimeZone = '{zone}'")
        found = rows(database, "FROM response_times ORDER BY _conversation_id, asked_at")
    return [
        (
            row["question_id"].removeprefix("m_"),
            *(row[name] for name in ("questions", "seconds", "by_bot", "human_seconds", "withheld")),
        )
        for row in found
    ]


THREADS = {
    "nothing": ("", []),
    "the Page alone": ("10:00:00 page", []),
    "no answer": ("10:00:00 ana", [("10:00:00_ana", 1, None, None, None, False)]),
    "a question and its answer": ("10:00:00 ana, 10:05:00 page", [("10:00:00_ana", 1, 300, None, 300, False)]),
    "what comes before any question answers none": (
        "09:00:00 page, 10:00:00 ana, 10:01:00 page",
        [("10:00:00_ana", 1, 60, None, 60, False)],
    ),
    "two questions, one answer": (
        "10:00:00 ana, 10:01:00 ana, 10:05:00 human",
        [("10:00:00_ana", 2, 300, False, 300, False)],
    ),
    "the first of two answers counts": (
        "10:00:00 ana, 10:01:00 page, 10:30:00 page",
        [("10:00:00_ana", 1, 60, None, 60, False)],
    ),
    "turns": (
        "10:00:00 ana, 10:01:00 page, 11:00:00 ana, 11:00:07 page, 12:00:00 ana",
        [
            ("10:00:00_ana", 1, 60, None, 60, False),
            ("11:00:00_ana", 1, 7, None, 7, False),
            ("12:00:00_ana", 1, None, None, None, False),
        ],
    ),
    "two people in one thread": (
        "10:00:00 ana, 10:01:00 bob, 10:02:00 page",
        [("10:00:00_ana", 2, 120, None, 120, False)],
    ),
    "an answer in the same second": ("10:00:00 zoe, 10:00:00 page", [("10:00:00_zoe", 1, 0, None, 0, False)]),
    "an answer the next day": ("23:59:30 ana, 21T00:00:30 page", [("23:59:30_ana", 1, 60, None, 60, False)]),
    # ---- bots
    "a bot, then somebody": ("10:00:00 ana, 10:00:02 bot, 10:10:00 human", [("10:00:00_ana", 1, 2, True, 600, False)]),
    "a bot alone": ("10:00:00 ana, 10:00:02 bot", [("10:00:00_ana", 1, 2, True, None, False)]),
    "an instant reply": ("10:00:00 ana, 10:00:02 instant", [("10:00:00_ana", 1, 2, True, None, False)]),
    "an automatic response": ("10:00:00 ana, 10:00:02 auto", [("10:00:00_ana", 1, 2, True, None, False)]),
    "a bot of some product": ("10:00:00 ana, 10:00:02 market", [("10:00:00_ana", 1, 2, True, None, False)]),
    "a word that has it inside": ("10:00:00 ana, 10:00:02 robot", [("10:00:00_ana", 1, 2, False, 2, False)]),
    "somebody, then a bot": (
        "10:00:00 ana, 10:05:00 human, 10:05:01 bot",
        [("10:00:00_ana", 1, 300, False, 300, False)],
    ),
    "somebody who had to ask again after a bot": (
        "10:00:00 ana, 10:00:02 bot, 10:10:00 ana, 10:30:00 human",
        [("10:00:00_ana", 1, 2, True, 1800, False), ("10:10:00_ana", 1, 1200, False, 1200, False)],
    ),
    "what Messenger itself puts there is no answer": (
        "10:00:00 ana, 10:00:01 system, 10:01:00 page",
        [("10:00:00_ana", 1, 60, None, 60, False)],
    ),
    # ---- withheld
    "who wrote before the answer is withheld": (
        "10:00:00 ana, 10:02:00 nobody, 10:05:00 page",
        [("10:00:00_ana", 1, 300, None, 300, True)],
    ),
    "who wrote before the question is withheld": (
        "09:00:00 nobody, 10:00:00 ana, 10:05:00 page",
        [("10:00:00_ana", 1, 300, None, 300, True)],
    ),
    "who wrote in the second of the answer is withheld": (
        "10:00:00 ana, 10:05:00 nobody, 10:05:00 page",
        [("10:00:00_ana", 1, 300, None, 300, True)],
    ),
    "after the answer nothing counts": (
        "10:00:00 ana, 10:05:00 page, 10:06:00 nobody",
        [("10:00:00_ana", 1, 300, None, 300, False)],
    ),
    "before the answer before it neither": (
        "08:00:00 nobody, 09:00:00 page, 10:00:00 ana, 10:05:00 page",
        [("10:00:00_ana", 1, 300, None, 300, False)],
    ),
    "who wrote in the second of the answer before it is withheld": (
        "09:00:00 page, 09:00:00 nobody, 10:00:00 ana, 10:05:00 page",
        [("10:00:00_ana", 1, 300, None, 300, True)],
    ),
    "perhaps it was an answer": ("10:00:00 ana, 10:06:00 nobody", [("10:00:00_ana", 1, None, None, None, True)]),
    "perhaps somebody had answered after the bot": (
        "10:00:00 ana, 10:00:02 bot, 10:05:00 nobody, 10:10:00 human",
        [("10:00:00_ana", 1, 2, True, 600, True)],
    ),
    "after both answers nothing counts": (
        "10:00:00 ana, 10:00:02 bot, 10:10:00 human, 10:11:00 nobody",
        [("10:00:00_ana", 1, 2, True, 600, False)],
    ),
}
"""What was said in a thread, and the turns that it has."""


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_turn_begins_with_a_question_and_ends_with_the_first_answer(file_format: str, tmp_path: Path) -> None:
    """Whoever reads a thread top down comes to the same numbers."""
    told = [
        {**one, "id": f"{one['id']}/{thread}", "_conversation_id": thread}
        for thread, (text, _) in THREADS.items()
        for one in talk(text)
    ]
    found: dict[str, list[Any]] = {thread: [] for thread in THREADS}
    for question, *numbers in turns(data_set(tmp_path, told, file_format=file_format)):
        moment, _, thread = question.partition("/")
        found[thread].append((moment, *numbers))
    assert found == {thread: expected for thread, (_, expected) in THREADS.items()}


def test_a_turn_may_lie_in_two_windows_of_two_formats(tmp_path: Path) -> None:
    """The question in yesterday's Parquet, the answer in today's lines; threads are not mixed up, nor Pages."""
    data_set(tmp_path, talk("23:00:00 ana"), file_format="parquet")
    data_set(tmp_path, [says("22:00:00", "bob", _conversation_id="t_2")], place=("messenger", PAGE, "other"))
    elsewhere = says("23:30:00", "page", _page_id="2", **{"from": {"id": "2"}})
    data_set(tmp_path, [elsewhere], place=("messenger", "2", "inbox"))
    data_set(tmp_path, talk("21T01:00:00 human"), first=1)
    assert turns(tmp_path) == [
        ("23:00:00_ana", 1, 7200, False, 7200, False),
        ("22:00:00_bob", 1, None, None, None, False),
    ]


def test_days_and_hours_are_those_of_utc_in_any_session(tmp_path: Path) -> None:
    """A Friday, a Sunday: 5 and 7."""
    root = data_set(tmp_path, talk("00:10:00 ana, 22T23:30:00 ana"), talk("21T09:00:00 page"))
    with look(root) as database:
        database.execute("SET TimeZone = 'America/St_Johns'")
        found = rows(database, "SELECT hour, weekday, asked_by, _folder FROM response_times ORDER BY asked_at")
    assert [tuple(row.values()) for row in found] == [(0, 5, "ana", "inbox"), (23, 7, "ana", "inbox")]


# ---- what has no time lies somewhere


TWO_TURNS = ("10:00:00 ana, 10:05:00 page", "21T10:00:00 ana, 21T10:05:00 page", "22T10:00:00 ana, 22T10:05:00 page")


@pytest.mark.parametrize(
    "day, flags",
    [
        (0, [True, True, False]),  # before the first answer, or between it and the next day's question
        (1, [False, True, True]),
        (2, [False, False, True]),
    ],
)
def test_a_bare_id_spoils_the_turns_that_its_window_reaches(day: int, flags: list[bool], tmp_path: Path) -> None:
    """And no others, whichever day it is in."""
    exports = [talk(text) + [bare()] * (number == day) for number, text in enumerate(TWO_TURNS)]
    assert [turn[-1] for turn in turns(data_set(tmp_path, *exports))] == flags


def test_a_window_ends_before_the_second_of_its_end(tmp_path: Path) -> None:
    """An answer at midnight sharp lies behind all that the day before withholds."""
    root = data_set(
        tmp_path, [*talk("23:00:00 ana"), bare()], talk("21T00:00:00 page, 21T10:00:00 ana, 21T10:05:00 page")
    )
    assert [turn[-1] for turn in turns(root)] == [True, False]


@pytest.mark.parametrize(
    "other",
    [{"_conversation_id": "t_2"}, {"_page_id": "2"}, {"_platform": "instagram"}],
    ids=["thread", "Page", "platform"],
)
def test_a_bare_id_of_another_place_spoils_nothing(other: dict[str, str], tmp_path: Path) -> None:
    """Each thread stands for itself."""
    root = data_set(tmp_path, [*talk("10:00:00 ana, 10:05:00 page"), bare(**other)])
    assert [turn[-1] for turn in turns(root)] == [False]


def long_thread(answers: int) -> list[dict[str, Any]]:
    """Return questions and answers in turn, and bare ids that came with them."""
    told = [f"{8 + n:02}:00:00 ana, {8 + n:02}:30:00 page" for n in range(answers)]
    return [*talk(", ".join(told)), bare(1), bare(2)]


def test_where_the_20_newest_are_known_what_has_no_time_is_older(tmp_path: Path) -> None:
    """A dump of a long thread: the first turn may have begun earlier, the others are what they are."""
    assert [turn[-1] for turn in turns(data_set(tmp_path / "a", long_thread(10)))] == [True] + [False] * 9
    answered_first = [*talk("07:00:00 page"), *long_thread(10)]
    assert {turn[-1] for turn in turns(data_set(tmp_path / "b", answered_first))} == {False}


@pytest.mark.parametrize("why", ["one is missing", "another export's"])
def test_where_they_are_not_it_may_lie_anywhere_in_its_window(why: str, tmp_path: Path) -> None:
    """With 19 that are known something else is withheld; and what another export knows says nothing of this one's."""
    told = long_thread(10)
    if why == "one is missing":
        told.pop(0)
    else:
        told = [{**one, "_export_id": "other"} if one["created_time"] else one for one in told]
    assert {turn[-1] for turn in turns(data_set(tmp_path, told))} == {True}


def test_a_thread_that_could_not_be_read_to_its_end_spoils_its_window(tmp_path: Path) -> None:
    """What it would have had nobody knows; the day before has its own."""
    data_set(tmp_path, talk(TWO_TURNS[0]), talk(TWO_TURNS[1]))
    gone = record(0, id="t_1", _unavailable=True)
    assert [turn[-1] for turn in turns(data_set(tmp_path, [gone], stream="conversations", first=1))] == [False, True]


# ---- Instagram


def instagram(*people: str, name: str | None, **fields: Any) -> dict[str, Any]:
    """Return a conversation of the account with somebody; it is called after them, as Instagram does."""
    known = [{"id": ident, "username": f"user.{ident}"} for ident in people]
    told = {"id": "t_1", "name": name, "participants": {"data": known}, "_platform": "instagram", **fields}
    return record(0, **told)


@pytest.mark.parametrize(
    "conversations, known",
    [
        ([instagram("ana", ACCOUNT, name="user.ana")], True),
        ([instagram(ACCOUNT, "ana", name=None), instagram("bob", ACCOUNT, name=None, id="t_2")], True),
        ([instagram(ACCOUNT, "ana", name=None)], False),
        ([instagram("ana", "bob", name="user.ana", id="t_9", _page_id="2")], False),
        ([], False),
    ],
    ids=["by the name", "by most", "nobody knows", "another Page's", "no conversation"],
)
@pytest.mark.parametrize("file_format", FORMATS)
def test_on_instagram_the_account_is_found_among_the_participants(
    file_format: str, conversations: list[dict[str, Any]], known: bool, tmp_path: Path
) -> None:
    """It is not the Page's id. Where nobody can tell who is who, there is no number."""
    place = ("instagram", PAGE, "all")
    told = [
        says(when, who, _platform="instagram", _folder="all", **fields)
        for when, who, fields in (
            ("10:00:00", "ana", {}),
            ("10:02:00", ACCOUNT, {}),
            # A person, whatever their id looks like.
            ("10:03:00", PAGE, {}),
        )
    ]
    data_set(tmp_path, told, place=place, file_format=file_format)
    data_set(tmp_path, conversations, stream="conversations", place=place, file_format=file_format)
    expected = [("10:00:00_ana", 1, 120, None, 120, False), (f"10:03:00_{PAGE}", 1, None, None, None, False)]
    assert turns(tmp_path) == (expected if known else [])
