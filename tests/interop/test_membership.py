"""Invite, join, leave, kick, ban and unban across two servers."""

import pytest

from .conftest import Case
from .person import Person, Refused


async def _talk(room_id: str, one: Person, other: Person, text: str) -> None:
    """A message each way, to show that the room works."""
    await one.send(room_id, f"{text} from {one}")
    await other.sees_text(room_id, f"{text} from {one}")
    await other.send(room_id, f"{text} from {other}")
    await one.sees_text(room_id, f"{text} from {other}")


async def test_an_invite_crosses_and_is_accepted(case: Case) -> None:
    """The guest sees who invites, and after the join both servers agree on the members."""
    host, guest = case.host, case.guest
    room_id = await host.create_room(case.room_version)

    await host.invite(room_id, guest)
    await guest.join(room_id)
    await host.sees_membership(room_id, guest, "join")

    invite = guest.invites[room_id][-1]
    assert any(event["sender"] == host.user_id for event in guest.invites[room_id]), invite
    both = {host.user_id, guest.user_id}
    assert await host.joined_members(room_id) == both
    assert await guest.joined_members(room_id) == both
    assert guest.client.rooms[room_id].name == "Verona"
    await _talk(room_id, host, guest, "good morrow")


async def test_an_invite_can_be_declined(case: Case) -> None:
    """A guest who rejects the invite is seen to have left."""
    room_id = await case.host.create_room(case.room_version)
    await case.host.invite(room_id, case.guest)

    await case.guest.leave(room_id)

    await case.host.sees_membership(room_id, case.guest, "leave")


async def test_a_guest_leaves_and_comes_back(case: Case) -> None:
    """After leaving one cannot send; a new invite brings one back."""
    host, guest = case.host, case.guest
    room_id = await case.new_room()

    await guest.leave(room_id)

    await host.sees_membership(room_id, guest, "leave")
    with pytest.raises(Refused):
        await guest.send(room_id, "am I still here?")
    await host.invite(room_id, guest)
    await guest.join(room_id)
    await host.sees_membership(room_id, guest, "join")
    await _talk(room_id, host, guest, "back again")


async def test_a_kicked_guest_is_out_and_may_return(case: Case) -> None:
    """The kick reaches the guest's client and does not stand in the way of a new invite."""
    host, guest = case.host, case.guest
    room_id = await case.new_room()

    await host.kick(room_id, guest)

    await guest.sees_membership(room_id, guest, "leave")
    with pytest.raises(Refused):
        await guest.send(room_id, "who, me?")
    await host.invite(room_id, guest)
    await guest.join(room_id)
    await host.sees_membership(room_id, guest, "join")
    await _talk(room_id, host, guest, "no hard feelings")


async def test_a_banned_guest_cannot_rejoin_until_unbanned(case: Case) -> None:
    """A ban is seen by the banned, refuses their join, and ends with the unban."""
    host, guest = case.host, case.guest
    room_id = await case.new_room()

    await host.ban(room_id, guest)

    await guest.sees_membership(room_id, guest, "ban")
    with pytest.raises(Refused):
        await guest.join(room_id)
    with pytest.raises(Refused):
        await host.invite(room_id, guest)
    await host.unban(room_id, guest)
    await host.invite(room_id, guest)
    await guest.join(room_id)
    await host.sees_membership(room_id, guest, "join")
    await _talk(room_id, host, guest, "pardoned")


async def _room_with_join_rule(case: Case, rule: dict[str, object]) -> str:
    state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    body = {"preset": "private_chat", "room_version": case.room_version, "initial_state": state}
    answer = await case.host.ask("POST", "createRoom", body=body)
    room_id: str = answer["room_id"]
    return room_id


async def test_a_knock_is_answered_by_an_invite(case: Case) -> None:
    """The guest asks to be let in; the host sees who asks, invites, and the guest joins."""
    host, guest = case.host, case.guest
    room_id = await _room_with_join_rule(case, {"join_rule": "knock"})
    via = {"via": host.server.server_name, "server_name": host.server.server_name}

    await guest.ask("POST", "knock", room_id, body={"reason": "let me in"}, query=via)
    await host.sees_membership(room_id, guest, "knock")
    await host.invite(room_id, guest)
    await guest.join(room_id)

    await host.sees_membership(room_id, guest, "join")
    await _talk(room_id, host, guest, "you asked")


async def test_a_restricted_room_lets_members_of_another_in(case: Case) -> None:
    """The host's server vouches for the guest, who is in a room that the join rule names."""
    host, guest = case.host, case.guest
    lobby = await case.new_room()
    allow = [{"type": "m.room_membership", "room_id": lobby}]
    room_id = await _room_with_join_rule(case, {"join_rule": "restricted", "allow": allow})
    via = {"via": host.server.server_name, "server_name": host.server.server_name}

    await guest.ask("POST", "join", room_id, body={}, query=via)

    await host.sees_membership(room_id, guest, "join")
    await guest.sees_membership(room_id, guest, "join")
    await _talk(room_id, host, guest, "behind the lobby")
