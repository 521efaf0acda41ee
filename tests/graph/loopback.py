"""Small servers on loopback that say exactly the bytes they are told, for what no library's server would do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Script = Callable[[socket.socket, "Asked"], object]


@dataclass(frozen=True)
class Asked:
    """One request as it came over the wire.

    :param connection: the number of the connection that it came on.
    :param number: how many requests there were before it.
    """

    head: str
    connection: int
    number: int

    @property
    def line(self) -> str:
        return self.head.split("\r\n", 1)[0]

    @property
    def headers(self) -> dict[str, str]:
        rows = (row.partition(":") for row in self.head.split("\r\n")[1:] if row)
        return {name.strip().lower(): value.strip() for name, _, value in rows}


@dataclass
class RawServer:
    """A server that hands each request's socket to a script; what the script leaves open stays open."""

    script: Script
    tls: ssl.SSLContext | None = None
    hang_up: bool = False
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            if self.hang_up:
                connection.recv(1)
                connection.shutdown(socket.SHUT_RDWR)
                return
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            while True:
                while b"\r\n\r\n" not in rest:
                    got = connection.recv(65536)
                    if not got:
                        return
                    rest += got
                head, _, rest = rest.partition(b"\r\n\r\n")
                asked = Asked(head.decode("latin-1"), number, len(self.asked))
                self.asked.append(asked)
                self.script(connection, asked)

    def close(self) -> None:
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextlib.contextmanager
def serving(script: Script, *, tls: ssl.SSLContext | None = None, hang_up: bool = False) -> Iterator[RawServer]:
    """A server that runs this script for each request.

    :param tls: what it speaks TLS with.
    :param hang_up: it ends every connection at the first byte.
    """
    server = RawServer(script, tls, hang_up)
    listening = socket.create_server(("127.0.0.1", 0))
    server.port = listening.getsockname()[1]
    threading.Thread(target=server._accept, args=(listening,), daemon=True).start()
    try:
        yield server
    finally:
        listening.close()
        server.close()


def response(body: bytes = b'{"data": []}', *, status: str = "200 OK", headers: dict[str, str] | None = None) -> bytes:
    """A whole answer with the length of its body."""
    head = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    rows = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status}\r\n{rows}\r\n".encode() + body


def says(*answers: bytes) -> Script:
    """One answer after the other, the last one from then on; an empty one closes the connection without a word."""

    def script(connection: socket.socket, asked: Asked) -> None:
        answer = answers[min(asked.number, len(answers) - 1)]
        if answer:
            connection.sendall(answer)
        else:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    return script


def dripping(beginning: bytes, drop: bytes, every: float) -> Script:
    """A beginning, and then drop after drop without end."""

    def script(connection: socket.socket, asked: Asked) -> None:
        connection.sendall(beginning)
        while True:
            time.sleep(every)
            connection.sendall(drop)

    return script


def certificate_of(folder: Path, host: str | None = None) -> Path:
    """A certificate for loopback, or for a host, with its key, that nobody has signed but itself."""
    from datetime import datetime, timedelta, timezone
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(timezone.utc)
    named = x509.DNSName(host) if host else x509.IPAddress(ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([named]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host or 'loopback'}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
