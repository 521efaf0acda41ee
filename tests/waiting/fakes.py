"""A time that passes only when nothing else can happen, a Page that answers by a script, and a store in memory."""

from __future__ import annotations

import heapq
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from airflow_provider_pageconv.dump.engine import Event, Hands, Lane, Stop
from airflow_provider_pageconv.dump.export import Export
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store import Entry, LocalStore, Store
from airflow_provider_pageconv.dump.summary import Outcome
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.errors import GraphError
from airflow_provider_pageconv.graph.limits import Policy, Waiting
from airflow_provider_pageconv.graph.protocol import Credentials, Request, Response
from tests.simulated import START, SimulatedTime

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SIZE = 30
"""Rows of a page: enough for a reading of the head to end with the first one."""


# What a script says


class Lost:
    """No answer ever comes."""


class Page(NamedTuple):
    """A good page, with what its headers say of usage.

    :param regain: minutes until access is regained.
    """

    percent: float | None = None
    regain: float | None = None


Said = Response | GraphError | Page | Lost
"""An answer, an error of the client's, or which kind of a good answer."""


def refused(named: timedelta | None = None, code: int = 4, **error: Any) -> Response:
    """A refusal by its code; a limit's may name a time."""
    headers = {} if named is None else {"retry-after": str(int(named.total_seconds()))}
    body = {"error": {"message": f"(#{code}) no", "code": code, **error}}
    return Response(400, headers, json.dumps(body).encode())


DEAD_TOKEN, DEAD_CURSOR, TROUBLE = refused(code=190), refused(code=100), refused(code=2)


class Called(NamedTuple):
    """A call as the server saw it.

    :param at: seconds since the beginning.
    :param what: the folder, or the thread.
    :param after: the cursor.
    """

    at: float
    what: str
    after: str | None


class ScriptedPage:
    """A Page of conversations with one message each, an hour apart; an answer of the script replaces a good one.

    :param folders: pages of each folder's list.
    :param long_threads: so many threads on each page have messages at their own edge.
    :param thread_pages: how many pages of them.
    :param script: what is said to calls, one after the other.
    """

    def __init__(
        self,
        time: SimulatedTime,
        folders: Mapping[str, int],
        script: Iterable[Said] = (),
        *,
        long_threads: int = 0,
        thread_pages: int = 2,
    ) -> None:
        self._time = time
        self._folders = folders
        self.script = deque(script)
        self._long_threads = long_threads
        self._thread_pages = thread_pages
        self.calls: list[Called] = []
        self.on_call: Callable[[Called], Said | None] = lambda _: None
        """May say something to a call that the script says nothing to."""

    def exchange(self, request: Request) -> Response | Lost:
        """Answer a call.

        :raises GraphError: what the script says.
        """
        thread = request.path.split("/")[0] if request.path.endswith("/messages") else None
        call = Called(self._time.passed, thread or request.params["folder"], request.after)
        self.calls.append(call)
        said = self.script.popleft() if self.script else self.on_call(call) or Page()
        if isinstance(said, GraphError):
            raise said
        if not isinstance(said, Page):
            return said
        at = int(call.after or 0)
        document = self._thread(call.what, at) if thread else self._list(call.what, at)
        headers = {}
        if said.percent is not None:
            row = {"type": "messenger", "call_count": said.percent, "estimated_time_to_regain_access": said.regain or 0}
            headers["x-business-use-case-usage"] = json.dumps({"1": [row]})
        return Response(200, headers, json.dumps(document).encode())

    def _list(self, folder: str, page: int) -> dict[str, Any]:
        first = page * SIZE
        rows = [self._row(folder, number) for number in range(first, first + SIZE)]
        return {"data": rows, "paging": _paging(page + 1, more=page + 1 < self._folders[folder])}

    def _row(self, folder: str, number: int) -> dict[str, Any]:
        at = _wire(START - (number + 2) * HOUR)
        thread = f"t_{folder}_{number}"
        messages = {"data": [{"id": f"m_{thread}", "created_time": at, "from": {"id": "1"}, "message": "Hello"}]}
        if number % SIZE < self._long_threads:
            messages["paging"] = _paging(0, more=True)  # type: ignore[assignment]
        return {"id": thread, "updated_time": at, "message_count": 1, "messages": messages}

    def _thread(self, thread: str, page: int) -> dict[str, Any]:
        at = _wire(START - (2 + int(thread.split("_")[-1])) * HOUR - (page + 1) * MINUTE)
        row = {"id": f"m_{thread}_{page}", "created_time": at, "from": {"id": "1"}, "message": "Hello"}
        return {"data": [row], "paging": _paging(page + 1, more=page + 1 < self._thread_pages)}


def _paging(after: int, *, more: bool) -> dict[str, Any]:
    return {"cursors": {"after": str(after)}, **({"next": "https://graph.facebook.com/"} if more else {})}


def _wire(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+0000")


# Where it goes


class MemoryStore:
    """Files in memory; what is put takes its time, as the hands see to.

    :param put_seconds: how long.
    """

    def __init__(self, time: SimulatedTime, put_seconds: float = 0.0) -> None:
        self._time = time
        self.put_seconds = put_seconds
        self.spent = 0.0
        self.files: dict[str, bytes] = {}
        self.put_at: dict[str, float] = {}
        self.began = 0.0
        self.on_put: Callable[[str], object] = lambda _: None
        """Told of the key of everything that is put, before it is."""
        self._lock = threading.Lock()  # a publish copies its parts side by side

    def with_scratch(self, prefix: str) -> Store:
        return self

    def put(self, local: Path, key: str) -> None:
        self.put_bytes(local.read_bytes(), key)

    def put_bytes(self, data: bytes, key: str) -> None:
        with self._lock:
            self.on_put(key)
            self.spent += self.put_seconds
            self.files[key] = data
            self.put_at[key] = self._time.passed + self.spent - self.began

    def read(self, key: str, most: int | None = None) -> bytes:
        if key not in self.files:
            raise FileNotFoundError(key)
        return self.files[key][:most]

    def fetch(self, key: str, local: Path) -> None:
        local.write_bytes(self.read(key))

    def list(self, prefix: str) -> list[Entry]:
        return [
            Entry(key, len(data), self._time.now)
            for key, data in sorted(self.files.items())
            if key.startswith(f"{prefix}/")
        ]

    def copy(self, source: str, key: str) -> None:
        self.put_bytes(self.read(source), key)

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self.files.pop(key, None)

    # ---- what lies in it

    def manifests(self) -> dict[str, dict[str, Any]]:
        """The published manifests, by folder."""
        found = [json.loads(data) for key, data in self.files.items() if key.startswith("_manifests/")]
        return {manifest["folder"]: manifest for manifest in found}

    def checkpoints(self) -> dict[str, Progress]:
        """The newest checkpoint of each folder that is not published."""
        names = sorted(key for key in self.files if key.startswith("_staging/") and "/checkpoint-" in key)
        return {
            key.partition("folder=")[2].partition("/")[0]: Progress.read(json.loads(self.files[key])["progress"])
            for key in names
        }

    def waiting(self) -> Waiting:
        """What the checkpoints say of waiting: all of them the same."""
        known = [progress.waiting for progress in self.checkpoints().values()]
        assert known
        assert all(one == known[0] for one in known)
        return known[0]


class SlowStore(LocalStore):
    """A real local folder whose PUTs take their time.

    :cvar seconds: how long.
    """

    seconds = 0.5

    @classmethod
    def below(cls, root: Path, seconds: float) -> SlowStore:
        """The store below a folder."""
        store = cls(fsspec.filesystem("file"), str(root))
        store.seconds = seconds
        return store

    def with_scratch(self, prefix: str) -> Store:
        inner = type(self)(self._fs, self._root, prefix)
        inner.seconds = self.seconds
        return inner

    def _place(self, key: str, write: Any) -> None:
        if not key.endswith("/claim"):
            time.sleep(self.seconds)
        super()._place(key, write)


# Who does it


class TimedHands:
    """Calls and the store's work take their time side by side; what comes at the same moment comes in its order.

    :param exchange: answers a request.
    :param seconds: how long the answer to it takes.
    :param tick: what passes each time somebody looks at the clock, as on a real machine.
    """

    def __init__(
        self,
        exchange: Callable[[Request], Response | Lost],
        time: SimulatedTime,
        store: MemoryStore,
        seconds: Callable[[Request], float],
        tick: float = 0.0,
    ) -> None:
        self._exchange = exchange
        self._time = time
        self._store = store
        self._seconds = seconds
        self._tick = tick
        self.turns = 0
        self._coming: list[tuple[float, int, Event | Callable[[], object]]] = []
        self._pushed = 0
        self._under_way: set[int] = set()
        self._lanes: dict[Lane, deque[tuple[int, Callable[[], Any]]]] = {lane: deque() for lane in Lane}
        self._lane_of: dict[int, Lane] = {}
        self.most_at_once = 0
        self.naps: list[float] = []
        self.asleep: Callable[[], object] = lambda: None
        """Called at the beginning of every sleep in which nothing comes."""

    def at(self, seconds: float, what: Callable[[], object]) -> None:
        """Let somebody else do something at a moment; it wakes the engine."""
        self._push(seconds, what)

    def _push(self, at: float, what: Event | Callable[[], object]) -> None:
        self._pushed += 1
        heapq.heappush(self._coming, (at, self._pushed, what))

    def call(self, number: int, request: Request, *, tells: bool) -> None:
        now = self.monotonic()
        self._under_way.add(number)
        self.most_at_once = max(self.most_at_once, len(self._under_way))
        self._push(now, Event(number, sent=now))
        result: Any
        try:
            result = self._exchange(request)
        except GraphError as error:
            result = error
        if not isinstance(result, Lost):
            self._push(now + self._seconds(request), Event(number, result))

    def abandon(self, number: int) -> None:
        self._under_way.discard(number)

    def run(self, number: int, lane: Lane, work: Callable[[], Any]) -> None:
        self._lane_of[number] = lane
        self._lanes[lane].append((number, work))
        if len(self._lanes[lane]) == 1:
            self._begin(lane)

    def _begin(self, lane: Lane) -> None:
        number, work = self._lanes[lane][0]
        self._store.began = before = self._store.spent
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - as the worker threads do
            result = error
        took = self._store.spent - before
        self._store.began = self._store.spent
        self._push(self.monotonic() + took, Event(number, result))

    def next(self, timeout: float) -> Event | None:
        self.turns += 1
        assert self.turns < 100_000, "it turns round and round"
        last = self._time.passed + timeout
        while self._coming and self._coming[0][0] <= last:
            at, _, what = heapq.heappop(self._coming)
            self._time.pass_(max(at - self._time.passed, 0.0))
            if not isinstance(what, Event):
                what()
                return None
            if what.number in self._lane_of:
                lane = self._lane_of.pop(what.number)
                self._lanes[lane].popleft()
                if self._lanes[lane]:
                    self._begin(lane)
                return what
            if what.number in self._under_way:
                if what.sent is None:
                    self._under_way.remove(what.number)
                return what
        self.naps.append(last - self._time.passed)
        self.asleep()
        self._time.pass_(last - self._time.passed)
        return None

    def clock(self) -> datetime:
        return self._time.clock()

    def monotonic(self) -> float:
        self._time.pass_(self._tick)
        return self._time.passed


class Task:
    """A task that exports such a Page, try by try.

    :param folders: pages of each folder's list.
    :param script: what is said to calls, one after the other, over all tries.
    :param seconds: how long an answer takes.
    :param put_seconds: how long a PUT takes.
    :param window: what is exported of it; all if left out.
    """

    def __init__(
        self,
        folders: Mapping[str, int] | None = None,
        script: Iterable[Said] = (),
        *,
        policy: Policy | None = None,
        seconds: float | Callable[[Request], float] = 0.0,
        put_seconds: float = 0.0,
        calls_per_second: float = 0.0,
        stop_percent: float = 95.0,
        tick: float = 0.0,
        window: Window | None = None,
        **page: Any,
    ) -> None:
        self.window = window or Window()
        self.shown: list[tuple[float, dict[str, Any]]] = []
        """What was shown of the progress, and when, in seconds since the beginning."""
        self.time = SimulatedTime()
        self.folders = folders or {"inbox": 3}
        self.page = ScriptedPage(self.time, self.folders, script, **page)
        self.store = MemoryStore(self.time, put_seconds)
        self.policy = policy or Policy()
        self.seconds: Callable[[Request], float] = seconds if callable(seconds) else lambda _: seconds
        self.client_options = {"calls_per_second": calls_per_second, "stop_percent": stop_percent}
        self.clear_number = 0
        self._tick = tick

    def next(self, script: Iterable[Said] = (), *, policy: Policy | None = None) -> Task:
        """Begin the next try, with what the last one left in the store and nothing else."""
        self.page.script = deque(script)
        self.policy = policy or self.policy
        self.prepare()
        return self

    def prepare(self) -> TimedHands:
        """Make a try ready, and return its hands."""
        self.client = GraphClient("http://127.0.0.1", Credentials("token"), version="v26.0", **self.client_options)
        spec = Spec(
            platform="messenger",
            page_id="1",
            window=self.window,
            run_key={"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "clear_number": self.clear_number},
            page_size=SIZE,
        )
        self.export = Export(spec, list(self.folders), self.client, self.store, self.policy, show=self._show)
        self.hands = TimedHands(self.page.exchange, self.time, self.store, self.seconds, self._tick)
        return self.hands

    def _show(self, value: dict[str, Any]) -> None:
        json.dumps(value)  # a value that could not be stored is a defect
        self.shown.append((self.time.passed, value))

    def run(self, hands: Hands | None = None) -> list[Outcome]:
        """Run a try; one that is not made ready yet is."""
        if hands is None and not hasattr(self, "hands"):
            self.prepare()
        try:
            return self.export.export(hands or self.hands)
        finally:
            self.ran = self.__dict__.pop("hands", None)

    def time_out(self) -> None:
        """What an exception in the task's main thread leads to."""
        self.export._stop = Stop.SAFE

    # ---- what was seen

    @property
    def calls(self) -> list[Called]:
        return self.page.calls

    @property
    def times(self) -> list[float]:
        """When each call was made."""
        return [call.at for call in self.calls]

    def moment(self, seconds: float) -> datetime:
        """The time of day so many seconds after the beginning."""
        return START + timedelta(seconds=seconds)

    def least_calls(self) -> int:
        """What the whole export takes: each list, its head again where it has several pages, and the threads."""
        lists = sum(pages + (pages > 1) for pages in self.folders.values())
        threads = sum(self.folders.values()) * self.page._long_threads * self.page._thread_pages
        return lists + threads


def asked_twice(calls: Sequence[Called]) -> list[tuple[str, str | None]]:
    """What was asked more than once, but for the heads of lists, which are read again."""
    asked = [(call.what, call.after) for call in calls]
    return sorted({one for one in asked if asked.count(one) > (1 if one[1] else 2)}, key=str)
