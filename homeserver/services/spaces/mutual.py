"""The rooms that two users have in common.  Spec: client-server API, mutual rooms."""

from __future__ import annotations

import base64
import binascii

from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import InvalidIdentifier, RoomId
from homeserver.storage import shared_rooms as storage
from homeserver.storage.database import Database

PAGE = 500


class MutualRooms:
    """Answers from the memberships that this instance knows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, user_id: str, other: str, token: str | None) -> JsonObject:
        """A page of the rooms to which both are joined.

        Spec: ``GET /mutual_rooms``.  Raises :class:`InvalidParam`.
        """
        after = _parse(token) if token is not None else ""
        rows = await storage.get_mutual_rooms(
            self._database, user_id, other, after=after, limit=PAGE + 1
        )
        joined = rows[:PAGE]
        count = len(rows)
        if after or len(rows) > PAGE:
            count = await storage.count_mutual_rooms(self._database, user_id, other)
        answer: JsonObject = {"joined": joined, "count": count}
        if len(rows) > PAGE:
            answer["next_batch"] = _token(joined[-1])
        return answer


def _token(room_id: str) -> str:
    """A page goes on after a room, whoever was joined or left in between."""
    return base64.urlsafe_b64encode(room_id.encode()).decode().rstrip("=")


def _parse(token: str) -> str:
    try:
        padded = token + "=" * (-len(token) % 4)
        return RoomId.parse(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except (binascii.Error, ValueError, InvalidIdentifier) as error:
        raise InvalidParam("'from' is no token of this server") from error
