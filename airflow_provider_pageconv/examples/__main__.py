"""Lists the example DAGs, or writes them into a folder: `python -m airflow_provider_pageconv.examples [FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_pageconv.examples import ExamplesError, sources, title, write

_USAGE = (
    "python -m airflow_provider_pageconv.examples takes the folder into which it writes the example DAGs, and overwrites nothing; "
    "without one it lists them."
)


def main(arguments: Sequence[str]) -> int:
    """Do what is asked, or say in one sentence why not."""
    if list(arguments) in (["-h"], ["--help"]):
        sys.stdout.write(f"{_USAGE}\n")
        return 0
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments) or "" in arguments:
        sys.stderr.write(f"{_USAGE}\n")
        return 2
    try:
        if not arguments:
            sys.stdout.writelines(f"{source.name:<26} {title(source)}\n" for source in sources())
            return 0
        written = write(Path(arguments[0]))
    except ExamplesError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.writelines(f"{path}\n" for path in written)
    if not written:
        sys.stdout.write(f"All of them are in {arguments[0]} already.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
