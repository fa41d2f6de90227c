"""Messages as applications read them: pages of them, and what is said of each, counted.

Every statement serves a whole page.  Ranges say where in its timeline each room may be read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from homeserver.protocol.answers import POLL_ENDS, POLL_RESPONSES, RSVP
from homeserver.storage.database import Queryable
from homeserver.storage.events import StoredEvent, select_columns, stored_event
from homeserver.storage.relations import COUNTS, not_of

MOST_KEYS = 50  # different reactions that are told of one message
MOST_ENDS = 20  # ends of a poll that are looked at
LAST_TS = 2**63 - 1
MOST_SCANNED = 5_000  # events that are looked at for one page: most may be reactions and such
BEFORE_ALL = -(2**63)

_STANDS = """NOT (e.type = ANY($5::text[])) AND (e.state_key IS NULL OR e.type = ANY($6::text[]))
    AND (e.relation_type IS NULL OR e.relation_type NOT IN ('m.replace', 'm.annotation'))
    AND (e.erased IS NULL OR e.relation_key IS NULL)"""
_STRETCH = """room_id = $1 AND timeline_order IS NOT NULL
    AND timeline_order > $2 AND timeline_order <= $3"""
SELECT_BACKWARDS = f"""
SELECT {select_columns("e")} FROM (
    SELECT * FROM events WHERE {_STRETCH} ORDER BY timeline_order DESC LIMIT $7
) e JOIN rooms r USING (room_id) WHERE {_STANDS} ORDER BY e.timeline_order DESC LIMIT $4
"""
SELECT_FORWARDS = f"""
SELECT {select_columns("e")} FROM (
    SELECT * FROM events WHERE {_STRETCH} ORDER BY timeline_order LIMIT $7
) e JOIN rooms r USING (room_id) WHERE {_STANDS} ORDER BY e.timeline_order LIMIT $4
"""
SELECT_LAST_SCANNED = f"""
SELECT timeline_order FROM events WHERE {_STRETCH} ORDER BY timeline_order DESC OFFSET $4 LIMIT 1
"""
SELECT_LAST_SCANNED_FORWARDS = f"""
SELECT timeline_order FROM events WHERE {_STRETCH} ORDER BY timeline_order OFFSET $4 LIMIT 1
"""
# The newest of several rooms, each up to a place of its own.
SELECT_NEWEST = f"""
SELECT newest.* FROM unnest($1::text[], $2::bigint[]) AS wanted (room_id, upto)
CROSS JOIN LATERAL (
    SELECT {select_columns("e")} FROM (
        SELECT * FROM events WHERE room_id = wanted.room_id AND timeline_order IS NOT NULL
            AND timeline_order > $3 AND timeline_order <= wanted.upto
        ORDER BY timeline_order DESC LIMIT $7
    ) e JOIN rooms r USING (room_id) WHERE {_STANDS} ORDER BY e.timeline_order DESC LIMIT $4
) newest
"""
SELECT_THREAD = f"""
SELECT {select_columns("c")} FROM events c JOIN rooms r USING (room_id)
WHERE c.relates_to = $2 AND c.relation_type = 'm.thread' AND c.room_id = $1
    AND c.timeline_order > $3 AND c.timeline_order <= $4
"""
SELECT_THREAD_BACKWARDS = f"{SELECT_THREAD} ORDER BY c.timeline_order DESC LIMIT $5"
SELECT_THREAD_FORWARDS = f"{SELECT_THREAD} ORDER BY c.timeline_order LIMIT $5"
# Parameters 2 to 5 of what counts: who is left out, and the ranges by room.
_SEEN = f"""{COUNTS} AND {not_of("c", 2)} AND EXISTS (
    SELECT 1 FROM unnest($3::text[], $4::bigint[], $5::bigint[]) AS seen (room_id, after, upto)
    WHERE seen.room_id = c.room_id AND c.timeline_order > seen.after
        AND c.timeline_order <= seen.upto)"""
SELECT_REACTIONS = f"""
SELECT event_id, key, count, mine FROM (
    SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY first) AS place FROM (
        SELECT c.relates_to AS event_id, c.relation_key AS key, count(DISTINCT c.sender) AS count,
            bool_or(c.sender = $6) AS mine, min(c.timeline_order) AS first
        FROM events c WHERE c.relates_to = ANY($1::text[]) AND c.relation_type = 'm.annotation'
            AND c.type = 'm.reaction' AND c.relation_key IS NOT NULL AND {_SEEN}
        GROUP BY c.relates_to, c.relation_key
    ) counted
) placed WHERE place <= $7 ORDER BY event_id, place
"""
SELECT_THREADS = f"""
SELECT thread.root, thread.replies, last.event_id, last.origin_server_ts FROM (
    SELECT c.relates_to AS root, count(*) AS replies, min(c.room_id) AS room_id,
        max(c.timeline_order) AS last
    FROM events c WHERE c.relates_to = ANY($1::text[]) AND c.relation_type = 'm.thread' AND {_SEEN}
    GROUP BY c.relates_to
) thread
JOIN events last ON last.room_id = thread.room_id AND last.timeline_order = thread.last
"""
# Of each person the last word by their clock, as all instances see it.
_LATEST = f"""
SELECT DISTINCT ON (c.relates_to, c.sender) c.relates_to AS event_id, c.sender,
    c.relation_key AS key, c.origin_server_ts
FROM unnest($1::text[], $6::bigint[]) AS asked (event_id, closed_at)
JOIN events c ON c.relates_to = asked.event_id AND c.relation_type = 'm.reference'
    AND c.type = ANY($7::text[]) AND c.origin_server_ts <= asked.closed_at
WHERE c.relation_key IS NOT NULL AND {_SEEN}
ORDER BY c.relates_to, c.sender, c.origin_server_ts DESC, c.event_id DESC
"""
SELECT_ANSWERS = f"""
SELECT event_id, key, count(*) AS count, bool_or(sender = $8) AS mine FROM ({_LATEST}) latest
GROUP BY event_id, key
"""
SELECT_ANSWERERS = f"""
SELECT sender, key, origin_server_ts FROM ({_LATEST}) latest
WHERE sender > $8 ORDER BY sender LIMIT $9
"""
SELECT_POLL_ENDS = f"""
SELECT asked.event_id, found.sender, found.origin_server_ts
FROM unnest($1::text[]) AS asked (event_id) CROSS JOIN LATERAL (
    SELECT c.sender, c.origin_server_ts FROM events c
    WHERE c.relates_to = asked.event_id AND c.relation_type = 'm.reference'
        AND c.type = ANY($2::text[]) AND {COUNTS}
    ORDER BY c.timeline_order LIMIT $3
) found
"""
SELECT_REACTORS = f"""
SELECT c.sender, c.relation_key AS key, c.origin_server_ts, c.timeline_order FROM events c
WHERE c.relates_to = ANY($1::text[]) AND c.relation_type = 'm.annotation'
    AND c.type = 'm.reaction' AND c.relation_key IS NOT NULL AND {_SEEN}
    AND ($6::text IS NULL OR c.relation_key = $6) AND c.timeline_order > $7
ORDER BY c.timeline_order LIMIT $8
"""
SELECT_OWN_REACTIONS = f"""
SELECT c.event_id FROM events c WHERE c.relates_to = $1 AND c.relation_type = 'm.annotation'
    AND c.type = 'm.reaction' AND c.sender = $2 AND c.relation_key = $3 AND {COUNTS} LIMIT 20
"""
SELECT_EDITS = f"""
SELECT c.event_id FROM events c WHERE c.relates_to = $1 AND c.relation_type = 'm.replace'
    AND c.sender = $2 AND {COUNTS}
    AND (c.origin_server_ts, c.event_id) > ($3::bigint, $4::text)
ORDER BY c.origin_server_ts, c.event_id LIMIT $5
"""
SELECT_MEMBERS_BEFORE = """
SELECT asked.event_id, previous.event_id AS previous
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
    AS asked (event_id, room_id, user_id, place)
CROSS JOIN LATERAL (
    SELECT p.event_id FROM events p WHERE p.room_id = asked.room_id
        AND p.type = 'm.room.member' AND p.state_key = asked.user_id AND p.rejected IS NULL
        AND NOT p.soft_failed AND p.timeline_order < asked.place
    ORDER BY p.timeline_order DESC LIMIT 1
) previous
"""

ANSWER_TYPES = [*POLL_RESPONSES, RSVP]


class Scope(Struct, frozen=True):
    """What a reader may count: not from those left out, and within ranges of each room."""

    reader: str
    without: Sequence[str]
    rooms: Sequence[str]
    after: Sequence[int]
    upto: Sequence[int]

    @property
    def parameters(self) -> tuple[Sequence[Any], ...]:
        """Parameters 2 to 5 of the statements."""
        return self.without, self.rooms, self.after, self.upto


class Counted(Struct, frozen=True):
    """How many people said the same of an event."""

    event_id: str
    key: str
    count: int
    mine: bool


class ThreadRow(Struct, frozen=True):
    """A thread in short."""

    root: str
    replies: int
    event_id: str  # of the last reply
    origin_server_ts: int


class PollEnd(Struct, frozen=True):
    """What says that a poll is over.  Whether its sender may say so is not known here."""

    event_id: str
    sender: str
    origin_server_ts: int


class Said(Struct, frozen=True):
    """What one person said of an event.  ``place``: where to go on in the list."""

    sender: str
    key: str
    origin_server_ts: int
    place: int | str


class MemberPlace(Struct, frozen=True):
    """A member event and its place."""

    event_id: str
    room_id: str
    user_id: str
    order: int


class Stretch(Struct, frozen=True):
    """A stretch of a timeline: ``after < order <= upto``, from one of its ends."""

    after: int
    upto: int
    backwards: bool
    limit: int


async def get_newest(
    db: Queryable,
    rooms: Mapping[str, int],
    limit: int,
    folded: Collection[str],
    state: Collection[str],
) -> dict[str, list[StoredEvent]]:
    """Room ID -> its newest messages up to a place in each, the newest first."""
    rows = await db.fetch(
        SELECT_NEWEST,
        list(rooms),
        list(rooms.values()),
        BEFORE_ALL,
        limit,
        list(folded),
        list(state),
        MOST_SCANNED,
    )
    found: dict[str, list[StoredEvent]] = {room_id: [] for room_id in rooms}
    for stored in map(stored_event, rows):
        found[stored.event.room_id].append(stored)
    return found


async def get_messages(
    db: Queryable,
    room_id: str,
    stretch: Stretch,
    folded: Collection[str],
    state: Collection[str],
) -> list[StoredEvent]:
    """Events that stand by themselves: not of the types ``folded``; of state those in ``state``.

    Among the first :data:`MOST_SCANNED` of the stretch: see :func:`last_scanned`.
    """
    query = SELECT_BACKWARDS if stretch.backwards else SELECT_FORWARDS
    rows = await db.fetch(
        query,
        room_id,
        stretch.after,
        stretch.upto,
        stretch.limit,
        list(folded),
        list(state),
        MOST_SCANNED,
    )
    return [stored_event(row) for row in rows]


async def last_scanned(db: Queryable, room_id: str, stretch: Stretch) -> int | None:
    """The order at which :func:`get_messages` gave up; None if it came to the stretch's end."""
    query = SELECT_LAST_SCANNED if stretch.backwards else SELECT_LAST_SCANNED_FORWARDS
    order: int | None = await db.fetchval(
        query, room_id, stretch.after, stretch.upto, MOST_SCANNED - 1
    )
    return order


async def get_thread(db: Queryable, room_id: str, root: str, stretch: Stretch) -> list[StoredEvent]:
    """The replies that hang on a message."""
    query = SELECT_THREAD_BACKWARDS if stretch.backwards else SELECT_THREAD_FORWARDS
    rows = await db.fetch(query, room_id, root, stretch.after, stretch.upto, stretch.limit)
    return [stored_event(row) for row in rows]


async def count_reactions(
    db: Queryable, event_ids: Collection[str], scope: Scope
) -> dict[str, list[Counted]]:
    """Event ID -> its reactions, in the order in which they were first given."""
    rows = await db.fetch(
        SELECT_REACTIONS, list(event_ids), *scope.parameters, scope.reader, MOST_KEYS
    )
    return _by_event(rows)


async def count_answers(
    db: Queryable, closed_at: dict[str, int], scope: Scope
) -> dict[str, list[Counted]]:
    """Event ID -> its votes, or answers to its invitation; of each person the last one given
    before it was closed (ms)."""
    rows = await db.fetch(
        SELECT_ANSWERS,
        list(closed_at),
        *scope.parameters,
        list(closed_at.values()),
        ANSWER_TYPES,
        scope.reader,
    )
    return _by_event(rows)


def _by_event(rows: Sequence[Any]) -> dict[str, list[Counted]]:
    found: dict[str, list[Counted]] = {}
    for row in rows:
        found.setdefault(row["event_id"], []).append(Counted(**row))
    return found


async def get_answerers(
    db: Queryable, event_id: str, closed_at: int, scope: Scope, *, after: str, limit: int
) -> list[Said]:
    """Who voted for what, or answered what, by user ID."""
    rows = await db.fetch(
        SELECT_ANSWERERS,
        [event_id],
        *scope.parameters,
        [closed_at],
        ANSWER_TYPES,
        after,
        limit,
    )
    return [Said(row["sender"], row["key"], row["origin_server_ts"], row["sender"]) for row in rows]


async def get_reactors(
    db: Queryable, event_id: str, scope: Scope, *, key: str | None, after: int, limit: int
) -> list[Said]:
    """Who reacted, with what, the first one first."""
    rows = await db.fetch(SELECT_REACTORS, [event_id], *scope.parameters, key, after, limit)
    return [
        Said(row["sender"], row["key"], row["origin_server_ts"], row["timeline_order"])
        for row in rows
    ]


async def get_own_reactions(db: Queryable, event_id: str, sender: str, key: str) -> list[str]:
    """A person's reactions to a message with one key: event IDs."""
    rows = await db.fetch(SELECT_OWN_REACTIONS, event_id, sender, key)
    return [row["event_id"] for row in rows]


async def get_threads(
    db: Queryable, event_ids: Collection[str], scope: Scope
) -> dict[str, ThreadRow]:
    """Event ID -> the thread that hangs on it."""
    rows = await db.fetch(SELECT_THREADS, list(event_ids), *scope.parameters)
    return {row["root"]: ThreadRow(**row) for row in rows}


async def get_poll_ends(db: Queryable, event_ids: Collection[str]) -> dict[str, list[PollEnd]]:
    """Event ID -> what says that the poll is over, the first one first."""
    found: dict[str, list[PollEnd]] = {}
    for row in await db.fetch(SELECT_POLL_ENDS, list(event_ids), list(POLL_ENDS), MOST_ENDS):
        found.setdefault(row["event_id"], []).append(PollEnd(**row))
    return found


async def get_edits(
    db: Queryable, event_id: str, sender: str, *, after: tuple[int, str], limit: int
) -> list[str]:
    """The edits of a message by its sender, the first one first: event IDs."""
    rows = await db.fetch(SELECT_EDITS, event_id, sender, *after, limit)
    return [row["event_id"] for row in rows]


async def get_members_before(db: Queryable, places: Sequence[MemberPlace]) -> dict[str, str]:
    """Event ID of a member event -> the one before of the same person."""
    rows = await db.fetch(
        SELECT_MEMBERS_BEFORE,
        [place.event_id for place in places],
        [place.room_id for place in places],
        [place.user_id for place in places],
        [place.order for place in places],
    )
    return {row["event_id"]: row["previous"] for row in rows}
