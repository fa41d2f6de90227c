"""Rooms with a policy server on another instance, which is a stand-in here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nacl.signing import SigningKey as NaclKey

from homeserver.errors import Forbidden, LimitExceeded, MatrixError
from homeserver.protocol.canonical import encode_base64, essential_json
from homeserver.protocol.events import Event, JsonObject, build_event
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.room_versions import V12
from homeserver.protocol.signing import generate_signing_key
from homeserver.services.judgement import Action
from homeserver.services.policy_server import PATIENCE_COUNT, PolicyServers
from homeserver.services.policy_signer import PolicySigner
from homeserver.services.rooms import Draft
from homeserver.storage.database import Database
from tests.services.room_world import OpenGate, RoomWorld

VIA = "policy.test"
BOT = UserId(f"@bot:{VIA}")
BOT_KEY = generate_signing_key(bytes(range(32)), "bot")
POLICY_KEY = NaclKey(bytes(range(1, 33)))


class StandIn:
    """A policy server that does as it is told."""

    def __init__(self) -> None:
        self.key = POLICY_KEY
        self.failures: list[MatrixError] = []
        self.answer: JsonObject | None = None
        self.shown: list[JsonObject] = []

    async def sign(self, via: str, pdu: JsonObject) -> JsonObject:
        assert via == VIA
        self.shown.append(pdu)
        if self.failures:
            raise self.failures.pop(0)
        if self.answer is not None:
            return self.answer
        signature = self.key.sign(essential_json(pdu, V12)).signature
        return {VIA: {"ed25519:policy_server": encode_base64(signature)}}


class Stage:
    """A room whose policy server is the stand-in."""

    def __init__(self, world: RoomWorld) -> None:
        self.world = world
        self.stand_in = StandIn()
        off = PolicySigner(server_name="one.test", keys=(), policy=Unasked())
        servers = PolicyServers(
            server_name="one.test", store=world.store, remote=self.stand_in, own=off
        )
        world.rooms._policy_servers = servers
        world.arrivals._policy_servers = servers
        self.alice = world.user("alice")
        self.room_id = ""

    async def prepare(self) -> None:
        """Alice's public room, and the policy server's user in it."""
        self.room_id = await self.world.room(self.alice, public=True)
        await self.join(BOT)

    async def join(self, user_id: UserId) -> None:
        member = {"membership": "join"}
        judgement = await self.world.arrivals.receive(
            await self.build(user_id, "m.room.member", member, state_key=user_id)
        )
        assert judgement.action is Action.ACCEPT

    async def appoint(self, **content: Any) -> None:
        key = encode_base64(bytes(POLICY_KEY.verify_key))
        content = {"via": VIA, "public_keys": {"ed25519": key}, **content}
        draft = Draft(self.alice, "m.room.policy", content, "")
        await self.world.rooms.send(self.room_id, draft)

    async def build(
        self,
        sender: UserId,
        kind: str,
        content: JsonObject,
        state_key: str | None = None,
    ) -> Event:
        """An event of another instance on top of the room."""
        room = await self.world.rooms.get(self.room_id)
        await room.load_events(self.world.store, room.state)
        keys = [("m.room.power_levels", ""), ("m.room.member", sender)]
        if content.get("membership") == "join":
            keys.append(("m.room.join_rules", ""))
        return build_event(
            V12,
            room_id=self.room_id,
            sender=sender,
            type=kind,
            content=content,
            state_key=state_key,
            prev_events=list(room.extremities.values()),
            auth_events=list(room.state_events(keys).values()),
            depth=max(event.depth for event in room.extremities.values()) + 1,
            origin_server_ts=1_700_000_000_000,
            server_name=VIA,
            signing_key=BOT_KEY,
        )

    async def message(self, text: str) -> Event:
        content = {"msgtype": "m.text", "body": f"{text} {secrets.token_hex(4)}"}
        return await self.build(BOT, "m.room.message", content)


class Unasked(OpenGate):
    """A policy that is not to be asked."""

    async def judge_for_signing(self, room: Any, event: Event) -> Any:
        raise AssertionError("nobody is to be judged here")


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    world = RoomWorld(database)
    await world.start()
    stage = Stage(world)
    await stage.prepare()
    yield stage
    await world.close()


async def stored(stage: Stage, event_id: str) -> Event:
    """An event as it lies on the disk."""
    stage.world.store.forget(event_id)
    found = await stage.world.store.get(event_id)
    assert found is not None
    return found.event


async def test_a_room_without_one_asks_nobody(stage: Stage) -> None:
    await stage.world.say(stage.room_id, stage.alice, "hello")
    await stage.world.arrivals.receive(await stage.message("hello"))

    assert stage.stand_in.shown == []


async def test_what_is_sent_bears_both_signatures_on_disk(stage: Stage) -> None:
    await stage.appoint()

    sent = await stage.world.say(stage.room_id, stage.alice, "hello")

    event = await stored(stage, sent.event.event_id)
    (shown,) = stage.stand_in.shown
    assert shown["content"]["body"] == "hello"
    assert set(event.pdu["signatures"]) == {"one.test", VIA}
    signature = event.pdu["signatures"][VIA]["ed25519:policy_server"]
    expected = POLICY_KEY.sign(essential_json(event.pdu, V12)).signature
    assert signature == encode_base64(expected)


async def test_a_refusal_reaches_the_sender_and_nothing_is_kept(stage: Stage) -> None:
    await stage.appoint()
    before = await stage.world.database.fetchval("SELECT count(*) FROM events")
    refusal = MatrixError("Spam, it seems", errcode="M_FORBIDDEN", status=400)
    stage.stand_in.failures = [refusal]

    with pytest.raises(MatrixError) as caught:
        await stage.world.say(stage.room_id, stage.alice, "buy!")
    await stage.world.say(stage.room_id, stage.alice, "good day")

    assert caught.value is refusal
    after = await stage.world.database.fetchval("SELECT count(*) FROM events")
    assert after == before + 1


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {VIA: {"ed25519:policy_server": "c2lnbmVk"}},
        {VIA: {"ed25519:other": "c2lnbmVk"}},
        {"one.test": {"ed25519:policy_server": "c2lnbmVk"}},
        {VIA: ["ed25519:policy_server"]},
    ],
)
async def test_an_invalid_signature_is_no_signature(stage: Stage, answer: JsonObject) -> None:
    await stage.appoint()
    stage.stand_in.answer = answer

    with pytest.raises(Forbidden, match=VIA):
        await stage.world.say(stage.room_id, stage.alice, "hello")


async def test_a_signature_with_another_key_than_the_rooms_is_none(stage: Stage) -> None:
    await stage.appoint()
    stage.stand_in.key = NaclKey(bytes(32))

    with pytest.raises(Forbidden, match=VIA):
        await stage.world.say(stage.room_id, stage.alice, "hello")


async def test_the_appointment_itself_is_not_shown_to_it(stage: Stage) -> None:
    await stage.appoint()
    await stage.appoint(via="other.test")

    assert stage.stand_in.shown == []


async def test_one_whose_user_has_left_is_not_asked(stage: Stage) -> None:
    await stage.appoint()
    left = await stage.build(BOT, "m.room.member", {"membership": "leave"}, state_key=BOT)
    assert (await stage.world.arrivals.receive(left)).action is Action.ACCEPT
    stage.stand_in.shown.clear()

    await stage.world.say(stage.room_id, stage.alice, "hello")

    assert stage.stand_in.shown == []


async def test_a_slow_one_does_not_stop_other_rooms(stage: Stage) -> None:
    await stage.appoint()
    elsewhere = await stage.world.room(stage.alice)
    release = asyncio.Event()
    sign = stage.stand_in.sign

    async def slowly(via: str, pdu: JsonObject) -> JsonObject:
        await release.wait()
        return await sign(via, pdu)

    stage.stand_in.sign = slowly  # type: ignore[method-assign]
    waiting = asyncio.create_task(stage.world.say(stage.room_id, stage.alice, "hello"))
    await stage.world.say(elsewhere, stage.alice, "hello")

    assert not waiting.done()
    release.set()
    assert VIA in (await waiting).event.pdu["signatures"]


# ---------------------------------------------------------------- receiving


async def test_what_arrives_unsigned_is_signed_and_kept_so(stage: Stage) -> None:
    await stage.appoint()
    event = await stage.message("hello")

    judgement = await stage.world.arrivals.receive(event)

    assert judgement.action is Action.ACCEPT
    signatures = (await stored(stage, event.event_id)).pdu["signatures"][VIA]
    assert set(signatures) == {"ed25519:bot", "ed25519:policy_server"}


async def test_what_arrives_signed_is_not_shown_again(stage: Stage) -> None:
    await stage.appoint()
    event = await stage.message("hello")
    answer = await stage.stand_in.sign(VIA, event.pdu)
    own = event.pdu["signatures"][VIA]
    pdu = {**event.pdu, "signatures": {VIA: {**own, **answer[VIA]}}}
    stage.stand_in.shown.clear()

    judgement = await stage.world.arrivals.receive(Event(pdu, event.event_id, V12))

    assert judgement.action is Action.ACCEPT
    assert stage.stand_in.shown == []


async def test_what_it_refuses_on_arrival_is_soft_failed(stage: Stage) -> None:
    await stage.appoint()
    event = await stage.message("buy!")
    stage.stand_in.failures = [MatrixError("Spam, it seems", errcode="M_FORBIDDEN")]

    judgement = await stage.world.arrivals.receive(event)

    assert judgement.action is Action.SOFT_FAIL
    assert (judgement.rule, judgement.reason) == ("policy_server", "Spam, it seems")
    found = await stage.world.store.get(event.event_id)
    assert found is not None
    assert found.soft_failed
    room = await stage.world.rooms.get(stage.room_id)
    assert event.event_id not in room.extremities


async def test_an_arrival_is_shown_again_to_one_that_is_busy(stage: Stage) -> None:
    await stage.appoint()
    stage.stand_in.failures = [LimitExceeded(1), LimitExceeded(1)]

    judgement = await stage.world.arrivals.receive(await stage.message("hello"))

    assert judgement.action is Action.ACCEPT
    assert len(stage.stand_in.shown) == 3


async def test_who_is_busy_for_too_long_has_refused(stage: Stage) -> None:
    await stage.appoint()
    stage.stand_in.failures = [LimitExceeded(1) for _ in range(3)]

    judgement = await stage.world.arrivals.receive(await stage.message("hello"))

    assert judgement.action is Action.SOFT_FAIL


async def test_what_the_auth_rules_refuse_stays_rejected(stage: Stage) -> None:
    await stage.appoint()
    topic = await stage.build(BOT, "m.room.topic", {"topic": "mine"}, state_key="")

    judgement = await stage.world.arrivals.receive(topic)

    assert judgement.action is Action.REJECT


async def test_a_server_that_has_nothing_signed_does_not_hold_the_room_up(stage: Stage) -> None:
    await stage.appoint()
    await stage.world.arrivals.receive(await stage.message("hello"))
    stage.stand_in.shown.clear()
    stage.stand_in.failures = [LimitExceeded(1) for _ in range(100)]

    for _ in range(20):
        await stage.world.arrivals.receive(await stage.message("unsigned"))

    assert len(stage.stand_in.shown) == 20 + PATIENCE_COUNT
