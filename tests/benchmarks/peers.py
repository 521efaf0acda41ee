"""What a data engineer would take otherwise, each as short as it can be written and still be right.

Each exports a Page's folders into gzipped JSON Lines and says what it cost. Run by bench_speed.py, each in an environment of
its own:

    python tests/benchmarks/peers.py NAME '{"url": …, "folders": […], "messages": true, "pace": 0, "into": …}'
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FIELDS = (
    "id,updated_time,can_reply,former_participants,is_owner,is_subscribed,link,linked_group,message_count,name,participants,"
    "scoped_thread_key,senders,snippet,unread_count,wallpaper"
)
MESSAGES = (
    "messages.limit(25){id,created_time,from,to,message,tags,attachments{id,type,name,title,mime_type,size,url},"
    "shares{id,type,url,title},sticker,story,reactions,is_unsupported,reply_to}"
)
VERSION, PAGE_ID, TOKEN = "v26.0", "1234567890", "EAAB-made-up"


def fields(task: dict[str, Any]) -> str:
    return f"{FIELDS},{MESSAGES}" if task["messages"] else FIELDS


class Pacer:
    """At most so many calls a second; the loops below have no other protection of the Page's limit."""

    def __init__(self, pace: float) -> None:
        self._interval = 1 / pace if pace else 0.0
        self._next = 0.0
        self._turn = threading.Lock()

    def wait(self) -> None:
        with self._turn:
            now = time.monotonic()
            if self._next > now:
                time.sleep(self._next - now)
            self._next = max(self._next, now) + self._interval


def write(into: str, folder: str, nodes: Iterator[dict[str, Any]]) -> int:
    """One file for the conversations of a folder and one for their messages, as our own export has them."""
    count = 0
    with (
        gzip.open(Path(into) / f"conversations-{folder}.jsonl.gz", "wb", compresslevel=6) as threads,
        gzip.open(Path(into) / f"messages-{folder}.jsonl.gz", "wb", compresslevel=6) as messages,
    ):
        for node in nodes:
            inner = node.pop("messages", None)
            threads.write((json.dumps(node, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
            count += 1
            for message in inner["data"] if inner else ():
                message["_conversation_id"] = node["id"]
                messages.write((json.dumps(message, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
                count += 1
    return count


def loop(task: dict[str, Any]) -> int:
    """A bare `requests` loop: no retries, no limits, no resume, one folder after the other."""
    import requests

    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    pacer = Pacer(task["pace"])

    def nodes(folder: str) -> Iterator[dict[str, Any]]:
        params = {"fields": fields(task), "limit": "100", "folder": folder, "platform": "messenger"}
        while True:
            pacer.wait()
            answer = session.get(f"{task['url']}/{VERSION}/{PAGE_ID}/conversations", params=params, timeout=60)
            answer.raise_for_status()
            page = answer.json()
            yield from page["data"]
            if "next" not in page["paging"]:
                return
            params["after"] = page["paging"]["cursors"]["after"]

    return sum(write(task["into"], folder, nodes(folder)) for folder in task["folders"])


def sdk(task: dict[str, Any]) -> int:
    """Meta's own SDK, whose cursor walks the pages."""
    from facebook_business.adobjects.page import Page
    from facebook_business.api import FacebookAdsApi, FacebookSession

    FacebookSession.GRAPH = task["url"]
    api = FacebookAdsApi.init(access_token=TOKEN, api_version=VERSION)
    pacer = Pacer(task["pace"])
    call = api.call

    def paced(*arguments: Any, **options: Any) -> Any:
        pacer.wait()
        return call(*arguments, **options)

    api.call = paced

    def nodes(folder: str) -> Iterator[dict[str, Any]]:
        params = {"limit": 100, "folder": folder, "platform": "messenger"}
        for thread in Page(PAGE_ID).get_conversations(fields=fields(task).split(","), params=params):
            yield thread.export_all_data()

    return sum(write(task["into"], folder, nodes(folder)) for folder in task["folders"])


def _dlt(task: dict[str, Any], *, parallel: bool) -> int:
    import dlt
    import requests
    from dlt.destinations import filesystem
    from dlt.sources.rest_api import rest_api_source

    pacer = Pacer(task["pace"])

    class Paced(requests.Session):
        def send(self, *arguments: Any, **options: Any) -> Any:
            pacer.wait()
            return super().send(*arguments, **options)

    os.environ.update(
        DLT_DATA_DIR=task["into"],
        RUNTIME__DLTHUB_TELEMETRY="false",
        RUNTIME__LOG_LEVEL="ERROR",
        NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION="false",
        PIPELINES_DIR=task["into"],
    )
    asked = fields(task).replace("{", "{{").replace("}", "}}")  # in braces dlt looks for expressions of its own
    resources: list[Any] = [
        {
            "name": f"conversations_{folder}",
            "max_table_nesting": 0,
            "parallelized": parallel,
            "endpoint": {
                "path": f"{PAGE_ID}/conversations",
                "params": {"fields": asked, "limit": 100, "folder": folder, "platform": "messenger"},
                "data_selector": "data",
                "paginator": {"type": "json_link", "next_url_path": "paging.next"},
            },
        }
        for folder in task["folders"]
    ]
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{task['url']}/{VERSION}/",
                "auth": {"type": "bearer", "token": TOKEN},
                # Its own one tries again what is a server's fault: https://dlthub.com/docs/general-usage/http/requests
                **({} if task.get("own_session") else {"session": Paced()}),
            },
            "resources": resources,
        }
    )
    pipeline = dlt.pipeline("bench", destination=filesystem(Path(task["into"]).as_uri()), pipelines_dir=task["into"])
    pipeline.run(source, loader_file_format="jsonl")
    rows = pipeline.last_trace.last_normalize_info.row_counts
    return sum(count for table, count in rows.items() if table.startswith("conversations_"))


def dlt_one_by_one(task: dict[str, Any]) -> int:
    """dlt's `rest_api` source, resources one after the other."""
    return _dlt(task, parallel=False)


def dlt_parallel(task: dict[str, Any]) -> int:
    """The same with its resources in parallel."""
    return _dlt(task, parallel=True)


def ours(task: dict[str, Any]) -> int:
    """The operator, as a task process runs it."""
    import logging

    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps(
        {
            "conn_type": "pageconv",
            "host": task["url"],
            "password": TOKEN,
            "extra": {"page_id": PAGE_ID, "calls_per_second": task["pace"]},
        }
    )
    from airflow_provider_pageconv.operators import PageConversationsToObjectStorageOperator

    logging.disable(logging.INFO)
    operator = PageConversationsToObjectStorageOperator(
        task_id="export",
        destination=Path(task["into"]).as_uri(),
        folders=list(task["folders"]),
        messages=task["messages"],
        pageconv_conn_id="bench",
        release_slot_after=None,
    )
    ti = SimpleNamespace(dag_id="bench", run_id="1", task_id="export", map_index=-1, try_number=1)
    dag_run = SimpleNamespace(clear_number=0, run_after=datetime.now(timezone.utc))
    result = operator.execute({"ti": ti, "dag_run": dag_run})  # type: ignore[typeddict-item]
    return int(result["conversations"] + result["messages"])


PEERS = {"ours": ours, "loop": loop, "facebook-business": sdk, "dlt": dlt_one_by_one, "dlt parallel": dlt_parallel}


NEEDS = {
    "ours": (
        "airflow_provider_pageconv.operators",
        "airflow_provider_pageconv.hooks",
        "airflow_provider_pageconv.dump.export",
        "airflow.sdk.execution_time.supervisor",  # a task process runs beneath it
    ),
    "loop": ("requests",),
    "facebook-business": ("facebook_business.adobjects.page",),
    "dlt": ("dlt.sources.rest_api", "dlt.destinations"),
    "dlt parallel": ("dlt.sources.rest_api", "dlt.destinations"),
}


def main() -> None:
    """Import what a peer needs, then export, and say what the export alone took."""
    peer, task = PEERS[sys.argv[1]], json.loads(sys.argv[2])
    begun = time.monotonic()
    for module in NEEDS[sys.argv[1]]:
        importlib.import_module(module)
    if peer is ours:  # Airflow imports all file systems that are installed when it is asked for the first one
        from airflow.sdk import ObjectStoragePath

        assert ObjectStoragePath(Path(task["into"]).as_uri()).fs
    imported = time.monotonic() - begun
    wall, cpu = time.monotonic(), time.process_time()
    records = peer(task)
    result = {
        "records": records,
        "import": imported,
        "wall": time.monotonic() - wall,
        "cpu": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": threading.active_count(),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
