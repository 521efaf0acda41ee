"""Where an export's task leads to: its files, the Page's inbox, what is known of the Page's exports.

Airflow asks for the links in the worker, after each stretch of the task and however it ended, and keeps the answers as XComs.
They are built from the operator's own attributes, without a look at a connection, so that none can fail or leak one.
https://airflow.apache.org/docs/apache-airflow/stable/howto/define-extra-link.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink

from airflow_provider_pageconv import compat
from airflow_provider_pageconv.destinations import without_connection_id

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PAGE_ROUTE = "page-conversations"
"""The ``url_route`` of the provider's page. Airflow's UI shows it at ``plugin/<url_route>`` below its own address."""

_S3 = "https://s3.console.aws.amazon.com/s3/buckets/"
_GOOGLE = "https://console.cloud.google.com/storage/browser/"
_AZURE = "https://portal.azure.com/#view/HubsExtension/BrowseResource/resourceType/Microsoft.Storage%2FStorageAccounts"
_INBOX = "https://business.facebook.com/latest/inbox/all"


class ExportedFilesLink(BaseOperatorLink):
    """The Page's files in the web console of the store: AWS, Google Cloud or Azure; no link where a store has none.

    Messages if the task exports them, else conversations. Whether ``s3://`` is Amazon's own or a server that speaks like it
    stands in the connection, which is not asked. Azure's portal addresses a container by its subscription and resource group,
    which a destination does not name: there the list of the storage accounts has to do.
    """

    name = "Exported files"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the address, or nothing.

        :param operator: an export, as it is after its run.
        """
        found = exported(operator)
        if found is None:
            return ""
        platform, page_id = found
        scheme, _, rest = without_connection_id(str(getattr(operator, "destination", ""))).partition("://")
        bucket, _, root = rest.partition("/")
        stream = "messages" if getattr(operator, "messages", True) else "conversations"
        folders = (root.strip("/"), stream, f"platform={platform}", f"page_id={page_id}")
        return _console(scheme, bucket, "".join(f"{folder}/" for folder in folders if folder))


class PageInboxLink(BaseOperatorLink):
    """The Page's inbox in Meta Business Suite, for those who have a task on the Page there.

    Meta documents no address of it. This is the one that Business Suite itself shows in the browser when the inbox of a Page is
    chosen; it holds the inbox of the Page's Instagram account as well.
    """

    name = "Inbox in Meta Business Suite"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the address, or nothing.

        :param operator: an export, as it is after its run.
        """
        found = exported(operator)
        return f"{_INBOX}?{urlencode({'asset_id': found[1]})}" if found else ""


class PageExportsLink(BaseOperatorLink):
    """The provider's page in Airflow's UI, on this Page alone; no link where Airflow's UI cannot show it (3.0, 3.1).

    It lies below ``[api] base_url``, path prefix included; where that is not set, at the root of the host that shows the link.
    """

    name = "Exports of this Page"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the address, or nothing.

        :param operator: an export, as it is after its run.
        """
        found = exported(operator)
        if found is None or not compat.hosts_react():
            return ""
        base_url = compat.conf.get("api", "base_url", fallback="") or ""
        return f"{base_url.rstrip('/')}/plugin/{PAGE_ROUTE}?{urlencode({'page_id': found[1]})}"


def exported(operator: Any) -> tuple[str, str] | None:
    """Return platform and Page of what a task exported; ``None`` of one that did not get so far as to know them."""
    found: tuple[str, str] | None = getattr(operator, "exported", None)
    return found


def _console(scheme: str, bucket: str, folder: str) -> str:
    if not bucket:
        return ""
    if scheme in ("s3", "s3a", "s3n"):
        return f"{_S3}{quote(bucket)}?prefix={quote(folder, safe='/=')}"
    if scheme in ("gs", "gcs"):
        return f"{_GOOGLE}{quote(bucket)}/{quote(folder, safe='/=')}"
    return _AZURE if scheme in ("abfs", "abfss", "adl") else ""
