"""What a sync bears besides room events: account data, receipts, who types, who is online,
to-device messages and device lists.

Each is asked for only when memory says that it has, or may have, changed.

Spec: client-server API, syncing; typing, receipts, presence, client config, send-to-device
messaging, end-to-end encryption (extensions to ``/sync``).
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import EventFilter, SyncFilter
from homeserver.services.audience import (
    EVERYBODY,
    RECEIPTS_SCOPE,
    TYPING_SCOPE,
    Audience,
    hidden_from,
)
from homeserver.services.receipts import receipt_contents, without_readers
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.sync_key_counts import CachedKeyCounts, KeyCounts
from homeserver.services.sync_token import SyncToken
from homeserver.storage import sync as storage
from homeserver.storage.account_data import PUSH_RULES, AccountDataRow
from homeserver.storage.database import Database
from homeserver.storage.erasures import get_erasures

CACHED_DEVICES = 20_000
MESSAGES_PER_SYNC = 100
RECEIPT = "m.receipt"
TYPING = "m.typing"
ENDED = "dev.comity.ended"

Device = tuple[str, str]


class AccountDataChanges(Protocol):
    """Account data as it changes."""

    async def changes(self, user_id: str, since: int, upto: int) -> Sequence[AccountDataRow]:
        """What was set at ``since < position <= upto``."""


class PushRulesets(Protocol):
    """Push rules as a client sees them."""

    def ruleset(self, user_id: str) -> Mapping[str, Sequence[JsonObject]]:
        """All rules of a user by kind."""


class Receipts(Protocol):
    """Who has read how far."""

    async def receipts_since(
        self, room_ids: Iterable[str], since: int, upto: int, for_user: str
    ) -> Mapping[str, JsonObject]:
        """Room ID -> the content of its ``m.receipt`` event."""


class Typing(Protocol):
    """Who is typing."""

    version: int

    def typing_in(self, room_id: str) -> Sequence[str]:
        """Who is typing in a room."""

    def changed_since(self, version: int, room_ids: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """The rooms whose typists changed since a version, and who types there."""


class Presence(Protocol):
    """Who is online."""

    version: int

    async def presence_since(self, reader: str, version: int) -> Sequence[JsonObject]:
        """``m.presence`` events of who shares a room with the reader."""

    def syncing(self, user_id: str, set_presence: str = "online") -> AbstractContextManager[None]:
        """A sync of the user's is under way."""


class ToDeviceBatch(Protocol):
    """Messages, and how far they reach."""

    @property
    def events(self) -> Sequence[JsonObject]:
        """The messages, oldest first."""

    @property
    def position(self) -> int:
        """Up to where these are all."""


class ToDevice(Protocol):
    """Messages that wait for a device."""

    async def messages_for(
        self, user_id: str, device_id: str, after: int, upto: int, limit: int
    ) -> ToDeviceBatch:
        """Those at ``after < position <= upto``."""

    async def delete_upto(self, user_id: str, device_id: str, position: int) -> None:
        """The device has them up to there."""


class DeviceListChanges(Protocol):
    """Whose keys changed for a reader."""

    @property
    def changed(self) -> Sequence[str]:
        """Users whose keys must be fetched again."""

    @property
    def left(self) -> Sequence[str]:
        """Users with whom no room is shared any more."""


class DeviceLists(Protocol):
    """Changes of device lists."""

    async def changes_since(self, user_id: str, since: int, upto: int) -> DeviceListChanges:
        """What changed at ``since < position <= upto``."""


class SyncExtras:
    """Collects all that is not room events."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        account_data: AccountDataChanges,
        push_rules: PushRulesets,
        receipts: Receipts,
        typing: Typing,
        presence: Presence,
        to_device: ToDevice,
        device_lists: DeviceLists,
        key_counts: CachedKeyCounts,
        audience: Audience = EVERYBODY,
    ) -> None:
        self._audience = audience
        self._database = database
        self._recent = recent
        self._account_data = account_data
        self._push_rules = push_rules
        self._receipts = receipts
        self.typing = typing
        self.presence = presence
        self._to_device = to_device
        self._device_lists = device_lists
        self._key_counts = key_counts
        self._unacknowledged: OrderedDict[Device, int] = OrderedDict()

    # ------------------------------------------------------------ account data

    async def account_data(
        self, user_id: str, since: int | None, upto: int
    ) -> dict[str, list[JsonObject]]:
        """Room ID (``''``: the account's own) -> what was set; for an initial sync, all of it."""
        if since is not None and not self._recent.account_data.changed(user_id, since):
            return {}
        rows = await self._account_data.changes(user_id, since or 0, upto)
        found = self._by_room(user_id, rows)
        if since is None and not any(row.type == PUSH_RULES for row in rows):
            found[""].append(self.push_rules_event(user_id))
        return found

    async def room_account_data(
        self, user_id: str, room_ids: Collection[str]
    ) -> dict[str, list[JsonObject]]:
        """All that a user attached to rooms which they have just joined."""
        rows = await storage.get_room_account_data(self._database, user_id, room_ids)
        return self._by_room(user_id, rows)

    def _by_room(
        self, user_id: str, rows: Iterable[AccountDataRow]
    ) -> defaultdict[str, list[JsonObject]]:
        found: defaultdict[str, list[JsonObject]] = defaultdict(list)
        for row in rows:
            if row.type == PUSH_RULES and not row.room_id:
                found[""].append(self.push_rules_event(user_id))
            else:
                found[row.room_id].append({"type": row.type, "content": row.content})
        return found

    def push_rules_event(self, user_id: str) -> JsonObject:
        """The whole push rules of a user, as account data."""
        return {"type": PUSH_RULES, "content": {"global": self._push_rules.ruleset(user_id)}}

    # ------------------------------------------------------------ ephemeral events

    async def receipts(
        self,
        user_id: str,
        joined: Collection[str],
        new: Collection[str],
        since: int | None,
        upto: int,
        sync_filter: SyncFilter,
    ) -> dict[str, JsonObject]:
        """Room ID -> its ``m.receipt`` event; of ``new`` rooms with all receipts."""
        if not _allows(sync_filter.ephemeral, RECEIPT):
            return {}
        contents: dict[str, JsonObject] = {}
        if new:
            contents.update(await self._receipts.receipts_since(new, 0, upto, user_id))
        if since is not None:
            rooms = set(self.receipt_rooms(user_id, joined, since)).difference(new)
            if rooms:
                contents.update(await self._new_receipts(user_id, rooms, since, upto))
        if contents and self._audience.any_restricts(RECEIPTS_SCOPE):
            contents = await self._seen_by(user_id, contents)
        return {room_id: {"type": RECEIPT, "content": c} for room_id, c in contents.items()}

    async def _seen_by(self, reader: str, contents: dict[str, JsonObject]) -> dict[str, JsonObject]:
        """The receipts that a reader may see, of those who do not show them to everybody."""
        users = {
            user_id
            for content in contents.values()
            for by_type in content.values()
            for readers in by_type.values()
            for user_id in readers
        }
        hidden = await hidden_from(self._audience, reader, users - {reader}, RECEIPTS_SCOPE)
        return without_readers(contents, hidden) if hidden else contents

    async def _new_receipts(
        self, user_id: str, room_ids: Iterable[str], since: int, upto: int
    ) -> Mapping[str, JsonObject]:
        """From memory, as far as it reaches."""
        contents: dict[str, JsonObject] = {}
        missing: list[str] = []
        for room_id in room_ids:
            found = self._recent.recent_receipts.since(room_id, since, upto, user_id)
            if found is None:
                missing.append(room_id)
            else:
                contents.update(receipt_contents(found))
        if missing:
            contents.update(await self._receipts.receipts_since(missing, since, upto, user_id))
        return contents

    def receipt_rooms(self, user_id: str, joined: Collection[str], since: int) -> Collection[str]:
        """The joined rooms in which receipts changed, or may have."""
        public, own = self._recent.receipts.since(since), self._recent.own_receipts.since(since)
        if public is None or own is None:
            return joined
        rooms = {room_id for room_id in public if room_id in joined}
        rooms.update(room_id for reader, room_id in own if reader == user_id and room_id in joined)
        return rooms

    async def own_receipt_rooms(
        self, user_id: str, joined: Collection[str], since: int
    ) -> Collection[str]:
        """The joined rooms in which the user's own receipts moved, and so their counts."""
        own = self._recent.own_receipts.since(since)
        if own is None:
            return await storage.get_own_receipt_rooms(self._database, user_id, joined, since)
        return {room_id for reader, room_id in own if reader == user_id and room_id in joined}

    async def typing_events(
        self,
        user_id: str,
        joined: Collection[str],
        new: Collection[str],
        since: int | None,
        sync_filter: SyncFilter,
    ) -> dict[str, JsonObject]:
        """Room ID -> its ``m.typing`` event."""
        if not _allows(sync_filter.ephemeral, TYPING):
            return {}
        found = {room_id: self.typing.typing_in(room_id) for room_id in new}
        found = {room_id: user_ids for room_id, user_ids in found.items() if user_ids}
        if since is not None and since < self.typing.version:
            found.update(self.typing.changed_since(since, joined))
        if found and self._audience.any_restricts(TYPING_SCOPE):
            typists = {typist for typists in found.values() for typist in typists}
            hidden = await hidden_from(self._audience, user_id, typists, TYPING_SCOPE)
            found = {room: [u for u in users if u not in hidden] for room, users in found.items()}
        return {
            room_id: {"type": TYPING, "content": {"user_ids": list(user_ids)}}
            for room_id, user_ids in found.items()
        }

    async def erasures(
        self, joined: Collection[str], since: int | None, upto: int, sync_filter: SyncFilter
    ) -> dict[str, JsonObject]:
        """Room ID -> an event that says which messages ended here without a redaction.

        Comity's own extension; see docs/retention.md.
        """
        if since is None or not _allows(sync_filter.ephemeral, ENDED):
            return {}
        rooms: Collection[str] | None = self._recent.erasures.since(since)
        rooms = joined if rooms is None else [room_id for room_id in rooms if room_id in joined]
        if not rooms:
            return {}
        found = await get_erasures(self._database, rooms, since, upto)
        return {
            room_id: {"type": ENDED, "content": {"event_ids": event_ids}}
            for room_id, event_ids in found.items()
        }

    async def presence_events(
        self, user_id: str, since: int | None, sync_filter: SyncFilter
    ) -> Sequence[JsonObject]:
        """Whose presence changed."""
        if since is not None and since >= self.presence.version:
            return ()
        if sync_filter.presence.allows_nothing:
            return ()
        found = await self.presence.presence_since(user_id, since or 0)
        allows = sync_filter.presence.allows
        return [event for event in found if allows(event["sender"], event["type"])]

    # ------------------------------------------------------------ devices

    async def acknowledge(self, device: Device, since: SyncToken) -> None:
        """The device has come back: it has the messages that its token covers."""
        sent = self._unacknowledged.get(device)
        if sent is None or 0 < sent <= since.to_device:
            await self._to_device.delete_upto(*device, since.to_device)
            self._note_sent(device, 0)

    async def to_device(
        self, device: Device, since: SyncToken | None, upto: int, limit: int | None = None
    ) -> ToDeviceBatch | None:
        """The messages that wait for a device; None if there are none."""
        after = since.to_device if since is not None else 0
        if since is not None and not self._recent.to_device.changed(device[0], after):
            return None
        most = MESSAGES_PER_SYNC if limit is None else min(limit, MESSAGES_PER_SYNC)
        batch = await self._to_device.messages_for(*device, after, upto, most)
        if not batch.events:
            return None
        self._note_sent(device, batch.position)
        return batch

    def _note_sent(self, device: Device, position: int) -> None:
        self._unacknowledged[device] = position
        self._unacknowledged.move_to_end(device)
        if len(self._unacknowledged) > CACHED_DEVICES:
            self._unacknowledged.popitem(last=False)

    async def device_lists(
        self, user_id: str, joined: Collection[str], since: int, upto: int
    ) -> JsonObject | None:
        """Whose keys the client must fetch again, and whose it may forget."""
        if not self._recent.device_users.changed(user_id, since):
            rooms = self._recent.device_rooms.since(since)
            if rooms is not None and not any(room_id in joined for room_id in rooms):
                return None
        changes = await self._device_lists.changes_since(user_id, since, upto)
        if not changes.changed and not changes.left:
            return None
        return {"changed": list(changes.changed), "left": list(changes.left)}

    async def key_counts(self, device: Device) -> KeyCounts:
        """How many of its keys are left."""
        return await self._key_counts.get(device)


def _allows(event_filter: EventFilter, event_type: str) -> bool:
    return not event_filter.allows_nothing and event_filter.allows(None, event_type)
