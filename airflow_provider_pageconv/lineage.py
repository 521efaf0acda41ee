"""What OpenLineage is told of an export: the Page's folders in, the streams out.

Names follow https://github.com/OpenLineage/OpenLineage/blob/main/spec/Naming.md: a data set's namespace is ``scheme://authority``,
its name the path, so that both together are an address, and other tools that read the same files name them alike. Storage has
its own entries there. A web API has none, so the rule itself is applied: the namespace is the API's host, the name the edge
with what chooses the list. Left out are the version, by which a list would become another one twice a year, the connection,
and the person of a ``user_id``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_pageconv.dump.formats import PARQUET
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES, STREAMS
from airflow_provider_pageconv.dump.schema import COLUMNS
from airflow_provider_pageconv.graph.names import field_name

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_pageconv.dump.summary import Outcome

_ADDED = {
    "_page_id": "string",
    "_platform": "string",
    "_folder": "string",
    "_fetched_at": "timestamp",
    "_export_id": "string",
    "_unavailable": "boolean",
    "_carried": "boolean",
}
_ADDED_TO = {CONVERSATIONS: _ADDED, MESSAGES: {**_ADDED, "_conversation_id": "string"}}


@dataclass(frozen=True)
class Ends:
    """Where an export reads, and where it writes.

    :param api: base address of the Graph API.
    :param protocol: of the destination's file system, such as ``s3``.
    :param path: of the destination in it, as fsspec has it: it begins with the bucket or container, if there is one.
    :param account: the storage account, where the file system knows one (Azure).
    """

    api: str
    protocol: str
    path: str
    account: str | None = None

    def folder(self, page_id: str, platform: str, folder: str) -> tuple[str, str]:
        """Namespace and name of a folder's list of conversations."""
        parts = urlsplit(self.api)
        # Instagram has one list, for which no folder is sent.
        chosen = f"folder={folder}&platform={platform}" if platform == "messenger" else f"platform={platform}"
        path = f"{parts.path}/{page_id}/conversations?{chosen}"
        return f"{parts.scheme}://{parts.netloc}", path.lstrip("/")

    def stream(self, stream: str) -> tuple[str, str]:
        """Namespace and name of a stream: its table, of which other Pages and windows may be part too."""
        path = f"{self.path.rstrip('/')}/{stream}"
        if self.protocol in ("file", "local"):
            return "file", path
        bucket, _, name = path.lstrip("/").partition("/")
        if self.protocol in ("abfs", "abfss", "adl", "az"):
            host = f"@{self.account}.dfs.core.windows.net" if self.account else ""
            return f"abfss://{bucket}{host}", name
        scheme = {"gcs": "gs", "s3a": "s3"}.get(self.protocol, self.protocol)
        return f"{scheme}://{bucket}", name


def facets(ends: Ends | None, outcomes: Mapping[str, Outcome]) -> OperatorLineage[Any, Any]:
    """What Airflow's OpenLineage provider sends with the end of a task.

    Rows, bytes and files are those of the windows that the run has published, carried over ones included, whichever of its
    tries published them: only the try that ends the task well tells of any.

    :param ends: ``None`` if it did not come so far.
    :param outcomes: by folder; none if the task did not end well.
    :raises ImportError: OpenLineage is not installed; then nobody asks.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import (
        input_statistics_input_dataset,
        output_statistics_output_dataset,
        schema_dataset,
    )

    told: OperatorLineage[Any, Any] = OperatorLineage()
    if ends is None:
        return told
    manifests = {folder: outcome.manifest for folder, outcome in outcomes.items()}
    for folder, manifest in manifests.items():
        namespace, name = ends.folder(manifest["page_id"], manifest["platform"], folder)
        rows = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=manifest.get("conversations_listed")
        )
        told.inputs.append(InputDataset(namespace, name, inputFacets={"inputStatistics": rows}))
    for stream in STREAMS:
        if columns := _columns(stream, list(manifests.values())):
            namespace, name = ends.stream(stream)
            schema = schema_dataset.SchemaDatasetFacet(
                fields=[schema_dataset.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in columns.items()]
            )
            files = [one for manifest in manifests.values() for one in manifest["files"] if one["stream"] == stream]
            size = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                rowCount=sum(one["records"] for one in files),
                size=sum(one["bytes"] for one in files),
                fileCount=len(files),
            )
            told.outputs.append(
                OutputDataset(namespace, name, facets={"schema": schema}, outputFacets={"outputStatistics": size})
            )
    return told


def _columns(stream: str, manifests: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """The columns of a stream and their types, where we set them; none if the stream was not exported.

    :param manifests: of the folders, which tell what each was asked for in the end, and in which format it is.
    """
    asked = [manifest["fields"][stream] for manifest in manifests]
    fields: dict[str, Any] = {field_name(one): None for expressions in asked for one in expressions or ()}
    if fields and all(manifest["file_format"] == PARQUET for manifest in manifests):
        return {name: kind.type for name, kind in COLUMNS[stream].items()}
    return {**fields, **_ADDED_TO[stream]} if fields else {}
