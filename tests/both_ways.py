"""The fast way and the plain way beside one another: a page of a list is taken by both, and nothing may differ."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump.fast import FastReader
from airflow_provider_pageconv.dump.idset import IdSet
from airflow_provider_pageconv.dump.output import Output
from airflow_provider_pageconv.dump.packing import Packing
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.publishing import list_query
from airflow_provider_pageconv.dump.readers import Moments, Readers
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.threads import Scope
from airflow_provider_pageconv.graph.edges import read_page

FETCHED_AT = "2026-11-21T12:00:00.000Z"


class Kept(Output):
    """Keeps the lines in place of writing them."""

    def __init__(self, spec: Spec, progress: Progress) -> None:
        marks = {"_page_id": spec.page_id, "_platform": spec.platform, "_folder": "inbox"}
        super().__init__(
            progress,
            scratch=Path(tempfile.gettempdir()),
            packing=Packing(),
            marks=marks,
            file_format="jsonl",
            compression="none",
            max_part_records=spec.max_part_records,
            asks_for_details=True,
        )
        self.lines: list[tuple[str, str, bytes]] = []

    def _write(self, stream: str, kind: str, lines: bytes | bytearray, records: int = 1) -> None:
        one_by_one = lines.splitlines(keepends=True)
        assert len(one_by_one) == records
        assert all(len(one.decode().splitlines()) == 1 for one in one_by_one)
        self.lines += [(stream, kind, one) for one in one_by_one]


def take(page: Any, fast: FastReader, spec: Spec, scope: Scope, times: Moments) -> dict[str, Any]:
    """All that becomes of a page."""
    progress = Progress(export_id="e", began="2026-11-21T12:00:00Z")
    output = Kept(spec, progress)
    seen = IdSet()
    readers = Readers(spec, progress, scope, output, seen, list_query(spec, "inbox").ids)
    rows = readers.begin_all(page, fast, times, FETCHED_AT)
    records = [(*rest, json.dumps(json.loads(line), sort_keys=True)) for *rest, line in output.lines]
    return {
        "rows": rows,
        "records": sorted(records),  # in another order: first the threads that go the plain way
        "progress": asdict(progress),
        "after": page.after,
        "rest": readers.hand_over() | {"seen": sorted(seen)},
    }


def difference(body: bytes, fast: FastReader, spec: Spec, scope: Scope, times: Moments) -> str | None:
    """What the two ways make differently of a body; ``None`` where they agree, or the fast way leaves it to the other."""
    page = fast.read(body)
    if page is None:
        return None
    plain = read_page(json_text.read(body), fast.nested)
    by_plain = _sorted(take(plain, fast, spec, scope, times))
    by_fast = _sorted(take(page, fast, spec, scope, times))
    found = [
        f"{name}: {by_fast[name]!r}, but {by_plain[name]!r}" for name in by_plain if by_fast[name] != by_plain[name]
    ]
    return "\n".join(found) or None


def _sorted(taken: Mapping[str, Any]) -> dict[str, Any]:
    """The same, where the order of hashes says nothing."""
    rest = dict(taken["rest"])
    rest["whole"] = sorted(rest["whole"][at : at + 16] for at in range(0, len(rest["whole"]), 16))
    rest["readings"] = json.loads(json.dumps(rest["readings"]))
    return {**taken, "rest": rest}
