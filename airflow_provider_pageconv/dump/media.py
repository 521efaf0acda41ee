"""The files of attachments, as far as records tell of them: where their links stand, and what is put beside them. Pure.

What came of a link is the attachment's ``_media``: ``path``, ``sha256``, ``bytes`` and ``type`` of the file, or ``error``, the
reason why there is none (:class:`~airflow_provider_pageconv.graph.media.Reason`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from airflow_provider_pageconv.dump.idset import digest

MEDIA = "media"
"""The stream of the files, and the folder that they lie in."""

LINKED, FETCHED = "linked", "fetched"
"""Kinds of staged parts: messages with attachments, which are written again once their files are there; and what came of links."""

KEY = "_media"

STAGED = "media-"
"""What the names of files in the staging area begin with."""

_ENDINGS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/heic": "heic",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/3gpp": "3gp",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/aac": "aac",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/json": "json",
    "text/plain": "txt",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
}
"""Endings of names by MIME type. What a browser would run, such as HTML or SVG, is not among them."""

Takes = Callable[[str], bool]
"""Whether a link leads where media are."""


class Attachment(NamedTuple):
    """One attachment of a message.

    :param known_as: names it within its message, whatever its link is by now: by its id, else by its place.
    :param link: of its file; empty where it has none.
    :param mime_type: what it says of itself; may be empty.
    """

    known_as: str
    link: str
    mime_type: str


def is_file(key: str) -> bool:
    """Whether it is the file of an attachment that lies there, published or staged."""
    return key.startswith(f"{MEDIA}/") or key.rpartition("/")[2].startswith(STAGED)


def ending(mime_type: str) -> str:
    """How the name of a file of this type ends; ``bin`` for all that is not known to be harmless."""
    return _ENDINGS.get(mime_type, "bin")


def has_attachments(message: Mapping[str, Any]) -> bool:
    """Whether a message has any attachment."""
    return any(isinstance(row, dict) for row in _rows(message))


def attachments(message: Mapping[str, Any], takes: Takes) -> Iterator[Attachment]:
    """The attachments of a message, in their order; a row that is no object counts as none.

    The link is the one that the view ``attachments`` calls so. What leads to no host of media (an appointment, the picture of a
    template that lies elsewhere) is no file of Meta's, and counts as no link, but for what is said to be a picture, a video or a
    file.

    https://developers.facebook.com/docs/graph-api/reference/message
    """
    met: Counter[str] = Counter()
    for row in _rows(message):
        if not isinstance(row, dict):
            continue
        name = str(row.get("id") or "")
        known_as, met[name] = f"{name}\0{met[name]}", met[name] + 1
        mime_type = row.get("mime_type")
        yield Attachment(known_as, _link(row, takes), mime_type if isinstance(mime_type, str) else "")


def _link(row: Mapping[str, Any], takes: Takes) -> str:
    image, video, template = (row.get(name) for name in ("image_data", "video_data", "generic_template"))
    found = (
        _text(image, "url") or _text(image, "animated_gif_url") or _text(video, "url") or _text(row, "file_url")
    )  # fmt: skip
    if found:
        return found
    aside = _text(template, "media_url") or _text(row, "url")
    return aside if aside and takes(aside) else ""


def _text(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _rows(message: Mapping[str, Any]) -> list[Any]:
    edge = message.get("attachments")
    rows = edge.get("data") if isinstance(edge, dict) else None
    return rows if isinstance(rows, list) else []


def with_media(message: Mapping[str, Any], found: list[Mapping[str, Any] | None]) -> Mapping[str, Any]:
    """The same message with what came of the links beside its attachments; the very same object where that is nothing.

    :param found: by attachment, in the order of :func:`attachments`.
    """
    if not any(found):
        return message
    values = iter(found)
    rows = [
        {**row, KEY: dict(value)} if isinstance(row, dict) and (value := next(values)) is not None else row
        for row in _rows(message)
    ]
    return {**message, "attachments": {**message["attachments"], "data": rows}}


def media_of(message: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What stands beside the attachments of a published message, with the names of the attachments in it."""
    for row, one in zip(
        (row for row in _rows(message) if isinstance(row, dict)), attachments(message, lambda _: False), strict=True
    ):
        if isinstance(value := row.get(KEY), dict):
            yield one.known_as, value


def file_row(path: str, size: int) -> dict[str, Any]:
    """The row of a file in a manifest.

    :param path: where it lies. Its name is the SHA-256 of what it holds, and an ending.
    """
    return {"path": path, "stream": MEDIA, "records": 1, "bytes": size, "sha256": sha256_of(path)}


def sha256_of(path: str) -> str:
    """Of what a file holds, by its name."""
    return path.rpartition("/")[2].partition(".")[0]


def staged_key(staging: str, sha256: str) -> str:
    """Where a file lies until it is published, in a run's staging area."""
    return f"{staging}/{STAGED}{sha256}"


def link_key(message_id: str, link: str) -> bytes:
    """What a link of a message is known by."""
    return digest(f"{message_id}\0{link}")


def attachment_key(message_id: str, known_as: str) -> bytes:
    """What an attachment is known by, over exports."""
    return digest(f"{message_id}\0{known_as}")
