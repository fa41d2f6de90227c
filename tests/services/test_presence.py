"""Presence: how it moves with what a user does, and with time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from homeserver.errors import BadJson, Forbidden
from homeserver.services.presence import PresenceService
from homeserver.services.presence_state import ABSENT_MS, CURRENTLY_ACTIVE_MS, IDLE_MS
from homeserver.storage.log import Notice
from tests.services.doubles import (
    ALICE,
    BOB,
    CAROL,
    PEER,
    ROOM,
    SERVER,
    Clock,
    Edus,
    join_record,
    set_membership,
)


@dataclass
class Stage:
    """The service, and what stands around it."""

    service: PresenceService
    edus: Edus
    clock: Clock
    database: Any

    async def of(self, user_id: str) -> str:
        """How a user is, as Alice sees it."""
        presence: str = (await self.service.get(ALICE, user_id))["presence"]
        return presence

    def pass_time(self, milliseconds: int) -> None:
        """Let time go by."""
        self.clock.now += milliseconds
        self.service.sweep()


@pytest.fixture
async def stage(database):
    edus, clock = Edus(), Clock()
    service = PresenceService(server_name=SERVER, database=database, edus=edus, clock_ms=clock)
    for user_id in (ALICE, BOB, CAROL):
        await set_membership(database, user_id)
    return Stage(service, edus, clock, database)


async def test_a_sync_brings_a_user_online_and_its_end_offline_again(stage):
    with stage.service.syncing(BOB):
        stage.pass_time(ABSENT_MS * 2)
        during = await stage.of(BOB)
    stage.pass_time(1)
    soon_after = await stage.of(BOB)
    stage.pass_time(ABSENT_MS)

    assert (during, soon_after, await stage.of(BOB)) == ("online", "online", "offline")


async def test_an_idle_user_is_unavailable_until_they_do_something(stage):
    with stage.service.syncing(BOB):
        active = (await stage.service.get(ALICE, BOB))["currently_active"]
        stage.pass_time(CURRENTLY_ACTIVE_MS + 1)
        quiet = (await stage.service.get(ALICE, BOB))["currently_active"]
        stage.pass_time(IDLE_MS)
        idle = await stage.of(BOB)
        stage.service.active(BOB)

        assert (active, quiet, idle) == (True, False, "unavailable")
        assert await stage.of(BOB) == "online"


async def test_a_sync_of_an_idle_user_leaves_them_idle(stage):
    with stage.service.syncing(BOB):
        stage.pass_time(IDLE_MS + 1)
    with stage.service.syncing(BOB):
        assert await stage.of(BOB) == "unavailable"


async def test_a_sync_may_leave_presence_alone(stage):
    with stage.service.syncing(BOB, "offline"):
        assert await stage.of(BOB) == "offline"


async def test_a_status_is_kept_over_a_restart(stage):
    await stage.service.start()
    await stage.service.set_status(BOB, "online", "in a meeting")
    await stage.service.close()

    again = PresenceService(
        server_name=SERVER, database=stage.database, edus=Edus(), clock_ms=stage.clock
    )

    content = await again.get(ALICE, BOB)
    assert (content["presence"], content["status_msg"]) == ("offline", "in a meeting")


async def test_a_sync_after_a_restart_keeps_the_status(stage):
    await stage.service.start()
    await stage.service.set_status(BOB, "online", "in a meeting")
    await stage.service.close()
    again = PresenceService(
        server_name=SERVER, database=stage.database, edus=Edus(), clock_ms=stage.clock
    )

    with again.syncing(BOB):
        await again._send()
        await again._store()
        content = await again.get(ALICE, BOB)

    assert (content["presence"], content["status_msg"]) == ("online", "in a meeting")


async def test_changes_reach_who_shares_a_room_and_nobody_else(stage):
    version = stage.service.version
    await stage.service.set_status(BOB, "online", None)

    ((event),) = await stage.service.presence_since(ALICE, version)

    assert (event["type"], event["sender"]) == ("m.presence", BOB)
    assert await stage.service.presence_since("@dora:one.example", version) == []
    assert await stage.service.presence_since(ALICE, stage.service.version) == []
    with pytest.raises(Forbidden):
        await stage.service.get("@dora:one.example", BOB)


async def test_an_impossible_presence_is_refused(stage):
    with pytest.raises(BadJson):
        await stage.service.set_status(BOB, "busy bee", None)


async def test_peers_are_told_once_whatever_happens_between(stage):
    for number in range(5):
        await stage.service.set_status(BOB, "online", f"status {number}")

    await stage.service._send()

    ((to, kind, content),) = stage.edus.ephemeral
    assert (to, kind) == (PEER, "m.presence")
    assert content["push"][0]["user_id"] == BOB
    assert content["push"][0]["status_msg"] == "status 4"


async def test_a_peers_presence_is_taken_for_its_users_whom_we_know(stage):
    def push(user_id: str) -> dict[str, Any]:
        return {"user_id": user_id, "presence": "online", "last_active_ago": 5}

    entries = [push(CAROL), push(BOB), push("@eve:two.example"), {"user_id": CAROL}, 3]
    await stage.service.receive(PEER, {"push": entries})

    assert await stage.of(CAROL) == "online"
    assert await stage.of(BOB) == "offline"
    events = await stage.service.presence_since(ALICE, 0)
    assert [event["sender"] for event in events] == [CAROL]


async def test_a_silent_peers_users_go_offline(stage):
    entry = {"user_id": CAROL, "presence": "online", "last_active_ago": 5}
    await stage.service.receive(PEER, {"push": [entry]})

    stage.pass_time(31 * 60_000)

    assert await stage.of(CAROL) == "offline"


async def test_switched_off_presence_says_nothing(stage):
    service = PresenceService(
        server_name=SERVER,
        database=stage.database,
        edus=stage.edus,
        clock_ms=stage.clock,
        enabled=False,
    )
    with service.syncing(BOB):
        await service.set_status(BOB, "online", "here")

    assert await service.get(ALICE, BOB) == {"presence": "offline"}
    assert await service.presence_since(ALICE, 0) == []


async def test_who_is_busy_stays_so_whatever_they_do_until_they_are_away(stage):
    await stage.service.set_status(BOB, "org.matrix.msc3026.busy", "in a meeting")
    with stage.service.syncing(BOB, "unavailable"):
        stage.service.active(BOB)
        stage.pass_time(IDLE_MS * 2)
        content = await stage.service.get(ALICE, BOB)
    with stage.service.syncing(BOB):
        still = await stage.service.states(ALICE, [BOB])
        busy = still[BOB].presence
    stage.pass_time(ABSENT_MS + 1)

    assert content["presence"] == "unavailable"
    assert content["org.matrix.msc3026.busy"] is True
    assert busy == "busy"
    assert await stage.of(BOB) == "offline"


async def test_a_comity_peer_says_that_somebody_is_busy(stage):
    """As it is told: unavailable for who does not know the word."""
    await stage.service.set_status(BOB, "busy", None)
    user = (await stage.service.states(ALICE, [BOB]))[BOB]
    entry = {**user.content(stage.clock.now), "user_id": CAROL}
    origin = CAROL.partition(":")[2]

    await stage.service.receive(origin, {"push": [entry]})
    heard = (await stage.service.states(ALICE, [CAROL]))[CAROL].presence
    await stage.service.receive(origin, {"push": [{**entry, "org.matrix.msc3026.busy": "yes"}]})
    other = (await stage.service.states(ALICE, [CAROL]))[CAROL].presence

    assert (entry["presence"], heard, other) == ("unavailable", "busy", "unavailable")


async def test_a_text_alone_leaves_the_state_as_it_is(stage):
    await stage.service.set_status(BOB, "busy", "one")
    await stage.service.set_status_text(BOB, "two")

    user = (await stage.service.states(ALICE, [BOB]))[BOB]
    assert (user.presence, user.status_msg) == ("busy", "two")
    assert await stage.service.status_text(BOB) == "two"


EVE = "@eve:three.example"


async def test_what_was_said_of_a_user_before_they_were_known_here_counts(stage):
    entry = {"user_id": EVE, "presence": "online", "last_active_ago": 5, "status_msg": "hello"}
    await stage.service.receive("three.example", {"push": [entry]})
    await stage.service._meet_strangers()
    before = stage.service.peek(EVE)

    await set_membership(stage.database, EVE)
    stage.service.on_notice(came(EVE))
    await stage.service._meet_strangers()

    assert before is None
    assert (await stage.service.get(ALICE, EVE))["status_msg"] == "hello"


async def test_who_comes_into_a_room_is_told_of_those_in_there_who_are_not_offline(stage):
    await stage.service.set_status(BOB, "online", "here")
    dora = "@dora:one.example"
    version = stage.service.version
    before = await stage.service.presence_since(dora, version)

    await set_membership(stage.database, dora)
    stage.service.on_notice(came(dora))

    (event,) = await stage.service.presence_since(dora, version)
    assert before == []
    assert (event["sender"], event["content"]["status_msg"]) == (BOB, "here")
    assert await stage.service.presence_since(dora, stage.service.version) == []


async def test_an_instance_that_comes_into_a_room_is_told_of_its_members_once(stage):
    await stage.service.set_status(BOB, "online", "here")
    await stage.service._send()
    stage.edus.ephemeral.clear()
    await set_membership(stage.database, EVE)

    for _ in range(2):
        stage.service.on_notice(came(EVE))
        await stage.service._send()

    ((to, _, content),) = stage.edus.ephemeral
    assert to == "three.example"
    assert [entry["user_id"] for entry in content["push"]] == [BOB]


async def test_an_instance_that_was_away_is_told_what_it_has_missed(stage):
    await stage.service.set_status(BOB, "online", "here")
    await stage.service._send()
    stage.edus.ephemeral.clear()

    stage.service.peers.is_back("elsewhere.example")
    stage.service.peers.is_back(PEER)
    await stage.service._send()

    assert [to for to, _, _ in stage.edus.ephemeral] == [PEER]


async def test_presence_that_does_not_change_is_told_again_before_it_counts_as_gone(stage):
    with stage.service.syncing(BOB):
        await stage.service.set_status(BOB, "busy", "deep work")
        await stage.service._send()
        stage.edus.ephemeral.clear()

        stage.pass_time(20 * 60_000)
        await stage.service._send()
        early = list(stage.edus.ephemeral)
        stage.pass_time(6 * 60_000)
        await stage.service._send()

    assert early == []
    ((_, _, content),) = stage.edus.ephemeral
    assert content["push"][0]["status_msg"] == "deep work"


def came(user_id: str) -> Notice:
    """Somebody came into the room."""
    return Notice(1, [(1, join_record(ROOM, user_id))])
