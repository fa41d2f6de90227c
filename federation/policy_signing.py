"""Another instance asks us, as its room's policy server, to sign an event.

Cheap checks come first, and nothing is fetched for strangers' events beyond a key.  Spec:
server-server API, ``POST /_matrix/policy/v1/sign``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from federation.errors import FederationFailure
from federation.pdus import PduChecker
from homeserver.errors import BadJson, Forbidden, MatrixError, NotFound
from homeserver.protocol.events import BadEvent, Event, JsonObject, check_hashes, parse_event
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.policy_servers import Appointment, needs_policy_signature
from homeserver.protocol.signing import POLICY_KEY_ID
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy_server import PolicyServers
from homeserver.services.policy_signer import PolicySigner
from homeserver.services.rate_limits import RateLimits
from homeserver.services.rooms import Rooms

NOT_APPOINTED = "This server is not the policy server of that room"
KEY_SECONDS = 3.0  # for a sender's key; who asks waits some five


class PolicySigning:
    """Decides who gets our signature as a policy server."""

    def __init__(
        self,
        *,
        signer: PolicySigner,
        policy_servers: PolicyServers,
        rooms: Rooms,
        checker: PduChecker,
        rate_limits: RateLimits,
    ) -> None:
        self._signer = signer
        self._policy_servers = policy_servers
        self._rooms = rooms
        self._checker = checker
        self._rate_limits = rate_limits

    async def sign(self, origin: str, pdu: JsonObject) -> JsonObject:
        """Our signature of a PDU that ``origin`` shows us, as the operation answers it.

        Raises: :class:`LimitExceeded`; :class:`NotFound` for rooms that have not appointed us;
        :class:`Forbidden` for a server that the room's ACL shuts out; :class:`BadJson`;
        :class:`MatrixError` 400 ``M_FORBIDDEN`` with the reason why we do not sign.
        """
        self._rate_limits.check("policy_server", origin)
        room, appointment = await self._room(pdu.get("room_id"))
        if not room.allows_server(origin):
            raise Forbidden("Your server is not allowed in this room")
        event = _parse(pdu, room)
        if server_name_of(event.sender) != origin:
            await self._check_sender(event)
        signature = await self._signer.judge_and_sign(room, appointment, event)
        return {self._signer.server_name: {POLICY_KEY_ID: signature}}

    async def _room(self, room_id: Any) -> tuple[LiveRoom, Appointment]:
        """The room, if we are in it and its policy server; all others are the same to strangers."""
        if not isinstance(room_id, str):
            raise BadJson("'room_id' must be a string")
        room = await self._rooms.find(room_id)
        if room is None or not room.joined_local:
            raise NotFound(NOT_APPOINTED)
        appointment = await self._policy_servers.appointment(room)
        if appointment is None or not self._signer.has_key(appointment):
            raise NotFound(NOT_APPOINTED)
        return room, appointment

    async def _check_sender(self, event: Event) -> None:
        """What a server shows us of others' users must be theirs: it counts against them."""
        try:
            async with asyncio.timeout(KEY_SECONDS):
                await self._checker.check(event.pdu, event.room_version)
        except (BadEvent, FederationFailure, TimeoutError) as error:
            raise refusal("The event is not verifiably signed by its sender's server") from error


def _parse(pdu: JsonObject, room: LiveRoom) -> Event:
    try:
        event = parse_event(pdu, room.version)
    except BadEvent as error:
        raise BadJson(f"The event is invalid: {error}") from error
    if not needs_policy_signature(event.type, event.state_key):
        raise refusal("The event that appoints a policy server is not for it to sign")
    if not check_hashes(event):
        # The signature covers the hash, not the content: it would vouch for what we do not see.
        raise refusal("The event's content is not the one that its hash is of")
    return event


def refusal(text: str) -> MatrixError:
    """The answer to an event that we do not sign."""
    return MatrixError(text, errcode="M_FORBIDDEN", status=400)
