"""Account data: what clients keep here for themselves.  Written through the log."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

GLOBAL = ""  # the `room_id` of what belongs to no room
PUSH_RULES = "m.push_rules"  # stored as the user's deviations from the default rules

UPSERT_ACCOUNT_DATA = """
INSERT INTO account_data (user_id, room_id, type, content, position)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::json[], $5::bigint[])
ON CONFLICT (user_id, room_id, type) DO UPDATE SET content = EXCLUDED.content,
    position = EXCLUDED.position
"""
SELECT_CONTENT = """
SELECT content FROM account_data WHERE user_id = $1 AND room_id = $2 AND type = $3
"""
SELECT_CHANGES = """
SELECT room_id, type, content, position FROM account_data
WHERE user_id = $1 AND position > $2 AND position <= $3 ORDER BY position
"""
SELECT_DRAFTS = """
SELECT room_id, type, content, position FROM account_data
WHERE user_id = $1 AND type = 'dev.comity.draft' AND position < $2 AND content::text <> '{}'
ORDER BY position DESC LIMIT $3
"""
SELECT_ALL_PUSH_RULES = """
SELECT user_id, content FROM account_data WHERE type = 'm.push_rules' AND room_id = ''
"""


class AccountDataRecord(Record, eq=False):
    """One type of a user's account data, set anew; ``room_id`` is empty for the account's own."""

    user_id: str
    room_id: str
    type: str
    content: JsonObject

    def touched_users(self) -> Sequence[str]:
        """The user alone."""
        return (self.user_id,)

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, AccountDataRecord]]
    ) -> None:
        """Write the latest of each type."""
        latest = {(r.user_id, r.room_id, r.type): (r.content, p) for p, r in batch}
        await connection.execute(
            UPSERT_ACCOUNT_DATA,
            [key[0] for key in latest],
            [key[1] for key in latest],
            [key[2] for key in latest],
            [value[0] for value in latest.values()],
            [value[1] for value in latest.values()],
        )


class AccountDataRow(Struct, frozen=True):
    """One type of account data, as it stands."""

    room_id: str
    type: str
    content: JsonObject
    position: int


async def get_account_data(
    db: Queryable, user_id: str, room_id: str, type_: str
) -> JsonObject | None:
    """The content of one type, if it was ever set."""
    content: JsonObject | None = await db.fetchval(SELECT_CONTENT, user_id, room_id, type_)
    return content


async def get_changes(db: Queryable, user_id: str, since: int, upto: int) -> list[AccountDataRow]:
    """What was set at ``since < position <= upto``; all there is, for ``since`` 0."""
    rows = await db.fetch(SELECT_CHANGES, user_id, since, upto)
    return [AccountDataRow(**row) for row in rows]


async def get_drafts(
    db: Queryable, user_id: str, before: int | None, limit: int
) -> list[AccountDataRow]:
    """A user's drafts that are not empty, the last changed first, from before a position."""
    rows = await db.fetch(SELECT_DRAFTS, user_id, before or 2**62, limit)
    return [AccountDataRow(**row) for row in rows]


async def get_all_push_rules(db: Queryable) -> list[tuple[str, JsonObject]]:
    """Every user whose push rules are stored, with what is stored."""
    rows = await db.fetch(SELECT_ALL_PUSH_RULES)
    return [(row["user_id"], row["content"]) for row in rows]
