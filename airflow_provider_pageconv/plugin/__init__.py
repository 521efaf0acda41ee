"""The page "Page conversations" of Airflow's UI, and the tab "Export" of a task instance, from Airflow 3.2 on.

Airflow imports this in each of its processes, the tasks among them: what serves the files is imported at the first request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_pageconv import __version__
from airflow_provider_pageconv.compat import conf, hosts_react
from airflow_provider_pageconv.links import PAGE_ROUTE

PREFIX = "/pageconv"

_Scope = MutableMapping[str, Any]


async def serve(
    scope: _Scope,
    receive: Callable[[], Awaitable[_Scope]],
    send: Callable[[_Scope], Awaitable[None]],
) -> None:
    """Serve the page's files; an ASGI application."""
    from airflow_provider_pageconv.plugin.routes import app

    await app(scope, receive, send)


def _bundle() -> str:
    """The path of the page's code: what an address is relative to has changed between Airflow 3.2 and 3.3."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return f"{base}{PREFIX}/{__version__}/page.js"


class PageConversationsPlugin(AirflowPlugin):
    """What Airflow's UI is told of the page and the tab; nothing where it cannot show them."""

    name = "pageconv"
    if hosts_react():
        fastapi_apps = [{"app": serve, "url_prefix": PREFIX, "name": "Page conversations"}]
        react_apps = [
            {
                "name": "Page conversations",
                "bundle_url": _bundle(),
                "destination": "nav",
                # At the top level its name would be cut.
                "category": "browse",
                "url_route": PAGE_ROUTE,
            },
            {"name": "Export", "bundle_url": _bundle(), "destination": "task_instance", "url_route": "pageconv-export"},
        ]
