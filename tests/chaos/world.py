"""A world without sockets, sleeping or disks for the machines: a Page that lives, a store, and crashes between any two steps.

And how a machine is played: so many histories, the same ones for the same seed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from airflow_provider_pageconv.dump.store import Entry
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.errors import GraphTransientError, GraphUnreachableError
from airflow_provider_pageconv.graph.media import MEDIA_HOSTS, MediaError, MediaRules, Reason, judge, read_type
from airflow_provider_pageconv.graph.media_client import Fetched, Watch
from airflow_provider_pageconv.graph.protocol import Credentials, Request, Response
from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.sandbox.box import RecordedRequest, edge_of
from airflow_provider_pageconv.sandbox.graph_api import Call
from airflow_provider_pageconv.sandbox.media import HUGE
from tests.servers import parquet_files

RUNS = int(os.environ.get("PAGECONV_CHAOS_RUNS", "1000"))
# The same histories at each commit; `make test-chaos` sets 0 and draws others each time.
SEED = int(os.environ.get("PAGECONV_CHAOS_SEED", "1")) or random.SystemRandom().randrange(1, 2**32)
# A failure is replayed by its seed; PAGECONV_CHAOS_SHRINK=1 makes its history short, which takes minutes.
PHASES = (Phase.generate, Phase.shrink) if os.environ.get("PAGECONV_CHAOS_SHRINK") else (Phase.generate,)
TURN = 1000
TIMEOUT = 3600 if RUNS <= TURN else 0
"""Seconds for one test; a thousand histories take five minutes, longer on a busy machine. The long forms have none."""
MOST_LATE = timedelta(seconds=60)


def moment(text: str) -> datetime:
    """Read a time as the Graph API writes it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def play(machine: type[RuleBasedStateMachine], runs: int, steps: int, met: Counter[str]) -> None:
    """Play so many histories of so many steps; the seed is printed before, and what was met afterwards.

    More than a thousand are played in turns with seeds that follow, so that it is seen how many there were.
    """
    met.clear()
    for first in range(0, runs, TURN):
        number = min(runs - first, TURN)
        seed = SEED + first // TURN
        print(f"\nPAGECONV_CHAOS_SEED={seed} PAGECONV_CHAOS_RUNS={number}", f"({first:,} before)" if first else "")
        hypothesis.seed(seed)(machine)
        logging.disable(logging.ERROR)  # thousands of lines on what was ordered
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=number,
                    stateful_step_count=steps,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                    print_blob=False,
                    phases=PHASES,
                ),
            )
        finally:
            logging.disable(logging.NOTSET)
    for kind, count in sorted(met.items()):
        print(f"{count:>8,} {kind}")


class Crashed(BaseException):
    """The process is gone; nothing that it does from now on reaches the world."""


@dataclass
class Crash:
    """When the process is to go: at the so-many-th step that reaches the world, before or after that is done."""

    at: int = 0
    after: bool = False
    steps: int = 0
    struck: str = ""

    def around(self, kind: str, operation: str = "", key: str = "") -> bool:
        """Count a step; whether to crash after it. Raises if the crash comes before it, or was before.

        :param operation: of the store.
        :param key: what it is done with.
        """
        self.steps += 1
        if self.at and (self.steps > self.at or (self.steps == self.at and not self.after)):
            self.struck = self.struck or kind
            raise Crashed
        if self.at and self.steps == self.at:
            self.struck = kind
            return True
        return False


@dataclass
class World:
    """What outlives a process: the Page, the store, and the time."""

    box: Sandbox
    now: datetime
    files: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    late: timedelta = timedelta(0)
    """How long it takes until a listing shows what was put or deleted."""
    changed: dict[str, tuple[Entry | None, datetime]] = field(default_factory=dict)
    """What listings showed of a file before it was last put or deleted, and when that was."""
    misled: int = 0
    """Listings that did not tell the truth."""
    empty: bool = False
    """Whether the API shows empty lists, whatever there is."""

    passed: float = 0.0
    """Seconds that have passed."""
    skew: timedelta = timedelta(0)
    """How much the worker's clock is ahead of the Page's."""

    def clock(self) -> datetime:
        """The worker's clock."""
        return self.now + self.skew

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.passed += seconds
        self.box.clock = lambda: self.now

    def clear(self) -> None:
        """Empty the store."""
        self.files.clear()
        self.changed.clear()
        self.misled = 0

    def put(self, data: bytes, key: str) -> None:
        self.change(key)
        self.files[key] = (data, self.now)

    def change(self, key: str) -> None:
        """Remember what a late listing goes on to show of a file."""
        self.changed[key] = (self.listed(key), self.now)

    def forget_old_changes(self) -> None:
        """Forget the changes that no listing misses any more, however late it may be."""
        old = self.now - MOST_LATE
        for key in [key for key, (_, when) in self.changed.items() if when <= old]:
            del self.changed[key]

    def listed(self, key: str) -> Entry | None:
        """What a listing shows of a file."""
        before, when = self.changed.get(key, (None, self.now))
        if when > self.now - self.late:
            return before
        return Entry(key, len(self.files[key][0]), self.files[key][1]) if key in self.files else None

    def published(self) -> dict[str, dict[str, Any]]:
        """The manifests, by folder; each has one window only."""
        return {manifest["folder"]: manifest for manifest in self.manifests().values()}

    def manifests(self) -> dict[str, dict[str, Any]]:
        """The manifests, by key."""
        return {key: json.loads(data) for key, (data, _) in self.files.items() if key.startswith("_manifests/")}

    def records(self, manifest: Mapping[str, Any], stream: str) -> list[dict[str, Any]]:
        """The records of a stream, from the files that a manifest names; all of them have to be there."""
        return [
            record
            for file in manifest["files"]
            if file["stream"] == stream
            for record in records_of(file["path"], self.files[file["path"]][0])
        ]


def records_of(path: str, content: bytes) -> list[dict[str, Any]]:
    """The records of a file, whatever its format."""
    if path.endswith(".parquet"):
        return parquet_files.nodes(content, path.partition("/")[0])
    return [json.loads(line) for line in gzip.decompress(content).split(b"\n")[:-1]]


_ID = re.compile(rb"(?<![0-9A-Za-z])(?:[0-9a-f]{64}|[0-9]{16})(?![0-9A-Za-z])")


def ids_in(content: bytes) -> set[str]:
    """What may be ids of people, plain or hashed, in a file that is packed with gzip or not at all."""
    text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    return {found.decode() for found in _ID.findall(text)}


class MemoryStore:
    """A store whose files outlive the process that writes them."""

    def __init__(self, world: World, crash: Crash) -> None:
        self._world = world
        self._crash = crash

    def with_scratch(self, prefix: str) -> MemoryStore:
        return self

    def put(self, local: Path, key: str) -> None:
        self.put_bytes(local.read_bytes(), key)

    def put_bytes(self, data: bytes, key: str) -> None:
        dies = self._crash.around("store", "put", key)
        self._world.put(data, key)
        if dies:
            raise Crashed

    def read(self, key: str, most: int | None = None) -> bytes:
        self._crash.around("store", "read", key)
        if key not in self._world.files:
            raise FileNotFoundError(key)
        return self._world.files[key][0][:most]

    def size(self, key: str) -> int | None:
        return len(self._world.files[key][0]) if key in self._world.files else None

    def fetch(self, key: str, local: Path) -> None:
        local.write_bytes(self.read(key))

    def list(self, prefix: str) -> list[Entry]:
        self._crash.around("store", "list", prefix)
        world = self._world
        world.forget_old_changes()
        keys = [key for key in {**world.files, **world.changed} if key.startswith(prefix + "/")]
        shown = [entry for key in keys if (entry := world.listed(key)) is not None]
        world.misled += {entry.key for entry in shown} != {key for key in keys if key in world.files}
        return shown

    def copy(self, source: str, key: str) -> None:
        dies = self._crash.around("store", "copy", key)
        if source not in self._world.files:
            raise FileNotFoundError(source)
        self._world.put(self._world.files[source][0], key)
        if dies:
            raise Crashed

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            dies = self._crash.around("store", "delete", key)
            self._world.change(key)
            self._world.files.pop(key, None)
            if dies:
                raise Crashed


class OneByOne:
    """Does what a pool of threads would do, in the order in which it is asked for: so that a seed replays a history."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __enter__(self) -> OneByOne:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def shutdown(self, **options: Any) -> None:
        pass

    def map(self, function: Callable[..., Any], *rows: Iterable[Any]) -> Iterator[Any]:
        return map(function, *rows)


class WorldClient(GraphClient):
    """The real client, whose calls go to the sandbox's Page without a socket in between."""

    def __init__(self, world: World, crash: Crash) -> None:
        self._world = world
        self._crash = crash
        credentials = Credentials(world.box.token)
        super().__init__("http://127.0.0.1", credentials, version="v26.0", calls_per_second=0, timeout=60)

    def exchange(self, request: Request, abandoned: threading.Event | None = None) -> Response:
        dies = self._crash.around("call")
        self._world.pass_time(1)
        box, params = self._world.box, dict(request.params)
        call = Call("GET", "/" + request.path, params, "v26.0", box.token, "http://127.0.0.1")
        path = f"/v26.0/{request.path}"
        reply = box.reply(call, RecordedRequest("GET", path, path, params, {}, time.time(), "v26.0", edge_of(call)))
        if dies:
            raise Crashed
        if self._world.empty and edge_of(call) == "conversations":
            return Response(200, {}, b'{"data": []}')
        kind = reply.fault.kind if reply.fault else ""
        if kind == "reset":
            # Cut off half-way, or not reached at all: the one may be a matter of size, the other is not.
            raise (GraphTransientError, GraphUnreachableError)[len(box.requests) % 2]("the network failed")
        body = reply.body[: len(reply.body) // 2] if kind == "cut" else b"<html>" if kind == "html" else reply.body
        status = (reply.fault.status or 502) if kind == "html" and reply.fault else reply.status
        return Response(status, {name.lower(): value for name, value in reply.headers}, body)


class WorldMedia:
    """Follows links to the sandbox's files without a socket in between, by the rules that ship."""

    def __init__(self, world: World, crash: Crash) -> None:
        self._world = world
        self._crash = crash
        self.rules = MediaRules.of("http://127.0.0.1", MEDIA_HOSTS, 2**20, None)

    def fetch(self, link: str, mime_type: str, local: Path, watch: Watch) -> Fetched:
        dies = self._crash.around("file")
        self.rules.check_link(link)
        world, parts = self._world, urlsplit(link)
        assert world.box.media is not None
        reply = world.box.media.answer(parts.path, dict(parse_qsl(parts.query)), {}, int(world.now.timestamp()))
        if dies:
            raise Crashed
        kind = reply.trouble.kind if reply.trouble else ""
        if kind in ("stall", "trickle"):
            raise MediaError(Reason.SLOW, passing=True)
        if kind in ("short", "reset"):
            raise MediaError(Reason.NETWORK, passing=True)
        headers = {name.lower(): value for name, value in reply.headers}
        judge(reply.status, {**headers, "content-length": str(len(reply.body))})
        self.rules.check_size(HUGE if kind in ("huge", "endless") else len(reply.body))
        local.write_bytes(reply.body)
        watch.arrived = True
        kind = read_type(headers.get("content-type")) or mime_type
        return Fetched(hashlib.sha256(reply.body).hexdigest(), len(reply.body), kind)
