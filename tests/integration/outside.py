"""A server outside, on a TLS port of its own, with a room of its own; it answers as it is told."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import web
from yarl import URL

from federation.request_signing import authorization_header
from homeserver.protocol.auth_rules import auth_event_keys
from homeserver.protocol.canonical import encode_canonical_json
from homeserver.protocol.events import Event, StateKey, build_event, references
from homeserver.protocol.room_versions import ROOM_VERSIONS, EventIdFormat
from homeserver.protocol.signing import SigningKey
from homeserver.storage.database import Database
from tests.federation.network import Net, Peer
from tests.integration.single import Instance, running

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"


def now_ms() -> int:
    """The time."""
    return time.time_ns() // 1_000_000


class Outside:
    """A peer that has made a public room, in which its owner is alone."""

    def __init__(self, one: Instance, peer: Peer, version: str = "11") -> None:
        self.one, self.peer = one, peer
        self.name = peer.server_name
        self.version = ROOM_VERSIONS[version]
        self.owner = f"@owner:{self.name}"
        self.room_id = f"!room:{self.name}"
        self.state: dict[StateKey, Event] = {}
        self.history: list[Event] = []
        self._numbers = itertools.count(1)
        content: dict[str, Any] = {"room_version": version}
        if not self.version.implicit_room_creator:
            content["creator"] = self.owner
        create = self.add("m.room.create", content)
        self.room_id = create.room_id
        self.add("m.room.member", {"membership": "join"}, self.owner)
        users = {} if self.version.privileged_creators else {self.owner: 100}
        self.add("m.room.power_levels", {"users": users})
        self.add("m.room.join_rules", {"join_rule": "public"})

    # ------------------------------------------------------------ events

    def make(
        self,
        kind: str,
        content: dict[str, Any],
        state_key: str | None = None,
        *,
        sender: str | None = None,
        prevs: list[Event] | None = None,
        key: SigningKey | None = None,
        room_id: str | None = None,
    ) -> Event:
        """An event on top of the room, or of others."""
        sender = sender or self.owner
        number = next(self._numbers)
        keys = auth_event_keys(kind, state_key, sender, content, self.version)
        assigned = self.version.event_id_format is EventIdFormat.ASSIGNED
        prevs = self.history[-1:] if prevs is None else prevs
        return build_event(
            self.version,
            room_id=room_id or self.room_id,
            sender=sender,
            type=kind,
            content=content,
            state_key=state_key,
            prev_events=prevs,
            auth_events=[self.state[key] for key in sorted(keys) if key in self.state],
            depth=max((prev.depth for prev in prevs), default=0) + 1,
            origin_server_ts=now_ms(),
            server_name=self.name,
            signing_key=key or self.peer.key,
            event_id=f"$event{number}:{self.name}" if assigned else None,
            with_origin=kind == "m.room.member",
        )

    def add(
        self, kind: str, content: dict[str, Any], state_key: str | None = "", **options: Any
    ) -> Event:
        """The same, and the room moves on."""
        event = self.make(kind, content, state_key, **options)
        self.take(event)
        return event

    def take(self, event: Event) -> None:
        """The room moves on by an event."""
        self.history.append(event)
        if event.is_state:
            self.state[event.key] = event

    # ------------------------------------------------------------ asking

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to the instance, signed as it should be."""
        content = encode_canonical_json(body) if body is not None else None
        header = authorization_header(
            self.peer.key,
            method=method,
            uri=path,
            origin=self.name,
            destination="one.test",
            content=content,
        )
        async with self.one.client.request(
            method, URL(path, encoded=True), data=content, headers={"Authorization": header}
        ) as response:
            return response.status, await response.json()

    async def invite(
        self,
        user_id: str,
        told: Any,
        *,
        event: Event | None = None,
        room_version: str | None = None,
    ) -> tuple[int, Any]:
        """Invite somebody of the instance."""
        event = event or self.make("m.room.member", {"membership": "invite"}, user_id)
        body = {
            "event": event.pdu,
            "room_version": room_version or self.version.identifier,
            "invite_room_state": told,
        }
        room, event_id = quote(event.room_id, safe=""), quote(event.event_id, safe="")
        return await self.ask("PUT", f"{V2}/invite/{room}/{event_id}", body)

    async def send(self, *events: Event) -> Any:
        """A transaction."""
        body = {"origin": self.name, "origin_server_ts": now_ms(), "pdus": [e.pdu for e in events]}
        status, answer = await self.ask("PUT", f"{V1}/send/{next(self._numbers)}", body)
        assert status == 200, answer
        return answer["pdus"]

    # ------------------------------------------------------------ answering

    def answer(self, path: str, make: Callable[[web.Request], Any], status: int = 200) -> None:
        """Answer requests below a path."""

        async def handle(request: web.Request) -> web.Response:
            return web.json_response(make(request), status=status)

        self.peer.answers[path] = handle

    def template(self, user_id: str, membership: str) -> dict[str, Any]:
        """What ``make_join`` and its like answer."""
        content = {"membership": membership}
        keys = auth_event_keys("m.room.member", user_id, user_id, content, self.version)
        auths = [self.state[key] for key in sorted(keys) if key in self.state]
        return {
            "room_version": self.version.identifier,
            "event": {
                "type": "m.room.member",
                "room_id": self.room_id,
                "sender": user_id,
                "state_key": user_id,
                "content": content,
                "origin": self.name,
                "origin_server_ts": now_ms(),
                "depth": self.history[-1].depth + 1,
                "prev_events": references(self.history[-1:], self.version),
                "auth_events": references(auths, self.version),
            },
        }

    def let_in(self) -> None:
        """Help whoever asks to join, knock or leave."""

        def made(request: web.Request) -> Any:
            _, _, _, version, operation, _, user_id = request.raw_path.partition("?")[0].split("/")
            assert version == "v1"
            return self.template(unquote(user_id), operation.removeprefix("make_"))

        def sent_join(request: web.Request) -> Any:
            state = [event.pdu for event in self.state.values()]
            return {"state": state, "auth_chain": state, "origin": self.name}

        for membership in ("join", "knock", "leave"):
            self.answer(f"{V1}/make_{membership}", made)
        self.answer(f"{V2}/send_join", sent_join)
        self.answer(f"{V2}/send_leave", lambda _: {})
        self.answer(f"{V1}/send_knock", lambda _: {"knock_room_state": self.told()})

    def told(self) -> list[Any]:
        """What a stranger may see of the room, as PDUs."""
        kinds = ("m.room.create", "m.room.join_rules", "m.room.name")
        return [event.pdu for key, event in self.state.items() if key[0] in kinds]

    def got(self, path: str) -> list[Any]:
        """The bodies of requests to paths that begin so."""
        pairs = zip(self.peer.requests, self.peer.bodies, strict=True)
        return [body for request, body in pairs if request.path.startswith(path)]


@asynccontextmanager
async def beside(database: Database, tmp_path: Path, **settings: Any) -> AsyncIterator[Any]:
    """An instance, and the network around it: ``(instance, net)``."""
    net = Net()
    net.clock.now_ms = now_ms()
    federation = {
        "allow_private_networks": True,
        "extra_ca_file": str(net.authority.file),
        "private_zones": {"*.test": "127.0.0.1"},
        "timeout_seconds": 5,
    }
    consent = {"cross_instance": "implied"}
    try:
        async with running(
            database, tmp_path, federation=federation, consent=consent, **settings
        ) as one:
            yield one, net
    finally:
        await net.close()
