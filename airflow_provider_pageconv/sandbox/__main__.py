"""The sandbox from the command line: `python -m airflow_provider_pageconv.sandbox --help`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from airflow_provider_pageconv.sandbox.options import parser, sandbox
from airflow_provider_pageconv.sandbox.serving import Sandbox

MOST_LISTED = 20
_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox until Ctrl-C, SIGTERM, or the end of the terminal; none of them is an error."""
    for number in _STOPS:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means what it says
            signal.signal(number, _stop)
    box = None
    try:
        reading = parser()
        options = reading.parse_args(arguments)
        box = sandbox(options)
        if options.data_file is not None:
            try:
                box.write_data(options.data_file)
            except OSError as error:
                reading.error(f"--data-file {options.data_file} cannot be written: {error.strerror}")
        try:
            box.start()
        except OSError as error:
            reading.error(f"--port {options.port} cannot be had on 127.0.0.1: {error.strerror}; 0 takes a free one")
        # In one piece, for readers that go after the first line.
        sys.stdout.write("".join(f"{line}\n" for line in greeting(box)))
        sys.stdout.flush()
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        if box is not None:
            box.stop()
    return 0


def _stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End, wherever it is: a large Page takes a while to be drawn. What comes meanwhile does not disturb that."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def greeting(box: Sandbox) -> Iterator[str]:
    """Yield what is printed: where it is, with which tokens, and the connection, to be pasted into a shell."""
    yield f"Sandbox of the Graph API at {box.url} for Page {box.page.id}, token {box.token} (stop it with Ctrl-C)"
    if len(box.pages) > 1:
        yield from _tokens(box)
    yield f"export AIRFLOW_CONN_PAGECONV_DEFAULT={shlex.quote(json.dumps(connection(box)))}"
    yield f"In the background, `kill {os.getpid()}` ends it."


def _tokens(box: Sandbox) -> Iterator[str]:
    """Yield the token of each Page, or, of many Pages, where it is found."""
    for number, page in enumerate(box.pages.values(), 1):
        if number > MOST_LISTED:
            yield f"… and so on, {len(box.pages):,} Pages in all; /v26.0/me/accounts tells a user's token the token of each."
            break
        token = box.token if page is box.page else box.api.derived_token(page)
        state = "" if token in box.api.accesses else ", which is dead"
        if not page.tasks:
            state += ", which the user's token is not told"
        yield f"Page {page.id}: token {token}{state}"
    yield f"The user's token {box.user_token} reaches them all."


def connection(box: Sandbox) -> dict[str, object]:
    """Return the connection of the Page, or, of several Pages, that of the token that reaches them all."""
    several = len(box.pages) > 1
    extra: dict[str, str] = {} if several else {"page_id": box.page.id}
    if box.rules.app_secret:
        extra |= {"app_id": APP_ID, "app_secret": box.rules.app_secret}
    made: dict[str, object] = {"conn_type": "pageconv", "host": box.url}
    made["password"] = box.user_token if several else box.token
    return {**made, "extra": extra} if extra else made


if __name__ == "__main__":
    sys.exit(main())
