"""People as a task names them: who they are on the made-up Page, and how one may get it wrong."""

from __future__ import annotations

from typing import Any

SOMEBODY, SOMEBODY_ELSE = "1403689654214327", "1404936837137626"

WRONG_LISTS: list[tuple[bytes | None, str]] = [
    (None, "which cannot be read: no file is there"),
    (b"", "which holds no id: it takes one a line, or None to leave out nobody"),
    (b"\n# nobody yet\n", "which holds no id: it takes one a line, or None to leave out nobody"),
    (b"user_id\n1403689654214327\n", "whose line 1 is no id of a person: it takes digits alone"),
    (b"1403689654214327\nAna Brontes\n", "whose line 2 is no id of a person: it takes digits alone"),
    (b"1403689654214327,1404936837137626\n", "whose line 1 is no id of a person: it takes digits alone"),
    (b"\xff\xfe1\x004\x00", "which is no text in UTF-8"),
]

WRONG: list[Any] = [
    [], (), "", ["1403689654214327", "Brontes"], "Brontes", "people.txt", ["x/y"], [True], [1.5], [None], {"1": 2}, [-4],
    ["1403689654214327\n"], 3.5,
]  # fmt: skip
