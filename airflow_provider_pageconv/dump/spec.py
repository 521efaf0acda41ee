"""What to export, and what makes two exports the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from airflow_provider_pageconv.dump.formats import version_of
from airflow_provider_pageconv.dump.window import Window


@dataclass(frozen=True)
class Spec:
    """What to export, alike for all folders of a task.

    :param run_key: ``dag_id, run_id, task_id, map_index, clear_number``.
    :param page_size: the most nodes to ask for at once.
    :param max_part_records: the most records in one file.
    :param keep_deleted: whether what the API is seen not to list any more stays in a replaced export.
    :param overwrite: whether a replaced export is not even read.
    :param on_empty: what to do where the API lists no thread at all: ``ok``, ``warn`` or ``fail``.
    :param api_version: the version that is asked for, such as ``v26.0``.
    :param notes: what was found before the first call and belongs into every manifest.
    """

    platform: str
    page_id: str
    window: Window
    run_key: Mapping[str, Any]
    user_id: str | None = None
    messages: bool = True
    conversation_fields: tuple[str, ...] | None = None
    message_fields: tuple[str, ...] | None = None
    page_size: int = 100
    file_format: str = "jsonl"
    compression: str = "gzip"
    max_part_records: int = 50_000
    keep_deleted: bool = True
    overwrite: bool = False
    on_empty: str = "warn"
    api_version: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def schema_version(self) -> int | None:
        """The version of the files' columns; ``None`` where the format has none."""
        return version_of(self.file_format)

    @property
    def counts_messages(self) -> bool:
        """Whether all messages of every conversation are owed, so that ``message_count`` says how many."""
        return self.messages and self.window.since is None and self.window.until is None

    def fingerprint(self) -> str:
        """A hash of the parameters that decide records or files: only an export of the same ones goes on."""
        deciding = asdict(replace(self, page_size=0, keep_deleted=True, overwrite=False, run_key={}))
        for name in ("on_empty", "api_version", "notes"):
            del deciding[name]
        if self.schema_version is not None:
            deciding["schema_version"] = self.schema_version
        return hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def staging_name(self) -> str:
        """Names the run; without the number of its clears, after which unfinished folders go on."""
        run = {name: value for name, value in self.run_key.items() if name != "clear_number"}
        text = json.dumps([run, self.fingerprint()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]
