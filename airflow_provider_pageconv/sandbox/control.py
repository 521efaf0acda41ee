"""The sandbox's own addresses beneath /_sandbox: they need no token and are not recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_pageconv.sandbox.box import Box
from airflow_provider_pageconv.sandbox.clock import Clock
from airflow_provider_pageconv.sandbox.faults import Fault
from airflow_provider_pageconv.sandbox.life import Life
from airflow_provider_pageconv.sandbox.limits import APP_CODES, LIMIT_CODES, Limits
from airflow_provider_pageconv.sandbox.page import TASKS, Page
from airflow_provider_pageconv.sandbox.rules import one_of
from airflow_provider_pageconv.sandbox.times import epoch

PREFIX = "/_sandbox"
HELP = {
    "GET /_sandbox": "this list, the Pages and the tokens",
    "GET /_sandbox/data[?page_id=]": "everything that is on the Page, to compare with",
    "GET, DELETE /_sandbox/requests": "what was asked, with counts; forget it",
    "GET, POST, DELETE /_sandbox/faults": "the orders; one more (an object) or several (a list); none",
    "GET, POST, DELETE /_sandbox/life": "orders and events; an order, or, without at, every, p, an event at once; none",
    "GET, POST, DELETE /_sandbox/limits": "the limits; change calls, window, code, status, regain, percent …; no limit. "
    'Those of the app, and of each account apart: {"of": "app"|"accounts", …}',
    "GET, POST /_sandbox/rules": "how the API behaves; change time_form, nested, details, max_limit, refused_fields …",
    "POST /_sandbox/page": 'what one thread or message shows: {"pin": thread id, "place": 0}, {"unpin": thread id}, '
    '{"show_updated": thread id, "value": any}, {"show_created": message id, "value": any}',
    "GET, POST /_sandbox/pages": 'the Pages; {"page_id": id, "tasks": names, "advanced_access": true|false}: whether their '
    'lists hold anything; {"page_id": id, "dead": true} ends all of its tokens',
    "GET, POST /_sandbox/clock": 'the Page\'s time; {"now": ISO text, "ticking": true|false} or {"advance": seconds}',
}
_LIMITS = (
    "calls",
    "window",
    "code",
    "status",
    "regain",
    "prolongs",
    "headers",
    "refusal_headers",
    "percent",
    "foreign",
    "foreign_regain",
    "garbled",
    "refused",
)
_APART = ("calls", "window", "code", "status", "regain", "prolongs", "refusal_headers", "percent", "refused")
_CODES = {"all": LIMIT_CODES, "app": APP_CODES, "accounts": LIMIT_CODES}


class NotThereError(Exception):
    """There is no such address, or not with this method."""


def control(box: Box, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
    """Do what is ordered and return the JSON document that answers.

    Raises `NotThereError` for an unknown address, `ValueError` for an order that cannot be followed.
    """
    name = path[len(PREFIX) :].strip("/")
    with box.lock:
        if name == "" and method == "GET":
            tokens = {"page": box.token, "user": box.user_token, "derived": box.derived_token}
            return {"pages": list(box.pages), "tokens": tokens, "help": HELP}
        if name == "data" and method == "GET":
            return box.data(query.get("page_id"))
        if name == "requests" and method in ("GET", "DELETE"):
            report = box.report()
            if method == "DELETE":
                box.forget()
            return report
        if name == "faults" and method in ("GET", "POST", "DELETE"):
            return _faults(box, method, body)
        if name == "life" and method in ("GET", "POST", "DELETE"):
            return _life(box, method, body)
        if name == "limits" and method in ("GET", "POST", "DELETE"):
            return _limits(box, method, body)
        if name == "rules" and method in ("GET", "POST"):
            return _rules(box, method, body)
        if name == "page" and method == "POST":
            return _page(box, body)
        if name == "pages" and method in ("GET", "POST"):
            return _pages(box, method, body)
        if name == "clock" and method in ("GET", "POST"):
            return _clock(box, method, body)
    raise NotThereError(f"there is no {method} {path} in the sandbox: {'; '.join(HELP)}")


def _objects(body: Any) -> list[dict[str, Any]]:
    orders = body if isinstance(body, list) else [body]
    if not all(isinstance(order, dict) for order in orders):
        raise ValueError("the body is a JSON object, or a list of them")
    return orders


def _faults(box: Box, method: str, body: Any) -> Any:
    if method == "DELETE":
        box.faults.clear()
    elif method == "POST":
        for fault in [Fault.from_json(order) for order in _objects(body)]:
            box.faults.add(fault)
    return {"faults": [fault.as_json() for fault in box.faults], "counts": box.faults.counts}


def _life(box: Box, method: str, body: Any) -> Any:
    did = []
    if method == "DELETE":
        box.life.clear()
    elif method == "POST":
        for life in [Life.from_json(order) for order in _objects(body)]:
            if life.is_scheduled:
                box.life.add(life)
            else:
                try:
                    did += [box.life.happen(life) for _ in range(life.times or 1)]
                except KeyError as error:
                    raise ValueError(f"there is no {error}") from None
    return {"did": did, "orders": [life.as_json() for life in box.life], "happened": box.life.happened}


def _limits(box: Box, method: str, body: Any) -> Any:
    books = {"all": box.limits, "app": box.app_limits, "accounts": box.account_limits}
    if method == "DELETE":
        for limits in books.values():
            limits.calls = None
            limits.percent = None
            limits.reset()
    elif method == "POST":
        for order in _objects(body):
            of = order.get("of", "all")
            one_of("of", of, tuple(books))
            _change(books[of], {name: value for name, value in order.items() if name != "of"}, _CODES[of])
    return {
        **{name: getattr(box.limits, name) for name in _LIMITS},
        "used_percent": box.limits.used(),
        "app": {**{name: getattr(box.app_limits, name) for name in _APART}, "used_percent": box.app_limits.used()},
        "accounts": {name: getattr(box.account_limits, name) for name in _APART},
    }


def _change(limits: Limits, order: Mapping[str, Any], codes: tuple[int, ...]) -> None:
    known = {item.name for item in fields(Limits)} & set(_LIMITS)
    for name in order:
        if name not in known:
            raise ValueError(f"limits have no {name!r}: {', '.join(_LIMITS)}")
    changed = replace(limits, **order)
    changed.check()
    one_of("code", changed.code, codes)
    for name in order:
        setattr(limits, name, getattr(changed, name))


def _rules(box: Box, method: str, body: Any) -> Any:
    if method == "POST":
        for order in _objects(body):
            for name, value in order.items():
                setattr(box.rules, name, value)
    return box.rules.as_json()


_OF_PAGE: dict[str, tuple[Callable[..., object], str]] = {
    "pin": (Page.pin, "place"),
    "unpin": (Page.unpin, ""),
    "show_updated": (Page.show_updated, "value"),
    "show_created": (Page.show_created, "value"),
}


def _page(box: Box, body: Any) -> Any:
    for order in _objects(body):
        name = next((name for name in order if name in _OF_PAGE), None)
        if name is None:
            raise ValueError(f"a Page is not told {order!r}, but one of {', '.join(_OF_PAGE)}")
        do, argument = _OF_PAGE[name]
        unknown = set(order) - {name, argument}
        if unknown:
            raise ValueError(f"{name} knows no {min(unknown)!r}")
        given = {argument: order[argument]} if argument in order else {}
        try:
            do(box.page, order[name], **given)
        except KeyError as error:
            raise ValueError(f"there is no {error}") from None
    return {"page": box.page.id}


def _pages(box: Box, method: str, body: Any) -> Any:
    for order in _objects(body) if method == "POST" else ():
        unknown = set(order) - {"page_id", "tasks", "advanced_access", "dead"}
        if unknown:
            raise ValueError(f"a Page has no {min(unknown)!r}: page_id, tasks, advanced_access, dead")
        page = box.pages.get(order.get("page_id", box.page.id))
        if page is None:
            raise ValueError(f"there is no Page {order['page_id']!r}")
        for task in order.get("tasks", ()):
            one_of("tasks", task, TASKS)
        page.tasks = tuple(order.get("tasks", page.tasks))
        page.advanced_access = bool(order.get("advanced_access", page.advanced_access))
        if order.get("dead"):
            box.end_tokens(page)
    alive = {access.page for access in box.api.accesses.values()}
    return [
        {"page_id": page.id, "name": page.name, "tasks": page.tasks, "advanced_access": page.advanced_access,
         "dead": page not in alive}
        for page in box.pages.values()
    ]  # fmt: skip


def _clock(box: Box, method: str, body: Any) -> Any:
    if method == "POST":
        for order in _objects(body):
            unknown = set(order) - {"now", "ticking", "advance"}
            if unknown:
                raise ValueError(f"the clock has no {min(unknown)!r}: now, ticking, advance")
            now = box.clock()
            if "now" in order:
                now = datetime.fromtimestamp(epoch(order["now"]), timezone.utc)
            now += timedelta(seconds=float(order.get("advance", 0)))
            ticking = order.get("ticking", getattr(box.clock, "ticking", True))
            box.clock = Clock(now, ticking=bool(ticking))
    return {"now": box.clock().isoformat(), "ticking": getattr(box.clock, "ticking", None)}
