"""A room of three Comities, one of which is its policy server, and a liar who joins."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from nacl.signing import VerifyKey as NaclKey
from yarl import URL

from federation.request_signing import authorization_header
from homeserver.protocol.canonical import (
    decode_base64,
    encode_canonical_json,
    essential_json,
)
from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V12
from homeserver.services.policy_keys import rotate
from tests.federation.network import Clock, Peer
from tests.harness import Comity, MatrixRefused, RawClient, World, eventually, raw_session
from tests.integration.test_lying_peer import KEY, PEER, LyingPeer

RULE = {
    "name": "no-advertising",
    "match": {"keywords": ["casino"]},
    "action": "reject",
    "message": "No advertising here.",
}
_serial = itertools.count(1)


@dataclass
class Trio:
    """Where Alice, Bob and Carol are; Bob's is the policy server."""

    home: Comity
    policy: Comity
    guest: Comity
    session: aiohttp.ClientSession

    async def person(self, name: str, server: Comity) -> RawClient:
        """A new account."""
        client = RawClient(self.session, server.client_url)
        await client.register(f"{name}{next(_serial)}")
        return client

    async def appointment(self) -> dict[str, Any]:
        """The content for ``m.room.policy``, from what the policy server publishes."""
        url = f"{self.policy.client_url}/.well-known/matrix/policy_server"
        async with self.session.get(url) as response:
            return {"via": self.policy.server_name, **await response.json()}

    async def room(self) -> Room:
        """A public room that Bob has joined, and Carol, with the policy server appointed."""
        alice = await self.person("alice", self.home)
        bob = await self.person("bob", self.policy)
        carol = await self.person("carol", self.guest)
        room_id = await alice.create_room(preset="public_chat", room_version="12")
        room = Room(room_id, alice, bob, carol)
        await bob.join(room_id, self.home.server_name)
        await carol.join(room_id, self.home.server_name)
        await room.appoint(await self.appointment())
        return room


@dataclass
class Room:
    """A room with a person of each server in it."""

    room_id: str
    alice: RawClient
    bob: RawClient
    carol: RawClient

    async def appoint(self, content: dict[str, Any]) -> None:
        """Set ``m.room.policy``, and wait until all three servers have it."""
        path = ("rooms", self.room_id, "state", "m.room.policy", "")
        await self.alice.call("PUT", *path, body=content)
        for person in (self.alice, self.bob, self.carol):

            async def has_it(person: RawClient = person) -> bool:
                try:
                    return await person.call("GET", *path) == content
                except MatrixRefused:
                    return False

            await eventually(has_it, "the appointment")

    async def texts(self, person: RawClient) -> list[str]:
        """What a person reads."""
        events = await person.history(self.room_id)
        return [event["content"]["body"] for event in events if "body" in event["content"]]

    async def all_read(self, text: str) -> None:
        """Wait until everybody has read something."""
        for person in (self.alice, self.bob, self.carol):

            async def reads(person: RawClient = person) -> bool:
                return text in await self.texts(person)

            await eventually(reads, f"{person.user_id} reads {text!r}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def trio(world: World) -> AsyncIterator[Trio]:
    """Three Comities; the second is a policy server."""
    overrides = {"policy_server": {"enabled": True}, "policy": {"rules": [RULE]}}
    home, guest = world.comity("home"), world.comity("guest")
    policy = world.comity("policy", overrides=overrides)
    servers = (home, policy, guest)
    for server in servers:
        await server.start_async()
    async with raw_session() as session:
        yield Trio(home, policy, guest, session)
    for server in servers:
        await server.stop_async()


class Liar(LyingPeer):
    """A server that signs its events and asks no policy server."""

    def __init__(self, world: World, trio: Trio) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.trio = trio
        self.target = trio.home
        self.context = ssl.create_default_context(cafile=str(world.network.authority_file))
        self.identity = world.network.add(PEER.removesuffix(".test"))
        clock = Clock(time.time_ns() // 1_000_000)
        self.listener = Peer(PEER, self.identity.federation_port, self.identity.address, KEY, clock)

    async def start(self) -> None:
        """Let others find its key."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.identity.certificate, self.identity.key)
        await self.listener.start(context)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """A signed request to the server that it speaks to now."""
        there = self.target.identity
        content = encode_canonical_json(body) if body is not None else None
        header = authorization_header(
            KEY,
            method=method,
            uri=path,
            origin=PEER,
            destination=there.server_name,
            content=content,
        )
        async with self.trio.session.request(
            method,
            URL(f"https://{there.address}:{there.federation_port}{path}", encoded=True),
            data=content,
            headers={"Authorization": header},
            ssl=self.context,
            server_hostname=f"matrix.{there.server_name}",
        ) as response:
            return response.status, await response.json()

    async def event(self, event_id: str) -> dict[str, Any]:
        """An event as the server that it speaks to has it."""
        status, answer = await self.ask(
            "GET", f"/_matrix/federation/v1/event/{quote(event_id, safe='')}"
        )
        assert status == 200, answer
        pdu: dict[str, Any] = answer["pdus"][0]
        return pdu


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def liar(world: World, trio: Trio) -> AsyncIterator[Liar]:
    """The liar."""
    if not world.network.has_names:
        pytest.skip("the liar needs a name of its own")
    liar = Liar(world, trio)
    await liar.start()
    yield liar
    await liar.listener.close()


async def test_what_it_refuses_nobody_can_send(trio: Trio) -> None:
    """Alice, Carol and Bob himself get the policy server's words; nothing is sent."""
    room = await trio.room()

    for person in (room.alice, room.carol, room.bob):
        with pytest.raises(MatrixRefused) as refusal:
            await person.send(room.room_id, "come to my casino")
        assert refusal.value.errcode == "M_FORBIDDEN"
        assert refusal.value.body["error"] == "No advertising here."
    for person in (room.alice, room.carol, room.bob):
        await person.send(room.room_id, f"good day from {person.user_id}")
        await room.all_read(f"good day from {person.user_id}")

    assert not any("casino" in text for text in await room.texts(room.bob))


async def test_its_signature_travels_with_the_event(trio: Trio, liar: Liar) -> None:
    """A message of Alice's has it at Carol's server too, and so has the liar's own join."""
    room = await trio.room()
    key = (await trio.appointment())["public_keys"]["ed25519"]
    via = trio.policy.server_name
    liar.target = trio.home
    await liar.join(room.room_id)
    event_id = await room.alice.send(room.room_id, "hello")
    await room.all_read("hello")

    for server, wanted in itertools.product((trio.home, trio.guest), (event_id, liar.tip[0])):
        liar.target = server
        pdu = await liar.event(wanted)
        signature = decode_base64(pdu["signatures"][via]["ed25519:policy_server"])
        assert NaclKey(decode_base64(key)).verify(essential_json(pdu, V12), signature)


async def test_what_a_liar_does_not_have_signed_is_not_shown(trio: Trio, liar: Liar) -> None:
    """A forbidden message sent past the policy server is soft-failed everywhere."""
    room = await trio.room()
    liar.target = trio.home
    await liar.join(room.room_id)
    forbidden, allowed = liar.message("casino"), liar.message("an honest word")

    for server in (trio.home, trio.guest, trio.policy):
        liar.target = server
        status, answer = await liar.send(forbidden, allowed)
        assert status == 200
        assert set(answer["pdus"]) == {id_of(forbidden, V12), id_of(allowed, V12)}
    await room.all_read("an honest word")

    for person in (room.alice, room.bob, room.carol):
        assert await room.texts(person) == ["an honest word"]


async def test_members_come_and_go_with_its_signature(trio: Trio) -> None:
    """An invite to another server, the join that answers it, and a leave all pass."""
    room = await trio.room()
    dave = await trio.person("dave", trio.guest)
    path = ("rooms", room.room_id, "state", "m.room.join_rules", "")
    await room.alice.call("PUT", *path, body={"join_rule": "invite"})

    await room.alice.invite(room.room_id, dave.user_id)

    async def invited() -> bool:
        answer = await dave.call("GET", "sync", query={"timeout": 0})
        return room.room_id in answer.get("rooms", {}).get("invite", {})

    await eventually(invited, "the invite")
    await dave.join(room.room_id)
    await dave.send(room.room_id, "thank you")
    await room.all_read("thank you")
    await dave.call("POST", "rooms", room.room_id, "leave")

    async def gone() -> bool:
        return dave.user_id not in await room.alice.joined_members(room.room_id)

    await eventually(gone, "the leave")


async def test_while_it_is_down_its_room_waits_until_it_is_wiped(trio: Trio) -> None:
    """The error names the policy server; taking the appointment back needs it not."""
    room = await trio.room()
    await trio.policy.kill_async()
    try:
        with pytest.raises(MatrixRefused) as refusal:
            await room.alice.send(room.room_id, "anybody there?")
        path = ("rooms", room.room_id, "state", "m.room.policy", "")
        await room.alice.call("PUT", *path, body={})
        await room.alice.send(room.room_id, "we are free")

        async def reads() -> bool:
            return "we are free" in await room.texts(room.carol)

        await eventually(reads, "Carol reads it")
    finally:
        await trio.policy.start_async()

    assert refusal.value.errcode == "M_FORBIDDEN"
    assert trio.policy.server_name in refusal.value.body["error"]
    await room.all_read("we are free")
    assert "anybody there?" not in await room.texts(room.alice)


async def test_a_new_key_takes_over_without_a_pause(trio: Trio) -> None:
    """The old key signs until the room names the new one."""
    room = await trio.room()
    before = await trio.appointment()
    await trio.policy.stop_async()
    rotate(trio.policy.directory / "data")
    await trio.policy.start_async()

    await room.carol.send(room.room_id, "with the old key")
    await room.all_read("with the old key")
    after = await trio.appointment()
    await room.appoint(after)
    await room.carol.send(room.room_id, "with the new key")
    await room.all_read("with the new key")

    assert after["public_keys"] != before["public_keys"]
    with pytest.raises(MatrixRefused) as refusal:
        await room.alice.send(room.room_id, "casino")
    assert refusal.value.body["error"] == "No advertising here."


async def test_a_synapse_in_the_room_has_its_events_signed(
    trio: Trio, world: World, request: pytest.FixtureRequest
) -> None:
    """A Synapse asks our policy server, passes its refusal on, and hears who was signed."""
    if "synapse" not in request.config.getoption("pairs"):
        pytest.skip("no Synapse is wanted")
    synapse = world.synapse("stock")
    await synapse.start_async()
    try:
        room = await trio.room()
        sam = RawClient(trio.session, synapse.client_url)
        await sam.register(f"sam{next(_serial)}")
        await sam.join(room.room_id, trio.home.server_name)

        with pytest.raises(MatrixRefused) as refusal:
            await sam.send(room.room_id, "come to my casino")
        await sam.send(room.room_id, "good day from Sam")
        await room.all_read("good day from Sam")
        await room.alice.send(room.room_id, "good day, Sam")

        async def reads() -> bool:
            return "good day, Sam" in await room.texts(sam)

        await eventually(reads, "Sam reads it")
        assert refusal.value.body["error"] == "No advertising here."
    finally:
        await synapse.stop_async()
