"""Names by which people are found, and by which lists of people are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
from msgspec import Struct

from homeserver.protocol.people_words import words_of
from homeserver.storage.database import Queryable

MOST_LOOKED_AT = 5_000

UPSERT_PEOPLE = """
INSERT INTO people_directory (user_id, local, name, avatar_url, words)
SELECT user_id, local, name, avatar_url, array_to_tsvector(string_to_array(words, ' '))
FROM unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[])
    AS new (user_id, local, name, avatar_url, words)
ON CONFLICT (user_id) DO UPDATE SET
    name = EXCLUDED.name, avatar_url = EXCLUDED.avatar_url, words = EXCLUDED.words
WHERE (people_directory.name, people_directory.avatar_url)
    IS DISTINCT FROM (EXCLUDED.name, EXCLUDED.avatar_url)
"""
SELECT_PEOPLE = """
SELECT user_id, local, name, avatar_url FROM people_directory WHERE user_id = ANY($1::text[])
"""
# Of other instances' users those in a room with the reader, or in one that is open to all: that is
# listed, that anybody may join, or that anybody may read.
# $1: the words' beginnings, $3: the whole words, which come first.
SEARCH = """
SELECT user_id, local, name, avatar_url FROM (
    (SELECT user_id, local, name, avatar_url, words FROM people_directory
        WHERE local AND words @@ $1::tsquery LIMIT $6)
    UNION ALL
    (SELECT user_id, local, name, avatar_url, words FROM (
        SELECT * FROM people_directory WHERE NOT local AND words @@ $1::tsquery LIMIT $6) theirs
        WHERE EXISTS (
            SELECT 1 FROM memberships t JOIN rooms USING (room_id)
            WHERE t.user_id = theirs.user_id AND t.membership = 'join' AND (
                rooms.published OR EXISTS (SELECT 1 FROM memberships mine
                    WHERE mine.room_id = t.room_id AND mine.user_id = $2
                        AND mine.membership = 'join')
                OR EXISTS (SELECT 1 FROM (VALUES
                    ('m.room.join_rules', '"join_rule": *"public"'),
                    ('m.room.history_visibility', '"history_visibility": *"world_readable"')
                    ) AS open (type, pattern)
                    WHERE (SELECT convert_from(e.pdu, 'UTF8') ~ open.pattern FROM events e
                        WHERE e.room_id = t.room_id AND e.type = open.type AND e.state_key = ''
                            AND e.rejected IS NULL AND NOT e.soft_failed
                        ORDER BY e.depth DESC LIMIT 1)))))
) found
ORDER BY words @@ $3::tsquery DESC, lower(coalesce(name, user_id)), user_id
LIMIT $4 OFFSET $5
"""
SELECT_STATE = "SELECT position, accounts_done FROM people_directory_state"
SET_POSITION = """
INSERT INTO people_directory_state AS s (position) VALUES ($1)
ON CONFLICT (singleton) DO UPDATE SET position = greatest(s.position, EXCLUDED.position)
"""
SET_ACCOUNTS_DONE = """
INSERT INTO people_directory_state (accounts_done) VALUES (true)
ON CONFLICT (singleton) DO UPDATE SET accounts_done = true
"""
SELECT_MOVED = """
SELECT m.position, m.room_id, m.user_id, m.membership, e.pdu
FROM memberships m LEFT JOIN events e USING (event_id)
WHERE NOT m.local AND m.position >= $1 AND (m.position, m.room_id, m.user_id) > ($1, $2, $3)
ORDER BY m.position, m.room_id, m.user_id LIMIT $4
"""
SELECT_MISSING_ACCOUNTS = """
SELECT a.user_id, p.fields ->> 'displayname' AS name, p.fields ->> 'avatar_url' AS avatar_url
FROM accounts a LEFT JOIN profiles p USING (user_id)
WHERE a.user_id > $1 AND a.deactivated_at IS NULL ORDER BY a.user_id LIMIT $2
"""
DELETE_STRANGERS = """
DELETE FROM people_directory d WHERE user_id = ANY($1::text[]) AND NOT local AND NOT EXISTS (
    SELECT 1 FROM memberships m WHERE m.user_id = d.user_id AND m.membership = 'join')
"""


class Listed(Struct, frozen=True):
    """Somebody in the directory."""

    user_id: str
    local: bool
    name: str | None
    avatar_url: str | None


class Moved(Struct, frozen=True):
    """A membership of another instance's user, with what its event says of them."""

    position: int
    room_id: str
    user_id: str
    membership: str
    name: str | None
    avatar_url: str | None


async def put_people(db: Queryable, people: Sequence[Listed]) -> None:
    """Add people to the directory, or change them; each once."""
    await db.execute(
        UPSERT_PEOPLE,
        [person.user_id for person in people],
        [person.local for person in people],
        [person.name for person in people],
        [person.avatar_url for person in people],
        [" ".join(words_of(person.user_id, person.name)) for person in people],
    )


async def get_people(db: Queryable, user_ids: Iterable[str]) -> dict[str, Listed]:
    """Those of some users who are in the directory."""
    rows = await db.fetch(SELECT_PEOPLE, list(user_ids))
    return {row["user_id"]: Listed(**row) for row in rows}


async def search(
    db: Queryable, reader: str, words: Sequence[str], *, limit: int, offset: int
) -> list[Listed]:
    """Whom a reader may find, all of whose words begin so; who has just these words first.

    Of each kind, local or not, at most :data:`MOST_LOOKED_AT` are looked at.
    """
    rows = await db.fetch(
        SEARCH, _query(words, ":*"), reader, _query(words, ""), limit, offset, MOST_LOOKED_AT
    )
    return [Listed(**row) for row in rows]


def _query(words: Sequence[str], suffix: str) -> str:
    quoted = (word.replace("\\", "\\\\").replace("'", "''") for word in words)
    return " & ".join(f"'{word}'{suffix}" for word in quoted)


# ---------------------------------------------------------------- filling it


async def get_state(db: Queryable) -> tuple[int, bool]:
    """How far memberships have been looked at, and whether old accounts are in."""
    row = await db.fetchrow(SELECT_STATE)
    return (row["position"], row["accounts_done"]) if row is not None else (0, False)


async def set_position(db: Queryable, position: int) -> None:
    """Memberships up to there have been looked at."""
    await db.execute(SET_POSITION, position)


async def set_accounts_done(db: Queryable) -> None:
    """Accounts older than the directory are in it."""
    await db.execute(SET_ACCOUNTS_DONE)


async def get_moved(db: Queryable, after: tuple[int, str, str], limit: int) -> list[Moved]:
    """Memberships of other instances' users after ``(position, room, user)``, in order."""
    rows = await db.fetch(SELECT_MOVED, *after, limit)
    moved = []
    for row in rows:
        content = orjson.loads(row["pdu"]).get("content") if row["pdu"] is not None else None
        content = content if isinstance(content, dict) else {}
        name, avatar = content.get("displayname"), content.get("avatar_url")
        moved.append(
            Moved(
                row["position"],
                row["room_id"],
                row["user_id"],
                row["membership"],
                _stored(name),
                _stored(avatar),
            )
        )
    return moved


def _stored(text: object) -> str | None:
    """A text of another instance's as PostgreSQL takes it."""
    if not isinstance(text, str):
        return None
    clean = text.replace("\0", "").encode("utf-8", "replace").decode()
    return clean[:1_000] or None


async def get_accounts(db: Queryable, after: str, limit: int) -> list[Listed]:
    """Active accounts in the order of their IDs, as the directory has them."""
    rows = await db.fetch(SELECT_MISSING_ACCOUNTS, after, limit)
    return [Listed(row["user_id"], True, row["name"], row["avatar_url"]) for row in rows]


async def delete_strangers(db: Queryable, user_ids: Iterable[str]) -> None:
    """Forget those of some users who are in no room any more."""
    await db.execute(DELETE_STRANGERS, list(user_ids))
