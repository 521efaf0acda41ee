"""Shows how far a task is in Airflow's Task State Store, where the UI and the REST API have it while the task runs.

The store is there from Airflow 3.3 on, and missed nowhere: https://airflow.apache.org/docs/task-sdk/stable/api.html. A write
goes through the task's supervisor to the API server, some 15 ms if that is well and many seconds if it is not, so a thread of
its own does it. Airflow lets one thread at a time talk to the supervisor.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Protocol

from airflow_provider_pageconv.times import iso

log = logging.getLogger(__name__)

KEY = "pageconv_progress"
EVERY_SECONDS = 10.0
MOST_BYTES = 2048

_LAST_SECONDS = 3.0
_AFTER_FAILURE_SECONDS = 60.0
_LONGEST_TEXT = 200


class Store(Protocol):
    """What is used of ``context["task_state_store"]``."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""


class Live:
    """Keeps one key up to date until it is closed; the latest value wins, and whoever shows one never waits.

    :param store: ``context["task_state_store"]``; ``None`` where there is none: then nothing is shown.
    """

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._latest: dict[str, Any] = {}
        self._written: dict[str, Any] = {}
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def show(self, value: Mapping[str, Any]) -> None:
        """Have a value shown: at once where its ``state``, ``phase`` or ``waiting`` is another one, else within 10 seconds."""
        if self._store is None or self._closed:
            return
        before, self._latest = self._latest, {**self._latest, **value}
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_up, name="export-progress", daemon=True)
            self._thread.start()
        if any(before.get(name) != self._latest.get(name) for name in ("state", "phase", "waiting")):
            self._wake.set()

    def close(self) -> None:
        """Write the last value, for which some seconds are waited at the most."""
        self._closed = True
        if self._thread is not None:
            self._wake.set()
            self._thread.join(_LAST_SECONDS)

    def _keep_up(self) -> None:
        assert self._store is not None
        not_before = 0.0
        while True:
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
            closed, latest = self._closed, self._latest
            if latest is not self._written and (closed or time.monotonic() >= not_before):
                try:
                    self._store.set(KEY, fitted({**latest, "at": iso(datetime.now(timezone.utc))}))
                    self._written = latest
                except Exception:  # it is but a display
                    log.debug("The progress could not be shown.", exc_info=True)
                    not_before = time.monotonic() + _AFTER_FAILURE_SECONDS
            if closed:
                return


def fitted(value: dict[str, Any]) -> dict[str, Any]:
    """A value that takes no more than is promised: what is longest goes first."""
    if _size(value) > MOST_BYTES:
        value = {name: _cut(one) for name, one in value.items()}
    for name in ("folders", "destination"):
        if _size(value) > MOST_BYTES:
            value = {**value, name: None}
    return value


def _size(value: Mapping[str, Any]) -> int:
    return len(json.dumps(value))


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(one) for name, one in value.items()}
    return f"{value[:_LONGEST_TEXT]}…" if isinstance(value, str) and len(value) > _LONGEST_TEXT else value
