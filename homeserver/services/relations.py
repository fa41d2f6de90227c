"""What relates to an event, page by page; the threads of a room.

Spec: client-server API, relationships API; querying threads in a room.
"""

from __future__ import annotations

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.services.event_store import EventStore
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.requester import Requester
from homeserver.services.sync_state import BEFORE_ALL
from homeserver.services.sync_token import timeline_token
from homeserver.services.timeline import Timeline
from homeserver.services.visibility import NOTHING_WITHHELD, Reader, Withheld, bare
from homeserver.storage import relations as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

MOST_HOPS = 3
IGNORED = "ignored"  # why an event is shown without what it says


class ChildrenRequest(Struct, frozen=True):
    """Which of an event's children are wanted.  Orders are points in the timeline.

    ``recurse``: those of its children, too; None if the client does not speak of it.
    """

    relation_type: str | None = None
    event_type: str | None = None
    start: int | None = None
    stop: int | None = None
    limit: int = 10
    backwards: bool = True
    recurse: bool | None = None


class RelationService:
    """Reads relations for users."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        store: EventStore,
        timeline: Timeline,
    ) -> None:
        self._database = database
        self._recent = recent
        self._store = store
        self._timeline = timeline

    async def children(
        self, requester: Requester, room_id: str, event_id: str, request: ChildrenRequest
    ) -> JsonObject:
        """A page of what relates to an event.

        Spec: ``GET /rooms/{roomId}/relations/{eventId}``.
        Raises :class:`Forbidden`, :class:`NotFound`.
        """
        reader = await self._timeline.reader(room_id, requester.user_id)
        await self._timeline.visible_event(reader, room_id, event_id)
        hops = MOST_HOPS if request.recurse else 1
        after, upto = request.start, request.stop
        if request.backwards:
            after, upto = request.stop, request.start
        rows = await storage.get_children(
            self._database,
            room_id,
            event_id,
            hops=hops,
            relation_type=request.relation_type,
            event_type=request.event_type,
            after=BEFORE_ALL if after is None else after,
            upto=self._recent.position if upto is None else upto,
            backwards=request.backwards,
            limit=request.limit + 1,
        )
        page = rows[: request.limit]
        stored = await self._store.get_many(row.event_id for row in page)
        events = [stored[row.event_id] for row in page if row.event_id in stored]
        answer: JsonObject = {
            "chunk": await self._timeline.bundled(
                await self._timeline.only_shown(events, reader), reader, requester
            )
        }
        if len(rows) > len(page):
            last = page[-1].timeline_order
            answer["next_batch"] = timeline_token(last - 1 if request.backwards else last)
        if request.start is not None:
            answer["prev_batch"] = timeline_token(request.start)
        if request.recurse is not None:
            answer["recursion_depth"] = hops
        return answer

    async def threads(
        self,
        requester: Requester,
        room_id: str,
        *,
        start: int | None,
        only_participated: bool,
        limit: int,
    ) -> JsonObject:
        """The roots of a room's threads, the thread with the latest reply first.

        Spec: ``GET /rooms/{roomId}/threads``.  Raises :class:`Forbidden`.
        """
        reader = await self._timeline.reader(room_id, requester.user_id)
        withheld = await self._timeline.withheld(requester.user_id)
        rows = await storage.get_thread_roots(
            self._database,
            room_id,
            upto=self._recent.position if start is None else start,
            without=withheld.peers,
            participant=requester.user_id if only_participated else None,
            limit=limit + 1,
        )
        page = rows[:limit]
        stored = await self._store.get_many(row.event_id for row in page)
        roots = [
            root
            for row in page
            if (root := stored.get(row.event_id)) is not None and root.event.room_id == room_id
        ]
        shown = [r for root in roots if (r := self._root(root, reader, withheld)) is not None]
        answer: JsonObject = {"chunk": await self._timeline.bundled(shown, reader, requester)}
        if len(rows) > limit:
            answer["next_batch"] = timeline_token(page[-1].timeline_order - 1)
        return answer

    def _root(self, root: StoredEvent, reader: Reader, withheld: Withheld) -> StoredEvent | None:
        """The root of a thread as a reader gets it: redacted if they ignore who sent it.

        Spec: ``GET /rooms/{roomId}/threads``, ``chunk``.
        """
        if not self._timeline.shows(root, reader, NOTHING_WITHHELD):
            return None
        if not withheld.hides(root.event):
            return reader.as_seen(root)
        return bare(root, IGNORED) if withheld.is_unheard(root.event.sender) else None
