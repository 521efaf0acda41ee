"""Copy each export into two Iceberg tables, where a window that is exported again is replaced in one commit.

The tables ``pageconv.conversations`` and ``pageconv.messages`` have the columns of Parquet files (``docs/schema.md``) and
``window_name``, whichever format the exports have. A run that an export started copies the windows that its event names. A
run that you start yourself copies all that is published, and takes out what is not any more: so begin with one.

Before you unpause it:

- tasks run where ``pip install 'pyiceberg[pyarrow,sql-sqlite]>=0.12'`` was done; the extra is that of your catalog;
- pyiceberg finds the catalog ``default``, by its file ``.pyiceberg.yaml`` or by the environment. For a catalog in SQLite:
  ``PYICEBERG_CATALOG__DEFAULT__URI=sqlite:////var/data/iceberg.db`` and
  ``PYICEBERG_CATALOG__DEFAULT__WAREHOUSE=file:///var/data/iceberg``. Another one's name goes into
  ``PYICEBERG_DEFAULT_CATALOG``;
- the variable ``pageconv_destination`` names the root of the data set, as in ``pageconv_daily``.

What erasure and retention delete there stays in the tables: ``docs/iceberg.md``.
"""

from __future__ import annotations

import json
import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, ObjectStoragePath, Variable, task

from airflow_provider_pageconv.compat import AirflowFailException

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

log = logging.getLogger(__name__)

CONVERSATIONS = Asset("page_conversations")

NAMESPACE = "pageconv"
STREAMS = ("conversations", "messages")

# What an export replaces is the window of one folder, so each has a partition: its files are its own, and are swapped
# without a look into them. The records themselves do not tell their window.
PARTITIONS = ("_platform", "_page_id", "_folder", "window_name")

PROPERTIES = {
    # Else the first and the last text, and name, of each file would stand in the tables' own metadata, as far as it shows.
    "write.metadata.metrics.default": "counts",
    **{f"write.metadata.metrics.column.{column}": "full" for column in (*PARTITIONS, "updated_time", "created_time")},
}

Place = tuple[str, str, str, str]  # the values of PARTITIONS
Manifests = dict[Place, dict[str, Any]]


def published(root: ObjectStoragePath, names: set[str]) -> Manifests:
    """Read manifests as they are now: an event that comes late, or twice, tells of no export that was replaced meanwhile."""
    found: Manifests = {}
    for name in sorted(names):
        try:
            manifest = json.loads((root / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            log.warning("%s is not there any more: the tables keep what they have of it.", name)
            continue
        window = name.rpartition("/window=")[2].removesuffix(".json")
        found[manifest["platform"], manifest["page_id"], manifest["folder"], window] = manifest
    return found


def names_of_all(root: ObjectStoragePath) -> set[str]:
    """List the manifests of the data set."""
    top = root.path.rstrip("/")
    found = root.fs.glob(f"{top}/_manifests/*/*/*/window=*.json")
    return {str(path).removeprefix(top).lstrip("/") for path in found}


def table_of(catalog: Catalog, stream: str) -> Table:
    """Load the table of a stream; make it where it is missing, and give it the columns that it does not have yet."""
    import pyarrow as pa

    from airflow_provider_pageconv.dump.arrow import arrow_schema

    columns = arrow_schema(stream).append(pa.field("window_name", pa.string()))
    name = (NAMESPACE, stream)
    if not catalog.table_exists(name):
        catalog.create_namespace_if_not_exists(NAMESPACE)
        with (
            catalog.create_table_transaction(name, columns, properties=PROPERTIES) as new,
            new.update_spec() as partitions,
        ):
            for column in PARTITIONS:
                partitions.add_identity(column)
    table = catalog.load_table(name)
    with table.update_schema() as change:
        change.union_by_name(columns)
    return table


def write(table: Table, place: Place, root: ObjectStoragePath, file: dict[str, Any]) -> DataFile:
    """Write the rows of one file of an export beside the table's; no reader sees them before the commit."""
    import pyarrow as pa
    from pyiceberg.io.pyarrow import pyarrow_to_schema, write_file
    from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
    from pyiceberg.table import WriteTask

    from airflow_provider_pageconv.dump.formats import read_batches

    with (root / file["path"]).open("rb") as stored:
        rows = [
            batch.append_column("window_name", pa.repeat(place[-1], batch.num_rows))
            for batch in read_batches(stored, file["stream"])
        ]
    values = dict(zip(PARTITIONS, place, strict=True))
    partition = PartitionKey(
        [PartitionFieldValue(field, values[field.name]) for field in table.spec().fields], table.spec(), table.schema()
    )
    columns = pyarrow_to_schema(rows[0].schema, name_mapping=table.schema().name_mapping)
    order = WriteTask(uuid.uuid4(), 0, columns, rows, partition_key=partition)
    [written] = write_file(table.io, table.metadata, iter([order]))
    return written


def replace(table: Table, root: ObjectStoragePath, stream: str, manifests: Manifests, *, everything: bool) -> int:
    """Swap windows in one snapshot, and return how many rows they have now.

    ``Table.overwrite`` would leave two in one commit, and a reader that travels in time could land on the first of them, in
    which the windows are missing.

    :param everything: whether there is to be no other window in the table.
    """
    from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, And, BooleanExpression, EqualTo, Or

    windows: BooleanExpression = AlwaysTrue()
    if not everything:
        each = [And(*(EqualTo(*one) for one in zip(PARTITIONS, place, strict=True))) for place in manifests]
        windows = Or(AlwaysFalse(), AlwaysFalse(), *each)
    new = [
        # File by file, so that memory holds one.
        write(table, place, root, file)
        for place, manifest in manifests.items()
        for file in manifest["files"]
        if file["stream"] == stream
    ]
    old = list(table.scan(row_filter=windows).plan_files())
    if any(one.residual != AlwaysTrue() for one in old):
        raise AirflowFailException(
            f"A file of {NAMESPACE}.{stream} holds rows of several windows: its partitions have to be {', '.join(PARTITIONS)}."
        )
    if new or old:
        with table.transaction() as commit, commit.update_snapshot().overwrite() as snapshot:
            snapshot.delete_by_predicate(windows)  # for what others commit meanwhile; the files are named below
            for one in old:
                snapshot.delete_data_file(one.file)
            for written in new:
                snapshot.append_data_file(written)
    return sum(written.record_count for written in new)


with DAG(
    "pageconv_iceberg",
    description="Copy each export into Iceberg tables",
    schedule=[CONVERSATIONS],
    # Two at once would commit against each other. Events that come meanwhile are taken up together by the next run.
    max_active_runs=1,
    # A newer export of the same window may replace a file while it is being read: then read the manifests again.
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):

    @task
    def copy(triggering_asset_events: Any = None) -> dict[str, int]:
        """Return how many rows were copied, by table."""
        from pyiceberg.catalog import load_catalog

        root = ObjectStoragePath(Variable.get("pageconv_destination"))
        told = [event.extra for events in triggering_asset_events.values() for event in events]
        # An event that somebody made in the UI names nothing.
        names = {name for extra in told for name in extra.get("manifests", ())}
        everything = not names
        manifests = published(root, names or names_of_all(root))
        if everything and not manifests:
            raise AirflowFailException(
                "The variable pageconv_destination names no data set with a manifest: name the root of one."
            )
        catalog = load_catalog()
        copied = {
            stream: replace(table_of(catalog, stream), root, stream, manifests, everything=everything)
            for stream in STREAMS
        }
        log.info(
            "%d conversations and %d messages of %d windows",
            copied["conversations"],
            copied["messages"],
            len(manifests),
        )
        return copied

    copy()
