"""Profiles: of users here and elsewhere, and how rooms are told."""

import pytest

from tests.client_api.conftest import Server

ALICE = "/profile/@alice:one.example"


async def test_a_change_of_name_goes_to_every_room(server: Server):
    alice = await server.new_account("alice")
    server.others.rooms = ["!a:one.example", "!b:one.example"]

    await server.put(f"{ALICE}/displayname", {"displayname": "Alice"}, token=alice.token)

    assert await server.get(ALICE) == {"displayname": "Alice"}
    assert await server.get(f"{ALICE}/displayname") == {"displayname": "Alice"}
    assert sorted(server.others.member_events) == [
        (alice.user_id, "!a:one.example", {"displayname": "Alice"}),
        (alice.user_id, "!b:one.example", {"displayname": "Alice"}),
    ]


async def test_what_does_not_change_is_not_told(server: Server):
    alice = await server.new_account("alice")
    server.others.rooms = ["!a:one.example"]

    await server.put(f"{ALICE}/displayname", {"displayname": "alice"}, token=alice.token)
    await server.put(f"{ALICE}/m.tz", {"m.tz": "Europe/London"}, token=alice.token)

    assert server.others.member_events == []
    assert (await server.get(ALICE))["m.tz"] == "Europe/London"


@pytest.mark.parametrize("value", ["", None])
async def test_an_empty_avatar_removes_it(server: Server, value: str | None):
    alice = await server.new_account("alice")
    path = f"{ALICE}/avatar_url"
    await server.put(path, {"avatar_url": "mxc://one.example/a"}, token=alice.token)

    await server.put(path, {"avatar_url": value}, token=alice.token)

    answer = await server.get(path, status=404)
    assert answer["errcode"] == "M_NOT_FOUND"


async def test_custom_fields_hold_any_json(server: Server):
    alice = await server.new_account("alice")
    value = {"b": [1, None, {"c": "d"}], "a": 0.5}

    await server.put(f"{ALICE}/org.example.thing", {"org.example.thing": value}, token=alice.token)

    assert await server.get(f"{ALICE}/org.example.thing") == {"org.example.thing": value}
    await server.delete(f"{ALICE}/org.example.thing", token=alice.token)
    await server.delete(f"{ALICE}/org.example.thing", token=alice.token)
    assert await server.get(ALICE) == {"displayname": "alice"}


@pytest.mark.parametrize(
    ("key", "body", "errcode"),
    [
        ("displayname", {}, "M_MISSING_PARAM"),
        ("displayname", {"displayname": 7}, "M_INVALID_PARAM"),
        ("displayname", {"displayname": "x" * 257}, "M_INVALID_PARAM"),
        ("displayname", {"displayname": "a\0b"}, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": "https://example.org/a.png"}, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": f"mxc://{'a' * 1000}/b"}, "M_INVALID_PARAM"),
        ("m.tz", {"m.tz": ["Europe/London"]}, "M_INVALID_PARAM"),
        ("org.example", {"org.example": {"a\0": 1}}, "M_INVALID_PARAM"),
        ("Upper.case", {"Upper.case": 1}, "M_INVALID_PARAM"),
        ("nodots", {"nodots": 1}, "M_INVALID_PARAM"),
        ("org." + "x" * 252, {}, "M_KEY_TOO_LARGE"),
    ],
)
async def test_fields_that_are_refused(server: Server, key: str, body: dict, errcode: str):
    alice = await server.new_account("alice")

    answer = await server.put(f"{ALICE}/{key}", body, token=alice.token, status=400)

    assert answer["errcode"] == errcode


async def test_a_profile_has_64_kib_at_most(server: Server):
    alice = await server.new_account("alice")
    body = {"org.example.one": "x" * 40_000}
    await server.put(f"{ALICE}/org.example.one", body, token=alice.token)

    answer = await server.put(
        f"{ALICE}/org.example.two",
        {"org.example.two": "x" * 40_000},
        token=alice.token,
        status=400,
    )

    assert answer["errcode"] == "M_PROFILE_TOO_LARGE"


async def test_only_ones_own_profile_can_be_changed(server: Server):
    await server.new_account("alice")
    bob = await server.new_account("bob")

    await server.put(f"{ALICE}/displayname", {"displayname": "x"}, token=bob.token, status=403)
    await server.delete(f"{ALICE}/displayname", token=bob.token, status=403)
    await server.put(f"{ALICE}/displayname", {"displayname": "x"}, status=401)


async def test_remote_profiles_come_from_their_server(server: Server):
    server.others.remote["@bob:two.example"] = {"displayname": "Bob"}

    assert await server.get("/profile/@bob:two.example") == {"displayname": "Bob"}
    assert await server.get("/profile/bob@two.example/displayname") == {"displayname": "Bob"}
    await server.get("/profile/@bob:two.example/avatar_url", status=404)
    await server.get("/profile/@carol:two.example", status=404)


async def test_an_unknown_user_has_no_profile(server: Server):
    answer = await server.get("/profile/@nobody:one.example", status=404)
    malformed = await server.get("/profile/nobody", status=400)

    assert answer["errcode"] == "M_NOT_FOUND"
    assert malformed["errcode"] == "M_INVALID_PARAM"
