"""Addresses that get an owner: their invitations become invites, if the owner wants them.

Spec: server-server API, third-party invites.
"""

from __future__ import annotations

from typing import Any, Protocol

import structlog

from federation.client import FederationClient
from federation.errors import FederationFailure
from federation.identity_servers import IdentityServerClient
from federation.paths import path_of
from homeserver.errors import (
    BadJson,
    ConsentNotGiven,
    Forbidden,
    InvalidParam,
    InviteBlocked,
    LimitExceeded,
    NotFound,
)
from homeserver.protocol.auth_rules.third_party import NamedKey, is_signed_with, signing_key_of
from homeserver.protocol.canonical import NotCanonical, encode_strict_json
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.arrivals import Arrivals
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import Action
from homeserver.services.live_room import LiveRoom
from homeserver.services.membership import Membership
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.third_party_invites import EVENT_TYPE
from homeserver.storage import accounts
from homeserver.storage.database import Database
from homeserver.web import required

logger = structlog.get_logger(__name__)

MAX_INVITES = 50
MAX_SIGNED_BYTES = 4_096
MAX_KEYS = 4  # that are asked for at identity servers for one binding
THERE = ("join", "invite")

Keys = dict[tuple[str, str], bytes | None]


class InviteConsent(Protocol):
    """Whether a local user takes an invite."""

    async def may_be_invited(self, invitee: UserId, inviter: UserId, room_id: str) -> None:
        """Raise ``M_INVITE_BLOCKED`` or ``M_FORBIDDEN`` if not; leaves no trace."""


class ThirdPartyBinding:
    """Exchanges invitations to addresses for invites of their owners."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        arrivals: Arrivals,
        membership: Membership,
        consent: InviteConsent,
        client: FederationClient,
        identity_servers: IdentityServerClient,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._rooms = rooms
        self._store = store
        self._arrivals = arrivals
        self._membership = membership
        self._consent = consent
        self._client = client
        self._identity_servers = identity_servers

    def check_enabled(self) -> None:
        """Raise :class:`Forbidden` where the admin allows no identity server."""
        if not self._identity_servers.enabled:
            raise Forbidden("This server takes no invites by e-mail address or telephone number")

    # ------------------------------------------------------------ one of ours is the owner now

    async def bound(self, body: JsonObject) -> None:
        """An identity server says that an address is a local user's, and what waited for them.

        An invite that the user does not take, that nobody vouches for, or for somebody who is not
        here is dropped without a word.  Raises: :class:`BadJson`, :class:`InvalidParam`, and
        :class:`PeerFailed` if an inviter's server does not answer: then it may be tried again.

        Spec: ``PUT /3pid/onbind``.
        """
        invitee = _user_id(required(body, "mxid", str))
        invites: list[Any] = required(body, "invites", list)
        if invitee.server_name != self._server_name:
            raise InvalidParam("That user is not of this server")
        if len(invites) > MAX_INVITES:
            raise InvalidParam(f"There may be at most {MAX_INVITES} invites at a time")
        account = await accounts.get_account(self._database, invitee)
        if account is None or account.deactivated_at is not None:
            return
        failure: FederationFailure | None = None
        keys: Keys = {}
        for invite in invites:
            if not isinstance(invite, dict):
                raise BadJson("'invites' must be an array of objects")
            try:
                await self._bound(invitee, invite, keys)
            except (InviteBlocked, Forbidden, LimitExceeded, NotFound) as error:
                logger.info("third-party invite dropped", reason=error.text)
            except FederationFailure as error:
                logger.info("third-party invite not exchanged", reason=error.reason)
                failure = error if error.temporary else failure
        if failure is not None:
            raise failure.to_matrix_error()

    async def _bound(self, invitee: UserId, invite: JsonObject, keys: Keys) -> None:
        room_id, inviter = required(invite, "room_id", str), _user_id(invite.get("sender"))
        signed = _signed(required(invite, "signed", dict), invitee)
        room = await self._rooms.find(room_id)
        if room is not None and not room.joined_local:
            room = None
        if room is not None:
            original, _ = await self._vouched(room, signed, inviter)
            proof = _proof(original, signed)
        elif not await self._is_signed(signed, keys):
            raise Forbidden("no identity server that is used here has signed it")
        await self._consent.may_be_invited(invitee, inviter, room_id)
        if room is None:
            await self._ask_for_exchange(invitee, inviter, room_id, signed)
        elif room.membership(invitee) in THERE:
            return
        elif inviter.server_name == self._server_name:
            await self._membership.exchange(room, inviter, invitee, proof)
        else:
            await self._build(room, inviter, invitee, proof)

    async def accept(self, invitee: UserId, room_id: str, body: JsonObject) -> None:
        """A local user who joins a room shows that an identity server vouches for them.

        The room's invitation of their address becomes an invite of theirs, unless they have one.
        Raises: :class:`BadJson`, :class:`Forbidden`, :class:`PeerFailed`.

        Spec: ``POST /rooms/{roomId}/join``, ``third_party_signed``.
        """
        self.check_enabled()
        inviter = _user_id(body.get("sender"))
        signed = _signed(body, invitee)
        room = await self._rooms.find(room_id)
        if room is None or not room.joined_local:
            if not await self._is_signed(signed, {}):
                raise Forbidden("No identity server that is used here has signed it")
            try:
                await self._ask_for_exchange(invitee, inviter, room_id, signed)
            except FederationFailure as error:
                raise error.to_matrix_error() from error
            return
        original, key = await self._vouched(room, signed, inviter)
        await self._check_valid(key)
        if room.membership(invitee) in THERE:
            return
        proof = _proof(original, signed)
        if inviter.server_name == self._server_name:
            await self._membership.exchange(room, inviter, invitee, proof)
        else:
            await self._build(room, inviter, invitee, proof)

    async def _check_valid(self, key: NamedKey) -> None:
        """Refuse what was signed with a key of which its owner does not say that it is valid.

        Raises :class:`Forbidden`, :class:`PeerFailed`.
        """
        if key.validity_url is not None and not await self._identity_servers.is_valid(
            key.validity_url, key.text
        ):
            raise Forbidden("The key that the invite was signed with is not valid any more")

    async def _build(
        self, room: LiveRoom, inviter: UserId, invitee: UserId, proof: JsonObject
    ) -> None:
        """The invite in the inviter's name, which the proof stands for instead of a signature.

        It goes the way of an invite that arrives: so policy is asked, and consent is noted.
        """
        content = {"membership": "invite", "third_party_invite": proof}
        async with room.lock:
            event = await self._rooms.build_signed(
                room, Draft(inviter, "m.room.member", content, invitee)
            )
        judgement = await self._arrivals.receive(event, relay_from=self._server_name)
        if judgement.action not in (Action.ACCEPT, Action.DUPLICATE):
            raise Forbidden(judgement.reason or "the room does not allow it")

    async def _ask_for_exchange(
        self, invitee: UserId, inviter: UserId, room_id: str, signed: JsonObject
    ) -> None:
        """Have the inviter's server make the invite; it comes back to be asked about and signed."""
        if inviter.server_name == self._server_name:
            raise NotFound("this server is not in the room any more")
        # The name is overwritten by what stands in the room, which we do not see.
        proof = {"display_name": invitee, "signed": signed}
        await self._client.put(
            inviter.server_name,
            path_of("v1/exchange_third_party_invite", room_id),
            body={
                "type": "m.room.member",
                "room_id": room_id,
                "sender": inviter,
                "state_key": invitee,
                "content": {"membership": "invite", "third_party_invite": proof},
            },
        )

    async def _is_signed(self, signed: JsonObject, keys: Keys) -> bool:
        """Whether an identity server that the admin allows has signed.

        ``keys``: those that this binding needed so far; anybody may send one, so not many more.
        """
        for name, by_key in signed["signatures"].items():
            if not self._identity_servers.allows(name) or not isinstance(by_key, dict):
                continue
            for key_id in by_key:
                if (name, key_id) not in keys:
                    if len(keys) >= MAX_KEYS:
                        return False
                    keys[name, key_id] = await self._identity_servers.public_key(name, key_id)
                key = keys[name, key_id]
                if key is not None and is_signed_with(signed, key):
                    return True
        return False

    # ------------------------------------------------------------ one of ours is the inviter

    async def exchange(self, origin: str, room_id: str, body: JsonObject) -> None:
        """Another instance has the owner of an address that one of our users invited.

        Raises: :class:`NotFound`, :class:`Forbidden`, :class:`BadJson`, ``M_INVITE_BLOCKED`` and
        whatever else the invitee's server answers to the invite.

        Spec: ``PUT /exchange_third_party_invite/{roomId}``.
        """
        inviter, invitee, signed = _partial_event(body, room_id)
        if invitee.server_name != origin:
            raise Forbidden("A server may only act for its own users")
        if inviter.server_name != self._server_name:
            raise Forbidden("The inviting user is not of this server")
        room = await self._rooms.find(room_id)
        if room is None or not room.joined_local:
            raise NotFound("This server is not in that room")
        if not room.allows_server(origin):
            raise Forbidden("Your server is not allowed in this room")
        original, key = await self._vouched(room, signed, inviter)
        if room.membership(invitee) in THERE:
            return
        await self._check_valid(key)
        try:
            await self._membership.exchange(room, inviter, invitee, _proof(original, signed))
        except ConsentNotGiven as error:  # its link is for the inviter's eyes only
            raise Forbidden("The inviting user has not agreed to talk to your server") from error

    async def _vouched(
        self, room: LiveRoom, signed: JsonObject, inviter: UserId
    ) -> tuple[Event, NamedKey]:
        """The room's invitation, and the key of it that was signed with.

        Raises: :class:`Forbidden`.
        """
        state_key = (EVENT_TYPE, signed["token"])
        if state_key in room.state:
            await room.load_events(self._store, (state_key,))
        original = room.event(state_key)
        if original is None or original.sender != inviter:
            raise Forbidden("The room has no such invitation by that user")
        key = signing_key_of(signed, original.content)
        if key is None:
            raise Forbidden("The invite is not validly signed")
        return original, key


def _partial_event(body: JsonObject, room_id: str) -> tuple[UserId, UserId, JsonObject]:
    """Inviter, invitee and the signed block of a partial member event."""
    content = required(body, "content", dict)
    if body.get("type") != "m.room.member" or content.get("membership") != "invite":
        raise BadJson("The event is no invite")
    if body.get("room_id") != room_id:
        raise BadJson("The event is not of the room in the path")
    inviter, invitee = _user_id(body.get("sender")), _user_id(body.get("state_key"))
    proof = required(content, "third_party_invite", dict)
    return inviter, invitee, _signed(required(proof, "signed", dict), invitee)


def _signed(signed: JsonObject, invitee: UserId) -> JsonObject:
    """A signed block of good form, for this user.  Raises :class:`BadJson`, :class:`Forbidden`."""
    if not isinstance(signed.get("token"), str) or not isinstance(signed.get("signatures"), dict):
        raise BadJson("'signed' lacks the token or the signatures")
    if signed.get("mxid") != invitee:
        raise Forbidden("The invite is signed for somebody else")
    try:
        size_bytes = len(encode_strict_json(signed))
    except NotCanonical as error:
        raise BadJson(f"'signed' has no canonical JSON: {error}") from error
    if size_bytes > MAX_SIGNED_BYTES:
        raise BadJson("'signed' is too large")
    return signed


def _proof(original: Event, signed: JsonObject) -> JsonObject:
    """What goes into the invite: the name that the room knows already, and the signed block."""
    name = original.content.get("display_name")
    return {"display_name": name if isinstance(name, str) else "", "signed": signed}


def _user_id(text: Any) -> UserId:
    try:
        return UserId.parse(text)
    except InvalidIdentifier as error:
        raise BadJson("A user ID is invalid") from error
