"""How much `import airflow_provider_pageconv.operators` adds to what a DAG file has imported anyway.

Airflow imports the operators whenever it parses a DAG file that uses them, in a new process each time. Each measurement
is a fresh process under `-X importtime`; the first one, which may have to compile, does not count.

    python tests/benchmarks/bench_import.py [number of measurements]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass

BUDGET_MS = 10.0
PACKAGE = "airflow_provider_pageconv"
CODE = f"from airflow.sdk import BaseOperator; import {PACKAGE}.operators"


@dataclass(frozen=True)
class Measurement:
    """What one process said: milliseconds."""

    added: float
    modules: dict[str, float]  # each module that was loaded on our account, without those that it loaded in turn


def measure() -> Measurement:
    """Import in a fresh process and read what `-X importtime` says."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", CODE], stderr=subprocess.PIPE, text=True, check=True
    )
    added = 0.0
    modules: dict[str, float] = {}
    pending: dict[str, float] = {}
    for line in done.stderr.splitlines():
        if not line.startswith("import time:") or "cumulative" in line:
            continue
        own, cumulative, name = line.removeprefix("import time:").split("|")
        pending[name.strip()] = int(own) / 1000
        # What a module loads is listed before it and further to the right; at the left edge a whole tree is complete.
        if not name.startswith("  "):
            if name.strip().startswith(PACKAGE):
                added += int(cumulative) / 1000
                modules |= pending
            pending = {}
    return Measurement(added, modules)


def main(count: int) -> int:
    """Measure, print the table, and return 1 if the median is over the budget."""
    measure()
    measurements = sorted((measure() for _ in range(count)), key=lambda measurement: measurement.added)
    median = statistics.median(measurement.added for measurement in measurements)
    print(f"import {PACKAGE}.operators, added to `from airflow.sdk import BaseOperator`, {count} processes")
    print(f"  least   {measurements[0].added:7.1f} ms")
    print(f"  median  {median:7.1f} ms   (budget {BUDGET_MS:.0f} ms)")
    print(f"  most    {measurements[-1].added:7.1f} ms")
    middle = measurements[len(measurements) // 2].modules
    print(f"  the heaviest of {len(middle)} modules, without what they load in turn:")
    for name, own in sorted(middle.items(), key=lambda item: -item[1])[:10]:
        print(f"  {own:7.1f} ms  {name}")
    return int(median > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9))
