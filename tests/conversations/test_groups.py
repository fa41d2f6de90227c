"""Groups made and changed through the API, and what Matrix clients see of it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from tests.conversations.conftest import ApiUser, new_user
from tests.conversations.matrix import make_room, say, state
from tests.integration.single import Instance


async def make_group(owner: ApiUser, *members: ApiUser, **request: Any) -> str:
    """A group whose members have accepted; its ID."""
    body = {"members": [member.address for member in members], **request}
    made: str = (await owner.post("/conversations", body, status=201))["id"]
    for member in members:
        await member.post(f"{path(made)}/accept")
    return made


def path(conversation_id: str) -> str:
    return f"/conversations/{quote(conversation_id)}"


async def shown(person: ApiUser, conversation_id: str) -> Any:
    return await person.get(path(conversation_id))


async def test_a_group_is_what_was_asked_for_here_and_in_matrix(
    alice: ApiUser, bob: ApiUser
) -> None:
    request = {
        "name": "Sailing",
        "description": "Every Sunday",
        "avatar": "one.test~picture",
        "members": [bob.address],
        "permissions": {"send": "admin", "invite": "admin"},
        "history": "since_joining",
        "join": "approval",
        "encrypted": True,
    }

    made = await alice.post("/conversations", request, status=201)

    assert (made["kind"], made["state"], made["my_role"]) == ("group", "active", "owner")
    assert (made["name"], made["description"]) == ("Sailing", "Every Sunday")
    assert (made["avatar"], made["encrypted"]) == ("one.test~picture", True)
    assert (made["history"], made["join"]) == ("since_joining", "approval")
    assert (made["permissions"]["send"], made["permissions"]["invite"]) == ("admin", "admin")
    room_id = made["id"]
    assert (await state(alice, room_id, "m.room.name"))["name"] == "Sailing"
    assert (await state(alice, room_id, "m.room.topic"))["topic"] == "Every Sunday"
    assert (await state(alice, room_id, "m.room.avatar"))["url"] == "mxc://one.test/picture"
    assert (await state(alice, room_id, "m.room.join_rules"))["join_rule"] == "knock"
    visibility = await state(alice, room_id, "m.room.history_visibility")
    assert visibility["history_visibility"] == "joined"
    assert (await state(alice, room_id, "m.room.create"))["room_version"] == "11"
    levels = await state(alice, room_id, "m.room.power_levels")
    assert (levels["events_default"], levels["users"]) == (50, {alice.user_id: 100})
    member = await state(alice, room_id, "m.room.member", bob.user_id)
    assert member["membership"] == "invite"


async def test_direct_conversations_and_notes_are_found_again(alice: ApiUser, bob: ApiUser) -> None:
    direct = {"kind": "direct", "peer": bob.user_id}

    first = await alice.post("/conversations", direct, status=201)
    second = await alice.post("/conversations", direct, status=201)
    notes = await alice.post("/conversations", {"kind": "self"}, status=201)
    again = await alice.post("/conversations", {"kind": "self"}, status=201)

    assert (first["id"], first["kind"]) == (second["id"], "direct")
    assert first["peer"]["address"] == bob.address
    assert (notes["id"], notes["kind"]) == (again["id"], "self")
    theirs = await bob.post("/conversations", {"kind": "direct", "peer": alice.address}, status=201)
    assert theirs["id"] == first["id"]


@pytest.mark.parametrize(
    ("request_body", "status"),
    [
        ({"kind": "direct"}, 400),
        ({"kind": "direct", "peer": "nobody@one.test"}, 404),
        ({"kind": "direct", "peer": "bob@one.test", "name": "x"}, 400),
        ({"peer": "bob@one.test"}, 400),
        ({"members": ["not an address"]}, 400),
        ({"avatar": "picture"}, 400),
        ({"permissions": {"administer": "member"}}, 422),
        ({"permissions": {"fly": "member"}}, 422),
        ({"name": ""}, 422),
        ({"title": "x"}, 422),
    ],
)
async def test_what_cannot_be_made_is_refused(
    alice: ApiUser, bob: ApiUser, request_body: Any, status: int
) -> None:
    await alice.post("/conversations", request_body, status=status)

    assert (await alice.get("/conversations"))["items"] == []


async def test_a_change_is_seen_by_matrix_clients_and_theirs_here(
    alice: ApiUser, bob: ApiUser
) -> None:
    made = await make_group(alice, bob, name="Before", description="Old")
    change = {
        "name": "After",
        "description": None,
        "join": "open",
        "history": "since_invitation",
        "permissions": {"change_settings": "member"},
        "encrypted": True,
    }

    changed = await alice.call("PATCH", path(made), change)

    assert (changed["name"], changed["description"], changed["join"]) == ("After", None, "open")
    assert (changed["history"], changed["encrypted"]) == ("since_invitation", True)
    assert changed["permissions"]["change_settings"] == "member"
    assert (await state(bob, made, "m.room.name"))["name"] == "After"
    assert await state(bob, made, "m.room.topic") == {}
    await bob.matrix("PUT", f"/rooms/{made}/state/m.room.name/", {"name": "Bob's"})
    assert (await shown(alice, made))["name"] == "Bob's"
    refused = await alice.call("PATCH", path(made), {"encrypted": False}, status=409)
    assert refused["code"] == "cannot_be_undone"


async def test_members_may_not_change_what_is_for_admins(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice, bob, name="Boats")

    for change in ({"name": "x"}, {"join": "open"}, {"permissions": {"send": "owner"}}):
        refused = await bob.call("PATCH", path(made), change, status=403)
        assert refused["code"] == "forbidden"

    assert (await shown(bob, made))["name"] == "Boats"


async def test_a_change_that_knows_an_old_state_is_refused(alice: ApiUser) -> None:
    made = await make_group(alice, name="One")
    _, headers = await alice.call_with_headers("GET", path(made))
    tag = {"If-Match": headers["ETag"]}

    await alice.call("PATCH", path(made), {"name": "Two"}, headers=tag)
    refused = await alice.call("PATCH", path(made), {"name": "Three"}, headers=tag, status=412)

    assert refused["code"] == "precondition_failed"
    assert (await shown(alice, made))["name"] == "Two"


async def test_only_admins_speak_where_only_admins_may(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice, bob, permissions={"send": "admin"})

    await bob.matrix(
        "PUT",
        f"/rooms/{made}/send/m.room.message/1",
        {"msgtype": "m.text", "body": "no"},
        status=403,
    )

    event_id = await say(alice, made, "News")
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": "x"}}
    await bob.matrix("PUT", f"/rooms/{made}/send/m.reaction/1", reaction)
    assert "send" not in (await shown(bob, made))["my_permissions"]


async def test_an_owner_hands_over_and_is_an_admin(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice, bob)

    after = await alice.post(f"{path(made)}/owner", {"person": bob.address})

    assert after["my_role"] == "admin"
    assert "administer" not in after["my_permissions"]
    assert (await shown(bob, made))["my_role"] == "owner"
    levels = await state(alice, made, "m.room.power_levels")
    assert levels["users"] == {alice.user_id: 50, bob.user_id: 100}
    await alice.post(f"{path(made)}/owner", {"person": alice.address}, status=403)
    demoted = await bob.call("PATCH", f"{path(made)}/members/{alice.address}", {"role": "member"})
    assert demoted["role"] == "member"


async def test_whoever_made_a_room_of_version_12_stays_its_owner(
    alice: ApiUser, bob: ApiUser
) -> None:
    made = await make_room(alice, bob, room_version="12")

    refused = await alice.post(f"{path(made)}/owner", {"person": bob.address}, status=409)

    assert refused["code"] == "ownership_fixed"
    assert (await shown(alice, made))["my_role"] == "owner"


async def test_the_last_owner_does_not_leave_others_behind(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice, bob)

    for method, end in (("POST", "/leave"), ("DELETE", "")):
        refused = await alice.call(method, path(made) + end, status=409)
        assert refused["code"] == "owner_must_hand_over"
    refused = await alice.call(
        "PATCH", f"{path(made)}/members/{alice.address}", {"role": "member"}, status=409
    )
    assert refused["code"] == "owner_must_hand_over"

    await alice.post(f"{path(made)}/owner", {"person": bob.address})
    await alice.post(f"{path(made)}/leave")
    assert (await shown(alice, made))["state"] == "left"
    await bob.post(f"{path(made)}/leave")


async def test_what_is_deleted_is_gone_for_who_deleted_it(alice: ApiUser, bob: ApiUser) -> None:
    made = await make_group(alice, bob, name="Boats")
    await bob.call("PATCH", f"{path(made)}/settings", {"muted": True, "pinned": True})

    await bob.call("DELETE", path(made))

    await bob.get(path(made), status=404)
    await bob.call("DELETE", path(made), status=404)
    assert (await bob.get("/conversations?state=left"))["items"] == []
    await bob.matrix("GET", f"/pushrules/global/override/{made}", status=404)
    assert (await shown(alice, made))["member_count"] == 1


async def test_a_thousand_invitations_go_out_in_the_background(
    instance: Instance, alice: ApiUser
) -> None:
    """Those that cannot be made say why."""
    names = [f"user{n}" for n in range(120)]
    for name in names:
        await instance.register(name)
    request = {"members": [*(f"{name}@one.test" for name in names), "nobody@one.test"]}
    inviting = instance.wiring.conversations.conversation_parts.inviting
    await inviting.close()

    made = (await alice.post("/conversations", request, status=201))["id"]
    waiting = (await alice.get(f"{path(made)}/members?state=inviting&limit=100"))["items"]
    await inviting.work_off()

    assert 50 < len(waiting) < 100
    assert (await alice.get(f"{path(made)}/members?state=inviting"))["items"] == []
    first = await alice.get(f"{path(made)}/members?state=invited&limit=100")
    second = await alice.get(f"{path(made)}/members?state=invited&limit=100&cursor={first['next']}")
    invited = [m["person"]["address"] for m in [*first["items"], *second["items"]]]
    assert invited == sorted(f"{name}@one.test" for name in names)
    (failed,) = (await alice.get(f"{path(made)}/members?state=not_invited"))["items"]
    assert failed["person"]["address"] == "nobody@one.test"
    assert failed["problem"]["code"] == "not_found"


async def test_invitations_go_on_after_a_restart(instance: Instance, alice: ApiUser) -> None:
    """What was wanted is on disk before anything is done."""
    parts = instance.wiring.conversations.conversation_parts
    made = await make_group(alice)
    await instance.register("late")
    await instance.wiring.database.execute(
        "INSERT INTO pending_invites (room_id, user_id, inviter, created_at, next_attempt_at)"
        " VALUES ($1, '@late:one.test', $2, 1, 1)",
        made,
        alice.user_id,
    )

    await parts.inviting.work_off()

    member = await alice.get(f"{path(made)}/members/late@one.test")
    assert member["state"] == "invited"
    assert await instance.wiring.database.fetch("SELECT * FROM pending_invites") == []


async def test_changes_at_the_same_time_are_all_made(alice: ApiUser, instance: Instance) -> None:
    """None undoes another, though all are in one event."""
    people = [await new_user(instance, f"p{n}") for n in range(4)]
    made = await make_group(alice, *people)

    await asyncio.gather(
        *(
            alice.call("PATCH", f"{path(made)}/members/{person.address}", {"role": "admin"})
            for person in people
        )
    )

    levels = await state(alice, made, "m.room.power_levels")
    assert set(levels["users"]) == {alice.user_id, *(person.user_id for person in people)}
