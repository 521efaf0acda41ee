"""What Parquet costs beside JSON Lines when a million messages are exported, and what it saves when they are queried.

Asked: an export into Parquet is at least half as fast as one into JSON Lines, and a query on it at least five times as fast.

The exports take turns, each in a process of its own, by the worker threads that ship and without HTTP: the bytes of the answers
are made up where the client would call. The queries go by the manifests' files with DuckDB, on one core.

    python tests/benchmarks/bench_formats.py [rounds]
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

CONVERSATIONS, PER_THREAD, PAGE = 200_000, 5, 100
ROUNDS = 3
FORMATS = {"jsonl": "gzip", "parquet": "zstd"}
HALF, FIVE_TIMES = 0.5, 5.0

QUERIES = {
    "messages by day and folder": "SELECT _folder, CAST({time} AS DATE), count(*) FROM {messages} GROUP BY ALL",
    "senders by hour": 'SELECT hour({time}), count(DISTINCT "from".id) FROM {messages} GROUP BY ALL',
    "texts with a word": "SELECT count(*) FROM {messages} WHERE message LIKE '%0777%'",
}
ON_THE_VIEW = "SELECT CAST(created_time AS DATE), count(*) FROM messages GROUP BY ALL"


def page() -> bytes:
    """A page of threads; the number of the page stands where NNNNNN does."""

    def message(thread: str, number: int) -> dict[str, Any]:
        person = {"name": f"Person {thread}", "email": f"{thread}@facebook.com", "id": f"9{thread}"}
        shop = {"name": "The shop", "email": "100200300@facebook.com", "id": "100200300"}
        whose = (person, shop) if number % 2 else (shop, person)
        return {
            "id": f"m_{thread}aBcDeFgHiJkLmNoPqRsTuVwXyZ-_{number}",
            "created_time": f"2026-11-{1 + number:02d}T{int(thread[-2:]) % 24:02d}:00:00+0000",
            "from": whose[0],
            "to": {"data": [whose[1]]},
            "message": f"Is order {thread}{number} on its way? " + "It was to be here by now. " * (number % 4),
            "tags": {"data": [{"name": "inbox"}, {"name": "read"}, {"name": "source:chat"}]},
        }

    def thread(number: int) -> dict[str, Any]:
        name = f"NNNNNN{number:02d}"
        return {
            "id": f"t_{name}",
            "updated_time": "2026-11-20T10:00:00+0000",
            "message_count": PER_THREAD,
            "participants": {"data": [{"id": f"9{name}", "name": f"Person {name}"}]},
            "messages": {"data": [message(name, one) for one in reversed(range(PER_THREAD))]},
        }

    rows = [thread(number) for number in range(PAGE)]
    return json.dumps({"data": rows, "paging": {"cursors": {"after": "NNNNNN"}}}, separators=(",", ":")).encode()


def export(file_format: str, root: str) -> dict[str, float]:
    """Export in a format; what it took."""
    import fsspec

    from airflow_provider_pageconv.dump.export import Export
    from airflow_provider_pageconv.dump.opening import open_store
    from airflow_provider_pageconv.dump.spec import Spec
    from airflow_provider_pageconv.dump.window import Window
    from airflow_provider_pageconv.graph.client import GraphClient
    from airflow_provider_pageconv.graph.limits import Policy
    from airflow_provider_pageconv.graph.protocol import Credentials, Request, Response

    made, pages = page(), CONVERSATIONS // PAGE

    class CannedClient(GraphClient):
        """The client that ships, but for the network."""

        def exchange(self, request: Request, abandoned: threading.Event) -> Response:
            number = int(request.after or 0)
            body = made.replace(b'"after":"NNNNNN"}}', b'"after":"%d"}%s}')
            more = b',"next":"https://graph.facebook.com/"' if number + 1 < pages else b""
            return Response(200, {}, body.replace(b"NNNNNN", b"%06d" % number) % (number + 1, more))

    run_key = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "clear_number": 0}
    store = open_store(fsspec.filesystem("file"), root)
    how = {"file_format": file_format, "compression": FORMATS[file_format]}
    spec = Spec(platform="messenger", page_id="1", window=Window(), run_key=run_key, **how)
    client = CannedClient("http://127.0.0.1", Credentials("token"), version="v26.0", calls_per_second=0)
    if file_format == "parquet":
        import pyarrow.json
        import pyarrow.parquet  # noqa: F401 - loading it is no part of the speed
    began = time.perf_counter()
    [outcome] = Export(spec, ["inbox"], client, store, Policy()).run()
    seconds = time.perf_counter() - began
    assert outcome.manifest["messages"] == CONVERSATIONS * PER_THREAD
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(file["bytes"] for file in outcome.manifest["files"])
    return {"seconds": seconds, "peak_mib": peak, "mb": size / 1e6}


def best(database: Any, query: str) -> float:
    """The least of three times that a query takes, in seconds."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        database.execute(query).fetchall()
        times.append(time.perf_counter() - began)
    return min(times)


def ask(roots: dict[str, str]) -> bool:
    """Print how long the queries take on both; whether those on the files are as much faster as is asked."""
    import duckdb

    from airflow_provider_pageconv.sql import views

    took: dict[str, dict[str, float]] = {}
    for file_format, root in roots.items():
        database = duckdb.connect()
        database.execute("SET threads = 1")
        database.execute(views(root))
        manifests = [json.loads(path.read_text()) for path in Path(root, "_manifests").rglob("*.json")]
        files = [f"{root}/{file['path']}" for one in manifests for file in one["files"] if file["stream"] == "messages"]
        reader = "read_parquet" if file_format == "parquet" else "read_json"
        names = {
            "messages": f"{reader}({files}, hive_partitioning = false)",
            "time": "created_time" if file_format == "parquet" else "CAST(created_time AS TIMESTAMPTZ)",
        }
        took[file_format] = {name: best(database, query.format(**names)) for name, query in QUERIES.items()}
        took[file_format]["on the view"] = best(database, ON_THE_VIEW)
    ratios = {name: took["jsonl"][name] / took["parquet"][name] for name in took["jsonl"]}
    for name, ratio in ratios.items():
        print(
            f"{name}: {took['jsonl'][name]:.2f} s and {took['parquet'][name]:.2f} s, {ratio:.1f} times as fast",
            flush=True,
        )
    return min(ratios[name] for name in QUERIES) >= FIVE_TIMES


def main(rounds: int) -> int:
    """Measure both."""
    speeds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            took, roots = {}, {}
            for file_format in FORMATS:
                root = roots[file_format] = f"{folder}/{file_format}-{number}"
                command = [sys.executable, str(Path(__file__).resolve()), file_format, root]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                took[file_format] = json.loads(done.stdout.splitlines()[-1])
            lines, columns = took["jsonl"], took["parquet"]
            speeds.append(lines["seconds"] / columns["seconds"])
            print(
                f"{CONVERSATIONS * PER_THREAD:,} messages: JSON Lines {lines['seconds']:.1f} s, {lines['mb']:.0f} MB, "
                f"{lines['peak_mib']:.0f} MiB of memory; Parquet {columns['seconds']:.1f} s, {columns['mb']:.0f} MB, "
                f"{columns['peak_mib']:.0f} MiB; {speeds[-1]:.2f} of the speed",
                flush=True,
            )
        speed = statistics.median(speeds)
        print(f"Parquet at {speed:.2f} of the speed of JSON Lines, at least {HALF} is good")
        is_faster = ask(roots)
    print(f"at least {FIVE_TIMES:.0f} times as fast on the files is good")
    return 0 if is_faster and speed >= HALF else 1


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in FORMATS:
        threading.stack_size(256 * 1024)
        print(json.dumps(export(*sys.argv[1:])))
    else:
        sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS))
