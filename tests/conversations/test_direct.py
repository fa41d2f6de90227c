"""Direct conversations are found, or made, by whom they are with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from homeserver.errors import InviteBlocked, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.direct import Direct
from homeserver.services.conversations.problems import Problem
from tests.conversations.conftest import ApiUser
from tests.integration.single import Instance


@pytest.fixture
def direct(instance: Instance) -> Direct:
    return instance.wiring.conversations.direct


def ids(one: ApiUser, other: ApiUser) -> tuple[UserId, UserId]:
    return UserId(one.user_id), UserId(other.user_id)


async def m_direct(person: ApiUser) -> Any:
    path = f"/user/{person.user_id}/account_data/m.direct"
    return await person.matrix("GET", path)


async def membership(person: ApiUser, room_id: str, user_id: str) -> Any:
    content = await person.matrix("GET", f"/rooms/{room_id}/state/m.room.member/{user_id}")
    return content["membership"]


async def test_the_first_call_makes_it_and_invites(
    direct: Direct, alice: ApiUser, bob: ApiUser
) -> None:
    room_id, created = await direct.find_or_make(*ids(alice, bob))

    assert created
    assert await m_direct(alice) == {bob.user_id: [room_id]}
    assert await membership(alice, room_id, bob.user_id) == "invite"
    synced = await bob.matrix("GET", "/sync")
    (event,) = [
        event
        for event in synced["rooms"]["invite"][room_id]["invite_state"]["events"]
        if event["type"] == "m.room.member" and event["state_key"] == bob.user_id
    ]
    assert event["content"]["is_direct"] is True


async def test_the_next_call_finds_it(direct: Direct, alice: ApiUser, bob: ApiUser) -> None:
    made, _ = await direct.find_or_make(*ids(alice, bob))

    assert await direct.find_or_make(*ids(alice, bob)) == (made, False)
    await bob.matrix("POST", f"/rooms/{made}/join", {})
    assert await direct.find_or_make(*ids(alice, bob)) == (made, False)


async def test_calls_at_the_same_time_from_both_sides_make_one_room(
    direct: Direct, alice: ApiUser, bob: ApiUser
) -> None:
    pairs = [ids(alice, bob), ids(bob, alice)] * 8

    found = await asyncio.gather(*(direct.find_or_make(*pair) for pair in pairs))

    assert len({room_id for room_id, _ in found}) == 1
    assert sum(created for _, created in found) == 1


async def test_answering_accepts_the_invitation(
    direct: Direct, alice: ApiUser, bob: ApiUser
) -> None:
    made, _ = await direct.find_or_make(*ids(alice, bob))

    found = await direct.find_or_make(*ids(bob, alice))

    assert found == (made, False)
    assert await membership(alice, made, bob.user_id) == "join"
    assert await m_direct(bob) == {alice.user_id: [made]}


async def test_a_contact_need_not_be_asked(direct: Direct, alice: ApiUser, bob: ApiUser) -> None:
    await bob.call("PUT", f"/contacts/{alice.address}", {})

    made, created = await direct.find_or_make(*ids(alice, bob))

    assert created
    assert await membership(alice, made, bob.user_id) == "join"
    assert await m_direct(bob) == {alice.user_id: [made]}
    await bob.matrix("POST", f"/rooms/{made}/leave", {})
    assert await direct.find_or_make(*ids(alice, bob)) == (made, False)
    assert await membership(alice, made, bob.user_id) == "invite"


async def test_who_left_is_invited_into_the_same_room(
    direct: Direct, alice: ApiUser, bob: ApiUser
) -> None:
    made, _ = await direct.find_or_make(*ids(alice, bob))
    await bob.matrix("POST", f"/rooms/{made}/join", {})
    await bob.matrix("POST", f"/rooms/{made}/leave", {})

    found = await direct.find_or_make(*ids(alice, bob))

    assert found == (made, False)
    assert await membership(alice, made, bob.user_id) == "invite"


async def test_a_room_where_a_third_person_is_is_not_used(
    direct: Direct, instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    """What is meant for one person is not read by another."""
    made, _ = await direct.find_or_make(*ids(alice, bob))
    await bob.matrix("POST", f"/rooms/{made}/join", {})
    await instance.register("carol")
    invite = {"user_id": "@carol:one.test"}
    await alice.matrix("POST", f"/rooms/{made}/invite", invite)

    found, created = await direct.find_or_make(*ids(alice, bob))

    assert created
    assert found != made


async def test_a_room_made_by_a_matrix_client_is_used(
    direct: Direct, alice: ApiUser, bob: ApiUser
) -> None:
    """Also if the client has not noted that it is direct."""
    request = {"preset": "trusted_private_chat", "invite": [bob.user_id], "is_direct": True}
    made = (await alice.matrix("POST", "/createRoom", request))["room_id"]
    await bob.matrix("POST", f"/rooms/{made}/join", {})

    assert await direct.find_or_make(*ids(alice, bob)) == (made, False)
    assert await direct.find_or_make(*ids(bob, alice)) == (made, False)


async def test_who_takes_no_messages_is_not_invited_and_nothing_is_left(
    direct: Direct, alice: ApiUser, bob: ApiUser
) -> None:
    path = f"/user/{bob.user_id}/account_data/m.invite_permission_config"
    await bob.matrix("PUT", path, {"default_action": "block"})

    with pytest.raises(InviteBlocked):
        await direct.find_or_make(*ids(alice, bob))

    assert await alice.matrix("GET", "/joined_rooms") == {"joined_rooms": []}
    await alice.matrix("GET", f"/user/{alice.user_id}/account_data/m.direct", status=404)


async def test_who_is_not_there_is_told(direct: Direct, instance: Instance, alice: ApiUser) -> None:
    with pytest.raises(NotFound):
        await direct.find_or_make(UserId(alice.user_id), UserId("@nobody:one.test"))

    await instance.register("gone")
    await instance.wiring.accounts.deactivate(UserId("@gone:one.test"))
    with pytest.raises(Problem) as ended:
        await direct.find_or_make(UserId(alice.user_id), UserId("@gone:one.test"))
    assert ended.value.code == "account_ended"


async def test_notes_to_oneself_are_one_room(direct: Direct, alice: ApiUser) -> None:
    me = UserId(alice.user_id)

    found = await asyncio.gather(*(direct.find_or_make_notes(me) for _ in range(5)))
    written = await direct.find_or_make(me, me)

    assert len({room_id for room_id, _ in [*found, written]}) == 1
    assert await m_direct(alice) == {alice.user_id: [written[0]]}


async def test_what_clients_wrote_into_the_list_breaks_nothing(
    direct: Direct, alice: ApiUser, bob: ApiUser
) -> None:
    broken = {bob.user_id: ["!nowhere:one.test", 5, None], "x": "y", "@z:z": {"a": 1}}
    await alice.matrix("PUT", f"/user/{alice.user_id}/account_data/m.direct", broken)

    room_id, created = await direct.find_or_make(*ids(alice, bob))

    assert created
    assert (await m_direct(alice))[bob.user_id] == ["!nowhere:one.test", room_id]
