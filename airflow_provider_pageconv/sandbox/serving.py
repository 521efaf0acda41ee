"""The sandbox as tests and the command line hold it: all of it, and the server in front."""

from __future__ import annotations

from types import TracebackType

from airflow_provider_pageconv.sandbox.box import Box
from airflow_provider_pageconv.sandbox.server import Server


class Sandbox(Box):
    """A Graph API on loopback, as `Box` describes it.

    Use it as a context manager, or call `start()` and `stop()`.
    """

    _server: Server | None = None

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; `OSError` if the port is taken."""
        self._server = Server(self, self.wanted_port)
        self._server.start()

    def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._server is None:
            raise RuntimeError("the sandbox is not running")
        return self._server.server_port

    @property
    def url(self) -> str:
        """The base address, to be used in place of https://graph.facebook.com."""
        return f"http://127.0.0.1:{self.port}"
