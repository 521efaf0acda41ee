"""Exports a Page's conversations to object storage; what removes some of it again is in :mod:`.rights`, and taken from here."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from logging import INFO
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from airflow.sdk import BaseOperator

from airflow_provider_pageconv import lines, parameters
from airflow_provider_pageconv.compat import AirflowFailException, heed_reschedules
from airflow_provider_pageconv.destinations import without_connection_id
from airflow_provider_pageconv.graph.names import FOLDERS
from airflow_provider_pageconv.lines import tell
from airflow_provider_pageconv.links import ExportedFilesLink, PageExportsLink, PageInboxLink
from airflow_provider_pageconv.rights import (
    PageConversationsErasureOperator,
    PageConversationsRetentionOperator,
    reached,
)
from airflow_provider_pageconv.times import iso, round_up

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context, ObjectStoragePath
    from airflow.sdk.definitions.mappedoperator import OperatorPartial

    from airflow_provider_pageconv.dump.export import Export
    from airflow_provider_pageconv.dump.spec import Spec
    from airflow_provider_pageconv.dump.summary import Outcome
    from airflow_provider_pageconv.lineage import Ends
    from airflow_provider_pageconv.live import Live

__all__ = [
    "ExportFailed",
    "PageConversationsErasureOperator",
    "PageConversationsRetentionOperator",
    "PageConversationsToObjectStorageOperator",
]

log = logging.getLogger(__name__)

_IN_PLACE_SECONDS = 60.0
_UNTOLD_LIMIT = timedelta(minutes=5)
"""How long a limit of which nothing is told is waited out before the export has begun."""

_SILENT_SECONDS = 600.0
"""A task that holds its worker says at least that often what it waits for."""
_ASIDE = {"messages_unavailable": "without details", "messages_undated": "withheld", "messages_carried": "carried over"}


class ExportFailed(AirflowFailException):
    """No further try can help.

    :param errors: by folder, where folders failed; those that are not named are published, or need no more than a try.
    """

    def __init__(self, message: str, errors: Mapping[str, BaseException] | None = None) -> None:
        super().__init__(message)
        self.errors = dict(errors or {})


@heed_reschedules
class PageConversationsToObjectStorageOperator(BaseOperator):
    """Exports the conversations of a Facebook Page and their messages to object storage, folder by folder.

    A window ``[since, until)`` is published for each folder by itself, its manifest last. A try that was stopped goes on
    where it was. Windows that follow one another hold each message once.

    :param destination: root of the data set, shared by Pages and days: ``s3://conn_id@bucket/prefix``, ``gs://…``,
        ``abfs://…``, ``file:///…``; a text, or an ``ObjectStoragePath``.
    :param page_id: the Page; the connection's if left out.
    :param folders: some of ``inbox``, ``other``, ``page_done``, ``spam``; all of them if left out. Instagram has one list.
    :param platform: ``messenger`` or ``instagram``, in any case.
    :param user_id: only the conversations of this person, by their Page-scoped (Instagram-scoped) id.
    :param since: first moment of the window, a datetime or ISO 8601 text with a time zone; ``None``: from the beginning.
    :param until: first moment after the window; ``None`` with ``since``: the run's ``run_after`` less ``settle``; ``None``
        without it: everything up to the moment when the walk begins.
    :param settle: how long after ``until`` the walk begins at the earliest, so that late arrivals are in.
    :param messages: whether to export messages; without them only the records of conversations.
    :param conversation_fields: Graph API fields of conversations; the documented ones if left out.
    :param message_fields: Graph API fields of messages; the documented ones if left out.
    :param page_size: the most nodes to ask for at once.
    :param file_format: ``jsonl``, or ``parquet``, which needs the extra of that name. Days in either lie side by side.
    :param compression: of ``jsonl`` ``gzip`` (also if left out) or ``none``; of ``parquet`` ``zstd`` (also if left out),
        ``gzip``, ``snappy`` or ``none``.
    :param max_part_records: the most records in one file.
    :param keep_deleted: whether a replaced export's records stay that the API is seen not to list any more. What was not
        looked for always stays.
    :param overwrite: replace a published export of the window without reading it: nothing is carried over.
    :param download_attachments: also fetch the files behind the links of attachments, which die within days. They lie beside
        the records, in ``media/``, and each attachment says where, or why there is none.
    :param max_attachment_bytes: of the largest file that is fetched; ``None``: of any size.
    :param attachment_kinds: patterns of the MIME types that are fetched, such as ``["image/*", "application/pdf"]``; all of them
        if left out.
    :param pseudonymize: some of ``name``, ``email``, ``username``, ``id``: of people they become a keyed hash, with the
        connection's ``pseudonym_secret``. The Page stays readable.
    :param exclude_fields: names of fields of conversations and messages that are not asked for at all.
    :param exclude_user_ids: people who are left out, by their Page-scoped (Instagram-scoped) ids; or the path of one list of
        them, a text with one id a line, read at the start of every try.
    :param on_empty: what to do where the API lists no thread at all in any folder, of whatever age, which has causes that
        look like success: ``warn``, ``ok``, or ``fail``, which publishes nothing.
    :param on_rate_limit: what to do when a limit is reached. ``reschedule`` frees the worker until Meta lets calls through
        again, ``defer`` does so through the triggerer (then a pool and ``max_active_tis_per_dag`` go on counting the task),
        ``wait`` sleeps in the worker, ``fail`` fails the try. Waits of a minute or less are slept in the worker.
    :param rate_limit_timeout: how long to wait without a single new page, over all tries of the run.
    :param release_slot_after: after how long an export lets go of its worker and comes back some seconds later, ``None``: never.
    :param pageconv_conn_id: a connection of type ``pageconv``.
    :return: a summary (XCom, and extra of every outlet asset's event): ``page_id``, ``platform``, ``since``, ``until``,
        ``manifests`` (paths relative to the destination), counts, and the same by folder.
        An ``AssetAlias`` among the outlets becomes :func:`~airflow_provider_pageconv.assets.page_asset` of the Page.
    :raises ValueError: a parameter without a template cannot be used.
    :raises AirflowFailException: what no further try can change: a parameter, the token, a permission, what lies in the
        destination; a limit that outlasts ``rate_limit_timeout``.
    """

    template_fields: Sequence[str] = parameters.TEMPLATED
    ui_color = "#d7e8fb"
    operator_extra_links = (ExportedFilesLink(), PageInboxLink(), PageExportsLink())

    def __init__(
        self,
        destination: str | ObjectStoragePath,
        page_id: str | None = None,
        folders: Sequence[str] | None = None,
        platform: str = "messenger",
        user_id: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        settle: timedelta = timedelta(minutes=5),
        messages: bool = True,
        conversation_fields: str | Sequence[str] | None = None,
        message_fields: str | Sequence[str] | None = None,
        page_size: int = 100,
        file_format: str = "jsonl",
        compression: str | None = None,
        max_part_records: int = 50_000,
        keep_deleted: bool = True,
        overwrite: bool = False,
        download_attachments: bool = False,
        max_attachment_bytes: int | None = 100 * 2**20,
        attachment_kinds: str | Sequence[str] | None = None,
        pseudonymize: Sequence[str] | None = None,
        exclude_fields: str | Sequence[str] | None = None,
        exclude_user_ids: str | Sequence[str] | None = None,
        on_empty: str = "warn",
        on_rate_limit: str = "reschedule",
        rate_limit_timeout: timedelta = timedelta(hours=24),
        release_slot_after: timedelta | None = timedelta(hours=1),
        pageconv_conn_id: str = "pageconv_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.page_id = page_id
        self.folders = folders
        self.platform = platform
        self.user_id = user_id
        self.since = since
        self.until = until
        self.settle = settle
        self.messages = messages
        self.conversation_fields = conversation_fields
        self.message_fields = message_fields
        self.page_size = page_size
        self.file_format = file_format
        self.compression = compression
        self.max_part_records = max_part_records
        self.keep_deleted = keep_deleted
        self.overwrite = overwrite
        self.download_attachments = download_attachments
        self.max_attachment_bytes = max_attachment_bytes
        self.attachment_kinds = attachment_kinds
        self.pseudonymize = pseudonymize
        self.exclude_fields = exclude_fields
        self.exclude_user_ids = parameters.hidden(exclude_user_ids)
        self.on_empty = on_empty
        self.on_rate_limit = on_rate_limit
        self.rate_limit_timeout = rate_limit_timeout
        self.release_slot_after = release_slot_after
        self.pageconv_conn_id = pageconv_conn_id
        self.exported: tuple[str, str] | None = None  # platform and Page, for the links
        self._export: Export | None = None
        self._live: Live | None = None
        self._killed = False
        self._tags: dict[str, str] = {}
        self._ends: Ends | None = None
        self._outcomes: Mapping[str, Outcome] = {}
        parameters.check(self._parameters())

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Check what is known before the task is mapped: Airflow makes the mapped ones only when the run is under way."""
        parameters.check({name: kwargs[name] for name in parameters.CHECKS if name in kwargs})
        if "exclude_user_ids" in kwargs:
            kwargs["exclude_user_ids"] = parameters.hidden(kwargs["exclude_user_ids"])
        mapped: OperatorPartial = super().partial(**kwargs)
        return mapped

    def render_template(self, content: Any, context: Context, *args: Any, **kwargs: Any) -> Any:
        """Render; what asks for the data interval of a run that has none stays, to be refused in a sentence.

        Raised from here, it would come after Airflow's own traceback, once for each field.
        """
        if isinstance(content, parameters.UserIds):
            return parameters.UserIds(super().render_template(content.values, context, *args, **kwargs))
        try:
            return super().render_template(content, context, *args, **kwargs)
        except Exception as error:
            from jinja2 import UndefinedError

            given = "data_interval_start" in context
            if given or not isinstance(error, UndefinedError) or not isinstance(content, str):
                raise
            if not parameters.asks_for_interval(content):
                raise
            return parameters.NoInterval(content)

    @property
    def exclude_user_ids(self) -> Any:
        """As it was given, but for ids: Airflow writes down what stands here, before and after it is rendered."""
        return self._exclude_user_ids

    @exclude_user_ids.setter
    def exclude_user_ids(self, value: Any) -> None:
        self._exclude_user_ids = parameters.hidden(value)

    def _parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in parameters.CHECKS}

    def execute(self, context: Context) -> dict[str, Any]:
        return self._run(context)

    def _resume(self, context: Context, event: Any = None) -> dict[str, Any]:  # noqa: ARG002 - the event is but a moment
        """Come back from a deferral: all that is needed lies in the checkpoint."""
        return self._run(context)

    def _run(self, context: Context) -> dict[str, Any]:
        from airflow_provider_pageconv.compat import AirflowException, AirflowRescheduleException
        from airflow_provider_pageconv.live import Live

        self._live = Live(context.get("task_state_store"))
        self._live.show({"state": "starting"})
        try:
            result = self._dump(context)
        except AirflowRescheduleException:  # until when, and why, is shown
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, AirflowException) else type(error).__name__
            self._live.show({"state": "failed", "reason": reason, "waiting": None, "expected_end": None})
            raise
        else:
            figures = {name: result[name] for name in ("conversations", "messages", "api_calls")}
            self._live.show(
                {"state": "exported", "phase": "published", "waiting": None, "expected_end": None, **figures}
            )
            return result
        finally:
            self._live.close()

    def _dump(self, context: Context) -> dict[str, Any]:
        from airflow_provider_pageconv.compat import AirflowException
        from airflow_provider_pageconv.dump.endings import DumpRefused, LetGo, Stopped
        from airflow_provider_pageconv.dump.export import FoldersFailed
        from airflow_provider_pageconv.dump.store_errors import NoSuchBucketError, StoreError
        from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphPermissionError, GraphRequestError
        from airflow_provider_pageconv.metrics import counted

        self._tags = {name: getattr(context["ti"], name) for name in ("dag_id", "task_id")}
        try:
            with counted(self._tags):
                export, spec, folders = self._prepare(context)
        except (ValueError, GraphAuthError, GraphPermissionError, GraphRequestError) as error:
            raise ExportFailed(str(error)) from None
        stretch = lines.window(spec.window.since, spec.window.until)
        text = f"Exporting Page {spec.page_id} ({spec.platform}), {stretch}: {', '.join(folders)}."
        tell(log, INFO, text, page_id=spec.page_id, platform=spec.platform, window=spec.window.name)
        gc.freeze()  # what Airflow has imported is not looked through again and again while records come and go
        try:
            with counted(self._tags, lambda: export.outcomes.values()):
                outcomes = export.run()
        except LetGo as pause:
            self._let_go(pause.moment, str(pause))
        except FoldersFailed as failed:
            if failed.for_good:
                raise ExportFailed(str(failed), failed.errors) from None
            raise AirflowException(str(failed)) from None
        except (DumpRefused, NoSuchBucketError) as refusal:
            raise ExportFailed(str(refusal)) from None
        except StoreError as error:
            raise StoreError(str(error)) from None  # without the traceback of the store's own library
        except Stopped:
            raise AirflowException(
                "The export was stopped; what was fetched is safe, and the next try goes on from there."
            ) from None
        finally:
            gc.unfreeze()
        return self._conclude(context, spec, dict(zip(folders, outcomes, strict=True)))

    def _prepare(self, context: Context) -> tuple[Export, Spec, Sequence[str]]:
        """Check everything that can be checked before the first call, wait until it may be made, and look at the token."""
        from airflow_provider_pageconv.dump.export import Export
        from airflow_provider_pageconv.dump.opening import open_store
        from airflow_provider_pageconv.graph.limits import Policy
        from airflow_provider_pageconv.hooks import PageConversationsHook
        from airflow_provider_pageconv.lineage import Ends
        from airflow_provider_pageconv.user_ids import read_user_ids

        checked = parameters.check(self._parameters(), rendered=True)
        hook = PageConversationsHook(checked["pageconv_conn_id"])
        spec = self._spec(context, checked, hook)
        if checked["exclude_user_ids"] is not None:
            listed = read_user_ids("exclude_user_ids", checked["exclude_user_ids"], ", or None to leave out nobody")
            spec = replace(spec, exclude_user_ids=listed)
        self._tags |= {"page_id": spec.page_id, "platform": spec.platform}
        self.exported = spec.platform, spec.page_id
        path = reached(self.destination)
        fs = path.fs
        if path.protocol in ("s3", "s3a"):
            self._warn_of_role()
        self._ends = Ends(hook.settings.base_url, path.protocol, path.path, getattr(fs, "account_name", None))
        self._show(
            {
                "page_id": spec.page_id,
                "platform": spec.platform,
                "destination": without_connection_id(str(self.destination)),
                "since": iso(spec.window.since) if spec.window.since else None,
                "until": iso(spec.window.until) if spec.window.until else None,
            }
        )
        folders = checked["folders"] or FOLDERS[spec.platform]
        policy = Policy(
            fail=self.on_rate_limit == "fail",
            stay=self.on_rate_limit == "wait",
            timeout=self.rate_limit_timeout,
            release_after=self.release_slot_after,
        )
        self._wait_until_settled(spec)
        spec = replace(spec, notes=(*hook.look_ahead(spec.page_id, spec.platform), *self._notes(spec)))
        if spec.people.pseudonyms or (spec.people and spec.platform == "messenger"):
            spec = replace(spec, own_ids=self._own_ids(spec, hook))
        settled = spec.window.until + self.settle if spec.window.until else None
        client, store = hook.get_conn(spec.page_id), open_store(fs, path.path)
        media = hook.media(spec.max_attachment_bytes, spec.attachment_kinds) if spec.download_attachments else None
        export = Export(spec, folders, client, store, policy, settled=settled, show=self._show, media=media)
        self._export = export
        if self._killed:
            export.kill()
        return export, spec, folders

    def _notes(self, spec: Spec) -> list[str]:
        """What there is to be said of what is asked for."""
        if not spec.download_attachments or spec.platform != "instagram":
            return []
        from airflow_provider_pageconv.graph.media import INSTAGRAM_NOTE

        return [INSTAGRAM_NOTE]

    def _conclude(self, context: Context, spec: Spec, outcomes: dict[str, Outcome]) -> dict[str, Any]:
        """Tell how it ended: in the log, to the assets, as the task's result."""
        from airflow.sdk import Asset, AssetAlias
        from airflow.sdk.definitions.asset import AssetRef

        from airflow_provider_pageconv.assets import page_asset
        from airflow_provider_pageconv.dump.summary import summary

        result = summary(spec, without_connection_id(str(self.destination)), outcomes)
        self._tell(result)
        self._outcomes = outcomes
        events = context.get("outlet_events")
        if events is None:
            return result
        for outlet in self.outlets:
            if isinstance(outlet, AssetAlias):
                events[outlet].add(page_asset(self.destination, spec.page_id, spec.platform), extra=result)
            elif isinstance(outlet, (Asset, AssetRef)):
                events[outlet].extra = result
        return result

    def _spec(self, context: Context, checked: dict[str, Any], hook: Any) -> Spec:
        from airflow_provider_pageconv.dump.spec import Spec
        from airflow_provider_pageconv.dump.window import Window

        dag_run, ti = context["dag_run"], context["ti"]
        since, until = checked["since"], checked["until"]
        if since is not None and until is None:
            until = round_up(dag_run.run_after - checked["settle"])
            parameters.check_order(since, until)
        page_id = parameters.identifier("page_id", hook.page_id(checked["page_id"]))
        assert page_id is not None
        return Spec(
            platform=checked["platform"],
            page_id=page_id,
            window=Window(since, until),
            api_version=hook.settings.api_version,
            media_hosts=hook.settings.media_hosts,
            pseudonym_key=hook.pseudonym_key() if checked["pseudonymize"] else b"",
            run_key={
                "dag_id": ti.dag_id,
                "run_id": ti.run_id,
                "task_id": ti.task_id,
                "map_index": ti.map_index,
                "clear_number": getattr(dag_run, "clear_number", 0) or 0,
            },
            **{
                name: checked[name]
                for name in (
                    "user_id",
                    "messages",
                    "conversation_fields",
                    "message_fields",
                    "page_size",
                    "file_format",
                    "compression",
                    "max_part_records",
                    "keep_deleted",
                    "overwrite",
                    "download_attachments",
                    "max_attachment_bytes",
                    "attachment_kinds",
                    "pseudonymize",
                    "exclude_fields",
                    "on_empty",
                )
            },
        )

    def _own_ids(self, spec: Spec, hook: Any) -> tuple[str, ...]:
        """What the Page itself is called among people."""
        from airflow_provider_pageconv.graph.errors import GraphRateLimitError

        try:
            return tuple(hook.own_ids(spec.page_id, spec.platform))
        except GraphRateLimitError as limit:
            if self.on_rate_limit not in ("reschedule", "defer"):
                raise
            self._let_go(datetime.now(timezone.utc) + (limit.retry_after or _UNTOLD_LIMIT), "a limit is reached")

    def _warn_of_role(self) -> None:
        """Say what is used where S3's connection does not exist: Airflow's Amazon provider does without, others refuse."""
        from airflow_provider_pageconv.compat import AirflowNotFoundException, BaseHook

        conn_id, at, _ = urlsplit(str(self.destination)).netloc.rpartition("@")
        try:
            if at:
                BaseHook.get_connection(conn_id)
        except AirflowNotFoundException:
            log.warning(
                "The destination names the connection %r, which does not exist: S3 is reached by the machine's own role.",
                conn_id,
            )

    def _wait_until_settled(self, spec: Spec) -> None:
        """Let the window's late arrivals come in before the walk begins."""
        if spec.window.until is None:
            return
        moment = spec.window.until + self.settle
        left = (moment - datetime.now(timezone.utc)).total_seconds()
        if left <= 0:
            return
        reason = "the window settles"
        if self.on_rate_limit != "wait" and left > _IN_PLACE_SECONDS:
            self._let_go(moment, reason)
        tell(log, INFO, f"Waiting {lines.until(moment, datetime.now(timezone.utc))}: {reason}.", until=iso(moment))
        self._show(_waiting(moment, reason))
        told = time.monotonic()
        while (left := (moment - datetime.now(timezone.utc)).total_seconds()) > 0 and not self._killed:
            time.sleep(min(left, 1.0))
            if time.monotonic() - told >= _SILENT_SECONDS:
                told = time.monotonic()
                tell(log, INFO, f"Still waiting {lines.until(moment, datetime.now(timezone.utc))}: {reason}.")
        if self._killed:
            from airflow_provider_pageconv.compat import AirflowException

            raise AirflowException("The export was stopped before its first call.")

    def _let_go(self, moment: datetime, reason: str) -> NoReturn:
        """Free the worker until a moment; the try goes on then, and no retry is used up."""
        from airflow_provider_pageconv.compat import AirflowRescheduleException

        waiting = lines.until(moment, datetime.now(timezone.utc))
        tell(log, INFO, f"Waiting {waiting}, off the worker: {reason}.", until=iso(moment))
        self._show(_waiting(moment, reason))
        if self.on_rate_limit == "defer":
            from airflow_provider_pageconv.triggers import PageConversationsRateLimitTrigger

            self.defer(trigger=PageConversationsRateLimitTrigger(moment), method_name="_resume")
        raise AirflowRescheduleException(moment)  # type: ignore[no-untyped-call]

    def _show(self, value: Mapping[str, Any]) -> None:
        """Show how far the task is, where Airflow has a place for it."""
        if self._live is not None:
            self._live.show(value)

    def _tell(self, result: dict[str, Any]) -> None:
        """What an operator's log ends with: what was not as it should be, what each folder gave, where it lies, all of it."""
        for warning in result["warnings"]:
            for line in lines.wrapped(warning):
                log.warning("%s", line)
        for folder, numbers in result["folders"].items():
            text = f"{folder}: {_counted(numbers)}, {lines.count(numbers['files'], 'file')}, {lines.size(numbers['bytes'])}"
            tell(
                log, INFO, f"{text}." if numbers["published"] == "new" else f"{text}, by an earlier try.", folder=folder
            )
        log.info("%s", f"In {result['destination']}: {result['manifests'][0].partition('/folder=')[0]}")
        cost = lines.count(result["api_calls"], "call")
        if result["waited_seconds"] >= 1:
            cost += f", waited {lines.length(timedelta(seconds=result['waited_seconds']))}"
        figures = {name: result[name] for name in ("conversations", "messages", "api_calls", "waited_seconds", "bytes")}
        tell(log, INFO, f"Exported Page {result['page_id']}: {_counted(result)}, {cost}.", **figures)

    def get_openlineage_facets_on_complete(self, ti: Any) -> OperatorLineage[Any, Any]:  # noqa: ARG002 - it is Airflow's to call
        """The Page's folders in, the streams out; Airflow's OpenLineage provider asks for it in the worker, after the task."""
        from airflow_provider_pageconv.lineage import facets

        return facets(self._ends, self._outcomes)

    def on_kill(self) -> None:
        """Make no further call, make safe what was fetched, publish nothing."""
        self._killed = True
        if self._export is not None:
            self._export.kill()


def _waiting(moment: datetime, reason: str) -> dict[str, Any]:
    return {"state": "waiting", "waiting": {"until": iso(moment), "reason": reason}, "expected_end": None}


def _counted(numbers: Mapping[str, Any]) -> str:
    """What there is, and in brackets what is not as one would wish."""
    told = [lines.count(numbers[name], name[:-1]) for name in ("conversations", "messages")]
    aside = [f"{numbers[name]:,} {words}" for name, words in _ASIDE.items() if numbers[name]]
    return ", ".join(told) + (f" ({', '.join(aside)})" if aside else "")
