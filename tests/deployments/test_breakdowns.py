"""Deployments as people run them, whose parts break down one after the other: every Page is exported, and nothing twice.

LocalExecutor with PostgreSQL, and, in the long form (`make test-deployment`), CeleryExecutor with PostgreSQL, Redis and two workers,
for which the wheel is installed into an environment of its own. Both export to S3, which every worker reaches.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from airflow_provider_pageconv.sandbox import Limits, Sandbox
from airflow_provider_pageconv.standalone import session_of
from tests.conftest import do_without
from tests.dump.exporting import assert_tidy
from tests.servers.databases import airflow_settings, postgres, redis
from tests.servers.deployment import Deployment
from tests.servers.destinations import S3_CONNECTION, Destination, on_s3
from tests.servers.processes import Listening, ServerUnavailableError
from tests.servers.seaweedfs import S3Server
from tests.versions.rows import NEWEST, Row
from tests.versions.run import build, install, uv

CELERY = ("apache-airflow-providers-celery", "celery<5.7")  # 3.26 of the provider does not import with Celery 5.7
DRIVERS = ("psycopg2-binary", "asyncpg")
AIRFLOW = "3.3.2"
PAGES = 8
CALLS, WINDOW = 200, 60.0
END_SECONDS = 900
pytestmark = pytest.mark.timeout(END_SECONDS + 600)


@dataclass
class Ran:
    """The Pages, where they went, and the Airflow that was broken down meanwhile.

    :param broken: what broke down, with what was under way then.
    """

    airflow: Deployment
    box: Sandbox
    place: Destination
    run_id: str = ""
    state: str = ""
    broken: dict[str, str] = field(default_factory=dict)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Return when the condition holds, while the run goes on."""
        deadline = time.monotonic() + END_SECONDS / 2
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.airflow.logs('pages')[-5000:]}"
            time.sleep(0.25)

    def now(self) -> dict[int, str | None]:
        """The states of the mapped tasks, as they were seen last."""
        return {seen.map_index: seen.state for seen in self.airflow.seen[-3 * PAGES :] if seen.task_id == "export"}

    def breaks(self, what: str) -> None:
        """Note what breaks down now."""
        states = sorted(str(state) for state in self.now().values())
        self.broken[what] = f"after {len(self.box.requests)} calls, tasks {', '.join(states)}"
        print(f"{what}: {self.broken[what]}")  # noqa: T201


def in_an_environment_of_its_own(folder: Path) -> str:
    """Install the wheel with Celery; return the interpreter."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    trouble = install(Row(AIRFLOW, version, NEWEST, extra="s3"), sys.executable, build(folder), folder / "venv")
    assert not trouble, trouble
    python = folder / "venv" / "bin" / "python"
    done = uv("pip", "install", "--compile-bytecode", "--python", str(python), *CELERY, *DRIVERS)
    assert done.returncode == 0, done.stderr
    return str(python)


def a_token_of_eight_pages() -> Sandbox:
    """Eight Pages under one limit, which their export meets several times."""
    limits = Limits(calls=CALLS, window=WINDOW, code=80006)
    limits.percent = 10  # says nothing of the limit before it is met
    return Sandbox(
        seed=16, pages=PAGES, conversations=60, messages=60, long_every=12, short_messages=2,
        max_limit=10, limits=limits, latency=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["LocalExecutor", pytest.param("CeleryExecutor", marks=pytest.mark.chaos)])
def ran(request: pytest.FixtureRequest, seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """One run of eight Pages, during which everything is broken once."""
    home = tmp_path_factory.mktemp("breakdowns")
    celery = request.param == "CeleryExecutor"
    with ExitStack() as stack:
        try:
            database = stack.enter_context(postgres())
            broker = stack.enter_context(redis()) if celery else None
        except ServerUnavailableError as error:
            do_without(str(error))
            raise
        box = stack.enter_context(a_token_of_eight_pages())
        place = on_s3(seaweedfs, f"breakdowns/{request.param}")
        extra = {"calls_per_second": 2}
        environment = {
            **airflow_settings(database),
            "AIRFLOW__CORE__EXECUTOR": request.param,
            # As a task is missed in five minutes, and a scheduler in half a minute, so here in less.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "20",
            "PAGECONV_TEST_PAGES": json.dumps(list(box.pages)),
            "PAGECONV_TEST_DESTINATION": place.url,
            f"AIRFLOW_CONN_{S3_CONNECTION.upper()}": seaweedfs.connection(),
            "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(
                {"conn_type": "pageconv", "host": box.url, "password": box.user_token, "extra": extra}
            ),
        }
        if broker:
            environment |= {
                "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{broker.port}/0",
                "AIRFLOW__CELERY__RESULT_BACKEND": "db+" + environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"],
                "C_FORCE_ROOT": "true",  # Celery warns of root, who runs the tests in CI
            }
        python = in_an_environment_of_its_own(tmp_path_factory.mktemp("celery")) if celery else sys.executable
        airflow = Deployment(home / "airflow", Path(__file__).parent / "dags", environment, python=python)
        stack.enter_context(airflow.running())
        if celery:
            for name in ("worker-1", "worker-2"):
                start_worker(airflow, name)
        found = Ran(airflow, box, place)
        found.run_id = airflow.trigger("pages")
        break_down(found, database, celery=celery)
        found.state = end_of(found)
        yield found


def start_worker(airflow: Deployment, name: str) -> None:
    """Start one of Celery's workers."""
    options = ("--skip-serve-logs", "--celery-hostname", name, "--concurrency", "3")
    airflow.start_command(name, "celery", "worker", *options)


def break_down(ran: Ran, database: Listening, *, celery: bool) -> None:
    """Kill a worker with its tasks, the scheduler, the triggerer and the database, each while something is under way."""
    airflow, calls = ran.airflow, lambda: len(ran.box.requests)
    ran.wait(lambda: calls() >= 30, "the exports' beginning")
    ran.breaks("worker")
    victims = (
        session_of(airflow.processes.leader("worker-1"))
        if celery
        else task_runners(airflow.processes.leader("scheduler"))[:1]
    )
    assert victims
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    if celery:
        airflow.processes.restart("worker-1", signal.SIGKILL)
    ran.wait(lambda: calls() >= 90, "more calls")
    ran.breaks("scheduler")
    airflow.processes.restart("scheduler", signal.SIGKILL)
    ran.wait(lambda: "deferred" in ran.now().values(), "a task that is deferred")
    ran.breaks("triggerer")
    airflow.processes.restart("triggerer", signal.SIGTERM)
    ran.wait(lambda: "running" in ran.now().values() and calls() > CALLS + 20, "exports that go on")
    ran.breaks("database")
    database.stop()
    time.sleep(5)
    database.start()


def end_of(ran: Ran) -> str:
    """Wait for the run's end, while the deployment is looked after: a scheduler without its database ends."""
    state, deadline = "", time.monotonic() + END_SECONDS
    while state not in ("success", "failed") and time.monotonic() < deadline:
        ran.airflow.look_after()
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            state = ran.airflow.api("GET", f"/dags/pages/dagRuns/{ran.run_id}")["state"]
        time.sleep(1)
    return state


def task_runners(scheduler: int) -> list[int]:
    """The processes in which LocalExecutor's tasks run: each is the child of a worker, which is one of the scheduler."""
    workers = psutil.Process(scheduler).children()
    return [child.pid for worker in workers for child in worker.children()]


def test_every_page_is_exported_once(ran: Ran) -> None:
    """Each conversation and message of each Page lies there once, whatever broke down meanwhile."""
    assert ran.state == "success", ran.airflow.situation("pages")
    exported = {stream: ran.place.records(stream) for stream in ("conversations", "messages")}
    for page in ran.box.pages:
        threads = ran.box.data(page)["threads"]
        conversations = [row["id"] for row in exported["conversations"] if row["_page_id"] == page]
        messages = [row["id"] for row in exported["messages"] if row["_page_id"] == page]
        assert sorted(conversations) == sorted(thread["node"]["id"] for thread in threads)
        assert sorted(messages) == sorted(message["id"] for thread in threads for message in thread["messages"])


def test_nothing_is_left_behind(ran: Ran) -> None:
    """The destination holds what the manifests name and nothing else: no staging, no claim, no part of a killed try."""
    assert_tidy(ran.place)


def test_something_was_under_way_when_each_part_broke_down(ran: Ran) -> None:
    """Else there would have been nothing to survive."""
    assert list(ran.broken) == ["worker", "scheduler", "triggerer", "database"]
    assert all("running" in ran.broken[what] for what in ("worker", "scheduler", "database")), ran.broken
    assert "deferred" in ran.broken["triggerer"]
    assert any(seen.try_number > 1 for seen in ran.airflow.seen if seen.task_id == "export")


def test_what_was_fetched_before_is_not_fetched_again(ran: Ran) -> None:
    """Breakdowns cost some calls again, and by far not all of them."""
    good = [(call.path, tuple(sorted(call.params.items()))) for call in ran.box.requests if call.code is None]
    print(f"{len(good)} calls with an answer, {len(good) - len(set(good))} of them a second time")  # noqa: T201
    assert len(good) < 1.5 * len(set(good))
