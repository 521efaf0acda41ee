"""Token, app secret and proof are nowhere; people are in the data and nowhere else.

A real Airflow with everything at DEBUG runs exports through success, every class of errors, every way of waiting and a
crash. Then every byte that is left is looked at: logs, metadata database, and what lies in the destination.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from tests.graph.loopback import RawServer, response, says, serving
from tests.secrets.scanner import Hit, Scanner, scan
from tests.servers.deployment import Deployment
from tests.servers.ports import free_ports

# Every character of them that a URL quotes, and a slash and a plus that base64 has too.
TOKEN = "EAAB/+=%&?#~secret:Page,token!x7Qz"
USER_TOKEN = "EAAU/+=%&?#~secret:user's,token!k3Vw"
SECRET = "0f1e+/app=secret%&?#~9d8c"  # pragma: allowlist secret
CARELESS_TOKEN = "EAAC/+=%&?#~secret:careless,token!w5Ty"
CARELESS_SECRET = "7a6b+/careless=secret%&?#~5c4d"  # pragma: allowlist secret
APP_TOKEN, CARELESS_APP_TOKEN = f"{APP_ID}|{SECRET}", f"{APP_ID}|{CARELESS_SECRET}"
CARELESS_PAGE = "100200300400999"  # So that its exchanged token is another one.
PERSON = "Anneliese Überall-Nirgendwo"


@dataclass
class Way:
    """One way for a task to go.

    :param ends: the states that it may end in.
    :param options: of the operator; spans in seconds.
    :param extra: of the connection.
    :param connection: what else is another in it.
    :param look: what a look at the token says beside the usual.
    """

    ends: tuple[str, ...]
    faults: list[Fault] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    connection: dict[str, Any] = field(default_factory=dict)
    look: dict[str, Any] = field(default_factory=dict)


def refused(**error: Any) -> Way:
    """A way that ends with an error of the API; its message quotes the token and names a person, as Meta's may."""
    message = f"Malformed access token {TOKEN} of {PERSON}"
    return Way(("failed",), [Fault(at=6, times=1000, message=message, **error)])


QUOTING = (
    f"Malformed {TOKEN} {USER_TOKEN} {APP_TOKEN} {quote(USER_TOKEN, safe='')} {quote(APP_TOKEN, safe='')} of {PERSON}"
)


def of_a_user(ends: str, faults: list[Fault] | None = None, **look: Any) -> Way:
    """A way with a user's token, in a connection that holds the app too: it is looked at, and exchanged."""
    return Way((ends,), faults or [], extra={"app_id": APP_ID}, connection={"password": USER_TOKEN}, look=look)


def struck(kind: str, **order: Any) -> Way:
    """A way that ends with trouble on the wire that does not pass."""
    return Way(("failed",), [Fault(kind, **{"at": 6, "times": 1000, **order})], extra={"timeout": 0.5})


def limited(way: str, ends: str = "success", *, times: int = 1, **options: Any) -> Way:
    """A way that meets a limit; without `retry_after` a minute is named, which is too long to sleep in place."""
    named = {"retry_after": options.pop("retry_after")} if "retry_after" in options else {"regain": 1}
    return Way((ends,), [Fault(code=80006, at=6, times=times, **named)], {"on_rate_limit": way, **options})


def ways(elsewhere: str) -> dict[str, Way]:
    """All ways, by the ids of their tasks.

    :param elsewhere: where a redirect leads.
    """
    return {
        "success": Way(("success",)),
        "connection_as_uri": Way(("success",)),
        "user_token": Way(("success", "failed"), connection={"password": USER_TOKEN}),
        # The token looked at, and exchanged
        "looked_at": Way(("success",), extra={"app_id": APP_ID}),
        "user_of_an_app": of_a_user("success"),
        "ends_soon": of_a_user("success", data_access_expires_at=int(time.time()) + 86400),
        "look_refused": of_a_user("success", [Fault(code=190, on="debug_token", message=QUOTING)]),
        "look_cut": of_a_user("success", [Fault("not_json", on="debug_token", message=QUOTING)]),
        "ended": of_a_user("failed", is_valid=False, error={"code": 190, "subcode": 460, "message": QUOTING}),
        "poor": of_a_user("failed", scopes=["email"]),
        "exchange_refused": of_a_user(
            "failed", [Fault(code=200, on=on, message=QUOTING) for on in ("accounts", "node")]
        ),
        "crash_of_a_user": of_a_user("failed"),
        # Errors of the API
        "auth": refused(code=190),
        "permission": refused(code=200),
        "request": refused(code=100),
        "unknown_error": refused(code=999),
        "transient": refused(code=2),
        "unknown_field": Way(("failed",), options={"message_fields": ["id", "nonexisting"]}),
        "too_large": refused(code=1, user_msg="Please reduce the amount of data you're asking for"),
        "too_deep": Way(("failed",), [Fault("deep_cursor", size=10)]),
        "dead_cursor": Way(("failed",), [Fault("dead_cursor", on="conversations")]),
        "unavailable": Way(("success",), [Fault("unavailable", at=1)]),
        # Trouble on the wire
        "html": struck("html", status=403),
        "not_json": struck("not_json", message=f'{{"error": {TOKEN} {PERSON}'),
        "reset": struck("reset"),
        "silence": struck("silence", seconds=3),
        "redirect": struck("redirect", location=elsewhere),
        "nobody_there": Way(("failed",), connection={"host": f"http://127.0.0.1:{free_ports(1)[0]}"}),
        # Waiting
        "reschedule": limited("reschedule", priority_weight=9),
        "defer": limited("defer", priority_weight=9),
        "wait": limited("wait", retry_after=2),
        "in_place": limited("reschedule", retry_after=2),
        "fail": limited("fail", retries=1, retry_delay=1),
        "too_long": limited("wait", "failed", times=1000, retry_after=2, rate_limit_timeout=1),
        "release": Way(
            ("success",),
            options={"release_slot_after": 2.0},
            extra={"calls_per_second": 15},
        ),
        # Told to stop
        "killed": Way(("failed",), options={"priority_weight": 9}, extra={"calls_per_second": 1}),
        "timed_out": Way(("failed",), options={"execution_timeout": 20.0}, extra={"calls_per_second": 1}),
        # Bugs and mistakes
        "crash": Way(("failed",)),
        "no_token": Way(("failed",), connection={"password": f"{TOKEN} {SECRET}"}),
        "broken_extra": Way(("failed",), connection={"extra": json.dumps({"app_secret": SECRET})[:-1]}),
        "no_folder": Way(("failed",), options={"destination": "file:///dev/null/export"}),
    }


def connection(box: Sandbox, way: Way) -> str:
    """A connection as JSON."""
    extra = {"page_id": box.page.id, "app_secret": SECRET, "calls_per_second": 0, **way.extra}
    document = {"conn_type": "pageconv", "host": box.url, "password": TOKEN, "extra": extra, **way.connection}
    return json.dumps(document)


def connection_as_uri(box: Sandbox) -> str:
    """The same as a URI, in which token and secret are quoted."""
    extra = f"page_id={box.page.id}&calls_per_second=0&app_secret={quote(SECRET, safe='')}"
    return f"pageconv://:{quote(TOKEN, safe='')}@127.0.0.1:{box.port}/http?{extra}"


@dataclass
class Left:
    """What the runs have left behind.

    :param root: the destination.
    :param states: how each task ended.
    :param proofs: all that were used.
    """

    home: Path
    root: Path
    airflow: Deployment
    boxes: Mapping[str, Sandbox]
    elsewhere: RawServer
    states: dict[str, str]
    proofs: dict[str, str]

    def in_airflow(self) -> list[Path]:
        """Logs of tasks and components, the database, one of its states while tasks were deferred, the scratch folder."""
        return files_below(self.home)

    def data(self) -> list[Path]:
        """What may hold people: published and staged parts, and pages that wait to be read."""
        return [
            path
            for path in files_below(self.root)
            if path.relative_to(self.root).parts[1] in ("conversations", "messages") or keeps_data(path)
        ]

    def about_the_data(self) -> list[Path]:
        """What must not hold them: manifests, checkpoints, claims and notes."""
        return sorted({*files_below(self.root)} - {*self.data()})

    def secrets(self) -> Scanner:
        boxes = [box for name, box in self.boxes.items() if name != "careless"]
        derived = {f"exchanged token {number}": box.derived_token for number, box in enumerate(boxes)}
        renewed = {f"renewed token {number}": token for number, token in enumerate(renewed_tokens(*boxes))}
        proofs = {f"proof of {name}": boxes[0].proof(token) for name, token in {**derived, **renewed}.items()}
        fixed = {"token": TOKEN, "user's token": USER_TOKEN, "app secret": SECRET, "app's token": APP_TOKEN}
        secrets = {**fixed, **derived, **renewed, **proofs, **self.proofs}
        return Scanner.of_secrets(secrets, self.airflow.environment["AIRFLOW__CORE__FERNET_KEY"])

    def people(self) -> Scanner:
        words, texts = {PERSON}, set()
        for thread in self.boxes["success"].data()["threads"]:
            node = thread["node"]
            people = [person for key in ("participants", "senders") for person in node.get(key, {"data": []})["data"]]
            people += [message["from"] for message in thread["messages"] if "from" in message]
            page = self.boxes["success"].page.id
            words |= {
                person[key] for person in people if person["id"] != page for key in ("name", "email") if key in person
            }
            texts |= {message["message"] for message in thread["messages"] if message.get("message")}
        return Scanner.of_people(words, texts, self.airflow.environment["AIRFLOW__CORE__FERNET_KEY"])


def renewed_tokens(*boxes: Sandbox) -> list[str]:
    """All that were handed out for others."""
    return [token for box in boxes for token in box.api.accesses if token.startswith("SANDBOX-RENEWED-")]


def files_below(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    """All ways at the same time, in one Airflow that is stopped before anything is looked at."""
    top = tmp_path_factory.mktemp("leaks")
    home, root = top / "airflow", top / "export"
    (home / "scratch").mkdir(parents=True)
    with ExitStack() as stack:
        elsewhere = stack.enter_context(serving(says(response())))
        all_ways = ways(elsewhere.url.replace("127.0.0.1", "localhost"))
        boxes = {}
        environment = {
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "PAGECONV_TEST_ROOT": root.as_uri(),
            "PAGECONV_TEST_RUNS": json.dumps({name: way.options for name, way in all_ways.items()}),
            "TMPDIR": str(home / "scratch"),
        }
        careless_extra = {"app_secret": CARELESS_SECRET, "app_id": APP_ID, "page_id": CARELESS_PAGE}
        careless = {"password": CARELESS_TOKEN, "extra": careless_extra}
        refusals = [Fault(code=code, path=path, message=QUOTING) for code, path in
                    ((10, "debug_token"), (200, "accounts"), (190, "oauth"), (100, "/[0-9]+$"))]  # fmt: skip
        looks = {
            "sense": Way(("success",), [Fault(code=80006, regain=1, at=1)]),
            "careless": Way(("success",), connection=careless),
            "tokens": of_a_user("success"),
            "tokens_refused": of_a_user("success", refusals),
        }
        for name, way in {**all_ways, **looks}.items():
            box = Sandbox(
                seed=7,
                conversations=0,
                folders={"inbox": 40, "other": 7},
                messages=40,
                long_every=4,
                page_id=CARELESS_PAGE if name == "careless" else "100200300400500",
                token=TOKEN,
                user_token=CARELESS_TOKEN if name == "careless" else USER_TOKEN,
                debug_token=way.look,
                app_secret=CARELESS_SECRET if name == "careless" else SECRET,
                require_proof=True,
                faults=way.faults,
            )
            boxes[name] = stack.enter_context(box)
            environment[f"AIRFLOW_CONN_{name.upper()}"] = (
                connection_as_uri(box) if name == "connection_as_uri" else connection(box, way)
            )
        airflow = Deployment(home, Path(__file__).parent / "dags", environment)
        with airflow.running():
            states = run_all(airflow, root / "killed")
        proofs = {f"proof of {token[:4]}": boxes["success"].proof(token) for token in (TOKEN, USER_TOKEN, APP_TOKEN)}
        yield Left(home, root, airflow, boxes, elsewhere, states, proofs)


def keeps_data(path: Path) -> bool:
    """Whether a file is a staged part, or a page that waits to be read."""
    return path.name.startswith(("part-", "readings-"))


def run_all(airflow: Deployment, staged: Path) -> dict[str, str]:
    """Run the DAG, mark a task as failed while it exports, as a user does to kill it, and say how each task ended.

    A copy of the database is kept from when tasks were deferred.

    :param staged: where the task that is to be killed keeps what it has fetched; before that it has nothing to hide.
    """
    killed = False
    run_id = airflow.trigger("leaks")
    copy = airflow.home / "while-deferred.db"
    deadline = time.monotonic() + 400
    while airflow.api("GET", f"/dags/leaks/dagRuns/{run_id}")["state"] not in ("success", "failed"):
        assert time.monotonic() < deadline, airflow.logs("leaks")[-5000:]
        deferred = [name for name in ("defer", "sense") if airflow.states("leaks", name)[-1:] and
                    airflow.states("leaks", name)[-1].state == "deferred"]  # fmt: skip
        if len(deferred) == 2 and not copy.exists():
            with (
                closing(sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=ro", uri=True)) as database,
                closing(sqlite3.connect(copy)) as target,
            ):
                database.backup(target)
        if not killed and any(map(keeps_data, files_below(staged))):
            airflow.api("PATCH", f"/dags/leaks/dagRuns/{run_id}/taskInstances/killed", {"new_state": "failed"})
            killed = True
        time.sleep(1)
    rows = airflow.api("GET", f"/dags/leaks/dagRuns/{run_id}/taskInstances?limit=100")["task_instances"]
    return {row["task_id"]: row["state"] for row in rows}


def rows(path: Path, query: str) -> list[Any]:
    """Ask a database."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute(query)]


def said_of(airflow: Deployment, task_id: str) -> str:
    """The last lines of a task's log that are not for debugging, and what Airflow's own processes said of it."""
    logs = [path for path in files_below(airflow.task_logs) if f"task_id={task_id}" in path.parts]
    own = [path for path in airflow.processes.logs.glob("*.log") if path.is_file()]
    lines = [line for path in logs for line in path.read_text("utf-8").splitlines() if '"level":"debug"' not in line]
    told = [line for path in own for line in path.read_text("utf-8", "replace").splitlines() if task_id in line]
    return "\n".join([f"--- {task_id}", *(line[:600] for line in [*lines[-12:], *told[-12:]])])


def assert_none(found: list[Hit]) -> None:
    """Say where something was found, and not what."""
    assert not found, "\n".join(sorted({f"{hit.what} in {hit.place}" for hit in found})[:40])


def test_each_task_went_its_way(left: Left) -> None:
    """Otherwise there would be nothing to find where it was to go."""
    expected = {name: way.ends for name, way in ways("").items()}
    expected |= dict.fromkeys(("sense", "careless", "tokens", "tokens_refused"), ("success",))
    wrong = {name: left.states.get(name) for name, ends in expected.items() if left.states.get(name) not in ends}
    assert not wrong, "\n".join(said_of(left.airflow, name) for name in wrong)
    faults = {name: sum(fault.fired for fault in box.faults) for name, box in left.boxes.items() if len(box.faults)}
    assert all(faults.values()), faults


def test_all_that_is_looked_at_is_there(left: Left) -> None:
    """Lines of urllib3 with a proof that is hidden, tracebacks, results, rendered fields, asset events, triggers."""
    logs = {path: path.read_text(encoding="utf-8") for path in left.home.rglob("*.log")}
    tasks = {path: text for path, text in logs.items() if "dag_id=leaks" in str(path)}
    assert len(tasks) >= len(left.states)
    for name in ("appsecret_proof", "input_token", "fb_exchange_token", "client_secret"):
        assert f"{name}=***" in "".join(tasks.values())
    assert any(("urllib3" in text and "Traceback" in text) or "RuntimeError" in text for text in tasks.values())
    database, copy = left.home / "airflow.db", left.home / "while-deferred.db"
    assert len(rows(database, "select value from xcom where key = 'return_value'")) >= 5
    assert len(rows(database, "select rendered_fields from rendered_task_instance_fields")) >= len(left.states) - 2
    assert any("api_calls" in str(extra) for extra in rows(database, "select extra from asset_event"))
    assert len(rows(copy, 'select kwargs from "trigger"')) >= 2
    assert rows(database, "select conn_id from connection where conn_type = 'pageconv'") == []
    names = {path.name.split("-")[0] for path in left.data() + left.about_the_data()}
    assert {"part", "readings", "checkpoint", "claim"} <= names
    assert any(path.name.startswith("window=") for path in left.about_the_data())


def test_whoever_had_to_do_with_tokens_got_hold_of_them(left: Left) -> None:
    """By a look, an exchange and a renewal each; where they were refused, in words that quote them, there were none."""
    for name, edges in {
        "looked_at": {"debug_token"},
        "user_of_an_app": {"debug_token", "accounts"},
        "ended": {"debug_token"},
        "exchange_refused": {"debug_token", "accounts", "node"},
        "tokens": {"me", "debug_token", "accounts", "conversations"},
    }.items():
        assert {request.edge for request in left.boxes[name].requests} >= edges, name
    for name in ("tokens", "careless"):
        assert len(renewed_tokens(left.boxes[name])) == 1
    refused = {request.edge for request in left.boxes["tokens_refused"].requests if request.code is not None}
    assert refused >= {"debug_token", "accounts", "inner", "node"}
    for name in ("user_of_an_app", "tokens"):
        used = {request.headers["authorization"] for request in left.boxes[name].requests}
        assert f"Bearer {left.boxes[name].derived_token}" in used


@pytest.mark.parametrize("name", ["killed", "timed_out"])
def test_whoever_was_told_to_stop_had_something_to_hide(left: Left, name: str) -> None:
    """It made calls, kept what it had fetched, and published nothing of it; the empty folders may have been done."""
    assert left.boxes[name].requests
    files = files_below(left.root / name)
    assert any(map(keeps_data, files))
    assert not [path for path in files if "folder=inbox" in path.parts and "_staging" not in path.parts]


@pytest.mark.parametrize("place", ["in_airflow", "data", "about_the_data"])
def test_token_secret_and_proof_are_nowhere(left: Left, place: str) -> None:
    """Plain, quoted for a URL, or in base64: in no file and in no file's name."""
    size, found = scan(getattr(left, place)(), left.secrets())
    print(f"\nlooked for secrets in {size:,} bytes of {place.replace('_', ' ')}")
    assert size > 10_000
    assert_none(found)


@pytest.mark.parametrize("place", ["in_airflow", "about_the_data"])
def test_people_are_nowhere_but_in_the_data(left: Left, place: str) -> None:
    """Neither names nor addresses nor texts: not in logs, results, rendered fields, events, manifests or checkpoints."""
    size, found = scan(getattr(left, place)(), left.people())
    print(f"\nlooked for people in {size:,} bytes of {place.replace('_', ' ')}")
    assert_none(found)


def test_people_are_found_where_they_may_be(left: Left) -> None:
    """In published parts, staged ones, and pages that wait to be read."""
    for kind in ("conversations", "messages", "part-", "readings-"):
        files = [path for path in left.data() if kind in path.parts or path.name.startswith(kind)]
        assert files, kind
        assert scan(files, left.people())[1], kind


def test_airflow_masks_what_a_careless_task_logs(left: Left) -> None:
    """All that is secret is told to its masker, as it is and quoted: task log and database show stars.

    The connection's token, the app's own, the Page's that it was exchanged for, the renewed one, their proofs, the secret.

    What a component writes to its own output is not masked by Airflow, which copies the lines of tasks there; that is why
    nothing of this package may write them in the first place, and why this task has secrets of its own.
    """
    box = left.boxes["careless"]
    (renewed,) = renewed_tokens(box)
    tokens = {
        "token": CARELESS_TOKEN,
        "app's token": CARELESS_APP_TOKEN,
        "exchanged token": box.derived_token,
        "renewed token": renewed,
    }
    proofs = {f"proof of the {name}": box.proof(token) for name, token in tokens.items()}
    secrets = {"app secret": CARELESS_SECRET, **tokens, **proofs}
    logs = [path for path in left.home.rglob("*") if "task_id=careless" in path.parts and path.is_file()]
    assert sum(path.read_text(encoding="utf-8").count("It is ***, or ***, or ***.") for path in logs) == len(secrets)
    scanner = Scanner.of_secrets(secrets, left.airflow.environment["AIRFLOW__CORE__FERNET_KEY"])
    assert_none(scan([*logs, *left.home.glob("*.db*"), *files_below(left.root)], scanner)[1])


def test_a_redirect_takes_nothing_to_another_host(left: Left) -> None:
    """It is not followed at all."""
    assert left.boxes["redirect"].requests
    assert left.elsewhere.connections == 0
    assert left.elsewhere.asked == []


def test_a_task_that_ends_leaves_nothing_in_the_temporary_folder(left: Left) -> None:
    """Not even where it fails or crashes: unfinished parts hold people."""
    assert not [path for path in (left.home / "scratch").rglob("*") if "pageconv-" in str(path.relative_to(left.home))]
