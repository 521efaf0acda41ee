"""On which Airflow, which Python and with which libraries the wheel is tried: each at least once, not their product.

`python -m tests.versions.rows 3.2.2` prints the day of a release, by which `make AIRFLOW=3.2.2` installs it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

DAYS = {
    "3.0.6": "2025-08-30",
    "3.1.0": "2025-09-26",
    "3.1.8": "2026-03-12",
    "3.2.0": "2026-04-08",
    "3.2.2": "2026-05-30",
    "3.3.0": "2026-07-07",
    "3.3.2": "2026-09-18",
}
"""The day after each release was put on PyPI.

What resolves with nothing newer is what Airflow's own constraints of that release hold, as those are made: the highest of
everything on that day (their headers say so; https://github.com/apache/airflow/tree/constraints-3.0.6). Managed services
such as MWAA install by them.
"""

FAB = "apache-airflow-providers-fab"
OF_ITS_DAY, OURS_NEWEST, NEWEST, LEAST = "of its day", "ours newest", "newest", "least"


@dataclass(frozen=True)
class Row:
    """One environment.

    :param libraries: ``of its day``: as the release's own constraints have them; ``newest``: what resolves today, which old
        releases of Airflow do not survive; ``ours newest``, ``least``: of what our ``pyproject.toml`` names the newest that resolves,
        or the oldest that it allows, and of everything else what was there on that day.
    :param extra: one of our extras, installed as well.
    :param beside: a provider that a managed service brings along.
    """

    airflow: str
    python: str
    libraries: str
    extra: str | None = None
    beside: str | None = None

    @property
    def name(self) -> str:
        """For a folder."""
        words = (self.airflow, self.python, self.libraries.replace(" ", "-"), self.extra or "")
        return "_".join(filter(None, words))


ROWS = (
    Row("3.0.6", "3.10", LEAST),
    Row("3.0.6", "3.12", OF_ITS_DAY, beside=FAB),
    Row("3.0.6", "3.11", OURS_NEWEST),
    Row("3.1.0", "3.10", OF_ITS_DAY),
    Row("3.1.8", "3.12", OF_ITS_DAY, beside=FAB),
    Row("3.1.8", "3.13", OURS_NEWEST),
    Row("3.2.0", "3.11", OF_ITS_DAY),
    Row("3.2.2", "3.13", OF_ITS_DAY),
    Row("3.3.0", "3.12", OF_ITS_DAY),
    Row("3.3.2", "3.10", OF_ITS_DAY),
    Row("3.3.2", "3.13", NEWEST),
    Row("3.3.2", "3.14", NEWEST),
)

EXTRAS = tuple(
    Row(airflow, python, libraries, extra)
    for extra in ("s3", "gcs", "azure", "parquet")
    for airflow, python, libraries in (("3.0.6", "3.12", LEAST), ("3.3.2", "3.12", NEWEST))
)
"""Rows in which an extra is installed, its file system made, and nothing else is tried."""

IN_CI = (Row("3.0.6", "3.11", LEAST), Row("3.3.2", "3.11", NEWEST))
"""The oldest and the newest, with the Python that runs the tests."""


def main(release: str) -> int:
    """Print its day, or say that we know none."""
    if release not in DAYS:
        print(
            f"AIRFLOW is one of {', '.join(DAYS)}, not {release}: tests/versions/rows.py knows their days.",
            file=sys.stderr,
        )
        return 2
    print(DAYS[release])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
