"""The index of messages: its filling, what leaves it, and looking into it.

Each lexeme begins with the mark of its room.  So what a search reads grows with the rooms of its
reader and what is found there, never with what others say elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from homeserver.protocol.search_words import Term
from homeserver.storage.database import Connection, Queryable
from homeserver.storage.events import StoredEvent, select_columns, stored_event

MARK = "~"  # stands for the room's mark in a query; no word has it
MAX_PLACE = 16_383
MOST_MATCHES = 20_000  # of one room that are sorted
MOST_WALKED = 50_000  # of all rooms, where words are too common to be sorted
LAST_MS = 2**62

# Of a message that is being redacted, erased or released at this moment nothing is written: it
# comes again, or never.  The locks keep it so until the words are in.
UPSERT = """
WITH new AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
        $6::text[], $7::text[])
        AS new (event_id, source_id, room_id, timeline_order, sent_at, kind, words)
), locked AS MATERIALIZED (
    SELECT e.event_id FROM events e
    WHERE e.event_id IN (SELECT event_id FROM new UNION SELECT source_id FROM new)
        AND e.redacted_by IS NULL AND e.erased IS NULL AND e.withheld IS NULL
        AND e.timeline_order IS NOT NULL AND e.rejected IS NULL AND NOT e.soft_failed
    FOR SHARE SKIP LOCKED
)
INSERT INTO message_index (event_id, source_id, room_id, timeline_order, sent_at, kind, words)
SELECT event_id, source_id, room_id, timeline_order, least(sent_at, $8), kind, words::tsvector
FROM new
WHERE event_id IN (SELECT event_id FROM locked)
    AND (source_id IS NULL OR source_id IN (SELECT event_id FROM locked))
ON CONFLICT (event_id) DO UPDATE SET source_id = EXCLUDED.source_id, kind = EXCLUDED.kind,
    words = EXCLUDED.words, stale = false
"""
SELECT_POSITION = "SELECT position FROM message_index_state"
SET_POSITION = """
INSERT INTO message_index_state AS s (position) VALUES ($1)
ON CONFLICT (singleton) DO UPDATE SET position = greatest(s.position, EXCLUDED.position)
"""
SELECT_STRETCH_END = """
SELECT max(position) FROM (
    SELECT position FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3
) stretch
"""
SELECT_STRETCH = f"""
SELECT {select_columns("e")} FROM events e JOIN rooms r USING (room_id)
WHERE e.position > $1 AND e.position <= $2 AND e.type = ANY($3::text[])
    AND e.timeline_order IS NOT NULL AND e.redacted_by IS NULL AND e.erased IS NULL
    AND e.withheld IS NULL AND e.rejected IS NULL AND NOT e.soft_failed
ORDER BY e.position
"""
SELECT_STALE = "SELECT event_id FROM message_index WHERE stale LIMIT $1"
SETTLE = "DELETE FROM message_index WHERE stale AND event_id = ANY($1::text[])"
# $1 to $4: where the reader may read; $5: the query with its mark; $6, $7: since, until;
# $8, $9: where to go on.
_SPANS = """unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
    AS span (room_id, mark, after, upto)"""
_MATCHES = """i.words @@ replace($5, '~', span.mark)::tsquery
    AND i.timeline_order > span.after AND i.timeline_order <= span.upto
    AND i.sent_at >= $6 AND i.sent_at <= $7 AND (i.sent_at, i.event_id) < ($8::bigint, $9::text)"""
# The room is in the words already: so the words are looked up, whatever is thought of the room.
SEARCH_NEWEST = f"""
WITH hits AS (
    SELECT hit.*, span.after FROM {_SPANS} CROSS JOIN LATERAL (
        SELECT m.event_id, m.source_id, m.room_id, m.sent_at, m.kind, 0::real AS rank,
            count(*) OVER () AS matches
        FROM (
            SELECT i.event_id, i.source_id, i.room_id, i.sent_at, i.kind FROM message_index i
            WHERE {_MATCHES} AND i.room_id || '' = span.room_id LIMIT $10
        ) m ORDER BY m.sent_at DESC, m.event_id DESC LIMIT $11
    ) hit
)
(SELECT * FROM hits WHERE matches < $10 ORDER BY sent_at DESC, event_id DESC LIMIT $11)
UNION ALL
(SELECT DISTINCT ON (room_id, after) * FROM hits WHERE matches = $10)
"""
WALK_NEWEST = f"""
SELECT hit.* FROM {_SPANS} CROSS JOIN LATERAL (
    SELECT i.event_id, i.source_id, i.room_id, i.sent_at, i.kind, 0::real AS rank
    FROM (
        SELECT * FROM message_index w WHERE w.room_id = span.room_id
            AND (w.sent_at, w.event_id) < ($8::bigint, $9::text) AND w.sent_at <= $7
        ORDER BY w.sent_at DESC, w.event_id DESC LIMIT $10
    ) i WHERE {_MATCHES} ORDER BY i.sent_at DESC, i.event_id DESC LIMIT $11
) hit
"""
COUNT = f"""
SELECT count(*) FROM {_SPANS} CROSS JOIN LATERAL (
    SELECT 1 FROM message_index i WHERE {_MATCHES} AND i.room_id || '' = span.room_id LIMIT $10
) hit
"""
SEARCH_BEST = f"""
SELECT hit.* FROM {_SPANS} CROSS JOIN LATERAL (
    SELECT m.event_id, m.source_id, m.room_id, m.sent_at, m.kind,
        ts_rank(m.words, replace($10, '~', span.mark)::tsquery) AS rank
    FROM (
        SELECT i.event_id, i.source_id, i.room_id, i.sent_at, i.kind, i.words
        FROM message_index i WHERE {_MATCHES} AND i.room_id || '' = span.room_id LIMIT $11
    ) m ORDER BY rank DESC, m.sent_at DESC, m.event_id DESC LIMIT $13
) hit ORDER BY rank DESC, sent_at DESC, event_id DESC OFFSET $12 LIMIT $13 - $12
"""

# Where a user is or was: those they entered last, if there are too many.
SELECT_ROOMS = """
SELECT room_id FROM memberships
WHERE user_id = $1 AND membership IN ('join', 'leave', 'ban') AND NOT forgotten
    AND ($2::text[] IS NULL OR room_id = ANY($2::text[]))
    AND ($4 OR NOT EXISTS (SELECT 1 FROM events e WHERE e.room_id = memberships.room_id
        AND e.type = 'm.room.encryption' AND e.state_key = '' AND e.rejected IS NULL
        AND NOT e.soft_failed))
ORDER BY membership = 'join' DESC, position DESC LIMIT $3
"""


# A plan for searches at large does not know how many rooms there are, and reads all messages.
PLAN_EACH = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL jit = off"


class NewRow(Struct, frozen=True):
    """What a message says, on its way into the index."""

    event_id: str
    source_id: str | None
    room_id: str
    timeline_order: int
    sent_at: int  # ms
    sender: str
    kind: str
    words: Sequence[str]


class Span(Struct, frozen=True):
    """A stretch of a room's timeline: ``after < order <= upto``."""

    room_id: str
    after: int
    upto: int


class Wanted(Struct, frozen=True):
    """What is searched: all terms, and of senders and kinds any.  Times in ms."""

    terms: Sequence[Term] = ()
    senders: Sequence[str] = ()
    kinds: Sequence[str] = ()
    since: int = 0
    until: int = LAST_MS


class Hit(Struct, frozen=True):
    """A message that was found.  ``source_id``: the edit that says so, if any."""

    event_id: str
    source_id: str | None
    room_id: str
    sent_at: int
    kind: str
    rank: float


# ---------------------------------------------------------------- filling it


async def get_position(db: Queryable) -> int:
    """How far events have been looked at."""
    position: int | None = await db.fetchval(SELECT_POSITION)
    return position or 0


async def set_position(db: Queryable, position: int) -> None:
    """Events up to there have been looked at."""
    await db.execute(SET_POSITION, position)


async def get_stretch(
    db: Queryable, after: int, upto: int, types: Collection[str], limit: int
) -> tuple[list[StoredEvent], int]:
    """What shows of the next ``limit`` events of all types, and up to where these are all."""
    end: int | None = await db.fetchval(SELECT_STRETCH_END, after, upto, limit)
    if end is None:
        return [], upto
    rows = await db.fetch(SELECT_STRETCH, after, end, list(types))
    return [stored_event(row) for row in rows], end


async def put(db: Queryable, rows: Sequence[NewRow], *, now: int) -> None:
    """Index messages, each once, in place of what they said before.  ``now`` in ms."""
    await db.execute(
        UPSERT,
        [row.event_id for row in rows],
        [row.source_id for row in rows],
        [row.room_id for row in rows],
        [row.timeline_order for row in rows],
        [row.sent_at for row in rows],
        [row.kind for row in rows],
        [_vector(row) for row in rows],
        now,
    )


async def get_stale(db: Queryable, limit: int) -> list[str]:
    """Messages of which an edit was taken back."""
    return [row["event_id"] for row in await db.fetch(SELECT_STALE, limit)]


async def settle(db: Queryable, event_ids: Iterable[str]) -> None:
    """Forget those of some messages that are still stale: they say nothing any more."""
    await db.execute(SETTLE, list(event_ids))


def mark(room_id: str) -> str:
    """What stands before each lexeme of a room.  Few rooms have the same."""
    digest = hashlib.blake2b(room_id.encode(), digest_size=6).digest()
    return base64.b32encode(digest).decode().rstrip("=")


def _vector(row: NewRow) -> str:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for place, word in enumerate(row.words, 1):
        places[word].append(str(min(place, MAX_PLACE)))
    room = mark(row.room_id)
    lexemes = [f"'{room}:{word}':{','.join(at)}" for word, at in places.items()]
    lexemes += [f"'{room}@{_hash(row.sender)}'", f"'{room}#{row.kind}'"]
    return " ".join(lexemes)


def _hash(user_id: str) -> str:
    return hashlib.blake2b(user_id.encode(), digest_size=9).hexdigest()


# ---------------------------------------------------------------- looking into it


async def get_rooms(
    db: Queryable,
    user_id: str,
    among: Collection[str] | None,
    limit: int,
    *,
    encrypted: bool = True,
) -> list[str]:
    """The rooms in which a user is, or was and has not forgotten; encrypted ones, too?"""
    wanted = list(among) if among is not None else None
    rows = await db.fetch(SELECT_ROOMS, user_id, wanted, limit, encrypted)
    return [row["room_id"] for row in rows]


def _words_query(terms: Iterable[Term]) -> str:
    return " & ".join(f"'{MARK}:{t.word}'{':*' if t.prefix else ''}" for t in terms)


def _query(wanted: Wanted) -> str:
    parts = [_words_query(wanted.terms)] if wanted.terms else []
    if wanted.senders:
        parts.append(" | ".join(f"'{MARK}@{_hash(sender)}'" for sender in wanted.senders))
    if wanted.kinds:
        parts.append(" | ".join(f"'{MARK}#{kind}'" for kind in wanted.kinds))
    return " & ".join(f"({part})" for part in parts)


def _columns(spans: Sequence[Span]) -> tuple[list[str], list[str], list[int], list[int]]:
    return (
        [span.room_id for span in spans],
        [mark(span.room_id) for span in spans],
        [span.after for span in spans],
        [span.upto for span in spans],
    )


async def newest(
    db: Connection, spans: Sequence[Span], wanted: Wanted, before: tuple[int, str], limit: int
) -> list[Hit]:
    """The newest that fit, before a time (ms) and event ID.  Two statements at most, and ``db`` in
    a transaction.

    Of a room in which more than :data:`MOST_MATCHES` fit, those count that are found among its
    newest messages.
    """
    times = (wanted.since, wanted.until, *before)
    query = _query(wanted)
    await db.execute(PLAN_EACH)
    rows = await db.fetch(SEARCH_NEWEST, *_columns(spans), query, *times, MOST_MATCHES, limit)
    common = {(row["room_id"], row["after"]) for row in rows if row["matches"] == MOST_MATCHES}
    hits = [_hit(row) for row in rows if (row["room_id"], row["after"]) not in common]
    if common:
        crowded = [span for span in spans if (span.room_id, span.after) in common]
        walked = max(MOST_WALKED // len(crowded), limit)
        found = await db.fetch(WALK_NEWEST, *_columns(crowded), query, *times, walked, limit)
        hits += [_hit(row) for row in found]
        hits.sort(key=lambda hit: (hit.sent_at, hit.event_id), reverse=True)
    return hits[:limit]


async def count(db: Connection, spans: Sequence[Span], wanted: Wanted, *, most_of_room: int) -> int:
    """How many fit, about: of a room at most so many.  ``db``: in a transaction."""
    await db.execute(PLAN_EACH)
    found: int = await db.fetchval(
        COUNT,
        *_columns(spans),
        _query(wanted),
        wanted.since,
        wanted.until,
        LAST_MS,
        "",
        most_of_room,
    )
    return found


async def best(
    db: Connection, spans: Sequence[Span], wanted: Wanted, *, offset: int, limit: int
) -> list[Hit]:
    """What fits best, from a place in the list on; of a room at most :data:`MOST_MATCHES`.

    ``db``: in a transaction.
    """
    await db.execute(PLAN_EACH)
    rows = await db.fetch(
        SEARCH_BEST,
        *_columns(spans),
        _query(wanted),
        wanted.since,
        wanted.until,
        LAST_MS,
        "",
        _words_query(wanted.terms),
        MOST_MATCHES,
        offset,
        offset + limit,
    )
    return [_hit(row) for row in rows]


def _hit(row: object) -> Hit:
    names = ("event_id", "source_id", "room_id", "sent_at", "kind", "rank")
    return Hit(*(row[name] for name in names))  # type: ignore[index]
