"""An export in a process of its own, to be killed."""

from __future__ import annotations

import tempfile
import threading
from typing import Any

import fsspec

from airflow_provider_pageconv.dump import folder
from airflow_provider_pageconv.dump.export import Export
from airflow_provider_pageconv.dump.opening import open_store
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.graph.protocol import Credentials


def export(
    url: str,
    token: str,
    folders: tuple[str, ...],
    root: str,
    s3: dict[str, Any] | None,
    options: dict[str, Any],
    scratch: str,
    checkpoint_seconds: float,
) -> None:
    """Export some folders.

    :param s3: options of the S3 file system; ``None`` for a local folder.
    :param scratch: the temporary folder.
    :param checkpoint_seconds: after how long a checkpoint is due; below 0 after every step.
    """
    tempfile.tempdir = scratch
    folder.CHECKPOINT_SECONDS = checkpoint_seconds
    fs = fsspec.filesystem("s3", skip_instance_cache=True, **s3) if s3 else fsspec.filesystem("file")
    client = GraphClient(url, Credentials(token), version="v26.0", calls_per_second=0)
    spec = Spec(window=Window(), **options)
    Export(spec, folders, client, open_store(fs, root), Policy(fail=True)).run()
    assert threading.active_count() >= 1
