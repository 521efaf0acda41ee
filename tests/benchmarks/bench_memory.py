"""How much memory an export takes as its folder grows.

Promised: at most 32 bytes for each conversation; measured here: at most 24 MiB more for a million threads than for 10,000.

Parquet holds a row group of each stream in memory: that is part of the floor, and its growth is measured as well. So it is with
files of attachments, each of which a manifest names: one export fetches a file for each message, and a second one replaces it.

Each size is exported in a process of its own, by the worker threads that ship and without HTTP: the bytes of the answers are made
up where the client would call.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

SIZES = {"jsonl": (10_000, 1_000_000), "parquet": (40_000, 300_000)}  # less does not fill row groups
COMPRESSION = {"jsonl": "gzip", "parquet": "zstd"}
PROMISED_MIB = 24.0
PROMISED_BYTES = 32.0
UNUSED_MIB = 2.0
"""What the allocator keeps differs by as much from run to run; the paths alone of the larger size's files take four times that."""

FILES = "files"
FILE_SIZES = (15_000, 45_000)
"""Conversations, with two files each."""

PAGE = 100


class Canned:
    """A folder of some conversations with two messages each, newest first, made up page by page."""

    def __init__(self, conversations: int, *, files: bool) -> None:
        self._conversations = conversations
        self._files = files
        self._newest = datetime(2026, 11, 1, tzinfo=timezone.utc)

    def page(self, first: int) -> bytes:
        """The body of the page that begins with a row."""
        rows = [self._thread(number) for number in range(first, min(first + PAGE, self._conversations))]
        paging = {"cursors": {"after": str(first + PAGE)}, "next": "https://graph.facebook.com/"}
        return json.dumps({"data": rows, "paging": paging if first + PAGE < self._conversations else {}}).encode()

    def _thread(self, number: int) -> dict[str, Any]:
        time = (self._newest - timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S+0000")
        messages: list[dict[str, Any]] = [
            {
                "id": f"m_{number}_{which}",
                "created_time": time,
                "from": {"id": "1", "name": "A"},
                "message": "Hello " * 8,
            }
            for which in range(2)
        ]
        for message in messages if self._files else ():
            link = f"https://scontent.fbcdn.net/{message['id']}.jpg"
            message["attachments"] = {"data": [{"id": "1", "mime_type": "image/jpeg", "image_data": {"url": link}}]}
        participants = {"data": [{"id": str(number), "name": f"Person {number}"}]}
        return {
            "id": f"t_{number}",
            "updated_time": time,
            "message_count": 2,
            "participants": participants,
            "messages": {"data": messages},
        }


class CannedFiles:
    """Files that hold their own address, without HTTP."""

    def __init__(self) -> None:
        from airflow_provider_pageconv.graph.media import MEDIA_HOSTS, MediaRules

        self.rules = MediaRules.of("https://graph.facebook.com", MEDIA_HOSTS, 2**20, None)

    def fetch(self, link: str, mime_type: str, local: Path, watch: Any) -> Any:
        from airflow_provider_pageconv.graph.media_client import Fetched

        content = link.encode()
        local.write_bytes(content)
        return Fetched(hashlib.sha256(content).hexdigest(), len(content), mime_type)


def export(conversations: int, kind: str) -> dict[str, float]:
    """Export a folder of that size in a format, or twice with files; return what was exported and the peak of resident memory in
    MiB.
    """
    import fsspec

    from airflow_provider_pageconv.dump.export import Export
    from airflow_provider_pageconv.dump.opening import open_store
    from airflow_provider_pageconv.dump.spec import Spec
    from airflow_provider_pageconv.dump.window import Window
    from airflow_provider_pageconv.graph.client import GraphClient
    from airflow_provider_pageconv.graph.limits import Policy
    from airflow_provider_pageconv.graph.protocol import Credentials, Request, Response

    files = kind == FILES
    canned = Canned(conversations, files=files)
    if files:
        fill_the_floor()

    class CannedClient(GraphClient):
        """The client that ships, but for the network."""

        def exchange(self, request: Request, abandoned: threading.Event) -> Response:
            return Response(200, {}, canned.page(int(request.after or 0)))

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(fsspec.filesystem("file"), folder)
        how: dict[str, Any] = {"download_attachments": True} if files else {"file_format": kind}
        for run in range(1 + files):
            run_key = {"dag_id": "d", "run_id": f"r{run}", "task_id": "t", "map_index": -1, "clear_number": 0}
            how["compression"] = COMPRESSION.get(kind, "gzip")
            spec = Spec(platform="messenger", page_id="1", window=Window(), run_key=run_key, **how)
            client = CannedClient("http://127.0.0.1", Credentials("token"), version="v26.0", calls_per_second=0)
            [outcome] = Export(spec, ["inbox"], client, store, Policy(), media=CannedFiles()).run()
        # Before the folder goes: to remove it takes a list of its files.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    manifest = outcome.manifest
    return {
        "conversations": manifest["conversations"],
        "messages": manifest["messages"],
        "files": manifest["media_files"],
        "peak_mib": peak,
        "seconds": time.monotonic() - began,
    }


def fill_the_floor() -> None:
    """Let little of the databases on the worker's disk lie in memory, so that it is full at every size; and the disk not be waited
    for.
    """
    from airflow_provider_pageconv.dump import attaching, carrying, downloads, file_table, scratch, store

    def database(path: Path, tables: str, *, cache_kib: int) -> Any:
        return scratch.database(path, tables, cache_kib=200)

    for module in (attaching, carrying, downloads):
        module.database = database
    carrying._BATCH = 1_000
    file_table._TABLE = file_table._TABLE.replace("cache_size = -1000", "cache_size = -200")
    store._sync = lambda _: None


def peaks_of(kind: str, sizes: tuple[int, int]) -> list[dict[str, float]]:
    """Export folders of some sizes, each in a process of its own, and say how that went."""
    found = []
    for size in sizes:
        command = [sys.executable, str(Path(__file__).resolve()), str(size), kind]
        # One pool of memory for all threads: how much lies unused in a dozen, for there are many threads, is chance.
        pools = {"MALLOC_ARENA_MAX": "1"} if kind == FILES else {}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **pools})
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["conversations"] == size
        found.append(result)
        what = f"{result['files']:>9,} files" if kind == FILES else f"{result['messages']:>9,} messages"
        print(
            f"{kind:>8}: {size:>9,} conversations, {what}: {result['peak_mib']:6.1f} MiB at the peak "
            f"({result['seconds']:.0f} s)",
            flush=True,
        )
    return found


def measure(file_format: str) -> bool:
    """Print the peaks of a format and what lies between them; whether that is good."""
    sizes = SIZES[file_format]
    small, large = peaks_of(file_format, sizes)
    growth = large["peak_mib"] - small["peak_mib"]
    per_thread = growth * 1024 * 1024 / (sizes[-1] - sizes[0])
    print(
        f"{growth:.1f} MiB more, {per_thread:.1f} bytes for each conversation; at most {PROMISED_MIB:.0f} MiB and "
        f"{PROMISED_BYTES:.0f} bytes are good"
    )
    return growth <= PROMISED_MIB and per_thread <= PROMISED_BYTES


def measure_files() -> bool:
    """Print what files cost, one export that fetches them and one that replaces it; whether that is as it is told."""
    small, large = peaks_of(FILES, FILE_SIZES)
    growth = large["peak_mib"] - small["peak_mib"]
    promised = PROMISED_BYTES / 1024 / 1024 * (large["conversations"] - small["conversations"])
    print(
        f"{growth:.1f} MiB more; {promised:.1f} MiB for the conversations and {UNUSED_MIB:.1f} MiB that lie unused are good"
    )
    return growth <= promised + UNUSED_MIB


def main(kinds: list[str]) -> int:
    """Measure some formats, or files; all if none is named."""
    bad = [one for one in kinds or [*SIZES, FILES] if not (measure_files() if one == FILES else measure(one))]
    return len(bad)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].isdigit():
        threading.stack_size(256 * 1024)
        print(json.dumps(export(int(sys.argv[1]), sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1:]))
