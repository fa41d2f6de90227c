"""A peer that joins a room and then lies: what is forged is never shown, and nothing breaks."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from federation.comity import QUERY_PATH
from federation.request_signing import authorization_header
from federation.routes import comity
from homeserver.protocol.canonical import content_hash, encode_base64, encode_canonical_json
from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V12
from homeserver.protocol.signing import generate_signing_key, sign_event
from homeserver.storage import inbox
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.single import Instance, running
from tests.spec.contract import contract

PEER = "peer.test"
MALLORY = f"@mallory:{PEER}"
ALICE = "@alice:one.test"
KEY = generate_signing_key(bytes(range(32)), "p")
DAY_MS = 86_400_000


class LyingPeer:
    """Another server, with a key that the instance knows."""

    def __init__(self, one: Instance) -> None:
        self.one = one
        self.room_id = ""
        self.tip: list[str] = []
        self.auths: list[str] = []
        self.depth = 0
        self.answered: list[dict[str, Any]] = []
        self._transactions = itertools.count(1)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """A request signed as it should be."""
        content = encode_canonical_json(body) if body is not None else None
        header = authorization_header(
            KEY, method=method, uri=path, origin=PEER, destination="one.test", content=content
        )
        async with self.one.client.request(
            method, URL(path, encoded=True), data=content, headers={"Authorization": header}
        ) as response:
            return response.status, await response.json()

    def signed(self, method: str, path: str) -> str:
        """The ``Authorization`` of a request without a body."""
        return authorization_header(
            KEY, method=method, uri=path, origin=PEER, destination="one.test", content=None
        )

    def finished(self, pdu: dict[str, Any]) -> dict[str, Any]:
        """Hash and sign an event."""
        pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu))}
        return sign_event(pdu, PEER, KEY, V12)

    async def join(self, room_id: str) -> None:
        """Take part, by the book."""
        base = "/_matrix/federation"
        room, user = quote(room_id, safe=""), quote(MALLORY, safe="")
        status, answer = await self.ask("GET", f"{base}/v1/make_join/{room}/{user}?ver=12")
        assert status == 200, answer
        template = {**answer["event"], "origin_server_ts": time.time_ns() // 1_000_000}
        join = self.finished(template)
        event_id = id_of(join, V12)
        path = f"{base}/v2/send_join/{room}/{quote(event_id, safe='')}"
        status, answer = await self.ask("PUT", path, join)
        assert status == 200, answer
        self.answered = [*answer["state"], *answer["auth_chain"]]
        self.room_id, self.tip, self.depth = room_id, [event_id], join["depth"]
        power = [id_of(pdu, V12) for pdu in answer["state"] if pdu["type"] == "m.room.power_levels"]
        self.auths = [*power, event_id]

    def message(self, text: str, **changes: Any) -> dict[str, Any]:
        """A message on top of what the peer knows, but for the changes."""
        self.depth += 1
        pdu: dict[str, Any] = {
            "type": "m.room.message",
            "room_id": self.room_id,
            "sender": MALLORY,
            "content": {"msgtype": "m.text", "body": text},
            "prev_events": self.tip,
            "auth_events": self.auths,
            "depth": self.depth,
            "origin_server_ts": time.time_ns() // 1_000_000,
            **changes,
        }
        return self.finished(pdu)

    async def send(self, *pdus: Any, txn_id: str | None = None) -> tuple[int, dict[str, Any]]:
        """One transaction."""
        body = {
            "origin": PEER,
            "origin_server_ts": time.time_ns() // 1_000_000,
            "pdus": list(pdus),
        }
        txn_id = txn_id or str(next(self._transactions))
        return await self.ask("PUT", f"/_matrix/federation/v1/send/{txn_id}", body)


class World:
    """The instance, Alice's view of the room, and the peer."""

    def __init__(self, one: Instance, peer: LyingPeer, alice: str) -> None:
        self.one, self.peer, self.alice = one, peer, alice

    async def seen(self, *, until: str) -> list[str]:
        """What Alice sees, once an honest last message has come through."""
        await self.peer.send(self.peer.message(until))
        async with asyncio.timeout(20):
            while True:
                texts = await self.one.texts(self.alice, self.peer.room_id)
                if until in texts:
                    return [text for text in texts if text != until]
                await asyncio.sleep(0.02)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """An instance whose public room the peer has joined."""
    settings: dict[str, Any] = {
        "allow_private_networks": True,
        "private_zones": {"*.test": "127.0.0.1"},
        "timeout_seconds": 1,
    }
    consent = {"cross_instance": "implied"}
    async with running(database, tmp_path, federation=settings, consent=consent) as one:
        now = time.time_ns() // 1_000_000
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        alice = await one.register("alice")
        peer = LyingPeer(one)
        await peer.join(await one.room(alice))
        yield World(one, peer, alice)


async def test_an_honest_message_is_shown_once_however_often_it_comes(world: World) -> None:
    message = world.peer.message("hello")

    first = await world.peer.send(message, message, txn_id="same")
    again = await world.peer.send(message, txn_id="same")
    await world.peer.send(message, txn_id="other")

    assert first == again
    assert first[0] == 200
    assert await world.seen(until="end") == ["hello"]


async def test_nobody_speaks_for_another_servers_user(world: World) -> None:
    await world.peer.send(world.peer.message("I am Alice", sender=ALICE))

    assert await world.seen(until="end") == []


async def test_a_bad_signature_is_worth_nothing(world: World) -> None:
    message = world.peer.message("trust me")
    other = generate_signing_key(bytes(32), "p")
    forged = sign_event({k: v for k, v in message.items() if k != "signatures"}, PEER, other, V12)

    await world.peer.send(forged)
    await world.peer.send({k: v for k, v in message.items() if k != "signatures"})

    assert await world.seen(until="end") == []


async def test_content_that_was_changed_is_redacted(world: World) -> None:
    message = world.peer.message("signed")
    message["content"] = {"msgtype": "m.text", "body": "changed afterwards"}

    await world.peer.send(message)

    contract().malformed.note("m.room.message", {})  # what is left of it
    assert await world.seen(until="end") == []


async def test_a_member_without_power_sets_no_state(world: World) -> None:
    await world.peer.send(world.peer.message("", type="m.room.topic", state_key=""))
    members = [{"membership": "ban"}, {"membership": "leave"}]
    for content in members:
        await world.peer.send(
            world.peer.message("", type="m.room.member", state_key=ALICE, content=content)
        )

    await world.seen(until="end")
    room = await world.one.wiring.rooms.get(world.peer.room_id)
    assert ("m.room.topic", "") not in room.state
    assert room.is_joined(ALICE)


async def test_the_banned_are_not_heard(world: World) -> None:
    path = f"/rooms/{world.peer.room_id}/ban"
    await world.one.call("POST", path, {"user_id": MALLORY}, token=world.alice)

    await world.peer.send(world.peer.message("I was here before the ban, honestly"))
    await world.one.say(world.alice, world.peer.room_id, "peace")
    for _ in range(500):
        if not await inbox.rooms_waiting(world.one.wiring.database):
            break
        await asyncio.sleep(0.02)

    assert await world.one.texts(world.alice, world.peer.room_id) == ["peace"]


@pytest.mark.parametrize(
    "pdus",
    [
        [None, 7, "text", [], {}],
        [{"room_id": "!none:one.test", "type": "m.room.message"}],
        [{"room_id": "!none:two.test", "type": "m.room.member", "state_key": "@a\0:one.test"}],
        [{"type": "m.room.message", "sender": MALLORY, "content": {}}],
    ],
)
async def test_what_is_no_event_is_passed_over(world: World, pdus: list[Any]) -> None:
    status, _ = await world.peer.send(*pdus)

    assert status == 200
    assert await world.seen(until="end") == []


async def test_a_transaction_has_its_limits(world: World) -> None:
    status, answer = await world.peer.send(*[{}] * 51)

    assert (status, answer["errcode"]) == (400, "M_BAD_JSON")


async def test_ancestors_that_the_peer_never_gives_do_not_stop_the_room(world: World) -> None:
    orphan = world.peer.message("from nowhere", prev_events=["$" + "x" * 43])

    await world.peer.send(orphan)

    assert "from nowhere" not in await world.seen(until="end")


async def test_an_invite_that_came_as_an_event_is_asked_too(world: World) -> None:
    one, peer = world.one, world.peer
    ours, bob_id = "/_comity/client/v1", "@bob:one.test"
    bob = await one.register("bob")

    async def smuggle(until: str) -> None:
        content = {"membership": "invite", "displayname": "You won!"}
        invite = peer.message("", type="m.room.member", state_key=bob_id, content=content)
        await peer.send(invite)
        await world.seen(until=until)

    await one.call("PUT", f"{ours}/consent/group", {"preset": "closed"}, token=bob)
    await smuggle("first")
    refused = (await one.call("GET", "/sync", token=bob)).get("rooms", {})
    await one.call("PUT", f"{ours}/consent/group", {"preset": "ask"}, token=bob)
    await smuggle("second")

    assert "invite" not in refused
    (request,) = (await one.call("GET", f"{ours}/requests", token=bob))["requests"]
    assert (request["sender"], request["room_id"]) == (MALLORY, peer.room_id)
    shown = (await one.call("GET", "/sync", token=bob))["rooms"]["invite"]
    assert list(shown) == [peer.room_id]


async def test_consent_that_is_not_given_looks_alike_and_takes_as_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, waits = world.one, []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    clock = SimpleNamespace(get_running_loop=asyncio.get_running_loop, sleep=sleep)
    monkeypatch.setattr(comity, "asyncio", clock)
    for name, state in (("blocks", "denied"), ("grants", "granted")):
        token = await one.register(name)
        path = f"/_comity/client/v1/consent/message/{MALLORY}"
        await one.call("PUT", path, {"state": state}, token=token)
    token = await one.register("asks")
    await one.call("PUT", "/_comity/client/v1/consent", {"preset": "ask"}, token=token)

    answers = {}
    for name in ("blocks", "asks", "nobody", "grants"):
        body = {"sender": MALLORY, "recipient": f"@{name}:one.test", "scope": "message"}
        answers[name] = await world.peer.ask("POST", QUERY_PATH, body)

    assert answers["blocks"] == answers["asks"] == answers["nobody"]
    assert answers["blocks"] == (200, {"answer": "not_given"})
    assert answers["grants"] == (200, {"answer": "granted"})
    assert len(waits) == 3
