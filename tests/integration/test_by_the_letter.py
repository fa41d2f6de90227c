"""What the Client-Server API says in a subordinate clause, asked of a whole instance.

Spec: client-server API; each test quotes, or names, the sentence that it is about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from federation.errors import PeerError
from homeserver.storage.database import Database
from tests.integration.single import Instance, running

ALICE, BOB, CAROL = "@alice:one.test", "@bob:one.test", "@carol:one.test"
NOWHERE = "!nowhere:one.test"


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance."""
    consent = {"cross_instance": "implied"}
    async with running(database, tmp_path, consent=consent) as one:
        yield one


async def refused(
    one: Instance, method: str, path: str, body: Any, token: str, status: int = 403
) -> str:
    """The error code of what is refused."""
    answer = await one.call(method, path, body, token=token, status=status)
    return str(answer["errcode"])


async def member(one: Instance, token: str, room_id: str, user_id: str) -> dict[str, Any]:
    return await one.call("GET", f"/rooms/{room_id}/state/m.room.member/{user_id}", token=token)


async def test_the_case_of_the_authentication_scheme_does_not_matter(one: Instance) -> None:
    """RFC 9110, authentication scheme; RFC 6750."""
    headers = {"Authorization": f"bearer {await one.register('alice')}"}

    async with one.client.get("/_matrix/client/v3/account/whoami", headers=headers) as answer:
        assert (await answer.json())["user_id"] == ALICE


# ---------------------------------------------------------------- membership


async def test_to_unban_who_is_not_banned_is_a_bad_state(one: Instance) -> None:
    """Other error codes: ``M_BAD_STATE``."""
    alice = await one.register("alice")
    room_id = await one.room(alice)

    errcode = await refused(one, "POST", f"/rooms/{room_id}/unban", {"user_id": BOB}, alice)

    assert errcode == "M_BAD_STATE"


async def test_who_never_was_in_a_room_cannot_leave_it_and_who_left_may_twice(
    one: Instance,
) -> None:
    """Leaving rooms: "must have been invited to or have joined the room"."""
    alice, bob = await one.register("alice"), await one.register("bob")
    path = f"/rooms/{await one.room(alice)}"

    errcode = await refused(one, "POST", f"{path}/leave", {}, bob)
    await one.call("POST", f"{path}/join", {}, token=bob)
    await one.call("POST", f"{path}/leave", {}, token=bob)
    await one.call("POST", f"{path}/leave", {}, token=bob)

    assert errcode == "M_FORBIDDEN"


async def test_what_else_is_in_the_body_of_a_join_goes_into_the_member_event(
    one: Instance,
) -> None:
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice)
    body = {
        "displayname": "Bob here",
        "org.example.x": [1],
        "reason": "why not",
        "membership": "ban",
        "join_authorised_via_users_server": ALICE,
    }

    await one.call("POST", f"/join/{room_id}", body, token=bob)

    assert await member(one, alice, room_id, BOB) == {
        "membership": "join",
        "displayname": "Bob here",
        "org.example.x": [1],
        "reason": "why not",
    }


async def test_an_invite_to_a_room_that_all_have_left_is_rejected_with_an_event(
    one: Instance,
) -> None:
    """Leaving rooms: "Leaving a room to which the user has been invited rejects the invite"."""
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice)
    await one.call("POST", f"/rooms/{room_id}/invite", {"user_id": BOB}, token=alice)
    since = (await one.call("GET", "/sync", token=bob))["next_batch"]
    await one.call("POST", f"/rooms/{room_id}/leave", {}, token=alice)

    await one.call("POST", f"/rooms/{room_id}/leave", {"reason": "no"}, token=bob)
    news = await one.call("GET", f"/sync?since={since}", token=bob)

    left = news["rooms"]["leave"][room_id]
    (event,) = left["timeline"]["events"]
    assert (event["sender"], event["content"]) == (BOB, {"membership": "leave", "reason": "no"})


async def test_who_was_the_last_to_leave_may_come_back(one: Instance) -> None:
    """Leaving rooms: "if the room is an "invite-only" room the user will need to be re-invited"."""
    alice, bob = await one.register("alice"), await one.register("bob")
    public, private = await one.room(alice), await one.room(alice, preset="private_chat")
    for room_id in (public, private):
        await one.call("POST", f"/rooms/{room_id}/leave", {}, token=alice)

    errcode = await refused(one, "POST", f"/join/{private}", {}, alice)
    await one.call("POST", f"/join/{public}", {}, token=alice)
    await one.call("POST", f"/join/{public}", {}, token=bob)

    assert errcode == "M_FORBIDDEN"
    assert (await member(one, bob, public, ALICE))["membership"] == "join"


async def test_who_lives_where_the_room_version_is_not_known_is_not_invited(
    one: Instance,
) -> None:
    """``POST /invite``: ``M_UNSUPPORTED_ROOM_VERSION``, which federation spells otherwise."""
    alice = await one.register("alice")
    room_id = await one.room(alice)

    class Client:
        async def put(self, server: str, path: str, **_: Any) -> dict[str, Any]:
            raise PeerError(server, 400, "M_INCOMPATIBLE_ROOM_VERSION", "No")

    one.wiring.joining._client = Client()  # type: ignore[assignment]
    body = {"user_id": "@bob:two.test"}

    errcode = await refused(one, "POST", f"/rooms/{room_id}/invite", body, alice, 400)

    assert errcode == "M_UNSUPPORTED_ROOM_VERSION"


async def test_nobody_makes_a_room_and_is_invited_to_it(one: Instance) -> None:
    alice = await one.register("alice")

    errcode = await refused(one, "POST", "/createRoom", {"invite": [ALICE]}, alice)
    rooms = await one.call("GET", "/joined_rooms", token=alice)

    assert errcode == "M_FORBIDDEN"
    assert rooms["joined_rooms"] == []


async def test_a_restricted_room_is_joined_by_the_state_endpoint_too(one: Instance) -> None:
    """Room membership: "a user can directly adjust" it."""
    alice, bob = await one.register("alice"), await one.register("bob")
    club = await one.room(alice)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    state = [{"type": "m.room.join_rules", "content": rule}]
    room_id = await one.room(alice, preset="private_chat", initial_state=state)
    path = f"/rooms/{room_id}/state/m.room.member/{BOB}"
    body = {"membership": "join", "org.example.x": 1}

    before = await refused(one, "PUT", path, body, bob)
    await one.call("POST", f"/join/{club}", {}, token=bob)
    sent = await one.call("PUT", path, body, token=bob)

    assert before == "M_FORBIDDEN"
    assert (await member(one, bob, room_id, BOB))["org.example.x"] == 1
    event = await one.call("GET", f"/rooms/{room_id}/event/{quote(sent['event_id'])}", token=bob)
    assert event["content"]["membership"] == "join"


async def test_who_meets_no_condition_of_a_restricted_room_is_forbidden_to_join(
    one: Instance,
) -> None:
    """``POST /join``: 403, "the user failed to satisfy any of the conditions"."""
    alice, bob = await one.register("alice"), await one.register("bob")
    rule = {"join_rule": "restricted", "allow": []}
    state = [{"type": "m.room.join_rules", "content": rule}]
    room_id = await one.room(alice, preset="private_chat", initial_state=state)

    by_id = await refused(one, "POST", f"/rooms/{room_id}/join", {}, bob)
    by_either = await refused(one, "POST", f"/join/{room_id}", {}, bob)

    assert by_id == by_either == "M_FORBIDDEN"


async def test_guests_enter_no_room_that_takes_none_by_the_state_endpoint(
    database: Database, tmp_path: Path
) -> None:
    """Guest access: a room says whether guests may join, whatever the way."""
    async with running(database, tmp_path, registration={"mode": "open", "guests": True}) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)  # public_chat: guests are forbidden
        guest = await one.call("POST", "/register?kind=guest", {})
        path = f"/rooms/{room_id}/state/m.room.member/{guest['user_id']}"

        errcode = await refused(one, "PUT", path, {"membership": "join"}, guest["access_token"])

        assert errcode == "M_GUEST_ACCESS_FORBIDDEN"


# ---------------------------------------------------------------- sending


@pytest.mark.parametrize("path", ["send/m.room.message/1", "state/m.room.topic", "redact/$x/1"])
async def test_of_a_room_that_is_not_here_no_more_is_said_than_of_one_that_is(
    one: Instance, path: str
) -> None:
    """``PUT /state``: 403, "the sender doesn't have permission to send the event"."""
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice)

    there = await refused(one, "PUT", f"/rooms/{room_id}/{path}", {"topic": "x"}, bob)
    nowhere = await refused(one, "PUT", f"/rooms/{NOWHERE}/{path}", {"topic": "x"}, bob)

    assert there == nowhere == "M_FORBIDDEN"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"m.room.member/{ALICE}", {}),
        (f"m.room.member/{ALICE}", {"membership": "visitor"}),
        (f"m.room.member/{ALICE}", {"membership": ["join"]}),
        ("m.room.power_levels", {"users": []}),
        ("m.room.power_levels", {"users": {BOB: "50"}}),
        ("m.room.power_levels", {"ban": None}),
        ("m.room.power_levels", {"events": {"m.room.name": 1.5}}),
    ],
)
async def test_state_that_is_malformed_is_bad_json_and_not_forbidden(
    one: Instance, path: str, body: dict[str, Any]
) -> None:
    """Common error codes: ``M_BAD_JSON``, "missing required keys, invalid values for keys"."""
    alice = await one.register("alice")
    room_id = await one.room(alice)

    errcode = await refused(one, "PUT", f"/rooms/{room_id}/state/{path}", body, alice, 400)

    assert errcode == "M_BAD_JSON"


async def test_power_levels_in_old_rooms_may_be_texts(one: Instance) -> None:
    """Room versions 1 to 9: levels as strings."""
    alice = await one.register("alice")
    room_id = await one.room(alice, room_version="9")
    body = {"users": {ALICE: 100, BOB: "50"}, "ban": "60"}

    await one.call("PUT", f"/rooms/{room_id}/state/m.room.power_levels", body, token=alice)

    path = f"/rooms/{room_id}/state/m.room.power_levels"
    assert await one.call("GET", path, token=alice) == body


@pytest.mark.parametrize(
    ("content", "errcode"),
    [
        ({"alias": "no alias"}, "M_INVALID_PARAM"),
        ({"alias": 5}, "M_INVALID_PARAM"),
        ({"alt_aliases": ["#nowhere"]}, "M_INVALID_PARAM"),
        ({"alt_aliases": "#nowhere:one.test"}, "M_INVALID_PARAM"),
        ({"alias": "#nowhere:one.test"}, "M_BAD_ALIAS"),
        ({"alt_aliases": ["#elsewhere:one.test"]}, "M_BAD_ALIAS"),
    ],
)
async def test_canonical_aliases_of_bad_syntax_and_those_that_lead_elsewhere_differ(
    one: Instance, content: dict[str, Any], errcode: str
) -> None:
    """``PUT /state``: ``M_INVALID_PARAM``, ``M_BAD_ALIAS``."""
    alice = await one.register("alice")
    await one.room(alice, room_alias_name="elsewhere")
    room_id = await one.room(alice)
    path = f"/rooms/{room_id}/state/m.room.canonical_alias"

    assert await refused(one, "PUT", path, content, alice, 400) == errcode


@pytest.mark.parametrize("content", [{}, {"alias": None}, {"alias": ""}])
async def test_a_canonical_alias_is_taken_away_by_saying_nothing(
    one: Instance, content: dict[str, Any]
) -> None:
    """``m.room.canonical_alias``: "If not present, null, or empty"."""
    alice = await one.register("alice")
    room_id = await one.room(alice, room_alias_name="here", visibility="public")
    path = f"/rooms/{room_id}/state/m.room.canonical_alias"

    await one.call("PUT", path, content, token=alice)
    listed = await one.call("GET", "/publicRooms")

    assert "canonical_alias" not in listed["chunk"][0]


@pytest.mark.parametrize("version", ["1", "9", "10", "11", "12"])
async def test_what_a_redaction_redacts_is_moved_to_where_its_room_version_has_it(
    one: Instance, version: str
) -> None:
    """``PUT /send``: "In rooms with a version older than 11 they MUST move the property"."""
    alice = await one.register("alice")
    room_id = await one.room(alice, room_version=version)
    target = (await one.say(alice, room_id, "Oh no"))["event_id"]
    body = {"redacts": target, "reason": "a slip"}

    sent = await one.call("PUT", f"/rooms/{room_id}/send/m.room.redaction/1", body, token=alice)

    stored = await one.wiring.store.get(sent["event_id"])
    assert stored is not None
    if int(version) < 11:
        assert stored.event.pdu["redacts"] == target
        assert stored.event.content == {"reason": "a slip"}
    else:
        assert "redacts" not in stored.event.pdu
        assert stored.event.content == body
    assert await one.texts(alice, room_id) == []


@pytest.mark.parametrize("version", ["2", "10", "12"])
async def test_admins_redact_what_users_of_their_server_sent(one: Instance, version: str) -> None:
    """``PUT /redact``: "Server administrators may redact events sent by users on their server"."""
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice, room_version=version)
    await one.call("POST", f"/join/{room_id}", {}, token=bob)
    sent = await one.say(alice, room_id, "Oh no")
    path = f"/rooms/{room_id}/redact/{quote(sent['event_id'], safe='')}"

    errcode = await refused(one, "PUT", f"{path}/1", {}, bob)
    await one.wiring.accounts.set_admin(BOB, True)
    await one.call("PUT", f"{path}/2", {}, token=bob)

    assert errcode == "M_FORBIDDEN"
    assert await one.texts(alice, room_id) == []


# ---------------------------------------------------------------- making rooms


@pytest.mark.parametrize(
    ("override", "level"),
    [
        ({}, 150),
        ({"events": {"m.room.name": 60}}, 150),
        ({"state_default": 200, "events": {}}, 201),
        ({"events": {"m.room.tombstone": 170}}, 170),
    ],
)
async def test_in_rooms_of_version_12_tombstones_need_more_than_other_state(
    one: Instance, override: dict[str, Any], level: int
) -> None:
    """``POST /createRoom``: "MUST explicitly be higher than ``state_default``"."""
    alice = await one.register("alice")
    room_id = await one.room(alice, room_version="12", power_level_content_override=override)

    path = f"/rooms/{room_id}/state/m.room.power_levels"
    content = await one.call("GET", path, token=alice)

    assert content["events"]["m.room.tombstone"] == level


async def test_a_room_has_no_alias_without_a_name(one: Instance) -> None:
    """``POST /createRoom``: ``room_alias_name``, the alias's local part."""
    alice = await one.register("alice")

    errcode = await refused(one, "POST", "/createRoom", {"room_alias_name": ""}, alice, 400)

    assert errcode == "M_INVALID_PARAM"


# ---------------------------------------------------------------- reading


async def test_a_page_starts_with_the_token_that_was_given(one: Instance) -> None:
    """``GET /messages``: "the same as the value given in ``from``"."""
    alice = await one.register("alice")
    room_id = await one.room(alice)
    since = (await one.call("GET", "/sync", token=alice))["next_batch"]

    page = await one.call("GET", f"/rooms/{room_id}/messages?dir=b&from={since}", token=alice)

    assert page["start"] == since
    assert page["chunk"]


async def test_aliases_are_told_to_members_alone_and_nobody_learns_what_rooms_are_here(
    one: Instance,
) -> None:
    """``GET /aliases``: "external users receive an ``M_FORBIDDEN`` error response"."""
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice)

    there = await refused(one, "GET", f"/rooms/{room_id}/aliases", None, bob)
    nowhere = await refused(one, "GET", f"/rooms/{NOWHERE}/aliases", None, bob)

    assert there == nowhere == "M_FORBIDDEN"


async def test_the_state_of_a_room_that_fits_into_the_timeline_is_told_there_alone(
    one: Instance,
) -> None:
    """Syncing: "in the case of a recently-created room ... the ``state`` list will be empty"."""
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice)
    since = (await one.call("GET", "/sync", token=bob))["next_batch"]
    await one.call("POST", f"/join/{room_id}", {}, token=bob)

    query = "filter=" + quote('{"room": {"timeline": {"limit": 50}}}')
    first = await one.call("GET", f"/sync?{query}", token=alice)
    joined = await one.call("GET", f"/sync?{query}&since={since}", token=bob)

    for answer in (first, joined):
        part = answer["rooms"]["join"][room_id]
        assert part["timeline"]["events"][0]["type"] == "m.room.create"
        assert part["state"]["events"] == []


async def test_a_sync_with_an_unknown_filter_has_a_wrong_parameter(one: Instance) -> None:
    """Not ``M_NOT_FOUND``, which a client takes for an endpoint that is not there."""
    alice = await one.register("alice")

    assert await refused(one, "GET", "/sync?filter=77", None, alice, 400) == "M_INVALID_PARAM"


# ---------------------------------------------------------------- profiles


async def test_a_name_that_no_profile_can_hold_makes_it_too_large(one: Instance) -> None:
    """``PUT /profile``: ``M_PROFILE_TOO_LARGE``."""
    alice = await one.register("alice")
    path = f"/profile/{ALICE}/displayname"

    errcode = await refused(one, "PUT", path, {"displayname": "a" * 70_000}, alice, 400)

    assert errcode == "M_PROFILE_TOO_LARGE"


async def test_a_new_name_is_told_with_the_presence_too(one: Instance) -> None:
    """Events on change of profile information: ``m.presence`` bears the new values."""
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice)
    await one.call("POST", f"/join/{room_id}", {}, token=bob)
    await one.call("PUT", f"/presence/{ALICE}/status", {"presence": "online"}, token=alice)
    since = (await one.call("GET", "/sync", token=bob))["next_batch"]
    path, body = f"/profile/{ALICE}/displayname", {"displayname": "Alice the Great"}

    await one.call("PUT", path, body, token=alice)
    news = await one.call("GET", f"/sync?since={since}", token=bob)
    asked = await one.call("GET", f"/presence/{ALICE}/status", token=bob)

    told = {e["sender"]: e["content"] for e in news["presence"]["events"]}
    assert told[ALICE]["displayname"] == "Alice the Great"
    assert told[ALICE]["presence"] == "online"
    assert "displayname" not in asked


async def test_a_filter_says_how_many_events_a_page_has_if_the_query_does_not(
    one: Instance,
) -> None:
    """``RoomEventFilter``: ``limit``, "the maximum number of events to return"."""
    alice = await one.register("alice")
    path = f"/rooms/{await one.room(alice)}/messages?dir=b&filter=" + quote('{"limit": 2}')

    page = await one.call("GET", path, token=alice)
    asked = await one.call("GET", f"{path}&limit=3", token=alice)

    assert (len(page["chunk"]), len(asked["chunk"])) == (2, 3)
