"""What is said in the log."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone

import pytest
from structlog.contextvars import get_contextvars

from airflow_provider_pageconv import lines
from airflow_provider_pageconv.graph.errors import GraphRateLimitError

NOW = datetime(2026, 11, 28, 23, 59, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "seconds, said",
    [(-3, "0 s"), (80, "80 s"), (179, "179 s"), (180, "3 min"), (3600, "1 h"), (3660, "1 h 1 min"), (90_000, "25 h")],
)
def test_a_time_is_said_in_two_units_at_the_most(seconds: float, said: str) -> None:
    """Seconds where they matter."""
    assert lines.length(timedelta(seconds=seconds)) == said


def test_a_moment_is_said_with_its_day_where_that_is_another_one() -> None:
    """Always in UTC, as the log's own times are."""
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    assert lines.until(local, NOW) == "until 23:59:00 UTC (0 s)"
    assert lines.until(NOW + timedelta(seconds=80), local) == "until 2026-11-29 00:00:20 UTC (80 s)"


@pytest.mark.parametrize(
    "since, until, said",
    [
        (None, None, "all messages"),
        (datetime(2026, 11, 21), datetime(2026, 11, 22), "2026-11-21 to 2026-11-22"),  # noqa: DTZ001 - the zone is put on below
        (datetime(2026, 11, 21, 5), datetime(2026, 11, 21, 6), "2026-11-21 05:00 UTC to 2026-11-21 06:00 UTC"),  # noqa: DTZ001
        (None, datetime(2026, 11, 22, 0, 0, 1), "everything before 2026-11-22 00:00:01 UTC"),  # noqa: DTZ001
    ],
)
def test_a_window_is_said_as_people_say_it(since: datetime | None, until: datetime | None, said: str) -> None:
    """Not as its folder is named."""
    zoned = [moment and moment.replace(tzinfo=timezone.utc) for moment in (since, until)]
    assert lines.window(*zoned) == said


@pytest.mark.parametrize(
    "count, said", [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (166_000, "166 kB"), (3e10, "30.0 GB")]
)
def test_a_size_is_said_in_three_digits(count: int, said: str) -> None:
    """As people read it."""
    assert lines.size(count) == said


def test_a_long_warning_becomes_lines_that_are_seen_whole() -> None:
    """The later ones are indented; no word is cut."""
    text = "of 400 conversations the messages were withheld, " * 8
    found = lines.wrapped(text)
    assert all(len(line) <= lines.LONGEST for line in found)
    assert " ".join(line.strip() for line in found) == text.strip()
    assert all(line.startswith("  ") for line in found[1:])


def test_the_figures_of_a_line_are_fields_of_its_record(caplog: pytest.LogCaptureFixture) -> None:
    """Airflow takes them from the context; beyond the line they do not last."""
    seen = []
    log = logging.getLogger("told")

    class Watching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.getMessage(), get_contextvars()))

    log.addHandler(Watching())
    with caplog.at_level(logging.INFO):
        lines.tell(log, logging.INFO, "3 calls, 100 %.", api_calls=3)
    assert seen == [("3 calls, 100 %.", {"api_calls": 3})]
    assert get_contextvars() == {}


@pytest.mark.parametrize(
    "code, said",
    [
        (4, "the app's limit is reached (4)"),
        (613, "the Page's limit is reached (613)"),
        (80002, "the Instagram account's limit is reached (80002)"),
        (80014, "a limit on calls is reached (80014)"),
        (None, "a limit on calls is reached"),
    ],
)
def test_a_limit_is_named_by_whose_it_is(code: int | None, said: str) -> None:
    """In the few words that fit behind until when it lasts."""
    assert GraphRateLimitError("a limit on calls is reached", code=code).brief == said
