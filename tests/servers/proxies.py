"""Stands between a client and a store's server on loopback: counts requests, and can hang up, cut the link or make it slow."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE|PATCH) (\S+) HTTP/1\.[01]\r\n")


@dataclass
class Proxy:
    """One in front of a server.

    :param to: the server's address.
    :param port: where it listens itself.
    :param delay: seconds that each request waits before it is passed on.
    :param most: bytes that one connection may send before it is hung up; ``None`` for as many as it likes.
    """

    to: tuple[str, int]
    port: int = 0
    delay: float = 0.0
    most: int | None = None
    hung_up: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    is_cut: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> Counter[str]:
        """How many requests of each method there were."""
        return Counter(method for method, _ in self.requests)

    def cut(self) -> None:
        """From now on nothing comes through, and nobody hangs up either, as where a cable is pulled."""
        self.is_cut = True

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        sent = 0
        with contextlib.suppress(OSError), client, socket.create_connection(self.to) as server:
            threading.Thread(target=self._pass_back, args=(server, client), daemon=True).start()
            while data := client.recv(1 << 16):
                # A request line never comes in two pieces on loopback, and none looks like one inside a body of ours.
                for method, path in _REQUEST.findall(data):
                    self.requests.append((method.decode(), path.decode()))
                    time.sleep(self.delay)
                self._wait_if_cut()
                sent += len(data)
                if self.most is not None and sent > self.most:
                    self.hung_up += 1
                    client.shutdown(socket.SHUT_RDWR)  # the other direction waits for an answer
                    return
                server.sendall(data)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                self._wait_if_cut()
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def _wait_if_cut(self) -> None:
        while self.is_cut:
            time.sleep(0.2)


@contextmanager
def proxied(address: str) -> Iterator[Proxy]:
    """Put one in front of a server.

    :param address: "http://host:port".
    """
    host, _, port = address.removeprefix("http://").rstrip("/").partition(":")
    proxy = Proxy((host, int(port)))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy.port = listening.getsockname()[1]
        threading.Thread(target=proxy._serve, args=(listening,), daemon=True).start()
        yield proxy
        proxy.is_cut = False
