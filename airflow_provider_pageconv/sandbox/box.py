"""All of the sandbox but its network: Pages, API, faults, limits, life, and what was asked."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.sandbox.clock import Clock
from airflow_provider_pageconv.sandbox.cursors import Cursors
from airflow_provider_pageconv.sandbox.encoding import encoded
from airflow_provider_pageconv.sandbox.errors import GraphApiError
from airflow_provider_pageconv.sandbox.faults import MANGLED, Fault, FaultBook
from airflow_provider_pageconv.sandbox.graph_api import (
    NODE_FIELDS,
    Access,
    Answer,
    Call,
    GraphApi,
    answered_version,
)
from airflow_provider_pageconv.sandbox.life import Life, LifeBook
from airflow_provider_pageconv.sandbox.limits import APP_CODES, USAGE_HEADERS, Account, Limits, Share, usage_headers
from airflow_provider_pageconv.sandbox.media import Media
from airflow_provider_pageconv.sandbox.nodes import INSTAGRAM, MESSENGER
from airflow_provider_pageconv.sandbox.page import ORDERS, Page
from airflow_provider_pageconv.sandbox.record import RecordedRequest, Reply, edge_of
from airflow_provider_pageconv.sandbox.rules import Rules, at_least, one_of
from airflow_provider_pageconv.sandbox.times import epoch, wire_time
from airflow_provider_pageconv.sandbox.twists import TWISTS, Twist
from airflow_provider_pageconv.sandbox.words import draw

HTML = (
    "<!DOCTYPE html>\n<html><head><title>Facebook | Error</title></head><body><h1>Sorry, something went wrong.</h1>"
    "<p>We're working on it and we'll get it fixed as soon as we can.</p></body></html>\n"
)
NOT_JSON = '{"data": [{"id": "t_1", "updated_time": '


class Box:
    """A Graph API with Pages of a chosen size, without a network; the same seed and `now` make the same Page.

    :param seed: decides about everything that is drawn.
    :param conversations: Messenger threads: of a hundred 70 in inbox, 10 in other, 15 in page_done, 5 in spam. Of several
        numbers each Page has its own, Page after Page, and from the first number on again.
    :param messages: messages in every `long_every`-th thread.
    :param long_every: 0 = no thread is long.
    :param short_messages: messages in all other threads.
    :param folders: exact threads by folder, in place of `conversations`.
    :param instagram: Instagram threads, or several numbers likewise.
    :param now: the Page's newest thread is just before, and the clock stands still. Real time, ticking, if left out.
    :param span: the threads were updated in this time before `now`, each in a second of its own.
    :param ties: let up to three threads, and up to three messages of a thread, share a second.
    :param order: "newest" first as Meta does, "oldest" first, "shuffled", or "mostly" newest first: every 40th row
        stands up to 30 places too high or too low until its thread gets a message.
    :param pages: how many Pages; the others are like the first, with ids that follow, and reached by the user's token.
    :param system_user: the user's token is one of a system user.
    :param cursor_style: "anchored" cursors hold on to a row, "offset" ones count rows and slip when the list changes.
    :param crowded_every: about one in so many messages has 30 attachments and 60 reactions, so that these lists have a
        further page; 0 = none.
    :param latency: seconds before each answer, or (least, most) to draw from.
    :param limits: calls that fit into a window; see `Limits`. They are copied: change `box.limits`.
    :param app_limits: the app's own, over the calls of all Pages and tokens, which `x-app-usage` reports; the code is 4
        where it is none of an app, and no refusal names a time. They are copied: change `box.app_limits`.
    :param account_limits: for the conversations of each Page's Messenger, and of its Instagram account, each counted
        apart; the business header reports them. Meta lets 2 calls a second through. With the code of a business
        limit each account answers its own: 80006, or 80002. They are copied: change `box.account_limits`.
    :param usage_headers: which are sent, of "app", "business", "page"; True = the first two, False = none.
    :param faults: faults ordered from the start.
    :param life: events ordered from the start.
    :param media: how the files behind the links of attachments are served, with which the links lead here; True: all of
        them well. Else the links are those of Meta's hosts, and nobody serves them.
    :param port: where a server of it is to listen; 0 = a free one.
    :param quiet: False prints a line for every request, without its query.
    :param rules: how the API behaves, by the names of `Rules`.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        conversations: int | Sequence[int] = 200,
        messages: int = 30,
        long_every: int = 10,
        short_messages: int = 2,
        folders: Mapping[str, int] | None = None,
        instagram: int | Sequence[int] = 0,
        now: datetime | None = None,
        span: timedelta = timedelta(days=30),
        ties: bool = False,
        order: str = "newest",
        page_id: str = "100200300400500",
        page_name: str = "Zapatería “La Ñ” 👟",
        pages: int = 1,
        token: str = "SANDBOX-PAGE-TOKEN",  # noqa: S107 - made up, opens nothing but this
        user_token: str = "SANDBOX-USER-TOKEN",  # noqa: S107 - likewise
        system_user: bool = False,
        cursor_style: str = "anchored",
        crowded_every: int = 0,
        latency: float | tuple[float, float] = 0.0,
        limits: Limits | None = None,
        app_limits: Limits | None = None,
        account_limits: Limits | None = None,
        usage_headers: bool | Iterable[str] = True,
        faults: Iterable[Fault] = (),
        life: Iterable[Life] = (),
        port: int = 0,
        media: Media | bool = False,
        quiet: bool = True,
        **rules: Any,
    ) -> None:
        one_of("cursor_style", cursor_style, ("anchored", "offset"))
        one_of("order", order, ORDERS)
        for name in rules.get("refused_fields", {}):
            one_of("refused_fields", name, tuple(NODE_FIELDS))
        if rules.get("require_proof") and not rules.get("app_secret"):
            raise ValueError("require_proof needs an app_secret")
        if now is not None and now.tzinfo is None:
            raise ValueError(f"now has no time zone: {now.isoformat()}")
        if not (page_id.isascii() and page_id.isdigit() and int(page_id)):
            raise ValueError(f"page_id is a number: {page_id!r}")
        at_least("pages", pages, 1)
        threads, on_instagram = _each(conversations), _each(instagram)
        counts = {"instagram": min(on_instagram), "messages": messages, "long_every": long_every}
        counts |= {"short_messages": short_messages, "crowded_every": crowded_every}
        for name, count in counts.items():
            at_least(name, count, 0)
        self.seed = seed
        self.token = token
        self.user_token = user_token
        self.latency = latency
        self.quiet = quiet
        self.lock = threading.RLock()
        self.requests: list[RecordedRequest] = []
        self.clock: Callable[[], datetime] = Clock(now, ticking=now is None)
        start = epoch(self.clock())
        self.pages: dict[str, Page] = {}
        for number in range(pages):
            ident = str(int(page_id) + number)
            self.pages[ident] = Page(
                seed=seed if number == 0 else draw(seed, "page", number) & 0x7FFFFFFF,
                page_id=ident,
                name=page_name if number == 0 else f"{page_name} {number + 1}",
                now=start,
                span=span,
                conversations=threads[number % len(threads)],
                folders=folders,
                instagram=on_instagram[number % len(on_instagram)],
                messages=messages,
                long_every=long_every,
                short_messages=short_messages,
                ties=ties,
                order=order,
                crowded_every=crowded_every,
                clock=lambda: self.clock(),
            )
        self.page = self.pages[page_id]
        self.rules = Rules(**rules)
        cursors = Cursors(seed, cursor_style)
        files = Media() if media is True else (media or None)
        self.api = GraphApi(self.pages, (), cursors, self.rules, lambda: epoch(self.clock()), files)
        self.derived_token = self.api.derived_token(self.page)
        for page in self.pages.values():
            self.add_token(self.api.derived_token(page), page)
        self.add_token(user_token, None, type="SYSTEM_USER" if system_user else "USER")
        self.add_token(token, self.page)
        self.limits, self.account_limits = _checked(limits), _checked(account_limits)
        self.app_limits = _of_the_app(app_limits)
        if usage_headers is not True:
            self.limits.headers = tuple(usage_headers or ())
            for name in self.limits.headers:
                one_of("usage_headers", name, USAGE_HEADERS)
        self.faults = FaultBook(seed, cursors, lambda: self.clock())
        for fault in faults:
            self.faults.add(fault)
        self.life = LifeBook(seed, self.page)
        for event in life:
            self.life.add(event)
        self.wanted_port = port
        self._random = random.Random(f"{seed}/latency")
        self._traces = itertools.count(1)

    # ---- what tests ask

    @property
    def media(self) -> Media | None:
        """The files behind the links, where they are served; how can be changed live."""
        return self.api.media

    def forget(self) -> None:
        """Clear the record of requests."""
        with self.lock:
            self.requests.clear()

    def add_token(
        self,
        token: str,
        page: Page | None,
        reaches: Iterable[str] | None = None,
        *,
        advanced_access: bool = True,
        **facts: Any,
    ) -> None:
        """Let a further token in: a Page's, or, with None, a user's.

        :param reaches: ids of the Pages that a user's token reaches; all of them if left out.
        :param advanced_access: False: it belongs to an app without, for which every list of conversations is empty.
        :param facts: what `/debug_token` says of it, such as `type="SYSTEM_USER"` or `expires_at`.
        """
        known = frozenset(reaches) if reaches is not None else None
        self.api.accesses[token] = Access(token, page, facts, known, advanced_access)

    def remove_token(self, token: str) -> None:
        """Shut a token out: calls with it answer 190 from now on."""
        self.api.accesses.pop(token, None)

    def end_tokens(self, page: Page) -> None:
        """Shut out every token of a Page, also the one that a user's token is exchanged for: it is handed out dead."""
        for token in [access.token for access in self.api.accesses.values() if access.page is page]:
            self.remove_token(token)

    def page_at(self, number: int) -> Page:
        """Return a Page by its number, which counts from 1."""
        if not 1 <= number <= len(self.pages):
            raise ValueError(f"there is no Page number {number}: they go from 1 to {len(self.pages)}")
        return list(self.pages.values())[number - 1]

    def proof(self, token: str | None = None) -> str:
        """Return the `appsecret_proof` of a token; of the Page's if left out."""
        return self.api.proof_of(token or self.token)

    def data(self, page_id: str | None = None) -> dict[str, Any]:
        """Return everything that is on a Page as one document, to compare an export with.

        `messages` are the full nodes, newest first; `visible` is what the API still gives of them with all fields.
        """
        with self.lock:
            page = self._page(page_id)
            return {"page_id": page.id, "now": wire_time(page.now), "threads": list(self._thread_data(page))}

    def write_data(self, path: Path, page_id: str | None = None) -> None:
        """Write the document of `data()`, thread by thread, so that a large Page needs no memory for it."""
        with self.lock, path.open("w", encoding="utf-8") as file:
            page = self._page(page_id)
            file.write(f'{{"page_id": {json.dumps(page.id)}, "now": {json.dumps(wire_time(page.now))}, "threads": [')
            for number, thread in enumerate(self._thread_data(page)):
                file.write(("," if number else "") + "\n" + json.dumps(thread))
            file.write("\n]}\n")

    def _page(self, page_id: str | None) -> Page:
        if page_id is None:
            return self.page
        if page_id not in self.pages:
            raise ValueError(f"there is no Page {page_id!r}: {', '.join(self.pages)}")
        return self.pages[page_id]

    def _thread_data(self, page: Page) -> Iterator[dict[str, Any]]:
        for thread in page.threads():
            messages = list(thread.messages)
            yield {
                "platform": thread.platform,
                "folder": thread.folder,
                "node": page.thread_node(thread),
                "messages": [message.node() for message in messages],
                "visible": [self.api.visible(message, place) for place, message in enumerate(messages)],
            }

    def report(self) -> dict[str, Any]:
        """Return the record of requests with counts by path, edge, status, code and fault."""
        with self.lock:
            asked = list(self.requests)
        return {
            "total": len(asked),
            "by_edge": Counter(request.edge for request in asked),
            "by_path": Counter(request.path for request in asked),
            "by_status": Counter(str(request.status) for request in asked),
            "by_code": Counter(str(request.code) for request in asked if request.code is not None),
            "by_fault": Counter(request.fault for request in asked if request.fault is not None),
            "requests": [request.as_json() for request in asked],
        }

    # ---- one call

    def reply(self, call: Call, record: RecordedRequest) -> Reply:
        """Record a call, let happen what is due, and return what goes back."""
        with self.lock:
            self.requests.append(record)
            self.life.before_call()
            delay = self._delay()
            refusal, refused_by = self._take(call)
            fault = None if refusal is not None else self.faults.strike(call, record.edge)
            answer = self._answer(call, refusal, fault)
            headers = self._headers(answer, fault, refused_by)
        record.code = answer.code
        record.fault = fault.kind if fault else None
        status, body = answer.status, encoded(answer.body)
        if fault is not None and fault.is_html:
            record.code = None
            status, body = fault.status or 502, HTML.encode()
        elif fault is not None and fault.kind == "not_json":
            status, body = fault.status or 200, (NOT_JSON if fault.message is None else fault.message).encode()
        return Reply(status, headers, body, fault, delay)

    def _take(self, call: Call) -> tuple[GraphApiError | None, Limits | None]:
        """Count a call where it counts, and return the refusal and the limits that refuse it, if any do.

        What one limit refuses is not counted by the next.
        """
        orders: list[tuple[Limits, Account | None]] = [(self.limits, None), (self.app_limits, None)]
        account = self._account_of(call) if self.account_limits.calls is not None else None
        if account is not None and account[1] in (MESSENGER, INSTAGRAM):
            orders.append((self.account_limits, account))
        for limits, of in orders:
            refusal = limits.take(of)
            if refusal is not None:
                return refusal, limits
        return None, None

    def _answer(self, call: Call, refusal: GraphApiError | None, fault: Fault | None) -> Answer:
        error = refusal
        if error is None and fault is not None and fault.kind not in TWISTS and fault.kind not in MANGLED:
            error = fault.error(call)
        if error is not None:
            try:
                version = answered_version(call.version)
            except GraphApiError:
                version = answered_version(None)
            return self.api.refusal(error, call, version, self._usage_of(call))
        twist = None
        if fault is not None and fault.kind in TWISTS:
            twist = Twist(fault.kind, fault.size, next(self._traces))
        answer = self.api.answer(call, twist)
        if not answer.usage:
            answer.usage = self._usage_of(call)
        return answer

    def _usage_of(self, call: Call) -> tuple[Account, ...]:
        """Return whose limits a call counts against when it was refused before anybody looked."""
        account = self._account_of(call)
        return () if account is None else (account,)

    def _account_of(self, call: Call) -> Account | None:
        """Return whose call it is, as far as its address and its token tell."""
        access = self.api.accesses.get(call.token or "")
        ident = (call.parts or [""])[0]
        page = self.pages.get(ident) or (access.page if access else None)
        if page is None:
            return None
        edge = edge_of(call)
        thread = None
        if ident != page.id and edge in ("messages", "inner", "node"):
            message = page.find_message(ident)
            thread = message[0] if message else page.find_thread(ident)
        if thread is not None:
            return page.id, thread.platform
        if edge in ("conversations", "messages", "inner"):
            platform = call.params.get("platform", MESSENGER).lower()
            return page.id, INSTAGRAM if platform == INSTAGRAM else MESSENGER
        return page.id, "pages"

    def _shares(
        self, usage: Iterable[Account], fault: Fault | None, refused_by: Limits | None
    ) -> tuple[Share, dict[Account, Share]]:
        """Return what the usage headers report: of the app, and of each account."""
        accounts = dict.fromkeys(usage)
        if fault is not None and fault.regain is not None:
            all_used = Share(100.0, fault.regain if fault.kind not in TWISTS and fault.kind not in MANGLED else 0)
            return all_used, dict.fromkeys(accounts, all_used)
        if refused_by is self.limits:
            all_used = Share(100.0, self.limits.regain_minutes() if self.limits.regain else 0)
            return all_used, dict.fromkeys(accounts, all_used)
        app = self.app_limits if self.app_limits.says_something else self.limits
        return Share(app.used()), {account: self._share_of(account, refused_by) for account in accounts}

    def _share_of(self, account: Account, refused_by: Limits | None) -> Share:
        if account[1] not in (MESSENGER, INSTAGRAM) or not self.account_limits.says_something:
            return Share(self.limits.used())
        refused = refused_by is self.account_limits and self.account_limits.regain
        regain = self.account_limits.regain_minutes(account) if refused else 0
        return Share(self.account_limits.used(account), regain)

    def _date(self) -> datetime:
        """Return what time it is where the API is."""
        return self.clock() if self.rules.date == "page" else datetime.now(timezone.utc)

    def _headers(self, answer: Answer, fault: Fault | None, refused_by: Limits | None) -> list[tuple[str, str]]:
        trace = draw(self.seed, "trace", next(self._traces))
        version = fault.version if fault is not None and fault.kind == "version" else answer.version
        is_html = fault is not None and fault.is_html
        made = [
            ("Content-Type", "text/html; charset=utf-8" if is_html else "application/json; charset=UTF-8"),
            ("Date", format_datetime(self._date().astimezone(timezone.utc), usegmt=True)),
            ("facebook-api-version", version),
            ("x-fb-trace-id", f"A{trace >> 88:010x}"),
            ("x-fb-debug", f"{trace:032x}=="),
            ("x-fb-rev", "1040000001"),
            ("Cache-Control", "private, no-cache, no-store, must-revalidate"),
        ]
        if answer.code == 190 and not is_html:
            # Meta repeats the message here: with a malformed token, the token too.
            message = (answer.error_message or "").encode("ascii", "replace").decode()
            made.append(("WWW-Authenticate", f'OAuth "Facebook Platform" "invalid_token" "{message}"'))
        silent = (fault is not None and (not fault.headers or fault.kind == "no_headers")) or (
            refused_by is not None and not refused_by.refusal_headers
        )
        if not silent:
            made += usage_headers(self.limits, *self._shares(answer.usage, fault, refused_by))
        if fault is not None and fault.retry_after is not None:
            made.append(("Retry-After", str(fault.retry_after)))
        return made

    def _delay(self) -> float:
        if isinstance(self.latency, tuple):
            return self._random.uniform(*self.latency)
        return self.latency


def _checked(limits: Limits | None) -> Limits:
    """Return limits that are the box's own; none where none were given."""
    made = Limits() if limits is None else limits.copy()
    made.check()
    return made


def _of_the_app(limits: Limits | None) -> Limits:
    """Return limits whose code is one of an app."""
    made = _checked(limits)
    if made.code not in APP_CODES:
        made.code = APP_CODES[0]
    return made


def _each(counts: int | Sequence[int]) -> tuple[int, ...]:
    """Return the number of each Page; one number is that of all."""
    made = (counts,) if isinstance(counts, int) else tuple(counts)
    if not made:
        raise ValueError("several numbers of threads are one at least")
    return made
