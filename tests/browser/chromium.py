"""Debian's Chromium, driven by Playwright: found, else installed where that can be done.

Playwright's own browsers are not used: they come from elsewhere, and a distribution's gets its security updates.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.servers.installing import from_debian

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")

FLAGS = (
    "--no-sandbox",  # root has none; it sees our own pages alone
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",  # else two pictures of one page differ by them
)


class BrowserUnavailableError(RuntimeError):
    """There is no browser on this machine; the text says why, and what to do."""


def executable() -> str:
    """Return the browser's program. Where there is none, root of a Debian gets it installed.

    :raises BrowserUnavailableError: there is none, and it cannot be installed.
    """
    found = _found()
    if found is None:
        trouble = from_debian(*PACKAGES)
        found = _found()
        if found is None:
            raise BrowserUnavailableError(f"There is no Chromium here: {trouble}.")
    return found


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running() -> Iterator[Browser]:
    """Start the browser, and stop it in the end. Each context that is opened in it begins without a past.

    Until then this thread has a running event loop, so that `asyncio.run()` is refused in it.

    :raises BrowserUnavailableError: the browser cannot be had.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise BrowserUnavailableError(
            "Playwright is not installed: run `make test`, or `pip install playwright`."
        ) from None
    program = executable()
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        except Error as error:
            raise BrowserUnavailableError(f"{program} does not start: {error.message.splitlines()[0]}") from None
        try:
            yield browser
        finally:
            browser.close()
