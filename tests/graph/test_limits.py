"""What a refusal means for all calls of a Page: go on slower, wait until a moment, give up. Each decision by itself."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.errors import GraphRateLimitError
from airflow_provider_pageconv.graph.limits import Gate, Limits, Policy, WaitedTooLong, Waiting
from airflow_provider_pageconv.graph.usage import Usage

START = datetime(2026, 11, 21, 10, 0, 0, tzinfo=timezone.utc)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
STAY, FAIL = Policy(stay=True), Policy(fail=True)


def limit(named: timedelta | None = None, code: int | None = 4) -> GraphRateLimitError:
    """A refusal that names a time, or none."""
    return GraphRateLimitError("the app has used up its calls", code=code, http_status=400, retry_after=named)


def usage(percent: float, regain: timedelta | None = None, kind: str = "messenger") -> Usage:
    """What the headers of a good answer say."""
    return Usage(percent=percent, regain=regain, by_type={kind: percent})


class Page:
    """A Page's calls, of one task and over its tries; time passes only when it waits.

    :param policy: what the task wants done.
    :param jitter: seconds on top of each wait, of the most that there may be.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        waiting: Waiting | None = None,
        *,
        jitter: Callable[[float], float] = lambda _: 0.0,
        **options: float,
    ) -> None:
        self.now = START
        self.policy = policy or Policy()
        self.jitter = jitter
        self.options = options
        self.limits = Limits(self.policy, waiting or Waiting(), jitter=jitter, **options)  # type: ignore[arg-type]

    @property
    def waiting(self) -> Waiting:
        return self.limits.waiting

    def meets(self, error: GraphRateLimitError) -> timedelta | None:
        """How long a limit has to be waited for; None where it has not to be."""
        until = self.limits.refused(error, self.now)
        return None if until is None else until - self.now

    def waits(self) -> float:
        """Let the wait pass; the seconds of it that count."""
        assert self.limits.until is not None
        self.now = max(self.now, self.limits.until)
        return self.limits.over(self.now)

    def waits_out(self, error: GraphRateLimitError) -> timedelta | None:
        """Meet a limit and wait for as long as it takes."""
        wait = self.meets(error)
        if wait is not None:
            self.waits()
        return wait

    def next_try(self, **changes: object) -> Page:
        """The try after this one: what it knows went through the checkpoint, and nothing else."""
        known = Waiting(**{**json.loads(json.dumps(asdict(self.waiting))), **changes})
        later = Page(self.policy, known, jitter=self.jitter, **self.options)
        later.now = self.now
        return later


# ---- the gate


def test_a_try_begins_with_one_call_alone() -> None:
    """It shows whether the others may follow."""
    page = Page()
    assert page.limits.gate is Gate.PROBING
    assert page.limits.until is None
    page.limits.good(None)
    assert page.limits.gate is Gate.OPEN


def test_after_a_wait_one_call_alone_shows_whether_the_others_may_follow() -> None:
    """Closed until the moment, and not a second less."""
    page = Page()
    page.limits.good(None)
    assert page.meets(limit(10 * MINUTE)) == 10 * MINUTE
    assert page.limits.gate is Gate.CLOSED
    assert page.limits.until == START + 10 * MINUTE
    assert page.limits.over(START + 10 * MINUTE - SECOND) == 0
    assert page.limits.gate is Gate.CLOSED
    assert page.limits.over(START + 10 * MINUTE) == 600
    assert page.limits.gate is Gate.PROBING
    assert page.limits.until is None
    page.limits.good(None)
    assert page.limits.gate is Gate.OPEN


def test_an_answer_of_whatever_kind_that_is_no_limit_opens() -> None:
    """A cursor that died during the wait, a thread that is gone: the others may call."""
    page = Page()
    page.waits_out(limit())
    page.limits.passed()
    assert page.limits.gate is Gate.OPEN
    assert page.waiting.refusals == 1, "but it is no new page"


def test_the_answer_of_a_call_that_left_before_the_limit_opens_nothing() -> None:
    """The limit is newer."""
    page = Page()
    page.meets(limit())
    page.limits.good(None)
    page.limits.passed()
    assert page.limits.gate is Gate.CLOSED


def test_limits_are_counted_so_that_refusals_of_calls_under_way_can_be_told_as_one() -> None:
    """Whatever comes of each."""
    page = Page()
    assert page.limits.incident == 0
    page.meets(limit(code=613))
    page.meets(limit())
    assert page.limits.incident == 2
    failing = Page(FAIL)
    with pytest.raises(GraphRateLimitError):
        failing.meets(limit())
    assert failing.limits.incident == 1


# ---- how long


def test_where_meta_names_no_time_the_waits_follow_a_schedule() -> None:
    """1, 2, 5, 10, 20, 30 minutes, and 30 from then on."""
    page = Page()
    waits = [page.waits_out(limit()) for _ in range(9)]
    assert waits == [minutes * MINUTE for minutes in (1, 2, 5, 10, 20, 30, 30, 30, 30)]


def test_the_schedule_goes_on_over_tries() -> None:
    """Each try finds the same limit."""
    page, waits = Page(), []
    for _ in range(7):
        waits.append(page.waits_out(limit()))
        page = page.next_try()
    assert waits == [minutes * MINUTE for minutes in (1, 2, 5, 10, 20, 30, 30)]


@pytest.mark.parametrize("named", [5 * SECOND, MINUTE, 7 * MINUTE, 20 * HOUR])
@pytest.mark.parametrize("before", [0, 1, 4])
@pytest.mark.parametrize("code", [4, 613, 80006, None])
def test_metas_word_comes_first(code: int | None, before: int, named: timedelta) -> None:
    """Longer or shorter than the schedule, and for a refused pace too."""
    page = Page(Policy(timeout=100 * HOUR))
    for _ in range(before):
        page.waits_out(limit())
    assert page.meets(limit(named, code)) == named


def test_a_named_time_is_one_more_in_the_row() -> None:
    """The schedule has gone on meanwhile."""
    page = Page()
    assert [page.waits_out(error) for error in (limit(), limit(9 * SECOND), limit())] == [
        MINUTE,
        9 * SECOND,
        5 * MINUTE,
    ]


def test_a_new_page_ends_the_row() -> None:
    """The next limit is waited for a minute again; a look at whether there is a limit ends nothing."""
    page = Page()
    for _ in range(3):
        page.waits_out(limit())
    page.limits.good(None, page=False)
    assert page.waits_out(limit()) == 10 * MINUTE
    page.limits.good(usage(50))
    assert page.waits_out(limit()) == MINUTE


def test_jitter_comes_on_top() -> None:
    """Of the schedule and of Meta's word, so that not all Pages come back at once."""
    for named in (None, 7 * MINUTE):
        assert Page(jitter=lambda _: 12.5).meets(limit(named)) == (named or MINUTE) + timedelta(seconds=12.5)


def test_the_jitter_is_30_seconds_at_most_and_never_less_than_none() -> None:
    """By the product's own dice."""
    random.seed(1)
    thrown = []
    for _ in range(3000):
        until = Limits(Policy(), Waiting()).refused(limit(MINUTE), START)
        assert until is not None
        thrown.append((until - START - MINUTE).total_seconds())
    assert 0 <= min(thrown) < 1
    assert 29 < max(thrown) <= 30


def come_back(error: GraphRateLimitError, policy: Policy | None = None, tasks: int = 200) -> list[float]:
    """When the tasks of many Pages that met one limit come back, by the product's own dice, in seconds; sorted."""
    random.seed(13)
    untils = [Limits(policy or Policy(), Waiting()).refused(error, START) for _ in range(tasks)]
    return sorted((until - START).total_seconds() for until in untils if until is not None)


@pytest.mark.parametrize("code", [4, 17, 32, 341])
@pytest.mark.parametrize("minutes", [4, 20, 60])
def test_the_tasks_of_many_pages_come_back_from_an_apps_limit_spread_over_a_quarter_of_the_wait(
    code: int, minutes: int
) -> None:
    """Not within 30 seconds, and none before the wait is over; each part of the quarter sees its share of them."""
    wait, times = 60.0 * minutes, come_back(limit(minutes * MINUTE, code))
    assert len(times) == 200
    assert wait <= times[0] <= times[-1] <= 1.25 * wait
    for part in range(4):
        begins, ends = (wait * (1 + (part + more) / 16) for more in (0, 1))
        assert 30 <= sum(begins <= time < ends for time in times) <= 70


def test_a_limit_of_one_page_or_account_is_not_waited_for_any_longer_than_before() -> None:
    """Its other tasks wait for limits of their own."""
    for code in (613, 80001, 80002, 80006, None):
        assert come_back(limit(HOUR, code))[-1] <= 3600 + 30


@pytest.mark.parametrize(
    "said, later",
    [(usage(96, HOUR, "app"), 15 * MINUTE), (usage(96, HOUR), 30 * SECOND),
     (Usage(100, HOUR, {"app": 60, "messenger": 100}), 30 * SECOND)],
)  # fmt: skip
def test_an_app_that_is_used_up_is_waited_for_like_its_refusal(said: Usage, later: timedelta) -> None:
    """Before anything is refused the usage says whose limit it is; that of a Page, or half of the app's, is not spread."""
    page = Page(jitter=lambda most: most)
    page.limits.good(said)
    ahead = page.limits.due()
    assert ahead is not None
    assert page.meets(ahead) == HOUR + later


def test_a_refusal_says_by_its_code_whose_limit_it_is() -> None:
    """Whatever the usage of the app is beside it."""
    refusal = GraphRateLimitError("too many", code=80006, retry_after=HOUR, usage=usage(100, HOUR, "app"))
    assert Page(jitter=lambda most: most).meets(refusal) == HOUR + 30 * SECOND


def test_coming_back_spread_does_not_outlast_the_timeout() -> None:
    """What is left of it is all that there is to spread over, and 30 seconds where less is left."""
    for timeout, most in ((64 * MINUTE, 4 * MINUTE), (60 * MINUTE, 30 * SECOND), (3 * HOUR, 15 * MINUTE)):
        page = Page(Policy(timeout=timeout), jitter=lambda most: most)
        assert page.waits_out(limit(HOUR)) == HOUR + most
        assert page.waiting.seconds == (HOUR + most).total_seconds()


def test_a_wait_too_short_to_be_spread_gets_its_30_seconds() -> None:
    """A quarter of a minute would bring them closer together than before."""
    assert Page(jitter=lambda most: most).meets(limit()) == MINUTE + 30 * SECOND


# ---- 613


def test_a_refused_pace_is_no_wait_the_first_time() -> None:
    """It goes on slower, with one call alone first."""
    page = Page()
    page.limits.good(None)
    assert page.meets(limit(code=613)) is None
    assert page.limits.gate is Gate.PROBING
    assert page.limits.until is None


def test_a_refused_pace_that_is_repeated_without_a_page_waits() -> None:
    """Then the schedule begins with its first minute; a page in between makes it the first time again."""
    page, pace = Page(), limit(code=613)
    waits = []
    for _ in range(2):
        waits.append(page.waits_out(pace))
        page.limits.good(None)
    waits += [page.waits_out(pace) for _ in range(4)]
    assert waits == [None, None, None, MINUTE, 2 * MINUTE, 5 * MINUTE]


def test_a_refused_pace_is_repeated_over_tries_too() -> None:
    """A task that comes back finds the same."""
    page = Page()
    assert page.meets(limit(code=613)) is None
    assert page.next_try().meets(limit(code=613)) == MINUTE


def test_a_control_that_is_answered_is_no_page_for_a_refused_pace() -> None:
    """It shows that calls go through, and brings nothing."""
    page = Page()
    assert page.meets(limit(code=613)) is None
    page.limits.good(None, page=False)
    assert page.meets(limit(code=613)) == MINUTE


# ---- held to be abusive


@pytest.mark.parametrize("named", [None, 5 * MINUTE, HOUR, 3 * HOUR])
def test_held_to_be_abusive_is_an_hour_at_least(named: timedelta | None) -> None:
    """More, where Meta names more."""
    assert Page().meets(limit(named, code=368)) == max(named or HOUR, HOUR)


def test_held_to_be_abusive_twice_ends_it() -> None:
    """One long wait, then stop; pages in between, and another try, do not make it right."""
    page = Page()
    page.waits_out(limit(code=368))
    for _ in range(5):
        page.limits.good(None)
    for again in (page.next_try(), page):
        with pytest.raises(WaitedTooLong) as caught:
            again.meets(limit(code=368))
        assert str(caught.value) == (
            "The calls were held to be abusive again after a long wait: Graph API error 368: the app has used up its "
            "calls. (HTTP status 400)"
        )


# ---- how long in all


def test_the_sentence_after_which_it_gives_up() -> None:
    """All waits of all tries count, and the last one is as long as what is left."""
    page, waits = Page(Policy(timeout=HOUR)), []
    with pytest.raises(WaitedTooLong) as caught:  # noqa: PT012 - in one of the tries
        while True:
            waits.append(page.waits_out(limit()))
            page = page.next_try()
    assert waits == [minutes * MINUTE for minutes in (1, 2, 5, 10, 20, 22)]
    assert str(caught.value) == (
        "Waited 1:00:00 for the limit without a single new page, and rate_limit_timeout is 1:00:00. Meta last said: "
        "Graph API error 4: the app has used up its calls. (HTTP status 400)"
    )


def test_it_gives_up_at_once_where_meta_names_more_than_is_left() -> None:
    """To wait for less would be in vain, and would prolong the block."""
    page = Page()
    with pytest.raises(WaitedTooLong) as caught:
        page.meets(limit(30 * HOUR))
    assert str(caught.value) == (
        "Waited 0:00:00 for the limit without a single new page, and rate_limit_timeout is 1 day, 0:00:00. Meta last "
        "said, and names another 1 day, 6:00:00: Graph API error 4: the app has used up its calls. (HTTP status 400)"
    )
    assert Page(Policy(timeout=30 * HOUR)).meets(limit(30 * HOUR)) == 30 * HOUR


def test_what_earlier_waits_have_used_up_is_not_left() -> None:
    """Those of a try that was killed among them."""
    page = Page(Policy(timeout=10 * MINUTE))
    for named in (20 * SECOND, 30 * SECOND, 9 * MINUTE):
        page.waits_out(limit(named))
    with pytest.raises(WaitedTooLong, match=re.escape("Waited 0:09:50 for the limit")):
        page.next_try().meets(limit(20 * SECOND))


def test_a_new_page_counts_afresh() -> None:
    """23 hours, a page, and 23 hours more; a look at whether there is a limit is no page."""
    page = Page()
    page.waits_out(limit(23 * HOUR))
    page.limits.good(None)
    assert page.waits_out(limit(23 * HOUR)) == 23 * HOUR
    page.limits.good(None, page=False)
    with pytest.raises(WaitedTooLong):
        page.meets(limit(23 * HOUR))


def test_only_the_wait_itself_counts_however_late_the_task_comes_back() -> None:
    """An Airflow that was down was not waiting for Meta."""
    page = Page()
    page.meets(limit(HOUR))
    later = page.next_try()
    later.now += 40 * HOUR
    assert later.waits() == 3600
    assert later.waiting.seconds == 3600
    assert later.meets(limit(2 * HOUR)) == 2 * HOUR


def test_a_clock_that_was_put_back_makes_the_wait_no_shorter() -> None:
    """The moment counts; and what was waited is never less than nothing."""
    page = Page()
    page.meets(limit(10 * MINUTE))
    assert page.limits.over(START - HOUR) == 0
    assert page.limits.until == START + 10 * MINUTE
    page.waiting.since = (START + HOUR).isoformat()
    assert page.limits.over(START + 10 * MINUTE) == 0
    assert page.waiting.seconds == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([4, 613, 80006, None]),
            st.none() | st.integers(30, 7200).map(lambda s: timedelta(seconds=s)),
        ),
        min_size=1,
        max_size=12,
    ),
    st.floats(0, 1),
    st.booleans(),
)
def test_whatever_is_refused_the_waits_end_and_stay_within_the_timeout(
    refusals: list[tuple[int | None, timedelta | None]], jitter: float, tries: bool
) -> None:
    """Without a new page: the time-out and one jitter at most; in one try or over many."""
    page = Page(Policy(timeout=3 * HOUR), jitter=lambda most: jitter * most)
    for at in range(1000):
        code, named = refusals[at % len(refusals)]
        try:
            wait = page.waits_out(limit(named, code))
        except WaitedTooLong:
            break
        assert wait is None or wait >= timedelta(0)
        if tries:
            page = page.next_try()
    else:
        pytest.fail("it never ended")
    assert page.now - START <= 3 * HOUR + 30 * SECOND
    assert page.waiting.seconds == pytest.approx((page.now - START).total_seconds())


# ---- over tries


def test_a_try_that_wakes_too_early_waits_on() -> None:
    """Whoever started it: the moment stays the same, and so does when the wait began."""
    page = Page()
    page.meets(limit(HOUR))
    page.now += 20 * MINUTE
    early = page.next_try()
    assert early.limits.gate is Gate.CLOSED
    assert early.limits.until == START + HOUR
    assert early.waits() == 3600
    assert early.limits.gate is Gate.PROBING


def test_a_wait_that_is_over_is_not_counted_again() -> None:
    """Neither here nor by the next try."""
    page = Page()
    page.waits_out(limit())
    assert page.limits.over(page.now + HOUR) == 0
    assert page.next_try().limits.over(page.now + HOUR) == 0
    assert page.waiting.seconds == 60


def test_what_is_known_of_waiting_goes_through_a_checkpoint() -> None:
    """As JSON, and back to the same."""
    page = Page()
    page.waits_out(limit(code=368))
    page.meets(limit(7 * MINUTE))
    assert page.next_try().waiting == page.waiting


def test_the_newest_record_speaks_for_all() -> None:
    """The folder that met the limit knows of it; the others may have had nothing to save after that."""
    page = Page()
    before = page.next_try().waiting
    page.meets(limit(HOUR))
    closed = page.next_try().waiting
    page.waits()
    page.limits.good(None)
    after = page.next_try().waiting
    assert Limits.newest([Waiting(), before, closed, Waiting()], 0) == closed
    assert Limits.newest([closed, after, before], 0) == after
    assert Limits.newest([], 0) == Waiting()


def test_every_change_makes_a_record_newer() -> None:
    """Else the folder that was saved after it would not be heard."""
    page = Page()
    seen = [page.waiting.changes]

    def changed() -> None:
        assert page.waiting.changes > seen[-1]
        seen.append(page.waiting.changes)

    page.meets(limit(code=613))
    changed()
    page.meets(limit())
    changed()
    page.waits()
    changed()
    page.limits.good(None)
    changed()
    page.limits.wait(START + HOUR, "the window settles")
    changed()


def test_a_clear_counts_afresh() -> None:
    """Also the refusals, and what was held to be abusive; and it does not wait for what is left either."""
    page = Page()
    page.waits_out(limit(code=368))
    page.meets(limit(20 * HOUR))
    cleared = Limits.newest([page.next_try().waiting, Waiting()], 1)
    assert cleared == Waiting(clear_number=1)
    later = Page(waiting=cleared)
    assert later.limits.gate is Gate.PROBING
    assert later.waits_out(limit()) == MINUTE
    assert later.waits_out(limit(code=368)) == HOUR
    assert (later.waiting.clear_number, later.waiting.abuses, later.waiting.seconds) == (1, 1, 3660)
    # What the cleared run wrote counts from then on, however much oftener the earlier one wrote.
    old = Waiting(changes=10_000, clear_number=0, until=START.isoformat())
    assert Limits.newest([old, later.waiting], 1) is later.waiting


# ---- usage


@pytest.mark.parametrize("percent", [None, 0.0, 75.0, 94.9])
def test_below_the_stop_nothing_is_due(percent: float | None) -> None:
    """The pace sees to what is below."""
    page = Page()
    page.limits.good(None if percent is None else usage(percent))
    assert page.limits.due() is None


@pytest.mark.parametrize("regain, wait", [(None, MINUTE), (7 * MINUTE, 7 * MINUTE)])
@pytest.mark.parametrize("percent", [95.0, 100.0, 140.0])
def test_at_the_stop_a_wait_is_due_before_the_next_call(
    percent: float, regain: timedelta | None, wait: timedelta
) -> None:
    """The page itself is good; the wait is told once, and not begun before there is a next call."""
    page = Page()
    page.limits.good(usage(percent, regain))
    assert page.limits.gate is Gate.OPEN
    assert page.waiting.until is None
    error = page.limits.due()
    assert error is not None
    assert (error.retry_after, error.usage) == (regain, usage(percent, regain))
    assert str(error) == (
        f"Graph API: {percent:.0f} % of the allowance is used up. Waiting before the API has to refuse."
    )
    assert page.limits.due() is None
    assert page.meets(error) == wait


def test_the_stop_is_the_deployments() -> None:
    """`[pageconv] usage_stop_percent`."""
    page = Page(stop_percent=50.0)
    page.limits.good(usage(49))
    assert page.limits.due() is None
    page.limits.good(usage(50))
    assert page.limits.due() is not None


def test_usage_that_does_not_fall_is_given_ever_more_time() -> None:
    """A call a minute would keep it where it is. Each is a new page, so the count of the waiting does not go on."""
    page, waits = Page(Policy(timeout=31 * MINUTE)), []
    for _ in range(8):
        page.limits.good(usage(96))
        error = page.limits.due()
        assert error is not None
        waits.append(page.waits_out(error))
    assert waits == [minutes * MINUTE for minutes in (1, 2, 5, 10, 20, 30, 30, 30)]
    page.limits.good(usage(80))
    assert page.limits.due() is None
    page.limits.good(usage(96))
    error = page.limits.due()
    assert error is not None
    assert page.meets(error) == MINUTE


def test_a_refusal_takes_the_place_of_what_was_due() -> None:
    """One wait is enough for both."""
    page = Page()
    page.limits.good(usage(99, HOUR))
    page.waits_out(limit(5 * MINUTE))
    assert page.limits.due() is None


def test_a_control_at_the_stop_makes_a_wait_due_too() -> None:
    """Its headers are as good as a page's."""
    page = Page()
    page.limits.good(usage(99), page=False)
    assert page.limits.due() is not None


# ---- what the task wants


@pytest.mark.parametrize("error", [limit(), limit(5 * SECOND), limit(code=613), limit(code=368)])
def test_fail_raises_the_refusal_at_once(error: GraphRateLimitError) -> None:
    """Also a refused pace and a short wait; nothing is counted, so that another try begins as this one did."""
    page = Page(FAIL)
    page.limits.good(None)
    before = asdict(page.waiting)
    with pytest.raises(GraphRateLimitError) as caught:
        page.meets(error)
    assert caught.value is error
    assert asdict(page.waiting) == before


def test_fail_counts_usage_at_the_stop_as_a_limit() -> None:
    """The error tells the usage and when to come back."""
    page = Page(FAIL)
    page.limits.good(usage(97, 3 * MINUTE))
    error = page.limits.due()
    assert error is not None
    with pytest.raises(GraphRateLimitError) as caught:
        page.meets(error)
    assert caught.value is error
    assert caught.value.retry_after == 3 * MINUTE


@pytest.mark.parametrize("policy", [Policy(), STAY, Policy(release_after=timedelta(0))])
def test_whether_the_worker_is_let_go_of_makes_no_wait_shorter(policy: Policy) -> None:
    """That is decided elsewhere."""
    assert Page(policy).meets(limit(20 * HOUR)) == 20 * HOUR


# ---- waits for reasons of one's own


def test_a_wait_for_a_reason_of_ones_own_counts_nothing() -> None:
    """As for a window that has to settle: no refusal, no second of it, and the schedule stands where it stood."""
    page = Page(Policy(timeout=HOUR))
    page.waits_out(limit())
    page.limits.wait(page.now + 5 * HOUR, "the window settles")
    assert page.limits.gate is Gate.CLOSED
    later = page.next_try()
    assert later.limits.gate is Gate.CLOSED
    assert later.waits() == 0
    assert later.limits.gate is Gate.PROBING
    assert later.limits.until is None
    assert (later.waiting.seconds, later.waiting.refusals) == (60, 1)
    assert later.meets(limit()) == 2 * MINUTE


def test_a_limit_after_a_wait_of_ones_own_is_counted_from_its_own_beginning() -> None:
    """Not from that of the wait before it."""
    page = Page()
    page.limits.wait(page.now + HOUR, "the window settles")
    page.waits()
    page.meets(limit(10 * MINUTE))
    assert page.waits() == 600
