"""What an entry of a policy list would cut: counts over memberships, contacts and requests.

Each question takes pairs of an entry's number and a name that it matches, and answers for all
entries at once.  For an admin who looks at a draft, not for the path of an event.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

# The server of a user ID is what follows its first colon.
KNOWN_SERVERS = """
SELECT DISTINCT substr(user_id, strpos(user_id, ':') + 1) AS server FROM memberships
WHERE membership = 'join' AND NOT local
UNION SELECT server FROM message_requests WHERE state = 'pending'
UNION SELECT DISTINCT substr(peer, strpos(peer, ':') + 1) FROM consent_current
WHERE scope = 'message' AND state = 'granted' AND peer LIKE '@%'
"""
KNOWN_USERS = """
SELECT user_id FROM (
    SELECT user_id FROM memberships WHERE membership = 'join' AND user_id LIKE ANY($1::text[])
    UNION SELECT sender FROM message_requests
    WHERE state = 'pending' AND sender LIKE ANY($1::text[])
    UNION SELECT peer FROM consent_current
    WHERE scope = 'message' AND state = 'granted' AND peer LIKE ANY($1::text[])
) AS known LIMIT $2
"""
KNOWN_ROOMS = """
SELECT DISTINCT room_id FROM memberships
WHERE membership = 'join' AND local AND room_id LIKE ANY($1::text[]) LIMIT $2
"""

_WANTED = "WITH wanted AS (SELECT * FROM unnest($1::int[], $2::text[]) AS pairs (entry, name))"
_SHARED = """
SELECT entry, count(DISTINCT ours.room_id) AS rooms, count(DISTINCT ours.user_id) AS users
FROM shared JOIN memberships ours ON ours.room_id = shared.room_id
WHERE ours.local AND ours.membership = 'join' AND ours.user_id <> $3 GROUP BY entry
"""
SHARED_WITH_SERVERS = f"""
{_WANTED}, shared AS (
    SELECT DISTINCT entry, theirs.room_id FROM wanted JOIN memberships theirs
    ON substr(theirs.user_id, strpos(theirs.user_id, ':') + 1) = wanted.name
    WHERE theirs.membership = 'join' AND NOT theirs.local
) {_SHARED}
"""
SHARED_WITH_USERS = f"""
{_WANTED}, shared AS (
    SELECT DISTINCT entry, theirs.room_id FROM wanted
    JOIN memberships theirs ON theirs.user_id = wanted.name
    WHERE theirs.membership = 'join'
) {_SHARED}
"""
IN_ROOMS = f"{_WANTED}, shared AS (SELECT entry, name AS room_id FROM wanted) {_SHARED}"

_CONTACTS = """
SELECT entry, count(*) AS contacts FROM wanted JOIN consent_current ON {match}
WHERE scope = 'message' AND state = 'granted' GROUP BY entry
"""
CONTACTS_ON_SERVERS = f"""
{_WANTED} {
    _CONTACTS.format(match="peer LIKE '@%' AND substr(peer, strpos(peer, ':') + 1) = wanted.name")
}
"""
CONTACTS_WITH_USERS = f"{_WANTED} {_CONTACTS.format(match='peer = wanted.name')}"

_REQUESTS = """
SELECT entry, count(*) AS requests FROM wanted JOIN message_requests ON {match}
WHERE state = 'pending' GROUP BY entry
"""
REQUESTS_OF_SERVERS = f"{_WANTED} {_REQUESTS.format(match='server = wanted.name')}"
REQUESTS_OF_USERS = f"{_WANTED} {_REQUESTS.format(match='sender = wanted.name')}"

SHARED = {"server": SHARED_WITH_SERVERS, "user": SHARED_WITH_USERS, "room": IN_ROOMS}
OTHERS = {
    "server": (CONTACTS_ON_SERVERS, REQUESTS_OF_SERVERS),
    "user": (CONTACTS_WITH_USERS, REQUESTS_OF_USERS),
    "room": (),
}


class Impact(Struct):
    """How many of our users, rooms, contacts and pending requests an entry touches."""

    users: int = 0
    rooms: int = 0
    contacts: int = 0
    requests: int = 0


async def get_known_servers(db: Queryable) -> list[str]:
    """Instances with whose users ours have anything to do."""
    return [row["server"] for row in await db.fetch(KNOWN_SERVERS)]


async def get_known_users(db: Queryable, patterns: Sequence[str], limit: int) -> list[str]:
    """Users with whom ours have anything to do, like any of the patterns (SQL's)."""
    return [row["user_id"] for row in await db.fetch(KNOWN_USERS, patterns, limit)]


async def get_known_rooms(db: Queryable, patterns: Sequence[str], limit: int) -> list[str]:
    """Rooms with users of ours, like any of the patterns (SQL's)."""
    return [row["room_id"] for row in await db.fetch(KNOWN_ROOMS, patterns, limit)]


async def get_impacts(
    db: Queryable, kind: str, pairs: Sequence[tuple[int, str]], *, besides: str
) -> dict[int, Impact]:
    """Entry -> what it touches, for pairs of an entry and a name that it matches.

    ``besides``: a user of ours who does not count.
    """
    impacts: dict[int, Impact] = {}
    if not pairs:
        return impacts
    entries, names = map(list, zip(*pairs, strict=True))
    rows = await db.fetch(SHARED[kind], entries, names, besides)
    for query in OTHERS[kind]:
        rows += await db.fetch(query, entries, names)
    for row in rows:
        impact = impacts.setdefault(row["entry"], Impact())
        for field, value in row.items():
            if field != "entry":
                setattr(impact, field, value)
    return impacts


def like_pattern(glob: str) -> str:
    """A glob as a pattern of SQL's ``LIKE``."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
