"""How the tests of this folder export a sandbox's Page, and what such an export owes by a reference of their own."""

from __future__ import annotations

import gzip
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_pageconv.dump.endings import LetGo
from airflow_provider_pageconv.dump.engine import Event, Lane
from airflow_provider_pageconv.dump.export import Export, FoldersFailed
from airflow_provider_pageconv.dump.opening import open_store
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store import Store
from airflow_provider_pageconv.dump.summary import Outcome
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.dump.workers import Workers
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.errors import GraphError, GraphTransientError
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.graph.media import MEDIA_HOSTS, MediaRules
from airflow_provider_pageconv.graph.media_client import MediaClient
from airflow_provider_pageconv.graph.protocol import Credentials, Request, Response
from airflow_provider_pageconv.sandbox import Sandbox
from tests.servers.destinations import Destination
from tests.simulated import SimulatedHands, SimulatedTime

NOW = datetime(2026, 11, 21, 10, 0, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
FOLDERS = ("inbox", "other", "page_done", "spam")
MARKS = frozenset({"_page_id", "_platform", "_folder", "_fetched_at", "_export_id", "_unavailable", "_carried"})
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


Answers = Callable[[Request], Any]
"""Answers a request with the JSON document of the body, or raises what the API refuses."""


class ByFunction(GraphClient):
    """A client whose answers are made by a function, without a socket in between."""

    def __init__(self, answers: Answers) -> None:
        super().__init__("http://127.0.0.1", Credentials("token"), version="v26.0", calls_per_second=0)
        self._answers = answers

    def exchange(self, request: Request, abandoned: threading.Event) -> Response:
        return Response(200, {}, json.dumps(self._answers(request)).encode())


def exporting(
    box: Sandbox | None,
    store: Store,
    folders: Sequence[str] = ("inbox",),
    *,
    client: GraphClient | None = None,
    policy: Policy | None = None,
    settled: datetime | None = None,
    **options: Any,
) -> Export:
    """Return the export of some folders, as one try of a task makes it; it fails at a limit."""
    client = client or client_of(box)  # type: ignore[arg-type]
    if box:
        box.rules.date = "page"  # its clock stands still, and so does the export's
    spec = spec_of(box, **options)
    media = None
    if spec.download_attachments:
        rules = MediaRules.of(client._base_url, MEDIA_HOSTS, spec.max_attachment_bytes, spec.attachment_kinds)
        media = MediaClient(rules, timeout=10)
    return Export(spec, folders, client, store, policy or Policy(fail=True), settled=settled, media=media)


def export(
    box: Sandbox | None, store: Store, folder: str = "inbox", *, clock: Callable[[], datetime] | None = None, **how: Any
) -> Mapping[str, Any]:
    """Export one folder in one try, by the sandbox's clock, in the thread that calls this; its manifest.

    :raises Exception: what ended the folder, itself.
    """
    return go(exporting(box, store, (folder,), **how), clock or (box.clock if box else lambda: NOW))


def go(one: Export, clock: Callable[[], datetime] = lambda: NOW) -> Mapping[str, Any]:
    """Run one try of a folder's export by a clock; its manifest.

    :raises Exception: what ended the folder, itself.
    """
    hands = _Clocked(one, clock)
    try:
        return _only(one.export(hands))
    except FoldersFailed as failed:
        [error] = failed.errors.values()
        raise error from None
    finally:
        hands.workers.close()


def _only(outcomes: list[Outcome]) -> Mapping[str, Any]:
    [outcome] = outcomes
    return outcome.manifest


class _Clocked:
    """The workers that ship, with a clock of the test's. What no worker thread may live on after ends the try as it is."""

    def __init__(self, one: Export, clock: Callable[[], datetime]) -> None:
        client = one._client
        self.clock = clock
        self._broken: list[BaseException] = []

        def exchange(request: Request, abandoned: threading.Event) -> Response:
            try:
                return client.exchange(request, abandoned)
            except GraphError:
                raise
            except BaseException as error:  # noqa: BLE001 - a check of the test's that fails, for one
                self._broken.append(error)
                raise GraphTransientError("the test has failed") from None

        self.workers = one._workers = Workers(exchange)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.workers, name)

    def run(self, number: int, lane: Lane, work: Callable[[], Any]) -> None:
        def watched() -> Any:
            try:
                return work()
            except Exception:
                raise
            except BaseException as error:  # noqa: BLE001 - the owner raises it, as in a process that is gone
                self._broken.append(error)
                return None

        self.workers.run(number, lane, watched)

    def next(self, timeout: float) -> Event | None:
        event = self.workers.next(timeout)
        if self._broken:
            raise self._broken[0]
        return event


def simulated(
    one: Export, box: Sandbox | None = None, time: SimulatedTime | None = None, **how: Any
) -> tuple[list[Outcome], SimulatedHands]:
    """Run one try in a time that passes in its waits alone, and takes the sandbox's clock with it.

    :param how: how the hands are; see :class:`~tests.simulated.SimulatedHands`.
    :return: what came of it, and the hands.
    """
    hands = hands_of(one, box, time, **how)
    return one.export(hands), hands


def hands_of(one: Export, box: Sandbox | None = None, time: SimulatedTime | None = None, **how: Any) -> SimulatedHands:
    """Return hands that make the calls of an export, in a time that the sandbox's clock goes by."""
    clock = time or SimulatedTime(box.clock() if box else NOW)
    if box:
        box.clock = lambda: clock.now
    never = threading.Event()
    return SimulatedHands(lambda request: one._client.exchange(request, never), clock, **how)


def export_in_time(
    box: Sandbox | None, store: Store, folder: str = "inbox", *, time: SimulatedTime | None = None, **how: Any
) -> Mapping[str, Any]:
    """Export one folder in one try, in a time that passes in its waits alone; its manifest.

    :raises Exception: what ended the folder, itself.
    """
    try:
        return _only(simulated(exporting(box, store, (folder,), **how), box, time)[0])
    except FoldersFailed as failed:
        [error] = failed.errors.values()
        raise error from None


def in_tries(
    box: Sandbox, store: Store, folders: Sequence[str] = ("inbox",), *, time: SimulatedTime | None = None, most: int = 50,
    seconds: float = 0.0, **how: Any,
) -> tuple[list[Outcome], int]:  # fmt: skip
    """Export some folders in as many tries as it takes: each comes back when the one before wants to.

    :param most: tries.
    :param seconds: how long a call takes.
    :return: what came of it, and in how many tries.
    """
    time = time or SimulatedTime(box.clock())
    for number in range(1, most + 1):
        try:
            return simulated(exporting(box, store, folders, **how), box, time, seconds=seconds)[0], number
        except LetGo as pause:  # noqa: PERF203 - the loop is there for it
            time.pass_(max((pause.moment - time.now).total_seconds(), 0.0))
    raise AssertionError(f"it has not come to its end in {most} tries")


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


def without_folder(node: Mapping[str, Any]) -> dict[str, Any]:
    """A conversation as it is given where nobody asks for its folder, which is a partition."""
    return {name: value for name, value in node.items() if name != "folder"}


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
        node = without_folder(thread["node"])
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


RUN, LATE = 25, timedelta(minutes=10)
"""So many rows in a row that are known, so much older than the head was, end a reading of the head."""


def least_calls(data: Mapping[str, Any], folder: str, page_size: int = 100, *, nested: int = NESTED) -> int:
    """Return the fewest calls that a dump of a folder that stands still takes, by the formula that the project has set itself."""
    threads = [thread for thread in data["threads"] if thread["folder"] == folder]
    rest = sum(math.ceil(max(0, len(thread["messages"]) - nested) / page_size) for thread in threads)
    return list_calls(data, folder, page_size) + rest


def list_calls(data: Mapping[str, Any], folder: str, page_size: int = 100) -> int:
    """Return how many of them are for the list: a walk, and where it is longer than a page its head once more.

    Where the head does not fit a page, once again, for that brought nothing.
    """
    times = [moment(thread["node"]["updated_time"]) for thread in data["threads"] if thread["folder"] == folder]
    pages = max(1, math.ceil(len(times) / page_size))
    if pages == 1:
        return 1
    head, run = pages, 0
    for place, time in enumerate(times):
        run = run + 1 if time < times[0] - LATE else 0
        if place % page_size == page_size - 1 and run >= RUN:
            head = place // page_size + 1
            break
    return pages + (head if head == 1 else 2 * head)


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

        def operation(*arguments: Any, **options: Any) -> Any:
            if name not in only:
                return method(*arguments, **options)
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
            return method(*arguments, **options)

        return operation


class Meanwhile:
    """A store that lets something else happen, once, right before its first operation of a kind.

    :param operation: which operation.
    :param key: a part of the key that it is done with.
    """

    def __init__(self, store: Store, happens: Callable[[], object], operation: str, key: str = "") -> None:
        self._store = store
        self._operation, self._key = operation, key
        self._happens: list[Callable[[], object]] = [happens]
        self._lock = threading.Lock()

    def with_scratch(self, prefix: str) -> Store:
        other = Meanwhile(self._store.with_scratch(prefix), lambda: None, self._operation, self._key)
        other._happens, other._lock = self._happens, self._lock
        return other

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def operation(*arguments: Any, **options: Any) -> Any:
            if name == self._operation and self._key in str(arguments[-1]):
                with self._lock:  # who comes second waits for what happens
                    if self._happens:
                        self._happens.pop()()
            return method(*arguments, **options)

        return operation if name == self._operation else method


IN_FLIGHT = 5
"""Calls of one folder that may be under way at the same time: one of the list, and four of threads."""


@contextmanager
def every_step_saved() -> Iterator[None]:
    """Let a checkpoint follow each step, in place of one in 40 seconds."""
    from airflow_provider_pageconv.dump import folder

    before, folder.CHECKPOINT_SECONDS = folder.CHECKPOINT_SECONDS, -1.0
    try:
        yield
    finally:
        folder.CHECKPOINT_SECONDS = before


def checkpoints(files: Destination) -> list[dict[str, Any]]:
    """Return the checkpoints that lie in the staging area."""
    return [json.loads(files.read(name)) for name in files.names("_staging") if "/checkpoint-" in name]


def assert_counts_are_of_the_files(files: Destination) -> None:
    """A manifest counts what lies in its files, and its files are what it says."""
    for manifest in files.manifests().values():
        found: dict[str, list[dict[str, Any]]] = {"conversations": [], "messages": []}
        for entry in manifest["files"]:
            records = files.lines(entry["path"])
            assert len(records) == entry["records"]
            found[entry["stream"]] += records
        messages, conversations = found["messages"], found["conversations"]
        assert manifest["messages"] == len(messages)
        assert manifest["conversations"] == len(conversations)
        assert manifest["messages_unavailable"] == sum(record["_unavailable"] for record in messages)
        assert manifest["conversations_unavailable"] == sum(record["_unavailable"] for record in conversations)
        assert manifest["messages_carried"] == sum(record["_carried"] for record in messages)
        assert manifest["conversations_carried"] == sum(record["_carried"] for record in conversations)


def page(**options: Any) -> Sandbox:
    """A Page whose clock stands still, with one folder."""
    return Sandbox(**{"seed": 7, "folders": {"inbox": 12}, "messages": 30, "long_every": 3, "now": NOW, **options})


def threads(box: Sandbox) -> list[str]:
    return [thread["node"]["id"] for thread in box.data()["threads"] if thread["folder"] == "inbox"]
