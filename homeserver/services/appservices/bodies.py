"""Transactions as application services get them.

Events are read anew for each attempt: what was redacted, deleted or taken back meanwhile is not
told, though the transaction is the same.  Spec: application service API, pushing events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from msgspec.structs import replace

from homeserver.protocol.events import JsonObject, redacted_copy
from homeserver.services.appservices.registration import AppService
from homeserver.services.client_events import Beside, ClientEvents
from homeserver.services.erased_accounts import is_personal
from homeserver.services.event_store import EventStore
from homeserver.services.sync_key_counts import KeyCounts
from homeserver.storage import appservices as storage
from homeserver.storage.appservices import Transaction
from homeserver.storage.database import Database
from homeserver.storage.erasures import ERASURE
from homeserver.storage.events import StoredEvent

MSC2409, MSC3202 = "de.sorunome.msc2409", "org.matrix.msc3202"

Device = tuple[str, str]


class CountsOf(Protocol):
    """How many keys devices have left."""

    async def counts(self, user_id: str, device_id: str) -> KeyCounts:
        """What a device is told of its keys."""


class Bodies:
    """Makes the bodies of transactions."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        events: ClientEvents,
        erased: Mapping[str, int],
        keys: CountsOf,
        is_own: Callable[[str], bool],
    ) -> None:
        """``erased``: accounts whose content was; ``is_own``: whether a user is the service's."""
        self._database = database
        self._store = store
        self._events = events
        self._erased = erased
        self._keys = keys
        self._is_own = is_own

    async def make(
        self,
        service: AppService,
        transaction: Transaction,
        ephemeral: Sequence[JsonObject],
        devices: Iterable[Device],
    ) -> bytes:
        """A transaction as JSON.  ``devices``: of its users, whose keys were used up or filled."""
        body: dict[str, Any] = {"events": await self._event_list(transaction.event_ids)}
        if ephemeral:
            body.update(dict.fromkeys(service.ephemeral_keys, ephemeral))
        if service.encryption:
            body.update(await self._of_devices(transaction, devices))
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)

    # ------------------------------------------------------------ events

    async def _event_list(self, event_ids: Sequence[str]) -> list[orjson.Fragment]:
        found = await self._store.get_many(event_ids)
        told = [found[each] for each in event_ids if each in found and found[each].shown]
        stripped = await self._stripped(told)
        beside = await self._events.beside(told)
        return [
            orjson.Fragment(self._serialise(stored, beside, stripped.get(stored.event.event_id)))
            for stored in told
        ]

    async def _stripped(self, events: Iterable[StoredEvent]) -> Mapping[str, Any]:
        """What its invited users may see of their rooms."""
        invites = [
            stored.event
            for stored in events
            if stored.event.membership == "invite" and self._is_own(stored.event.state_key or "")
        ]
        if not invites:
            return {}
        users = [invite.state_key or "" for invite in invites]
        return await storage.get_stripped_states(
            self._database, users, [invite.event_id for invite in invites]
        )

    def _serialise(self, stored: StoredEvent, beside: Beside, stripped: Any) -> bytes:
        event = stored.event
        if event.sender in self._erased and is_personal(event):
            stored = replace(stored)
            stored.erase(redacted_copy(event), ERASURE)
        made = self._events.serialise(stored, membership=None, beside=beside, with_room_id=True)
        if stripped is None:
            return made
        whole = orjson.loads(made)
        whole["unsigned"]["invite_room_state"] = stripped
        return orjson.dumps(whole)

    # ------------------------------------------------------------ devices

    async def _of_devices(
        self, transaction: Transaction, devices: Iterable[Device]
    ) -> dict[str, Any]:
        """To-device messages, and what belongs to encryption (MSC2409, MSC3202)."""
        messages = await storage.get_to_device_again(self._database, transaction.to_device)
        lists = transaction.device_lists or {}
        body: dict[str, Any] = {
            f"{MSC3202}.device_lists": {
                "changed": list(lists.get("changed", ())),
                "left": list(lists.get("left", ())),
            }
        }
        if messages:
            body[f"{MSC2409}.to_device"] = [
                {
                    "type": message.type,
                    "sender": message.sender,
                    "content": message.content,
                    "to_user_id": message.user_id,
                    "to_device_id": message.device_id,
                }
                for message in messages
            ]
        recipients = {(message.user_id, message.device_id) for message in messages}
        counts: dict[str, dict[str, Any]] = {}
        fallbacks: dict[str, dict[str, Any]] = {}
        for user_id, device_id in sorted(recipients.union(devices)):
            found = await self._keys.counts(user_id, device_id)
            counts.setdefault(user_id, {})[device_id] = dict(found.one_time_keys)
            unused = list(found.unused_fallback_algorithms)
            fallbacks.setdefault(user_id, {})[device_id] = unused
        if counts:
            body[f"{MSC3202}.device_one_time_keys_count"] = counts
            body[f"{MSC3202}.device_unused_fallback_key_types"] = fallbacks
        return body
