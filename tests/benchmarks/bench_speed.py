"""How fast an export is beside what one would take otherwise: a bare loop, Meta's own SDK, dlt.

Each peer (peers.py says what it does) runs in a process and an environment of its own, in turn with the others, five times; the
table has medians. What importing takes is not in it, but in the JSON file. The server (static_page.py) is a process of its own
that answers from memory; its share of the time is shown. No peer but ours retries, waits out limits, resumes, or keeps the pace
by itself: where a pace is asked for, the others sleep between their calls.

    python tests/benchmarks/bench_speed.py [RUNS] [--cases NAME …] [--peers NAME …] [--into FOLDER]

writes speed.json, and speed-light.svg and speed-dark.svg, into the folder (.bench).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDERS = ("inbox", "other", "page_done", "spam")
ENVIRONMENTS = HERE.parents[1] / ".bench"
PACKAGES = {
    "loop": ("requests",),
    "facebook-business": ("facebook-business",),
    "dlt": ("dlt[filesystem]",),
    "dlt parallel": ("dlt[filesystem]",),
}
PEERS = ("ours", *PACKAGES)
TITLES = {
    "ours": "this provider",
    "loop": "bare requests loop",
    "facebook-business": "facebook-business",
    "dlt": "dlt rest_api",
    "dlt parallel": "dlt rest_api, parallelize()",
}


@dataclass(frozen=True)
class Case:
    """A Page, and how far away it is.

    :param messages: inside each conversation; 0: conversations alone.
    :param latency: seconds until an answer.
    :param pace: calls a second; 0: as fast as it goes.
    :param least: how many times as fast as the loop an export has to be.
    """

    name: str
    conversations: int
    messages: int
    latency: float
    pace: float = 0.0
    least: float = 1.0

    @property
    def calls(self) -> int:
        """The least number of calls: all pages of all folders."""
        return -(-self.conversations // 100)

    @property
    def title(self) -> str:
        inside = f"{self.messages} messages each" if self.messages else "no messages"
        pace = f", {self.pace:g} calls/s" if self.pace else ""
        return f"{self.conversations:,} conversations, {inside}, {1000 * self.latency:.0f} ms{pace}"


# At a pace nobody is faster than their calls, and an export makes one more for each folder (its list's head, once more).
CASES = (
    Case("plain", 60_000, 0, 0.0, least=1.5),
    Case("messages", 8_000, 20, 0.0, least=2.0),
    Case("near", 20_000, 0, 0.05, least=3.8),
    Case("near-messages", 8_000, 20, 0.05),
    Case("far", 1_600, 0, 0.5),
    Case("far-messages", 1_600, 20, 0.5),
    Case("paced", 2_000, 0, 0.5, pace=2.0, least=0.8),
    Case("paced-messages", 2_000, 20, 0.5, pace=2.0, least=0.8),
)


def interpreter(peer: str) -> str:
    """The Python of a peer's environment, which is made if need be."""
    if peer == "ours":
        return sys.executable
    folder = ENVIRONMENTS / peer.split()[0]
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *PACKAGES[peer]], check=True)
        (folder / "ready").touch()
    return str(python)


def measure(peer: str, case: Case) -> dict[str, Any]:
    """Export once, from a fresh server into a fresh folder."""
    page = {"conversations": case.conversations, "messages": case.messages, "folders": 4, "latency": case.latency}
    server = subprocess.Popen(
        [sys.executable, HERE / "static_page.py", json.dumps(page)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin
    assert server.stdout
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        with tempfile.TemporaryDirectory() as into:
            task = {"url": url, "folders": FOLDERS, "messages": case.messages > 0, "pace": case.pace, "into": into}
            environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "AIRFLOW_HOME": into}
            done = subprocess.run(
                [interpreter(peer), HERE / "peers.py", peer, json.dumps(task)],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise SystemExit(f"{peer} failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        server.stdin.close()
        served = json.loads(server.stdout.read())
    finally:
        server.kill()
        server.wait()
    # dlt leaves messages where they came, inside their conversation.
    owed = case.conversations * (1 if peer.startswith("dlt") else 1 + case.messages)
    assert result["records"] == owed, f"{peer} brought {result['records']} records of {owed}"
    return {**result, "calls": served["calls"], "server_cpu": served["cpu"]}


def medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def run_case(case: Case, peers: list[str], runs: int) -> dict[str, Any]:
    """Measure all peers in turn; a ratio compares two runs that followed one another."""
    measured: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for _ in range(runs):
        for peer in peers:
            measured[peer].append(measure(peer, case))
    ratios = {
        peer: statistics.median(
            theirs["wall"] / ours["wall"] for theirs, ours in zip(measured[peer], measured["ours"], strict=True)
        )
        for peer in peers
    }
    return {
        "case": case.title,
        "least": case.least,
        "calls_least": case.calls,
        "peers": {peer: {**medians(measured[peer]), "times_ours": ratios[peer]} for peer in peers},
    }


def table(result: dict[str, Any]) -> str:
    """One case as rows."""
    lines = [result["case"]]
    for peer, one in result["peers"].items():
        lines.append(
            f"  {TITLES[peer]:28} {one['wall']:7.2f} s  {one['cpu']:6.2f} s CPU  {one['peak_mib']:4.0f} MiB  "
            f"{one['calls']:4.0f} calls  server {one['server_cpu']:4.2f} s  ours is {one['times_ours']:5.2f} x as fast"
        )
    return "\n".join(lines)


THEMES = {"light": ("#1f2328", "#0969da", "#8c959f"), "dark": ("#e6edf3", "#58a6ff", "#6e7681")}


def plot(results: list[dict[str, Any]], theme: str) -> str:
    """Bars of the time that each peer takes for each case, ours = 1, as SVG."""
    text, ours, theirs = THEMES[theme]
    rows, y = [], 28
    for result in results:
        rows.append(f'<text x="8" y="{y}" font-weight="600">{result["case"]}</text>')
        y += 8
        most = max(one["times_ours"] for one in result["peers"].values())
        for peer, one in result["peers"].items():
            width = 380 * one["times_ours"] / most
            colour = ours if peer == "ours" else theirs
            rows.append(f'<rect x="210" y="{y}" width="{width:.1f}" height="14" rx="2" fill="{colour}"/>')
            rows.append(f'<text x="202" y="{y + 11}" text-anchor="end">{TITLES[peer]}</text>')
            rows.append(f'<text x="{216 + width:.1f}" y="{y + 11}">{one["wall"]:.2f} s</text>')
            y += 19
        y += 26
    body = "\n".join(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{y - 16}" font-family="system-ui, sans-serif" '
        f'font-size="12" fill="{text}" role="img" aria-label="Seconds for an export, by tool and case">\n{body}\n</svg>\n'
    )


def main() -> int:
    """Measure; 1 if an export is slower than it has to be."""
    arguments = argparse.ArgumentParser(description="An export beside what one would take otherwise.")
    arguments.add_argument("runs", nargs="?", type=int, default=5)
    arguments.add_argument("--cases", nargs="*", default=[case.name for case in CASES])
    arguments.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    arguments.add_argument("--into", type=Path, default=ENVIRONMENTS)
    asked = arguments.parse_args()
    peers = list(dict.fromkeys(["ours", *asked.peers]))
    for peer in peers:
        interpreter(peer)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {asked.runs} runs",
        flush=True,
    )
    results = []
    for case in CASES:
        if case.name in asked.cases:
            results.append(run_case(case, peers, asked.runs))
            print(table(results[-1]), flush=True)
    asked.into.mkdir(parents=True, exist_ok=True)
    (asked.into / "speed.json").write_text(json.dumps(results, indent=1) + "\n")
    for theme in THEMES:
        (asked.into / f"speed-{theme}.svg").write_text(plot(results, theme))
    slow = [
        f"{result['case']}: {one['times_ours']:.2f} x {TITLES[peer]}"
        for result in results
        for peer, one in result["peers"].items()
        if peer != "ours" and one["times_ours"] < (result["least"] if peer == "loop" else 1.0)
    ]
    print("\n".join(["Below what was asked for:", *slow] if slow else ["All as fast as was asked for."]))
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
