"""What a destination's text says, for those who know neither Airflow nor the operator."""

from __future__ import annotations

import re


def without_connection_id(destination: str) -> str:
    """A destination as it may be shown to whoever reads it through another connection."""
    return re.sub(r"://[^/@]+@", "://", destination)
