"""Joining, knocking, leaving and inviting with another instance's help.

Spec: server-server API, joining rooms, knocking upon a room, inviting to a room, leaving rooms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import structlog

from federation.client import FederationClient
from federation.errors import MAX_VERSION, FederationFailure, PeerError
from federation.fetching import Fetching
from federation.gate import JoinInProgress
from federation.paths import path_of
from federation.pdus import NotSigned, PduChecker, authorise_chain
from federation.told_state import told_after_knock, told_with_invite
from homeserver.errors import (
    BadJson,
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
    MatrixError,
    PeerFailed,
    UnsupportedRoomVersion,
)
from homeserver.protocol.auth_rules import Rejected, check_auth
from homeserver.protocol.canonical import content_hash, encode_base64, event_id_of
from homeserver.protocol.events import BadEvent, Event, JsonObject, check_format
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.protocol.policy_servers import (
    appointment_in,
    has_policy_signature,
    merge_signatures,
)
from homeserver.protocol.room_versions import ROOM_VERSIONS, EventIdFormat, RoomVersion
from homeserver.protocol.signing import AUTHORISER, SigningKey, sign_event
from homeserver.protocol.stripped import stripped_state_event
from homeserver.services.arrivals import Arrivals
from homeserver.services.consent.requests import blocked
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy_server import PolicyServers
from homeserver.services.room_import import RoomImport
from homeserver.services.rooms import INVITED, Rooms, Sent
from homeserver.services.send_gate import OutgoingGate
from homeserver.services.values import is_text, is_user_id
from homeserver.storage import rooms as room_storage
from homeserver.storage.accounts import get_account
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord, MembershipChange
from homeserver.storage.log import Log

logger = structlog.get_logger(__name__)

JOIN_TIMEOUT_SECONDS = 180.0
# What we sent was malformed: the client that waits is not at fault (``PUT /send_join``, 400).
OUR_FAULT = frozenset({"M_MISSING_PARAM", "M_INVALID_PARAM"})
OLD_SERVER = (400, 404)  # one that may not know version 2 of an operation
T = TypeVar("T")


class Joining:
    """Our users entering, asking to enter, and refusing rooms of other instances."""

    def __init__(
        self,
        *,
        server_name: str,
        signing_key: SigningKey,
        database: Database,
        log: Log,
        client: FederationClient,
        checker: PduChecker,
        fetching: Fetching,
        store: EventStore,
        rooms: Rooms,
        arrivals: Arrivals,
        room_import: RoomImport,
        gate: OutgoingGate,
        policy_servers: PolicyServers,
        clock_ms: Callable[[], int],
        random_id: Callable[[], str],
    ) -> None:
        self._server_name = server_name
        self._signing_key = signing_key
        self._database = database
        self._log = log
        self._client = client
        self._checker = checker
        self._fetching = fetching
        self._store = store
        self._rooms = rooms
        self._arrivals = arrivals
        self._room_import = room_import
        self._gate = gate
        self._policy_servers = policy_servers
        self._clock_ms = clock_ms
        self._random_id = random_id
        self.in_progress: dict[str, JoinInProgress] = {}

    # ------------------------------------------------------------ joining

    async def join(
        self, user_id: UserId, room_id: str, servers: Sequence[str], content: JsonObject
    ) -> Sent:
        """Join a room through the first of the servers that lets us.

        Raises the last server's refusal.
        """
        await self._gate.check_remote_join(user_id, room_id, servers[0])
        return await self._through(
            servers, lambda server: self._join_through(server, user_id, room_id, content)
        )

    async def _through(self, servers: Iterable[str], attempt: Callable[[str], Awaitable[T]]) -> T:
        """Try servers in turn; if none succeeds the answer is the last refusal, or else failure."""
        failure: Exception | None = None
        for server in servers:
            try:
                return await attempt(server)
            except (FederationFailure, BadEvent, IncompatibleRoomVersion) as error:
                logger.info("handshake failed", server=server, reason=str(error))
                if failure is None or isinstance(error, PeerError | MatrixError):
                    failure = error
        if isinstance(failure, MatrixError):
            raise failure
        if isinstance(failure, FederationFailure):
            raise _for_client(failure) from failure
        raise PeerFailed(f"No other server could help: {failure}") from failure

    async def _join_through(
        self, server: str, user_id: UserId, room_id: str, content: JsonObject
    ) -> Sent:
        version, event = await self._template(
            "make_join",
            server,
            user_id,
            room_id,
            content,
            keep=(AUTHORISER,),
        )
        joining = self.in_progress.setdefault(room_id, JoinInProgress(version))
        try:
            answer = await self._client.put(
                server,
                path_of("v2/send_join", room_id, event.event_id),
                body=event.pdu,
                timeout_seconds=JOIN_TIMEOUT_SECONDS,
            )
            return await self._enter(answer, event, version)
        finally:
            self.in_progress.pop(room_id, None)
            joining.over.set()

    async def _enter(self, answer: JsonObject, event: Event, version: RoomVersion) -> Sent:
        """Take in what ``send_join`` answered; the join is then on disk."""
        event = await self._countersigned(answer.get("event"), event, version)
        state, chain = await self._checked_state(answer, event, version)
        event = await self._signed_by_policy_server(event, state)
        known = await self._rooms.find(event.room_id)
        if known is not None and known.joined_local:
            await self._fetching.keep_outliers(known, [*chain, *state])
            await self._arrivals.receive(event, state_before={e.key: e.event_id for e in state})
            stored = await self._store.get(event.event_id)
            return Sent(event, stored.position if stored is not None else 0)
        return await self._room_import.import_room(
            version, event, state, chain, now_ms=self._clock_ms()
        )

    async def _signed_by_policy_server(self, join: Event, state: Sequence[Event]) -> Event:
        """Our join with the signature of the room's policy server, where it has one.

        Which one that is we learn only from the answer: the resident server has let us in, asking
        for the signature if it knows how to, and no refusal can undo that.
        """
        appointment = appointment_in({event.key: event for event in state})
        if appointment is None or has_policy_signature(join, appointment):
            return join
        try:
            return await self._policy_servers.signed_by(appointment, join)
        except MatrixError as error:
            logger.info("join without policy signature", via=appointment.via, reason=error.text)
            return join

    async def _template(
        self,
        operation: str,
        server: str,
        user_id: UserId,
        room_id: str,
        content: JsonObject,
        *,
        keep: Sequence[str] = (),
    ) -> tuple[RoomVersion, Event]:
        """Ask for an event template, fill it in, hash and sign it."""
        query = [("ver", identifier) for identifier in ROOM_VERSIONS]
        answer = await self._client.get(
            server,
            path_of(f"v1/{operation}", room_id, user_id),
            query=query if operation != "make_leave" else None,
        )
        version = ROOM_VERSIONS.get(str(answer.get("room_version", "1")))
        template = answer.get("event")
        if version is None:
            raise IncompatibleRoomVersion(
                "This server does not support that room's version",
                room_version=str(answer["room_version"])[:MAX_VERSION],
            )
        if not isinstance(template, dict) or not isinstance(template.get("content"), dict):
            raise BadEvent("the event template is no event")
        asked: JsonObject = {"type": "m.room.member", "room_id": room_id}
        asked |= {"sender": user_id, "state_key": user_id}
        if (
            any(template.get(key) != value for key, value in asked.items())
            or template["content"].get("membership") != content["membership"]
        ):
            raise BadEvent("the event template is not the one that was asked for")
        merged = {**content}
        for key in keep:
            if key in template["content"]:
                merged[key] = template["content"][key]
        pdu: JsonObject = {
            **asked,
            "content": merged,
            "origin": self._server_name,
            "origin_server_ts": self._clock_ms(),
            **{k: template[k] for k in ("prev_events", "auth_events", "depth") if k in template},
        }
        if version.event_id_format is EventIdFormat.ASSIGNED:
            pdu["event_id"] = f"${self._random_id()}:{self._server_name}"
        event = self._finished(pdu, version)
        room = await self._rooms.find(room_id)
        if room is not None and room.joined_local:  # a restricted join that others must let in
            event = await self._policy_servers.signed(room, event)
        return version, event

    def _finished(self, pdu: JsonObject, version: RoomVersion) -> Event:
        pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu))}
        signed = sign_event(pdu, self._server_name, self._signing_key, version)
        check_format(signed, version)
        return Event(signed, event_id_of(signed, version), version)

    async def _countersigned(self, pdu: Any, event: Event, version: RoomVersion) -> Event:
        """Our join with the resident server's signature, where a restricted room needs it.

        Raises :class:`BadEvent` if it needs that, and does not have it.
        """
        if isinstance(pdu, dict):
            signed = await self._checker.check(pdu, version)
            if signed.event_id == event.event_id:
                return signed
        if version.restricted_join_rule and AUTHORISER in event.content:
            raise BadEvent("the answer to send_join lacks our join with the resident's signature")
        return event

    async def _checked_state(
        self, answer: JsonObject, join: Event, version: RoomVersion
    ) -> tuple[list[Event], list[Event]]:
        """The state and auth chain of a ``send_join`` answer, verified and authorised."""
        state_pdus, chain_pdus = answer.get("state"), answer.get("auth_chain")
        if not isinstance(state_pdus, list) or not isinstance(chain_pdus, list):
            raise BadEvent("the answer to send_join has no state")
        if answer.get("members_omitted") is True:
            raise BadEvent("the answer to send_join lacks members, for which nobody had asked")
        chain = await self._checker.check_many(chain_pdus, version)
        state = [
            event for event in await self._checker.check_many(state_pdus, version) if event.is_state
        ]
        create = next((e for e in state if e.key == ("m.room.create", "")), None)
        if create is None or create.room_id != join.room_id:
            raise BadEvent("the state has no create event of this room")
        if str(create.content.get("room_version", "1")) != version.identifier:
            raise BadEvent("the room has another version than the template said")
        by_id = {event.event_id: event for event in (*chain, *state)}
        accepted, refused = authorise_chain(by_id, create)
        if refused:
            logger.info("events of the state refused", count=len(refused))
        state = [event for event in state if event.event_id in accepted]
        verdict = check_auth(join, {event.key: event for event in state})
        if isinstance(verdict, Rejected):
            raise BadEvent(f"the state that it sent does not let us join: {verdict.reason}")
        return state, [event for event in chain if event.event_id in accepted]

    # ------------------------------------------------------------ knocking, leaving

    async def knock(
        self, user_id: UserId, room_id: str, servers: Sequence[str], content: JsonObject
    ) -> str:
        """Knock through the first of the servers that takes it; the event's ID."""
        await self._gate.check_remote_join(user_id, room_id, servers[0])

        async def attempt(server: str) -> str:
            version, event = await self._template("make_knock", server, user_id, room_id, content)
            answer = await self._client.put(
                server,
                path_of("v1/send_knock", room_id, event.event_id),
                body=event.pdu,
            )
            stripped = await told_after_knock(
                self._checker, version, room_id, answer.get("knock_room_state")
            )
            await self.keep_membership(event, version, [*stripped, stripped_state_event(event)])
            return event.event_id

        return await self._through(servers, attempt)

    async def leave(
        self, user_id: UserId, room_id: str, servers: Sequence[str], content: JsonObject
    ) -> None:
        """Reject an invite or take back a knock; if nobody answers, it is so here at least."""

        async def attempt(server: str) -> None:
            version, event = await self._template("make_leave", server, user_id, room_id, content)
            await self._client.put(
                server,
                path_of("v2/send_leave", room_id, event.event_id),
                body=event.pdu,
            )
            await self.keep_membership(event, version, None)

        try:
            await self._through(servers, attempt)
        except MatrixError as error:
            logger.warning("invite rejected here only", room_id=room_id, reason=error.text)
            await self._leave_here(user_id, room_id)

    async def _leave_here(self, user_id: UserId, room_id: str) -> None:
        row = await room_storage.get_membership(self._database, room_id, user_id)
        stored = await self._store.get(row.event_id) if row is not None else None
        if stored is None:
            return
        change = MembershipChange(
            room_id, user_id, "leave", stored.event.event_id, user_id, local=True
        )
        await self._log.append(EventRecord(stored.event, live=False, memberships=(change,)))

    async def taken_back(self, origin: str, pdu: JsonObject) -> str | None:
        """An invite of one of ours is withdrawn, or a knock refused, in a room that we are not in.

        There is no state to authorise it by, so its sender must be of the inviter's server, or of
        one whose users made the room what we were told that it is; and it must come after what it
        takes back.  The event's ID; None if it is nothing of the kind.  Raises :class:`BadEvent`,
        :class:`FederationFailure`.
        """
        room_id, user_id = pdu.get("room_id"), pdu.get("state_key")
        if not (is_text(room_id) and is_user_id(user_id)):
            return None
        if server_name_of(user_id) != self._server_name:
            return None
        row = await room_storage.get_membership(self._database, room_id, user_id)
        room = await room_storage.get_room(self._database, room_id)
        if row is None or room is None or row.membership not in INVITED:
            return None
        event = await self._checker.check(pdu, ROOM_VERSIONS[room.room_version])
        before = await self._store.get(row.event_id)
        senders = [row.sender, *(str(e.get("sender")) for e in row.stripped_state or ())]
        trusted = {server_name_of(sender) for sender in senders} - {self._server_name}
        if (
            event.membership not in ("leave", "ban")
            or server_name_of(event.sender) != origin
            or origin not in trusted
            or before is None
            or event.depth <= before.event.depth
        ):
            return None
        await self.keep_membership(event, event.room_version, None)
        return event.event_id

    async def keep_membership(
        self,
        event: Event,
        version: RoomVersion,
        stripped_state: list[JsonObject] | None,
    ) -> None:
        """Note one of our users' membership of a room that we are not in."""
        assert event.state_key is not None
        await room_storage.insert_room(
            self._database, event.room_id, version.identifier, self._clock_ms()
        )
        change = MembershipChange(
            event.room_id,
            event.state_key,
            event.membership or "leave",
            event.event_id,
            event.sender,
            local=True,
            stripped_state=stripped_state,
        )
        await self._log.append(EventRecord(event, live=False, memberships=(change,)))

    # ------------------------------------------------------------ inviting

    async def invite(self, room: LiveRoom, event: Event, stripped_state: list[JsonObject]) -> Event:
        """Have the invited user's server sign an invite; the event with both signatures."""
        assert event.state_key is not None
        server = server_name_of(event.state_key)
        try:
            answer = await self._put_invite(server, room, event, stripped_state)
            signed = await self._checker.check(answer.get("event"), room.version)
            return merge_signatures(event, signed)
        except FederationFailure as error:
            if isinstance(error, PeerError) and error.errcode == "M_INCOMPATIBLE_ROOM_VERSION":
                raise UnsupportedRoomVersion(f"{server} does not know this room version") from error
            raise _for_client(error) from error
        except BadEvent as error:
            raise PeerFailed(f"{server} sent back an invalid invite: {error}") from error

    async def _put_invite(
        self, server: str, room: LiveRoom, event: Event, told: list[JsonObject]
    ) -> JsonObject:
        """Send an invite; to a server that may be older than version 2 of it, in version 1.

        Spec: ``PUT /v2/invite``: after 400 or 404, in room versions 1 and 2.
        """
        body: JsonObject = {
            "event": event.pdu,
            "room_version": room.version.identifier,
            "invite_room_state": told,
        }
        try:
            return await self._client.put(
                server, path_of("v2/invite", room.room_id, event.event_id), body=body
            )
        except PeerError as error:
            assigned = room.version.event_id_format is EventIdFormat.ASSIGNED
            if not assigned or error.status not in OLD_SERVER:
                raise
        return await self._client.put(
            server,
            path_of("v1/invite", room.room_id, event.event_id),
            body={**event.pdu, "unsigned": {"invite_room_state": told}},
            in_array=True,
        )

    async def receive_invite(
        self, origin: str, event_id: str, pdu: JsonObject, version: RoomVersion, room_state: Any
    ) -> JsonObject:
        """Take another instance's invite of one of our users; the PDU with our signature.

        ``pdu`` must name a room.  Raises: :class:`BadJson`, :class:`InvalidParam`,
        ``M_INVITE_BLOCKED``, :class:`Forbidden`.
        """
        room = await self._rooms.find(pdu["room_id"])
        if room is not None and room.joined_local and not room.allows_server(origin):
            raise Forbidden("Your server is not allowed in this room")
        event = await self._checked_invite(origin, event_id, pdu, version)
        assert event.state_key is not None
        room = await self._rooms.find(event.room_id)
        told = await told_with_invite(self._checker, version, event.room_id, room_state)
        if room is None or not room.joined_local:  # else it is judged when the event arrives
            await self._gate.judge_incoming_invite(event, told)
        await self._gate.expect(UserId(event.state_key))
        account = await get_account(self._database, event.state_key)
        if account is None or account.deactivated_at is not None:
            raise blocked()  # as of somebody who does not want it
        await self._gate.check_incoming_invite(event)
        signed = sign_event(event.pdu, self._server_name, self._signing_key, version)
        event = Event(signed, event.event_id, version)
        if room is None or not room.joined_local:
            assert event.state_key is not None
            known = await room_storage.get_membership(
                self._database, event.room_id, event.state_key
            )
            if known is None or known.event_id != event.event_id:  # else it is asked for again
                stripped = [*told, stripped_state_event(event)]
                await self.keep_membership(event, version, stripped)
        return signed

    async def _checked_invite(
        self, origin: str, event_id: str, pdu: JsonObject, version: RoomVersion
    ) -> Event:
        """An invite that we may sign.  Spec: ``PUT /invite``, "certain validation"."""
        try:
            event = await self._checker.check(pdu, version)
        except (NotSigned, FederationFailure) as error:
            raise InvalidParam(f"The invite's signature was not verified: {error}") from error
        except BadEvent as error:
            raise BadJson(f"The invite is invalid: {error}") from error
        if event.membership != "invite" or event.state_key is None:
            raise InvalidParam("The event is no invite")
        if event.event_id != event_id:
            raise InvalidParam("The event is not the one that the path names")
        if server_name_of(event.state_key) != self._server_name:
            raise InvalidParam("That user is not of this server")
        if server_name_of(event.sender) != origin:
            raise InvalidParam("The inviting user is not of your server")
        return event


def _for_client(failure: FederationFailure) -> MatrixError:
    """What the client is told whose membership another instance refused."""
    if isinstance(failure, PeerError) and failure.errcode in OUR_FAULT:
        return PeerFailed(f"{failure.server_name} did not understand this server: {failure.text}")
    return failure.to_matrix_error()
