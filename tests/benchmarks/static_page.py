"""A Page that never changes, served as fast as Python can: the answers are made before the first call.

For benchmarks only. It knows one edge, ``/conversations`` with ``limit=100``, and answers whoever asks; nodes have the fields
that the export asks for by default, a tenth of the texts are not ASCII.

    python tests/benchmarks/static_page.py '{"conversations": 20000, "messages": 0, "folders": 4, "latency": 0.0}'

prints its port, serves until its input ends, and prints then how many calls it answered and its own CPU seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

FOLDERS = ("inbox", "other", "page_done", "spam")
PAGE_ID, TOKEN = "1234567890", "EAAB-made-up"
PAGE = 100
_NEWEST = datetime(2026, 11, 1, tzinfo=timezone.utc)
_TEXTS = (
    "Hello, is the blue one still there in size M?",
    "Yes, we have two left. Shall I put one aside for you until Saturday?",
    "That would be great, thank you so much. I come by tomorrow after work, around six.",
    "Is delivery possible as well? I live a bit outside.",
)
_OTHER_TEXTS = (
    "Schöne Grüße aus Köln, wann ist denn geöffnet?",
    "ありがとうございます 🙏 明日行きます",
    "Ça marche, à demain !",
)


def _time(number: int) -> str:
    return (_NEWEST - timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _message(dice: random.Random, thread: int, which: int, person: dict[str, str]) -> dict[str, Any]:
    page = {"name": "Corner Shop", "email": "shop@example.com", "id": PAGE_ID}
    writer, reader = (person, page) if which % 2 else (page, person)
    return {
        "id": f"m_{thread:08d}{which:03d}{dice.getrandbits(200):050x}",
        "created_time": _time(thread * 60 + which * 2),
        "from": writer,
        "to": {"data": [reader]},
        "message": dice.choice(_OTHER_TEXTS if dice.random() < 0.1 else _TEXTS),
        "tags": {"data": [{"name": "inbox"}, {"name": "read"}, {"name": "source:web"}]},
    }


def _thread(dice: random.Random, number: int, messages: int) -> dict[str, Any]:
    person = {"name": f"Person {number}", "email": f"{number}@facebook.com", "id": str(10**15 + number)}
    node: dict[str, Any] = {
        "id": f"t_{10**15 + number}",
        "updated_time": _time(number * 60),
        "can_reply": True,
        "is_subscribed": True,
        "link": f"/{PAGE_ID}/inbox/{10**15 + number}/?section=messages",
        "message_count": messages,
        "participants": {"data": [person, {"name": "Corner Shop", "email": "shop@example.com", "id": PAGE_ID}]},
        "senders": {"data": [person]},
        "snippet": dice.choice(_TEXTS),
        "unread_count": 0,
        "scoped_thread_key": f"t_{number}",
    }
    if messages:
        node["messages"] = {
            "data": [_message(dice, number, which, person) for which in range(messages)],
            "paging": {"cursors": {"before": f"b{number}", "after": f"a{number}"}},
        }
    return node


class Answers:
    """All answers, made beforehand, by folder and row."""

    def __init__(self, conversations: int, messages: int, folders: int, port: int) -> None:
        dice = random.Random(7)
        self.pages: dict[tuple[str, int], bytes] = {}
        number = 0
        for folder in FOLDERS[:folders]:
            rows = conversations // folders
            for first in range(0, rows, PAGE):
                nodes = []
                for _ in range(first, min(first + PAGE, rows)):
                    nodes.append(_thread(dice, number, messages))
                    number += 1
                paging: dict[str, Any] = {"cursors": {"before": f"{first}", "after": f"{first + PAGE}"}}
                if first + PAGE < rows:
                    after = f"http://127.0.0.1:{port}/v26.0/{PAGE_ID}/conversations?folder={folder}&limit={PAGE}"
                    paging["next"] = f"{after}&after={first + PAGE}"
                body = json.dumps({"data": nodes, "paging": paging}, separators=(",", ":")).encode()
                self.pages[folder, first] = _answer(body)


def _answer(body: bytes) -> bytes:
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=UTF-8\r\nfacebook-api-version: v26.0\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._came = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n")) >= 0:
            head, self._came = self._came[:end], self._came[end + 4 :]
            answer = self._server.answer(head.split(b" ", 2)[1].decode())
            if self._server.latency:
                asyncio.get_running_loop().call_later(self._server.latency, self._write, answer)
            else:
                self._transport.write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


class _Server:
    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.calls = 0
        self.answers: Answers | None = None

    def answer(self, address: str) -> bytes:
        parts = urlsplit(address)
        if not parts.path.endswith("/conversations"):
            return _answer(json.dumps({"id": PAGE_ID, "name": "Corner Shop"}).encode())
        self.calls += 1
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert self.answers is not None
        assert asked["limit"] == str(PAGE), address
        return self.answers.pages[asked["folder"], int(asked.get("after", "0"))]


async def serve(conversations: int, messages: int, folders: int, latency: float) -> None:
    """Serve until the input ends."""
    state = _Server(latency)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: _Connection(state), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    state.answers = Answers(conversations, messages, folders, port)
    print(port, flush=True)
    before = time.process_time()
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps({"calls": state.calls, "cpu": time.process_time() - before}), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(sys.argv[1])))
