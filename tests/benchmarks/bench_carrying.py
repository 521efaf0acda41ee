"""What carrying over costs: memory that stays flat, time, and scratch on the worker's disk.

A made-up predecessor of so many messages, of which the new export has every tenth; nothing is asked of any server. Each size
runs in a process of its own.

    python tests/benchmarks/bench_carrying.py [messages …]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

SIZES = (100_000, 1_000_000)
PART = 50_000
PER_THREAD = 20


def record(number: int) -> dict[str, Any]:
    """A message as a day's export has it."""
    return {
        "id": f"m_{number:012d}",
        "created_time": "2026-11-20T10:00:00+0000",
        "from": {"id": "1", "name": "A"},
        "message": "Hello " * 6,
        "_conversation_id": f"t_{number // PER_THREAD}",
        "_unavailable": False,
        "_carried": False,
    }


def parts(store: Any, prefix: str, folder: Path, numbers: Iterator[int]) -> list[tuple[str, Any]]:
    """Write messages into parts, and put them."""
    from airflow_provider_pageconv.dump.formats import PartWriter

    made = []
    number = next(numbers, None)
    while number is not None:
        writer = PartWriter(folder / f"part-{len(made)}", "messages", "gzip")
        while number is not None and writer.records < PART:
            writer.write(record(number))
            number = next(numbers, None)
        part, key = writer.close(), f"{prefix}/{len(made)}"
        store.put(writer.path, key)
        writer.path.unlink()
        made.append((key, part))
    return made


def carry(messages: int) -> Mapping[str, float]:
    """Carry over from a predecessor of that size; what it took."""
    import fsspec

    from airflow_provider_pageconv.dump.carrying import Carrier, Listed
    from airflow_provider_pageconv.dump.checkpoint import StagedPart
    from airflow_provider_pageconv.dump.opening import open_store
    from airflow_provider_pageconv.dump.spec import Spec
    from airflow_provider_pageconv.dump.window import Window

    with tempfile.TemporaryDirectory() as top:
        root, scratch = Path(top) / "data", Path(top) / "scratch"
        scratch.mkdir()
        store = open_store(fsspec.filesystem("file"), str(root))
        files = [
            {"path": key, **asdict(part)} for key, part in parts(store, "messages", scratch, iter(range(messages)))
        ]
        new = [StagedPart(key, part) for key, part in parts(store, "_staging/x", scratch, iter(range(0, messages, 10)))]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        carrier = Carrier(Spec("messenger", "1", Window(), {}), store, "_staging/x", scratch, new, Listed())
        most = 0
        carry_file = carrier._carry_file

        def watching(*arguments: Any) -> Any:
            nonlocal most
            most = max(most, sum(path.stat().st_size for path in scratch.glob("known-*")))
            return carry_file(*arguments)

        carrier._carry_file = watching  # type: ignore[method-assign]
        begun = time.monotonic()
        carried = carrier.settle({"export_id": "p", "files": files}, [])
        seconds = time.monotonic() - begun
        assert carried.messages == messages - len(range(0, messages, 10))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak_mib": peak / 1024, "more_mib": (peak - before) / 1024, "scratch": most / messages}


def main(sizes: list[int]) -> int:
    """Print what each size took."""
    print(" messages   seconds  messages/s  peak MiB  of it for carrying  bytes of scratch a message")
    for size in sizes:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), "--one", str(size)],
            capture_output=True,
            text=True,
            check=True,
        )
        row = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{size:>9,}  {row['seconds']:8.1f}  {size / row['seconds']:10,.0f}  {row['peak_mib']:8.1f}  "
            f"{row['more_mib']:18.1f}  {row['scratch']:26.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(carry(int(sys.argv[2]))))
    else:
        sys.exit(main([int(one) for one in sys.argv[1:]] or list(SIZES)))
