"""How the API behaves where Meta is vague, changes its mind, or can be configured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from airflow_provider_pageconv.sandbox.errors import REFUSAL_FORMS
from airflow_provider_pageconv.sandbox.times import TIME_FORMS

CHOICES: dict[str, tuple[object, ...]] = {
    "details": ("bare", "dated", "all"),
    "user_token_error": (190, 210),
    "no_token_code": (None, 104, 2500),
    "time_form": tuple(TIME_FORMS),
    "nested": ("full", "absent", "null", "empty", "short"),
    "message_count": ("right", "absent", "wrong"),
    "refusal_form": REFUSAL_FORMS,
    "require_proof": (False, True),
    "next_on_full": (False, True),
    "inner_paging": (False, True),
    "swallow_authorization": (False, True),
    "date": ("machine", "page"),
    "taskless": ("left_out", "refused"),
}
"""What a rule may be, where it is one of a few."""

LEAST = {"max_limit": 1, "max_inner_limit": 1, "nested_every": 1, "detailed_messages": 0, "requests_every": 0}
"""From where on a rule counts, where it is a number."""


MOST = 1_000_000_000
"""What counts as a number here, and is no slip of the hand."""


def one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise `ValueError` for what is not allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(str, allowed))}, not {value!r}")


def at_least(name: str, value: object, least: int) -> None:
    """Raise `ValueError` for what is no whole number, or too low."""
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is a whole number from {least} on, not {value!r}")


def between(name: str, value: float, least: float, most: float) -> None:
    """Raise `ValueError` for a number that is too low, too high, or none at all."""
    if not least <= value <= most:
        raise ValueError(f"{name} is a number from {least:,} to {most:,}, not {value!r}")


@dataclass
class Rules:
    """The rules; each can be changed live, and what cannot be is refused with a `ValueError`.

    :param app_secret: if set, a proof that is given has to be right; `require_proof` wants one with every call.
    :param details: what is left of the messages beyond the newest 20 of a thread: "bare" ids, "dated" ones, or "all".
    :param detailed_messages: the 20.
    :param refused_fields: documented fields that are refused all the same, by node type.
    :param user_token_error: 190 or 210, for a user's token where a Page's is needed.
    :param next_on_full: give a next link after every full page, even if nothing follows.
    :param inner_paging: whether attachments, reactions, participants and the like carry `paging`.
    :param debug_token: overrides what `/debug_token` says.
    :param time_form: how `updated_time` and `created_time` are written; one of `times.TIME_FORMS`.
    :param nested: what stands at `messages` in the rows of /conversations that were asked for it: "full" as asked,
        "absent" no key, "null", "empty" a list without rows, "short" half of the rows and no next page.
    :param nested_every: it is so in every so many threads (by serial number), and "full" in the others.
    :param message_count: "right", "absent", or "wrong": one too high.
    :param refusal_form: the words in which a field is refused; one of `errors.REFUSAL_FORMS`.
    :param swallow_authorization: something on the way takes the Authorization header off every call.
    :param date: whose clock the `Date` header goes by: the machine's, or the Page's, which may stand still.
    :param no_token_code: 2500 or 104, for calls without a token; None: 2500 on /me and where the header was swallowed,
        else 104.
    :param taskless: what a person without a task on a Page gets who asks it for its token: an answer in which the token is
        "left_out", or error 10.
    :param requests_every: every so many threads of Instagram (by serial number) is one of its Requests, which the API does not
        list any more once they were idle for 30 days; 0: none is.
    """

    app_secret: str | None = None
    require_proof: bool = False
    details: str = "bare"
    detailed_messages: int = 20
    max_limit: int = 500
    max_inner_limit: int = 500
    refused_fields: Mapping[str, Iterable[str]] = field(default_factory=dict)
    user_token_error: int = 190
    next_on_full: bool = False
    inner_paging: bool = True
    debug_token: Mapping[str, Any] = field(default_factory=dict)
    time_form: str = "graph"
    nested: str = "full"
    nested_every: int = 1
    message_count: str = "right"
    refusal_form: str = "node_type"
    swallow_authorization: bool = False
    no_token_code: int | None = None
    date: str = "machine"
    taskless: str = "left_out"
    requests_every: int = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _NAMES:
            raise ValueError(f"there is no rule {name!r}: {', '.join(sorted(_NAMES))}")
        if name in CHOICES:
            one_of(name, value, CHOICES[name])
        if name in LEAST:
            at_least(name, value, LEAST[name])
        super().__setattr__(name, value)

    def of_rows(self) -> tuple[object, ...]:
        """Return all that decides what a row of a list looks like."""
        return (
            self.details, self.detailed_messages, self.max_inner_limit, self.inner_paging, self.time_form, self.nested,
            self.nested_every, self.message_count,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the rules without the app secret."""
        made = {name: getattr(self, name) for name in sorted(_NAMES - {"app_secret"})}
        made["refused_fields"] = {name: sorted(found) for name, found in self.refused_fields.items()}
        return made


_NAMES = frozenset(item.name for item in fields(Rules))
