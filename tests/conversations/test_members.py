"""The members of conversations."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.services.conversations import member_views
from tests.conversations.conftest import ApiUser, new_user
from tests.conversations.matrix import make_room, state
from tests.conversations.test_groups import make_group, path, shown
from tests.integration.single import Instance

ALL = ["send", "invite", "remove", "change_settings", "delete_messages", "moderate", "administer"]


async def addresses(person: ApiUser, conversation_id: str, query: str = "") -> list[str]:
    page = await person.get(f"{path(conversation_id)}/members{query}")
    return [member["person"]["address"] for member in page["items"]]


def member_path(conversation_id: str, person: ApiUser) -> str:
    return f"{path(conversation_id)}/members/{person.address}"


async def test_members_say_who_they_are_and_what_they_may(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    profile = f"/profile/{bob.user_id}/displayname"
    await bob.matrix("PUT", profile, {"displayname": "Bob the Builder"})
    made = await make_group(alice, bob)
    added = await bob.post(f"{path(made)}/members", {"people": [carol.address], "reason": "Hi"})

    page = await alice.get(f"{path(made)}/members")

    first, second, third = page["items"]
    assert page["next"] is None
    assert (first["person"]["address"], first["role"]) == (alice.address, "owner")
    assert first["permissions"] == ALL
    assert (second["person"]["name"], second["role"]) == ("Bob the Builder", "member")
    assert second["permissions"] == ["send", "invite"]
    assert (second["state"], second["invited_by"]) == ("joined", alice.address)
    assert second["joined_at"].endswith("Z")
    assert (third["state"], third["invited_by"]) == ("invited", bob.address)
    assert (third["reason"], third["permissions"]) == ("Hi", [])
    assert added == {"members": [third], "problems": []}
    assert await alice.get(member_path(made, bob)) == second


async def test_pages_searches_and_roles(instance: Instance, alice: ApiUser) -> None:
    people = [await new_user(instance, name) for name in ("dan", "eve", "fay")]
    await people[2].matrix(
        "PUT", f"/profile/{people[2].user_id}/displayname", {"displayname": "Élodie"}
    )
    made = await make_group(alice, *people)
    await alice.call("PATCH", member_path(made, people[0]), {"role": "admin"})

    first = await alice.get(f"{path(made)}/members?limit=3")
    rest = await addresses(alice, made, f"?limit=3&cursor={first['next']}")

    assert [m["person"]["address"] for m in first["items"]] == [
        alice.address,
        *(p.address for p in people[:2]),
    ]
    assert rest == [people[2].address]
    assert await addresses(alice, made, "?query=ÉLOD") == [people[2].address]
    assert await addresses(alice, made, "?query=eve@one") == [people[1].address]
    assert await addresses(alice, made, "?query=nobody") == []
    assert await addresses(alice, made, "?role=owner") == [alice.address]
    assert await addresses(alice, made, "?role=admin") == [people[0].address]
    assert await addresses(alice, made, "?role=member") == [p.address for p in people[1:]]


async def test_a_search_looks_at_some_members_at_a_time(
    instance: Instance, alice: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one answer costs the same in the largest of groups."""
    people = [await new_user(instance, f"p{n}") for n in range(5)]
    made = await make_group(alice, *people)
    monkeypatch.setattr(member_views, "MOST_SEARCHED", 2)

    found: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        answer = await alice.get(f"{path(made)}/members?query=p4&limit=1{cursor}")
        found.extend(member["person"]["address"] for member in answer["items"])
        cursor = f"&cursor={answer['next']}" if answer["next"] is not None else ""
        pages += 1

    assert found == ["p4@one.test"]
    assert pages >= 2


async def test_who_is_no_member_does_not_see_them(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice)
    await bob.get(f"{path(made)}/members", status=404)
    await alice.post(f"{path(made)}/members", {"people": [bob.address]})

    refused = await bob.get(f"{path(made)}/members", status=403)

    assert refused["code"] == "not_a_member"


async def test_adding_tells_what_stands_against_whom(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    made = await make_group(alice, bob)
    config = f"/user/{carol.user_id}/account_data/m.invite_permission_config"
    await carol.matrix("PUT", config, {"default_action": "block"})
    dan = await new_user(instance, "dan")
    await alice.post(f"{member_path(made, dan)}/ban")
    people = [bob.address, carol.address, "nobody@one.test", dan.address, alice.address]

    answer = await alice.post(f"{path(made)}/members", {"people": people})

    assert [(m["person"]["address"], m["state"]) for m in answer["members"]] == [
        (bob.address, "joined"),
        (carol.address, "not_invited"),
        ("nobody@one.test", "not_invited"),
    ]
    assert [(p["person"], p["code"]) for p in answer["problems"]] == [
        (carol.address, "recipient_refuses"),
        ("nobody@one.test", "not_found"),
        (dan.address, "banned"),
    ]
    await carol.matrix("PUT", config, {})
    again = await alice.post(f"{path(made)}/members", {"people": [carol.address]})
    assert (again["members"][0]["state"], again["problems"]) == ("invited", [])


async def test_removing_banning_and_what_matrix_makes_of_it(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice, bob)

    await alice.call("DELETE", member_path(made, bob))
    assert (await alice.get(member_path(made, bob)))["state"] == "removed"
    assert (await shown(bob, made))["state"] == "left"
    await alice.call("DELETE", member_path(made, bob), status=404)

    banned = await alice.post(f"{member_path(made, bob)}/ban", {"reason": "Spam"})
    assert (banned["state"], banned["reason"]) == ("banned", "Spam")
    content = await state(alice, made, "m.room.member", bob.user_id)
    assert (content["membership"], content["reason"]) == ("ban", "Spam")
    assert await addresses(alice, made, "?state=banned") == [bob.address]

    unbanned = await alice.post(f"{member_path(made, bob)}/unban")
    assert unbanned["state"] == "removed"
    await alice.post(f"{member_path(made, bob)}/ban")
    await alice.matrix("POST", f"/rooms/{made}/unban", {"user_id": bob.user_id})
    refused = await alice.post(f"{member_path(made, bob)}/unban", status=409)
    assert refused["code"] == "not_banned"
    assert await addresses(alice, made, "?state=banned") == []


async def test_members_neither_remove_nor_ban_nor_appoint(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    made = await make_group(alice, bob, carol)

    for method, end, body in (
        ("DELETE", "", None),
        ("POST", "/ban", {}),
        ("PATCH", "", {"role": "admin"}),
    ):
        refused = await bob.call(method, member_path(made, carol) + end, body, status=403)
        assert refused["code"] == "forbidden"

    await alice.call("PATCH", member_path(made, bob), {"role": "admin"})
    await alice.call("PATCH", member_path(made, carol), {"role": "admin"})
    await bob.call("DELETE", member_path(made, carol), status=403)
    await bob.call("DELETE", member_path(made, alice), status=403)
    await bob.call("DELETE", member_path(made, bob), status=400)


async def test_an_invitation_is_taken_back(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice)
    await alice.post(f"{path(made)}/members", {"people": [bob.address, "nobody@one.test"]})

    await alice.call("DELETE", member_path(made, bob))
    await alice.call("DELETE", f"{path(made)}/members/nobody@one.test")

    assert (await bob.get("/conversations"))["items"] == []
    assert await addresses(alice, made) == [alice.address]


async def test_power_levels_of_matrix_clients_are_roles_here(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_room(alice, bob, room_version="11")
    levels = await state(alice, made, "m.room.power_levels")
    levels["users"][bob.user_id] = 75
    await alice.matrix("PUT", f"/rooms/{made}/state/m.room.power_levels/", levels)

    assert (await alice.get(member_path(made, bob)))["role"] == "admin"
    effective = await alice.get(f"{member_path(made, bob)}/permissions")
    assert effective == {
        "person": bob.address,
        "role": "admin",
        "permissions": [p for p in ALL if p != "administer"],
    }
    changed: Any = await alice.call("PATCH", member_path(made, bob), {"role": "member"})
    assert changed["role"] == "member"
    after = await state(alice, made, "m.room.power_levels")
    assert after["users"] == {alice.user_id: 100}


async def test_asking_to_be_let_in(instance: Instance, alice: ApiUser, bob: ApiUser) -> None:
    carol = await new_user(instance, "carol")
    made = await make_group(alice, join="approval", name="Club")

    refused = await bob.post(f"{path(made)}/join", status=403)
    asked = await bob.post(f"{path(made)}/ask", {"message": "Let me in"})
    await bob.post(f"{path(made)}/ask")
    await carol.post(f"{path(made)}/ask")

    assert refused["code"] == "approval_needed"
    assert (asked["state"], asked["name"]) == ("asked", "Club")
    (first, second) = (await alice.get(f"{path(made)}/members?state=requested"))["items"]
    assert (first["person"]["address"], first["reason"]) == (bob.address, "Let me in")
    approved = await alice.post(f"{member_path(made, bob)}/approve")
    assert approved["state"] == "joined"
    assert (await shown(bob, made))["state"] == "active"
    await alice.post(f"{member_path(made, carol)}/refuse")
    assert (await carol.get("/conversations"))["items"] == []
    refused = await alice.post(f"{member_path(made, carol)}/approve", status=409)
    assert refused["code"] == "not_asked"
    assert second["person"]["address"] == carol.address


async def test_an_open_conversation_is_joined_by_id_or_alias(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    made = await make_group(alice, join="open", name="Town square")
    await alice.matrix("PUT", "/directory/room/%23square:one.test", {"room_id": made})

    by_id = await bob.post(f"{path(made)}/join")
    by_alias = await carol.post("/conversations/%23square:one.test/join")

    assert (by_id["id"], by_id["state"]) == (made, "active")
    assert (by_alias["id"], by_alias["state"]) == (made, "active")
    for nowhere in ("%23nothing:one.test", "!nothing:one.test", "nothing"):
        await bob.post(f"/conversations/{nowhere}/join", status=404)


async def test_what_is_by_invitation_is_not_found_by_others(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice)

    await bob.post(f"{path(made)}/join", status=404)
    await bob.post(f"{path(made)}/ask", status=404)
    await bob.post(f"{path(made)}/accept", status=404)


async def test_an_invitation_is_declined(alice: ApiUser, bob: ApiUser) -> None:
    made = (await alice.post("/conversations", {"members": [bob.address]}, status=201))["id"]

    await bob.post(f"{path(made)}/decline")

    assert (await bob.get("/conversations"))["items"] == []
    assert (await alice.get(member_path(made, bob)))["state"] == "left"
    refused = await bob.post(f"{path(made)}/accept", status=409)
    assert refused["code"] == "not_invited"


async def test_who_accepts_a_direct_invitation_has_it_as_direct(
    alice: ApiUser, bob: ApiUser
) -> None:
    direct = {"kind": "direct", "peer": bob.address}
    made = (await alice.post("/conversations", direct, status=201))["id"]
    invitation = await shown(bob, made)

    accepted = await bob.post(f"{path(made)}/accept")

    assert (invitation["state"], invitation["kind"]) == ("invited", "direct")
    assert (accepted["state"], accepted["kind"]) == ("active", "direct")
    assert accepted["peer"]["address"] == alice.address
