"""Ids, both ways: a number is hidden in each, so that no table of ids has to be kept."""

from __future__ import annotations

import base64
import hashlib
import struct

from airflow_provider_pageconv.sandbox import words
from airflow_provider_pageconv.sandbox.nodes import INSTAGRAM, MESSENGER

_THREAD_NUMBERS = 9 * 10**14
_PERSON_NUMBERS = 9 * 10**15
_THREAD = "aWdfZAG06"  # how ids of Instagram begin
_MESSAGE = "aWdfZAG1f"


class Ids:
    """The ids of one Page's threads, people and messages.

    :param seed: decides what they look like.
    """

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()[:64]
        self._factor = 2 * (words.draw(seed, "factor") % 10**12) + 1
        while self._factor % 3 == 0 or self._factor % 5 == 0:
            self._factor += 2
        self._shift = words.draw(seed, "shift") % _THREAD_NUMBERS
        self._unfactor_thread = pow(self._factor, -1, _THREAD_NUMBERS)
        self._unfactor_person = pow(self._factor, -1, _PERSON_NUMBERS)

    def thread(self, serial: int, platform: str) -> str:
        """Return the id of the thread with this serial number."""
        number = 10**14 + (serial * self._factor + self._shift) % _THREAD_NUMBERS
        if platform == MESSENGER:
            return f"t_{number}"
        return _THREAD + base64.urlsafe_b64encode(f"1:IGMessageThread:{number}".encode()).decode().rstrip("=")

    def read_thread(self, thread_id: str) -> tuple[int, str] | None:
        """Return the serial number and the platform that are in a thread's id; None if it is none of ours."""
        text = thread_id
        if text.startswith(_THREAD):
            platform, decoded = INSTAGRAM, _unbase64(text[len(_THREAD) :])
            text = decoded.decode("latin-1").rpartition(":")[2] if decoded else ""
        elif text.startswith("t_"):
            platform, text = MESSENGER, text[2:]
        else:
            return None
        if not (text.isascii() and text.isdigit() and len(text) == 15):
            return None
        serial = (int(text) - 10**14 - self._shift) * self._unfactor_thread % _THREAD_NUMBERS
        return (serial, platform) if self.thread(serial, platform) == thread_id else None

    def person(self, who: int) -> str:
        """Return the Page-scoped id of a person."""
        return str(10**15 + (who * self._factor + self._shift) % _PERSON_NUMBERS)

    def read_person(self, user_id: str) -> int:
        """Return the number that is in a person's id; -1 if it is no such id."""
        if not (user_id.isascii() and user_id.isdigit() and len(user_id) == 16):
            return -1
        return (int(user_id) - 10**15 - self._shift) * self._unfactor_person % _PERSON_NUMBERS

    def message(self, serial: int, seq: int, platform: str) -> str:
        """Return the id of the message with this number in its thread."""
        plain = struct.pack(">QI", serial, seq)
        mask = hashlib.blake2b(plain, digest_size=36, key=self._key).digest()
        hidden = int.from_bytes(plain, "big") ^ int.from_bytes(mask[:12], "big")
        body = mask + hidden.to_bytes(12, "big")
        return ("m_" if platform == MESSENGER else _MESSAGE) + base64.urlsafe_b64encode(body).decode()

    def read_message(self, message_id: str) -> tuple[int, int] | None:
        """Return the thread's serial number and the message's number in it; None if it is none of ours."""
        for platform, prefix in ((MESSENGER, "m_"), (INSTAGRAM, _MESSAGE)):
            if message_id.startswith(prefix):
                body = _unbase64(message_id[len(prefix) :])
                if body is None or len(body) != 48:
                    return None
                plain = bytes(a ^ b for a, b in zip(body[36:], body[:12], strict=True))
                serial, seq = struct.unpack(">QI", plain)
                return (serial, seq) if self.message(serial, seq, platform) == message_id else None
        return None


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
