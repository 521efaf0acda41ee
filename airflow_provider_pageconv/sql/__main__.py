"""Prints the views: `python -m airflow_provider_pageconv.sql ROOT`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_pageconv.sql import views

_USAGE = (
    "python -m airflow_provider_pageconv.sql takes one argument, the root of the data set, such as /data/pages or "
    "s3://bucket/pages, and prints the SQL of its views for DuckDB."
)


def main(arguments: Sequence[str]) -> int:
    """Print the SQL for a root, or one sentence that says what is wrong."""
    if list(arguments) in (["-h"], ["--help"]):
        sys.stdout.write(f"{_USAGE}\n")
        return 0
    try:
        [root] = arguments
    except ValueError:
        sys.stderr.write(f"{_USAGE}\n")
        return 2
    try:
        text = views(root)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    path = Path(root.removeprefix("file://"))
    if "://" not in root.removeprefix("file://") and not any(path.glob("_manifests/**/*.json")):
        sys.stderr.write(f"No manifest lies below {path}: nothing is published there yet, or another root is meant.\n")
    # DuckDB reads UTF-8, whatever the terminal does.
    sys.stdout.buffer.write(text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
