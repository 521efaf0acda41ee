"""Exports that leave people out, and erasures, named in every way there is; who they are comes from the test that runs them."""

from __future__ import annotations

import json
import os

from airflow.sdk import DAG

from airflow_provider_pageconv.operators import (
    PageConversationsErasureOperator,
    PageConversationsToObjectStorageOperator,
)

ROOT, PEOPLE = os.environ["PAGECONV_TEST_ROOT"], json.loads(os.environ["PAGECONV_TEST_PEOPLE"])


def export(name: str, people: object) -> None:
    """Export without some people."""
    PageConversationsToObjectStorageOperator(
        task_id=name,
        destination=f"{ROOT}/{name}",
        folders="inbox",
        exclude_user_ids=people,
        pseudonymize=["id", "email"],
    )


with DAG("named", schedule=None, max_active_tasks=1):
    export("listed", PEOPLE)
    export("listed_beside_a_template", [*PEOPLE, "{{ 7000000000000000 }}"])
    export("in_a_file", f"{ROOT}/people.txt")
    export("out_of_a_variable", "{{ var.value.somebody }}")
    PageConversationsToObjectStorageOperator.partial(
        task_id="mapped", folders="inbox", exclude_user_ids=PEOPLE, pseudonymize=["id", "email"]
    ).expand(destination=[f"{ROOT}/mapped-1", f"{ROOT}/mapped-2"])

with DAG("forgotten", schedule=None, max_active_tasks=1):
    PageConversationsErasureOperator(task_id="listed", destination=ROOT, user_ids=PEOPLE) >> (
        PageConversationsErasureOperator.partial(task_id="mapped", destination=ROOT, user_ids=PEOPLE).expand(
            platform=["messenger", "instagram"]
        )
    )
