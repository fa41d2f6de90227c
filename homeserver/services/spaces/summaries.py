"""The summary of one room, for who thinks of joining it.

Spec: client-server API, ``GET /room_summary/{roomIdOrAlias}``.
"""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.errors import NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.live_room import LiveRoom
from homeserver.services.spaces.hierarchy import Hierarchies, RemoteSpaces
from homeserver.services.spaces.local import LocalRooms, open_to_all
from homeserver.services.spaces.summary import is_open
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database


class Summaries:
    """Summarises rooms, those of other instances, too."""

    def __init__(
        self,
        *,
        database: Database,
        local: LocalRooms,
        remote: RemoteSpaces,
        hierarchies: Hierarchies,
    ) -> None:
        self._database = database
        self._local = local
        self._remote = remote
        self._hierarchies = hierarchies

    async def is_known(self, room_id: str) -> bool:
        """Whether nobody else has to be asked."""
        return await self._local.find(room_id) is not None

    async def summary(
        self, user_id: str | None, room_id: str, servers: Sequence[str]
    ) -> JsonObject:
        """A room's summary, with the user's membership; ``user_id`` None: somebody unknown.

        ``servers``: instances to ask if we are not in the room.  Raises :class:`NotFound`: there
        is no such room as far as is known here, or the user may not see it.
        """
        room = await self._local.find(room_id)
        if room is not None:
            return await self._local_summary(room, user_id)
        row = None
        if user_id is not None:
            row = await storage.get_membership(self._database, room_id, user_id)
        if user_id is not None and row is not None and row.membership == "invite":
            # One that is not shown to them is as if it were not there.
            row = row if await self._local.shows_invite(user_id, row) else None
        membership = row.membership if row is not None else None
        asked = list(servers)
        if row is not None and membership in ("invite", "knock"):
            asked.append(server_name_of(row.sender))
        if ":" in room_id:
            asked.append(server_name_of(room_id))
        space = await self._remote.space(room_id, asked)
        if space is None:
            raise not_found()
        if user_id is None:
            if not is_open(space.room):
                raise not_found()
            return space.room
        if not await self._hierarchies.remote_may_see(space.room, user_id, membership):
            raise not_found()
        return {**space.room, "membership": membership or "leave"}

    async def _local_summary(self, room: LiveRoom, user_id: str | None) -> JsonObject:
        if user_id is None:
            if not open_to_all(room):
                raise not_found()
            return await self._local.summary(room)
        # Who knocked knew of the room before.
        knocked = room.membership(user_id) == "knock"
        if not knocked and not await self._local.may_see(room, user_id):
            raise not_found()
        membership = await self._local.known_membership(room, user_id)
        return {**await self._local.summary(room), "membership": membership}


def not_found() -> NotFound:
    """The answer that tells nothing of whether there is such a room."""
    return NotFound("There is no such room, or you may not see it")
