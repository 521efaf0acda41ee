"""People in what the API gives: found wherever they stand, hashed, or taken out. Pure rules for nodes and records alike.

Who is a person: whatever has an id, a name, an e-mail address or a user name, in a field that is known to hold people
(participants, senders, ``from``, ``to``, reactions) or in one that this module does not know. What is known to be a thing
(a file, a shared post, a story, a tag) keeps its own id and name, and so do conversations, messages and the Page itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_pageconv.dump.records import CONVERSATIONS

_KINDS = {
    **dict.fromkeys(("id", "ids", "user", "users", "user_id", "user_ids"), "id"),
    **dict.fromkeys(("name", "first_name", "middle_name", "last_name", "short_name"), "name"),
    "email": "email",
    "username": "username",
}
"""What a plain value under a key tells of a person."""

_IDS = tuple(key for key, kind in _KINDS.items() if kind == "id")

_MARKS = frozenset({"email", "username", "user_id"})
_THINGS: Mapping[str, Set[str]] = {
    **dict.fromkeys(("attachments", "shares", "linked_group", "story", "reply_to"), _MARKS),
    "tags": _MARKS | {"id"},
}
"""Fields that hold things, and by which of its keys one of them shows that it is a person after all: a mention, for one."""

_INSIDE_THINGS = {"data", "mention", "reply_to"}

_OUR_OWN = {"id", "scoped_thread_key"}
"""What names the conversation or the message itself."""

_TEXTS = {"message", "snippet"}
"""What people wrote: it may name anybody, and stays as it is."""

_THERE, _LEFT = ("participants", "senders"), ("former_participants",)
"""Who is in a conversation or wrote in it, and who was. Who left it and wrote is among the senders."""

_TOKEN = re.compile(r"[0-9A-Za-z]{5,}")
_FINGERPRINTED = b"the pseudonym_secret of airflow-provider-pageconv"
_GONE = object()


def _is_ours(key: str) -> bool:
    """Whether what stands under a key of a record itself names no person."""
    return key in _OUR_OWN or key.startswith("_")


# ---- pseudonyms


@dataclass(frozen=True)
class Pseudonyms:
    """Replaces what identifies people by its HMAC-SHA256, as 64 hexadecimal digits.

    :param key: the secret.
    :param fields: some of ``name``, ``email``, ``username``, ``id``.
    :param own: the ids of the Page itself, which stays readable.
    """

    key: bytes = field(repr=False)
    fields: Set[str]
    own: Set[str] = frozenset()

    @property
    def fingerprint(self) -> str:
        """Tells one secret from another, and nothing else of it."""
        return hmac.digest(self.key, _FINGERPRINTED, "sha256").hex()[:16]

    def of(self, kind: str, value: object) -> str:
        """What stands for a value; e-mail addresses are the same in any case and with spaces around them.

        :param kind: one of ``name``, ``email``, ``username``, ``id``.
        """
        text = str(value).strip().lower() if kind == "email" else str(value)
        return hmac.digest(self.key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()

    def hide(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """The same conversation or message, of either stream, without what identifies people."""
        met: dict[str, str] = {}
        hidden = {}
        for key, value in node.items():
            if _is_ours(key):
                hidden[key] = value
            elif key in _THINGS:
                hidden[key] = self._thing(value, _THINGS[key], met)
            else:
                hidden[key] = self._any(key, value, met)
        if not met:
            return hidden
        made = {k: v if _is_ours(k) or k in _TEXTS else self._elsewhere(v, met) for k, v in hidden.items()}
        if isinstance(name := node.get("name"), str) and name in met:  # on Instagram the user name of who writes
            made["name"] = met[name]
        return made

    def _any(self, key: str, value: Any, met: dict[str, str]) -> Any:
        """What may be people: every plain value under one of their keys is hashed, at whatever depth."""
        if isinstance(value, dict):
            if str(value.get("id")) in self.own:
                return {k: self._any(k, v, met) if isinstance(v, (dict, list)) else v for k, v in value.items()}
            return {k: self._any(k, v, met) for k, v in value.items()}
        if isinstance(value, list):
            return [self._any(key, item, met) for item in value]
        kind = _KINDS.get(key)
        if kind is None or kind not in self.fields or value in (None, "") or isinstance(value, bool):
            return value
        if kind == "id" and str(value) in self.own:
            return value
        made = met[str(value)] = self.of(kind, value)
        return made

    def _thing(self, value: Any, marks: Set[str], met: dict[str, str]) -> Any:
        if isinstance(value, list):
            return [self._thing(item, marks, met) for item in value]
        if not isinstance(value, dict):
            return value
        if not marks.isdisjoint(value):
            return self._any("", value, met)
        inside = {k: v for k, v in value.items() if isinstance(v, (dict, list))}
        return value | {
            k: self._thing(v, marks, met) if k in _INSIDE_THINGS else self._any(k, v, met) for k, v in inside.items()
        }

    def _elsewhere(self, value: Any, met: Mapping[str, str]) -> Any:
        """Replace the ids of people who were met where they stand inside other texts: a link, an address at facebook.com."""
        if isinstance(value, dict):
            return {k: self._elsewhere(v, met) for k, v in value.items()}
        if isinstance(value, list):
            return [self._elsewhere(item, met) for item in value]
        if isinstance(value, str) and "id" in self.fields:
            return _TOKEN.sub(lambda found: met.get(found[0], found[0]) if found[0].isdecimal() else found[0], value)
        return value


# ---- people who are left out


@dataclass(frozen=True)
class LeftOut:
    """People of whom nothing is kept.

    :param ids: theirs; where data is pseudonymised by id, the pseudonyms as well.
    :param own: the ids of the Page itself; empty where they are not known, as on Instagram, which has one person in a thread.
    """

    ids: Set[str] = field(repr=False)
    own: Set[str] = frozenset()

    def are_in(self, conversation: Mapping[str, Any]) -> bool:
        """Whether one of them takes part, or took part, in a conversation."""
        return not self.ids.isdisjoint(people_in(conversation, *_THERE, *_LEFT))

    def goes_whole(self, conversation: Mapping[str, Any], messages: Iterable[Mapping[str, Any]] = ()) -> bool:
        """Whether nobody but them writes with the Page in a conversation: then all of it goes, the Page's answers as well.

        :param messages: some of its messages, for a conversation that names nobody.
        """
        there = set(people_in(conversation, *_THERE))
        if not there:
            there = {one for message in messages for one in people_in(message, "from", "to")}
        others = there - self.ids - self.own
        the_page = 0 if self.own else 1
        theirs = not self.ids.isdisjoint(there) or self.are_in(conversation)
        return theirs and bool(there) and len(others) <= the_page

    def goes(self, message: Mapping[str, Any], *, shared: bool) -> bool:
        """Whether a message goes: it is theirs, or the Page's to nobody but them.

        :param shared: whether one of them is in its conversation, beside others. There a message of which nobody can tell
            who sent it goes as well, for it may be theirs.
        """
        sender = next(_ids_in(message.get("from")), "")
        if not sender:
            return shared
        if sender in self.ids:
            return True
        receivers = set(_ids_in(message.get("to")))
        return (sender in self.own or not self.own) and bool(receivers) and receivers <= self.ids

    def take_out(self, stream: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same conversation or message without them; the very same object where they do not stand in it.

        With them goes what they alone made (a reaction), and of a conversation the ``snippet``, which may be theirs, and a
        ``name`` that has theirs in it.
        """
        gone: list[Any] = []
        made = {}
        for key, value in record.items():
            kept = value if _is_ours(key) or key in _TEXTS else self._without(key, value, gone)
            if kept is not _GONE:
                made[key] = kept
        if not gone:
            return record
        if stream == CONVERSATIONS:
            made.pop("snippet", None)
            theirs = [one.get(key) for one in gone if isinstance(one, dict) for key in ("name", "username")]
            if isinstance(name := made.get("name"), str) and any(
                isinstance(one, str) and one and one in name for one in theirs
            ):
                del made["name"]
        return made

    def _without(self, key: str, value: Any, gone: list[Any]) -> Any:
        if isinstance(value, dict):
            if any(self._is_theirs(value.get(name)) for name in _IDS):
                gone.append(value)
                return _GONE
            kept = {k: self._without(k, v, gone) for k, v in value.items()}
            return {k: v for k, v in kept.items() if v is not _GONE}
        if isinstance(value, list):
            before = len(gone)
            kept_items = [(item, self._without(key, item, gone)) for item in value]
            if len(gone) == before:
                return value
            return [made for item, made in kept_items if made is not _GONE and not _is_emptied(item, made)]
        if (key in _IDS and self._is_theirs(value)) or (isinstance(value, (str, int)) and self._names_them(str(value))):
            gone.append(value)
            return _GONE
        return value

    def _is_theirs(self, value: Any) -> bool:
        return isinstance(value, (str, int)) and str(value) in self.ids

    def _names_them(self, text: str) -> bool:
        return any(token in self.ids for token in _TOKEN.findall(text))


def _is_emptied(before: Any, after: Any) -> bool:
    """Whether an item of a list has lost the last of a list of its own: a reaction that nobody gave."""
    if not isinstance(before, dict):
        return False
    return any(_has_items(value) and not _has_items(after.get(key)) for key, value in before.items())


def _has_items(value: Any) -> bool:
    rows = value.get("data") if isinstance(value, dict) else value
    return isinstance(rows, list) and bool(rows)


def people_in(record: Mapping[str, Any], *names: str) -> Iterator[str]:
    """The ids of people in some fields of a conversation or a message; an empty one for somebody who has none."""
    for name in names:
        yield from _ids_in(record.get(name))


def _ids_in(value: Any) -> Iterator[str]:
    """The ids of people in a field; an empty one for somebody who has none."""
    rows = value.get("data", [value]) if isinstance(value, dict) else value
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            found = row.get("id")
            yield str(found) if isinstance(found, (str, int)) else ""


# ---- both


@dataclass(frozen=True)
class People:
    """What an export does about people; false where it does nothing."""

    left_out: LeftOut | None = None
    pseudonyms: Pseudonyms | None = None

    def __bool__(self) -> bool:
        return self.left_out is not None or self.pseudonyms is not None

    @classmethod
    def of(cls, *, excluded: Set[str], pseudonymize: Iterable[str], key: bytes, own: Set[str]) -> People:
        """What the parameters ask for.

        :param excluded: ids as the API gives them.
        :param key: the secret, where anything is pseudonymised.
        :param own: ids of the Page itself among those of people, as far as they are known.
        """
        fields = frozenset(pseudonymize)
        pseudonyms = Pseudonyms(key, fields, own) if fields else None
        ids = set(excluded)
        if pseudonyms is not None and "id" in fields:
            ids |= {pseudonyms.of("id", one) for one in excluded}
        return cls(LeftOut(frozenset(ids), own) if excluded else None, pseudonyms)

    def shown(self, stream: str, node: Mapping[str, Any]) -> dict[str, Any]:
        """A conversation or a message as it may be written down, wherever that is."""
        if self.left_out is not None:
            node = self.left_out.take_out(stream, node)
        return self.pseudonyms.hide(node) if self.pseudonyms is not None else dict(node)
