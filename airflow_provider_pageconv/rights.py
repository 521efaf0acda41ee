"""Removes what is published already: people who ask to be forgotten, and what is older than it is kept.

Both are taken from :mod:`airflow_provider_pageconv.operators`, beside the operator that exports.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_provider_pageconv import lines, parameters
from airflow_provider_pageconv.compat import AirflowFailException
from airflow_provider_pageconv.destinations import without_connection_id

if TYPE_CHECKING:
    from airflow.sdk import Context, ObjectStoragePath
    from airflow.sdk.definitions.mappedoperator import OperatorPartial

    from airflow_provider_pageconv.dump.store import Store

log = logging.getLogger(__name__)


class _PublishedOperator(BaseOperator):
    """Goes through what is published in a data set, and changes some of it."""

    ui_color = "#f6dfd7"
    takes: ClassVar[Sequence[str]] = ()
    """Names of the parameters, beside those of every operator."""

    destination: str | ObjectStoragePath
    page_id: str | None
    platform: str | None
    report_only: bool
    pageconv_conn_id: str
    _killed = False

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Check what is known before the task is mapped: Airflow makes the mapped ones only when the run is under way."""
        known = {name: kwargs[name] for name in cls.takes if name in kwargs}
        parameters.check(known, checks=parameters.PUBLISHED, templated=cls.template_fields)
        mapped: OperatorPartial = super().partial(**kwargs)
        return mapped

    def _check(self, *, rendered: bool = False) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.takes}
        return parameters.check(values, rendered=rendered, checks=parameters.PUBLISHED, templated=self.template_fields)

    @abstractmethod
    def _remove(self, store: Store, checked: Mapping[str, Any]) -> dict[str, Any]:
        """Do it; returns what was found and done.

        :param checked: the rendered parameters.
        """

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - it needs nothing of the run
        from airflow_provider_pageconv.compat import AirflowException
        from airflow_provider_pageconv.dump.endings import DumpRefused, Stopped
        from airflow_provider_pageconv.dump.opening import open_store
        from airflow_provider_pageconv.dump.store_errors import NoSuchBucketError, StoreError

        checked = self._check(rendered=True)
        path = reached(self.destination)
        try:
            found = self._remove(open_store(path.fs, path.path), checked)
        except (DumpRefused, NoSuchBucketError) as refusal:
            raise AirflowFailException(str(refusal)) from None
        except StoreError as error:
            raise StoreError(str(error)) from None  # without the traceback of the store's own library
        except Stopped as stop:
            raise AirflowException(str(stop)) from None
        for warning in found["warnings"]:
            for line in lines.wrapped(warning):
                log.warning("%s", line)
        return {
            "destination": without_connection_id(str(self.destination)),
            "page_id": checked["page_id"],
            "platform": checked["platform"],
            "report_only": self.report_only,
            **found,
        }

    def on_kill(self) -> None:
        """Change nothing more; what was changed until then is whole."""
        self._killed = True

    def _where(self, checked: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "now": datetime.now(timezone.utc),
            "platform": checked["platform"],
            "page_id": checked["page_id"],
            "report_only": checked["report_only"],
            "stopped": lambda: self._killed,
        }


class PageConversationsErasureOperator(_PublishedOperator):
    """Erases people from what is published: a thread in which they alone write with the Page goes whole, from others go their
    messages, and they themselves from every list.

    Window by window, manifests last, so that readers see one whole export at every instant. It looks again until a whole look
    finds nothing. What the API still gives comes back with the next export, but for ``exclude_user_ids``: one list for both.

    :param destination: root of the data set, as the export has it.
    :param user_ids: the people, by their Page-scoped (Instagram-scoped) ids; or the path of one list of them, a text with one
        id a line, read at the start of every try.
    :param page_id: only this Page; every Page of the data set if left out.
    :param platform: only ``messenger`` or ``instagram``; both if left out.
    :param report_only: change nothing, and tell what would go.
    :param pageconv_conn_id: where the ``pseudonym_secret`` is, read only where ids of people are hashed.
    :return: a report (XCom): ``pages``, ``windows``, ``windows_changed``, ``windows_removed``, what went of
        ``conversations``, ``messages``, ``media``, files, staging, and ``warnings``. No id is in it.
    :raises ValueError: a parameter without a template cannot be used.
    :raises AirflowFailException: what no further try can change: a parameter, the secret, windows that cannot be read.
    """

    template_fields: Sequence[str] = ("destination", "user_ids", "page_id", "platform", "pageconv_conn_id")
    takes = ("destination", "user_ids", "page_id", "platform", "report_only", "pageconv_conn_id")

    def __init__(
        self,
        destination: str | ObjectStoragePath,
        user_ids: str | Sequence[str],
        page_id: str | None = None,
        platform: str | None = None,
        report_only: bool = False,
        pageconv_conn_id: str = "pageconv_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.page_id = page_id
        self.platform = platform
        self.report_only = report_only
        self.pageconv_conn_id = pageconv_conn_id
        self.user_ids = parameters.hidden(user_ids)
        self._check()

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Check as the others do, and hide the ids."""
        if "user_ids" in kwargs:
            kwargs["user_ids"] = parameters.hidden(kwargs["user_ids"])
        return super().partial(**kwargs)

    def render_template(self, content: Any, context: Context, *args: Any, **kwargs: Any) -> Any:
        """Render; ids stay hidden."""
        if isinstance(content, parameters.UserIds):
            return parameters.UserIds(super().render_template(content.values, context, *args, **kwargs))
        return super().render_template(content, context, *args, **kwargs)

    @property
    def user_ids(self) -> Any:
        """As it was given, but for ids: Airflow writes down what stands here, before and after it is rendered."""
        return self._user_ids

    @user_ids.setter
    def user_ids(self, value: Any) -> None:
        self._user_ids = parameters.hidden(value)

    def _remove(self, store: Store, checked: Mapping[str, Any]) -> dict[str, Any]:
        from airflow_provider_pageconv.dump.erasure import Erasure
        from airflow_provider_pageconv.user_ids import read_user_ids

        ids = read_user_ids("user_ids", checked["user_ids"])
        return Erasure(ids, self._secret(checked["pageconv_conn_id"]), **self._where(checked)).run(store)

    def _secret(self, conn_id: str) -> Callable[[], bytes]:
        """Reads what ids are hashed with, when it is needed."""

        def secret() -> bytes:
            from airflow_provider_pageconv.compat import AirflowNotFoundException
            from airflow_provider_pageconv.hooks import PageConversationsHook

            try:
                found = PageConversationsHook(conn_id).settings.pseudonym_secret
            except AirflowNotFoundException:
                found = None
            if not found:
                raise AirflowFailException(
                    "Some windows hold ids that were pseudonymised, and people are found there by the pseudonym_secret alone that "
                    f"was used: the connection {conn_id!r} has none. Put it into its extra, or name another pageconv_conn_id."
                )
            return found.encode("utf-8", "surrogatepass")

        return secret


class PageConversationsRetentionOperator(_PublishedOperator):
    """Removes what is older than it is kept.

    A window that ended longer ago goes whole, its manifest first. Of a dump, and of a backfill from the beginning, the older
    messages go, and conversations that are as old and of which no message stays; the manifest then says ``retained_since``.

    :param destination: root of the data set, as the export has it.
    :param keep: how long a window is kept after it has ended.
    :param page_id: only this Page; every Page of the data set if left out.
    :param platform: only ``messenger`` or ``instagram``; both if left out.
    :param report_only: change nothing, and tell what would go.
    :param pageconv_conn_id: not used: nothing of a connection is needed.
    :return: a report (XCom), as of :class:`PageConversationsErasureOperator`.
    :raises ValueError: a parameter without a template cannot be used.
    :raises AirflowFailException: what no further try can change: a parameter, windows that cannot be read.
    """

    template_fields: Sequence[str] = ("destination", "page_id", "platform", "pageconv_conn_id")
    takes = ("destination", "keep", "page_id", "platform", "report_only", "pageconv_conn_id")

    def __init__(
        self,
        destination: str | ObjectStoragePath,
        keep: timedelta,
        page_id: str | None = None,
        platform: str | None = None,
        report_only: bool = False,
        pageconv_conn_id: str = "pageconv_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.page_id = page_id
        self.platform = platform
        self.report_only = report_only
        self.pageconv_conn_id = pageconv_conn_id
        self.keep = keep
        self._check()

    def _remove(self, store: Store, checked: Mapping[str, Any]) -> dict[str, Any]:
        from airflow_provider_pageconv.dump.retention import Retention

        return Retention(checked["keep"], **self._where(checked)).run(store)


def reached(destination: str | ObjectStoragePath) -> ObjectStoragePath:
    """The destination, once it is known that its store can be spoken to.

    :raises ParameterError: nothing here can, or its connection does not exist.
    """
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_pageconv.compat import AirflowNotFoundException

    try:
        path = ObjectStoragePath(destination)
        _ = path.fs
    except ValueError as error:
        raise parameters.no_file_system(destination, error) from None
    except AirflowNotFoundException as error:
        raise parameters.refuse("destination", str(destination), f"a connection that exists ({error})") from error
    return path
