"""What goes to other instances: who gets which event, how far each has got, EDUs that must arrive.

An event bears the number of a *destination set*; a destination's ``acked_position`` says that every
event addressed to it up to that log position has arrived.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Database, Queryable

SELECT_SET_ID = "SELECT set_id FROM destination_sets WHERE servers_hash = $1"
INSERT_SET = """
INSERT INTO destination_sets (servers, servers_hash) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
SELECT_SET = "SELECT servers FROM destination_sets WHERE set_id = $1"

# One probe of the index per set that the destination is in; the events themselves are read only
# for the positions that are next.
SELECT_PENDING = """
WITH next AS (
    SELECT p.position FROM destination_sets s CROSS JOIN LATERAL (
        SELECT position FROM events WHERE destination_set = s.set_id AND position > $2
        ORDER BY position LIMIT $3
    ) p
    WHERE s.servers @> ARRAY[$1::text] ORDER BY p.position LIMIT $3
)
SELECT e.position, e.event_id, e.pdu, e.redacted_by IS NOT NULL AS redacted, r.room_version
FROM next JOIN events e USING (position) JOIN rooms r USING (room_id) ORDER BY e.position
"""
SELECT_BACKLOGGED = """
WITH sets AS (
    SELECT servers, (SELECT max(position) FROM events WHERE destination_set = set_id) AS position
    FROM destination_sets
), latest AS (
    SELECT server, max(position) AS position FROM sets, unnest(servers) AS server
    WHERE position IS NOT NULL GROUP BY server
)
SELECT server FROM latest LEFT JOIN destinations ON server_name = server
WHERE position > coalesce(acked_position, 0)
UNION SELECT DISTINCT destination FROM outbox_edus
"""

SELECT_ACKED = "SELECT acked_position FROM destinations WHERE server_name = $1"
# What arrives shows that the destination answers.
UPSERT_ACKS = """
INSERT INTO destinations AS d (server_name, acked_position, last_success_at)
SELECT server_name, acked, $3 FROM unnest($1::text[], $2::bigint[]) AS new (server_name, acked)
ON CONFLICT (server_name) DO UPDATE SET
    acked_position = greatest(d.acked_position, EXCLUDED.acked_position),
    last_success_at = EXCLUDED.last_success_at
"""
UPSERT_FAILURE = """
INSERT INTO destinations (server_name, failing_since, retry_at, retry_interval_ms)
VALUES ($1, $2, $3, $4)
ON CONFLICT (server_name) DO UPDATE SET failing_since = EXCLUDED.failing_since,
    retry_at = EXCLUDED.retry_at, retry_interval_ms = EXCLUDED.retry_interval_ms
"""
UPSERT_SUCCESS = """
INSERT INTO destinations (server_name, last_success_at) VALUES ($1, $2)
ON CONFLICT (server_name) DO UPDATE SET last_success_at = EXCLUDED.last_success_at,
    failing_since = NULL, retry_at = NULL, retry_interval_ms = 0
"""
UPSERT_REFUSALS = """
INSERT INTO delivery_refusals (event_id, server_name, reason, refused_at)
SELECT event_id, $1, reason, $4 FROM unnest($2::text[], $3::text[]) AS new (event_id, reason)
ON CONFLICT (event_id, server_name) DO UPDATE SET reason = EXCLUDED.reason,
    refused_at = EXCLUDED.refused_at
"""
# As if all had arrived; what is committed later goes again.
DROP_EVENTS = """
INSERT INTO destinations AS d (server_name, acked_position)
SELECT server_name, (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM log_position)
FROM unnest($1::text[]) AS new (server_name)
ON CONFLICT (server_name) DO UPDATE SET
    acked_position = greatest(d.acked_position, EXCLUDED.acked_position)
"""
DROP_EDUS = "DELETE FROM outbox_edus WHERE destination = ANY($1::text[])"
SELECT_FAILING = """
SELECT server_name, failing_since, coalesce(retry_at, 0) AS retry_at, retry_interval_ms
FROM destinations WHERE failing_since IS NOT NULL
"""
SELECT_LAST_SUCCESS = "SELECT max(last_success_at) FROM destinations"
SELECT_RECENT = """
SELECT server_name FROM destinations WHERE last_success_at >= $1
ORDER BY last_success_at DESC LIMIT $2
"""

# A replaced EDU gets a new number, so that the acknowledgement of the old one does not delete it.
UPSERT_EDUS = """
INSERT INTO outbox_edus (destination, edu_type, coalesce_key, content)
SELECT destination, $2, $3, $4 FROM unnest($1::text[]) AS destination
ON CONFLICT (destination, edu_type, coalesce_key)
    DO UPDATE SET content = EXCLUDED.content, edu_id = DEFAULT
"""
SELECT_EDUS = """
SELECT edu_id, edu_type, content FROM outbox_edus WHERE destination = $1 ORDER BY edu_id LIMIT $2
"""
DELETE_EDUS = "DELETE FROM outbox_edus WHERE edu_id = ANY($1::bigint[])"

SETS_IN_MEMORY = 4096


class PendingPdu(Struct, frozen=True):
    """An event that a destination has not got yet."""

    position: int
    event_id: str
    pdu: bytes
    redacted: bool
    room_version: str


class PendingEdu(Struct, frozen=True):
    """An EDU that must arrive."""

    edu_id: int
    edu_type: str
    content: JsonObject


class FailingDestination(Struct, frozen=True):
    """An instance that does not answer: since when, and when it is tried again.  In ms."""

    server_name: str
    failing_since: int
    retry_at: int
    retry_interval_ms: int


class DestinationSets:
    """Numbers for distinct sets of receiving instances; a set never changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: OrderedDict[frozenset[str], int] = OrderedDict()
        self._servers: OrderedDict[int, tuple[str, ...]] = OrderedDict()

    async def id_for(self, servers: frozenset[str]) -> int:
        """The set's number; made if there is none."""
        known = self._ids.get(servers)
        if known is None:
            names = sorted(servers)
            digest = hashlib.sha256("\n".join(names).encode()).digest()
            known = await self._database.fetchval(SELECT_SET_ID, digest)
            if known is None:
                await self._database.execute(INSERT_SET, names, digest)
                known = await self._database.fetchval(SELECT_SET_ID, digest)
            self._keep(known, servers)
        return known

    async def servers_of(self, set_id: int) -> tuple[str, ...]:
        """The servers of a set; none if there is no such set."""
        known = self._servers.get(set_id)
        if known is None:
            names = await self._database.fetchval(SELECT_SET, set_id)
            known = tuple(names or ())
            self._keep(set_id, frozenset(known))
        return known

    def cached_servers_of(self, set_id: int) -> tuple[str, ...] | None:
        """The servers of a set if they are in memory."""
        return self._servers.get(set_id)

    def _keep(self, set_id: int, servers: frozenset[str]) -> None:
        self._ids[servers] = set_id
        self._servers[set_id] = tuple(sorted(servers))
        if len(self._servers) > SETS_IN_MEMORY:
            _, oldest = self._servers.popitem(last=False)
            self._ids.pop(frozenset(oldest), None)


# ---------------------------------------------------------------- events


async def get_pending(db: Queryable, server_name: str, after: int, limit: int) -> list[PendingPdu]:
    """The next events for a destination, in the log's order."""
    rows = await db.fetch(SELECT_PENDING, server_name, after, limit)
    return [PendingPdu(**row) for row in rows]


async def get_acked_position(db: Queryable, server_name: str) -> int:
    """Up to where a destination has its events; 0 if it never got any."""
    return await db.fetchval(SELECT_ACKED, server_name) or 0


async def save_acks(db: Queryable, positions: Mapping[str, int], now_ms: int) -> None:
    """Note how far destinations have got; never backwards."""
    servers = sorted(positions)
    await db.execute(UPSERT_ACKS, servers, [positions[server] for server in servers], now_ms)


async def save_refusals(
    db: Queryable, server_name: str, reasons: Mapping[str, str], now_ms: int
) -> None:
    """Note which events a destination did not take, and why: event ID -> reason."""
    await db.execute(UPSERT_REFUSALS, server_name, list(reasons), list(reasons.values()), now_ms)


async def get_backlogged(db: Queryable) -> list[str]:
    """The destinations for which something waits."""
    return [row["server"] for row in await db.fetch(SELECT_BACKLOGGED)]


async def drop_waiting(db: Queryable, servers: Sequence[str]) -> None:
    """Forget what waits for these destinations."""
    await db.execute(DROP_EVENTS, servers)
    await db.execute(DROP_EDUS, servers)


# ---------------------------------------------------------------- health


async def save_failure(db: Queryable, failing: FailingDestination) -> None:
    """Note that an instance does not answer."""
    await db.execute(
        UPSERT_FAILURE,
        failing.server_name,
        failing.failing_since,
        failing.retry_at,
        failing.retry_interval_ms,
    )


async def save_success(db: Queryable, server_name: str, now_ms: int) -> None:
    """Note that there was traffic with an instance, and that it does not fail (any more)."""
    await db.execute(UPSERT_SUCCESS, server_name, now_ms)


async def get_failing(db: Queryable) -> list[FailingDestination]:
    """The instances that do not answer."""
    return [FailingDestination(**row) for row in await db.fetch(SELECT_FAILING)]


async def get_last_success(db: Queryable) -> int | None:
    """When there was traffic with any instance last, in ms."""
    last: int | None = await db.fetchval(SELECT_LAST_SUCCESS)
    return last


async def get_recent(db: Queryable, since_ms: int, limit: int) -> list[str]:
    """The instances with which there was traffic since then, the latest first."""
    return [row["server_name"] for row in await db.fetch(SELECT_RECENT, since_ms, limit)]


# ---------------------------------------------------------------- EDUs


async def add_edu(
    db: Queryable,
    destinations: Collection[str],
    edu_type: str,
    content: JsonObject,
    coalesce_key: str | None,
) -> None:
    """Queue an EDU; a later one of the same key replaces it."""
    # sorted, so that two writers take their rows in the same order
    await db.execute(UPSERT_EDUS, sorted(set(destinations)), edu_type, coalesce_key, content)


async def get_edus(db: Queryable, server_name: str, limit: int) -> list[PendingEdu]:
    """The EDUs that have waited longest for a destination."""
    return [PendingEdu(**row) for row in await db.fetch(SELECT_EDUS, server_name, limit)]


async def delete_edus(db: Queryable, edu_ids: Sequence[int]) -> None:
    """Drop EDUs that have arrived."""
    await db.execute(DELETE_EDUS, edu_ids)
