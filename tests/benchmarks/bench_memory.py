"""How much memory an export takes as its folder grows.

Promised: at most 32 bytes for each conversation; measured here: at most 24 MiB more for a million threads than for 10,000.

Parquet holds a row group of each stream in memory: that is part of the floor, and its growth is measured as well.

Each size is exported in a process of its own, by the worker threads that ship and without HTTP: the bytes of the answers are made
up where the client would call.
"""

from __future__ import annotations

import json
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
PAGE = 100


class Canned:
    """A folder of some conversations with two messages each, newest first, made up page by page."""

    def __init__(self, conversations: int) -> None:
        self._conversations = conversations
        self._newest = datetime(2026, 11, 1, tzinfo=timezone.utc)

    def page(self, first: int) -> bytes:
        """The body of the page that begins with a row."""
        rows = [self._thread(number) for number in range(first, min(first + PAGE, self._conversations))]
        paging = {"cursors": {"after": str(first + PAGE)}, "next": "https://graph.facebook.com/"}
        return json.dumps({"data": rows, "paging": paging if first + PAGE < self._conversations else {}}).encode()

    def _thread(self, number: int) -> dict[str, Any]:
        time = (self._newest - timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S+0000")
        messages = [
            {
                "id": f"m_{number}_{which}",
                "created_time": time,
                "from": {"id": "1", "name": "A"},
                "message": "Hello " * 8,
            }
            for which in range(2)
        ]
        participants = {"data": [{"id": str(number), "name": f"Person {number}"}]}
        return {
            "id": f"t_{number}",
            "updated_time": time,
            "message_count": 2,
            "participants": participants,
            "messages": {"data": messages},
        }


def export(conversations: int, file_format: str) -> dict[str, float]:
    """Export a folder of that size in a format; return what was exported and the peak of resident memory in MiB."""
    import fsspec

    from airflow_provider_pageconv.dump.export import Export
    from airflow_provider_pageconv.dump.opening import open_store
    from airflow_provider_pageconv.dump.spec import Spec
    from airflow_provider_pageconv.dump.window import Window
    from airflow_provider_pageconv.graph.client import GraphClient
    from airflow_provider_pageconv.graph.limits import Policy
    from airflow_provider_pageconv.graph.protocol import Credentials, Request, Response

    canned = Canned(conversations)

    class CannedClient(GraphClient):
        """The client that ships, but for the network."""

        def exchange(self, request: Request, abandoned: threading.Event) -> Response:
            return Response(200, {}, canned.page(int(request.after or 0)))

    run_key = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "clear_number": 0}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(fsspec.filesystem("file"), folder)
        how = {"file_format": file_format, "compression": COMPRESSION[file_format]}
        spec = Spec(platform="messenger", page_id="1", window=Window(), run_key=run_key, **how)
        client = CannedClient("http://127.0.0.1", Credentials("token"), version="v26.0", calls_per_second=0)
        [outcome] = Export(spec, ["inbox"], client, store, Policy()).run()
    manifest = outcome.manifest
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "conversations": manifest["conversations"],
        "messages": manifest["messages"],
        "peak_mib": peak,
        "seconds": time.monotonic() - began,
    }


def measure(file_format: str) -> bool:
    """Print the peaks of a format and what lies between them; whether that is good."""
    sizes, peaks = SIZES[file_format], []
    for size in sizes:
        command = [sys.executable, str(Path(__file__).resolve()), str(size), file_format]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["conversations"] == size
        peaks.append(result["peak_mib"])
        print(
            f"{file_format:>8}: {size:>9,} conversations, {result['messages']:>9,} messages: {result['peak_mib']:6.1f} MiB at the "
            f"peak ({result['seconds']:.0f} s)",
            flush=True,
        )
    growth = peaks[-1] - peaks[0]
    per_thread = growth * 1024 * 1024 / (sizes[-1] - sizes[0])
    print(
        f"{growth:.1f} MiB more, {per_thread:.1f} bytes for each conversation; at most {PROMISED_MIB:.0f} MiB and "
        f"{PROMISED_BYTES:.0f} bytes are good"
    )
    return growth <= PROMISED_MIB and per_thread <= PROMISED_BYTES


def main(formats: list[str]) -> int:
    """Measure some formats, all if none is named."""
    bad = [one for one in formats or SIZES if not measure(one)]
    return len(bad)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].isdigit():
        threading.stack_size(256 * 1024)
        print(json.dumps(export(int(sys.argv[1]), sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1:]))
