"""How the tests of this folder export a sandbox's Page, and what such an export owes by a reference of their own."""

from __future__ import annotations

import gzip
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_pageconv.dump.folders import FoldersExport
from airflow_provider_pageconv.dump.patience import Policy
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store import Store, open_store
from airflow_provider_pageconv.dump.walk import FolderExport
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.protocol import Credentials
from airflow_provider_pageconv.sandbox import Sandbox
from tests.servers.destinations import Destination

NOW = datetime(2026, 11, 21, 10, 0, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
FOLDERS = ("inbox", "other", "page_done", "spam")
MARKS = frozenset({"_page_id", "_platform", "_folder", "_fetched_at", "_export_id"})
NESTED = 25


def store_of(files: Destination) -> Store:
    """Return the store that an export of this place works with."""
    return open_store(files.fs, files.root)


def client_of(box: Sandbox, **options: Any) -> GraphClient:
    """Return a client of a sandbox that neither keeps a pace nor sleeps."""
    options = {"version": "v26.0", "calls_per_second": 0, "sleep": lambda _: None, **options}
    return GraphClient(box.url, Credentials(box.token, box.rules.app_secret), **options)


def run_key(run: str = "run-1", clear: int = 0) -> dict[str, Any]:
    """Return what names one try's run."""
    return {"dag_id": "export", "run_id": run, "task_id": "pages", "map_index": -1, "clear_number": clear}


def spec_of(
    box: Sandbox | None,
    *,
    run: str = "run-1",
    clear: int = 0,
    since: datetime | None = None,
    until: datetime | None = None,
    **options: Any,
) -> Spec:
    """Return an order for an export of the sandbox's Page."""
    page_id = box.page.id if box else "1"
    options = {"platform": "messenger", "page_id": page_id, **options}
    return Spec(window=Window(since, until), run_key=run_key(run, clear), **options)


class AtOnce:
    """Makes the calls of an export and waits for nothing.

    :param box: a sandbox, or a function that answers a request.
    """

    def __init__(self, box: Sandbox | None, get: Callable[..., Any] | None = None) -> None:
        self.killed = threading.Event()
        self._get = get or client_of(box).get  # type: ignore[arg-type]

    def get(self, request: Any, on_call: Callable[[], None], save: Callable[[], None]) -> Any:
        return self._get(request, on_call)

    def stopped(self) -> bool:
        return self.killed.is_set()


def folder_export(
    box: Sandbox | None,
    store: Store,
    folder: str = "inbox",
    *,
    caller: AtOnce | None = None,
    clock: Callable[[], datetime] | None = None,
    **options: Any,
) -> FolderExport:
    """Return the export of one folder, by the sandbox's clock."""
    now = clock or (box.clock if box else lambda: NOW)
    return FolderExport(spec_of(box, **options), folder, caller or AtOnce(box), store, clock=now)


def go(export: FolderExport) -> tuple[Mapping[str, Any], bool]:
    """Export a folder as one try of a task does; the manifest that is published then, and whether it is a new one."""
    published = export.done_before()
    if published is not None:
        return published, False
    export.begin()
    done = export.run()
    export.destination.tidy()
    return done


def export(box: Sandbox | None, store: Store, folder: str = "inbox", **options: Any) -> tuple[Mapping[str, Any], bool]:
    """Export one folder in one try."""
    return go(folder_export(box, store, folder, **options))


def all_folders(
    box: Sandbox, store: Store, folders: tuple[str, ...] = FOLDERS, client: GraphClient | None = None, **options: Any
) -> FoldersExport:
    """Return the export of several folders side by side, which fails at a limit."""
    return FoldersExport(spec_of(box, **options), folders, client or client_of(box), store, Policy(fail=True))


# What is owed


@dataclass
class Owed:
    """What an export has to hold: full nodes by id, the messages' threads, and how many messages may go uncounted."""

    conversations: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    thread_of: dict[str, str] = field(default_factory=dict)


def moment(text: str) -> datetime:
    """Read a time as the Graph API writes it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def owed(
    data: Mapping[str, Any],
    folder: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    messages: bool = True,
    platform: str = "messenger",
) -> Owed:
    """Say what an export of a Page that stands still owes, from the sandbox's data file and the rules alone."""
    result = Owed()
    for thread in data["threads"]:
        if thread["platform"] != platform or folder not in (None, thread["folder"]):
            continue
        node = thread["node"]
        found = {}
        before: datetime | None = None  # the time of the dated message before
        for message in thread["visible"] if messages else ():
            if "created_time" in message:
                before = moment(message["created_time"])
                if (since is None or since <= before) and (until is None or before < until):
                    found[message["id"]] = message
            elif since is None:
                found[message["id"]] = message
        updated = moment(node["updated_time"])
        if found or ((since is None or since <= updated) and (until is None or updated < until)):
            result.conversations[node["id"]] = node
        result.messages.update(found)
        result.thread_of.update(dict.fromkeys(found, node["id"]))
    return result


def least_calls(data: Mapping[str, Any], folder: str, page_size: int = 100, *, nested: int = NESTED) -> int:
    """Return the fewest calls that a dump of a folder takes, by the formula that the project has set itself."""
    threads = [thread for thread in data["threads"] if thread["folder"] == folder]
    pages = max(1, math.ceil(len(threads) / page_size))
    rest = sum(math.ceil(max(0, len(thread["messages"]) - nested) / page_size) for thread in threads)
    return pages + (pages > 1) + rest


def held(box: Sandbox) -> dict[str, list[str]]:
    """Return the ids of each stream that a dump of the Page holds as it is now."""
    owes = owed(box.data())
    return {"conversations": sorted(owes.conversations), "messages": sorted(owes.messages)}


def assert_reads_one_of(files: Destination, allowed: list[dict[str, list[str]]]) -> None:
    """Go by the manifest, and assert that it names one of these exports, and that every file of it is there whole."""
    for manifest in files.manifests().values():
        found: dict[str, list[str]] = {"conversations": [], "messages": []}
        for entry in manifest["files"]:
            found[entry["stream"]] += [
                json.loads(line)["id"] for line in raw_lines(files.read(entry["path"]), entry["path"])
            ]
        assert {stream: sorted(found[stream]) for stream in found} in allowed


def bare(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without what the export adds."""
    return {name: value for name, value in record.items() if not name.startswith("_")}


def assert_holds(files: Destination, owes: Owed) -> None:
    """Assert that the published records are those that are owed: each once, with their whole content."""
    conversations, messages = files.records("conversations"), files.records("messages")
    assert sorted(record["id"] for record in conversations) == sorted(owes.conversations)
    assert sorted(record["id"] for record in messages) == sorted(owes.messages)
    for record in conversations:
        assert bare(record) == owes.conversations[record["id"]]
    for record in messages:
        assert bare(record) == owes.messages[record["id"]]
        assert record["_conversation_id"] == owes.thread_of[record["id"]]


def assert_tidy(files: Destination) -> None:
    """Assert that nothing lies in the destination but what manifests name: no staging, no orphan."""
    named = {entry["path"] for manifest in files.manifests().values() for entry in manifest["files"]}
    assert set(files.names()) == named | set(files.manifests())


def ids(files: Destination, stream: str) -> list[str]:
    """Return the published ids of a stream, sorted, repeated ones repeated."""
    return sorted(record["id"] for record in files.records(stream))


def raw_lines(content: bytes, name: str) -> list[bytes]:
    """Return the lines of a part file."""
    return (gzip.decompress(content) if name.endswith(".gz") else content).split(b"\n")[:-1]


# Stores that fail


class Broken(BaseException):
    """What a test breaks an operation with; nothing may catch it and go on."""


class Breaking:
    """A store of which one operation breaks.

    :param at: which operation, counted from 1; 0 for none.
    :param after: break after the operation has been done, as a crash does before anybody hears of it.
    :param dead: whether everything after it breaks too, as in a process that is gone.
    """

    CHANGES = ("put", "put_bytes", "copy", "delete")

    def __init__(
        self,
        store: Store,
        at: int = 0,
        *,
        after: bool = False,
        dead: bool = True,
        error: Callable[[], BaseException] = Broken,
        only: tuple[str, ...] = ("put", "put_bytes", "copy", "delete", "list", "read"),
        _state: dict[str, Any] | None = None,
    ) -> None:
        self._store = store
        self._order = (at, after, dead, error, only)
        self._state = _state if _state is not None else {"count": 0, "lock": threading.RLock(), "did": []}

    @property
    def count(self) -> int:
        """How many operations there were."""
        return int(self._state["count"])

    @property
    def did(self) -> list[str]:
        """What was done, in order: operation and key."""
        return list(self._state["did"])

    def with_scratch(self, prefix: str) -> Store:
        at, after, dead, error, only = self._order
        inner = self._store.with_scratch(prefix)
        return Breaking(inner, at, after=after, dead=dead, error=error, only=only, _state=self._state)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        at, after, dead, error, only = self._order

        def operation(*arguments: Any) -> Any:
            if name not in only:
                return method(*arguments)
            if name == "delete":
                arguments = (list(arguments[0]),)
            with self._state["lock"]:
                self._state["count"] += 1
                number = self._state["count"]
                self._state["did"].append(f"{name} {arguments[-1]}")
            if at and dead and number > at:
                raise error()
            if at and number == at:
                if after:
                    with suppress(FileNotFoundError):
                        method(*arguments)
                raise error()
            return method(*arguments)

        return operation


IN_FLIGHT = 5
"""Calls of one folder that may be under way at the same time: one of the list, and four of threads."""


@contextmanager
def every_step_saved() -> Iterator[None]:
    """Let a checkpoint follow each step, in place of one in 40 seconds."""
    from airflow_provider_pageconv.dump import walk

    before, walk.CHECKPOINT_SECONDS = walk.CHECKPOINT_SECONDS, -1.0
    try:
        yield
    finally:
        walk.CHECKPOINT_SECONDS = before


def checkpoints(files: Destination) -> list[dict[str, Any]]:
    """Return the checkpoints that lie in the staging area."""
    return [json.loads(files.read(name)) for name in files.names("_staging") if "/checkpoint-" in name]
