"""What a push gateway is sent.  Spec: push gateway API, ``POST /_matrix/push/v1/notify``.

It is made when it is sent, of what then is true: what was read, redacted or withheld meanwhile is
not pushed any more, and counts are those of the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.message_ends import message_end
from homeserver.protocol.push_rules import Actions
from homeserver.services.client_events import shown_event
from homeserver.services.event_store import EventStore
from homeserver.services.invites_shown import plainly_shown
from homeserver.services.push.badges import Badge
from homeserver.services.push.pushers import EVENT_ID_ONLY
from homeserver.services.unread import DEFAULT, SENT
from homeserver.services.visibility import InviteFilter, Reader, ReaderFilter
from homeserver.storage import notification_list
from homeserver.storage import rooms as room_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.push_queue import QueuedPush
from homeserver.storage.pushers import Pusher

ENCRYPTED = "m.room.encrypted"


class RoomNames(Protocol):
    """What rooms and their members are called."""

    async def room(self, room_id: str, reader: str) -> tuple[str | None, str | None]:
        """A room's name and its alias, as far as the reader may know them."""

    async def member(self, room_id: str, user_id: str, reader: str) -> str | None:
        """A member's display name in a room."""


class Rulesets(Protocol):
    """Everybody's rulesets, by name."""

    def ruleset_name(self, user_id: str) -> str:
        """``default``, or the user's own ID."""


class Readers(Protocol):
    """Who may see what."""

    async def reader(self, room_id: str, user_id: str) -> Reader:
        """A user's view of a room."""


class PushedEvent(Struct, frozen=True):
    """An event that is to be pushed, as its reader may see it."""

    event: Event
    actions: Actions


class PushableEvents:
    """Looks up what waits to be pushed."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        rulesets: Rulesets,
        readers: Readers,
        reader_filter: ReaderFilter,
        invites: InviteFilter,
        is_locked: Callable[[str], bool],
    ) -> None:
        """``is_locked``: whether an account is; nothing is said to its user then."""
        self._database = database
        self._store = store
        self._rulesets = rulesets
        self._readers = readers
        self._reader_filter = reader_filter
        self._invites = invites
        self._is_locked = is_locked

    async def get(self, pusher: Pusher, push: QueuedPush) -> PushedEvent | None:
        """The event; None if there is nothing to be said of it any more."""
        found = await self.get_many(pusher, [push])
        return found[0] if found else None

    async def get_many(self, pusher: Pusher, pushes: Sequence[QueuedPush]) -> list[PushedEvent]:
        """The events of which there is still something to be said, in this order."""
        user_id = pusher.user_id
        if self._is_locked(user_id):
            return []
        events = await self._store.get_many({push.event_id for push in pushes if push.event_id})
        candidates: list[tuple[StoredEvent, Actions]] = []
        for push in pushes:
            stored = events.get(push.event_id or "")
            actions = Actions.parse(push.actions or ())
            if stored is None or actions is None or stored.redacted_by is not None or stored.erased:
                continue
            if await self._is_for(user_id, stored):
                candidates.append((stored, actions))
        read = await self._read(
            user_id, [stored for stored, _ in candidates if not _is_own(user_id, stored)]
        )
        return [
            PushedEvent(stored.event if _is_own(user_id, stored) else shown_event(stored), actions)
            for stored, actions in candidates
            if stored.event.event_id not in read
        ]

    async def _is_for(self, user_id: str, stored: StoredEvent) -> bool:
        """Whether the user is to be told of an event, unless they have read it."""
        event = stored.event
        if not _is_own(user_id, stored):
            return await self._is_seen(user_id, stored)
        reader = await self._readers.reader(event.room_id, user_id)
        if reader.membership != event.membership:
            return False
        return event.membership != "invite" or await self._is_shown(user_id, event)

    async def _is_shown(self, user_id: str, invite: Event) -> bool:
        """Whether a sync shows the invite, and it is no request that waits to be answered."""
        row = await room_storage.get_membership(self._database, invite.room_id, user_id)
        if row is None or row.membership != "invite":
            return False
        return bool(await plainly_shown(self._invites, user_id, {row.room_id: row}))

    async def _is_seen(self, user_id: str, stored: StoredEvent) -> bool:
        """Whether the user is still in the room, and may see the event."""
        event = stored.event
        if not stored.shown or (await self._reader_filter.withheld(user_id)).hides(event):
            return False
        reader = await self._readers.reader(event.room_id, user_id)
        return reader.membership == "join" and reader.sees_whole(stored)

    async def _read(self, user_id: str, events: Sequence[StoredEvent]) -> set[str]:
        """Those of some events that the user has read."""
        if not events:
            return set()
        audiences = (DEFAULT, user_id, self._rulesets.ruleset_name(user_id), SENT + user_id)
        return await notification_list.get_read(
            self._database, user_id, [stored.event.event_id for stored in events], audiences
        )


def _is_own(user_id: str, stored: StoredEvent) -> bool:
    """Whether an event is of the user's own membership."""
    return stored.event.type == "m.room.member" and stored.event.state_key == user_id


class Payloads:
    """Makes the bodies of requests."""

    def __init__(self, *, names: RoomNames) -> None:
        self._names = names

    async def notification(self, pusher: Pusher, pushed: PushedEvent, badge: Badge) -> JsonObject:
        """What is sent of an event."""
        event = pushed.event
        notification: JsonObject = {
            "event_id": event.event_id,
            "room_id": event.room_id,
            "prio": priority(event, pushed.actions),
            "counts": badge.to_json(),
            "devices": [device(pusher, pushed.actions.tweaks)],
        }
        if pusher.data.get("format") != EVENT_ID_ONLY:
            notification.update(await self._details(pusher, event))
        return {"notification": notification}

    async def _details(self, pusher: Pusher, event: Event) -> JsonObject:
        room_name, alias = await self._names.room(event.room_id, pusher.user_id)
        details: JsonObject = {"type": event.type, "sender": event.sender}
        optional = {
            "sender_display_name": await self._names.member(
                event.room_id, event.sender, pusher.user_id
            ),
            "room_name": room_name,
            "room_alias": alias,
        }
        details.update({key: value for key, value in optional.items() if value is not None})
        if event.type == "m.room.member":
            details["user_is_target"] = event.state_key == pusher.user_id
        end = message_end(event.content)
        if end is None or not end.view_once:  # what may be seen once is not shown on the way
            details["content"] = event.content
        return details


def badge_notification(pusher: Pusher, badge: Badge) -> JsonObject:
    """The counts alone.  Those that are zero are told here: that is what is new."""
    return {
        "notification": {
            "counts": badge.to_json(with_zero=True),
            "prio": "low",
            "devices": [device(pusher, {})],
        }
    }


def device(pusher: Pusher, tweaks: Mapping[str, Any]) -> JsonObject:
    """A pusher as its gateway knows it: with all of its data but the address."""
    return {
        "app_id": pusher.app_id,
        "pushkey": pusher.pushkey,
        "pushkey_ts": pusher.updated_at // 1000,
        "data": {key: value for key, value in pusher.data.items() if key != "url"},
        "tweaks": dict(tweaks),
    }


def priority(event: Event, actions: Actions) -> str:
    """``low`` for what makes no noise; of what is encrypted only the client can tell."""
    loud = actions.highlight or actions.sound is not None or event.type == ENCRYPTED
    return "high" if loud else "low"
