"""What is said of a call that failed on its way: the host, the port, and what it was.

No text of the libraries goes on, for it quotes the address, and with it the proof.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from airflow_provider_pageconv.graph.errors import (
    GraphError,
    GraphRequestError,
    GraphTooLargeError,
    GraphTransientError,
    GraphUnreachableError,
)

_LATER = "Try again later"
_LOOK = "Check the connection's host and port, or try again later"
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
_PLAIN = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
"""How the versions of OpenSSL name an answer that is not encrypted."""
_CUT = (ConnectionError, EOFError, http.client.IncompleteRead, urllib3.exceptions.ProtocolError)

_MET: tuple[tuple[Callable[[BaseException], bool], str, str], ...] = (
    (lambda one: isinstance(one, socket.gaierror), "the name of {server} cannot be looked up", _LOOK),
    (lambda one: isinstance(one, ConnectionRefusedError), "{server} refused the connection", _LOOK),
    (lambda one: isinstance(one, OSError) and one.errno in _NO_WAY, "no way leads to {server}", _LOOK),
    (
        lambda one: isinstance(one, urllib3.exceptions.ConnectTimeoutError),
        "{server} did not take the connection within {timeout:g} s",
        _LOOK,
    ),
    (
        lambda one: isinstance(one, (TimeoutError, urllib3.exceptions.ReadTimeoutError)),
        "{server} said nothing for {timeout:g} s",
        _LATER,
    ),
    (lambda one: isinstance(one, _CUT), "{server} cut the connection", _LATER),
)
"""What a call may meet, what is said of it, and what to do; the first that is found holds."""


def failure(error: Exception, base_url: str, timeout: float) -> GraphError:
    """Make an error of our own out of one that a call ended with.

    :param base_url: of the server; no more than its host and port is told.
    :param timeout: seconds that were waited for a server that says nothing.
    :return: a :class:`GraphRequestError` where the same call will always fail, a :class:`GraphUnreachableError` where nothing
        was reached, else a :class:`GraphTransientError`.
    """
    if isinstance(error, GraphTooLargeError):
        return error
    if isinstance(
        error,
        (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema),
    ):
        return GraphRequestError(
            "the address of the server cannot be used", remedy="Check the connection's host and port"
        )
    causes = list(_causes(error))
    server, look = _server(base_url), ""
    if any(isinstance(one, (ssl.SSLError, requests.exceptions.SSLError)) for one in causes):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return GraphRequestError(
                f"the certificate of {server} is not trusted", remedy="Name the CA in REQUESTS_CA_BUNDLE"
            )
        if any(isinstance(one, ssl.SSLError) and one.reason in _PLAIN for one in causes):
            return GraphTransientError(
                f"{server} does not speak https (a host on this machine may be given with http:// before it)",
                remedy=_LOOK,
            )
        return GraphTransientError(f"the encrypted connection (TLS) to {server} failed", remedy=_LOOK)
    if any(isinstance(one, requests.exceptions.ProxyError) for one in causes):
        server, look = f"the proxy on the way to {server}", "Check the proxy that the environment names"
    for is_met, meaning, remedy in _MET:
        if any(is_met(one) for one in causes):
            kind = GraphUnreachableError if remedy == _LOOK else GraphTransientError
            return kind(meaning.format(server=server, timeout=timeout), remedy=look or remedy)
    if isinstance(error, (requests.exceptions.RequestException, OSError)):
        return GraphTransientError(f"the network failed on the way to {server} ({type(error).__name__})", remedy=_LATER)
    return GraphTransientError(f"the answer of {server} cannot be read ({type(error).__name__})", remedy=_LATER)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it came of: the libraries wrap one another's, some as an argument, some as a reason."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]


def _server(base_url: str) -> str:
    """Host and port, and nothing else of an address."""
    try:
        parts = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:  # an address that requests took all the same
        return "the server"
    return f"[{parts.hostname}]:{port}" if ":" in (parts.hostname or "") else f"{parts.hostname}:{port}"
