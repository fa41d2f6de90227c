"""How far application services were told what happens, what is on its way, and their room lists."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from homeserver.storage.database import Connection, Database, Queryable

INSERT_SERVICE = """
INSERT INTO application_services (appservice_id, position) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
SELECT_SERVICE = """
SELECT appservice_id, position, accepted, failing_since, last_success_at, last_error
FROM application_services WHERE appservice_id = $1
"""
SET_POSITION = "UPDATE application_services SET position = $2 WHERE appservice_id = $1"
SELECT_TRANSACTION = """
SELECT txn_id, event_ids, to_device, device_lists, created_at
FROM application_service_transactions WHERE appservice_id = $1
"""
INSERT_TRANSACTION = """
INSERT INTO application_service_transactions
    (appservice_id, txn_id, event_ids, to_device, device_lists, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""
DELETE_TRANSACTION = """
DELETE FROM application_service_transactions WHERE appservice_id = $1 AND txn_id = $2
"""
DROP_TRANSACTION = "DELETE FROM application_service_transactions WHERE appservice_id = $1"
SET_SKIPPED = """
UPDATE application_services SET position = $2, failing_since = NULL, last_error = NULL
WHERE appservice_id = $1
"""
SET_ACCEPTED = """
UPDATE application_services SET accepted = accepted + 1, last_success_at = $2,
    failing_since = NULL, last_error = NULL WHERE appservice_id = $1
"""
SET_FAILED = """
UPDATE application_services SET failing_since = coalesce(failing_since, $2), last_error = $3
WHERE appservice_id = $1
"""
SELECT_WAITING_USERS = "SELECT DISTINCT user_id FROM to_device_messages"
SELECT_TO_DEVICE = """
SELECT user_id, device_id, position, sender, type, content FROM to_device_messages
WHERE user_id = ANY($1::text[]) AND position <= $2 ORDER BY position, device_id LIMIT $3
"""
SELECT_TO_DEVICE_AGAIN = """
SELECT m.user_id, m.device_id, m.position, m.sender, m.type, m.content
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (user_id, device_id, position)
JOIN to_device_messages m USING (user_id, device_id, position) ORDER BY m.position, m.device_id
"""
DELETE_TO_DEVICE = """
DELETE FROM to_device_messages m
USING unnest($1::text[], $2::text[], $3::bigint[]) AS sent (user_id, device_id, position)
WHERE m.user_id = sent.user_id AND m.device_id = sent.device_id AND m.position = sent.position
"""
SELECT_DEVICE_CHANGES = """
SELECT position, user_id FROM device_list_changes
WHERE position > $1 AND position <= $2 AND visible_to IS NULL ORDER BY position LIMIT $3
"""
SELECT_STRIPPED = """
SELECT event_id, stripped_state FROM memberships
WHERE user_id = ANY($1::text[]) AND event_id = ANY($2::text[]) AND stripped_state IS NOT NULL
"""
INSERT_LISTED = """
INSERT INTO appservice_room_lists (appservice_id, network_id, room_id) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
"""
DELETE_LISTED = """
DELETE FROM appservice_room_lists WHERE appservice_id = $1 AND network_id = $2 AND room_id = $3
"""

Sent = tuple[str, str, int]  # user, device, position of a to-device message


class ServiceState(Struct, frozen=True):
    """How an application service fares; times in ms."""

    appservice_id: str
    position: int
    accepted: int
    failing_since: int | None
    last_success_at: int | None
    last_error: str | None


class Transaction(Struct, frozen=True):
    """What is told at once, as it is kept until it is accepted."""

    txn_id: str
    event_ids: Sequence[str]
    to_device: Sequence[Sent]
    device_lists: Mapping[str, Sequence[str]] | None
    created_at: int


@dataclass(frozen=True, slots=True)
class ToDeviceMessage:
    """A message that waits for a device of an application service's user."""

    user_id: str
    device_id: str
    position: int
    sender: str
    type: str
    content: Any = field(repr=False)

    @property
    def key(self) -> Sent:
        """What there is one of."""
        return (self.user_id, self.device_id, self.position)


async def get_service(db: Queryable, appservice_id: str, position: int) -> ServiceState:
    """How far a service was told; one that is new begins at ``position``."""
    await db.execute(INSERT_SERVICE, appservice_id, position)
    return ServiceState(**await db.fetchrow(SELECT_SERVICE, appservice_id))


async def set_position(db: Queryable, appservice_id: str, position: int) -> None:
    """Note that nothing before a position is left to tell."""
    await db.execute(SET_POSITION, appservice_id, position)


async def get_transaction(db: Queryable, appservice_id: str) -> Transaction | None:
    """What is on its way to a service."""
    row = await db.fetchrow(SELECT_TRANSACTION, appservice_id)
    if row is None:
        return None
    return Transaction(
        row["txn_id"],
        row["event_ids"],
        [(user, device, position) for user, device, position in row["to_device"]],
        row["device_lists"],
        row["created_at"],
    )


async def put_transaction(
    connection: Connection, appservice_id: str, transaction: Transaction, position: int
) -> None:
    """Keep what is to be told, and that with it all before a position is."""
    await connection.execute(
        INSERT_TRANSACTION,
        appservice_id,
        transaction.txn_id,
        list(transaction.event_ids),
        transaction.to_device,
        transaction.device_lists,
        transaction.created_at,
    )
    await set_position(connection, appservice_id, position)


async def set_accepted(
    database: Database, appservice_id: str, transaction: Transaction, now: int
) -> None:
    """Note that a service took a transaction: it is gone, and its to-device messages are."""
    async with database.transaction() as connection:
        await connection.execute(DELETE_TRANSACTION, appservice_id, transaction.txn_id)
        await connection.execute(SET_ACCEPTED, appservice_id, now)
        if transaction.to_device:
            columns = map(list, zip(*transaction.to_device, strict=True))
            await connection.execute(DELETE_TO_DEVICE, *columns)


async def set_failed(db: Queryable, appservice_id: str, now: int, error: str) -> None:
    """Note that a service did not take a transaction."""
    await db.execute(SET_FAILED, appservice_id, now, error)


async def skip_to(database: Database, appservice_id: str, position: int) -> None:
    """Tell a service nothing of what lies before a position."""
    async with database.transaction() as connection:
        await connection.execute(DROP_TRANSACTION, appservice_id)
        await connection.execute(SET_SKIPPED, appservice_id, position)


async def get_waiting_users(db: Queryable) -> list[str]:
    """The users for whose devices messages wait."""
    return [row["user_id"] for row in await db.fetch(SELECT_WAITING_USERS)]


async def get_to_device(
    db: Queryable, user_ids: Collection[str], upto: int, limit: int
) -> list[ToDeviceMessage]:
    """Messages that wait for users' devices, the oldest first."""
    rows = await db.fetch(SELECT_TO_DEVICE, list(user_ids), upto, limit)
    return [ToDeviceMessage(**row) for row in rows]


async def get_to_device_again(db: Queryable, sent: Sequence[Sent]) -> list[ToDeviceMessage]:
    """Messages of a transaction, those that are still there."""
    if not sent:
        return []
    columns = map(list, zip(*sent, strict=True))
    return [ToDeviceMessage(**row) for row in await db.fetch(SELECT_TO_DEVICE_AGAIN, *columns)]


async def get_device_changes(
    db: Queryable, since: int, upto: int, limit: int
) -> list[tuple[int, str]]:
    """Positions of changes of users' device lists at ``since < position <= upto``."""
    rows = await db.fetch(SELECT_DEVICE_CHANGES, since, upto, limit)
    return [(row["position"], row["user_id"]) for row in rows]


async def get_stripped_states(
    db: Queryable, user_ids: Iterable[str], event_ids: Iterable[str]
) -> dict[str, Any]:
    """Invite event -> what the invited user may see of the room."""
    rows = await db.fetch(SELECT_STRIPPED, list(user_ids), list(event_ids))
    return {row["event_id"]: row["stripped_state"] for row in rows}


async def set_listed(
    db: Queryable, appservice_id: str, network_id: str, room_id: str, *, listed: bool
) -> None:
    """List a room in a network's directory, or take it out."""
    statement = INSERT_LISTED if listed else DELETE_LISTED
    await db.execute(statement, appservice_id, network_id, room_id)
