"""Message requests: strangers' invites that wait for their recipient's answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct
from msgspec.structs import astuple

from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

PENDING = "pending"

_COLUMNS = """owner, sender, server, scope, room_id, state, attempts, created_at, updated_at,
    expires_at, reported"""
UPSERT_REQUESTS = f"""
INSERT INTO message_requests ({_COLUMNS}, position)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::integer[], $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean[], $12::bigint[])
ON CONFLICT (owner, sender) DO UPDATE SET scope = EXCLUDED.scope, room_id = EXCLUDED.room_id,
    state = EXCLUDED.state, attempts = EXCLUDED.attempts, created_at = EXCLUDED.created_at,
    updated_at = EXCLUDED.updated_at, expires_at = EXCLUDED.expires_at,
    reported = EXCLUDED.reported, position = EXCLUDED.position
"""
SELECT_OF_OWNER = f"""
SELECT {_COLUMNS}, position FROM message_requests WHERE owner = $1
ORDER BY updated_at DESC LIMIT $2
"""
SELECT_DUE = f"""
SELECT {_COLUMNS} FROM message_requests
WHERE state = 'pending' AND expires_at <= $1 ORDER BY expires_at LIMIT $2
"""
SELECT_OF_SERVERS = f"""
SELECT {_COLUMNS} FROM message_requests WHERE state = 'pending' AND server = ANY($1::text[])
LIMIT $2
"""
SELECT_PENDING_INVOLVING = f"""
SELECT {_COLUMNS} FROM message_requests WHERE state = 'pending' AND (owner = $1 OR sender = $1)
"""
SELECT_PENDING_SERVERS = "SELECT DISTINCT server FROM message_requests WHERE state = 'pending'"
SELECT_INVITES_BY = """
SELECT room_id FROM memberships
WHERE user_id = $1 AND sender = $2 AND membership = 'invite' LIMIT $3
"""
DELETE_EXPIRED = "DELETE FROM message_requests WHERE state = 'expired' AND updated_at < $1"


class MessageRequest(Struct, frozen=True):
    """A stranger who waits for an answer, or got one."""

    owner: str
    sender: str
    server: str
    scope: str
    room_id: str  # the first room that they invited to
    state: str  # pending, accepted, declined, blocked, expired
    attempts: int
    created_at: int  # ms
    updated_at: int  # ms
    expires_at: int  # ms
    reported: bool = False


class RequestRecord(Record):
    """A message request as it now stands, on its way into the log."""

    request: MessageRequest

    def touched_users(self) -> Sequence[str]:
        """Its owner: invites appear or vanish."""
        return (self.request.owner,)

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, RequestRecord]]
    ) -> None:
        """Put the requests in their new state."""
        latest = {(r.request.owner, r.request.sender): (p, r.request) for p, r in batch}
        rows = [(*astuple(request), position) for position, request in latest.values()]
        await connection.execute(UPSERT_REQUESTS, *map(list, zip(*rows, strict=True)))


async def get_requests(db: Queryable, owner: str, limit: int) -> list[tuple[MessageRequest, int]]:
    """A user's requests, the last changed first, with the positions of their last change."""
    rows = await db.fetch(SELECT_OF_OWNER, owner, limit)
    return [(request_of(row), row["position"]) for row in rows]


async def get_due(db: Queryable, now_ms: int, limit: int) -> list[MessageRequest]:
    """Pending requests whose time is up."""
    return [request_of(row) for row in await db.fetch(SELECT_DUE, now_ms, limit)]


async def get_pending_of_servers(
    db: Queryable, servers: Collection[str], limit: int
) -> list[MessageRequest]:
    """Pending requests by users of some instances."""
    return [request_of(row) for row in await db.fetch(SELECT_OF_SERVERS, list(servers), limit)]


async def get_pending_involving(db: Queryable, user_id: str) -> list[MessageRequest]:
    """Pending requests to a user, and by them."""
    return [request_of(row) for row in await db.fetch(SELECT_PENDING_INVOLVING, user_id)]


async def get_pending_servers(db: Queryable) -> list[str]:
    """The instances whose users wait for an answer."""
    return [row["server"] for row in await db.fetch(SELECT_PENDING_SERVERS)]


async def forget_expired(db: Queryable, before_ms: int) -> None:
    """Delete requests that expired before a time."""
    await db.execute(DELETE_EXPIRED, before_ms)


async def get_invites_by(db: Queryable, owner: str, sender: str, limit: int = 100) -> list[str]:
    """The rooms to which a sender has invited a user, and that wait for an answer."""
    return [row["room_id"] for row in await db.fetch(SELECT_INVITES_BY, owner, sender, limit)]


def request_of(row: object) -> MessageRequest:
    """A request from its row, which may bear its position, too."""
    fields = dict(row)  # type: ignore[call-overload]
    fields.pop("position", None)
    return MessageRequest(**fields)
