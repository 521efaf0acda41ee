"""What of the package's metadata is known only where it is built: the project's address, and with it where links lead.

The address is taken from `PROJECT_ADDRESS`, or from what GitHub's workflows set; where there is neither, the package names none.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r"\]\((?=(?:docs/|example_dags/|[A-Z]+\.md|LICENSE))")


class CustomMetadataHook(MetadataHookInterface):
    """Adds the addresses, and makes the README's links into the repository whole, for where only the README is shown."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in `urls` and `readme`.

        :raises ValueError: the address is none.
        """
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["urls"] = {}
        if address := _address():
            tree = f"{address}/blob/v{metadata['version']}"
            metadata["urls"] = {
                "Homepage": address,
                "Documentation": f"{tree}/docs/README.md",
                "Changelog": f"{tree}/CHANGELOG.md",
                "Security": f"{tree}/SECURITY.md",
                "Issues": f"{address}/issues",
            }
            text = _RELATIVE.sub(f"]({tree}/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def _address() -> str:
    server, repository = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    address = os.environ.get("PROJECT_ADDRESS") or (f"{server}/{repository}" if server and repository else "")
    parts = urlsplit(address)
    if address and (
        parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment
    ):
        raise ValueError("PROJECT_ADDRESS has to be the https:// address of the repository, without a user in it.")
    return address.rstrip("/")
