"""A hostile instance: a hand-made server with valid keys that signs real requests, for many users.

It answers for its keys over TLS as an honest instance would, takes whatever it is sent, and asks
for whatever the attack is made of.  It pays no heed to being asked to slow down.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from aiohttp import web
from yarl import URL

from federation.request_signing import authorization_header
from homeserver.protocol.canonical import content_hash, encode_base64, encode_canonical_json
from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V11, V12, RoomVersion
from homeserver.protocol.signing import generate_signing_key, sign_event, sign_json
from tests.harness import Identity

DAY_MS = 86_400_000
AT_ONCE = 16
FEDERATION = "/_matrix/federation"
CONSENT_QUERY = f"{FEDERATION}/unstable/dev.comity/consent/query"

Answer = tuple[int, Any]


def now_ms() -> int:
    """The time."""
    return time.time_ns() // 1_000_000


class Hostile:
    """The instance: its key, its users, and the connection to its victim's server."""

    def __init__(self, identity: Identity, target: Identity, authority_file: Path) -> None:
        self.identity = identity
        self.name = identity.server_name
        self.target = target
        self.key = generate_signing_key(identity.label.encode().ljust(32, b"x"), "evil")
        self.users = [f"@mallory{n}:{self.name}" for n in range(1000)]
        self.statuses: Counter[int] = Counter()
        self._tls = ssl.create_default_context(cafile=str(authority_file))
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    # ------------------------------------------------------------ being an instance

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Answer for the keys, and keep connections to the victim's server."""
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.identity.certificate, self.identity.key)
        address, port = self.identity.address, self.identity.federation_port
        await web.TCPSite(self._runner, address, port, ssl_context=context).start()
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        timeout = aiohttp.ClientTimeout(120)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            yield self
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        if request.path.startswith("/_matrix/key/v2/server"):
            return web.json_response(self._keys())
        return web.json_response({})

    def _keys(self) -> dict[str, Any]:
        public = encode_base64(self.key.verify_key.data)
        document = {
            "server_name": self.name,
            "valid_until_ts": now_ms() + DAY_MS,
            "verify_keys": {self.key.key_id: {"key": public}},
            "old_verify_keys": {},
        }
        return sign_json(document, self.name, self.key)

    # ------------------------------------------------------------ asking

    def header(self, method: str, path: str, content: bytes | None, **changes: str) -> str:
        """An Authorization header, signed as it should be but for the changes."""
        values = {"origin": self.name, "destination": self.target.server_name, **changes}
        return authorization_header(
            self.key,
            method=method,
            uri=path,
            origin=values["origin"],
            destination=values["destination"],
            content=content,
        )

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """A request signed as it should be."""
        content = encode_canonical_json(body) if body is not None else None
        return await self.raw(method, path, content, self.header(method, path, content))

    async def raw(self, method: str, path: str, content: bytes | None, header: str) -> Answer:
        """Any request; the status, and the body if that is JSON."""
        assert self._session is not None
        identity = self.target
        url = f"https://{identity.address}:{identity.federation_port}{path}"
        async with self._session.request(
            method,
            URL(url, encoded=True),
            data=content,
            headers={"Authorization": header},
            ssl=self._tls,
            server_hostname=self.tls_name,
        ) as response:
            text = await response.read()
            self.statuses[response.status] += 1
            try:
                return response.status, json.loads(text)
            except ValueError:
                return response.status, None

    def head(self, method: str, path: str, length: int) -> bytes:
        """The head of a request that promises a body of so many bytes."""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self.tls_name}\r\n"
            f"Authorization: {self.header(method, path, b'{}')}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    @property
    def tls_name(self) -> str:
        """The name in the certificate of the victim's server."""
        return self.target.delegation.rpartition(":")[0]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare TLS connection to the victim's server."""
        identity = self.target
        return await asyncio.open_connection(
            identity.address,
            identity.federation_port,
            ssl=self._tls,
            server_hostname=self.tls_name,
        )

    async def many(self, work: Iterable[Callable[[], Awaitable[Answer]]]) -> Counter[int]:
        """Do many things, some at a time; how often which status was the answer."""
        turns = iter(work)
        statuses: Counter[int] = Counter()

        async def go_on() -> None:
            for one in turns:
                status, _ = await one()
                statuses[status] += 1

        await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))
        return statuses

    # ------------------------------------------------------------ events

    def finished(self, pdu: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
        """Hash and sign an event."""
        pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu))}
        return sign_event(pdu, self.name, self.key, version)

    async def invite(
        self,
        sender: str,
        victim: str,
        room: str | None = None,
        *,
        direct: bool = True,
    ) -> Answer:
        """Invite somebody to a room that nobody of theirs is in, by ``PUT /v2/invite``."""
        room_id = f"!{room or f'lair{next(self._numbers)}'}:{self.name}"
        content: dict[str, Any] = {"membership": "invite", "displayname": "a friend"}
        if direct:
            content["is_direct"] = True
        pdu = {
            "type": "m.room.member",
            "room_id": room_id,
            "sender": sender,
            "state_key": victim,
            "content": content,
            "prev_events": ["$" + "p" * 43],
            "auth_events": ["$" + "a" * 43],
            "depth": next(self._numbers),
            "origin_server_ts": now_ms(),
        }
        event = self.finished(pdu, V11)
        body = {"event": event, "room_version": "11", "invite_room_state": []}
        event_id = quote(id_of(event, V11), safe="")
        path = f"{FEDERATION}/v2/invite/{quote(room_id, safe='')}/{event_id}"
        return await self.ask("PUT", path, body)

    async def transaction(
        self, pdus: Iterable[Any] = (), edus: Iterable[Any] = (), txn_id: str | None = None
    ) -> Answer:
        """One transaction."""
        body = {
            "origin": self.name,
            "origin_server_ts": now_ms(),
            "pdus": list(pdus),
            "edus": list(edus),
        }
        txn_id = txn_id or f"t{next(self._numbers)}"
        return await self.ask("PUT", f"{FEDERATION}/v1/send/{quote(txn_id, safe='')}", body)


class SharedRoom:
    """A room of the victim's server with some of the hostile users in it."""

    def __init__(self, hostile: Hostile, room_id: str) -> None:
        self.hostile = hostile
        self.room_id = room_id
        self.tip: list[str] = []
        self.depth = 0
        self.members: dict[str, list[str]] = {}  # user ID -> auth events
        self._power: list[str] = []

    async def join(self, user_id: str) -> None:
        """Take part, by the book."""
        room, user = quote(self.room_id, safe=""), quote(user_id, safe="")
        status, answer = await self.hostile.ask(
            "GET", f"{FEDERATION}/v1/make_join/{room}/{user}?ver=12"
        )
        assert status == 200, answer
        template = {**answer["event"], "origin_server_ts": now_ms()}
        join = self.hostile.finished(template, V12)
        event_id = id_of(join, V12)
        path = f"{FEDERATION}/v2/send_join/{room}/{quote(event_id, safe='')}"
        status, answer = await self.hostile.ask("PUT", path, join)
        assert status == 200, answer
        self._power = [
            id_of(pdu, V12) for pdu in answer["state"] if pdu["type"] == "m.room.power_levels"
        ]
        self.tip, self.depth = [event_id], join["depth"]
        self.members[user_id] = [*self._power, event_id]

    def event(
        self, sender: str, type_: str, content: dict[str, Any], **more: Any
    ) -> dict[str, Any]:
        """An event on top of the member's join: a fork for each, as a hostile server would."""
        auths = self.members[sender]
        self.depth += 1
        pdu = {
            "type": type_,
            "room_id": self.room_id,
            "sender": sender,
            "content": content,
            "prev_events": self.tip,
            "auth_events": auths,
            "depth": self.depth,
            "origin_server_ts": now_ms(),
            **more,
        }
        event = self.hostile.finished(pdu, V12)
        self.tip = [id_of(event, V12)]
        return event

    def message(self, sender: str, text: str) -> dict[str, Any]:
        """A message."""
        return self.event(sender, "m.room.message", {"msgtype": "m.text", "body": text})

    def picture(self, sender: str) -> dict[str, Any]:
        """A message with a file of the hostile instance's."""
        url = f"mxc://{self.hostile.name}/{next(self.hostile._numbers)}"
        content = {"msgtype": "m.image", "body": "look", "url": url, "info": {"size": 1}}
        return self.event(sender, "m.room.message", content)

    def smuggled(self, sender: str, victim: str) -> dict[str, Any]:
        """An invite that comes as an event of the room, and is not asked for first."""
        content = {"membership": "invite", "is_direct": True}
        return self.event(sender, "m.room.member", content, state_key=victim)
