"""Which store a file system gets."""

from __future__ import annotations

import posixpath
from typing import Any

from airflow_provider_pageconv.dump.objectstores import object_store
from airflow_provider_pageconv.dump.store import FsspecStore, LocalStore, Store


def open_store(fs: Any, root: str) -> Store:
    """The store for a file system: an object store's own, a local one that renames, or what fsspec does for any."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    if "file" in protocols or "local" in protocols:
        return LocalStore(fs, posixpath.abspath(root))
    return object_store(fs, protocols, root) or FsspecStore(fs, root)
