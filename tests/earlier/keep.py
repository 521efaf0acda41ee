"""Keeps what this version writes, for the tests of every later one: a data set, and an export that was stopped half-way.

    python -m tests.earlier.keep

makes `tests/earlier/<version>/`: `published/`, a dump and a day of one Page, and the dump in Parquet as well; `halfway/`, a dump that a limit stopped:
some folders are published, the rest is in the staging area; `page.json`, what the Page held. Made once for each release, and never again.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

from airflow_provider_pageconv import __version__
from airflow_provider_pageconv.dump.endings import LetGo
from airflow_provider_pageconv.dump.export import FoldersFailed
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import DAY, FOLDERS, NOW, exporting, simulated, store_of
from tests.servers.destinations import local

HERE = Path(__file__).parent
WINDOW = (NOW - DAY, NOW)
DUMP = (None, None)


def page() -> Sandbox:
    """The Page that is kept: some threads that are longer than what the API gives details of."""
    return Sandbox(seed=41, conversations=60, messages=60, long_every=9, short_messages=3, span=3 * DAY, now=NOW)


def publish(box: Sandbox, into: Path) -> None:
    """Export the Page's last day, and, into data sets of their own, all of it, in either format."""
    parquet = {"file_format": "parquet", "compression": "zstd"}
    for name, (window, how) in {"day": (WINDOW, {}), "all": (DUMP, {}), "all-parquet": (DUMP, parquet)}.items():
        (into / name).mkdir(parents=True)
        since, until = window
        simulated(exporting(box, store_of(local(into / name)), FOLDERS, since=since, until=until, **how), box)


def stop_half_way(box: Sandbox, into: Path) -> None:
    """Leave a dump that was stopped by a limit: some folders are published, the others have a checkpoint."""
    into.mkdir(parents=True)
    box.faults.add(Fault(code=4, on="messages", at=3))
    with suppress(LetGo, FoldersFailed):
        simulated(exporting(box, store_of(local(into)), FOLDERS, run="half"), box)
        raise AssertionError("it was not stopped")


def main() -> None:
    """Make the folder of this version."""
    folder = HERE / __version__
    shutil.rmtree(folder, ignore_errors=True)
    with page() as box:
        publish(box, folder / "published")
    with page() as box:
        stop_half_way(box, folder / "halfway")
        (folder / "page.json").write_text(json.dumps(box.data(), ensure_ascii=True, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
