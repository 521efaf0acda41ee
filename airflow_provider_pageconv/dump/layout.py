"""Where everything lies in a destination."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MANIFEST = r"_manifests/platform=([^/]+)/page_id=([^/]+)/folder=([^/]+)/window=([^/]+)\.json\Z"


@dataclass(frozen=True)
class Place:
    """One folder's window: the unit that is published, replaced and resumed by itself.

    :param window: the window's name.
    """

    platform: str
    page_id: str
    folder: str
    window: str

    @property
    def page(self) -> str:
        """The Hive partitions of the Page."""
        return f"platform={self.platform}/page_id={self.page_id}"

    @property
    def partition(self) -> str:
        """The Hive partitions of the folder; every part of it is a name from a list, or an id that has been checked."""
        return f"{self.page}/folder={self.folder}"

    @property
    def manifests(self) -> str:
        """Where the manifests of all windows of the folder lie."""
        return f"_manifests/{self.partition}"

    @property
    def manifest(self) -> str:
        return self.manifest_of(self.window)

    def manifest_of(self, window: str) -> str:
        return f"{self.manifests}/window={window}.json"

    def stream(self, stream: str, window: str | None = None) -> str:
        """Where the files of one table lie."""
        return f"{stream}/{self.partition}/window={window or self.window}"

    @property
    def staging(self) -> str:
        """Where all runs keep what is under way in this folder."""
        return f"_staging/{self.partition}"

    @classmethod
    def of(cls, manifest: str) -> Place | None:
        """The folder's window whose manifest has this key; ``None`` for another file."""
        found = re.match(_MANIFEST, manifest)
        return cls(*found.groups()) if found else None

    @staticmethod
    def window_of(manifest: str) -> str | None:
        """The window that a manifest's key names; ``None`` for another file."""
        name = manifest.rpartition("/")[2]
        return name[len("window=") : -len(".json")] if name.startswith("window=") and name.endswith(".json") else None
