"""Waits until a Page's calls are let through again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from logging import INFO
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_pageconv import lines, parameters
from airflow_provider_pageconv.compat import conf
from airflow_provider_pageconv.lines import tell
from airflow_provider_pageconv.times import iso

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class PageConversationsRateLimitSensor(BaseSensorOperator):
    """Waits until Meta lets calls for a Page through and its usage is low.

    It is advice: nobody reserves the allowance, and
    :class:`~airflow_provider_pageconv.operators.PageConversationsToObjectStorageOperator` waits by itself. It is of use
    before tasks that do not, and to keep a heavy export from taking what others need.

    It makes one cheap call each time. Where Meta names the moment at which calls are let through again, the next look is
    then, else after ``poke_interval``. Errors that are no limit fail at once.

    :param page_id: the Page; the connection's if left out.
    :param platform: ``messenger`` or ``instagram``, in any case: each has a limit of its own.
    :param max_usage_percent: done when usage is below it; when no usage is told, a good answer is enough.
    :param deferrable: wait in the triggerer.
    :param pageconv_conn_id: a connection of type ``pageconv``.
    :return: (XCom) ``usage_percent`` (or ``None``) and ``checked_at`` of the last look.
    :raises ValueError: a parameter without a template cannot be used.
    :raises AirflowFailException: the API refuses for another reason than a limit.
    """

    template_fields: Sequence[str] = ("page_id", "platform", "pageconv_conn_id")
    ui_color = "#d7e8fb"

    def __init__(
        self,
        page_id: str | None = None,
        platform: str = "messenger",
        max_usage_percent: float = 80,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        pageconv_conn_id: str = "pageconv_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.page_id = page_id
        self.platform = platform
        self.max_usage_percent = max_usage_percent
        self.deferrable = deferrable
        self.pageconv_conn_id = pageconv_conn_id
        # Of the sensor's own waiting: where Meta names a moment, poke() sets another interval for one time.
        self._reason = "the look failed"
        self._asked_interval = self.poke_interval
        self._asked_backoff = self.exponential_backoff
        self._checked()

    def _checked(self) -> dict[str, Any]:
        parameters.percent("max_usage_percent", self.max_usage_percent)
        return parameters.check({name: getattr(self, name) for name in ("page_id", "platform", "pageconv_conn_id")})

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        # As if the triggerer had handed the task back: Airflow's soft_fail and never_fail hold there.
        return self.resume_execution("_look_or_defer", None, context)

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002 - Airflow's signature
        """Look once, and set when to look again."""
        result, named = self._look()
        self.poke_interval = self._asked_interval if named is None else named.total_seconds()
        self.exponential_backoff = self._asked_backoff and named is None
        return result

    def _get_next_poke_interval(self, started_at: Any, run_duration: Callable[[], float], poke_count: int) -> float:
        """As Airflow has it, but not beyond the timeout, which Airflow looks at only after a poke. It asks right before it waits."""
        left = max(self.timeout - run_duration(), 1.0)
        wait = min(super()._get_next_poke_interval(started_at, run_duration, poke_count), left)
        self._tell_wait(wait)
        return wait

    def _tell_wait(self, seconds: float) -> datetime:
        """Say until when it waits, and why.

        :return: that moment.
        """
        now = datetime.now(timezone.utc)
        moment = now + timedelta(seconds=seconds)
        tell(log, INFO, f"Waiting {lines.until(moment, now)}: {self._reason}.", until=iso(moment))
        return moment

    def _look_or_defer(self, context: Context, event: Any = None, looks: int = 1) -> Any:  # noqa: ARG002 - the event is but a moment
        """Look, and wait in the triggerer if it is not time yet; also where the triggerer hands the task back.

        :param looks: how many there were without a word of Meta's, for Airflow's backoff.
        """
        from airflow_provider_pageconv.compat import AirflowFailException, AirflowSensorTimeout, AirflowSkipException

        named = None
        try:
            result, named = self._look()
            if result.is_done:
                return result.xcom_value
        except AirflowFailException:
            raise
        except Exception as error:
            # As in the other modes: soft_fail is about failing for good and about time-outs, this may be tried again.
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            if not self.silent_fail:
                raise
            log.exception("The look failed.")
            self._reason = "the look failed"
        started = context["ti"].start_date

        def elapsed() -> float:
            return (datetime.now(timezone.utc) - started).total_seconds()

        left = self.timeout - elapsed()
        if left <= 0:
            raise AirflowSensorTimeout(f"The limit lasted longer than the sensor's timeout of {self.timeout:g} s.")
        from airflow_provider_pageconv.triggers import PageConversationsRateLimitTrigger

        wait = named.total_seconds() if named else super()._get_next_poke_interval(started, elapsed, looks)
        moment = self._tell_wait(min(wait, max(left, 1.0)))
        return self.defer(
            trigger=PageConversationsRateLimitTrigger(moment),
            method_name="_look_or_defer",
            kwargs={"looks": looks + (named is None)},
        )

    def _look(self) -> tuple[PokeReturnValue, timedelta | None]:
        """Make the cheapest call that meets the limit of conversations.

        :return: whether that is enough, and how long Meta says to wait if it says so.
        """
        from airflow_provider_pageconv.compat import AirflowFailException
        from airflow_provider_pageconv.graph.edges import probe
        from airflow_provider_pageconv.graph.errors import GraphError, GraphRateLimitError, GraphTransientError
        from airflow_provider_pageconv.hooks import PageConversationsHook

        try:
            checked = self._checked()
            hook = PageConversationsHook(checked["pageconv_conn_id"])
            page_id = hook.page_id(checked["page_id"])
            request = probe(page_id, checked["platform"])
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        try:
            usage, named, done = hook.get_conn(page_id).get(request).usage, None, True
        except GraphRateLimitError as error:
            usage, named, done = error.usage, error.retry_after, False
            self._reason = error.brief
        except GraphTransientError:
            raise
        except GraphError as error:
            raise AirflowFailException(str(error)) from None
        if done and usage is not None and usage.percent >= self.max_usage_percent:
            named, done = usage.regain, False
            self._reason = f"{usage.percent:.0f} % of the limit are used, {self.max_usage_percent:g} % or more"
        if done:
            share = f", {usage.percent:.0f} % of the limit used" if usage else ""
            tell(log, INFO, f"Calls for the Page {page_id} are let through{share}.", page_id=page_id)
        value = {
            "usage_percent": usage.percent if usage else None,
            "checked_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        return PokeReturnValue(is_done=done, xcom_value=value), named
