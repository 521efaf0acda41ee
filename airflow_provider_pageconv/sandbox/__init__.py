"""A Graph API on loopback, to try exports on: `python -m airflow_provider_pageconv.sandbox`, or `Sandbox` in tests.

It imports nothing of the rest of this package, so that what the product misreads cannot agree with itself here.
"""

from __future__ import annotations

from airflow_provider_pageconv.sandbox.clock import Clock
from airflow_provider_pageconv.sandbox.faults import KINDS, Fault
from airflow_provider_pageconv.sandbox.life import Life
from airflow_provider_pageconv.sandbox.limits import Limits
from airflow_provider_pageconv.sandbox.media import TROUBLES, Media, Trouble
from airflow_provider_pageconv.sandbox.nodes import FOLDERS, Message, Person, Thread
from airflow_provider_pageconv.sandbox.page import Page
from airflow_provider_pageconv.sandbox.record import RecordedRequest
from airflow_provider_pageconv.sandbox.serving import Sandbox

__all__ = [
    "FOLDERS",
    "KINDS",
    "TROUBLES",
    "Clock",
    "Fault",
    "Life",
    "Limits",
    "Media",
    "Message",
    "Page",
    "Person",
    "RecordedRequest",
    "Sandbox",
    "Thread",
    "Trouble",
]
