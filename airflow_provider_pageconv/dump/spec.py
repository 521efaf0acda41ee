"""What to export, and what makes two exports the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from airflow_provider_pageconv.dump.formats import version_of
from airflow_provider_pageconv.dump.people import People
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph import fields
from airflow_provider_pageconv.graph.fields import Fields


@dataclass(frozen=True)
class Spec:
    """What to export, alike for all folders of a task.

    :param run_key: ``dag_id, run_id, task_id, map_index, clear_number``.
    :param page_size: the most nodes to ask for at once.
    :param max_part_records: the most records in one file.
    :param keep_deleted: whether what the API is seen not to list any more stays in a replaced export.
    :param overwrite: whether a replaced export is not even read.
    :param pseudonymize: some of ``name``, ``email``, ``username``, ``id``: what is hashed of people.
    :param pseudonym_key: what it is hashed with.
    :param exclude_fields: names of fields that are not asked for.
    :param exclude_user_ids: ids of people who are left out, as the API gives them.
    :param own_ids: ids that the Page itself writes under, beside ``page_id``.
    :param download_attachments: whether the files behind the links of attachments are fetched.
    :param max_attachment_bytes: of the largest of them; ``None`` for any size.
    :param attachment_kinds: patterns of the MIME types that are wanted; ``None`` for all.
    :param media_hosts: the hosts that they are fetched from, and those below them.
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
    pseudonymize: tuple[str, ...] = ()
    pseudonym_key: bytes = field(default=b"", repr=False)
    exclude_fields: tuple[str, ...] = ()
    exclude_user_ids: Set[str] = field(default=frozenset(), repr=False)
    own_ids: tuple[str, ...] = ()
    download_attachments: bool = False
    max_attachment_bytes: int | None = None
    attachment_kinds: tuple[str, ...] | None = None
    media_hosts: tuple[str, ...] = ()
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

    @cached_property
    def people(self) -> People:
        """What is done about people."""
        on_messenger = {self.page_id} if self.platform == "messenger" else set()
        return People.of(
            excluded=self.exclude_user_ids,
            pseudonymize=self.pseudonymize,
            key=self.pseudonym_key,
            own=frozenset({*self.own_ids, *on_messenger}),
        )

    @property
    def shown_user_id(self) -> str | None:
        """``user_id`` as it may be written down."""
        pseudonyms = self.people.pseudonyms
        if self.user_id is None or pseudonyms is None or "id" not in pseudonyms.fields:
            return self.user_id
        return pseudonyms.of("id", self.user_id)

    @property
    def hides(self) -> tuple[list[str], str | None]:
        """What is hashed of people, and what tells the secret from another one."""
        pseudonyms = self.people.pseudonyms
        return list(self.pseudonymize), pseudonyms.fingerprint if pseudonyms else None

    @property
    def downloads(self) -> dict[str, Any] | None:
        """Which files are fetched, as a manifest says it; ``None`` where none are."""
        if not self.download_attachments:
            return None
        kinds = None if self.attachment_kinds is None else list(self.attachment_kinds)
        return {"max_attachment_bytes": self.max_attachment_bytes, "attachment_kinds": kinds}

    @cached_property
    def thread_fields(self) -> Fields:
        """The fields to ask for of conversations."""
        needed = ("participants",) if self.people.left_out else ()
        return fields.conversation_fields(self.conversation_fields, self.exclude_fields, needed)

    @cached_property
    def fields_of_messages(self) -> Fields:
        """The fields to ask for of messages, where there are any."""
        return fields.message_fields(
            self.message_fields, self.exclude_fields, ("from",) if self.people.left_out else ()
        )

    def fingerprint(self) -> str:
        """A hash of the parameters that decide records or files: only an export of the same ones goes on."""
        plain = replace(
            self, page_size=0, keep_deleted=True, overwrite=False, run_key={}, exclude_user_ids=frozenset(),
            user_id=self.shown_user_id,
        )  # fmt: skip
        deciding = asdict(plain)
        for name in ("on_empty", "api_version", "notes", "pseudonym_key", "exclude_user_ids", "own_ids"):
            del deciding[name]
        deciding["pseudonym_fingerprint"] = self.hides[1]
        for name in ("pseudonymize", "exclude_fields", "pseudonym_fingerprint", "download_attachments"):
            if not deciding[name]:
                del deciding[name]  # as it was before there was any
        if not self.download_attachments:
            for name in ("max_attachment_bytes", "attachment_kinds", "media_hosts"):
                del deciding[name]
        if self.schema_version is not None:
            deciding["schema_version"] = self.schema_version
        return hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def staging_name(self) -> str:
        """Names the run; without the number of its clears, after which unfinished folders go on."""
        run = {name: value for name, value in self.run_key.items() if name != "clear_number"}
        text = json.dumps([run, self.fingerprint()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]
