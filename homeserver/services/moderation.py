"""What moderators decide: held events are released or dropped, everything else is resolved.

Each decision leaves a row in the audit trail, in the same transaction, with who made it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from msgspec import Struct, field

from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.event_store import EventStore
from homeserver.services.held_events import HeldEvents
from homeserver.services.moderation_queue import HELD, KINDS, ModerationQueue, clean_note
from homeserver.storage import moderation_queue as storage
from homeserver.storage import stripped_media as media_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.moderation_queue import Decision, QueueItem
from homeserver.storage.policy import VerdictRow, insert_verdict
from homeserver.storage.stripped_media import StrippedMedia

MOST_AT_ONCE = 200
STAGE = "moderation"
RELEASE, DROP, RESOLVE = "release", "drop", "resolve"


class AlreadyDecided(MatrixError):
    """Somebody has decided already."""

    errcode, status = "M_INVALID_PARAM", 409


class Decided(Struct):
    """What became of many items: ``failed`` by ID with the reason.

    ``next``: if there are more, the ID after which to go on.
    """

    items: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    next: int | None = None


class Contents(Protocol):
    """What events say, and their media."""

    async def delete_event_content(self, event_ids: Iterable[str]) -> int:
        """Delete it for good; how many events had any."""


class Moderation:
    """Carries out what moderators decide."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        queue: ModerationQueue,
        held: HeldEvents,
        store: EventStore,
        clock_ms: Callable[[], int],
        contents: Contents | None = None,
    ) -> None:
        self.contents = contents
        self._server_name = server_name
        self._database = database
        self._queue = queue
        self._held = held
        self._store = store
        self._clock_ms = clock_ms
        self._actions: dict[str, Callable[[QueueItem, Decision], Awaitable[None]]] = {
            RELEASE: self._release,
            DROP: self._drop,
            RESOLVE: self._resolve,
        }

    # ------------------------------------------------------------ the queue

    async def item(self, item_id: int) -> tuple[QueueItem, StoredEvent | None]:
        """An item and the event that it is about, if we have it.  Raises :class:`NotFound`."""
        item = await self._get(item_id)
        event = await self._store.get(item.event_id) if item.event_id is not None else None
        return item, event

    async def _get(self, item_id: int) -> QueueItem:
        item = await self._queue.get(item_id)
        if item is None:
            raise NotFound("There is no such item in the queue")
        return item

    async def decide(self, item_id: int, action: str, *, by: str, note: str | None) -> QueueItem:
        """Release, drop or resolve an item; as it is thereafter.

        Raises :class:`NotFound`, :class:`AlreadyDecided`; :class:`InvalidParam` if the action is
        not for this kind of item; what :meth:`HeldEvents.release` raises.
        """
        await self._decide(item_id, action, by, note)
        await self._queue.refresh_figures()
        return await self._get(item_id)

    async def _decide(self, item_id: int, action: str, by: str, note: str | None) -> None:
        decision = Decision(by, clean_note(note), self._clock_ms())
        async with self._held.lock:
            item = await self._get(item_id)
            if item.state != "open":
                raise AlreadyDecided(f"This was {item.state} by {item.resolved_by}")
            await self._actions[action](item, decision)

    async def decide_many(
        self,
        action: str,
        *,
        rule: str | None,
        sender: str | None,
        by: str,
        note: str | None,
        after: int = 0,
    ) -> Decided:
        """Decide all open items of a rule, or of a sender, or of both; at most 200 at once.

        ``after``: only those with a greater ID.

        Raises :class:`InvalidParam` if neither is named.
        """
        if rule is None and sender is None:
            raise InvalidParam("Name a 'rule' or a 'sender'")
        kinds = [kind for kind in KINDS if (kind == HELD) != (action == RESOLVE)]
        found = await storage.get_open_ids(
            self._database, kinds, rule=rule, sender=sender, after=after, limit=MOST_AT_ONCE + 1
        )
        decided = Decided()
        if len(found) > MOST_AT_ONCE:
            decided.next = found[MOST_AT_ONCE - 1]
        for item_id in found[:MOST_AT_ONCE]:
            try:
                await self._decide(item_id, action, by, note)
            except MatrixError as error:
                decided.failed[item_id] = error.text
            else:
                decided.items.append(item_id)
        await self._queue.refresh_figures()
        return decided

    async def _release(self, item: QueueItem, decision: Decision) -> None:
        event_id = self._held_event(item)
        audit = await self._audit(item, RELEASE, decision)
        await self._held.release(event_id, decision, audit, unsent=item.unsent)

    async def _drop(self, item: QueueItem, decision: Decision) -> None:
        event_id = self._held_event(item)
        await self._close(item, "dropped", DROP, decision)
        if self.contents is not None:
            await self.contents.delete_event_content([event_id])

    async def _resolve(self, item: QueueItem, decision: Decision) -> None:
        if item.kind == HELD:
            raise InvalidParam("A held event is released or dropped")
        await self._close(item, "resolved", RESOLVE, decision)

    def _held_event(self, item: QueueItem) -> str:
        if item.kind != HELD or item.event_id is None:
            raise InvalidParam("Only a held event can be released or dropped: resolve this")
        return item.event_id

    async def _close(self, item: QueueItem, state: str, action: str, decision: Decision) -> None:
        audit = await self._audit(item, action, decision)
        async with self._database.transaction() as connection:
            if not await storage.close_item(connection, item.item_id, state, decision):
                raise AlreadyDecided("Somebody else has just decided this")
            await insert_verdict(connection, audit)

    # ------------------------------------------------------------ stripped media

    async def stripped(self, after: tuple[int, str, str] | None, limit: int) -> list[StrippedMedia]:
        """Media that is not served, a page at a time."""
        return await media_storage.get_stripped(self._database, after, limit)

    async def lift(self, origin: str, media_id: str, *, by: str) -> StrippedMedia:
        """Serve media after all.  Raises :class:`NotFound`."""
        now = self._clock_ms()
        async with self._database.transaction() as connection:
            media = await media_storage.lift(connection, origin, media_id, by, now)
            if media is None:
                raise NotFound("That media is not withheld by policy")
            stored = await self._store.get(media.event_id)
            await insert_verdict(
                connection,
                self._verdict(
                    media.rule,
                    "serve_media",
                    Decision(by, f"mxc://{origin}/{media_id}", now),
                    room_id=stored.event.room_id if stored is not None else None,
                    event_id=media.event_id,
                    event_type=stored.event.type if stored is not None else None,
                    sender=stored.event.sender if stored is not None else None,
                ),
            )
        return media

    # ------------------------------------------------------------ audit

    async def _audit(self, item: QueueItem, action: str, decision: Decision) -> VerdictRow:
        stored = await self._store.get(item.event_id) if item.event_id is not None else None
        return self._verdict(
            item.rule or item.kind,
            action,
            decision,
            room_id=item.room_id,
            event_id=item.event_id,
            event_type=stored.event.type if stored is not None else None,
            sender=item.sender,
        )

    def _verdict(
        self,
        rule: str,
        action: str,
        decision: Decision,
        *,
        room_id: str | None,
        event_id: str | None,
        event_type: str | None,
        sender: str | None,
    ) -> VerdictRow:
        origin = server_name_of(sender) if sender is not None else self._server_name
        return VerdictRow(
            created_at=decision.at_ms,
            stage=STAGE,
            rule=rule,
            action=action,
            direction="local" if origin == self._server_name else "in",
            origin=origin,
            room_id=room_id,
            event_id=event_id,
            event_type=event_type,
            sender=sender,
            reason=f"{decision.by}: {decision.note}" if decision.note else decision.by,
        )
