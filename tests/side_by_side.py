"""How `make test` divides the tests among the processes that run them side by side."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

SHARE_AN_AIRFLOW = "tests/browser/"


class ByFile(LoadFileScheduling):
    """A file's tests follow each other in one process, and so do all those that look at one Airflow with one browser."""

    def _split_scope(self, nodeid: str) -> str:
        return SHARE_AN_AIRFLOW if nodeid.startswith(SHARE_AN_AIRFLOW) else super()._split_scope(nodeid)
