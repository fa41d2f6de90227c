"""A server's rooms without HTTP or other instances: what the tests of services stand on."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Sequence
from typing import Any

from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.signing import generate_signing_key
from homeserver.services.arrivals import Arrivals
from homeserver.services.creation import RoomCreation, RoomRequest
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import ACCEPTED, Judgement
from homeserver.services.live_room import LiveRoom, LiveRooms
from homeserver.services.membership import Membership
from homeserver.services.policy_server import Vetted
from homeserver.services.room_import import RoomImport
from homeserver.services.rooms import Draft, Rooms, Sent
from homeserver.services.state import States
from homeserver.storage.database import Database
from homeserver.storage.event_records import Notification
from homeserver.storage.log import Log


class OpenGate:
    """Policy and consent that allow everything."""

    async def check_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        return ACCEPTED

    async def may_invite(self, inviter: UserId, invitee: UserId, *, is_direct: bool) -> None:
        return None

    async def check_invite(
        self, inviter: UserId, invitee: UserId, room_id: str, *, is_direct: bool
    ) -> None:
        return None

    async def check_knock(self, room: LiveRoom, user_id: str) -> None:
        return None

    async def invite_arrived(self, event: Event) -> Judgement:
        return ACCEPTED

    async def judge_arrival(self, room: LiveRoom, event: Event) -> Judgement:
        return ACCEPTED

    async def signed(self, room: LiveRoom, event: Event) -> Event:
        return event

    async def vet(self, room: LiveRoom, event: Event) -> Vetted:
        return Vetted(event)

    async def record_verdict(self, room: LiveRoom, event: Event, judgement: Judgement) -> None:
        return None

    async def prepare(self, room: LiveRoom, content: JsonObject) -> None:
        pass

    def notifications(self, room: LiveRoom, event: Event) -> Sequence[Notification]:
        return ()

    async def member_fields(self, user_id: UserId) -> JsonObject:
        return {}

    async def invite_answered(self, invitee: UserId, inviter: str, *, accepted: bool) -> None:
        return None


class NumberedSets:
    """Destination sets, numbered in memory."""

    def __init__(self) -> None:
        self._numbers: dict[frozenset[str], int] = {}
        self._next = itertools.count(1)

    async def id_for(self, servers: frozenset[str]) -> int:
        if servers not in self._numbers:
            self._numbers[servers] = next(self._next)
        return self._numbers[servers]


class RoomWorld:
    """One server's rooms on a database."""

    def __init__(
        self,
        database: Database,
        server_name: str = "one.test",
        gate: OpenGate | None = None,
    ) -> None:
        self.server_name = server_name
        self.database = database
        self.log = Log(database)
        self.store = EventStore(database)
        self.log.subscribe(self.store.on_notice)
        self.live_rooms = LiveRooms(database, self.store, server_name)
        self.states = States(database, self.store)
        self.key = generate_signing_key(secrets.token_bytes(32), "test")
        gate, sets = gate or OpenGate(), NumberedSets()
        self.destination_sets = sets
        self.rooms = Rooms(
            server_name=server_name,
            signing_key=self.key,
            database=database,
            log=self.log,
            live_rooms=self.live_rooms,
            store=self.store,
            gate=gate,
            policy_servers=gate,
            unread=gate,
            destination_sets=sets,
            clock_ms=lambda: time.time_ns() // 1_000_000,
            random_id=lambda: secrets.token_urlsafe(12),
        )
        self.arrivals = Arrivals(
            database=database,
            rooms=self.rooms,
            live_rooms=self.live_rooms,
            store=self.store,
            states=self.states,
            policy=gate,
            policy_servers=gate,
            unread=gate,
            destination_sets=sets,
            invited=gate,
        )
        self.room_import = RoomImport(
            server_name=server_name,
            database=database,
            rooms=self.rooms,
            live_rooms=self.live_rooms,
        )
        unreachable: Any = None
        self.membership = Membership(
            server_name=server_name,
            database=database,
            rooms=self.rooms,
            arrivals=self.arrivals,
            remote=unreachable,
            gate=gate,
            profiles=gate,
        )
        self.creation = RoomCreation(
            server_name=server_name,
            default_version="12",
            database=database,
            rooms=self.rooms,
            live_rooms=self.live_rooms,
            membership=self.membership,
            third_party=unreachable,
            clock_ms=lambda: time.time_ns() // 1_000_000,
            random_id=lambda: secrets.token_urlsafe(12),
        )

    async def start(self) -> None:
        await self.log.start()

    async def close(self) -> None:
        await self.log.close()

    def user(self, localpart: str) -> UserId:
        return UserId(f"@{localpart}:{self.server_name}")

    async def room(self, creator: UserId, **request: Any) -> str:
        return await self.creation.create(creator, RoomRequest(**request), {})

    async def say(self, room_id: str, sender: UserId, text: str) -> Sent:
        content = {"msgtype": "m.text", "body": text}
        return await self.rooms.send(room_id, Draft(sender, "m.room.message", content))
