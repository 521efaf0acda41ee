"""Fetches the files behind the links of attachments. Beside :mod:`~airflow_provider_pageconv.graph.client` the only module that does HTTP.

No token, no cookie and no other credential goes along, and no connection is made but to the very address that was looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_pageconv.graph.media import MediaError, MediaRules, Reason, judge, read_type

_CHUNK = 256 * 1024
_WIRE_LOGGERS = ("urllib3.connection", "urllib3.connectionpool", "urllib3.response", "urllib3.util.retry")


class Watch:
    """One file that is being fetched, as who waits for it sees it: how much has come, and the way to end it."""

    def __init__(self) -> None:
        self.received = 0
        """Bytes so far."""
        self.arrived = False
        """Whether all of it is on the worker's disk: what takes time then is not the server's."""
        self._left = threading.Event()
        self._socket: socket.socket | None = None

    @property
    def is_left(self) -> bool:
        """Whether nobody waits any more."""
        return self._left.is_set()

    def leave(self) -> None:
        """Wait no longer: what is being read ends at once, also where the server says nothing or drips."""
        self._left.set()
        held = self._socket
        if held is not None:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

    def hold(self, sock: socket.socket) -> None:
        """Remember the connection; a second handle of it, for TLS takes the first."""
        self.drop()
        self._socket = sock.dup()
        if self.is_left:
            self.leave()

    def drop(self) -> None:
        """Forget the connection."""
        held, self._socket = self._socket, None
        if held is not None:
            held.close()


@dataclass(frozen=True)
class Fetched:
    """A file that was had.

    :param type: its MIME type as far as the server tells, else as the attachment does.
    """

    sha256: str
    bytes: int
    type: str


Resolve = Callable[[str, int], list[tuple[Any, ...]]]
"""Looks a name up, as :func:`socket.getaddrinfo` does."""


def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


class MediaClient:
    """Fetches files, each over a connection of its own; safe to share between worker threads.

    Proxy and CA variables of the environment are honoured, ``.netrc`` is not. Where a proxy leads to a host, it is the proxy that
    looks its name up, so that nothing is known here of the address.

    :param timeout: seconds to wait for a server that says nothing.
    :param resolve: looks names up.
    """

    def __init__(self, rules: MediaRules, *, timeout: float = 60.0, resolve: Resolve = _look_up) -> None:
        self.rules = rules
        self._timeout = timeout
        self._resolve = resolve
        for name in _WIRE_LOGGERS:
            logging.getLogger(name).addFilter(_hide_links)

    def fetch(self, link: str, mime_type: str, local: Path, watch: Watch) -> Fetched:
        """Fetch one file.

        :param mime_type: what the attachment says of it; may be empty.
        :param local: where it is written; what is there if this raises is of no use.
        :param watch: looked at while it arrives.
        :raises MediaError: it cannot be had.
        :raises OSError: the disk does not take it.
        """
        self.rules.check_link(link)
        told = read_type(mime_type)
        if told:
            self.rules.check_kind(told)
        try:
            with requests.Session() as session:
                session.auth = _no_credentials
                for scheme in ("https://", "http://"):
                    session.mount(scheme, _Adapter(self.rules, self._resolve, watch))
                with self._get(session, link) as response:
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    judge(response.status_code, headers)
                    found = read_type(headers.get("content-type")) or told
                    self.rules.check_kind(found)
                    if (length := headers.get("content-length", "")).isdecimal():
                        self.rules.check_size(int(length))
                    return self._write(response.raw, local, watch, found)
        finally:
            watch.drop()

    def _get(self, session: requests.Session, link: str) -> requests.Response:
        try:
            return session.get(
                link,
                headers={"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"},
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError):
            pass
        # Raised out here: requests quotes the link, which is a key to the file, in what would hang on as its context.
        raise MediaError(Reason.NETWORK, passing=True)

    def _write(self, raw: Any, local: Path, watch: Watch, mime_type: str) -> Fetched:
        hashed = hashlib.sha256()
        with local.open("wb") as file:
            while chunk := _read(raw):
                watch.received += len(chunk)
                self.rules.check_size(watch.received)
                if watch.is_left:
                    raise MediaError(Reason.SLOW, passing=True)
                hashed.update(chunk)
                file.write(chunk)
        if (
            raw.length_remaining or watch.is_left
        ):  # it was told to be longer (urllib3 before 2 says nothing), or ended from here
            raise MediaError(Reason.NETWORK, passing=True)
        watch.arrived = True
        return Fetched(hashed.hexdigest(), watch.received, mime_type or "application/octet-stream")


def _read(raw: Any) -> bytes:
    read = getattr(raw, "read1", raw.read)  # read1 gives what has arrived; urllib3 before 2.3 has none
    try:
        return bytes(read(_CHUNK, decode_content=False))
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        pass
    raise MediaError(Reason.NETWORK, passing=True)


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Where requests is told nothing, it looks for credentials elsewhere (``.netrc``)."""
    return request


class _HideLinks(logging.Filter):
    """Keeps the query of links, which is their key, out of urllib3's lines."""

    _query = re.compile(r"\?\S*")

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and any(_is_media(arg) for arg in record.args):
            record.args = tuple(self._query.sub("?…", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


def _is_media(arg: object) -> bool:
    return isinstance(arg, str) and ("oh=" in arg or "oe=" in arg or "signature=" in arg or "asset_id=" in arg)


_hide_links = _HideLinks()


# ---- connections to addresses that were looked at


class _Adapter(HTTPAdapter):
    """Connects to the very address that was checked: a name that is looked up twice may lead elsewhere the second time."""

    def __init__(self, rules: MediaRules, resolve: Resolve, watch: Watch) -> None:
        self._pools = _pools(rules, resolve, watch)
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools


def _pools(rules: MediaRules, resolve: Resolve, watch: Watch) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self.host, self.port or 80, self.timeout, rules, resolve, watch)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self.host, self.port or 443, self.timeout, rules, resolve, watch)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _connect(host: str, port: int, timeout: Any, rules: MediaRules, resolve: Resolve, watch: Watch) -> socket.socket:
    """Look a name up, refuse it if any of its addresses is refused, and connect to the first that answers."""
    found = resolve(host.strip("[]"), port)
    for *_, address in found:
        rules.check_address(address[0])
    failed: OSError | None = None
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            if isinstance(timeout, (int, float)):
                sock.settimeout(timeout)
            watch.hold(sock)
            sock.connect(address)
        except OSError as error:
            failed = error
            sock.close()
        else:
            return sock
    raise failed or OSError("the name leads nowhere")
