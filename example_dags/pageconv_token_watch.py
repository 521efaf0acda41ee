"""Look at the tokens of all connections once a day, and fail while there is still time to do something.

Nothing renews a token that has ended, and Meta recommends system users' tokens that end after 60 days. A connection fails
here, with a sentence, when its token is not valid, when it ends within ``days``, or when access to data ends by then.

Before you unpause it, name the connections in ``CONNECTIONS``. With ``app_id`` and ``app_secret`` in its extra, a connection
tells most: else the token is looked at by itself, which Meta may refuse.

With ``renew`` on, a system user's token that ends soon is renewed instead: 60 more days, and the new token is put where the
connection is kept. For Airflow's own connections, as here, a task has to go through Airflow's API, for it has no database:
the connection ``airflow_api`` (any type) holds its address in *host*, ``https://airflow.example.com``, and in *login* and
*password* a user who may edit connections. Do you keep connections in a secrets backend, or Airflow's login elsewhere, then
change ``put_token`` alone. Access to data that ends is not renewed in this way: its person has to log in to the app anew.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_pageconv.compat import AirflowFailException, BaseHook, CronTriggerTimetable
from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphPermissionError, GraphRequestError
from airflow_provider_pageconv.hooks import PageConversationsHook

log = logging.getLogger(__name__)

CONNECTIONS = ["pageconv_default"]


def put_token(conn_id: str, token: str) -> None:
    """Put a new token into a connection; neither it nor Airflow's answer is logged or returned.

    In AWS Secrets Manager, as an example of a secrets backend, with a secret of its own for each connection, as JSON:

        client = SecretsManagerHook("aws_default").conn
        kept = json.loads(client.get_secret_value(SecretId=f"airflow/connections/{conn_id}")["SecretString"])
        client.put_secret_value(SecretId=…, SecretString=json.dumps({**kept, "password": token}))
    """
    import requests

    airflow = BaseHook.get_connection("airflow_api")
    address = str(airflow.host).rstrip("/")
    login = {"username": airflow.login, "password": airflow.password}
    entry = requests.post(f"{address}/auth/token", json=login, timeout=60)
    entry.raise_for_status()
    changed = requests.patch(
        f"{address}/api/v2/connections/{conn_id}",
        params={"update_mask": "password"},  # the rest of the connection stays
        json={"connection_id": conn_id, "conn_type": "pageconv", "password": token},
        headers={"Authorization": f"Bearer {entry.json()['access_token']}"},
        timeout=60,
    )
    changed.raise_for_status()


def renewed(conn_id: str) -> str:
    """Have the token of a connection renewed; what refuses that for good ends the task at once, for no other try would help."""
    try:
        return PageConversationsHook(conn_id).renew_token()
    except ValueError as error:  # the connection lacks what it takes
        raise AirflowFailException(str(error)) from None
    except (GraphAuthError, GraphPermissionError, GraphRequestError) as error:
        raise AirflowFailException(f"The token of the connection {conn_id} could not be renewed. {error}") from None


with DAG(
    "pageconv_token_watch",
    description="Say in time when an access token ends",
    schedule=CronTriggerTimetable("0 6 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    params={
        "connections": Param(
            CONNECTIONS, type="array", items={"type": "string"}, description="Whose tokens to look at"
        ),
        "days": Param(14, type="integer", minimum=1, description="How long before its end a token is reported"),
        "renew": Param(False, type="boolean", description="Renew a system user's token that ends soon"),
    },
    # For an API that cannot be reached. What is wrong with a token does not change by itself.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
    tags=["pageconv", "example"],
    doc_md=__doc__,
):

    @task
    def connections(params: Any = None) -> list[str]:
        """Name the connections."""
        return list(params["connections"])

    @task(map_index_template="{{ task.op_kwargs['conn_id'] }}")
    def watch(conn_id: str, params: Any = None) -> None:
        """Look at the token of a connection, and renew it if that is wanted and due."""
        soon = datetime.now(timezone.utc) + timedelta(days=params["days"])
        info = PageConversationsHook(conn_id).token_info()
        ends_soon = info.expires_at is not None and info.expires_at <= soon
        if params["renew"] and ends_soon and info.is_valid and info.type == "system_user":
            put_token(conn_id, renewed(conn_id))
            info = PageConversationsHook(conn_id).token_info()
            log.info("The token of the connection %s was renewed.", conn_id)
        whose = f"The token of the connection {conn_id}"
        if info.is_valid is False:
            raise AirflowFailException(f"{whose} is not valid: {info.reason}. Make a new one and put it in.")
        if info.expires_at and info.expires_at <= soon:
            raise AirflowFailException(
                f"{whose} ends on {info.expires_at:%Y-%m-%d at %H:%M} UTC: renew it, or make a new one and put it in."
            )
        if info.data_access_expires_at and info.data_access_expires_at <= soon:
            raise AirflowFailException(
                f"{whose} gives no data any more from {info.data_access_expires_at:%Y-%m-%d at %H:%M} UTC on: the person "
                "whose it is has to log in to the app anew."
            )
        ends = f"ends on {info.expires_at:%Y-%m-%d}" if info.expires_at else "names no end"
        log.info("%s %s.", whose, f"is valid and {ends}" if info.is_valid else "could not be looked at in full")

    watch.expand(conn_id=connections())
