"""What producer and consumer of a Page's data name alike."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_pageconv import parameters
from airflow_provider_pageconv.destinations import without_connection_id

if TYPE_CHECKING:
    from airflow.sdk import Asset, ObjectStoragePath


def page_asset(destination: str | ObjectStoragePath, page_id: str, platform: str = "messenger") -> Asset:
    """The asset of one Page's conversations in a data set.

    An export with it, or with any ``AssetAlias``, among its outlets is told of under this name, so that a DAG can be scheduled
    on it: ``schedule=[page_asset("s3://bucket/conversations", "100200300400500")]``.

    :param destination: root of the data set, as the export has it; the connection id in it does not count.
    :param page_id: the Page.
    :param platform: ``messenger`` or ``instagram``, in any case.
    :raises ValueError: one of them cannot be used.
    """
    from airflow.sdk import Asset

    checked = parameters.check({"destination": destination, "page_id": page_id, "platform": platform}, rendered=True)
    root = without_connection_id(str(destination)).rstrip("/")
    where = f"platform={checked['platform']}/page_id={checked['page_id']}"
    # Airflow takes ASCII alone.
    return Asset(uri=f"{quote(root, safe='%/:@+=,~!$&;*()')}/_manifests/{where}")
