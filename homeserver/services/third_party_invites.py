"""Inviting people who are known by an e-mail address or a telephone number.

An identity server is asked whose the address is.  If somebody's, they are invited as anybody is;
if nobody's, the identity server keeps the invitation, and the room an ``m.room.third_party_invite``
event, until somebody binds the address.  Spec: client-server API, third-party invites.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from homeserver.errors import Forbidden
from homeserver.protocol.events import JsonObject, StateKey
from homeserver.protocol.identifiers import UserId
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import Action, Judgement
from homeserver.services.live_room import JOIN_RULES, LiveRoom
from homeserver.services.membership import MemberProfiles, Membership
from homeserver.services.rooms import Draft, Rooms

EVENT_TYPE = "m.room.third_party_invite"
NAME: StateKey = ("m.room.name", "")
AVATAR: StateKey = ("m.room.avatar", "")
ALIAS: StateKey = ("m.room.canonical_alias", "")
CREATE: StateKey = ("m.room.create", "")
# What an identity server is told of a room: (its name for it, the state, the key in its content).
TOLD: tuple[tuple[str, StateKey, str], ...] = (
    ("room_name", NAME, "name"),
    ("room_avatar_url", AVATAR, "url"),
    ("room_alias", ALIAS, "alias"),
    ("room_join_rules", JOIN_RULES, "join_rule"),
    ("room_type", CREATE, "type"),
)
HIDDEN_NAME = "somebody"


class ThirdPartyAddress(Struct, frozen=True):
    """An address, and where its owner is known.  Spec: ``Invite3pid``.

    No representation: neither the address nor the token belongs in a log.
    """

    id_server: str
    id_access_token: str
    medium: str
    address: str

    def __repr__(self) -> str:
        return f"ThirdPartyAddress({self.id_server!r}, {self.medium!r})"


class StoredInvite(Struct, frozen=True):
    """An invitation that an identity server keeps.  Spec: ``POST /store-invite``."""

    token: str
    display_name: str
    public_keys: Sequence[tuple[str, str]]  # base64, and where to ask whether it is valid


class IdentityServers(Protocol):
    """What inviting needs of identity servers; ``federation`` provides it."""

    def check(self, name: str) -> None:
        """Raise :class:`Forbidden` for an identity server that the admin does not allow."""

    async def look_up(self, whom: ThirdPartyAddress) -> UserId | None:
        """Whose address it is, or None."""

    async def store_invite(
        self, whom: ThirdPartyAddress, details: JsonObject
    ) -> StoredInvite | UserId:
        """Have an invitation kept and sent; the owner instead, if there is one by now."""


class FederationConsent(Protocol):
    """Whether a user has agreed that something of theirs leaves this server."""

    async def require_federation(self, user_id: UserId, servers: Sequence[str]) -> None:
        """Raise ``M_CONSENT_NOT_GIVEN`` unless the user may contact these servers."""


class SendPolicy(Protocol):
    """Policy and consent for an event, before it is built."""

    async def check_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        """Accept or soft-fail; raise a :class:`MatrixError` if it may not be sent."""


class SignedInvites(Protocol):
    """Who shows that an invitation is theirs; ``federation`` provides it."""

    async def accept(self, invitee: UserId, room_id: str, body: JsonObject) -> None:
        """Make the room's invitation an invite of a user's, if they show that it is theirs."""


class ThirdPartyInvites:
    """Invites by address."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        store: EventStore,
        membership: Membership,
        profiles: MemberProfiles,
        consent: FederationConsent,
        gate: SendPolicy,
        identity_servers: IdentityServers,
    ) -> None:
        self._rooms = rooms
        self._store = store
        self._membership = membership
        self._profiles = profiles
        self._consent = consent
        self._gate = gate
        self._identity_servers = identity_servers
        self.signed: SignedInvites | None = None
        """Looks at what identity servers have signed."""

    async def accept(self, invitee: UserId, room_id: str, body: JsonObject) -> None:
        """A user joins by an invitation of their address, with an identity server's signature.

        Spec: ``POST /rooms/{roomId}/join``, ``third_party_signed``.  Raises: :class:`Forbidden`
        unless it matches an invitation in the room, :class:`~homeserver.errors.BadJson`.
        """
        if self.signed is None:
            raise Forbidden("This server takes no invites by e-mail address or telephone number")
        await self.signed.accept(invitee, room_id, body)

    async def invite(
        self, inviter: UserId, room_id: str, whom: ThirdPartyAddress, *, reason: str | None = None
    ) -> None:
        """Invite whoever has an address.  Spec: ``POST /rooms/{roomId}/invite``, by 3PID.

        Nothing is asked of the identity server unless the inviter may invite and has agreed to
        it.  Raises: :class:`Forbidden`, ``M_CONSENT_NOT_GIVEN``, ``M_INVITE_BLOCKED``,
        :class:`PeerFailed`, and what policy and the identity server say.
        """
        self._identity_servers.check(whom.id_server)
        await self._room(inviter, room_id)
        owner = await self.find(inviter, whom)
        if owner is None:
            owner = await self.announce(inviter, room_id, whom)
        if owner is not None:
            await self._membership.invite(inviter, room_id, owner, reason=reason)

    async def find(self, inviter: UserId, whom: ThirdPartyAddress) -> UserId | None:
        """Whose address it is, or None.  Raises as :meth:`invite`."""
        self._identity_servers.check(whom.id_server)
        await self._consent.require_federation(inviter, (whom.id_server,))
        return await self._identity_servers.look_up(whom)

    async def announce(
        self, inviter: UserId, room_id: str, whom: ThirdPartyAddress
    ) -> UserId | None:
        """Invite somebody whom no identity server knows yet; their user ID if it now does.

        Policy is asked before the address goes anywhere, and only then: so its rules see who
        sends an ``m.room.third_party_invite`` to which room, not the name that the identity
        server makes up.
        """
        room = await self._room(inviter, room_id)
        judgement = await self._gate.check_send(room, Draft(inviter, EVENT_TYPE, {}, ""))
        if judgement.action is not Action.ACCEPT:
            return None  # kept from everybody, of which the sender is not told
        details = await self._details(room, inviter)
        stored = await self._identity_servers.store_invite(whom, details)
        if isinstance(stored, UserId):
            return stored
        draft = Draft(inviter, EVENT_TYPE, _content(stored, whom.address), stored.token)
        await self._rooms.send(room_id, draft, judgement=judgement)
        return None

    async def _room(self, inviter: UserId, room_id: str) -> LiveRoom:
        """The room, if the inviter may invite to it: else the address need not go anywhere."""
        room = await self._rooms.get_joined(room_id, inviter)
        if room.power_levels.user(inviter) < room.power_levels.invite:
            raise Forbidden("You may not invite to this room")
        return room

    async def _details(self, room: LiveRoom, inviter: UserId) -> JsonObject:
        """What the identity server writes to the address's owner about."""
        await room.load_events(self._store, [key for _, key, _ in TOLD])
        details: JsonObject = {"room_id": room.room_id, "sender": inviter}
        profile = await self._profiles.member_fields(inviter)
        for name, value in (
            ("sender_display_name", profile.get("displayname")),
            ("sender_avatar_url", profile.get("avatar_url")),
            *((name, room.content(key).get(field)) for name, key, field in TOLD),
        ):
            if isinstance(value, str) and value:
                details[name] = value
        return details


def _content(stored: StoredInvite, address: str) -> JsonObject:
    """The event's content.  The address is not in it, whatever the identity server answered."""
    hidden = address.casefold() in stored.display_name.casefold()
    first_key, first_url = stored.public_keys[0]
    return {
        "display_name": HIDDEN_NAME if hidden else stored.display_name,
        "public_key": first_key,
        "key_validity_url": first_url,
        "public_keys": [
            {"public_key": key, "key_validity_url": url} for key, url in stored.public_keys
        ],
    }
