"""Consent: who may contact whom.  The history is never overwritten; the latest row counts."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.protocol.identifiers import server_name_of
from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

CLEARED = "cleared"

INSERT_CONSENT = """
INSERT INTO consent (position, owner, peer, scope, state, how, created_at, expires_at, actor,
    unannounced)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::bigint[], $8::bigint[], $9::text[], $10::boolean[])
"""
UPSERT_CURRENT = """
INSERT INTO consent_current (owner, scope, peer, state, expires_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (owner, scope, peer)
DO UPDATE SET state = EXCLUDED.state, expires_at = EXCLUDED.expires_at
"""
DELETE_CURRENT = """
DELETE FROM consent_current c USING unnest($1::text[], $2::text[], $3::text[])
    AS gone (owner, scope, peer)
WHERE c.owner = gone.owner AND c.scope = gone.scope AND c.peer = gone.peer
"""
SELECT_CURRENT = "SELECT scope, peer, state, expires_at FROM consent_current WHERE owner = $1"
SELECT_CURRENT_OF = """
SELECT owner, scope, peer, state, expires_at FROM consent_current WHERE owner = ANY($1::text[])
"""
# The latest row of each kind, with when and how it came to be.
SELECT_ROWS = """
SELECT c.peer, c.scope, c.state, c.expires_at, h.created_at, h.how FROM consent_current c
CROSS JOIN LATERAL (SELECT created_at, how FROM consent
    WHERE owner = c.owner AND scope = c.scope AND peer = c.peer
    ORDER BY position DESC LIMIT 1) h
WHERE c.owner = $1 ORDER BY h.created_at DESC LIMIT $2
"""
# $2, $3 null: of all scopes, for all peers.
SELECT_ROW_PAGE = """
SELECT c.peer, c.scope, c.state, c.expires_at, h.created_at, h.how FROM (
    SELECT * FROM consent_current
    WHERE owner = $1 AND scope = coalesce($2, scope) AND peer = coalesce($3, peer)
        AND (peer COLLATE "C", scope COLLATE "C") > ($4, $5) AND NOT peer LIKE 'tier:%'
        AND coalesce(expires_at > $6::bigint, true)
    ORDER BY peer COLLATE "C", scope COLLATE "C" LIMIT $7) c
CROSS JOIN LATERAL (SELECT created_at, how FROM consent
    WHERE owner = c.owner AND scope = c.scope AND peer = c.peer
    ORDER BY position DESC LIMIT 1) h
ORDER BY c.peer COLLATE "C", c.scope COLLATE "C"
"""
# Rows of one kind for single users, in the order of their IDs.
SELECT_PERSONS = """
SELECT c.peer, c.scope, c.state, c.expires_at, h.created_at, h.how FROM (
    SELECT * FROM consent_current
    WHERE owner = $1 AND scope = $2 AND state = ANY($3::text[]) AND peer COLLATE "C" > $4
        AND peer LIKE '@%' AND coalesce(expires_at > $6::bigint, true)
    ORDER BY peer COLLATE "C" LIMIT $5) c
CROSS JOIN LATERAL (SELECT created_at, how FROM consent
    WHERE owner = c.owner AND scope = c.scope AND peer = c.peer
    ORDER BY position DESC LIMIT 1) h
ORDER BY c.peer COLLATE "C"
"""
SELECT_SINCE = """
SELECT created_at FROM consent WHERE owner = $1 AND peer = $2 AND scope = $3
ORDER BY position DESC LIMIT 1
"""
SELECT_HISTORY = """
SELECT position, peer, scope, state, how, actor, created_at, expires_at FROM consent
WHERE owner = $1 AND position < $3 ORDER BY position DESC LIMIT $2
"""
SELECT_RESTRICTING = """
SELECT DISTINCT scope, owner FROM consent_current
WHERE scope IN ('presence', 'typing', 'receipts')
"""
# Who has blocked a person or an instance altogether ("message", "federation"): they hide, too.
SELECT_BLOCKING = """
SELECT DISTINCT owner FROM consent_current
WHERE scope IN ('message', 'federation') AND state IN ('denied', 'revoked')
"""
SELECT_IS_CONTACT_OF_CONTACT = """
SELECT EXISTS (
    SELECT 1 FROM consent_current theirs JOIN consent_current mine ON mine.peer = theirs.owner
    WHERE theirs.peer = $2 AND theirs.scope = 'message' AND theirs.state = 'granted'
        AND theirs.peer LIKE '@%'
        AND mine.owner = $1 AND mine.scope = 'message' AND mine.state = 'granted')
"""
SELECT_CONTACTS_OF_CONTACTS = """
SELECT DISTINCT theirs.peer
FROM consent_current theirs JOIN consent_current mine ON mine.peer = theirs.owner
WHERE theirs.peer = ANY($2::text[]) AND theirs.scope = 'message' AND theirs.state = 'granted'
    AND theirs.peer LIKE '@%'
    AND mine.owner = $1 AND mine.scope = 'message' AND mine.state = 'granted'
"""
SELECT_KNOWN_SERVERS = """
SELECT server_name FROM unnest($2::text[]) AS wanted (server_name)
WHERE EXISTS (
    SELECT 1 FROM memberships mine JOIN memberships theirs USING (room_id)
    WHERE mine.user_id = $1 AND mine.membership = 'join' AND theirs.membership = 'join'
        AND NOT theirs.local AND theirs.user_id LIKE '%:' || wanted.server_name)
"""
SELECT_KNOWS_SERVER = """
SELECT EXISTS (
    SELECT 1 FROM memberships mine JOIN memberships theirs USING (room_id)
    WHERE mine.user_id = $1 AND mine.membership = 'join' AND theirs.membership = 'join'
        AND NOT theirs.local AND theirs.user_id LIKE '%:' || $2)
"""
SELECT_MEDIA_SENDERS = """
SELECT DISTINCT sender FROM media_references WHERE origin = $1 AND media_id = $2 LIMIT 50
"""
SELECT_UNANNOUNCED = """
SELECT owner, peer, scope, state, how, created_at, expires_at, actor FROM consent
WHERE unannounced ORDER BY position
"""
UPDATE_ANNOUNCED = """
UPDATE consent SET unannounced = false
WHERE owner = $1 AND scope = $2 AND peer = $3 AND created_at <= $4 AND unannounced
"""
SELECT_WAS_GRANTED = """
SELECT EXISTS (SELECT 1 FROM consent
    WHERE owner = $1 AND scope = $2 AND peer = $3 AND state = 'granted')
"""

FOREVER = 2**62


class ConsentRecord(Record):
    """One change of consent, on its way into the log.  The state ``cleared`` takes a row back."""

    owner: str
    peer: str
    scope: str
    state: str
    how: str
    created_at: int
    expires_at: int | None = None
    actor: str | None = None  # who made the change, if not the owner

    def touched_users(self) -> Sequence[str]:
        """Its owner: what they see may change."""
        return (self.owner,)

    def is_for_peer(self, server_name: str) -> bool:
        """Whether it is about a user of another instance, who may have to be told."""
        return (
            self.peer.startswith("@")
            and self.state != "asked"
            and server_name_of(self.peer) != server_name
        )

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, ConsentRecord]]
    ) -> None:
        """Add rows to the history, and move the present state."""
        rows = [
            (
                position,
                record.owner,
                record.peer,
                record.scope,
                record.state,
                record.how,
                record.created_at,
                record.expires_at,
                record.actor,
                record.is_for_peer(server_name_of(record.owner)),
            )
            for position, record in batch
        ]
        await connection.execute(INSERT_CONSENT, *map(list, zip(*rows, strict=True)))
        latest = {(r.owner, r.scope, r.peer): (r.state, r.expires_at) for _, r in batch}
        kept = [(*key, *value) for key, value in latest.items() if value[0] != CLEARED]
        gone = [key for key, value in latest.items() if value[0] == CLEARED]
        if kept:
            await connection.execute(UPSERT_CURRENT, *map(list, zip(*kept, strict=True)))
        if gone:
            await connection.execute(DELETE_CURRENT, *map(list, zip(*gone, strict=True)))


class ConsentChange(Struct, frozen=True):
    """One row of a user's history of consent."""

    position: int
    peer: str
    scope: str
    state: str
    how: str
    actor: str | None
    created_at: int
    expires_at: int | None


class ConsentRow(Struct, frozen=True):
    """What holds now between a user and a peer, and how it came to be."""

    peer: str
    scope: str
    state: str
    expires_at: int | None
    created_at: int
    how: str


async def get_consent(db: Queryable, owner: str) -> dict[tuple[str, str], tuple[str, int | None]]:
    """``(scope, peer)`` -> (state, expiry in ms), as it stands now."""
    rows = await db.fetch(SELECT_CURRENT, owner)
    return {(row["scope"], row["peer"]): (row["state"], row["expires_at"]) for row in rows}


async def get_consent_of(
    db: Queryable, owners: Sequence[str]
) -> dict[str, dict[tuple[str, str], tuple[str, int | None]]]:
    """What :func:`get_consent` gives, for each of some owners."""
    found: dict[str, dict[tuple[str, str], tuple[str, int | None]]] = {o: {} for o in owners}
    for row in await db.fetch(SELECT_CURRENT_OF, list(owners)):
        found[row["owner"]][row["scope"], row["peer"]] = (row["state"], row["expires_at"])
    return found


async def get_rows(db: Queryable, owner: str, limit: int = 1000) -> list[ConsentRow]:
    """What holds now, the latest change first."""
    return [ConsentRow(**row) for row in await db.fetch(SELECT_ROWS, owner, limit)]


async def get_persons(
    db: Queryable,
    owner: str,
    scope: str,
    states: Sequence[str],
    after: str,
    limit: int,
    *,
    now: int,
) -> list[ConsentRow]:
    """What holds now for single users after one, in the order of their IDs."""
    rows = await db.fetch(SELECT_PERSONS, owner, scope, list(states), after, limit, now)
    return [ConsentRow(**row) for row in rows]


async def get_row_page(
    db: Queryable,
    owner: str,
    *,
    scope: str | None,
    peer: str | None,
    after: tuple[str, str],
    limit: int,
    now: int,
) -> list[ConsentRow]:
    """What holds now for people, instances and everyone after ``(peer, scope)``, in that order."""
    rows = await db.fetch(SELECT_ROW_PAGE, owner, scope, peer, *after, now, limit)
    return [ConsentRow(**row) for row in rows]


async def get_since(db: Queryable, owner: str, peer: str, scope: str) -> int | None:
    """When the latest row for a peer was written (ms)."""
    at: int | None = await db.fetchval(SELECT_SINCE, owner, peer, scope)
    return at


async def get_history(
    db: Queryable, owner: str, limit: int = 1000, *, before: int = FOREVER
) -> list[ConsentChange]:
    """A user's changes of consent below a position, the newest first."""
    return [ConsentChange(**row) for row in await db.fetch(SELECT_HISTORY, owner, limit, before)]


async def get_restricting(db: Queryable) -> list[tuple[str, str]]:
    """``(scope, owner)`` of who has rows for what most people leave open."""
    return [(row["scope"], row["owner"]) for row in await db.fetch(SELECT_RESTRICTING)]


async def get_blocking(db: Queryable) -> set[str]:
    """The users who block somebody."""
    return {row["owner"] for row in await db.fetch(SELECT_BLOCKING)}


async def is_contact_of_contact(db: Queryable, owner: str, peer: str) -> bool:
    """Whether a contact of the owner's, a local user, has the peer as a contact."""
    return bool(await db.fetchval(SELECT_IS_CONTACT_OF_CONTACT, owner, peer))


async def knows_server(db: Queryable, owner: str, server_name: str) -> bool:
    """Whether the owner shares a room with anybody of an instance."""
    return bool(await db.fetchval(SELECT_KNOWS_SERVER, owner, server_name))


async def contacts_of_contacts(db: Queryable, owner: str, peers: Sequence[str]) -> set[str]:
    """Those of some peers whom a contact of the owner's, a local user, has as a contact."""
    rows = await db.fetch(SELECT_CONTACTS_OF_CONTACTS, owner, list(peers))
    return {row["peer"] for row in rows}


async def known_servers(db: Queryable, owner: str, server_names: Sequence[str]) -> set[str]:
    """Those of some instances of which anybody shares a room with the owner."""
    rows = await db.fetch(SELECT_KNOWN_SERVERS, owner, list(server_names))
    return {row["server_name"] for row in rows}


async def get_media_senders(db: Queryable, origin: str, media_id: str) -> list[str]:
    """Who sent messages that refer to a file, as far as we can read them."""
    return [row["sender"] for row in await db.fetch(SELECT_MEDIA_SENDERS, origin, media_id)]


async def get_unannounced(db: Queryable) -> list[ConsentRecord]:
    """Changes of which the peers' instances have not been told yet, the oldest first."""
    return [ConsentRecord(**row) for row in await db.fetch(SELECT_UNANNOUNCED)]


async def set_announced(db: Queryable, record: ConsentRecord) -> None:
    """The peer's instance was told, or need not be."""
    await db.execute(UPDATE_ANNOUNCED, record.owner, record.scope, record.peer, record.created_at)


async def was_granted(db: Queryable, owner: str, peer: str, scope: str) -> bool:
    """Whether a peer ever had consent."""
    return bool(await db.fetchval(SELECT_WAS_GRANTED, owner, scope, peer))
