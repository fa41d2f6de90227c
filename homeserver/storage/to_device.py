"""Send-to-device messages: kept for each device until its next sync says that they arrived."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

# `*` is every device of the user; a message for one device goes before one for all.  What is
# addressed to a device that does not exist is dropped.
INSERT_MESSAGES = """
INSERT INTO to_device_messages (position, user_id, device_id, sender, type, content)
SELECT DISTINCT ON (new.position, d.user_id, d.device_id)
    new.position, d.user_id, d.device_id, new.sender, new.type, new.content
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::json[])
    AS new (position, user_id, device_id, sender, type, content)
JOIN devices d ON d.user_id = new.user_id
    AND (new.device_id = '*' OR d.device_id = new.device_id)
ORDER BY new.position, d.user_id, d.device_id, new.device_id = '*'
ON CONFLICT DO NOTHING
"""
INSERT_TRANSACTION = """
INSERT INTO client_transactions (user_id, device_id, path, txn_id, event_id, created_at)
VALUES ($1, $2, 'sendToDevice', $3, '', $4) ON CONFLICT DO NOTHING
"""
INSERT_SEEN = """
INSERT INTO to_device_seen (origin, message_id, received_at) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
"""
DELETE_SEEN = "DELETE FROM to_device_seen WHERE received_at < $1"
SELECT_MESSAGES = """
SELECT position, sender, type, content FROM to_device_messages
WHERE user_id = $1 AND device_id = $2 AND position > $3 AND position <= $4
ORDER BY position LIMIT $5
"""
DELETE_MESSAGES = """
DELETE FROM to_device_messages WHERE user_id = $1 AND device_id = $2 AND position <= $3
"""
# What waits for devices that nobody has used for long; a dehydrated one is not used before it is
# needed.
DELETE_IDLE = """
DELETE FROM to_device_messages m USING devices d
WHERE d.user_id = m.user_id AND d.device_id = m.device_id AND d.last_seen_at < $1
    AND NOT EXISTS (SELECT 1 FROM dehydrated_devices h
        WHERE h.user_id = d.user_id AND h.device_id = d.device_id)
"""
DELETE_EXCESS = """
DELETE FROM to_device_messages m USING (
    SELECT user_id, device_id FROM to_device_messages
    GROUP BY user_id, device_id HAVING count(*) > $1
) long
WHERE m.user_id = long.user_id AND m.device_id = long.device_id AND m.position <= (
    SELECT position FROM to_device_messages kept
    WHERE kept.user_id = long.user_id AND kept.device_id = long.device_id
    ORDER BY position DESC OFFSET $1 LIMIT 1)
"""

EVERY_DEVICE = "*"
MOST_WAITING = 200_000  # messages for a device; the oldest go first


class DeviceMessage(Struct, frozen=True):
    """A message for one device of a local user, or for all (``*``)."""

    user_id: str
    device_id: str
    content: JsonObject


class FromClient(Struct, frozen=True):
    """The client's transaction that messages came in: the same again is ignored."""

    user_id: str
    device_id: str
    txn_id: str


class FromPeer(Struct, frozen=True):
    """The EDU that messages came in: the same again is ignored."""

    origin: str
    message_id: str


class ToDeviceRecord(Record, eq=False):
    """Messages of one sender and type, sent together.

    ``forward`` queues what goes to other instances, in the same transaction.
    """

    sender: str
    type: str
    messages: Sequence[DeviceMessage]
    source: FromClient | FromPeer
    received_at: int
    forward: Callable[[Connection, int], Awaitable[None]] | None = None
    is_new: bool = True  # once written: whether it was not written before

    def touched_users(self) -> Sequence[str]:
        """The local recipients."""
        return list(dict.fromkeys(message.user_id for message in self.messages))

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, ToDeviceRecord]]
    ) -> None:
        """Write the messages that were not written before."""
        for _, record in batch:
            record.is_new = await _is_new(connection, record)
        fresh = [(position, record) for position, record in batch if record.is_new]
        rows = [
            (position, message.user_id, message.device_id, r.sender, r.type, message.content)
            for position, r in fresh
            for message in r.messages
        ]
        if rows:
            await connection.execute(INSERT_MESSAGES, *map(list, zip(*rows, strict=True)))
        for position, record in fresh:
            if record.forward is not None:
                await record.forward(connection, position)


async def _is_new(connection: Connection, record: ToDeviceRecord) -> bool:
    source = record.source
    if isinstance(source, FromClient):
        status = await connection.execute(
            INSERT_TRANSACTION, source.user_id, source.device_id, source.txn_id, record.received_at
        )
    else:
        status = await connection.execute(
            INSERT_SEEN, source.origin, source.message_id, record.received_at
        )
    return not status.endswith(" 0")


class StoredMessage(Struct, frozen=True):
    """A message that waits for its device."""

    position: int
    sender: str
    type: str
    content: JsonObject

    def to_json(self) -> JsonObject:
        """As clients are told of it."""
        return {"sender": self.sender, "type": self.type, "content": self.content}


async def get_messages(
    db: Queryable, user_id: str, device_id: str, *, after: int, upto: int, limit: int
) -> list[StoredMessage]:
    """Up to ``limit`` messages with ``after < position <= upto``, the oldest first."""
    rows = await db.fetch(SELECT_MESSAGES, user_id, device_id, after, upto, limit)
    return [StoredMessage(**row) for row in rows]


async def delete_messages(db: Queryable, user_id: str, device_id: str, upto: int) -> None:
    """Forget the messages up to a position: the device has them."""
    await db.execute(DELETE_MESSAGES, user_id, device_id, upto)


async def delete_overdue(db: Queryable, unused_since: int) -> None:
    """Forget what waits for devices unused since a time (ms), and what is too much for others."""
    await db.execute(DELETE_IDLE, unused_since)
    await db.execute(DELETE_EXCESS, MOST_WAITING)


async def forget_seen(db: Queryable, before: int) -> None:
    """Forget message IDs of peers that came before a time (ms)."""
    await db.execute(DELETE_SEEN, before)
