"""What dashboards see of exports: counters, by way of the ``Stats`` of Airflow's own metrics.

A folder is counted by the try that published it, and by none after it: what an earlier try of the run has published was
counted then, also where that try failed in the end. ``docs/watching-metrics.md`` says what each name means.

https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/logging-monitoring/metrics.html
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_pageconv.dump.summary import Outcome

log = logging.getLogger(__name__)

PREFIX = "pageconv"
ERRORS, WAITS = "errors", "waits"
_SUMS = {
    "conversations": ("conversations",),
    "messages": ("messages",),
    # Of which the API gave less than it has: written without details, or left out since nobody knows their time.
    "messages_withheld": ("messages_unavailable", "messages_undated"),
    "api_calls": ("api_calls",),
}


@contextmanager
def counted(tags: Mapping[str, str], published: Callable[[], Collection[Outcome]] = tuple) -> Iterator[None]:
    """Count how a part of a try ends: what was published in it, and by which errors it ended.

    It belongs around what raises the errors themselves: Airflow gets sentences made of them, which have lost their class.
    Nothing that goes wrong with it reaches the export.

    :param tags: of every counter; looked at in the end, so they may grow.
    :param published: the folders that are published in the end, by this try or by an earlier one of the run.
    """
    try:
        yield
    except BaseException as error:
        _count(tags, published, error)
        raise
    _count(tags, published, None)


def _count(tags: Mapping[str, str], published: Callable[[], Collection[Outcome]], error: BaseException | None) -> None:
    try:
        from airflow_provider_pageconv.compat import Stats

        for name, number in figures(published()).items():
            Stats.incr(f"{PREFIX}.{name}", number, tags=dict(tags))
        waits, errors = endings(error)
        if waits:
            Stats.incr(f"{PREFIX}.{WAITS}", waits, tags=dict(tags))
        for kind, number in errors.items():
            Stats.incr(f"{PREFIX}.{ERRORS}", number, tags={**tags, "error": kind})
    except Exception:
        log.debug("The export is not counted", exc_info=True)


def figures(published: Collection[Outcome]) -> dict[str, int]:
    """What there is to count of folders that are published, by the counter's name without its prefix.

    Nothing if this try published none; else also what is 0, so that there is a series before something happens.

    :param published: by this try, or by an earlier one of the run, in which case they are counted already.
    """
    numbers = [outcome.numbers() for outcome in published]
    new = [one for one in numbers if one["published"] == "new"]
    if not new:
        return {}
    sums = {name: sum(int(one[key]) for one in new for key in keys) for name, keys in _SUMS.items()}
    # The folders of a task wait together, and each has all that it waited in the run.
    before = max((one["waited_seconds"] for one in numbers if one not in new), default=0.0)
    waited = max(one["waited_seconds"] for one in new) - before
    return {**sums, "waited_seconds": max(0, round(waited))}


def endings(error: BaseException | None) -> tuple[int, Counter[str]]:
    """How often a limit made the task let go of its worker, and by which classes of errors it ended, by their names.

    :param error: what ended it; where folders failed, each of them counts.
    """
    from airflow_provider_pageconv.compat import AirflowRescheduleException, TaskDeferred
    from airflow_provider_pageconv.dump.endings import LetGo
    from airflow_provider_pageconv.dump.export import FoldersFailed

    if isinstance(error, LetGo):
        return int(error.met_limit), Counter()
    if error is None or isinstance(error, (AirflowRescheduleException, TaskDeferred)):
        return 0, Counter()
    errors = error.errors.values() if isinstance(error, FoldersFailed) else [error]
    return 0, Counter(type(one).__name__ for one in errors)
