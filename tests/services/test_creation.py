"""Making a room: its first events and its invites are seen together, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.errors import Forbidden, InviteBlocked
from homeserver.protocol.identifiers import UserId
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Draft
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice
from tests.services.room_world import OpenGate, RoomWorld


class ShyGate(OpenGate):
    """Carol takes no invites; what says that dave is invited is kept from everybody."""

    async def check_invite(
        self, inviter: UserId, invitee: UserId, room_id: str, *, is_direct: bool
    ) -> None:
        if invitee.localpart == "carol":
            raise InviteBlocked("This user does not take invites from you")

    async def check_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        if draft.state_key is not None and draft.state_key.startswith("@dave:"):
            return Judgement(Action.SOFT_FAIL, "policy:no dave", "not him")
        return ACCEPTED


@pytest.fixture
async def world(database: Database) -> AsyncIterator[RoomWorld]:
    world = RoomWorld(database, gate=ShyGate())
    await world.start()
    yield world
    await world.close()


def memberships(notice: Notice) -> dict[str, str | None]:
    """What a notice says of who is in a room."""
    return {
        record.event.state_key or "": record.event.membership
        for _, record in notice.records
        if isinstance(record, EventRecord) and record.event.type == "m.room.member"
    }


async def test_a_room_is_seen_with_its_invites_at_once(world: RoomWorld) -> None:
    alice, bob, erin = world.user("alice"), world.user("bob"), world.user("erin")
    notices: list[Notice] = []
    world.log.subscribe(notices.append)

    room_id = await world.room(alice, invites=[bob, erin, bob], is_direct=True)

    room = await world.rooms.get(room_id)
    assert [memberships(notice) for notice in notices] == [
        {alice: "join", bob: "invite", erin: "invite"}
    ]
    assert room.memberships == {alice: "join", bob: "invite", erin: "invite"}
    assert room.revision == 1


@pytest.mark.parametrize("version", ["1", "11", "12"])
async def test_a_room_made_with_invites_is_on_disk_as_in_memory(
    world: RoomWorld, version: str
) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    room_id = await world.room(alice, version=version, invites=[bob])
    before = await world.rooms.get(room_id)

    world.live_rooms.drop(room_id)
    after = await world.rooms.get(room_id)

    assert after is not before
    assert after.state == before.state
    assert after.extremities.keys() == before.extremities.keys()
    await world.membership.join(bob, room_id)


async def test_a_refused_invite_leaves_the_room_with_those_before(world: RoomWorld) -> None:
    alice, bob, carol = world.user("alice"), world.user("bob"), world.user("carol")
    erin = world.user("erin")

    with pytest.raises(InviteBlocked):
        await world.room(alice, invites=[bob, carol, erin])

    (row,) = await world.database.fetch("SELECT room_id FROM rooms")
    room = await world.rooms.get(row["room_id"])
    assert room.memberships == {alice: "join", bob: "invite"}


async def test_who_is_in_the_room_already_is_not_invited(world: RoomWorld) -> None:
    alice = world.user("alice")

    with pytest.raises(Forbidden):
        await world.room(alice, invites=[alice])


async def test_an_invite_that_policy_keeps_from_everybody_is_kept(world: RoomWorld) -> None:
    alice, bob, dave = world.user("alice"), world.user("bob"), world.user("dave")

    room_id = await world.room(alice, invites=[dave, bob])

    room = await world.rooms.get(room_id)
    rows = await world.database.fetch(
        "SELECT state_key FROM events WHERE room_id = $1 AND soft_failed", room_id
    )
    assert room.memberships == {alice: "join", bob: "invite"}
    assert [row["state_key"] for row in rows] == [dave]
