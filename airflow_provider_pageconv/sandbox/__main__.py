"""The sandbox from the command line: `python -m airflow_provider_pageconv.sandbox --help`."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import FrameType
from typing import NoReturn

from airflow_provider_pageconv.sandbox.faults import KINDS, Fault, parse_all
from airflow_provider_pageconv.sandbox.life import Life
from airflow_provider_pageconv.sandbox.limits import APP_CODES, LIMIT_CODES, Limits
from airflow_provider_pageconv.sandbox.page import ORDERS
from airflow_provider_pageconv.sandbox.rules import CHOICES, one_of
from airflow_provider_pageconv.sandbox.serving import Sandbox
from airflow_provider_pageconv.sandbox.times import epoch

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox until Ctrl-C or SIGTERM."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        box = _sandbox(options)
    except ValueError as error:
        parser.error(str(error))
    stopped = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stopped.set()

    # Before the line is printed: who reads it may send the signal at once.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if options.data_file is not None:
        try:
            box.write_data(options.data_file)
        except OSError as error:
            parser.error(f"the data file {options.data_file} cannot be written: {error.strerror}")
    try:
        box.start()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        parser.error(f"port {options.port} of 127.0.0.1 cannot be had: {reason}")
    sys.stdout.write(
        f"Sandbox of the Graph API at {box.url} for Page {box.page.id}, token {box.token} (stop it with Ctrl-C)\n"
    )
    sys.stdout.flush()
    while not stopped.wait(1.0):  # With a time-out, so that signals are noticed on every platform.
        pass
    box.stop()
    return 0


def _sandbox(options: argparse.Namespace) -> Sandbox:
    life = [Life("any", p=options.life)] if options.life else []
    faults: list[Fault] = parse_all(options.fault)
    limits = Limits(
        calls=options.limit_calls,
        window=options.limit_window,
        code=options.limit_code,
        status=options.limit_status,
        regain=options.regain == "on",
        prolongs=options.limit_prolongs == "on",
        foreign=_foreign(options.foreign_usage) if options.foreign_usage else {},
        garbled=options.garbled_usage,
    )
    one_of("--limit-code", limits.code, LIMIT_CODES)
    one_of("--app-limit-code", options.app_limit_code, APP_CODES)
    one_of("--account-limit-code", options.account_limit_code, LIMIT_CODES)
    usage = [] if options.usage_headers == "none" else options.usage_headers.split(",")
    box = Sandbox(
        seed=options.seed,
        conversations=_counts("--conversations", options.conversations),
        messages=options.messages,
        long_every=options.long_every,
        short_messages=options.short_messages,
        folders=_folders(options.folders) if options.folders else None,
        instagram=_counts("--instagram", options.instagram),
        now=datetime.fromtimestamp(epoch(options.now), timezone.utc) if options.now else None,
        span=timedelta(days=options.span_days),
        ties=options.ties,
        order=options.order,
        page_id=options.page_id,
        pages=options.pages,
        token=options.token,
        user_token=options.user_token,
        system_user=options.system_user,
        app_secret=options.app_secret,
        require_proof=options.require_proof,
        details=options.details,
        cursor_style=options.cursor_style,
        max_limit=options.max_limit,
        crowded_every=options.crowded_every,
        refused_fields=_refused(options.refuse_field),
        user_token_error=options.user_token_error,
        latency=_latency(options.latency),
        limits=limits,
        app_limits=_limits_of(options, "app_limit"),
        account_limits=_limits_of(options, "account_limit"),
        usage_headers=usage,
        faults=faults,
        life=life,
        port=options.port,
        quiet=not options.verbose,
    )
    for number in _numbers("--dead-pages", options.dead_pages):
        box.end_tokens(box.page_at(number))
    for number in _numbers("--taskless-pages", options.taskless_pages):
        box.page_at(number).tasks = ()
    for number in _numbers("--empty-pages", options.empty_pages):
        box.page_at(number).advanced_access = False
    for order in options.rule:
        name, equals, value = order.partition("=")
        if not equals or name not in _RULES:
            raise ValueError(f"--rule is written NAME=VALUE with one of {', '.join(_RULES)}, not {order!r}")
        setattr(box.rules, name, _rule(name, value))
    return box


def _limits_of(options: argparse.Namespace, name: str) -> Limits:
    """Return the limits of the app or of the accounts."""
    return Limits(
        calls=getattr(options, f"{name}_calls"),
        window=getattr(options, f"{name}_window"),
        code=getattr(options, f"{name}_code"),
        regain=options.regain == "on",
        prolongs=options.limit_prolongs == "on",
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        usage="python -m airflow_provider_pageconv.sandbox [options]",
        prog="python -m airflow_provider_pageconv.sandbox",
        description="A Graph API on loopback with the conversations of a made-up Facebook Page: to try exports on\n"
        "before Meta approves the app, and to see what they do when things go wrong.\n"
        "The same seed and --now make the same Page.",
        epilog=_EXAMPLES,
        formatter_class=_Formatter,
    )
    page = parser.add_argument_group("the Page")
    page.add_argument("--seed", type=int, default=1, help="decides about everything that is drawn")
    page.add_argument(
        "--conversations",
        default="200",
        metavar="N,…",
        help="Messenger threads, in four folders; 40,0,7: Page after Page",
    )
    page.add_argument(
        "--folders", default="", metavar="F=N,…", help="exact threads by folder, such as inbox=100,spam=3"
    )
    page.add_argument("--instagram", default="0", metavar="N,…", help="Instagram threads; several likewise")
    page.add_argument("--messages", type=int, default=30, metavar="N", help="messages in every long thread")
    page.add_argument("--long-every", type=int, default=10, metavar="N", help="every so many threads is long; 0: none")
    page.add_argument("--short-messages", type=int, default=2, metavar="N", help="messages in the other threads")
    page.add_argument(
        "--now", default="", metavar="ISO", help="the Page's present, standing still; real time if left out"
    )
    page.add_argument(
        "--span-days", type=float, default=30, metavar="DAYS", help="threads were updated in so many days"
    )
    page.add_argument("--ties", action="store_true", help="let threads and messages share a second")
    page.add_argument("--order", choices=ORDERS, default="newest", help="of the lists")
    page.add_argument("--page-id", default="100200300400500", metavar="ID", help="id of the Page")
    page.add_argument(
        "--pages", type=int, default=1, metavar="N", help="Pages that the user's token reaches, with ids that follow"
    )
    page.add_argument(
        "--dead-pages", default="", metavar="N,…", help="the numbers of Pages whose tokens are all dead; the first is 1"
    )
    page.add_argument(
        "--taskless-pages", default="", metavar="N,…", help="Pages on which the user has no task: no token is given"
    )
    page.add_argument(
        "--empty-pages", default="", metavar="N,…", help="Pages whose lists are empty: the app has no Advanced Access"
    )
    page.add_argument(
        "--crowded-every", type=int, default=0, metavar="N", help="one in N messages has lists of two pages"
    )
    page.add_argument("--data-file", type=Path, metavar="PATH", help="write all that is on the Page here, as JSON")
    api = parser.add_argument_group("the API")
    api.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1; 0: a free one")
    api.add_argument("--token", default="SANDBOX-PAGE-TOKEN", help="the Page's access token")
    api.add_argument("--user-token", default="SANDBOX-USER-TOKEN", metavar="TOKEN", help="a user's access token")
    api.add_argument("--system-user", action="store_true", help="the user's token is one of a system user")
    api.add_argument("--app-secret", metavar="SECRET", help="check appsecret_proof with this secret")
    api.add_argument("--require-proof", action="store_true", help="refuse calls without appsecret_proof")
    api.add_argument(
        "--details", choices=("bare", "dated", "all"), default="bare", help="beyond 20 messages: ids, dated ids, all"
    )
    api.add_argument(
        "--cursor-style", choices=("anchored", "offset"), default="anchored", help="hold on to a row, or count rows"
    )
    api.add_argument("--max-limit", type=int, default=500, metavar="N", help="greatest page")
    api.add_argument(
        "--refuse-field", action="append", default=[], metavar="TYPE.FIELD", help="such as UnifiedThread.wallpaper"
    )
    api.add_argument(
        "--user-token-error", type=int, choices=(190, 210), default=190, help="where a Page token is needed"
    )
    api.add_argument("--latency", default="0", metavar="SECONDS", help="before each answer; 0.1-1.5 draws from a range")
    api.add_argument("--usage-headers", default="app,business", metavar="LIST", help="of app,business,page; or none")
    api.add_argument(
        "--rule", action="append", default=[], metavar="NAME=VALUE",
        help="one more of the API's ways; may be repeated. Which: " + "; ".join(
            f"{name}=" + "|".join(str(choice) for choice in CHOICES.get(name, ("N",)) if choice is not None)
            for name in _RULES
        ),
    )  # fmt: skip
    api.add_argument(
        "--foreign-usage", default="", metavar="T=P,…", help="percent that other products use: ads_management=100"
    )
    api.add_argument("--garbled-usage", action="store_true", help="cut the usage headers in the middle")
    api.add_argument("--verbose", action="store_true", help="print a line for every request, without its query")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--limit-calls", type=int, metavar="N", help="calls in the window, then refusals")
    limits.add_argument("--limit-window", type=float, default=60, metavar="SECONDS", help="the window")
    limits.add_argument("--limit-code", type=int, default=613, metavar="CODE", help="613, 80006, 80002, 4, 17, 32 …")
    limits.add_argument("--limit-status", type=int, metavar="STATUS", help="HTTP status of refusals")
    limits.add_argument(
        "--app-limit-calls", type=int, metavar="N", help="calls of all Pages and tokens in the app's window"
    )
    limits.add_argument("--app-limit-window", type=float, default=3600, metavar="SECONDS", help="the app's window")
    limits.add_argument("--app-limit-code", type=int, default=4, metavar="CODE", help="4, 17, 32 or 341")
    limits.add_argument(
        "--account-limit-calls", type=int, metavar="N",
        help="calls in the window for each Page's Messenger, and for each Instagram account; Meta's are 2 in 1 second",
    )  # fmt: skip
    limits.add_argument("--account-limit-window", type=float, default=1, metavar="SECONDS", help="the accounts' window")
    limits.add_argument(
        "--account-limit-code", type=int, default=613, metavar="CODE", help="80006: 80002 for an Instagram account"
    )
    limits.add_argument("--limit-prolongs", choices=("on", "off"), default="on", help="refused calls count as well")
    limits.add_argument("--regain", choices=("on", "off"), default="on", help="refusals name the minutes to wait")
    trouble = parser.add_argument_group("trouble and life")
    trouble.add_argument(
        "--fault", action="append", default=[], metavar="K=V,…",
        help="order a fault; may be repeated. Which calls: on= (conversations, messages, node, accounts, me, "
        "debug_token, inner), path=, folder=, platform=, thread=, pages=first|later, and of these at=, every=, "
        "p=, times=, lasts=. What: kind=, code=, subcode=, status=, message=, is_transient=, user_title=, user_msg=, regain=, "
        "retry_after=, headers=off, size=, seconds=, location=, version=. Kinds: " + ", ".join(KINDS),
    )  # fmt: skip
    trouble.add_argument(
        "--life", type=float, default=0, metavar="RATE", help="how likely something happens before a call, 0 to 1"
    )
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; the help is there for those who ask for it."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and end."""
        self.exit(2, f"{message[:1].upper()}{message[1:]}\n")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there are any, and leaves the examples as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, "", [], False):
            return action.help
        return super()._get_help_string(action)


def _folders(text: str) -> dict[str, int]:
    made: dict[str, int] = {}
    for part in text.split(","):
        folder, _, count = part.partition("=")
        if not count.strip().isdigit():
            raise ValueError(f"--folders is written inbox=100,spam=3, not {text!r}")
        made[folder.strip()] = int(count)
    return made


def _counts(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{name} is written 200, or 40,0,7 for one Page after the other, not {text!r}") from None


def _numbers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ValueError(f"{name} is written 2,5, not {text!r}") from None


_RULES = ("time_form", "nested", "nested_every", "message_count", "refusal_form", "swallow_authorization",
          "no_token_code", "date", "detailed_messages", "max_inner_limit", "next_on_full", "inner_paging",
          "taskless", "requests_every")  # fmt: skip


def _rule(name: str, text: str) -> object:
    """Return a rule's value: one of its choices, a number, or what was written, to be refused."""
    for choice in CHOICES.get(name, ()):
        if str(choice).lower() == text.lower():
            return choice
    return int(text) if text.isdigit() else text


def _foreign(text: str) -> dict[str, float]:
    made: dict[str, float] = {}
    for part in text.split(","):
        kind, _, percent = part.partition("=")
        try:
            made[kind.strip()] = float(percent)
        except ValueError:
            raise ValueError(f"--foreign-usage is written ads_management=100,pages=40, not {text!r}") from None
    return made


def _latency(text: str) -> float | tuple[float, float]:
    least, _, most = text.partition("-")
    try:
        seconds = (float(least), float(most)) if most else float(least)
    except ValueError:
        seconds = math.nan
    if not all(math.isfinite(one) for one in (seconds if isinstance(seconds, tuple) else (seconds,))):
        raise ValueError(f"--latency is written 0.2 or 0.1-1.5, not {text!r}")
    return seconds


def _refused(names: Sequence[str]) -> dict[str, set[str]]:
    made: dict[str, set[str]] = {}
    for name in names:
        node_type, dot, field = name.partition(".")
        if not dot:
            raise ValueError(f"--refuse-field is written UnifiedThread.wallpaper, not {name!r}")
        made.setdefault(node_type, set()).add(field)
    return made


if __name__ == "__main__":
    sys.exit(main())
