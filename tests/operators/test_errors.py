"""What the task ends with when the API, or the storage, refuses."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_pageconv.dump import checkpoint
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphPermissionError, GraphRequestError
from airflow_provider_pageconv.operators import ExportFailed
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from tests.operators.running import CONNECTION, connection, context, operator, run
from tests.servers.destinations import Destination, local
from tests.servers.ports import free_ports
from tests.servers.seaweedfs import S3Server

PERMISSIONS = (
    "Messenger needs the task MESSAGING on the Page and pages_messaging, pages_manage_metadata and pages_read_engagement; "
    "Instagram needs instagram_basic, instagram_manage_messages and pages_manage_metadata."
)
FOLDERS = {"inbox", "other", "page_done", "spam"}
LATER = "Stop calling and come back later: calls made meanwhile prolong the block."
NEW_TOKEN = "Put a new access token into the connection."
NO_TOKEN = (
    "no access token arrived. Something on the way takes the Authorization header: look at the proxy, and at the "
    "connection's host."
)
FINAL = [
    (200, None, GraphPermissionError, f"a permission is missing: pages_messaging. {PERMISSIONS}", 403),
    (230, None, GraphPermissionError, f"a permission is missing: pages_messaging. {PERMISSIONS}", 403),
    (10, None, GraphPermissionError, f"a permission is missing. {PERMISSIONS}", 403),
    (100, None, GraphRequestError,
     "a parameter is not valid. Check the page id, the user_id and the fields that the task names.", 400),
    (104, None, GraphAuthError, NO_TOKEN, 400),
    (2500, None, GraphRequestError,
     "the query cannot be parsed. Check the page id and the fields that the task names.", 400),
    (190, None, GraphAuthError, f"the access token is not valid. {NEW_TOKEN}", 401),
    (190, 460, GraphAuthError, f"the person who gave the token has changed their password. {NEW_TOKEN}", 401),
    (190, 463, GraphAuthError, f"the access token has expired. {NEW_TOKEN}", 401),
]  # fmt: skip
LIMITS = [
    (613, "calls to the conversations API have exceeded its rate limit (2 calls a second for one Page)", 400),
    (80006, "there have been too many Messenger API calls to this Page account", 400),
    (368, "the calls were held to be abusive and are blocked", 400),
    (4, "the app has used up its calls", 403),
]


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Any:
    with Sandbox(conversations=0, folders={"inbox": 12, "other": 3}, messages=2) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        yield box


def _only(failed: BaseException) -> Any:
    assert isinstance(failed, ExportFailed)
    [(folder, error)] = failed.errors.items()
    assert folder == "inbox"
    return error


def _whole(error: Any, code: int, subcode: int | None, sentence: str, status: int) -> str:
    number = f"{code}/{subcode}" if subcode else str(code)
    return f"Graph API error {number}: {sentence} (HTTP status {status}, fbtrace_id {error.fbtrace_id})"


@pytest.mark.parametrize("code, subcode, kind, sentence, status", FINAL, ids=[f"{r[0]}-{r[1]}" for r in FINAL])
def test_what_no_further_try_can_change_ends_the_task(
    code: int, subcode: int | None, kind: type[Exception], sentence: str, status: int,
    box: Sandbox, destination_files: Destination,
) -> None:  # fmt: skip
    """No further call, the whole sentence, and an earlier export byte for byte as it was."""
    run(destination_files.url, "run-1", folders="inbox")
    before = destination_files.snapshot()
    box.forget()
    box.faults.add(Fault(code=code, subcode=subcode))
    with pytest.raises(AirflowFailException) as caught:
        run(destination_files.url, "run-2", folders="inbox")
    error = _only(caught.value)
    assert type(error) is kind
    assert str(error) == _whole(error, code, subcode, sentence, status)
    assert str(caught.value) == f"inbox: {error}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert len(box.requests) == 1
    published = {name: content for name, content in destination_files.snapshot().items() if "_staging" not in name}
    assert published == before


def test_a_wrong_signature_ends_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says which secret belongs where."""
    with Sandbox(conversations=3, app_secret="right", require_proof=True) as box:
        monkeypatch.setenv(CONNECTION, connection(box, app_secret="wrong"))
        with pytest.raises(AirflowFailException) as caught:
            run((tmp_path / "export").as_uri(), folders="inbox")
        assert len(box.requests) == 1
    error = _only(caught.value)
    assert type(error) is GraphRequestError
    assert (
        str(error)
        .partition(": ")[2]
        .startswith(
            "the signature of the call (appsecret_proof) is wrong or missing. Put the secret of the app that the token belongs "
            "to into the connection's app_secret."
        )
    )


def test_an_authorization_header_that_is_swallowed_on_the_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2500 "An active access token must be used" is no wrong query: no new token would help."""
    with Sandbox(conversations=3, swallow_authorization=True, no_token_code=2500) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        with pytest.raises(AirflowFailException) as caught:
            run((tmp_path / "export").as_uri(), folders="inbox")
        assert len(box.requests) == 1
    error = _only(caught.value)
    assert type(error) is GraphAuthError
    assert str(error).startswith(f"Graph API error 2500: {NO_TOKEN} (HTTP status 4")


@pytest.mark.parametrize("code, sentence, status", LIMITS, ids=[str(row[0]) for row in LIMITS])
def test_a_limit_fails_the_try_where_it_is_asked_to(
    code: int, sentence: str, status: int, box: Sandbox, tmp_path: Path
) -> None:
    """``on_rate_limit="fail"``: a further try may go on, and an earlier export is as it was."""
    files = local(tmp_path / "export")
    run(files.url, "run-1", folders="inbox")
    before = files.snapshot()
    box.forget()
    fault = box.faults.add(Fault(code=code, regain=17))
    with pytest.raises(AirflowException) as caught:
        run(files.url, "run-2", folders="inbox")
    assert not isinstance(caught.value, AirflowFailException)
    said = re.sub(r"fbtrace_id \w+", "fbtrace_id T", str(caught.value))
    assert said == f"inbox: Graph API error {code}: {sentence}. {LATER} (HTTP status {status}, fbtrace_id T)"
    assert len(box.requests) == 1
    assert {name: content for name, content in files.snapshot().items() if "_staging" not in name} == before
    box.faults.remove(fault)
    assert run(files.url, "run-2", folders="inbox")["conversations"] == 12


def test_passing_trouble_that_does_not_pass_fails_the_try(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After six calls of the smallest size, and a further try of the task goes on."""
    from airflow_provider_pageconv.graph import client

    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.0)
    files = local(tmp_path / "export")
    fault = box.faults.add(Fault(code=2))
    with pytest.raises(AirflowException) as caught:
        run(files.url, folders="inbox", page_size=1, messages=False)
    assert not isinstance(caught.value, AirflowFailException)
    said = re.sub(r"fbtrace_id \w+", "fbtrace_id T", str(caught.value))
    assert said == (
        "inbox: Graph API error 2: passing trouble at Meta. Try again later. (HTTP status 500, fbtrace_id T)"
    )
    assert len(box.requests) == 6
    box.faults.remove(fault)
    assert run(files.url, folders="inbox", page_size=1, messages=False)["conversations"] == 12


def test_a_dead_token_ends_all_folders_with_one_sentence(box: Sandbox, tmp_path: Path) -> None:
    """No more calls than were under way, and what they brought is kept for the next try."""
    files = local(tmp_path / "export")
    fault = box.faults.add(Fault(code=190, folder="inbox"))
    with pytest.raises(AirflowFailException, match=r"^inbox, other(, page_done)?(, spam)?: .* is not valid") as caught:
        run(files.url, page_size=1)
    assert isinstance(caught.value, ExportFailed)
    assert {type(error) for error in caught.value.errors.values()} == {GraphAuthError}
    assert len(box.requests) <= 8
    missing = set(caught.value.errors)
    assert {manifest["folder"] for manifest in files.manifests().values()} == FOLDERS - missing
    box.faults.remove(fault)
    assert run(files.url, page_size=1)["conversations"] == 15


@pytest.mark.parametrize("code, final", [(100, True), (200, True), (2, False), (1, False)])
def test_one_folder_s_refusal_lets_the_others_publish_and_the_error_names_it(
    code: int, box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, final: bool
) -> None:
    """And no asset event until every folder is published; the next try goes on with those that are missing."""
    from airflow_provider_pageconv.graph import client

    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.0)
    files = local(tmp_path / "export")
    outlet = Asset("pages")
    events = OutletEventAccessors()
    fault = box.faults.add(Fault(code=code, folder="inbox"))
    with pytest.raises(AirflowException, match=rf"^inbox: Graph API error {code}: ") as caught:
        run(files.url, outlets=[outlet], more={"outlet_events": events})
    assert isinstance(caught.value, ExportFailed) == final
    assert events[outlet].extra == {}
    assert {manifest["folder"] for manifest in files.manifests().values()} == FOLDERS - {"inbox"}
    box.faults.remove(fault)
    box.forget()
    result = run(files.url)
    assert {call.params["folder"] for call in box.requests} == {"inbox"}
    assert {name: numbers["published"] for name, numbers in result["folders"].items()} == {
        "inbox": "new", "other": "earlier", "page_done": "earlier", "spam": "earlier",
    }  # fmt: skip
    assert (result["conversations"], result["messages"]) == (15, 30)


def test_an_error_that_a_further_try_may_mend_leaves_the_task_its_tries_whatever_ended_the_others(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each missing folder is named with its own sentence."""
    from airflow_provider_pageconv.graph import client

    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.0)
    box.faults.add(Fault(code=100, folder="inbox"))
    box.faults.add(Fault(code=2, folder="spam"))
    with pytest.raises(AirflowException) as caught:
        run((tmp_path / "export").as_uri())
    assert not isinstance(caught.value, AirflowFailException)
    assert re.search(r"^inbox: Graph API error 100: .* spam: Graph API error 2: ", str(caught.value))


def test_on_kill_ends_the_try_and_publishes_nothing(box: Sandbox, tmp_path: Path) -> None:
    """The next try goes on, and no call is made twice."""
    files = local(tmp_path / "export")
    task = operator(files.url, folders="inbox", page_size=5)
    box.life.add(Life("call", at=2, do=lambda _: task.on_kill()))
    with pytest.raises(AirflowException) as caught:
        task.execute(context())  # type: ignore[arg-type]
    assert not isinstance(caught.value, AirflowFailException)
    assert str(caught.value) == "The export was stopped; what was fetched is safe, and the next try goes on from there."
    assert files.manifests() == {}
    assert len(box.requests) == 2
    assert run(files.url, folders="inbox", page_size=5)["conversations"] == 12
    assert len(box.requests) == 3 + 2 * 3


def test_on_kill_before_the_first_call_lets_none_be_made(box: Sandbox, tmp_path: Path) -> None:
    """However early it comes."""
    task = operator((tmp_path / "export").as_uri())
    task.on_kill()
    with pytest.raises(AirflowException, match=r"^The export was stopped"):
        task.execute(context())  # type: ignore[arg-type]
    assert box.requests == []


def test_a_file_in_the_way_of_the_destination_is_an_error_before_the_first_call(box: Sandbox, tmp_path: Path) -> None:
    """What could not be done, and the storage's reason; the file is as it was."""
    (tmp_path / "export").write_text("mine")
    with pytest.raises(StoreError) as caught:
        run((tmp_path / "export").as_uri(), folders="inbox")
    manifests = f"_manifests/platform=messenger/page_id={box.page.id}/folder=inbox"
    assert str(caught.value) == f"Cannot list {tmp_path}/export/{manifests}: Not a directory"
    assert box.requests == []
    assert (tmp_path / "export").read_text() == "mine"


def test_a_bucket_that_is_not_there_is_an_error_before_the_first_call(
    box: Sandbox, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be done, and why; no further try is made."""
    server = request.getfixturevalue("seaweedfs")
    monkeypatch.setenv("AIRFLOW_CONN_PAGECONV_NO_BUCKET", server.connection())
    with pytest.raises(AirflowFailException) as caught:
        run("s3://pageconv_no_bucket@no-such-bucket/export", folders="inbox")
    manifests = f"_manifests/platform=messenger/page_id={box.page.id}/folder=inbox"
    assert str(caught.value) == (
        f"Cannot list no-such-bucket/export/{manifests}: there is no bucket 'no-such-bucket', make it first"
    )
    assert box.requests == []


def test_a_server_that_is_not_there_is_told_by_host_and_port_with_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each folder tries for a minute or so in earnest, and never asks for less: that would only make more lines."""
    from airflow_provider_pageconv.graph import client

    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.0)
    [port] = free_ports(1)
    whole = {"conn_type": "pageconv", "host": f"http://127.0.0.1:{port}", "password": "TOKEN"}
    whole["extra"] = {"page_id": "1", "calls_per_second": 0}  # type: ignore[assignment]
    monkeypatch.setenv(CONNECTION, json.dumps(whole))
    with pytest.raises(AirflowException) as caught:
        run((tmp_path / "export").as_uri())
    assert not isinstance(caught.value, AirflowFailException), "it may be there again for the next try"
    said = (
        f"Graph API: 127.0.0.1:{port} refused the connection. Check the connection's host and port, or try again later."
    )
    assert str(caught.value) == f"inbox, other, page_done, spam: {said}"
    lines = [record.getMessage() for record in caplog.records if "Trying again" in record.getMessage()]
    assert len(lines) == 4 * 7
    assert all(line.startswith(said) for line in lines)
    assert {line.rpartition("(")[2] for line in lines} == {f"{number} of 7)." for number in range(1, 8)}


@pytest.mark.parametrize(
    "destination, sentence",
    [
        (
            "ftp.s://bucket/pages",
            "destination is 'ftp.s://bucket/pages': it takes s3://, gs://, abfs:// or file:// (Unsupported filesystem: 'ftp.s').",
        ),
        (
            "gs://bucket/pages",
            (
                "destination is 'gs://bucket/pages': gs:// needs a package that is not installed here: pip install "
                "'airflow-provider-pageconv[gcs]' wherever tasks run."
            ),
        ),
        (
            "abfss://some_connection@container/pages",
            (
                "destination is 'abfss://some_connection@container/pages': abfss:// needs a package that is not installed "
                "here: pip install 'airflow-provider-pageconv[azure]' wherever tasks run."
            ),
        ),
    ],
    ids=["unknown", "gcs", "azure"],
)
def test_a_scheme_that_is_not_installed_is_an_error_before_the_first_call(
    box: Sandbox, destination: str, sentence: str
) -> None:
    """Which extra brings it. Airflow's providers for Google's and Azure's stores are not among what the tests install."""
    with pytest.raises(AirflowFailException) as caught:
        run(destination)
    assert str(caught.value) == sentence
    assert box.requests == []


def test_a_token_that_is_not_good_is_told_even_where_the_destination_fails_just_then(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No further try can change it."""
    compose = checkpoint.Checkpoints.compose

    def full() -> None:
        raise StoreError("Cannot write x: No space left on device")

    def composed(self: checkpoint.Checkpoints, progress: Progress, **options: Any) -> Any:
        save, parts = compose(self, progress, **options)
        return (full if progress.api_calls else save), parts

    monkeypatch.setattr(checkpoint.Checkpoints, "compose", composed)
    box.faults.add(Fault(code=190, at=2))
    with pytest.raises(AirflowFailException) as caught:
        run((tmp_path / "export").as_uri(), folders="inbox", page_size=5)
    assert isinstance(_only(caught.value), GraphAuthError)


def test_a_connection_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Airflow's own sentence names it."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        run((tmp_path / "export").as_uri(), pageconv_conn_id="nowhere")


@pytest.mark.parametrize("mixed", ["overlap", "user_id"])
def test_what_would_break_the_data_set_fails_before_the_first_call(mixed: str, box: Sandbox, tmp_path: Path) -> None:
    """No further try could change it."""
    files = local(tmp_path / "export")
    run(files.url, "run-1", folders="inbox")
    box.forget()
    options: dict[str, Any] = {"until": "2026-01-01T00:00:00Z"} if mixed == "overlap" else {"user_id": "4711"}
    with pytest.raises(AirflowFailException) as caught:
        run(files.url, "run-2", folders="inbox", **options)
    place = f"platform=messenger/page_id={box.page.id}/folder=inbox"
    what = {
        "overlap": f"The window begin--20260101T000000Z of {place} overlaps all, which is published there: ",
        "user_id": f"This export of user_id 4711 cannot be mixed with the window all of {place}, which holds the whole Page: ",
    }[mixed]
    assert str(caught.value) == (
        f"{what}use another destination, or first delete _manifests/{place}/window=all.json and then "
        f"conversations/{place}/window=all/, messages/{place}/window=all/ and media/{place}/window=all/."
    )
    assert box.requests == []


def test_an_s3_connection_that_does_not_exist_is_one_warning_since_roles_are_used_so(
    seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The export goes on with what the machine may do, which here is given in AWS's own variables."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", seaweedfs.access_key),
        ("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key),
        ("AWS_ENDPOINT_URL", seaweedfs.endpoint),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    with Sandbox(conversations=3) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        result = run(f"s3://no_such_connection@{seaweedfs.bucket}/by-role-{uuid.uuid4().hex[:8]}")
    assert result["conversations"] == 3
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider_pageconv")]
    [warning] = [text for text in ours if "no_such_connection" in text]
    assert warning == (
        "The destination names the connection 'no_such_connection', which does not exist: "
        "S3 is reached by the machine's own role."
    )
