"""The only module that does HTTP."""

from __future__ import annotations

import functools
import logging
import queue
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import requests
from requests.adapters import HTTPAdapter

from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphError,
    GraphTooLargeError,
    GraphTransientError,
)
from airflow_provider_pageconv.graph.failures import failure
from airflow_provider_pageconv.graph.pace import Pace
from airflow_provider_pageconv.graph.protocol import (
    DEAD_CODES,
    Answer,
    Credentials,
    PageReader,
    Request,
    Response,
    dead_token,
    decipher,
    version_note,
)
from airflow_provider_pageconv.graph.usage import SLOW_PERCENT, STOP_PERCENT, Usage, read_usage

log = logging.getLogger(__name__)

ATTEMPTS = 6
"""Calls that :meth:`GraphClient.get` makes for one request while trouble is passing, if it is told no other number."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_LARGEST_BODY = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_PATIENCE = 5
"""An answer may take this many times the time-out as long as something arrives; a server that drips is left."""

_SECRETS = re.compile(r"((?:appsecret_proof|input_token|access_token|fb_exchange_token|client_secret)=)[^&\s\"']+")
"""What the API takes in the address only."""

_LONGEST_ERROR = 16 * 1024
"""No error is longer; what is, is not looked at for one."""

Finder = Callable[[Callable[[Request], Answer]], Credentials]
"""Finds other credentials with some calls, which it is handed the way to make."""


_WIRE_LOGGERS = ("urllib3.connection", "urllib3.connectionpool", "urllib3.response", "urllib3.util.retry")


class _HideSecrets(logging.Filter):
    """Keeps what is secret in an address out of urllib3's lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_SECRETS.sub(r"\1***", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


_hide_secrets = _HideSecrets()


def _set_later(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Each call sets its own header; where requests is told nothing, it looks for credentials elsewhere (``.netrc``)."""
    return request


class GraphClient:
    """Calls the Graph API: signed, paced, with patience for passing trouble. Safe to share between worker threads.

    :param base_url: address of the server, without the version.
    :param credentials: token, and the app secret where calls are signed.
    :param version: API version, such as ``v26.0``.
    :param calls_per_second: the pace; 0 for none.
    :param timeout: seconds to wait for a server that says nothing.
    :param clock: a monotonic clock, in seconds.
    :param sleep: waits for some seconds.
    :param slow_percent: usage from which on calls become slower.
    :param stop_percent: usage that counts as a limit.
    :param own: finds the Page's own token, once, where the API refuses the one at hand because it is none; those calls are
        not counted and keep no pace. ``None``: the refusal is an error.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        version: str,
        calls_per_second: float = 2.0,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        slow_percent: float = SLOW_PERCENT,
        stop_percent: float = STOP_PERCENT,
        own: Finder | None = None,
    ) -> None:
        self.version = version
        self.stop_percent = stop_percent
        self.patience = timeout * _PATIENCE
        """Seconds that an answer may take as long as something arrives."""
        self.usage: Usage | None = None
        self.calls = 0
        self._base_url = base_url
        self._root = f"{base_url.rstrip('/')}/{version}"
        self._credentials = credentials
        self._own = own
        self._finding = threading.Lock()
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._turn = threading.Lock()
        self.pace = Pace(calls_per_second, slow_percent=slow_percent, stop_percent=stop_percent)
        self.version_note: str | None = None
        """What there is to say of the version that answered."""
        self._session = requests.Session()
        self._session.auth = _set_later
        self._prepared: tuple[requests.PreparedRequest, Callable[..., requests.Response]] | None = None
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=2, pool_maxsize=32))
        for name in _WIRE_LOGGERS:
            logging.getLogger(name).addFilter(_hide_secrets)

    def use(self, credentials: Credentials) -> None:
        """Take other credentials from the next call on."""
        self._credentials = credentials

    def get(self, request: Request, *, attempts: int = ATTEMPTS) -> Answer:
        """Make one call, and again with growing pauses while the trouble is a passing one.

        :param attempts: so many calls at most.
        :raises GraphError: what :func:`decipher` makes of the answer; :class:`GraphTransientError` once passing trouble
            has outlasted all attempts.
        """
        attempt = 1
        while True:
            self._wait_for_turn()
            try:
                return self.read(request, self._within_patience(request))
            except GraphTransientError as error:
                if attempt >= attempts or isinstance(error, GraphTooLargeError):
                    raise
                pause = pause_after(attempt)
                log.warning("%s Trying again in %.1f s (%d of %d).", error, pause, attempt, attempts - 1)
                self._sleep(pause)
                attempt += 1

    def _wait_for_turn(self) -> None:
        with self._turn:  # whoever waits for a turn lets nobody pass
            while (early := self.pace.due - self._clock()) > 0:
                self._sleep(early)
            self.pace.left(self._clock())
            self.calls += 1

    def read(self, request: Request, response: Response, reader: PageReader | None = None) -> Answer:
        """Decipher what came over the wire, and take in what it says of usage and version.

        :param reader: of the page of results that it should be; it is asked first.
        :raises GraphError: what :func:`decipher` makes of it.
        """
        self.usage = read_usage(response.headers, request.limited_as)
        try:
            answer = decipher(response, request, reader)
        except GraphAuthError as error:
            if self._credentials.derived and error.code in DEAD_CODES and not error.wants_page_token:
                error.remedy = dead_token(error.subcode, derived=True)[1]
            raise
        self.pace.heed(answer.usage)
        if self.version_note is None and (note := version_note(answer.version, self.version)):
            self.version_note = note
            log.warning("%s", note)
        return answer

    def _within_patience(self, request: Request) -> Response:
        """Make a call in a worker thread that is left behind if it takes too long: a dripping server is not waited for."""
        came: queue.SimpleQueue[Response | GraphError] = queue.SimpleQueue()
        abandoned = threading.Event()

        def call() -> None:
            try:
                came.put(self.exchange(request, abandoned))
            except GraphError as error:
                came.put(error)

        threading.Thread(target=call, name="graph-call", daemon=True).start()
        try:
            result = came.get(timeout=self.patience)
        except queue.Empty:
            raise took_too_long() from None
        finally:
            abandoned.set()
        if isinstance(result, GraphError):
            raise result
        return result

    def exchange(self, request: Request, abandoned: threading.Event) -> Response:
        """Send one call and read what comes back, whatever it says.

        :param abandoned: looked at while the body arrives.
        :raises GraphTransientError: nothing came that could be read.
        :raises GraphRequestError: the server cannot be called at all.
        :raises GraphError: the token is not the Page's own, and brings none.
        """
        used = self._credentials
        response = self._exchange(request, used, abandoned)
        if self._own is None or not _wants_page_token(response, request):
            return response
        with self._finding:
            if self._credentials is used:
                self._credentials = self._own(
                    lambda one: decipher(self._exchange(one, used, abandoned), one),
                )
        return self._exchange(request, self._credentials, abandoned)

    def _exchange(self, request: Request, credentials: Credentials, abandoned: threading.Event) -> Response:
        try:
            return self._call(request, credentials, abandoned)
        except Exception as error:  # noqa: BLE001 - whatever a body that is none brings about
            told = failure(error, self._base_url, self._timeout)
        # Raised out here: requests quotes the address, and with it the proof, in what would hang on as its context.
        raise told

    def _call(self, request: Request, credentials: Credentials, abandoned: threading.Event) -> Response:
        params = dict(request.params)
        if proof := credentials.proof:
            params["appsecret_proof"] = proof
        template, send = self._prepared or self._prepare()
        call = template.copy()
        call.headers["Authorization"] = f"Bearer {credentials.token}"
        call.url = f"{template.url}/{request.path}?{urlencode(params)}" if params else f"{template.url}/{request.path}"
        with send(call, timeout=self._timeout) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status_code, headers, _read_body(response.raw, abandoned))

    def _prepare(self) -> tuple[requests.PreparedRequest, Callable[..., requests.Response]]:
        """What is the same for all calls; to find out anew each time takes as long as the rest of a call.

        :return: a call of the root, and what sends one by the proxies and certificates that the environment names. It
            follows no redirect, which would take the token to another host, and keeps no cookies.
        """
        template = self._session.prepare_request(requests.Request("GET", self._root))
        assert template.url is not None
        settings: Any = self._session.merge_environment_settings(template.url, {}, True, None, None)
        self._prepared = template, functools.partial(self._session.get_adapter(template.url).send, **settings)
        return self._prepared


def _wants_page_token(response: Response, request: Request) -> bool:
    """Whether an answer refuses a token because it is not the Page's own."""
    if len(response.body) > _LONGEST_ERROR or b'"error"' not in response.body:
        return False
    try:
        decipher(response, request)
    except GraphError as error:
        return error.wants_page_token
    return False


def pause_after(attempt: int) -> float:
    """Seconds to wait after so many attempts that met passing trouble."""
    longest: float = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def took_too_long() -> GraphTransientError:
    """What is said of an answer that did not arrive in time."""
    return GraphTransientError("the answer took too long to arrive", remedy="Try again later")


def _read_body(raw: Any, abandoned: threading.Event) -> bytes:
    """Read a body as it arrives, up to a size that no page of results has."""
    chunks: list[bytes] = []
    size = 0
    read = getattr(raw, "read1", raw.read)  # read1 gives what has arrived; urllib3 before 2.3 has none
    while chunk := read(_CHUNK, decode_content=True):
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_BODY:
            raise GraphTooLargeError("the answer is larger than 64 MiB", remedy="Ask for less at once")
        if abandoned.is_set():
            break
    return b"".join(chunks)
