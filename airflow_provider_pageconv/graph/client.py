"""The only module that does HTTP."""

from __future__ import annotations

import logging
import math
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import requests.auth
from requests.adapters import HTTPAdapter

from airflow_provider_pageconv.graph.errors import (
    CallsStopped,
    GraphRequestError,
    GraphTooLargeError,
    GraphTransientError,
)
from airflow_provider_pageconv.graph.pace import Pace
from airflow_provider_pageconv.graph.protocol import Answer, Credentials, Request, decipher
from airflow_provider_pageconv.graph.usage import SLOW_PERCENT, STOP_PERCENT, Usage, read_usage

log = logging.getLogger(__name__)

ATTEMPTS = 6
"""Calls that are made for one request before passing trouble ends the task's try."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_LARGEST_BODY = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_PATIENCE = 5
"""An answer may take this many times the time-out as long as something arrives; a server that drips is left."""

_PROOF = re.compile(r"(appsecret_proof=)[0-9A-Fa-f]+")


_WIRE_LOGGERS = ("urllib3.connection", "urllib3.connectionpool", "urllib3.response", "urllib3.util.retry")


class _HideProof(logging.Filter):
    """Keeps the proof, which the API takes in the address only, out of urllib3's lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_PROOF.sub(r"\1***", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


_hide_proof = _HideProof()


class _Bearer(requests.auth.AuthBase):
    """Sets the header itself, so that requests looks for no other credentials (``.netrc``)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass
class _Exchange:
    """One call under way in a thread of its own, which is left alone if it takes too long or is no longer wanted."""

    result: tuple[int, Mapping[str, str], bytes] | None = None
    error: BaseException | None = None
    abandoned: bool = False


class GraphClient:
    """Calls the Graph API: signed, paced, with patience for passing trouble. Safe to share between threads.

    :param base_url: address of the server, without the version.
    :param credentials: token, and the app secret where calls are signed.
    :param version: API version, such as ``v26.0``.
    :param calls_per_second: the pace over all threads; 0 for none.
    :param timeout: seconds to wait for a server that says nothing.
    :param stop: when it is set, no further call is made and :class:`CallsStopped` is raised; calls under way are waited
        for, unless :meth:`abandon` was called.
    :param clock: a monotonic clock, in seconds.
    :param sleep: waits for some seconds; by default until ``stop`` is set at the latest.
    :param slow_percent: usage from which on calls become slower.
    :param stop_percent: usage that counts as a limit.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        version: str,
        calls_per_second: float = 2.0,
        timeout: float = 60.0,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        slow_percent: float = SLOW_PERCENT,
        stop_percent: float = STOP_PERCENT,
    ) -> None:
        self.version = version
        self.stop_percent = stop_percent
        self.stop = stop or threading.Event()
        self._abandon_at = math.inf
        self.usage: Usage | None = None
        self.calls = 0
        self._count = threading.Lock()
        self._root = f"{base_url.rstrip('/')}/{version}"
        self._credentials = credentials
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep or self.stop.wait
        self.pace = Pace(calls_per_second, clock, self._sleep, slow_percent=slow_percent, stop_percent=stop_percent)
        self._warned_of_version = False
        self._session = requests.Session()
        self._session.auth = _Bearer(credentials.token)
        self._session.cookies.set_policy(_no_cookies())
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=2, pool_maxsize=32))
        for name in _WIRE_LOGGERS:
            logging.getLogger(name).addFilter(_hide_proof)

    def abandon(self, grace: float) -> None:
        """Make no further call, and wait some seconds at most for those under way: they are paid for."""
        self._abandon_at = self._clock() + grace
        self.stop.set()

    def get(self, request: Request, on_call: Callable[[], object] | None = None) -> Answer:
        """Make one call, and again with growing pauses while the trouble is a passing one.

        :param on_call: told of every call that is made.
        :raises GraphError: what :func:`decipher` makes of the answer; :class:`GraphTransientError` once passing trouble
            has outlasted all attempts.
        :raises CallsStopped: ``stop`` is set.
        """
        attempt = 1
        while True:
            try:
                return self._once(request, on_call)
            except GraphTransientError as error:  # noqa: PERF203 - the loop is there for it
                if attempt == ATTEMPTS or isinstance(error, GraphTooLargeError):
                    raise
                pause = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311
                log.warning("%s Trying again in %.1f s (%d of %d).", error, pause, attempt, ATTEMPTS - 1)
                self._sleep(pause)
                attempt += 1

    def _once(self, request: Request, on_call: Callable[[], object] | None) -> Answer:
        self.pace.wait(request.rank)
        if self.stop.is_set():
            raise CallsStopped
        if on_call:
            on_call()
        with self._count:
            self.calls += 1
        status, headers, body = self._send(request)
        self.usage = read_usage(headers)
        answer = decipher(status, headers, body, request)
        self.pace.heed(answer.usage)
        if answer.version and answer.version != self.version and not self._warned_of_version:
            self._warned_of_version = True
            log.warning(
                "The API answered as %s although %s was asked for: that version is dead or not yet alive. "
                "Set api_version in the connection.",
                answer.version,
                self.version,
            )
        return answer

    def _send(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        """Send a call in a thread that may be left behind: neither a dripping server nor a kill has to wait for its end."""
        exchange = _Exchange()
        finished = threading.Event()
        thread = threading.Thread(
            target=self._exchange, args=(request, exchange, finished), name="graph-call", daemon=True
        )
        thread.start()
        deadline = self._clock() + self._timeout * _PATIENCE
        while not finished.wait(0.2):
            if self._clock() > self._abandon_at:
                exchange.abandoned = True
                raise CallsStopped
            if self._clock() > deadline:
                exchange.abandoned = True
                raise GraphTransientError("the answer took too long to arrive", remedy="Try again later")
        if exchange.error is not None:
            raise exchange.error
        assert exchange.result is not None
        return exchange.result

    def _exchange(self, request: Request, exchange: _Exchange, finished: threading.Event) -> None:
        try:
            exchange.result = self._call(request, exchange)
        except requests.exceptions.SSLError as error:
            exchange.error = (
                GraphRequestError("the server's certificate is not trusted", remedy="Name the CA in REQUESTS_CA_BUNDLE")
                if "CERTIFICATE_VERIFY_FAILED" in str(error)
                else GraphTransientError("the encrypted connection failed", remedy="Try again later")
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
            exchange.error = GraphRequestError(
                "the address of the server cannot be used", remedy="Check the connection's host and port"
            )
        # No text of these goes on: they quote the address, and with it the proof.
        except (requests.exceptions.RequestException, OSError, EOFError) as error:
            exchange.error = GraphTransientError(
                f"the network failed ({type(error).__name__})", remedy="Try again later"
            )
        except GraphTooLargeError as error:
            exchange.error = error
        except Exception as error:  # noqa: BLE001 - whatever a body from hell brings about
            exchange.error = GraphTransientError(
                f"the answer cannot be read ({type(error).__name__})", remedy="Try again later"
            )
        finally:
            finished.set()

    def _call(self, request: Request, exchange: _Exchange) -> tuple[int, Mapping[str, str], bytes]:
        params = dict(request.params)
        if proof := self._credentials.proof:
            params["appsecret_proof"] = proof
        self.pace.sent()
        with self._session.get(
            f"{self._root}/{request.path}",
            params=params,
            timeout=self._timeout,
            allow_redirects=False,  # a redirect would take the token to another host
            stream=True,
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status_code, headers, _read_body(response.raw, exchange)


def _read_body(raw: Any, exchange: _Exchange) -> bytes:
    """Read a body as it arrives, up to a size that no page of results has."""
    chunks: list[bytes] = []
    size = 0
    read = getattr(raw, "read1", raw.read)  # read1 gives what has arrived; urllib3 before 2.3 has none
    while chunk := read(_CHUNK, decode_content=True):
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_BODY:
            raise GraphTooLargeError("the answer is larger than 64 MiB", remedy="Ask for less at once")
        if exchange.abandoned:
            break
    return b"".join(chunks)


def _no_cookies() -> Any:
    from http.cookiejar import DefaultCookiePolicy

    return DefaultCookiePolicy(allowed_domains=[])
