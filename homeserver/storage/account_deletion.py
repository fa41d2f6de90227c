"""Deletes what belongs to an account that has ended; what is said of it elsewhere stays.

``docs/accounts.md`` says what is kept, and why.
"""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Database, Queryable

# Each with the user's ID as $1, and safe to repeat.  Devices and tokens go before, by themselves.
DELETE_BELONGINGS = (
    "DELETE FROM account_data WHERE user_id = $1",
    "DELETE FROM filters WHERE user_id = $1",
    "DELETE FROM profiles WHERE user_id = $1",
    "DELETE FROM people_directory WHERE user_id = $1",
    "DELETE FROM presence WHERE user_id = $1",
    "DELETE FROM consent WHERE owner = $1",
    "DELETE FROM consent_current WHERE owner = $1",
    "DELETE FROM message_requests WHERE owner = $1",
    "DELETE FROM peer_consent WHERE user_id = $1",
    "DELETE FROM third_party_ids WHERE user_id = $1",
    "DELETE FROM third_party_bindings WHERE user_id = $1",
    "DELETE FROM terms_accepted WHERE user_id = $1",
    "DELETE FROM invitation_uses WHERE user_id = $1",
    "DELETE FROM invitations WHERE inviter = $1",
    "DELETE FROM hidden_events WHERE user_id = $1",
    "DELETE FROM server_notice_rooms WHERE user_id = $1",
    "DELETE FROM message_views WHERE user_id = $1",
    "DELETE FROM cross_signing_keys WHERE user_id = $1",
    "DELETE FROM device_keys WHERE user_id = $1",
    "DELETE FROM one_time_keys WHERE user_id = $1",
    "DELETE FROM fallback_keys WHERE user_id = $1",
    "DELETE FROM claimed_keys WHERE user_id = $1",
    "DELETE FROM key_signatures WHERE signer = $1 OR target_user_id = $1",
    "DELETE FROM to_device_messages WHERE user_id = $1",
    "DELETE FROM key_backups WHERE user_id = $1",
    "DELETE FROM key_backup_owners WHERE user_id = $1",
    "DELETE FROM client_transactions WHERE user_id = $1",
    "DELETE FROM uia_sessions WHERE user_id = $1",
    "DELETE FROM login_tokens WHERE user_id = $1",
    "DELETE FROM media_pending WHERE uploader = $1",
    "DELETE FROM media_usage WHERE user_id = $1",
    "DELETE FROM media_limits WHERE user_id = $1",
    "DELETE FROM api_tokens WHERE user_id = $1",
    "DELETE FROM webhooks WHERE user_id = $1",
    "DELETE FROM webhook_deliveries WHERE user_id = $1",
    "DELETE FROM incoming_webhooks WHERE user_id = $1",
    "DELETE FROM application_users WHERE user_id = $1",
    "DELETE FROM idempotency_keys WHERE owner = $1",
    """
DELETE FROM receipts r USING memberships m
WHERE m.user_id = $1 AND r.room_id = m.room_id AND r.user_id = $1
""",
    """
DELETE FROM notifications n USING memberships m
WHERE m.user_id = $1 AND n.room_id = m.room_id AND n.audience IN ($1, 'sent:' || $1)
""",
    # What they reported and nobody has looked at is still to be looked at; not who reported it.
    "DELETE FROM moderation_queue WHERE reporter = $1 AND state <> 'open'",
    """
DELETE FROM moderation_queue q WHERE reporter = $1 AND EXISTS (
    SELECT 1 FROM moderation_queue other WHERE other.state = 'open' AND other.kind = q.kind
        AND other.subject = q.subject AND other.reporter IS NULL)
""",
    "UPDATE moderation_queue SET reporter = NULL WHERE reporter = $1",
)
ERASE_BELONGINGS = (
    "UPDATE room_aliases SET creator = '' WHERE creator = $1",
    "UPDATE policy_verdicts SET sender = NULL WHERE sender = $1",
)
SELECT_ACCOUNT_DATA = "SELECT room_id, type FROM account_data WHERE user_id = $1"
IS_ERASED = "SELECT erased FROM accounts WHERE user_id = $1"
SET_DELETED = "UPDATE accounts SET deletion_since = NULL WHERE user_id = $1"
# Accounts that were erased before positions were noted: as of now.
SET_MISSING_POSITIONS = """
UPDATE accounts SET erased_position =
    (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM log_position)
WHERE erased AND erased_position IS NULL
"""
SELECT_ERASED = "SELECT user_id, erased_position FROM accounts WHERE erased"
# Rooms in which nobody else ever was.
SELECT_OWN_ROOMS = """
SELECT m.room_id FROM memberships m WHERE m.user_id = $1 AND NOT EXISTS (
    SELECT 1 FROM memberships other WHERE other.room_id = m.room_id AND other.user_id <> $1
        AND other.membership IN ('join', 'leave', 'ban'))
ORDER BY m.room_id
"""
SELECT_OWN_EVENTS = """
SELECT event_id, timeline_order FROM events
WHERE room_id = $1 AND timeline_order > $2 AND sender = $3 AND erased IS NULL
ORDER BY timeline_order LIMIT $4
"""
SELECT_UPLOADS = """
SELECT origin, media_id FROM media WHERE uploader = $1 AND media_id > $2 ORDER BY media_id LIMIT $3
"""
DELETE_OWN_REFERENCES = """
DELETE FROM media_references r USING unnest($1::text[], $2::text[]) AS given (origin, media_id)
WHERE r.origin = given.origin AND r.media_id = given.media_id AND r.sender = $3
"""
# PostgreSQL cannot read JSON with a NUL in it, and anybody may write one.
SELECT_FIRST_JOIN = """
SELECT min(position) FROM events WHERE room_id = $1 AND type = 'm.room.member'
    AND right(state_key, length($2) + 1) = ':' || $2 AND rejected IS NULL
    AND strpos(convert_from(pdu, 'UTF8'), '"membership":"join"') > 0
"""
BEFORE_ALL_ORDERS = -(2**62)


class OwnEvent(Struct, frozen=True):
    """An event of the user's, and its place in its room."""

    event_id: str
    timeline_order: int


async def delete_belongings(database: Database, user_id: str, *, erase: bool) -> None:
    """Delete all rows that are the user's alone; may be repeated."""
    for statement in (*DELETE_BELONGINGS, *(ERASE_BELONGINGS if erase else ())):
        await database.execute(statement, user_id)


async def get_account_data_types(db: Queryable, user_id: str) -> list[tuple[str, str]]:
    """``(room ID or '', type)`` of all that is in a user's account data."""
    rows = await db.fetch(SELECT_ACCOUNT_DATA, user_id)
    return [(row["room_id"], row["type"]) for row in rows]


async def is_erased(db: Queryable, user_id: str) -> bool:
    """Whether the account's content is to be erased as well."""
    return bool(await db.fetchval(IS_ERASED, user_id))


async def set_deleted(db: Queryable, user_id: str) -> None:
    """Nothing is left to delete."""
    await db.execute(SET_DELETED, user_id)


async def get_erased(db: Queryable) -> dict[str, int]:
    """Erased users, and the log's position when each was."""
    await db.execute(SET_MISSING_POSITIONS)
    return {row["user_id"]: row["erased_position"] for row in await db.fetch(SELECT_ERASED)}


async def get_own_rooms(db: Queryable, user_id: str) -> list[str]:
    """The rooms in which a user was and nobody else ever."""
    return [row["room_id"] for row in await db.fetch(SELECT_OWN_ROOMS, user_id)]


async def get_own_events(
    db: Queryable, room_id: str, user_id: str, *, after: int = BEFORE_ALL_ORDERS, limit: int
) -> list[OwnEvent]:
    """A user's events in a room that still say something, the oldest first."""
    rows = await db.fetch(SELECT_OWN_EVENTS, room_id, after, user_id, limit)
    return [OwnEvent(**row) for row in rows]


async def get_uploads(
    db: Queryable, user_id: str, *, after: str, limit: int
) -> list[tuple[str, str]]:
    """``(origin, media ID)`` of what a user has uploaded, in order, those behind ``after``."""
    rows = await db.fetch(SELECT_UPLOADS, user_id, after, limit)
    return [(row["origin"], row["media_id"]) for row in rows]


async def delete_own_references(db: Queryable, media: list[tuple[str, str]], user_id: str) -> None:
    """A user's own messages do not keep their media any longer."""
    await db.execute(
        DELETE_OWN_REFERENCES,
        [origin for origin, _ in media],
        [media_id for _, media_id in media],
        user_id,
    )


async def get_first_join(db: Queryable, room_id: str, server: str) -> int | None:
    """The log's position at which the first user of an instance came to a room."""
    found: int | None = await db.fetchval(SELECT_FIRST_JOIN, room_id, server)
    return found
