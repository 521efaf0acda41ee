"""A listener for what StatsD clients send, over UDP on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True)
class Sample:
    """One counter as it came in; tags are those that Airflow writes into the name for Telegraf, ``name,tag=value,…``."""

    name: str
    tags: frozenset[tuple[str, str]]
    number: float


class StatsdListener:
    """Listens on a free port as long as the block lasts, and keeps all that comes."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="statsd", daemon=True)

    def __enter__(self) -> StatsdListener:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def samples(self, prefix: str) -> list[Sample]:
        """All counters whose name begins so."""
        found = []
        for line in list(self.received):
            head, _, rest = line.rpartition(":")
            number, _, kind = rest.partition("|")
            name, *tags = head.split(",")
            if kind == "c" and name.startswith(prefix):
                pairs = (tag.partition("=") for tag in tags)
                found.append(Sample(name, frozenset((key, value) for key, _, value in pairs), float(number)))
        return found

    def sums(self, prefix: str, *tags: str) -> Counter[tuple[str, ...]]:
        """What the counters whose name begins so come to, by the rest of the name, and the values of some tags.

        :param tags: their names; a counter without one of them has "" there.
        """
        sums: Counter[tuple[str, ...]] = Counter()
        for sample in self.samples(prefix):
            values = dict(sample.tags)
            sums[(sample.name.removeprefix(prefix), *(values.get(tag, "") for tag in tags))] += int(sample.number)
        return sums

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Return when the condition holds, or after so many seconds: whoever waits looks for itself."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            self.received += data.decode("utf-8").splitlines()
