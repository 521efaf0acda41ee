"""What becomes of an export where the API is in trouble, beside what one would take otherwise: docs/comparison.md has the table.

The peers are those of bench_speed.py, each a process of its own; the sandbox answers, and one thing goes wrong once. What lies there
in the end is compared with what is on the Page. Who ends with an error is run once more, as Airflow would.

    python tests/benchmarks/bench_trouble.py [--peers NAME …]

prints the table. It ends with 1 where an export is not complete.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_provider_pageconv.sandbox import FOLDERS, Fault, Life, Sandbox
from tests.benchmarks.bench_speed import HERE, TITLES, interpreter
from tests.benchmarks.peers import PAGE_ID, PEERS, TOKEN

CONVERSATIONS = 900
NAMES = tuple(name for name in PEERS if name != "dlt parallel")


def _strikes(**what: Any) -> Callable[[Sandbox], None]:
    """Order a fault that strikes the inbox once, beyond its first page."""
    return lambda box: box.faults.add(Fault(on="conversations", folder="inbox", pages="later", times=1, **what))


def _jumps(box: Sandbox) -> None:
    """Order that a thread of the inbox's sixth page gets a message while the first ones are read."""
    inbox = [thread["node"]["id"] for thread in box.data()["threads"] if thread["folder"] == "inbox"]
    box.life.add(Life(event="message", thread=inbox[550], at=6))


TROUBLE: dict[str, Callable[[Sandbox], None]] = {
    "a page without rows that has a next one": _strikes(kind="empty"),
    "a cursor that comes again": _strikes(kind="loop"),
    "a thread that gets a message while the list is walked": _jumps,
    "a server error (502)": _strikes(kind="html"),
    "a connection that is reset": _strikes(kind="reset"),
    "a cursor that dies": _strikes(kind="dead_cursor"),
    "a limit (613, with status 400)": _strikes(code=613),
}


def outcome(peer: str, trouble: Callable[[Sandbox], None]) -> str:
    """Export once, and once more after an error, and say what came of it, in the words of the table."""
    with (
        Sandbox(conversations=CONVERSATIONS, page_id=PAGE_ID, token=TOKEN) as box,
        tempfile.TemporaryDirectory() as name,
    ):
        owed = {thread["node"]["id"] for thread in box.data()["threads"]}
        trouble(box)
        task = {"url": box.url, "folders": FOLDERS, "messages": False, "pace": 0, "into": name, "own_session": True}
        if _run(peer, task) == 0:
            return _compared(_ids(Path(name)), owed)
        box.faults.clear()
        before = len(box.requests)
        again = _run(peer, task)
        anew = len(box.requests) - before >= sum(-(-count // 100) for count in _sizes(box).values())
        said = "begins anew" if anew else "goes on"
        return f"ends with an error; the next try {said}" + (" and fails" if again else "")


def _sizes(box: Sandbox) -> Counter[str]:
    return Counter(thread["folder"] for thread in box.data()["threads"])


def _run(peer: str, task: dict[str, Any]) -> int:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "AIRFLOW_HOME": f"{task['into']}/airflow"}
    command = [interpreter(peer), HERE / "peers.py", peer, json.dumps(task)]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300).returncode


def _ids(folder: Path) -> Counter[str]:
    """How often each conversation lies there, whatever the peer calls its files; dlt's own folder has copies of all."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*.jsonl*"):
        name = path.relative_to(folder).as_posix()
        if "conversations" in name and not name.startswith("bench/"):
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
                found.update(json.loads(line)["id"] for line in lines)
    return found


def _compared(found: Counter[str], owed: set[str]) -> str:
    missing, doubled = len(owed - set(found)), found.total() - len(found)
    counts = [f"{missing} missing"] * (missing > 0) + [f"{doubled} twice"] * (doubled > 0)
    return f"{', '.join(counts)}, no error" if counts else "complete"


def main() -> int:
    """Try all; 1 if an export of ours is not complete."""
    arguments = argparse.ArgumentParser(description="What becomes of an export where the API is in trouble.")
    arguments.add_argument("--peers", nargs="*", default=list(NAMES), choices=NAMES)
    asked = arguments.parse_args()
    print("| " + " | ".join(["", *(TITLES[peer] for peer in asked.peers)]) + " |")
    print("|---" * (len(asked.peers) + 1) + "|")
    good = True
    for title, trouble in TROUBLE.items():
        row = {peer: outcome(peer, trouble) for peer in asked.peers}
        good &= row.get("ours", "complete") == "complete"
        print("| " + " | ".join([title, *row.values()]) + " |", flush=True)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
