"""Rooms making this instance their policy server, at the word of its admin."""

from __future__ import annotations

from homeserver.errors import Forbidden, MatrixError, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.policy_servers import POLICY
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy_server import PolicyServers
from homeserver.services.policy_signer import PolicySigner
from homeserver.services.rooms import Draft, Rooms


class PolicyAppointments:
    """Sets ``m.room.policy`` as a local user who has the power."""

    def __init__(
        self, *, signer: PolicySigner, rooms: Rooms, policy_servers: PolicyServers
    ) -> None:
        self._signer = signer
        self._rooms = rooms
        self._policy_servers = policy_servers

    async def appoint(self, room_id: str, user_id: UserId | None = None) -> JsonObject:
        """Make this instance a room's policy server; who did so, and the event's ID.

        As ``user_id``, or else as the most powerful of our users in the room.  Raises:
        :class:`NotFound` for a room that we are not in; :class:`Forbidden` if none of ours has the
        power; 400 ``M_UNRECOGNIZED`` if this instance is no policy server; what sending raises.
        """
        content = self._signer.appointment_content
        if content is None:
            raise MatrixError(
                "This server is no policy server: set policy_server.enabled",
                errcode="M_UNRECOGNIZED",
            )
        return await self._set(await self._room(room_id), user_id, content)

    async def withdraw(self, room_id: str, user_id: UserId | None = None) -> JsonObject:
        """Take our appointment back, so that the room uses no policy server.  As :meth:`appoint`.

        :class:`NotFound` too if the room has not appointed us.
        """
        room = await self._room(room_id)
        appointment = await self._policy_servers.appointment(room)
        if appointment is None or appointment.via != self._signer.server_name:
            raise NotFound("This server is not the policy server of that room")
        return await self._set(room, user_id, {})

    async def _room(self, room_id: str) -> LiveRoom:
        room = await self._rooms.get(room_id)
        if not room.joined_local:
            raise NotFound("This server has no user in that room")
        return room

    async def _set(self, room: LiveRoom, user_id: UserId | None, content: JsonObject) -> JsonObject:
        sender = user_id if user_id is not None else self._most_powerful(room)
        event_id = await self._rooms.send_state(
            room.room_id, Draft(sender, POLICY[0], content, POLICY[1])
        )
        return {"event_id": event_id, "sender": sender, "content": content}

    def _most_powerful(self, room: LiveRoom) -> str:
        levels = room.power_levels
        best = max(room.joined_local, key=levels.user)
        if levels.user(best) < levels.required_for_event(POLICY[0], is_state=True):
            raise Forbidden("None of this server's users in that room may set m.room.policy")
        return best
