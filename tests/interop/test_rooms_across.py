"""Rooms as other servers see them: upgrades, spaces, summaries, places in history by date."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .conftest import Case
from .person import Person


@pytest.fixture(autouse=True)
def _few_versions(case: Case) -> None:
    """Nothing here differs between versions 10 and 11."""
    if case.room_version == "11":
        pytest.skip("as in version 10")


async def _room(host: Person, **request: Any) -> str:
    """A public room, of which the host's own sync has heard."""
    body = {"preset": "public_chat", **request}
    room_id: str = (await host.ask("POST", "createRoom", body=body))["room_id"]
    await host.wait(lambda: room_id in host.client.rooms, "the new room")
    return room_id


async def _join(guest: Person, room_id: str, host: Person) -> None:
    await guest.ask("POST", "join", room_id, query={"via": host.server.server_name})
    await guest.sees_membership(room_id, guest, "join")


async def _state(person: Person, room_id: str, kind: str) -> dict[str, Any]:
    return await person.ask("GET", "rooms", room_id, "state", kind)


async def _rooms_of(person: Person, space: str) -> list[dict[str, Any]]:
    answer = await person.ask("GET", "rooms", space, "hierarchy", version="v1")
    rooms: list[dict[str, Any]] = answer["rooms"]
    return rooms


async def test_members_follow_a_room_that_is_upgraded(case: Case) -> None:
    """The guest is told of the new room, gets in, and finds the old one's settings there."""
    host, guest = case.host, case.guest
    old_id = await _room(host, room_version="10", topic="Feuds")
    await _join(guest, old_id, host)
    await host.sees_membership(old_id, guest, "join")
    tags = ("user", guest.user_id, "rooms", old_id, "tags")
    await guest.ask("PUT", *tags, "m.favourite", body={"order": 0.5})

    body = {"new_version": case.room_version}
    answer = await host.ask("POST", "rooms", old_id, "upgrade", body=body)
    new_id = answer["replacement_room"]
    tombstone = await guest.sees(
        old_id, lambda e: e["type"] == "m.room.tombstone", "that the room has ended"
    )
    await _join(guest, new_id, host)

    assert tombstone["content"]["replacement_room"] == new_id
    create = await _state(guest, new_id, "m.room.create")
    assert create["predecessor"]["room_id"] == old_id
    assert create["room_version"] == case.room_version
    assert (await _state(guest, new_id, "m.room.topic"))["topic"] == "Feuds"
    assert (await _state(guest, new_id, "m.room.join_rules"))["join_rule"] == "public"
    carried = await guest.ask("GET", "user", guest.user_id, "rooms", new_id, "tags")
    assert "m.favourite" in carried["tags"]
    await guest.send(new_id, "here we are")
    await host.sees_text(new_id, "here we are")


async def test_a_space_shows_rooms_that_only_the_other_server_is_in(case: Case) -> None:
    """The guest sees what they may join, of rooms that their server has to ask for."""
    host, guest = case.host, case.guest
    version, server = case.room_version, host.server.server_name
    space = await _room(host, room_version=version, creation_content={"type": "m.space"})
    allow = [{"type": "m.room_membership", "room_id": space}]
    restricted = {"join_rule": "restricted", "allow": allow}
    rules = [{"type": "m.room.join_rules", "content": restricted}]
    inner = await _room(host, room_version=version, creation_content={"type": "m.space"})
    below = await _room(host, room_version=version, name="Below")
    for_members = await _room(host, room_version=version, initial_state=rules, name="Members")
    private = await _room(host, room_version=version, preset="private_chat")
    places = ((space, inner, "a"), (inner, below, "a"), (space, for_members, "b"))
    for parent, child, order in (*places, (space, private, "c")):
        content = {"via": [server], "order": order}
        state = ("rooms", parent, "state", "m.space.child", child)
        await host.ask("PUT", *state, body=content)
    await _join(guest, space, host)
    await host.sees_membership(space, guest, "join")

    for room_id in (below, for_members):
        await _is_described(host, room_id)

    found = await _rooms_of(guest, space)

    assert [room["room_id"] for room in found] == [space, inner, below, for_members]
    assert [room.get("name") for room in found[2:]] == ["Below", "Members"]
    assert found[3]["allowed_room_ids"] == [space]
    await _join(guest, for_members, host)


async def _is_described(host: Person, room_id: str) -> None:
    """Synapse describes rooms from statistics that it gathers some time later."""
    for _ in range(600):
        if "name" in await host.ask("GET", "room_summary", room_id, version="v1"):
            return
        await asyncio.sleep(0.1)


async def test_a_room_is_summed_up_before_it_is_joined(case: Case) -> None:
    """The guest's server asks the one that is named."""
    host, guest = case.host, case.guest
    room_id = await _room(host, room_version=case.room_version, name="Balcony", topic="Night")

    await _is_described(host, room_id)
    query = {"via": host.server.server_name}
    summary = await guest.ask("GET", "room_summary", room_id, query=query, version="v1")

    assert (summary["name"], summary["topic"]) == ("Balcony", "Night")
    assert (summary["num_joined_members"], summary["join_rule"]) == (1, "public")
    assert summary.get("membership", "leave") == "leave"


async def test_an_event_from_before_the_guest_came_is_found_by_its_date(case: Case) -> None:
    """The guest's server asks the other, and has the history around the event afterwards."""
    host, guest = case.host, case.guest
    room_id = await _room(host, room_version=case.room_version)
    first = await host.send(room_id, "the first")
    for number in range(12):
        await host.send(room_id, f"then {number}")
    await _join(guest, room_id, host)
    sent = await host.event(room_id, first)

    query = {"ts": str(sent["origin_server_ts"]), "dir": "f"}
    near = await guest.ask("GET", "rooms", room_id, "timestamp_to_event", query=query, version="v1")
    context = await guest.ask("GET", "rooms", room_id, "context", near["event_id"])

    assert near["origin_server_ts"] == sent["origin_server_ts"]
    assert context["event"]["event_id"] == first
    if guest.server.kind == "comity":  # Synapse fetches the event alone
        assert any(e["content"].get("body") == "then 0" for e in context["events_after"])


async def test_the_first_page_has_what_was_shared_before_the_room_became_stricter(
    case: Case,
) -> None:
    """What the fetched history says of its own visibility holds for the page that fetched it."""
    host, guest = case.host, case.guest
    room_id = await _room(host, room_version=case.room_version)
    shared = await host.send(room_id, "for whoever comes")
    visibility = {"history_visibility": "joined"}
    await host.set_state(room_id, "m.room.history_visibility", visibility)
    hidden = await host.send(room_id, "for those who are here")
    await _join(guest, room_id, host)

    query = {"dir": "b", "limit": "50"}
    page = await guest.ask("GET", "rooms", room_id, "messages", query=query)

    ids = [event["event_id"] for event in page["chunk"]]
    assert shared in ids
    assert hidden not in ids


async def test_who_is_in_no_allowed_room_knocks_and_is_let_in(case: Case) -> None:
    """A knock crosses, the host answers it; a member of the allowed room needs none."""
    host, guest = case.host, case.guest
    allowed = await _room(host, room_version=case.room_version)
    allow = [{"type": "m.room_membership", "room_id": allowed}]
    rules = {"join_rule": "knock_restricted", "allow": allow}
    state = [{"type": "m.room.join_rules", "content": rules}]
    asked = await _room(host, room_version=case.room_version, initial_state=state)
    free = await _room(host, room_version=case.room_version, initial_state=state)
    via = {"via": host.server.server_name, "server_name": host.server.server_name}

    await guest.ask("POST", "knock", asked, body={"reason": "open up"}, query=via)
    await host.sees_membership(asked, guest, "knock")
    await host.invite(asked, guest)
    await _join(guest, asked, host)
    await _join(guest, allowed, host)
    await host.sees_membership(allowed, guest, "join")
    await _join(guest, free, host)

    member = ("state", "m.room.member", guest.user_id)
    joined = await guest.ask("GET", "rooms", free, *member)
    assert joined["join_authorised_via_users_server"] == host.user_id
