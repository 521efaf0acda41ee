"""The options of the sandbox's command line, and the sandbox that they order."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow_provider_pageconv.sandbox import values
from airflow_provider_pageconv.sandbox.faults import KINDS
from airflow_provider_pageconv.sandbox.life import Life
from airflow_provider_pageconv.sandbox.limits import APP_CODES, LIMIT_CODES, Limits
from airflow_provider_pageconv.sandbox.media import TROUBLES, Media
from airflow_provider_pageconv.sandbox.page import ORDERS
from airflow_provider_pageconv.sandbox.rules import CHOICES
from airflow_provider_pageconv.sandbox.serving import Sandbox
from airflow_provider_pageconv.sandbox.values import (
    MOST_MESSAGES,
    MOST_PAGES,
    MOST_THREADS,
    RULES,
    each_from,
    number,
    one_of,
    whole,
)

_EXAMPLES = """\
examples:
  # A Page with 2,000 conversations on port 8765, and what an export of it has to hold:
  python -m airflow_provider_pageconv.sandbox --port 8765 --conversations 2000 --data-file expected.json

  # Ten calls a minute, then 80006 with the minutes until access comes back:
  python -m airflow_provider_pageconv.sandbox --limit-calls 10 --limit-window 60 --limit-code 80006

  # Error 613 three times from the fifth call on, every 20th body cut short, and messages that arrive meanwhile:
  python -m airflow_provider_pageconv.sandbox --fault code=613,on=conversations,at=5,times=3,regain=2 \\
      --fault kind=cut,every=20 --life 0.1

  # Twelve Pages of three sizes under one system user's token: two with dead tokens, one without a task, one empty;
  # 2 calls a second for each account, and 500 an hour for the app over all of them:
  python -m airflow_provider_pageconv.sandbox --pages 12 --conversations 40,5,200 --instagram 10 --system-user \\
      --dead-pages 3,7 --taskless-pages 5 --empty-pages 9 --account-limit-calls 2 --app-limit-calls 500

While it runs, GET /_sandbox lists the addresses that change faults, limits, life and clock, or show what came.
"""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line; each option says what it takes, and nothing else is let through."""
    made = _Parser(
        usage="python -m airflow_provider_pageconv.sandbox [options]",
        prog="python -m airflow_provider_pageconv.sandbox",
        description="A Graph API on loopback with the conversations of a made-up Facebook Page: to try exports on\n"
        "before Meta approves the app, and to see what they do when things go wrong.\n"
        "The same seed and --now make the same Page.",
        epilog=_EXAMPLES,
        formatter_class=_Formatter,
    )
    pages = each_from(1, MOST_PAGES, "2,5")
    window = number(0, 1_000_000, above=True)
    page = made.add_argument_group("the Page")
    page.add_argument("--seed", type=whole(), default=1, help="decides about everything that is drawn")
    page.add_argument(
        "--conversations",
        type=each_from(0, MOST_THREADS, "40,0,7"),
        default="200",
        metavar="N,…",
        help="Messenger threads, in four folders; 40,0,7: Page after Page",
    )
    page.add_argument(
        "--folders", type=values.folders, metavar="F=N,…", help="exact threads by folder, such as inbox=100,spam=3"
    )
    page.add_argument(
        "--instagram",
        type=each_from(0, MOST_THREADS, "40,0,7"),
        default="0",
        metavar="N,…",
        help="Instagram threads; several likewise",
    )
    page.add_argument(
        "--messages", type=whole(0, MOST_MESSAGES), default=30, metavar="N", help="messages in every long thread"
    )
    page.add_argument(
        "--long-every", type=whole(0), default=10, metavar="N", help="every so many threads is long; 0: none"
    )
    page.add_argument(
        "--short-messages", type=whole(0, MOST_MESSAGES), default=2, metavar="N", help="messages in the other threads"
    )
    page.add_argument(
        "--now", type=values.moment, metavar="ISO", help="the Page's present, standing still; real time if left out"
    )
    page.add_argument(
        "--span-days",
        type=number(0, 36_500, above=True),
        default=30,
        metavar="DAYS",
        help="threads were updated in so many days",
    )
    page.add_argument("--ties", action="store_true", help="let threads and messages share a second")
    page.add_argument("--order", **_one_of(*ORDERS), default="newest", help="of the lists")
    page.add_argument("--page-id", type=values.page_id, default="100200300400500", metavar="ID", help="id of the Page")
    page.add_argument(
        "--pages",
        type=whole(1, MOST_PAGES),
        default=1,
        metavar="N",
        help="Pages that the user's token reaches, with ids that follow",
    )
    page.add_argument(
        "--dead-pages",
        type=pages,
        default=[],
        metavar="N,…",
        help="the numbers of Pages whose tokens are all dead; the first is 1",
    )
    page.add_argument(
        "--taskless-pages",
        type=pages,
        default=[],
        metavar="N,…",
        help="Pages on which the user has no task: no token is given",
    )
    page.add_argument(
        "--empty-pages",
        type=pages,
        default=[],
        metavar="N,…",
        help="Pages whose lists are empty: the app has no Advanced Access",
    )
    page.add_argument(
        "--crowded-every", type=whole(0), default=0, metavar="N", help="one in N messages has lists of two pages"
    )
    page.add_argument("--data-file", type=Path, metavar="PATH", help="write all that is on the Page here, as JSON")
    api = made.add_argument_group("the API")
    api.add_argument("--port", type=whole(0, 65_535), default=8765, help="port on 127.0.0.1; 0: a free one")
    api.add_argument(
        "--token", type=values.header("a token"), default="SANDBOX-PAGE-TOKEN", help="the Page's access token"
    )
    api.add_argument(
        "--user-token",
        type=values.header("a token"),
        default="SANDBOX-USER-TOKEN",
        metavar="TOKEN",
        help="a user's access token",
    )
    api.add_argument("--system-user", action="store_true", help="the user's token is one of a system user")
    api.add_argument(
        "--app-secret", type=values.header("a secret"), metavar="SECRET", help="check appsecret_proof with this secret"
    )
    api.add_argument("--require-proof", action="store_true", help="refuse calls without appsecret_proof")
    api.add_argument(
        "--details", **_one_of("bare", "dated", "all"), default="bare", help="beyond 20 messages: ids, dated ids, all"
    )
    api.add_argument(
        "--cursor-style", **_one_of("anchored", "offset"), default="anchored", help="hold on to a row, or count rows"
    )
    api.add_argument("--max-limit", type=whole(1), default=500, metavar="N", help="greatest page")
    api.add_argument(
        "--refuse-field",
        type=values.refused_field,
        action="append",
        default=[],
        metavar="TYPE.FIELD",
        help="such as UnifiedThread.wallpaper",
    )
    api.add_argument("--user-token-error", **_one_of(190, 210), default=190, help="where a Page token is needed")
    api.add_argument(
        "--latency",
        type=values.latency,
        default="0",
        metavar="SECONDS",
        help="before each answer; 0.1-1.5 draws from a range",
    )
    api.add_argument(
        "--usage-headers",
        type=values.usage_headers,
        default="app,business",
        metavar="LIST",
        help="of app,business,page; or none",
    )
    api.add_argument(
        "--rule", type=values.rule, action="append", default=[], metavar="NAME=VALUE",
        help="one more of the API's ways; may be repeated. Which: " + "; ".join(
            f"{name}=" + " | ".join(str(choice) for choice in CHOICES.get(name, ("N",)) if choice is not None)
            for name in RULES
        ),
    )  # fmt: skip
    api.add_argument(
        "--foreign-usage",
        type=values.foreign_usage,
        default={},
        metavar="T=P,…",
        help="percent that other products use: ads_management=100",
    )
    api.add_argument("--garbled-usage", action="store_true", help="cut the usage headers in the middle")
    api.add_argument("--verbose", action="store_true", help="print a line for every request, without its query")
    files = made.add_argument_group("files behind links")
    files.add_argument("--media", action="store_true", help="serve the files of attachments: their links lead here")
    files.add_argument(
        "--media-dies-after",
        type=number(1, 1_000_000_000),
        metavar="SECONDS",
        help="how long such a link is good; for good if left out",
    )
    files.add_argument(
        "--media-fault",
        type=values.media_fault,
        action="append",
        default=[],
        metavar="K=V,…",
        help="what is wrong with every so many files; may be repeated: kind=, every=, times= (so many answers), location=, "
        "seconds=. Kinds: " + ", ".join(TROUBLES),
    )
    limits = made.add_argument_group("limits")
    limits.add_argument("--limit-calls", type=whole(0), metavar="N", help="calls in the window, then refusals")
    limits.add_argument("--limit-window", type=window, default=60, metavar="SECONDS", help="the window")
    limits.add_argument(
        "--limit-code", type=one_of(LIMIT_CODES), default=613, metavar="CODE", help="613, 80006, 80002, 4, 17, 32 …"
    )
    limits.add_argument("--limit-status", type=whole(200, 599), metavar="STATUS", help="HTTP status of refusals")
    limits.add_argument(
        "--app-limit-calls", type=whole(0), metavar="N", help="calls of all Pages and tokens in the app's window"
    )
    limits.add_argument("--app-limit-window", type=window, default=3600, metavar="SECONDS", help="the app's window")
    limits.add_argument("--app-limit-code", type=one_of(APP_CODES), default=4, metavar="CODE", help="4, 17, 32 or 341")
    limits.add_argument(
        "--account-limit-calls", type=whole(0), metavar="N",
        help="calls in the window for each Page's Messenger, and for each Instagram account; Meta's are 2 in 1 second",
    )  # fmt: skip
    limits.add_argument(
        "--account-limit-window", type=window, default=1, metavar="SECONDS", help="the accounts' window"
    )
    limits.add_argument(
        "--account-limit-code",
        type=one_of(LIMIT_CODES),
        default=613,
        metavar="CODE",
        help="80006: 80002 for an Instagram account",
    )
    limits.add_argument("--limit-prolongs", **_one_of("on", "off"), default="on", help="refused calls count as well")
    limits.add_argument("--regain", **_one_of("on", "off"), default="on", help="refusals name the minutes to wait")
    trouble = made.add_argument_group("trouble and life")
    trouble.add_argument(
        "--fault", type=values.fault, action="append", default=[], metavar="K=V,…",
        help="order a fault; may be repeated. Which calls: on= (conversations, messages, node, accounts, me, "
        "debug_token, inner), path=, folder=, platform=, thread=, pages=first|later, and of these at=, every=, "
        "p=, times=, lasts=. What: kind=, code=, subcode=, status=, message=, is_transient=, user_title=, user_msg=, regain=, "
        "retry_after=, headers=off, size=, seconds=, location=, version=. Kinds: " + ", ".join(KINDS),
    )  # fmt: skip
    trouble.add_argument(
        "--life",
        type=number(0, 1),
        default=0,
        metavar="RATE",
        help="how likely something happens before a call, 0 to 1",
    )
    return made


def _one_of(*allowed: object) -> dict[str, Any]:
    """Return how an option takes one of a few values, and shows them."""
    return {"type": one_of(allowed), "metavar": f"{{{','.join(map(str, allowed))}}}"}


def at_odds(options: argparse.Namespace) -> Iterator[str]:
    """Yield what is wrong with options that are each right by themselves."""
    messenger = [sum(options.folders.values())] if options.folders else options.conversations
    for name, counts in (("--folders" if options.folders else "--conversations", messenger),
                         ("--instagram", options.instagram)):  # fmt: skip
        if max(counts) > int(options.span_days * 86_400) and not options.ties:
            yield (
                f"{name} has {max(counts):,} threads, and in --span-days {options.span_days:g} each cannot have a second "
                "of its own: a longer span or --ties is needed"
            )
    threads = options.pages * (max(messenger) + max(options.instagram))
    if threads > MOST_THREADS:
        yield f"--pages {options.pages} with so many threads each would make {threads:,}: {MOST_THREADS:,} is the most"
    for name in ("dead", "taskless", "empty"):
        beyond = [page for page in getattr(options, f"{name}_pages") if page > options.pages]
        if beyond:
            yield f"--{name}-pages names Pages from 1 to {options.pages} (--pages), not {beyond[0]}"
    if options.require_proof and not options.app_secret:
        yield "--require-proof needs an --app-secret"
    if (options.media_dies_after or options.media_fault) and not options.media:
        yield "--media-dies-after and --media-fault need --media"
    if options.token == options.user_token:
        yield f"--token and --user-token are two tokens, not {options.token!r} both"


_AS_THEY_ARE = (
    "seed", "conversations", "messages", "long_every", "short_messages", "folders", "instagram", "now", "ties", "order",
    "page_id", "pages", "crowded_every", "token", "user_token", "system_user", "app_secret", "require_proof", "details",
    "cursor_style", "max_limit", "user_token_error", "latency", "usage_headers", "port",
)  # fmt: skip
"""Options that the sandbox takes by the same names."""


def sandbox(options: argparse.Namespace) -> Sandbox:
    """Make what the options order; nothing listens yet."""
    limits = _limits_of(options, "limit")
    limits.status, limits.foreign, limits.garbled = options.limit_status, options.foreign_usage, options.garbled_usage
    refused: dict[str, set[str]] = {}
    for node_type, name in options.refuse_field:
        refused.setdefault(node_type, set()).add(name)
    box = Sandbox(
        **{name: getattr(options, name) for name in _AS_THEY_ARE},
        span=timedelta(days=options.span_days),
        refused_fields=refused,
        limits=limits,
        app_limits=_limits_of(options, "app_limit"),
        account_limits=_limits_of(options, "account_limit"),
        faults=options.fault,
        life=[Life("any", p=options.life)] if options.life else [],
        media=Media(options.media_dies_after, options.media_fault) if options.media else False,
        quiet=not options.verbose,
    )
    for page in options.dead_pages:
        box.end_tokens(box.page_at(page))
    for page in options.taskless_pages:
        box.page_at(page).tasks = ()
    for page in options.empty_pages:
        box.page_at(page).advanced_access = False
    for name, value in options.rule:
        setattr(box.rules, name, value)
    return box


def _limits_of(options: argparse.Namespace, name: str) -> Limits:
    """Return the limits of all, of the app, or of the accounts."""
    return Limits(
        calls=getattr(options, f"{name}_calls"),
        window=getattr(options, f"{name}_window"),
        code=getattr(options, f"{name}_code"),
        regain=options.regain == "on",
        prolongs=options.limit_prolongs == "on",
    )


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; the help is there for those who ask for it."""

    def parse_args(self, *given: Any, **more: Any) -> Any:
        """Return options that go together."""
        options = super().parse_args(*given, **more)
        for sentence in at_odds(options):
            self.error(sentence)
        return options

    def error(self, message: str) -> NoReturn:
        """Print the sentence and end."""
        for of_argparse, ours in _SENTENCES:
            message = re.sub(of_argparse, ours, message)
        self.exit(2, f"{message[:1].upper()}{message[1:]}\n")


_SENTENCES = (
    (r"^argument (\S+): expected one argument$", r"\1 needs a value: --help says which"),
    (r"^argument (\S+): ignored explicit argument (.*)$", r"\1 takes no value, not \2"),
    (r"^unrecognized arguments: (.*)$", r"there is no option \1: --help lists them"),
    (r"^argument (\S+): ", r"\1 "),
)
"""What argparse says, and what is said in its place."""


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, and leaves the examples as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, "", [], {}, False):
            return action.help
        return super()._get_help_string(action)
