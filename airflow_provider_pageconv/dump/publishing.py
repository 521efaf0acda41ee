"""How a folder's export is published, once it is read: refused, carried over, put where readers look, tidied up behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_pageconv.dump.carrying import Carried, Carrier
from airflow_provider_pageconv.dump.checkpoint import Checkpoints, ClosedPart
from airflow_provider_pageconv.dump.destination import MOST_PREDECESSORS, Destination
from airflow_provider_pageconv.dump.endings import DumpRefused, Stopped, Superseded
from airflow_provider_pageconv.dump.manifest import complete
from airflow_provider_pageconv.dump.manifest_file import Manifest, refuse_unreadable
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES
from airflow_provider_pageconv.dump.refusals import (
    OVERWRITE,
    refuse_fewer_files,
    refuse_less,
    refuse_nameless,
    refuse_other_pseudonyms,
)
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store import Entry
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.graph.edges import ConversationsQuery


@dataclass(frozen=True)
class Publication:
    """One folder's, to be made in a thread that owns none of its state.

    :param document: what the manifest says of the walk.
    :param stopped: whether nothing may be published any more.
    :param closed: the whole export as it lies on the worker's disk, where it is so little that it is not in the store yet.
    :param save: makes that safe in the staging area; ``None`` where it is.
    """

    spec: Spec
    folder: str
    destination: Destination
    checkpoints: Checkpoints
    carrier: Carrier
    document: Mapping[str, Any]
    stopped: Callable[[], bool]
    closed: Sequence[ClosedPart] = ()
    save: Callable[[], None] | None = None

    def publish(self) -> dict[str, Any]:
        """Publish it, and return the manifest.

        :raises Stopped: somebody asked for the stop.
        :raises Superseded: a later try of the run is at work.
        :raises DumpRefused: what is published can be neither replaced nor joined.
        :raises StoreError: the destination does not do what it is asked to.
        """
        if self.save is not None:
            try:
                refuse(self.spec, self.folder, self.destination)
                manifest = self.destination.publish(
                    complete(self.document, Carried(), None),
                    self.closed,
                    None,
                    self._may_publish,
                    overwrite=self.spec.overwrite,
                )
            except Exception:
                with contextlib.suppress(StoreError, Superseded):
                    self.save()
                raise
            if manifest is not None:
                self.destination.leftovers.tidy_at_once(manifest, self.checkpoints.claim_key)
                return manifest
            self.save()  # something was published meanwhile, and stays
        return self._replace()

    def _replace(self) -> dict[str, Any]:
        """Publish what lies in the staging area, with what is carried over."""
        self._may_publish()
        refuse(self.spec, self.folder, self.destination)
        for _ in range(MOST_PREDECESSORS):
            manifest = self._publish_over()
            if manifest is not None:
                self.destination.leftovers.tidy()
                return manifest
        raise self.destination.unsteady()

    def _publish_over(self) -> dict[str, Any] | None:
        """Publish it over what is published now; ``None`` where that was replaced meanwhile."""
        destination = self.destination
        published = destination.published()
        predecessor = None if self.spec.overwrite else published
        others = destination.others() if self.carrier.may_repeat else []
        try:
            if predecessor is not None:
                refuse_replacement(self.spec, self.folder, destination.place.manifest, predecessor)
            carried = self.carrier.settle(predecessor, others)
        except DumpRefused:
            if destination.published() == published and (not others or destination.others() == others):
                raise
            return None  # somebody has replaced one of them, and swept up its files
        return destination.publish(
            complete(self.document, carried, predecessor),
            carried.parts,
            published,
            self._may_publish,
            overwrite=self.spec.overwrite,
            media=carried.media.files,
        )

    def _may_publish(self) -> None:
        if self.stopped():
            raise Stopped("The export was stopped; it publishes nothing any more.")
        if self.checkpoints.is_superseded():
            raise Superseded(
                f"A later try exports the folder {self.folder}, or its staging area was emptied; this one publishes nothing."
            )


def list_query(spec: Spec, folder: str) -> ConversationsQuery:
    """What is asked of a folder's list, before the API refuses any of it."""
    return ConversationsQuery(
        page_id=spec.page_id,
        platform=spec.platform,
        folder=folder,
        user_id=spec.user_id,
        fields=spec.thread_fields,
        message_fields=spec.fields_of_messages if spec.messages else None,
    )


def refuse(
    spec: Spec,
    folder: str,
    destination: Destination,
    published: Manifest | None = None,
    manifests: Sequence[Entry] | None = None,
) -> None:
    """Refuse an export that would break what lies in the destination.

    :param published: what is published for the window, to be looked at whole.
    :param manifests: the listing of the folder's manifests, where it was made already.
    :raises DumpRefused: it would.
    """
    destination.refuse_conflicts(spec.window, spec.shown_user_id, manifests)
    if published is None or spec.overwrite:
        return

    def look(found: Manifest | None) -> None:
        if found is not None:
            refuse_replacement(spec, folder, destination.place.manifest, found)
            destination.refuse_damage(found)

    destination.steadily(look, published)


def refuse_replacement(spec: Spec, folder: str, where: str, published: Manifest) -> None:
    """Refuse to replace an export that cannot be read back, that was asked for more, or that hides people differently.

    :param where: the key of its manifest.
    :raises DumpRefused: it is such a one.
    """
    refuse_unreadable(where, published, f" Otherwise {OVERWRITE}.")
    query = list_query(spec, folder)
    inner = query.message_fields.expressions if query.message_fields else None
    refuse_less(where, published, {CONVERSATIONS: query.fields.expressions, MESSAGES: inner})
    refuse_fewer_files(where, published, downloads=spec.download_attachments)
    refuse_other_pseudonyms(where, published, *spec.hides)
    if spec.people.left_out is not None:
        refuse_nameless(where, published)
