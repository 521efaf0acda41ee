"""From an Airflow connection to a client of the Graph API."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_pageconv import compat, parameters
from airflow_provider_pageconv.compat import AirflowException, BaseHook
from airflow_provider_pageconv.connection import Settings, read_settings
from airflow_provider_pageconv.graph.protocol import DEFAULT_VERSION, Credentials

if TYPE_CHECKING:
    from airflow_provider_pageconv.graph.client import Finder, GraphClient
    from airflow_provider_pageconv.graph.edges import Query
    from airflow_provider_pageconv.graph.media_client import MediaClient
    from airflow_provider_pageconv.graph.protocol import Answer, Request
    from airflow_provider_pageconv.graph.tokens import TokenInfo
    from airflow_provider_pageconv.graph.usage import Usage

_ATTEMPTS = 2
"""Calls for one look at a token: whoever waits for it is a person, or an export that can do without."""

_TEST_TIMEOUT = 10.0
"""Seconds that Test waits at most for a server that says nothing: Airflow's own server does that, and somebody looks on."""


def _positive(option: str, value: str) -> float:
    """Read what Airflow's configuration says."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise ValueError(f"[pageconv] {option} of Airflow's configuration is {value!r}: it takes a number above 0.")
    return number


class PageConversationsHook(BaseHook):
    """Reads the conversations of a Facebook Page, and of the Instagram account that belongs to it.

    :param pageconv_conn_id: a connection of type ``pageconv``, with the Page's access token as its password.
    """

    conn_name_attr = "pageconv_conn_id"
    default_conn_name = "pageconv_default"
    conn_type = "pageconv"
    hook_name = "Facebook Page conversations"

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The connection form's fields, for an Airflow that does not read them of the provider's metadata."""
        return compat.form_widgets(_connection_type()["conn-fields"])

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """How the connection form names its fields, for an Airflow that does not read it of the provider's metadata."""
        return compat.form_behaviour(_connection_type()["ui-field-behaviour"])

    def __init__(self, pageconv_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.pageconv_conn_id = pageconv_conn_id
        self._settings: Settings | None = None
        self._clients: dict[str | None, GraphClient] = {}
        self._last: GraphClient | None = None
        self._reading: GraphClient | None = None

    @property
    def settings(self) -> Settings:
        """What the connection says, read once.

        :raises ValueError: a field of it cannot be used.
        """
        if self._settings is None:
            self._settings = read_settings(self.get_connection(self.pageconv_conn_id))
            _mask(self._settings.credentials)
            _mask_texts(self._settings.pseudonym_secret)
        return self._settings

    def pseudonym_key(self) -> bytes:
        """What people are hashed with.

        :raises ValueError: the connection has no ``pseudonym_secret``.
        """
        if not (secret := self.settings.pseudonym_secret):
            raise ValueError(
                f"pseudonymize needs a secret: the extra of the connection {self.pageconv_conn_id!r} has no pseudonym_secret. "
                "Put a long random text there, and keep it: with another one the same people get other values."
            )
        return secret.encode("utf-8", "surrogatepass")

    def own_ids(self, page_id: str, platform: str) -> list[str]:
        """The ids by which the Page itself stands among people: of its Instagram account, or its own where it has a name.

        On Messenger a Page is known by the id that tasks name, and nothing is asked.

        https://developers.facebook.com/docs/graph-api/reference/page

        :raises GraphError: the API refuses to tell.
        :raises ValueError: it tells of no Instagram account.
        """
        from airflow_provider_pageconv.graph.edges import in_path
        from airflow_provider_pageconv.graph.protocol import Request

        if platform == "messenger" and page_id.isdecimal():
            return []
        name = "instagram_business_account" if platform == "instagram" else "id"
        found = self.get_conn(page_id).get(Request(in_path(page_id), {"fields": name})).data.get(name)
        own = found.get("id") if isinstance(found, dict) else found
        if not isinstance(own, str):
            raise ValueError(
                f"The Page {page_id} names no Instagram account (instagram_business_account), so that nobody could tell the "
                "account from the people who write to it: check that it is connected and that the token has instagram_basic."
            )
        return [own]

    def media(self, max_bytes: int | None, kinds: Sequence[str] | None) -> MediaClient:
        """What fetches the files of attachments: without a token, from the hosts that Meta serves media from.

        :param max_bytes: of the largest file; ``None`` for any size.
        :param kinds: patterns of the MIME types that are wanted; ``None`` for all.
        :raises ValueError: a field of the connection cannot be used.
        """
        from airflow_provider_pageconv.graph.media import MEDIA_HOSTS, MediaRules
        from airflow_provider_pageconv.graph.media_client import MediaClient

        settings = self.settings
        rules = MediaRules.of(settings.base_url, settings.media_hosts or MEDIA_HOSTS, max_bytes, kinds)
        return MediaClient(rules, timeout=settings.timeout)

    def get_conn(self, page_id: str | None = None) -> GraphClient:
        """The client for a Page: signed, paced, with patience for passing trouble; safe to share between worker threads.

        A token that is not the Page's own is exchanged for that once the API asks for it; nothing of it is stored.

        :param page_id: the Page; the connection's if left out.
        :raises ValueError: a field of the connection cannot be used.
        """
        page_id = parameters.identifier("page_id", page_id) or self.settings.page_id
        if page_id not in self._clients:
            settings = self.settings

            def own(get: Callable[[Request], Answer]) -> Credentials:
                from airflow_provider_pageconv.graph.tokens import find_own_token

                token = find_own_token(str(page_id), get)
                found = Credentials(token, settings.credentials.app_secret, derived=True)
                _mask(found)
                return found

            self._clients[page_id] = self._make_client(settings.credentials, own if page_id else None)
        self._last = self._clients[page_id]
        return self._last

    def _make_client(
        self, credentials: Credentials, own: Finder | None = None, *, aside: bool = False, timeout: float | None = None
    ) -> GraphClient:
        """Make a client.

        :param aside: for calls that are none of those for which the pace is meant.
        :param timeout: another one than the connection's.
        """
        from airflow_provider_pageconv.compat import conf
        from airflow_provider_pageconv.graph.client import GraphClient
        from airflow_provider_pageconv.graph.usage import SLOW_PERCENT, STOP_PERCENT

        settings = self.settings
        return GraphClient(
            settings.base_url,
            credentials,
            version=settings.api_version,
            calls_per_second=0 if aside else settings.calls_per_second,
            timeout=timeout or settings.timeout,
            slow_percent=_positive(
                "usage_slow_percent", conf.get("pageconv", "usage_slow_percent", fallback=str(SLOW_PERCENT))
            ),
            stop_percent=_positive(
                "usage_stop_percent", conf.get("pageconv", "usage_stop_percent", fallback=str(STOP_PERCENT))
            ),
            own=own,
        )

    def _make_client_aside(self, credentials: Credentials, timeout: float | None = None) -> GraphClient:
        """A client for a look at a token; which version answers is said by the one that comes after it."""
        client = self._make_client(credentials, aside=True, timeout=timeout)
        client.version_note = ""
        return client

    @property
    def usage(self) -> Usage | None:
        """What the usage headers of the last answer said; ``None`` if it had none."""
        return self._last.usage if self._last else None

    def page_id(self, page_id: str | None = None) -> str:
        """The Page that a task names, else the connection's.

        :raises ValueError: neither names one.
        """
        found = parameters.identifier("page_id", page_id) or self.settings.page_id
        if not found:
            raise ValueError(
                f"No page_id: neither the task nor the extra of the connection {self.pageconv_conn_id!r} names a Page."
            )
        return found

    def conversations(
        self,
        page_id: str | None = None,
        *,
        folder: str = "inbox",
        platform: str = "messenger",
        user_id: str | None = None,
        fields: str | Sequence[str] | None = None,
        page_size: int = 100,
    ) -> Iterator[dict[str, Any]]:
        """Every conversation of a folder, newest first as the API gives them, over all pages.

        https://developers.facebook.com/docs/graph-api/reference/page/conversations

        :param page_id: the Page; the connection's if left out.
        :param folder: ``inbox``, ``other``, ``page_done`` or ``spam``; left alone on Instagram, which has one list.
        :param platform: ``messenger`` or ``instagram``, in any case.
        :param user_id: only the conversations of this person, by their Page-scoped (Instagram-scoped) id.
        :param fields: what to ask for; the documented fields if left out. ``id`` and ``updated_time`` always are.
        :param page_size: the most conversations to ask for at once.
        :return: nodes as the API gives them, without ``paging``, whose links carry the token.
        :raises ValueError: a parameter or the connection cannot be used.
        :raises GraphError: the API refuses.
        """
        from airflow_provider_pageconv.graph.edges import ConversationsQuery
        from airflow_provider_pageconv.graph.fields import conversation_fields
        from airflow_provider_pageconv.graph.names import parse_fields

        name, chosen = parameters.one_folder(platform, folder)
        query = ConversationsQuery(
            page_id=self.page_id(page_id),
            platform=name,
            folder=chosen,
            user_id=parameters.identifier("user_id", user_id),
            fields=conversation_fields(parse_fields("fields", fields)),
        )
        self._reading = self.get_conn(query.page_id)
        return self._nodes(query, page_size, self._reading)

    def messages(
        self, conversation_id: str, *, fields: str | Sequence[str] | None = None, page_size: int = 100
    ) -> Iterator[dict[str, Any]]:
        """Every message of a conversation, newest first as the API gives them, over all pages.

        :param conversation_id: id of the conversation; where the token is not a Page's own, of the Page whose conversations
            were asked for last, else of the connection's.
        :param fields: what to ask for; the documented fields if left out. ``id`` and ``created_time`` always are.
        :param page_size: the most messages to ask for at once.
        :return: nodes as the API gives them, without ``paging``; of those beyond the newest 20 perhaps the bare id.
        :raises ValueError: a parameter or the connection cannot be used.
        :raises GraphError: the API refuses.
        """
        from airflow_provider_pageconv.graph.edges import MessagesQuery
        from airflow_provider_pageconv.graph.fields import message_fields
        from airflow_provider_pageconv.graph.names import parse_fields

        query = MessagesQuery(
            parameters.node_id("conversation_id", conversation_id), message_fields(parse_fields("fields", fields))
        )
        return self._nodes(query, page_size, self._reading or self.get_conn())

    def pages(self) -> Iterator[dict[str, Any]]:
        """The Pages that the token reaches, never with their tokens: for ``.expand(page_id=…)``.

        https://developers.facebook.com/docs/graph-api/reference/user/accounts

        :return: ``{"id", "name", "tasks"}`` of each; of a Page's own token that one, with ``None`` for what it cannot tell.
        :raises ValueError: the connection cannot be used.
        :raises GraphError: the API refuses.
        """
        from airflow_provider_pageconv.graph.edges import AccountsQuery
        from airflow_provider_pageconv.graph.errors import GraphPermissionError, GraphRequestError
        from airflow_provider_pageconv.graph.protocol import Request

        # A client of its own: another's token may have become a Page's by now.
        client = self._last = self._make_client(self.settings.credentials)
        try:
            for node in self._nodes(AccountsQuery(), 100, client):
                yield {name: node.get(name) for name in ("id", "name", "tasks")}
        except (GraphRequestError, GraphPermissionError):
            page = client.get(Request("me", {"fields": "id,name", "metadata": "1"})).data
            metadata = page.get("metadata")
            if not isinstance(metadata, dict) or metadata.get("type") != "page":
                raise
            yield {"id": page.get("id"), "name": page.get("name"), "tasks": None}

    def token_info(self) -> TokenInfo:
        """Look at the connection's token: its type, whether it is good, when it ends, what it may do, whose it is.

        The app looks at it where the connection has ``app_id`` and ``app_secret``, else the token at itself, which the API
        may refuse. The address of this call holds the token, for the API takes it in no other way; no log shows it.

        :return: what the API says; of a token that it refuses, why.
        :raises ValueError: the connection cannot be used.
        :raises GraphError: the API does not say.
        """
        from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphPermissionError, GraphRequestError
        from airflow_provider_pageconv.graph.tokens import TokenInfo

        app, own = self._app(), self.settings.credentials
        if app is not None:
            with suppress(GraphAuthError, GraphPermissionError, GraphRequestError):  # the token itself may be told
                info = self._look(app)
                if info.is_valid is not None:
                    return info
        try:
            return self._look(own)
        except GraphAuthError as error:
            return TokenInfo(is_valid=False, reason=error.meaning, remedy=error.remedy)
        except (GraphPermissionError, GraphRequestError):
            pass  # what it is shows where it is used
        node = self._me(self._make_client(own))
        kind = _type_of(node)
        return TokenInfo(type=kind, is_valid=True, page_id=node.get("id") if kind == "page" else None)

    def _app(self) -> Credentials | None:
        """The token of the app itself, if the connection has what it takes."""
        secret = self.settings.credentials.app_secret
        if not self.settings.app_id or not secret:
            return None
        app = Credentials(f"{self.settings.app_id}|{secret}", secret)
        _mask(app)
        return app

    def _look(self, looking: Credentials, *, timeout: float | None = None) -> TokenInfo:
        from airflow_provider_pageconv.graph.tokens import look, read_look

        client = self._make_client_aside(looking, timeout)
        return read_look(client.get(look(self.settings.credentials.token), attempts=_ATTEMPTS).data)

    def look_ahead(self, page_id: str, platform: str) -> list[str]:
        """Look at the token before an export uses it, where the connection has ``app_id`` and ``app_secret``.

        A user's or system user's token is exchanged for the Page's own on this occasion. A look that fails or is refused
        changes nothing.

        :return: warnings of what ends soon.
        :raises GraphAuthError: the token has ended, or is another Page's.
        :raises GraphPermissionError: a permission or a task is missing for the platform.
        """
        from airflow_provider_pageconv.compat import conf
        from airflow_provider_pageconv.graph import access
        from airflow_provider_pageconv.graph.errors import GraphError

        app = self._app()
        if app is None or not conf.getboolean("pageconv", "check_token", fallback=True):
            return []
        days = _positive("warn_days", conf.get("pageconv", "warn_days", fallback="14"))
        try:
            info = self._look(app)
        except GraphError as error:
            self.log.info("The access token could not be looked at, which changes nothing: %s", error)
            return []
        if info.type == "page" and info.page_id != page_id:
            with suppress(GraphError):  # whose it is it knows best itself
                info = replace(
                    info, page_id=str(self._me(self._make_client_aside(self.settings.credentials)).get("id"))
                )
        access.refuse(info, platform, page_id)
        if info.type in ("user", "system_user"):
            self._exchange_ahead(page_id, platform)
        return access.ends_soon(info, datetime.now(timezone.utc), days)

    def _exchange_ahead(self, page_id: str, platform: str) -> None:
        """Take the Page's own token from the list of Pages, which names the tasks as well."""
        from airflow_provider_pageconv.graph import access
        from airflow_provider_pageconv.graph.errors import GraphError
        from airflow_provider_pageconv.graph.tokens import account, read_token

        client = self._make_client_aside(self.settings.credentials)
        try:
            node = account(page_id, lambda request: client.get(request, attempts=_ATTEMPTS))
        except GraphError:
            return  # the Page itself may give it, once the API asks for it
        if node is None:
            return
        access.refuse_tasks(node.get("tasks"), platform, page_id)
        if (token := read_token(node)) is not None:
            own = Credentials(token, self.settings.credentials.app_secret, derived=True)
            _mask(own)
            self.get_conn(page_id).use(own)

    def renew_token(self) -> str:
        """Have the connection's token extended by 60 days, as Meta recommends for system users.

        https://developers.facebook.com/docs/business-management-apis/system-users/install-apps-and-generate-tokens

        :return: the new token, masked in every log and stored nowhere: put it where your connections come from.
        :raises ValueError: the connection has no ``app_id`` or no ``app_secret``.
        :raises GraphError: the API refuses; a token that has ended cannot be renewed.
        """
        from airflow_provider_pageconv.graph.errors import GraphTransientError
        from airflow_provider_pageconv.graph.tokens import read_token, renewal

        settings = self.settings
        token, secret = settings.credentials.token, settings.credentials.app_secret
        if not settings.app_id or not secret:
            raise ValueError(
                f"The connection {self.pageconv_conn_id!r} cannot renew its token: its extra takes the app_id and the "
                "app_secret of the app that the token belongs to."
            )
        answer = self._make_client(settings.credentials).get(renewal(token, settings.app_id, secret))
        renewed = read_token(answer.data)
        if renewed is None:
            raise GraphTransientError("the answer brings no token", remedy="Try again later")
        _mask(Credentials(renewed, secret))
        return renewed

    def _nodes(self, query: Query, page_size: int, client: GraphClient) -> Iterator[dict[str, Any]]:
        from airflow_provider_pageconv.graph.paging import Pager, all_rows

        parameters.count("page_size", page_size)
        return (row.node for row in all_rows(Pager(query, page_size), client.get))

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection, with none of the calls that Meta limits for conversations.

        :return: whether it is good, and whose token it is, until when, and what it lacks; or what to do.
        """
        from airflow_provider_pageconv.graph.errors import GraphError, GraphRateLimitError

        try:
            return self._test()
        except GraphRateLimitError as error:
            return False, f"A limit is reached, which says nothing of the access token: {error}"
        except (AirflowException, GraphError, ValueError) as error:
            return False, str(error)

    def _test(self) -> tuple[bool, str]:
        from airflow_provider_pageconv.graph import access

        settings = self.settings
        client = self._make_client(settings.credentials, aside=True, timeout=min(settings.timeout, _TEST_TIMEOUT))
        node = self._first_answer(client)
        info, misfit = self._look_in_test()
        kind, ident = info.type or _type_of(node), str(node["id"])
        if kind is None and ident == settings.page_id:
            kind = "page"
        info = replace(info, type=kind, page_id=ident if kind == "page" else None)
        access.refuse_owner(info, settings.page_id)
        if kind == "page":
            good, whose, tasks = True, f"The access token is that of the Page {ident}", None
        else:
            good, whose, tasks = self._whose(info, lambda request: client.get(request, attempts=_ATTEMPTS))
        if not good:
            return False, f"{whose}."
        fit, told = access.describe(info, whose, settings.page_id or info.page_id, datetime.now(timezone.utc), tasks)
        wrong = bool(misfit and info.app_id and info.app_id != settings.app_id)
        return fit and not wrong, " ".join(filter(None, (told, misfit, client.version_note)))

    def _first_answer(self, client: GraphClient) -> Mapping[str, Any]:
        """What the token says that it is.

        :raises ValueError: what answers is not the API, or not this version of it; or nothing does.
        :raises GraphError: the API refuses.
        """
        from airflow_provider_pageconv.graph import access
        from airflow_provider_pageconv.graph.errors import (
            GraphAuthError,
            GraphError,
            GraphRequestError,
            GraphTransientError,
        )
        from airflow_provider_pageconv.graph.tokens import TokenInfo

        settings = self.settings
        elsewhere = f"What answers at {settings.base_url} is no Graph API: check the connection's host."
        try:
            node = self._me(client)
        except GraphAuthError:
            app_id, bar, _ = settings.credentials.token.partition("|")
            if bar and app_id.isdigit():  # an app's, and `me` is nobody then
                access.refuse_owner(TokenInfo(type="app"), None)
            raise
        except GraphRequestError as error:
            if error.code != 2500:
                raise
            raise ValueError(
                f"The API at {settings.base_url} has no version {settings.api_version}: check the connection's api_version "
                f"({DEFAULT_VERSION} if empty), and its host."
            ) from None
        except GraphTransientError as error:
            if error.code is not None or (error.http_status or 0) >= 500:
                raise
            if error.http_status is not None:
                raise ValueError(elsewhere) from None
            raise ValueError(
                f"No answer came from {settings.base_url}: {error.meaning}. Check the connection's host and port, and the "
                "proxy if there is one."
            ) from None
        except GraphError as error:
            if type(error) is not GraphError or error.fbtrace_id is not None:  # which Meta gives to each of its errors
                raise
            raise ValueError(elsewhere) from None
        ident = node.get("id")
        if not ident or isinstance(ident, bool) or not isinstance(ident, (str, int)):
            raise ValueError(elsewhere)
        return node

    def _look_in_test(self) -> tuple[TokenInfo, str]:
        """Look at a token that was just seen to be good, by the app, else by itself.

        :return: what is known of it, and a sentence where the app may not look.
        """
        from airflow_provider_pageconv.graph.errors import GraphError, GraphRateLimitError, GraphTransientError
        from airflow_provider_pageconv.graph.tokens import TokenInfo

        settings, app = self.settings, self._app()
        info, is_refused = TokenInfo(), False
        for looking in filter(None, (app, settings.credentials)):
            try:
                info = self._look(looking, timeout=min(settings.timeout, _TEST_TIMEOUT))
            except GraphRateLimitError:
                raise
            except GraphError as error:  # whoever may not look says nothing of the token
                is_refused |= looking is app and not isinstance(error, GraphTransientError)
                continue
            if info.is_valid is not None:
                break
            is_refused |= looking is app
        if not is_refused:
            return info, ""
        # What is no id may be anything that strayed into the field, also a secret.
        named = f" {settings.app_id}" if (settings.app_id or "").isdigit() else ""
        whose = f", which belongs to the app {info.app_id}," if info.app_id else ""
        return info, (
            f"The app_id{named} and the app_secret of the connection may not look at the token{whose} nor renew it: put in "
            "those of its app."
        )

    def _whose(self, info: TokenInfo, get: Callable[[Request], Answer]) -> tuple[bool, str, Any]:
        """Whose the token is that is no Page's, whether it reaches the Page or any, and with which tasks on the Page."""
        from airflow_provider_pageconv.graph import access
        from airflow_provider_pageconv.graph.edges import AccountsQuery
        from airflow_provider_pageconv.graph.errors import GraphRequestError
        from airflow_provider_pageconv.graph.paging import Pager, all_rows

        page_id = self.settings.page_id
        names = {"user": "a user's", "system_user": "a system user's"}
        whose = f"The access token is {names.get(info.type or '', 'of a kind that is not known')}"
        if page_id:
            return True, f"{whose}, and brings that of the Page {page_id}", self._bring(page_id, get)
        try:
            pages = [row.node for row in all_rows(Pager(AccountsQuery(("id", "tasks")), 100), get)]
        except GraphRequestError:
            if info.type is not None:
                raise
            return False, "The API does not say whose the access token is: put the id of its Page into page_id", None
        idle = sum(access.lacks_task(page.get("tasks"), "messenger") for page in pages)
        if not pages:
            return False, f"{whose}, and reaches no Page: give whoever it belongs to a task on one", None
        count = "1 Page" if len(pages) == 1 else f"{len(pages)} Pages"
        without = f" ({idle} of them without the task MESSAGING or MODERATE)" if idle else ""
        return True, f"{whose}, and reaches {count}{without}, of which each task of a DAG has to name one", None

    def _bring(self, page_id: str, get: Callable[[Request], Answer]) -> Any:
        """Find the Page's own token, as an export will.

        :return: the tasks on the Page; ``None`` where nobody says.
        :raises GraphError: there is none.
        """
        from airflow_provider_pageconv.graph import access
        from airflow_provider_pageconv.graph.errors import GraphPermissionError, GraphRequestError
        from airflow_provider_pageconv.graph.tokens import account, find_own_token, read_token

        node: Mapping[str, Any] = {}
        with suppress(GraphPermissionError, GraphRequestError):
            node = account(page_id, get) or {}
        tasks = node.get("tasks")
        access.refuse_tasks(tasks, "instagram", page_id)  # for which any task will do
        own = read_token(node) or find_own_token(page_id, get)
        _mask(Credentials(own, self.settings.credentials.app_secret))
        return tasks

    def _me(self, client: GraphClient) -> Mapping[str, Any]:
        """What the token says that it is: https://developers.facebook.com/docs/graph-api/overview on ``metadata``."""
        from airflow_provider_pageconv.graph.protocol import Request

        return client.get(Request("me", {"fields": "id", "metadata": "1"}), attempts=_ATTEMPTS).data


def _connection_type() -> dict[str, Any]:
    """What the provider's metadata says of the connection."""
    from airflow_provider_pageconv.provider import get_provider_info

    found: dict[str, Any] = get_provider_info()["connection-types"][0]
    return found


def _type_of(node: Mapping[str, Any]) -> str | None:
    """The type of a node that came with its metadata."""
    metadata = node.get("metadata")
    kind = metadata.get("type") if isinstance(metadata, dict) else None
    return kind if isinstance(kind, str) else None


def _mask(credentials: Credentials) -> None:
    """Keep the secrets out of the logs in every form in which they may get there: Airflow masks exact texts only."""
    _mask_texts(credentials.token, credentials.app_secret, credentials.proof)


def _mask_texts(*secrets: str | None) -> None:
    from urllib.parse import quote, quote_plus

    from airflow.sdk.log import mask_secret

    for secret in secrets:
        if secret:
            for form in {secret, quote(secret, safe=""), quote_plus(secret)}:
                mask_secret(form)
