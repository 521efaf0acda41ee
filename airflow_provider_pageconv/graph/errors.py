"""The Graph API's errors, as deep as what a caller does next.

No message of Meta's goes into an error: it may quote the token or name a person. What is useful in it (the name of a
field, of a permission) is recognised and named in a sentence of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from airflow_provider_pageconv.graph.usage import Usage


class GraphError(Exception):
    """The Graph API refused a call, or gave an answer that cannot be used.

    :param meaning: what happened.
    :param remedy: what to do about it.
    :param code: ``error.code`` of the answer, if there was one.
    :param subcode: ``error.error_subcode``.
    :param http_status: HTTP status of the answer; says nothing reliable by itself.
    :param fbtrace_id: the trace id that Meta's support asks for.
    :param is_transient: whether Meta says that the same call may succeed later.
    """

    wants_page_token = False
    """Whether it is the Page's own token that is missing."""

    def __init__(
        self,
        meaning: str,
        *,
        remedy: str = "",
        code: int | None = None,
        subcode: int | None = None,
        http_status: int | None = None,
        fbtrace_id: str | None = None,
        is_transient: bool = False,
    ) -> None:
        super().__init__(meaning)
        self.meaning = meaning
        self.remedy = remedy
        self.code = code
        self.subcode = subcode
        self.http_status = http_status
        self.fbtrace_id = fbtrace_id
        self.is_transient = is_transient

    def __str__(self) -> str:
        return self._told(self.fbtrace_id)

    @property
    def without_trace(self) -> str:
        """All that it says but the trace id, which no two calls share: what was met twice is the same here."""
        return self._told(None)

    def _told(self, fbtrace_id: str | None) -> str:
        name = "Graph API"
        if self.code is not None:
            name += f" error {self.code}" + (f"/{self.subcode}" if self.subcode is not None else "")
        parts = [f"{name}: {self.meaning}."]
        if self.remedy:
            parts.append(f"{self.remedy}.")
        facts = []
        if self.http_status is not None:
            facts.append(f"HTTP status {self.http_status}")
        if fbtrace_id:
            facts.append(f"fbtrace_id {fbtrace_id}")
        if facts:
            parts.append(f"({', '.join(facts)})")
        return " ".join(parts)


class GraphAuthError(GraphError):
    """The access token is not, or no longer, good: somebody has to give another one."""


class GraphPermissionError(GraphError):
    """The token is good, but may not do this."""


class GraphRequestError(GraphError):
    """The call itself is wrong; the same call will always be refused."""


class GraphFieldError(GraphRequestError):
    """The API does not know some field, or does not give it any more.

    :param fields: their names.
    :param node_type: what Meta calls the kind of node that lacks them, such as ``UnifiedThread``.
    """

    def __init__(
        self, meaning: str, *, fields: Sequence[str] = (), node_type: str | None = None, **facts: object
    ) -> None:
        super().__init__(meaning, **facts)  # type: ignore[arg-type]
        self.fields = tuple(fields)
        self.node_type = node_type


class GraphCursorError(GraphRequestError):
    """A cursor was refused: the list has to be walked again past what is done.

    :param too_deep: whether it was refused for its depth, where walking again leads to the same end.
    """

    def __init__(self, meaning: str, *, too_deep: bool = False, **facts: object) -> None:
        super().__init__(meaning, **facts)  # type: ignore[arg-type]
        self.too_deep = too_deep


class GraphUnavailableError(GraphRequestError):
    """The object does not exist (any more), or the token may not see it.

    :param may_be_limit: whether a limit was seen to be put into the same words.
    """

    def __init__(self, meaning: str, *, may_be_limit: bool = False, **facts: object) -> None:
        super().__init__(meaning, **facts)  # type: ignore[arg-type]
        self.may_be_limit = may_be_limit


class GraphTransientError(GraphError):
    """Passing trouble: a server error, the network, a cut or unreadable answer."""


class GraphUnreachableError(GraphTransientError):
    """The server was not reached, so that it makes no difference how much is asked for."""


class GraphTooLargeError(GraphTransientError):
    """The answer would be too large: ask for less, never for the same again."""


_WHOSE = {4: "the app's", 17: "the user's", 32: "the Page's", 341: "the app's", 613: "the Page's"}
_WHOSE |= {80001: "the Page's", 80002: "the Instagram account's", 80006: "the Page's"}
"""Of the codes of limits, https://developers.facebook.com/docs/graph-api/overview/rate-limiting"""


class GraphRateLimitError(GraphError):
    """A limit is reached: stop calling, come back later.

    :param retry_after: how long Meta says to wait; ``None`` where it names no time.
    :param usage: what the usage headers of the refusal said.
    """

    def __init__(
        self, meaning: str, *, retry_after: timedelta | None = None, usage: Usage | None = None, **facts: object
    ) -> None:
        super().__init__(meaning, **facts)  # type: ignore[arg-type]
        self.retry_after = retry_after
        self.usage = usage

    @property
    def brief(self) -> str:
        """Whose limit it is, for a line that says until when: ``the Page's limit is reached (80006)``."""
        whose = _WHOSE.get(self.code or 0)
        if whose is None:
            return self.meaning if self.code is None else f"{self.meaning} ({self.code})"
        return f"{whose} limit is reached ({self.code})"
