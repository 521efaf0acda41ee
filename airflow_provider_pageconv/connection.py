"""What an Airflow connection of type ``pageconv`` says."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_pageconv.graph.protocol import DEFAULT_BASE_URL, DEFAULT_VERSION, Credentials, is_version

_HOST = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+\Z"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Settings:
    """What a connection says.

    :param calls_per_second: the pace; 0 for none.
    :param timeout: seconds to wait for a server that says nothing.
    :param media_hosts: hosts that files of attachments are fetched from, and those below them; empty: those of Meta.
    """

    base_url: str
    credentials: Credentials = field(repr=False)
    page_id: str | None
    api_version: str
    calls_per_second: float
    timeout: float
    app_id: str | None = None
    pseudonym_secret: str | None = field(default=None, repr=False)
    media_hosts: tuple[str, ...] = ()


def read_settings(connection: Any) -> Settings:
    """Read an Airflow connection of type ``pageconv``.

    :raises ValueError: a field of it cannot be used; the sentence names it.
    """
    name = f"connection {connection.conn_id!r}"
    extra = connection.extra_dejson  # {} where the text is no JSON at all
    if not isinstance(extra, dict) or (not extra and "".join((connection.extra or "").split()) not in ("", "{}")):
        raise ValueError(f"The extra of the {name} cannot be read: it takes a JSON object.")
    token = (connection.password or "").strip()
    if not token:
        raise ValueError(f"The {name} has no password: it takes the access token of the Page.")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"The password of the {name} is no access token: it has spaces or characters beyond ASCII.")
    secret = str(extra.get("app_secret") or "").strip() or None
    version = str(extra.get("api_version") or "").strip() or DEFAULT_VERSION
    if not is_version(version):
        raise ValueError(f"api_version of the {name} is {version!r}: it takes a version such as {DEFAULT_VERSION!r}.")
    return Settings(
        base_url=_base_url(name, connection),
        credentials=Credentials(token, secret),
        page_id=_page_id(name, connection.login, extra),
        app_id=str(extra.get("app_id") or "").strip() or None,
        pseudonym_secret=str(extra.get("pseudonym_secret") or "").strip() or None,
        media_hosts=_media_hosts(name, extra),
        api_version=version,
        calls_per_second=_number(name, extra, "calls_per_second", 2.0, least=0.0, most=1000.0),
        timeout=_number(name, extra, "timeout", 60.0, least=0.1, most=3600.0),
    )


def _page_id(name: str, login: str | None, extra: dict[str, Any]) -> str | None:
    """The Page: in the extra, or in the login, which the connection form asks for it.

    A login that is no number is not looked at: it was free for anything before the form asked for the Page there.

    :raises ValueError: it names another Page than the extra.
    """
    in_extra = str(extra.get("page_id") or "").strip()
    in_login = (login or "").strip()
    if not (in_login.isascii() and in_login.isdecimal()):
        return in_extra or None
    if in_extra and in_extra != in_login:
        raise ValueError(
            f"The {name} names two Pages, {in_login} as its login and {in_extra} as its extra's page_id: leave one of them."
        )
    return in_login


def _base_url(name: str, connection: Any) -> str:
    """Put host, port and schema together, however the connection was written down (fields, JSON or URI)."""
    host = (connection.host or "").strip()
    if not host:
        return DEFAULT_BASE_URL
    allowed = "it takes an address such as 'https://graph.facebook.com', plain http only on this machine itself"
    netloc = (host.partition("://")[2] or host).partition("/")[0]
    if netloc.count(":") > 1 and "[" not in netloc:
        host = host.replace(netloc, f"[{netloc}]", 1)  # Airflow takes the brackets off when it reads a URI
    if "://" not in host:
        schema = (connection.schema or "").strip().lower()
        host = f"{schema if schema in ('http', 'https') else 'https'}://{host}"
    try:
        parts = urlsplit(host)
        port = parts.port or connection.port
        hostname = parts.hostname
    except ValueError:
        hostname = port = None
    if not hostname or parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"The host of the {name} cannot be used: {allowed}.")
    if parts.scheme == "http" and hostname not in _LOOPBACK:
        raise ValueError(f"The host of the {name} is {hostname!r} over plain http: {allowed}.")
    netloc = f"[{hostname}]" if ":" in hostname else hostname
    if parts.scheme == "https" and port == 443:  # which the form suggests, and goes without saying
        port = None
    return f"{parts.scheme}://{netloc}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _media_hosts(name: str, extra: dict[str, Any]) -> tuple[str, ...]:
    """Hosts, as a list or as a text with commas between.

    :raises ValueError: one of them is none.
    """
    value = extra.get("media_hosts")
    listed = value.split(",") if isinstance(value, str) else [] if value is None else value
    if isinstance(listed, list) and all(isinstance(one, str) for one in listed):
        hosts = [one.strip().lower() for one in listed if one.strip()]
        if all(re.match(_HOST, one) for one in hosts):
            return tuple(sorted(set(hosts)))
    raise ValueError(
        f"media_hosts of the {name} is {value!r}: it takes names of hosts such as 'fbcdn.net, fbsbx.com', without a scheme."
    )


def _number(name: str, extra: dict[str, Any], key: str, default: float, *, least: float, most: float) -> float:
    """Read a number that may come as text, as it does from secrets backends."""
    value = extra.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not least <= number <= most or 0 < number < 0.001:
        raise ValueError(f"{key} of the {name} is {value!r}: it takes a number from {least:g} to {most:g}.")
    return number
