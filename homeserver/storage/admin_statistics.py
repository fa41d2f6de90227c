"""Figures about the whole server, each query bounded in time."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from homeserver.storage.database import Database

SET_TIMEOUT = "SET LOCAL statement_timeout = '10s'"
DAY_MS = 86_400_000
SELECT_USERS = """
SELECT count(*) AS accounts, count(*) FILTER (WHERE deactivated_at IS NULL) AS active_accounts,
    count(*) FILTER (WHERE admin) AS admins,
    count(*) FILTER (WHERE guest AND deactivated_at IS NULL) AS guests,
    count(*) FILTER (WHERE deactivated_at IS NOT NULL) AS deactivated,
    count(*) FILTER (WHERE locked_at IS NOT NULL AND deactivated_at IS NULL) AS locked,
    count(*) FILTER (WHERE suspended_at IS NOT NULL AND deactivated_at IS NULL) AS suspended
FROM accounts
"""
SELECT_SEEN = """
SELECT count(DISTINCT user_id) FILTER (WHERE last_seen_at >= $1) AS seen_in_a_day,
    count(DISTINCT user_id) AS seen_in_a_month
FROM devices WHERE last_seen_at >= $2
"""
SELECT_ROOMS = """
SELECT (SELECT count(*) FROM rooms) AS rooms,
    (SELECT count(DISTINCT room_id) FROM memberships WHERE local AND membership = 'join')
        AS rooms_with_local_members,
    (SELECT count(*) FROM rooms WHERE published) AS published_rooms,
    (SELECT count(*) FROM blocked_rooms) AS blocked_rooms
"""
# What the planner knows: counting a table of many millions takes minutes.
SELECT_EVENTS = """
SELECT greatest(reltuples, 0)::bigint AS events_estimate,
    pg_total_relation_size(oid) AS events_bytes,
    pg_database_size(current_database()) AS database_bytes
FROM pg_class WHERE oid = 'events'::regclass
"""
SELECT_MEDIA = """
SELECT count(*) FILTER (WHERE uploader IS NOT NULL) AS local_files,
    coalesce(sum(size_bytes) FILTER (WHERE uploader IS NOT NULL), 0)::bigint AS local_bytes,
    count(*) FILTER (WHERE uploader IS NULL) AS remote_files,
    coalesce(sum(size_bytes) FILTER (WHERE uploader IS NULL), 0)::bigint AS remote_bytes,
    count(*) FILTER (WHERE quarantined_by IS NOT NULL
        OR sha256 IN (SELECT sha256 FROM quarantined_content)) AS quarantined_files
FROM media
"""
SELECT_FEDERATION = """
SELECT count(*) AS destinations, count(*) FILTER (WHERE failing_since IS NOT NULL) AS failing
FROM destinations
"""


class UserStatistics(Struct, frozen=True):
    """Accounts, and how many of their users were here lately."""

    accounts: int
    active_accounts: int
    admins: int
    guests: int
    deactivated: int
    locked: int
    suspended: int
    seen_in_a_day: int
    seen_in_a_month: int


class RoomStatistics(Struct, frozen=True):
    """Rooms known here."""

    rooms: int
    rooms_with_local_members: int
    published_rooms: int
    blocked_rooms: int


class EventStatistics(Struct, frozen=True):
    """Events, about how many, and how much room they and the whole database take."""

    events_estimate: int
    events_bytes: int
    database_bytes: int


class MediaStatistics(Struct, frozen=True):
    """Files: uploaded here, and copies of other servers'."""

    local_files: int
    local_bytes: int
    remote_files: int
    remote_bytes: int
    quarantined_files: int


class FederationStatistics(Struct, frozen=True):
    """Other servers, and how many of them do not answer."""

    destinations: int
    failing: int


class Statistics(Struct, frozen=True):
    """All figures, and when they were taken (ms)."""

    taken_at: int
    users: UserStatistics
    rooms: RoomStatistics
    events: EventStatistics
    media: MediaStatistics
    federation: FederationStatistics


async def get_statistics(database: Database, now_ms: int) -> Statistics:
    """Take all figures.  Raises :class:`asyncpg.QueryCanceledError` if one takes too long."""
    async with database.transaction() as connection:
        await connection.execute(SET_TIMEOUT)

        async def row(query: str, *parameters: Any) -> dict[str, Any]:
            return dict(await connection.fetchrow(query, *parameters) or {})

        users = await row(SELECT_USERS)
        seen = await row(SELECT_SEEN, now_ms - DAY_MS, now_ms - 30 * DAY_MS)
        return Statistics(
            now_ms,
            UserStatistics(**users, **seen),
            RoomStatistics(**await row(SELECT_ROOMS)),
            EventStatistics(**await row(SELECT_EVENTS)),
            MediaStatistics(**await row(SELECT_MEDIA)),
            FederationStatistics(**await row(SELECT_FEDERATION)),
        )
