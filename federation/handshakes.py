"""The resident side of joining, knocking and leaving: templates out, signed events in."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from federation.errors import FederationFailure
from federation.pdus import NotSigned, PduChecker
from homeserver.errors import (
    BadJson,
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
    MatrixError,
    NotFound,
)
from homeserver.protocol.events import BadEvent, Event, JsonObject, parse_event
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.signing import SigningKey, sign_event
from homeserver.protocol.stripped import stripped_state_keys
from homeserver.services.arrivals import Arrivals
from homeserver.services.erased_accounts import ErasedAccounts
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import Action
from homeserver.services.live_room import JOIN_RULES, LiveRoom
from homeserver.services.membership import RESTRICTED, Conditions, Membership
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.state import State, States
from homeserver.services.sync_summary import HEROES, NAMES, PRESENT
from homeserver.storage import events as event_storage
from homeserver.storage.database import Database
from homeserver.storage.sync import get_heroes

TEMPLATE_FIELDS = (
    "auth_events",
    "content",
    "depth",
    "prev_events",
    "room_id",
    "sender",
    "state_key",
    "type",
    "origin_server_ts",
)


class Handshakes:
    """Lets other instances' users into rooms that we are in."""

    def __init__(
        self,
        *,
        server_name: str,
        signing_key: SigningKey,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        states: States,
        arrivals: Arrivals,
        membership: Membership,
        checker: PduChecker,
        erased: ErasedAccounts,
    ) -> None:
        self._erased = erased
        self._server_name = server_name
        self._signing_key = signing_key
        self._database = database
        self._rooms = rooms
        self._store = store
        self._states = states
        self._arrivals = arrivals
        self._membership = membership
        self._checker = checker

    async def _room(self, room_id: str, origin: str) -> LiveRoom:
        room = await self._rooms.find(room_id)
        if room is None or not room.joined_local:
            raise NotFound("This server is not in that room")
        if not room.allows_server(origin):
            raise Forbidden("Your server is not allowed in this room")
        return room

    # ------------------------------------------------------------ templates

    async def make(
        self,
        membership: str,
        room_id: str,
        user_id: str,
        origin: str,
        versions: frozenset[str] | None,
    ) -> JsonObject:
        """An event template for a membership of another instance's user.

        Raises: :class:`IncompatibleRoomVersion`, :class:`Forbidden`, ``M_UNABLE_TO_GRANT_JOIN``,
        ``M_UNABLE_TO_AUTHORISE_JOIN``.
        """
        room = await self._room(room_id, origin)
        if versions is not None and room.version.identifier not in versions:
            raise IncompatibleRoomVersion(
                "Your server does not support this room's version",
                room_version=room.version.identifier,
            )
        content: JsonObject = {"membership": membership}
        if membership == "knock":
            await self._membership.check_knock(room, user_id)
        if membership == "join":
            authorised = await self._authorise_restricted(room, user_id)
            if authorised is not None:
                content["join_authorised_via_users_server"] = authorised
        async with room.lock:
            event = await self._rooms.build(room, Draft(user_id, "m.room.member", content, user_id))
        template = {key: event.pdu[key] for key in TEMPLATE_FIELDS if key in event.pdu}
        template["origin"] = self._server_name  # whoever joins puts its own name there
        return {"room_version": room.version.identifier, "event": template}

    async def _authorise_restricted(self, room: LiveRoom, user_id: str) -> str | None:
        """Who of ours lets the user into a restricted room.  Spec: restricted rooms."""
        if not room.version.restricted_join_rule:
            return None
        if room.content(JOIN_RULES).get("join_rule") not in RESTRICTED:
            return None
        if room.membership(user_id) in ("invite", "join", "ban"):
            return None  # nothing more is asked of them, or nothing helps
        await self._check_conditions(room, user_id)
        authorised = self._membership.authorising_user(room)
        if authorised is None:
            raise _unable_to_grant()
        return authorised

    async def _check_conditions(self, room: LiveRoom, user_id: str) -> None:
        """Raise unless a user meets a restricted room's conditions."""
        found = await self._membership.conditions(room, user_id)
        if found is Conditions.UNKNOWN:
            raise MatrixError(
                "This server is not in all the rooms whose members may join this one, so it "
                "cannot tell whether you are: ask another one",
                errcode="M_UNABLE_TO_AUTHORISE_JOIN",
            )
        if found is Conditions.NOT_MET:
            raise Forbidden("You are in none of the rooms whose members may join this one")

    # ------------------------------------------------------------ signed events

    async def send(
        self,
        membership: str,
        room_id: str,
        event_id: str,
        pdu: Any,
        origin: str,
        *,
        omit_members: bool = False,
    ) -> dict[str, Any]:
        """Take a signed membership event into the room, and pass it on to all in it.

        Returns what the operation answers: for a join the state and auth chain, with
        ``omit_members`` without those of most members; for a knock what describes the room.
        Raises :class:`InvalidParam` and :class:`BadJson` for what is no such event, and what
        :meth:`make` raises.
        """
        room = await self._room(room_id, origin)
        if membership == "join":
            pdu = await self._countersigned(room, pdu)
        event = await self._checked(room, membership, event_id, pdu, origin)
        if membership == "knock":
            await self._membership.check_knock(room, event.sender)
        servers_before = sorted(room.hosts)
        judgement = await self._arrivals.receive(event, relay_from=origin)
        if judgement.action not in (Action.ACCEPT, Action.DUPLICATE):
            raise Forbidden(judgement.reason or "The room does not allow that")
        if membership == "join":
            return await self._join_answer(room, event, servers_before, omit_members)
        if membership == "knock":
            await room.load_events(self._store, stripped_state_keys(event.sender))
            return {"knock_room_state": self._rooms.invite_room_state(room, event)}
        return {}

    async def _checked(
        self, room: LiveRoom, membership: str, event_id: str, pdu: Any, origin: str
    ) -> Event:
        try:
            event = await self._checker.check(pdu, room.version)
        except (NotSigned, FederationFailure) as error:
            raise InvalidParam(f"The event's signature was not verified: {error}") from error
        except BadEvent as error:
            raise BadJson(f"The event is invalid: {error}") from error
        if event.room_id != room.room_id or event.event_id != event_id:
            raise InvalidParam("The event is not the one that the path names")
        if event.membership != membership or event.state_key != event.sender:
            raise InvalidParam(f"The event is not a {membership} of its sender")
        if server_name_of(event.sender) != origin:
            raise InvalidParam("A server may only act for its own users")
        return event

    async def _countersigned(self, room: LiveRoom, pdu: Any) -> Any:
        """A join that one of our users authorised, with our signature; any other as it is.

        Raises :class:`Forbidden`, ``M_UNABLE_TO_AUTHORISE_JOIN`` or ``M_UNABLE_TO_GRANT_JOIN`` if
        the conditions are no longer met, or that user may let nobody in.
        """
        content = pdu.get("content") if isinstance(pdu, dict) else None
        authorised = (
            content.get("join_authorised_via_users_server") if isinstance(content, dict) else None
        )
        if not isinstance(authorised, str) or not room.version.restricted_join_rule:
            return pdu
        if server_name_of(authorised) != self._server_name:
            return pdu
        try:
            event = parse_event(pdu, room.version)
        except BadEvent as error:
            raise BadJson(f"The event is invalid: {error}") from error
        await self._check_conditions(room, event.sender)
        if not self._membership.may_authorise(room, authorised):
            raise _unable_to_grant()
        return sign_event(event.pdu, self._server_name, self._signing_key, room.version)

    async def _join_answer(
        self, room: LiveRoom, event: Event, servers_before: Collection[str], omit_members: bool
    ) -> dict[str, Any]:
        """State before the join and its auth chain, spliced as the bytes that lie on disk.

        Spec: ``PUT /send_join``, ``omit_members`` (v1.6).
        """
        stored = await self._store.get(event.event_id)
        if stored is None or stored.snapshot_before is None:
            raise NotFound("The join is not in the room")
        full = await self._states.get(stored.snapshot_before)
        state = await self._without_members(room, event, full) if omit_members else full
        state_ids = set(state.values())
        cited = set(event.auth_event_ids)
        chain = cited | await event_storage.cited_chain_ids(self._database, cited | state_ids)
        if omit_members:
            chain -= state_ids
        hidden = await self._erased.hidden_from_server(room.room_id, server_name_of(event.sender))
        pdus = await event_storage.get_pdus(self._database, chain | state_ids, room.version, hidden)
        return {
            "origin": self._server_name,
            "event": stored.event.pdu,
            "state": [pdus[i] for i in state_ids if i in pdus],
            "auth_chain": [pdus[i] for i in chain if i in pdus],
            "members_omitted": len(state) < len(full),
            "servers_in_room": list(servers_before),
        }

    async def _without_members(self, room: LiveRoom, event: Event, state: State) -> State:
        """A state without members, but for those after whom a room without a name is named."""
        heroes: list[str] = []
        if not any(key in state for key in NAMES):
            found = await get_heroes(self._database, [room.room_id], PRESENT, HEROES + 1)
            heroes = [name for name in found.get(room.room_id, ()) if name != event.sender]
        shown = set(heroes[:HEROES])
        return {
            key: event_id
            for key, event_id in state.items()
            if key[0] != "m.room.member" or key[1] in shown
        }


def _unable_to_grant() -> MatrixError:
    return MatrixError(
        "Nobody on this server may invite to this room: ask another one",
        errcode="M_UNABLE_TO_GRANT_JOIN",
    )
