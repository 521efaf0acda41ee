"""Calls that are still under way: an export that breaks off waits for none, and what they ask is seen after its end."""

from __future__ import annotations

import threading
import time


def no_call_is_left(seconds: float) -> bool:
    """Whether every call has ended, with the worker thread that made it, at the latest after some seconds."""
    deadline = time.monotonic() + seconds
    while any(worker.name == "graph-call" for worker in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
