"""Servers that are one process each, and what still runs of the processes that a test has started."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

START_SECONDS = 30
STOP_SECONDS = 10


class ServerUnavailableError(RuntimeError):
    """The server cannot be had on this machine; the text says why, and what to do."""


class Listening:
    """A server on one port of 127.0.0.1. It runs within the block, and can be stopped and started anew there.

    :param log: what it says; where that lies it runs.
    :param seconds: how long it may take to start.
    :param user: whose process it is, if not this one's user's.
    :param farewell: the signal that ends it in order.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        *,
        seconds: float = START_SECONDS,
        user: str | None = None,
        farewell: int = signal.SIGTERM,
    ) -> None:
        self._seconds = seconds
        self.port = port
        self._command = command
        self._log = log
        self._user = user
        self._farewell = farewell
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Listening:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return when it takes connections.

        :raises ServerUnavailableError: it does not.
        """
        other = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._log.parent,
                start_new_session=True,
                **other,  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + self._seconds
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = self._log.read_text(encoding="utf-8", errors="replace")[-1000:]
                raise ServerUnavailableError(f"{Path(self._command[0]).name} did not start:\n{said}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it; where it does not run, that does nothing."""
        if self._process is None:
            return
        self._process.send_signal(self._farewell)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def left_behind(folder: Path) -> list[str]:
    """Return the command lines of processes that were started in `folder`, or below it, and still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
    return found
