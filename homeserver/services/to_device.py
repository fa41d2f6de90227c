"""Send-to-device messages: to our users' devices through the log, to others' through the outbox.

Spec: client-server API, send-to-device messaging; server-server API, the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping

import orjson
from msgspec import Struct

from homeserver.errors import BadJson, InvalidParam, TooLarge
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.outgoing import EduQueue
from homeserver.services.values import MAX_TEXT, is_compliant_user_id, is_text, is_user_id
from homeserver.storage import to_device as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.log import Log
from homeserver.storage.to_device import DeviceMessage, FromClient, FromPeer, ToDeviceRecord

DIRECT_TO_DEVICE = "m.direct_to_device"
MAX_MESSAGE_BYTES = 65_536
MAX_EDU_BYTES = 65_536
MESSAGES_PER_SYNC = 100
SEEN_FOR_MS = 30 * 24 * 3_600_000
SWEEP_EVERY_MS = 24 * 3_600_000

Messages = Mapping[str, Mapping[str, JsonObject]]  # user ID -> device ID or `*` -> content


class ToDeviceBatch(Struct, frozen=True):
    """Messages for a sync, oldest first.

    ``position`` is how far they reach: the ``upto`` that was asked for, or, if there is more, the
    last message's position.  The next sync deletes up to there, so the token must carry it.
    """

    events: list[JsonObject]
    position: int


class ToDeviceService:
    """Delivers messages to devices, each once."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        log: Log,
        edus: EduQueue,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._log = log
        self._edus = edus
        self._clock_ms = clock_ms
        self._swept_at = 0

    # ------------------------------------------------------------ sending

    async def send(
        self, sender: str, device_id: str, event_type: str, txn_id: str, messages: Messages
    ) -> None:
        """Send messages; the same transaction ID again does nothing.

        Spec: ``PUT /sendToDevice/{eventType}/{txnId}``.  Raises :class:`BadJson`,
        :class:`InvalidParam`, :class:`TooLarge`.
        """
        if not is_text(event_type) or not is_text(txn_id):
            raise InvalidParam(
                f"The event type and transaction ID may have up to {MAX_TEXT} characters"
            )
        check_messages(messages)
        local = list(self._local(messages))
        edus = [
            (server_name, edu)
            for server_name, theirs in self._remote(messages).items()
            for edu in split_edus(sender, event_type, theirs)
        ]

        async def forward(connection: Connection, _: int) -> None:
            for server_name, edu in edus:
                await self._edus.queue_edu(
                    [server_name], DIRECT_TO_DEVICE, edu, connection=connection
                )

        source = FromClient(sender, device_id, txn_id)
        await self._log.append(
            ToDeviceRecord(
                sender, event_type, local, source, self._clock_ms(), forward if edus else None
            )
        )

    def _local(self, messages: Messages) -> Iterator[DeviceMessage]:
        for user_id, by_device in messages.items():
            if server_name_of(user_id) == self._server_name:
                for device_id, content in by_device.items():
                    yield DeviceMessage(user_id, device_id, content)

    def _remote(self, messages: Messages) -> dict[str, Messages]:
        remote: dict[str, dict[str, Mapping[str, JsonObject]]] = {}
        for user_id, by_device in messages.items():
            server_name = server_name_of(user_id)
            if server_name != self._server_name and by_device:
                remote.setdefault(server_name, {})[user_id] = by_device
        return dict(remote)

    # ------------------------------------------------------------ receiving

    async def receive(self, origin: str, content: JsonObject) -> None:
        """Deliver an ``m.direct_to_device`` EDU; durable on return, and once, however often."""
        sender, event_type = content.get("sender"), content.get("type")
        message_id, messages = content.get("message_id"), content.get("messages")
        if not (is_compliant_user_id(sender) and is_text(event_type) and is_text(message_id)):
            return
        if server_name_of(sender) != origin or not isinstance(messages, dict):
            return
        try:
            check_messages(messages)
        except (BadJson, TooLarge):
            return
        local = list(self._local(messages))
        if local:
            source = FromPeer(origin, message_id)
            await self._log.append(
                ToDeviceRecord(sender, event_type, local, source, self._clock_ms())
            )
            await self._sweep()

    async def _sweep(self) -> None:
        """Once a day, forget message IDs so old that no peer will repeat them."""
        now = self._clock_ms()
        if now - self._swept_at > SWEEP_EVERY_MS:
            self._swept_at = now
            await storage.forget_seen(self._database, now - SEEN_FOR_MS)

    # ------------------------------------------------------------ for sync

    async def messages_for(
        self,
        user_id: str,
        device_id: str,
        after: int,
        upto: int,
        limit: int = MESSAGES_PER_SYNC,
    ) -> ToDeviceBatch:
        """The messages that wait for a device at ``after < position <= upto``.

        Spec: client-server API, send-to-device messaging, extensions to /sync.
        """
        found = await storage.get_messages(
            self._database, user_id, device_id, after=after, upto=upto, limit=limit + 1
        )
        events = [message.to_json() for message in found[:limit]]
        position = found[limit - 1].position if len(found) > limit else upto
        return ToDeviceBatch(events, position)

    async def delete_upto(self, user_id: str, device_id: str, position: int) -> None:
        """The device has synced with a token that reaches to ``position``: it has them."""
        await storage.delete_messages(self._database, user_id, device_id, position)


def check_messages(messages: Messages) -> None:
    """Raise :class:`BadJson` or :class:`TooLarge` unless messages have the spec's shape."""
    for user_id, by_device in messages.items():
        if not is_user_id(user_id):
            raise BadJson("'messages' must be keyed by user ID")
        if not isinstance(by_device, dict):
            raise BadJson("'messages' must map user IDs to objects")
        for device_id, content in by_device.items():
            if not is_text(device_id):
                raise BadJson("'messages' must be keyed by device ID beneath the user ID")
            if not isinstance(content, dict):
                raise BadJson("Each message must be an object")
            if len(orjson.dumps(content)) > MAX_MESSAGE_BYTES:
                raise TooLarge(f"A message may have at most {MAX_MESSAGE_BYTES} bytes")


def split_edus(sender: str, event_type: str, messages: Messages) -> Iterator[JsonObject]:
    """``m.direct_to_device`` contents of bounded size that together carry all messages."""
    part: dict[str, dict[str, JsonObject]] = {}
    size = 0
    for user_id, by_device in messages.items():
        for device_id, content in by_device.items():
            added = len(orjson.dumps(content)) + len(user_id) + len(device_id)
            if part and size + added > MAX_EDU_BYTES:
                yield _edu(sender, event_type, part)
                part, size = {}, 0
            part.setdefault(user_id, {})[device_id] = content
            size += added
    if part:
        yield _edu(sender, event_type, part)


def _edu(sender: str, event_type: str, messages: Messages) -> JsonObject:
    return {
        "sender": sender,
        "type": event_type,
        "message_id": secrets.token_urlsafe(18),
        "messages": messages,
    }
