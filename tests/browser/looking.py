"""A look at an Airflow in the browser: pages that are opened, what went wrong on them, and pictures of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.airflow_home import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Request, Response

PICTURES = "PAGECONV_PICTURES"
"""Set to 1 in the environment, it has the tests put their pictures into `docs/pictures/`, to be kept."""

WIDTH, HEIGHT = 1500, 950
PATIENCE_MS = 30_000
"""How long an element may take to come: Airflow's API answers a busy machine late."""


def pictures(otherwise: Path) -> Path:
    """Return the folder that pictures go into: the documentation's if that is asked for, else another one."""
    return REPOSITORY / "docs" / "pictures" if os.environ.get(PICTURES) == "1" else otherwise


class Profiles:
    """What the browser keeps of each user in each theme, over all tests: so it reads the code of Airflow's UI once.

    :param browser: the browser.
    :param url: address of the Airflow, with the path prefix if it has one.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self.url = url
        self._browser = browser
        self._contexts: dict[tuple[str, bool], BrowserContext] = {}

    def get(self, login: str, dark: bool) -> BrowserContext:
        """Return that of a user.

        :param login: what stands for the login, in the cookie of Airflow's UI.
        :param dark: in the dark theme, as a user has it who chose it.
        """
        key = login, dark
        if key not in self._contexts:
            theme = "dark" if dark else "light"
            context = self._browser.new_context(
                color_scheme=theme,  # type: ignore[arg-type]
                locale="en-GB",
                timezone_id="UTC",
                reduced_motion="reduce",
            )
            # Where Airflow's UI keeps what the user has chosen.
            context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
            context.add_cookies([{"name": "_token", "value": login, "url": self.url}])
            self._contexts[key] = context
        return self._contexts[key]


class Looking:
    """Opens pages of one Airflow, and notes what a user's browser would complain of.

    That is: an error on the console, an exception that nobody caught, a request to the Airflow that failed or was answered
    with 400 or more. What goes elsewhere is noted as well, since nothing of ours or of Airflow's has to.

    :param profiles: those of the Airflow's users.
    :param login: what stands for the login of the one who looks.
    :param folder: where pictures go.
    """

    def __init__(self, profiles: Profiles, login: str, folder: Path) -> None:
        self.url = profiles.url
        self.folder = folder
        self.complaints: list[str] = []
        self._profiles = profiles
        self._login = login
        self._pages: list[Page] = []
        self._closed = False
        self._tolerated: list[re.Pattern[str]] = []

    def sign_in(self, login: str) -> None:
        """Be another user in whatever is opened from now on."""
        self._login = login

    def open(self, path: str, *, dark: bool = False, width: int = WIDTH, height: int = HEIGHT) -> Page:
        """Open a page in a new tab.

        Wait for a text of it, not for silence on the network: Airflow's UI asks again and again.

        :param path: what comes behind the Airflow's address, such as ``/connections``.
        :param dark: in the dark theme, as a user has it who chose it.
        :param width: of the window, in pixels.
        :param height: likewise.
        """
        page = self._profiles.get(self._login, dark).new_page()
        self._pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._note_console)
        page.on("pageerror", self._note_exception)
        page.on("requestfailed", self._note_failed)
        page.on("response", self._note_refused)
        page.goto(f"{self.url}{path}", wait_until="domcontentloaded")
        return page

    def tolerate(self, *patterns: str) -> None:
        """Say which complaints a test expects, as regular expressions that are searched for in them."""
        self._tolerated += map(re.compile, patterns)

    def picture(self, page: Page, name: str) -> Path:
        """Keep a picture of what is seen of a page without scrolling, and return where.

        :param name: of the file, without the suffix.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.png"
        page.screenshot(path=path, animations="disabled", caret="hide")
        return path

    def close(self) -> None:
        """Close every page; nothing is noted from then on."""
        self._closed = True
        for page in self._pages:
            page.close()
        self._pages.clear()

    @property
    def unexpected(self) -> Sequence[str]:
        """The complaints that nobody expected."""
        return [text for text in self.complaints if not any(known.search(text) for known in self._tolerated)]

    def _note(self, text: str) -> None:
        if not self._closed:
            self.complaints.append(text)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"console: {message.text} ({message.location.get('url', '')})")

    def _note_exception(self, error: Error) -> None:
        # The same: Airflow 3.2 does not catch the exception of a request that it breaks off itself.
        if error.name != "AbortError":
            self._note(f"exception: {error.stack or error}")

    def _note_failed(self, request: Request) -> None:
        # Whoever leaves a page, or asks anew, breaks off what was under way.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"failed: {request.method} {request.url}: {request.failure}")

    def _note_refused(self, response: Response) -> None:
        if response.status >= 400:
            self._note(f"refused: {response.request.method} {response.url}: {response.status}")
        elif not response.url.startswith((self.url, "data:", "blob:")):
            self._note(f"elsewhere: {response.request.method} {response.url}")
