"""Every way in which a task can go, each as a task of one DAG; what each does comes from the test that starts it."""

from __future__ import annotations

import json
import logging
import os
from datetime import timedelta
from typing import Any
from urllib.parse import quote, quote_plus

from airflow.sdk import DAG, Asset, task

from airflow_provider_pageconv.dump import folder
from airflow_provider_pageconv.graph import client, limits
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator
from airflow_provider_pageconv.sensors import PageConversationsRateLimitSensor

ROOT = os.environ["PAGECONV_TEST_ROOT"]
RUNS: dict[str, dict[str, Any]] = json.loads(os.environ["PAGECONV_TEST_RUNS"])
SPANS = ("release_slot_after", "rate_limit_timeout", "retry_delay", "execution_timeout")

# Pauses of a test's length; a checkpoint after nearly every step.
limits._JITTER = 1.0
client._FIRST_PAUSE = 0.05
folder.CHECKPOINT_SECONDS = 0.1

for name in ("urllib3", "requests", "airflow_provider_pageconv"):
    logging.getLogger(name).setLevel(logging.DEBUG)


class Crashing(PageConversationsToObjectStorageOperator):
    """Runs into a bug where its answers are read, with everything that one holds there in its local variables."""

    def execute(self, context: Any) -> Any:
        decipher, answers = client.decipher, []

        def broken(*arguments: Any) -> Any:
            answers.append(arguments)
            if len(answers) == 5:
                raise RuntimeError("a bug")
            return decipher(*arguments)

        client.decipher = broken
        return super().execute(context)


# Few at a time: sixteen that start at once are more than two busy cores bring up while Airflow still waits for them.
with DAG(dag_id="leaks", schedule=None, max_active_runs=1, max_active_tasks=6):
    for name, options in RUNS.items():
        kind = Crashing if name.startswith("crash") else PageConversationsToObjectStorageOperator
        spans = {key: timedelta(seconds=options.pop(key)) for key in SPANS if key in options}
        kind(
            task_id=name,
            **{"destination": f"{ROOT}/{{{{ task.task_id }}}}", **options, **spans},
            page_size=5,
            pageconv_conn_id=name,
            outlets=[Asset(f"export_{name}")],
        )

    PageConversationsRateLimitSensor(task_id="sense", pageconv_conn_id="sense", deferrable=True, priority_weight=9)

    @task(task_id="careless")
    def careless() -> list[Any]:
        """Try the connection, and log what should not be logged, as people do when they look for a fault."""
        hook = PageConversationsHook("careless")
        answer = hook.test_connection()
        list(hook.conversations(folder="spam"))
        given, app, own = hook.settings.credentials, hook._app(), hook.get_conn()._credentials
        renewed = client.Credentials(hook.renew_token(), given.app_secret)
        log = logging.getLogger("careless")
        every = (given, app, own, renewed)
        for secret in (given.app_secret, *(one.token for one in every), *(one.proof for one in every)):
            log.warning("It is %s, or %s, or %s.", secret, quote(str(secret), safe=""), quote_plus(str(secret)))
        log.warning("%r %r %r %r", hook.settings, every, hook.get_conn(), hook.token_info())
        return list(answer)

    careless()

    @task
    def handle(conn_id: str) -> list[str]:
        """Do all that can be done with a token; what is refused is logged with its traceback, as a careful person would."""
        hook = PageConversationsHook(conn_id)
        told = [str(hook.test_connection())]
        steps = {
            "pages": lambda: [page["id"] for page in hook.pages()],
            "look": lambda: repr(hook.token_info()),
            "renew": lambda: len(hook.renew_token()),
            "read": lambda: len(list(hook.conversations(folder="spam"))),
        }
        for name, step in steps.items():
            try:
                told.append(f"{name}: {step()}")
            except client.GraphError as error:  # noqa: PERF203 - what is refused ends only its step
                logging.getLogger("handle").exception("%s was refused", name)
                told.append(f"{name}: {error}")
        return told

    for name in ("tokens", "tokens_refused"):
        handle.override(task_id=name)(name)
