"""A client that is as simple as can be: what it sees is what went over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import requests

from airflow_provider_pageconv.sandbox import Sandbox

NOW = datetime(2026, 11, 21, 10, 0, 0, tzinfo=timezone.utc)


class Client:
    """Asks a sandbox with the Page's token in the header."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {box.token}"

    def get(
        self, path: str, *, version: str | None = "v26.0", token: str | None = None, **params: Any
    ) -> requests.Response:
        """Ask for a path; `token` replaces the Page's."""
        address = self.box.url + (f"/{version}" if version else "") + path
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.session.get(address, params=params, headers=headers, timeout=30, allow_redirects=False)

    def conversations(self, **params: Any) -> requests.Response:
        """Ask for one page of the Page's conversations."""
        return self.get(f"/{self.box.page.id}/conversations", **params)

    def error(self, response: requests.Response) -> dict[str, Any]:
        """Return the error of an answer that must have one."""
        error: dict[str, Any] = response.json()["error"]
        return error

    def walk(self, path: str | None = None, **params: Any) -> list[dict[str, Any]]:
        """Return the rows of all pages, by cursors; ends where no next link is given."""
        rows: list[dict[str, Any]] = []
        for _ in range(1000):
            response = self.get(path or f"/{self.box.page.id}/conversations", **params)
            assert response.status_code == 200, response.text
            body = response.json()
            rows += body["data"]
            if "next" not in body.get("paging", {}):
                return rows
            params["after"] = body["paging"]["cursors"]["after"]
        raise AssertionError("the walk does not end")

    def control(self, method: str, name: str, order: Any = None) -> requests.Response:
        """Use one of the sandbox's own addresses."""
        return self.session.request(method, f"{self.box.url}/_sandbox/{name}", json=order, timeout=30)


@pytest.fixture
def sandbox() -> Iterator[Callable[..., Client]]:
    """Start sandboxes, small ones unless told otherwise, and stop them in the end."""
    running: list[Sandbox] = []

    def start(**options: Any) -> Client:
        box = Sandbox(**{"conversations": 60, "now": NOW, **options})
        box.start()
        running.append(box)
        return Client(box)

    yield start
    for box in running:
        box.stop()
