"""What may not replace what: an export of other fields, people or files than the one that is published. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.manifest_file import Manifest
from airflow_provider_pageconv.dump.records import STREAMS
from airflow_provider_pageconv.graph.names import field_name

OVERWRITE = "overwrite=True replaces the export without reading it, and what only it holds is lost then"
_IN_THE_PATH = {"folder"}
"""Not asked for by default, since it is a partition; an export that has it loses nothing to one that does not ask."""


def refuse_less(where: str, published: Manifest, fields: Mapping[str, Sequence[str] | None]) -> None:
    """Refuse to replace an export by one that asks for less.

    :param fields: what is asked for now, by stream.
    :raises DumpRefused: it does.
    """
    for stream in STREAMS:
        had = {field_name(one) for one in (published.get("fields") or {}).get(stream) or ()}
        missing = sorted(had - {field_name(one) for one in fields[stream] or ()} - _IN_THE_PATH)
        if missing:
            raise DumpRefused(
                f"The export that {where} names was asked for {', '.join(missing)} of {stream}, and this one is not: "
                f"ask for them too, use another destination, or {OVERWRITE}."
            )


def refuse_other_pseudonyms(where: str, published: Manifest, fields: Sequence[str], fingerprint: str | None) -> None:
    """Refuse to replace an export by one that hides people differently: what is carried over is as it was published.

    :param fields: what is hashed of people now.
    :param fingerprint: of the secret it is hashed with.
    :raises DumpRefused: it does.
    """
    had = published.get("pseudonymize") or []
    if list(had) != list(fields):
        theirs, mine = (", ".join(some) or "nothing" for some in (had, fields))
        raise DumpRefused(
            f"The export that {where} names has {theirs} of people pseudonymised, and this one {mine}: "
            f"pseudonymize has to say the same, use another destination, or {OVERWRITE}."
        )
    if published.get("pseudonym_fingerprint") != fingerprint:
        raise DumpRefused(
            f"The export that {where} names was pseudonymised with another pseudonym_secret than the "
            f"connection has now: put that one back, use another destination, or {OVERWRITE}."
        )


def refuse_fewer_files(where: str, published: Manifest, *, downloads: bool) -> None:
    """Refuse to replace an export whose attachments' files were fetched by one that fetches none.

    :param downloads: whether this one does.
    :raises DumpRefused: it is such a one.
    """
    if published.get("download_attachments") and not downloads:
        raise DumpRefused(
            f"The export that {where} names has the files of its attachments, and this one is not to fetch "
            f"any: say download_attachments=True, use another destination, or {OVERWRITE}."
        )


def refuse_nameless(where: str, published: Manifest) -> None:
    """Refuse to carry over from an export of which nobody can tell who is in it, where people are to be left out.

    :raises DumpRefused: it is such a one.
    """
    for stream, name in zip(STREAMS, ("participants", "from"), strict=True):
        asked = (published.get("fields") or {}).get(stream)
        if asked and name not in map(field_name, asked):
            raise DumpRefused(
                f"The export that {where} names was not asked for {name} of {stream}, so that nobody can "
                f"tell what exclude_user_ids leaves out of it: use another destination, or {OVERWRITE}."
            )
