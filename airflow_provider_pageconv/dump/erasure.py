"""People who ask to be forgotten go out of what is published.

A thread in which nobody but them writes with the Page goes whole, in all windows or in none; in others go their messages, and
they themselves from every list. Each look reads what was not read before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from airflow_provider_pageconv import json_text, lines
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.erasing import DataSet, Look, Moved, Published
from airflow_provider_pageconv.dump.idset import digest
from airflow_provider_pageconv.dump.leftovers import LEFTOVERS_AFTER
from airflow_provider_pageconv.dump.looking import Order, Run
from airflow_provider_pageconv.dump.manifest_file import Manifest
from airflow_provider_pageconv.dump.media import is_file
from airflow_provider_pageconv.dump.people import LeftOut, Pseudonyms, people_in
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES
from airflow_provider_pageconv.dump.tally import Tally
from airflow_provider_pageconv.graph.names import field_name
from airflow_provider_pageconv.times import iso

_FEW = 16
_NUMBERS_AND_HASHES = re.compile(rb"[0-9a-f]{64}|[0-9]+")

_Page = tuple[str, str]
_File = tuple[Published, Mapping[str, Any]]
_R = TypeVar("_R")


# ---- the rule


class Mentions:
    """Whether a text may name one of some ids; where it says no, none is in it. Quick, for most texts name nobody."""

    def __init__(self, ids: Set[str]) -> None:
        self._ids = frozenset(one.encode() for one in ids)

    def __call__(self, text: bytes) -> bool:
        if len(self._ids) <= _FEW or b"\\u" in text:
            return any(one in text for one in self._ids)
        return self.surely(text)

    def surely(self, text: bytes) -> bool:
        """Whether one of them stands there by itself, not as a part of a longer number."""
        return not self._ids.isdisjoint(_NUMBERS_AND_HASHES.findall(text))


@dataclass
class Thread:
    """One in which one of them is.

    :param there: ids of who takes part or wrote, by all records that have one of them in it.
    :param by_messages: whether that is told by messages alone: no record of the conversation names anybody.
    """

    there: set[str] = field(default_factory=set, repr=False)
    by_messages: bool = False


@dataclass
class Threads:
    """Those of a Page, by the hash of their id."""

    left_out: LeftOut
    known: dict[bytes, Thread] = field(default_factory=dict)

    def note(self, found: Mapping[bytes, Iterable[str]], *, by_messages: bool = False) -> bool:
        """Take note of who is in some of them; whether anything of that is new. Conversations tell more than messages do."""
        news = False
        for hashed, there in found.items():
            thread = self.known.get(hashed)
            if thread is None or (thread.by_messages and not by_messages):
                self.known[hashed] = Thread(set(there), by_messages)
                news = True
            elif thread.by_messages == by_messages:
                news = news or not thread.there.issuperset(there)
                thread.there.update(there)
        return news

    def whole(self, hashed: bytes) -> bool:
        """Whether nobody but them writes with the Page there.

        Where the Page's own id is not known, as on Instagram, one other is taken for it.
        """
        thread = self.known.get(hashed)
        if thread is None or not thread.there:
            return False
        others = thread.there - self.left_out.ids - self.left_out.own
        return len(others) <= (0 if self.left_out.own else 1)

    @cached_property
    def mentions(self) -> Mentions:
        return Mentions(self.left_out.ids)

    # ---- as a rule for records

    def kept(self, stream: str, record: dict[str, Any]) -> Mapping[str, Any] | None:
        """See :class:`~airflow_provider_pageconv.dump.erasing.Rule`."""
        hashed = digest(str(record["id" if stream == CONVERSATIONS else "_conversation_id"]))
        if hashed not in self.known and not self.mentions(json_text.write(record)):
            return record
        if self.whole(hashed):
            return None
        if stream == MESSAGES and self.left_out.goes(record, shared=hashed in self.known):
            return None
        return self.left_out.take_out(stream, record)

    def goes_whole(self, conversation: str) -> bool:
        return self.whole(digest(conversation))


# ---- the reading


@dataclass(frozen=True)
class _Reading:
    """Reads the files of a Page; what is known of threads it does not change."""

    data: DataSet
    threads: Threads

    def conversations(self, which: _File) -> tuple[bool, dict[bytes, set[str]], bool]:
        """Whether something goes of a file, the threads in which one of them is with who else is there, and whether it has
        records that tell of nobody but the Page."""
        goes, nameless, left = False, False, self.threads.left_out
        noted: dict[bytes, set[str]] = {}
        for record in self.data.records(*which):
            there = set(people_in(record, "participants", "senders"))
            nameless = nameless or len(there - left.own) <= (0 if left.own else 1)
            if not self.threads.mentions(json_text.write(record)):
                continue
            if left.are_in(record):
                noted.setdefault(digest(record["id"]), set()).update(there)
                goes = True
            goes = goes or left.take_out(CONVERSATIONS, record) is not record
        return goes, noted, nameless

    def messages(self, which: _File) -> tuple[bool, dict[bytes, set[str]]]:
        """Whether something goes of a file, and the threads of which it alone tells that one of them is there."""
        goes, left, known = False, self.threads.left_out, self.threads.known
        noted: dict[bytes, set[str]] = {}
        for record in self.data.records(*which):
            hashed = digest(str(record.get("_conversation_id")))
            thread = known.get(hashed)
            if thread is None and not self.threads.mentions(json_text.write(record)):
                continue
            if thread is None or thread.by_messages:
                there = set(people_in(record, "from", "to"))
                if not left.ids.isdisjoint(there):
                    noted.setdefault(hashed, set()).update(there)
            goes = goes or self.threads.kept(MESSAGES, record) is not record
        return goes, noted

    def by_others(self, which: _File) -> bool:
        """Whether one of the conversations of a file goes by what other files tell of it."""
        return any(self.threads.goes_whole(record["id"]) for record in self.data.records(*which))


# ---- the doing


@dataclass(frozen=True)
class Erasure(Order):
    """Who is to be forgotten, and where.

    :param ids: theirs, as the API gives them.
    :param secret: gives what the ids are hashed with; asked only where a manifest says that they are.
    """

    doing = "erase"

    ids: Set[str] = field(repr=False)
    secret: Callable[[], bytes]

    def _run(self, data: DataSet) -> Run:
        return _Erasing(self, data)


class _Erasing(Run):
    """One run."""

    def __init__(self, order: Erasure, data: DataSet) -> None:
        super().__init__(order, data)
        self._ids, self._secret = order.ids, order.secret
        self._pseudonyms: Pseudonyms | None = None
        self._threads: dict[_Page, Threads] = {}
        self._looked: dict[str, bool] = {}
        """Files that were read, by path: whether something goes of them. What lies under a path never changes."""
        self._nameless: set[str] = set()
        """Files with conversations of which the record does not tell who is in them."""
        self._damaged: dict[str, tuple[Manifest, str]] = {}
        """Windows that cannot be read back, by the key of their manifest: which one that was, and what is to be said."""

    def _change(self, look: Look) -> bool:
        self._moved = False
        affected = self._affected(self._readable(look))
        self._apply(affected)
        return bool(affected) or self._moved

    # ---- what there is

    def _readable(self, look: Look) -> list[Published]:
        """The windows of which it can be told who is in them."""
        if self._pseudonyms is None and any(_hides_ids(one.manifest) for one in look.windows):
            self._pseudonyms = Pseudonyms(self._secret(), {"id"})
            # What was looked for before was too little.
            self._threads.clear()
            self._looked.clear()
        return [one for one in look.windows if self._can_be_told(one)]

    def _can_be_told(self, one: Published) -> bool:
        """Whether it can be told who is in a window; where not all can be told, it is noted why not."""
        manifest, key = one.manifest, one.place.manifest
        damaged, sentence = self._damaged.get(key, (None, ""))
        if damaged == manifest:
            self._failed[key] = sentence
            return False
        theirs = manifest.get("pseudonym_fingerprint")
        if _hides_ids(manifest) and self._pseudonyms is not None and theirs != self._pseudonyms.fingerprint:
            self._failed[key] = (
                f"The ids of {key} were pseudonymised with another pseudonym_secret than the connection has now: run it once "
                "more with a connection that has that one."
            )
            return False
        asked = manifest.get("fields") or {}
        named, sent = (set(map(field_name, asked.get(stream) or ())) for stream in (CONVERSATIONS, MESSAGES))
        if named and not named & {"participants", "senders"} and "from" not in sent:
            self._failed[key] = (
                f"The export of {key} was asked for neither participants nor from, so that nobody can tell who is in it: delete "
                "the manifest and the files of its window, and export it anew."
            )
        return True

    def _all_ids(self) -> frozenset[str]:
        """The ids as they were given, and as they are where they are hashed."""
        ids, hides = self._ids, self._pseudonyms
        return frozenset(ids) | {hides.of("id", one) for one in ids if hides is not None}

    def _of_page(self, page: _Page) -> Threads:
        if page not in self._threads:
            platform, page_id = page
            # A Page that tasks call by its name stands among people by an id that nothing here tells.
            own = frozenset({page_id}) if platform == "messenger" and page_id.isdecimal() else frozenset()
            if own & self._ids:
                raise DumpRefused(f"One of the ids is that of the Page {page_id} itself, which cannot be erased.")
            self._threads[page] = Threads(LeftOut(self._all_ids(), own))
        return self._threads[page]

    def _affected(self, readable: list[Published]) -> list[Published]:
        """The windows of which something goes."""
        pages: dict[_Page, list[Published]] = {}
        for one in readable:
            pages.setdefault(one.page, []).append(one)
        for page in pages:
            self._of_page(page)  # each refusal comes before the first change
        affected: list[Published] = []
        for page, windows in pages.items():
            others = [one for one in windows if not self._is_theirs(one)]
            self._read(others, _Reading(self._data, self._of_page(page)))
            affected += [one for one in windows if self._is_theirs(one) or self._goes_of(one)]
        return affected

    def _is_theirs(self, one: Published) -> bool:
        """Whether a window is an export of one of them alone."""
        return str(one.manifest.get("user_id")) in self._of_page(one.page).left_out.ids

    def _goes_of(self, one: Published) -> bool:
        return any(self._looked.get(file["path"]) for file in one.manifest["files"])

    def _read(self, windows: list[Published], reading: _Reading) -> None:
        """Read what was not read before: conversations first, for they tell of which threads all goes."""
        grown = False
        for path, (goes, noted, nameless) in self._done(reading.conversations, self._unread(windows, CONVERSATIONS)):
            self._looked[path] = goes
            grown |= reading.threads.note(noted)
            if nameless:
                self._nameless.add(path)
        # What messages tell of threads that no conversation tells of is known when all were read; then once more.
        for _ in range(2):
            if grown:
                for _, file in _files(windows, MESSAGES):
                    if self._looked.get(file["path"]) is False:
                        del self._looked[file["path"]]
            grown = False
            for path, (goes, noted) in self._done(reading.messages, self._unread(windows, MESSAGES)):
                self._looked[path] = goes
                grown |= reading.threads.note(noted, by_messages=True)
            if not grown:
                break
        nameless_files = [item for item in _files(windows, CONVERSATIONS) if item[1]["path"] in self._nameless]
        for path, goes in self._done(reading.by_others, nameless_files):
            self._looked[path] |= goes

    def _unread(self, windows: list[Published], stream: str) -> list[_File]:
        return [item for item in _files(windows, stream) if item[1]["path"] not in self._looked]

    def _done(self, work: Callable[[_File], _R], files: list[_File]) -> Iterator[tuple[str, _R]]:
        """What came of reading files, by their path; where nothing did, it is noted why."""
        for (one, file), found in self._data.each(work, files):
            if isinstance(found, (Moved, DumpRefused)):
                self._note(one, found)
            else:
                yield file["path"], found

    def _note(self, one: Published, error: Moved | DumpRefused) -> None:
        if isinstance(error, Moved):
            self._moved = True
        else:
            self._failed[one.place.manifest] = str(error)
            self._damaged[one.place.manifest] = one.manifest, str(error)

    # ---- what is done

    def _apply(self, windows: list[Published]) -> None:
        """Write windows anew, or take them away."""
        report = self._report
        for one, tally in self._data.each(self._erase, windows):
            if isinstance(tally, (Moved, DumpRefused)):
                self._note(one, tally)
                continue
            report.went.add(tally)
            if self._is_theirs(one):
                report.windows_removed += 1
            else:
                report.windows_changed += tally.went

    def _erase(self, one: Published) -> Tally:
        if self._is_theirs(one):
            return self._data.withdraw(one, dry=self._dry)
        untouched = {path for file in one.manifest["files"] if self._looked.get(path := file["path"]) is False}
        marks = {"erased_at": iso(self._now)}
        return self._data.rewrite(one, self._of_page(one.page), untouched, marks, dry=self._dry)

    def _look_beside(self, look: Look) -> None:
        """Look through what lies beside the published files: what is under way, and what a crash has left."""
        mentions = Mentions(self._all_ids())

        def holds(key: str) -> bool:
            return self._data.holds(key, mentions.surely)

        # Of files of attachments the records that point to them tell whose they are.
        staged = [entry.key for staging in look.staging.values() for entry in staging.entries]
        strangers = [path for path in look.strangers.paths if not is_file(path)]
        runs = {_run_of(key) for key, held in self._data.each(holds, staged) if held is True}
        self._report.staging_left = len(runs)
        self._report.files_left = sum(held is True for _, held in self._data.each(holds, strangers))

    def _conclude(self, look: Look) -> str:
        self._look_beside(look)
        report, days = self._report, LEFTOVERS_AFTER.days
        if report.staging_left or report.files_left:
            left = [lines.count(report.staging_left, "run")] * bool(report.staging_left)
            left += [lines.count(report.files_left, "file")] * bool(report.files_left)
            report.warnings.append(
                f"{' and '.join(left)} under way, or left by what was stopped, still hold them: run it once more when those "
                f"exports are over. What nobody goes on with is removed {days} days after its last write, by the erasure and by "
                "the folder's next export."
            )
        would = "Would erase" if self._dry else "Erased"
        changed = report.windows_changed + report.windows_removed
        return f"{would} {report.went} in {changed} of {lines.count(report.windows, 'window')}."


def _files(windows: list[Published], stream: str) -> list[_File]:
    return [(one, file) for one in windows for file in one.files(stream)]


def _hides_ids(manifest: Manifest) -> bool:
    return "id" in (manifest.get("pseudonymize") or ())


def _run_of(key: str) -> str:
    """The staging area of the run that a file in it belongs to."""
    return "/".join(key.split("/")[:5])
