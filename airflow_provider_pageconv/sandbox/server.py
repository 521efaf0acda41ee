"""The sandbox over HTTP: sockets, headers, and the faults that happen there."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_provider_pageconv.sandbox import control
from airflow_provider_pageconv.sandbox.box import Box
from airflow_provider_pageconv.sandbox.faults import Fault
from airflow_provider_pageconv.sandbox.graph_api import Call, split_version
from airflow_provider_pageconv.sandbox.media import HUGE, PREFIX, Trouble
from airflow_provider_pageconv.sandbox.record import RecordedRequest, Reply, edge_of
from airflow_provider_pageconv.sandbox.times import epoch

_MOST_BODY = 16 * 2**20


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1 and nowhere else."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, box: Box, port: int) -> None:
        self.box = box
        self.ending = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server who we are, as http.server would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        """Serve in a worker thread."""
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="sandbox", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, and wake up everything that hangs on purpose."""
        self.ending.set()
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that the end of the sandbox ends it."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; everything else is a fault of the sandbox and is shown."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        """Answer any method: which are allowed, the API decides."""
        body = self._read_body()
        parts = urlsplit(self.path)
        if parts.path == control.PREFIX or parts.path.startswith(control.PREFIX + "/"):
            self._control(parts.path, dict(parse_qsl(parts.query)), body)
            return
        box = self.server.box
        if parts.path.startswith(PREFIX) and box.media is not None:
            self._media(parts.path, dict(parse_qsl(parts.query)))
            return
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        version, path = split_version(unquote(parts.path))
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        bearer = credentials.strip() if scheme.lower() in ("bearer", "oauth") else None
        call = Call(self.command, path, params, version, bearer, self.server.url)
        record = RecordedRequest(
            self.command,
            unquote(parts.path),
            self.path,
            params,
            {name.lower(): value for name, value in self.headers.items()},
            time.time(),
            version,
            edge_of(call),
        )
        self._deliver(box.reply(call, record), record)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = do_GET  # noqa: N815 - http.server calls them so

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        size = int(length) if length.isdigit() else 0
        if size > _MOST_BODY:
            self.close_connection = True
            return b""
        return self.rfile.read(size) if size else b""

    def _control(self, path: str, query: dict[str, str], body: bytes) -> None:
        try:
            order = json.loads(body) if body else {}
            answer, status = control.control(self.server.box, self.command, path, query, order), 200
        except control.NotThereError as error:
            answer, status = {"error": str(error)}, 404
        except (ValueError, TypeError) as error:
            answer, status = {"error": str(error)}, 400
        headers = [("Content-Type", "application/json"), ("Date", self.date_time_string())]
        self._send(status, headers, json.dumps(answer).encode())

    # ---- the files behind links

    def _media(self, path: str, query: dict[str, str]) -> None:
        box = self.server.box
        assert box.media is not None
        headers = {name.lower(): value for name, value in self.headers.items()}
        with box.lock:
            reply = box.media.answer(path, query, headers, int(epoch(box.clock())))
        trouble, kind = reply.trouble, reply.trouble.kind if reply.trouble else ""
        if kind == "stall":
            self.server.ending.wait(3600.0)
            self.close_connection = True
        elif kind == "reset":
            self._reset()
        elif kind in ("huge", "endless"):
            self._send_zeros(reply.headers, endless=kind == "endless")
        elif kind == "short":
            self._send(reply.status, reply.headers, reply.body, length=2 * len(reply.body))
            self.close_connection = True
        elif trouble is not None:
            self._send(reply.status, reply.headers, b"", length=len(reply.body))
            self._trickle(reply.body, trouble)
        else:
            self._send(reply.status, reply.headers, reply.body)

    def _trickle(self, body: bytes, trouble: Trouble) -> None:
        for byte in body:
            if self.server.ending.wait(trouble.seconds):
                self.close_connection = True
                return
            self.wfile.write(bytes([byte]))

    def _send_zeros(self, headers: list[tuple[str, str]], *, endless: bool) -> None:
        """Send 2 GB of them, or as many as are taken by whoever asked; such a body ends with the connection."""
        self.close_connection = True
        lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers)]
        lines += ["Transfer-Encoding: chunked"] if endless else [f"Content-Length: {HUGE}"]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        size, sent = 2**20, 0
        piece = b"%x\r\n%s\r\n" % (size, bytes(size)) if endless else bytes(size)
        while (endless or sent < HUGE) and not self.server.ending.is_set():
            self.wfile.write(piece)
            sent += size

    # ---- what goes back

    def _deliver(self, reply: Reply, record: RecordedRequest) -> None:
        fault = reply.fault
        if reply.delay and self.server.ending.wait(reply.delay):
            self.close_connection = True
            return
        if fault is None:
            record.status = reply.status
            self._send(reply.status, reply.headers, reply.body)
            return
        deliver = getattr(self, f"_deliver_{fault.kind}", None)
        if deliver is None:
            record.status = reply.status
            self._send(reply.status, reply.headers, reply.body)
        else:
            deliver(reply, record, fault)

    def _deliver_cut(self, reply: Reply, record: RecordedRequest, fault: Fault) -> None:
        record.status = reply.status
        sent = len(reply.body) // 2 if fault.size is None else min(fault.size, len(reply.body) - 1)
        self._send(reply.status, reply.headers, reply.body[:sent], length=len(reply.body))
        self.close_connection = True

    def _deliver_drip(self, reply: Reply, record: RecordedRequest, fault: Fault) -> None:
        record.status = reply.status
        self._send(reply.status, reply.headers, b"", length=len(reply.body))
        for byte in reply.body:
            if self.server.ending.wait(1.0 if fault.seconds is None else fault.seconds):
                self.close_connection = True
                return
            self.wfile.write(bytes([byte]))

    def _deliver_slow(self, reply: Reply, record: RecordedRequest, fault: Fault) -> None:
        if self.server.ending.wait(1.0 if fault.seconds is None else fault.seconds):
            self.close_connection = True
            return
        record.status = reply.status
        self._send(reply.status, reply.headers, reply.body)

    def _deliver_silence(self, reply: Reply, record: RecordedRequest, fault: Fault) -> None:  # noqa: ARG002
        record.code = None
        self.server.ending.wait(3600.0 if fault.seconds is None else fault.seconds)
        self.close_connection = True

    def _deliver_reset(self, reply: Reply, record: RecordedRequest, fault: Fault) -> None:  # noqa: ARG002
        record.code = None
        self._reset()

    def _reset(self) -> None:
        # Without lingering, closing sends RST. Shutting down first, as socketserver would, sends FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def _deliver_redirect(self, reply: Reply, record: RecordedRequest, fault: Fault) -> None:
        record.status, record.code = fault.status or 302, None
        target = fault.location or f"http://localhost:{self.server.server_port}"
        if not urlsplit(target).path:
            target += self.path
        self._send(record.status, [*reply.headers, ("Location", target)], b"")

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int | None = None) -> None:
        """Send head and body in one write: two would wait for each other's acknowledgement."""
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += [f"Content-Length: {len(body) if length is None else length}", "", ""]
        head = "\r\n".join(lines).encode("latin-1", "replace")
        self.wfile.write(head if self.command == "HEAD" else head + body)
        if not self.server.box.quiet:
            sys.stderr.write(f"{self.command} {urlsplit(self.path).path} {status}\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing of its own: http.server would print the query, and with it the token."""
