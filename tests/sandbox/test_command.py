"""The sandbox as a process of its own."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from airflow_provider_pageconv.sandbox.__main__ import _parser, _sandbox

COMMAND = [sys.executable, "-m", "airflow_provider_pageconv.sandbox"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_start_and_stop(tmp_path: Path, signal_number: int) -> None:
    """It says where it is and with which token, writes the data file, serves, and ends cleanly."""
    data_file = tmp_path / "data.json"
    arguments = ["--port", "0", "--conversations", "20", "--instagram", "3", "--data-file", str(data_file),
                 "--fault", "code=613,on=conversations,at=2", "--now", "2026-11-21T10:00:00Z"]  # fmt: skip
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            said = re.fullmatch(
                r"Sandbox of the Graph API at (http://127\.0\.0\.1:\d+) for Page (\d+), token (\S+) "
                r"\(stop it with Ctrl-C\)\n",
                line,
            )
            assert said is not None, line
            url, page_id, token = said.groups()
            headers = {"Authorization": f"Bearer {token}"}
            address = f"{url}/v26.0/{page_id}/conversations"
            statuses = [requests.get(address, headers=headers, timeout=10).status_code for _ in range(3)]
            assert statuses == [200, 400, 200]
            assert requests.get(f"{url}/_sandbox/data", timeout=10).json() == json.loads(data_file.read_text("utf-8"))
            asked = requests.get(f"{url}/_sandbox/requests", timeout=10).json()
            assert (asked["total"], asked["by_code"], asked["by_fault"]) == (3, {"613": 1}, {"error": 1})
            assert asked["by_edge"] == {"conversations": 3}
            assert requests.get(f"{url}/_sandbox", timeout=10).json()["pages"] == [page_id]
            assert requests.get(f"{url}/_sandbox/x", timeout=10).status_code == 404
            assert requests.delete(f"{url}/_sandbox/requests", timeout=10).json()["total"] == 3
            assert requests.get(f"{url}/_sandbox/requests", timeout=10).json()["total"] == 0
            process.send_signal(signal_number)
            assert process.wait(timeout=30) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_the_apis_ways_can_be_chosen() -> None:
    """Rules, foreign usage and faults of the command line are those of Python."""
    options = _parser().parse_args(
        ["--rule", "time_form=z", "--rule", "swallow_authorization=true", "--rule", "no_token_code=104",
         "--rule", "nested_every=3", "--foreign-usage", "ads_management=100,pages=7.5", "--garbled-usage",
         "--order", "mostly", "--fault", "code=100,subcode=33,lasts=120"]
    )  # fmt: skip
    box = _sandbox(options)
    rules = box.rules
    assert (rules.time_form, rules.swallow_authorization, rules.no_token_code, rules.nested_every) == (
        "z",
        True,
        104,
        3,
    )
    assert (box.limits.foreign, box.limits.garbled) == ({"ads_management": 100.0, "pages": 7.5}, True)
    assert [fault.lasts for fault in box.faults] == [120.0]


def test_limits_of_the_app_and_of_the_accounts_can_be_set() -> None:
    """Each with its window and its code; Meta's own for the accounts is 2 calls in 1 second."""
    options = _parser().parse_args(
        ["--app-limit-calls", "200", "--app-limit-window", "900", "--account-limit-calls", "2", "--limit-prolongs", "off"]
    )  # fmt: skip
    box = _sandbox(options)
    app, accounts = box.app_limits, box.account_limits
    assert (app.calls, app.window, app.code, app.prolongs) == (200, 900, 4, False)
    assert (accounts.calls, accounts.window, accounts.code, accounts.prolongs) == (2, 1, 613, False)
    assert box.limits.calls is None


def test_many_pages_of_which_some_give_nothing_can_be_set_up() -> None:
    """Sizes go Page after Page; dead, taskless and empty ones go by number, the first is 1."""
    options = _parser().parse_args(
        ["--pages", "6", "--conversations", "30,0", "--instagram", "2,1,0", "--system-user", "--dead-pages", "2,3",
         "--taskless-pages", "4", "--empty-pages", "5", "--rule", "taskless=refused"]
    )  # fmt: skip
    box = _sandbox(options)
    threads = [[thread["platform"] for thread in box.data(page)["threads"]] for page in box.pages]
    assert [found.count("messenger") for found in threads] == [30, 0] * 3
    assert [found.count("instagram") for found in threads] == [2, 1, 0] * 2
    alive = [box.api.derived_token(page) in box.api.accesses for page in box.pages.values()]
    assert alive == [True, False, False, True, True, True]
    assert [bool(page.tasks) for page in box.pages.values()] == [True, True, True, False, True, True]
    assert [page.advanced_access for page in box.pages.values()] == [True, True, True, True, False, True]
    assert box.rules.taskless == "refused"


def test_port_taken() -> None:
    """A port that is taken is said in one sentence."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--port", str(port))
    assert result.returncode == 2
    assert result.stderr == f"Port {port} of 127.0.0.1 cannot be had: Address already in use\n"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--seed", "x"], "Argument --seed: invalid int value: 'x'\n"),
        (["--folders", "drafts=3"], "There is no folder 'drafts': inbox, other, page_done, spam\n"),
        (["--latency", "soon"], "--latency is written 0.2 or 0.1-1.5, not 'soon'\n"),
        (["--fault", "at=3"], "A fault of kind 'error' needs a code\n"),
        (["--now", "2026-11-21T10:00:00"], "2026-11-21T10:00:00 has no time zone\n"),
        (["--pages", "0"], "Pages is a whole number from 1 on, not 0\n"),
        (["--max-limit", "0"], "Max_limit is a whole number from 1 on, not 0\n"),
        (["--instagram", "-1"], "Instagram is a whole number from 0 on, not -1\n"),
        (["--page-id", "²"], "Page_id is a number: '²'\n"),
        (["--latency", "nan"], "--latency is written 0.2 or 0.1-1.5, not 'nan'\n"),
        (["--limit-calls", "-1"], "Calls of the limits count from 0, not -1\n"),
        (["--limit-window", "0"], "Window of the limits is a number of seconds above 0, not 0.0\n"),
        (["--limit-status", "9"], "Status of the limits is from 200 to 599, not 9\n"),
        (["--fault", "code=1,p=2"], "P of a fault is a probability from 0 to 1, not 2.0\n"),
        (["--fault", "code=1,status=9"], "Status of a fault is from 200 to 599, not 9\n"),
        (["--limit-code", "5"], "--limit-code cannot be 5: 4, 17, 32, 341, 368, 613, 80001, 80002, 80006\n"),
        (
            ["--conversations", "many"],
            "--conversations is written 200, or 40,0,7 for one Page after the other, not 'many'\n",
        ),
        (["--dead-pages", "x"], "--dead-pages is written 2,5, not 'x'\n"),
        (["--empty-pages", "2"], "There is no Page number 2: they go from 1 to 1\n"),
        (["--app-limit-code", "613"], "--app-limit-code cannot be 613: 4, 17, 32, 341\n"),
        (["--account-limit-calls", "-1"], "Calls of the limits count from 0, not -1\n"),
        (["--foreign-usage", "ads"], "--foreign-usage is written ads_management=100,pages=40, not 'ads'\n"),
        (["--rule", "message_count=x"], "Message_count cannot be 'x': right, absent, wrong\n"),
        (["--rule", "nested_every=x"], "Nested_every is a whole number from 1 on, not 'x'\n"),
        (["--require-proof"], "Require_proof needs an app_secret\n"),
    ],
)
def test_bad_options(arguments: list[str], sentence: str) -> None:
    """A bad option is said in one sentence."""
    result = run("--port", "0", *arguments)
    assert (result.returncode, result.stderr) == (2, sentence)


def test_help() -> None:
    """The help shows groups, defaults and examples."""
    text = run("--help").stdout
    for part in ("the Page:", "the API:", "limits:", "trouble and life:", "(default: 200)", "examples:", "--fault"):
        assert part in text
