"""The sandbox as a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.sandbox.__main__ import connection, greeting
from airflow_provider_pageconv.sandbox.options import parser
from airflow_provider_pageconv.sandbox.options import sandbox as ordered

COMMAND = [sys.executable, "-m", "airflow_provider_pageconv.sandbox"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(autouse=True)
def heeded_hangup() -> Iterator[None]:
    """Who runs the tests under nohup hands an ignored SIGHUP on to what they start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
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
    options = parser().parse_args(
        ["--rule", "time_form=z", "--rule", "swallow_authorization=true", "--rule", "no_token_code=104",
         "--rule", "nested_every=3", "--foreign-usage", "ads_management=100,pages=7.5", "--garbled-usage",
         "--order", "mostly", "--fault", "code=100,subcode=33,lasts=120"]
    )  # fmt: skip
    box = ordered(options)
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
    options = parser().parse_args(
        ["--app-limit-calls", "200", "--app-limit-window", "900", "--account-limit-calls", "2", "--limit-prolongs", "off"]
    )  # fmt: skip
    box = ordered(options)
    app, accounts = box.app_limits, box.account_limits
    assert (app.calls, app.window, app.code, app.prolongs) == (200, 900, 4, False)
    assert (accounts.calls, accounts.window, accounts.code, accounts.prolongs) == (2, 1, 613, False)
    assert box.limits.calls is None


def test_many_pages_of_which_some_give_nothing_can_be_set_up() -> None:
    """Sizes go Page after Page; dead, taskless and empty ones go by number, the first is 1."""
    options = parser().parse_args(
        ["--pages", "6", "--conversations", "30,0", "--instagram", "2,1,0", "--system-user", "--dead-pages", "2,3",
         "--taskless-pages", "4", "--empty-pages", "5", "--rule", "taskless=refused"]
    )  # fmt: skip
    box = ordered(options)
    threads = [[thread["platform"] for thread in box.data(page)["threads"]] for page in box.pages]
    assert [found.count("messenger") for found in threads] == [30, 0] * 3
    assert [found.count("instagram") for found in threads] == [2, 1, 0] * 2
    alive = [box.api.derived_token(page) in box.api.accesses for page in box.pages.values()]
    assert alive == [True, False, False, True, True, True]
    assert [bool(page.tasks) for page in box.pages.values()] == [True, True, True, False, True, True]
    assert [page.advanced_access for page in box.pages.values()] == [True, True, True, True, False, True]
    assert box.rules.taskless == "refused"


def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    """With what takes any."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--port", str(port))
    assert result.returncode == 2
    assert result.stderr == f"--port {port} cannot be had on 127.0.0.1: Address already in use; 0 takes a free one\n"


@pytest.mark.parametrize("place", ["nowhere/data.json", "."])
def test_a_data_file_that_cannot_be_written_is_said_in_one_sentence(place: str, tmp_path: Path) -> None:
    """A folder that is not there, and one that is no file."""
    result = run("--port", "0", "--data-file", str(tmp_path / place))
    assert result.returncode == 2
    assert re.fullmatch(rf"--data-file {re.escape(str(tmp_path / place))} cannot be written: [^\n]+\n", result.stderr)
    assert list(tmp_path.iterdir()) == []


def refused(*arguments: str) -> str:
    """What is said of options that cannot be, without starting a process for it."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    assert ended.value.code == 2
    return said.getvalue()


NONSENSE = (
    "-1",
    "0",
    "99999999999999999999",
    "1e400",
    "nan",
    "inf",
    "text",
    "",
    " ",
    "²",
    "1,,2",
    "x=1",
    "{",
    "[1]",
    "a\nb",
)
VALID: dict[str, set[str]] = {
    "--seed": {"-1", "0", "99999999999999999999"},
    "--foreign-usage": {"x=1"},
    "--data-file": {*NONSENSE},
    **{f"--{name}": {*NONSENSE} - {"", " ", "²", "a\nb"} for name in ("token", "user-token", "app-secret")},
    **{f"--{name}": {"0"} for name in (
        "conversations", "instagram", "messages", "long-every", "short-messages", "crowded-every", "port", "latency",
        "limit-calls", "app-limit-calls", "account-limit-calls", "life",
    )},
}  # fmt: skip
"""What of it an option takes all the same."""
OPTIONS = {action.option_strings[-1]: action for action in parser()._actions if action.option_strings[-1] != "--help"}


@pytest.mark.parametrize("option", [name for name, action in OPTIONS.items() if action.nargs != 0])
def test_nonsense_behind_an_option_is_refused_in_a_sentence_that_names_both(option: str) -> None:
    """And that says what is taken, whatever the option; nothing starts."""
    for value in NONSENSE:
        if value not in VALID.get(option, ()):
            said = refused(f"{option}={value}")
            assert len(said.splitlines()) == 1, said
            assert re.match(rf"{option} (takes .+, not {re.escape(repr(value))}$|{re.escape(repr(value))}: .)", said), (
                said
            )
        else:
            assert parser().parse_args([f"{option}={value}"])


@pytest.mark.parametrize("option", [name for name, action in OPTIONS.items() if action.nargs == 0])
def test_an_option_without_a_value_says_so(option: str) -> None:
    """Whatever was meant by it."""
    assert refused(f"{option}=on") == f"{option} takes no value, not 'on'\n"


@pytest.mark.parametrize("option", [name for name, action in OPTIONS.items() if action.nargs != 0])
def test_an_option_that_lacks_its_value_says_so(option: str) -> None:
    """As at the end of a line that was copied in part."""
    assert refused(option) == f"{option} needs a value: --help says which\n"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--pages", "0"], "--pages takes a whole number from 1 to 10,000, not '0'"),
        (["--max-limit", "0"], "--max-limit takes a whole number from 1 to 1,000,000,000, not '0'"),
        (["--span-days", "0"], "--span-days takes a number above 0 and up to 36,500, not '0'"),
        (["--page-id", "007"], "--page-id takes a number of up to 18 digits that does not begin with 0, not '007'"),
        (["--limit-code", "1234"], "--limit-code takes 4, 17, 32, 341, 368, 613, 80001, 80002 or 80006, not '1234'"),
        (["--app-limit-code", "613"], "--app-limit-code takes 4, 17, 32 or 341, not '613'"),
        (["--limit-status", "9"], "--limit-status takes a whole number from 200 to 599, not '9'"),
        (["--life", "2"], "--life takes a number from 0 to 1, not '2'"),
        (["--usage-headers", "moon"],
         "--usage-headers takes none, or some of app, business, page with commas between, not 'moon'"),
        (["--now", "2026-11-21T10:00:00"],
         "--now takes a time in ISO with its zone, such as 2026-11-21T10:00:00Z, from 1970 on, not '2026-11-21T10:00:00'"),
        (["--latency", "2-1"], "--latency takes a number of seconds from 0 to 3,600, or two of which the second is not less, such as 0.1-1.5, not '2-1'"),
        (["--order", "upwards"], "--order takes newest, oldest, shuffled or mostly, not 'upwards'"),
        (["--rule", "message_count=x"], "--rule 'message_count=x': message_count is right, absent or wrong, not 'x'"),
        (["--rule", "nested_every=0"],
         "--rule 'nested_every=0': nested_every is a whole number from 1 to 1,000,000,000, not '0'"),
        (["--refuse-field", "Person.shoe"],
         "--refuse-field 'Person.shoe': a field of Person is email, id, name, user_id or username, not 'shoe'"),
        (["--fault", "at=3"], "--fault 'at=3': a fault of kind 'error' needs a code, such as code=613"),
        (["--fault", "code=1,p=2"], "--fault 'code=1,p=2': p of a fault is a number from 0 to 1, not 2.0"),
        (["--fault", "code=1,at=0"], "--fault 'code=1,at=0': at of a fault is a number from 1 to 1,000,000,000, not 0"),
        (["--fault", "code=x"], "--fault 'code=x': code of a fault is a whole number, not 'x'"),
        (["--fault", "code=1,status=9"], "--fault 'code=1,status=9': status of a fault is a number from 200 to 599, not 9"),
        (["--fault", "code=1,seconds=inf"],
         "--fault 'code=1,seconds=inf': seconds of a fault is a number from 0 to 86,400, not inf"),
        (["--fault", "code=1,headers=maybe"], "--fault 'code=1,headers=maybe': headers of a fault is on or off, not 'maybe'"),
        (["--fault", "code=1,pages=odd"], "--fault 'code=1,pages=odd': pages of a fault is one of first, later, not 'odd'"),
        (["--fault", "code=1,path=("],
         "--fault 'code=1,path=(': path of a fault is a regular expression, not '(': missing ), unterminated subpattern at position 0"),
        (["--fault", "code=1,message=\"x"], "--fault 'code=1,message=\"x': a quotation mark of the fault is not closed"),
        (["--fault", '{"code": 613}'],
         "--fault '{\"code\": 613}': a fault is written K=V,… such as code=613,on=conversations,at=5"),
        # Right by themselves, and wrong together.
        (["--empty-pages", "2"], "--empty-pages names Pages from 1 to 1 (--pages), not 2"),
        (["--folders", "inbox=90000", "--span-days", "1"],
         "--folders has 90,000 threads, and in --span-days 1 each cannot have a second of its own: a longer span or --ties is needed"),
        (["--pages", "9", "--instagram", "3000000", "--ties"],
         "--pages 9 with so many threads each would make 27,001,800: 10,000,000 is the most"),
        (["--require-proof"], "--require-proof needs an --app-secret"),
        (["--token", "A", "--user-token", "A"], "--token and --user-token are two tokens, not 'A' both"),
        # No option at all.
        (["--page", "2", "--colour", "red"], "Ambiguous option: --page could match --page-id, --pages"),
        (["--colour", "red"], "There is no option --colour red: --help lists them"),
        (["8765"], "There is no option 8765: --help lists them"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_can(arguments: list[str], sentence: str) -> None:
    """In a sentence, which names the option, what was given, and what is taken."""
    assert refused(*arguments) == f"{sentence}\n"


@pytest.mark.parametrize("arguments", [["--pages", "0"], ["--fault", "kind=x"], ["--require-proof"], ["--colour"]])
def test_the_command_itself_ends_with_2_and_the_sentence(arguments: list[str]) -> None:
    """No traceback, no usage, and nothing on standard output."""
    result = run("--port", "0", *arguments)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)


def started(*arguments: str) -> Sandbox:
    """A small sandbox with these options, on a port of its own."""
    return ordered(parser().parse_args(["--port", "0", "--conversations", "3", *arguments]))


def test_every_page_of_several_is_named_with_its_token() -> None:
    """Each opens its Page and no other, but for the dead one's; the user's reaches all, and is the one of the connection."""
    with started("--pages", "4", "--dead-pages", "3", "--taskless-pages", "4") as box:
        lines = list(greeting(box))
        found = dict(re.findall(r"^Page (\d+): token (\S+?)(?=,|$)", "\n".join(lines), re.MULTILINE))
        assert list(found) == list(box.pages)
        for ident, token in found.items():
            answer = requests.get(f"{box.url}/v26.0/me", headers={"Authorization": f"Bearer {token}"}, timeout=10)
            assert answer.json().get("id") == (None if ident == list(box.pages)[2] else ident)
    assert [line.endswith(", which is dead") for line in lines[1:5]] == [False, False, True, False]
    assert lines[4].endswith(", which the user's token is not told")
    assert lines[5] == "The user's token SANDBOX-USER-TOKEN reaches them all."


def test_of_many_pages_the_first_are_named_and_the_others_where_they_are_found() -> None:
    """A screen is what one reads."""
    with started("--pages", "300") as box:
        lines = list(greeting(box))
    assert len([line for line in lines if line.startswith("Page ")]) == 20
    assert "… and so on, 300 Pages in all; /v26.0/me/accounts tells a user's token the token of each." in lines


@pytest.mark.parametrize(
    "arguments", [[], ["--token", "it's-$mine"], ["--pages", "2"], ["--app-secret", "s3cret", "--require-proof"]]
)
def test_the_connection_can_be_pasted_as_it_is_printed(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell takes the line, whatever signs a token has, and Airflow reads from it what the hook needs to reach the Page."""
    from airflow_provider_pageconv.hooks import PageConversationsHook

    with started(*arguments) as box:
        [line] = [line for line in greeting(box) if line.startswith("export ")]
        shell = subprocess.run(
            ["/bin/sh", "-c", f'{line}\nprintf %s "$AIRFLOW_CONN_PAGECONV_DEFAULT"'],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(shell.stdout) == connection(box)
        monkeypatch.setenv("AIRFLOW_CONN_PAGECONV_DEFAULT", shell.stdout)
        hook = PageConversationsHook()
        assert [len(list(hook.conversations(page))) for page in box.pages] == [3 for _ in box.pages]


def test_the_lines_can_be_pasted_with_the_sandbox_in_the_background(tmp_path: Path) -> None:
    """Nothing waits for it to end; `kill $!` ends it without a word, and the shell goes on."""
    script = f"""{shlex.join(COMMAND)} --port 0 --conversations 3 > {tmp_path / "said"} &
    until grep -qs kill {tmp_path / "said"}; do sleep 0.1; done
    kill $!
    wait $!
    echo "ended with $?"
    """
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("ended with 0\n", "")


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_without_a_word_while_it_still_writes_a_large_page(signal_number: int, tmp_path: Path) -> None:
    """Nobody waits for what nobody wants any more."""
    data = tmp_path / "data.json"
    arguments = ["--port", "0", "--conversations", "200000", "--data-file", str(data)]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not data.exists():
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal_number)
            printed, complained = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, printed, complained) == (0, "", "")


def test_help() -> None:
    """The help shows groups, defaults and examples."""
    text = run("--help").stdout
    for part in ("the Page:", "the API:", "limits:", "trouble and life:", "(default: 200)", "examples:", "--fault"):
        assert part in text
