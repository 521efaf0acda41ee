"""Run example DAGs with `dag.test()`: run orders as JSON on standard input, results on standard output.

A process of its own keeps what `dag.test()` leaves behind (a supervisor, a session, log handlers) away from the
tests, and several runs in one share the twelve seconds that its first run takes.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any
from unittest.mock import patch

from airflow.models import dagrun as dagrun_module
from airflow.models.asset import AssetEvent
from airflow.models.xcom import XComModel
from airflow.sdk.definitions._internal.types import NOTSET
from airflow.utils.session import create_session
from sqlalchemy import select


def main() -> None:
    """Read the orders, run them, and print the results behind the word RESULT."""
    orders = json.load(sys.stdin)
    # dag.test() looks a DAG's file up in the folder of DAGs; loading it from there is the same road.
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag()
    assert not bag.import_errors, bag.import_errors
    results = [run(bag.dags[order["dag_id"]], order) for order in orders]
    print("\nRESULT " + json.dumps(results), flush=True)  # noqa: T201 - the answer to who started this


def run(dag: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Run one DAG as ordered."""
    with create_session() as session:
        newest = session.scalar(select(AssetEvent.id).order_by(AssetEvent.id.desc()).limit(1)) or 0
    logical_date = order.get("logical_date", NOTSET)
    if isinstance(logical_date, str):
        logical_date = datetime.fromisoformat(logical_date)
    create = dagrun_module.get_or_create_dagrun

    def create_with_events(*args: Any, **kwargs: Any) -> Any:
        """Hand the run the events that a scheduler would have started it for: dag.test() knows of none."""
        created = create(*args, **kwargs)
        session = kwargs["session"]
        events = session.scalars(select(AssetEvent).order_by(AssetEvent.id)).all()
        wanted = order["consumes"]
        created.consumed_asset_events.extend(events if wanted is True else [events[number] for number in wanted])
        session.commit()
        return created

    if order.get("consumes"):
        with patch.object(dagrun_module, "get_or_create_dagrun", create_with_events):
            ran = dag.test(logical_date=logical_date, run_conf=order.get("conf"))
    else:
        ran = dag.test(logical_date=logical_date, run_conf=order.get("conf"))
    with create_session() as session:
        xcoms = session.scalars(
            select(XComModel).where(
                XComModel.dag_id == ran.dag_id, XComModel.run_id == ran.run_id, XComModel.key == "return_value"
            )
        )
        events = session.scalars(select(AssetEvent).where(AssetEvent.id > newest).order_by(AssetEvent.id))
        return {
            "state": str(ran.state.value),
            "xcoms": {xcom.task_id: XComModel.deserialize_value(xcom) for xcom in xcoms},
            "events": [event.extra for event in events],
        }


if __name__ == "__main__":
    main()
