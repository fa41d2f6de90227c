"""Operations of the Client-Server API that no other test of a whole instance calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.storage.database import Database
from tests.services.sign_in.provider import Provider, serving

from .single import Instance, running

BOB = "@bob:one.test"


@pytest.fixture
async def instance(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """One instance that has relays for calls."""
    voip = {"turn_uris": ["turn:turn.example.com:3478"], "turn_shared_secret": "s3cret"}
    async with running(database, tmp_path, voip=voip) as instance:
        yield instance


async def test_the_limit_of_uploads_is_told_without_a_token(instance: Instance) -> None:
    alice = await instance.register("alice")

    old = await instance.call("GET", "/_matrix/media/v3/config", token=alice)
    new = await instance.call("GET", "/_matrix/client/v1/media/config", token=alice)

    assert old == new
    assert old["m.upload.size"] > 0


async def test_who_is_banned_may_come_back_once_the_ban_is_lifted(instance: Instance) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")
    room_id = await instance.room(alice)
    body = {"user_id": BOB}
    await instance.call("POST", f"/rooms/{room_id}/ban", body, token=alice)
    await instance.call("POST", f"/join/{room_id}", {}, token=bob, status=403)

    await instance.call("POST", f"/rooms/{room_id}/unban", body, token=alice)

    answer = await instance.call("POST", f"/join/{room_id}", {}, token=bob)
    assert answer == {"room_id": room_id}


async def test_rooms_are_listed_searched_for_and_taken_out_again(instance: Instance) -> None:
    alice = await instance.register("alice")
    room_id = await instance.room(alice, name="Tea and cake", room_alias_name="tea")
    path = f"/directory/list/room/{room_id}"

    before = await instance.call("GET", path)
    await instance.call("PUT", path, {"visibility": "public"}, token=alice)
    after = await instance.call("GET", path)
    search = {"filter": {"generic_search_term": "CAKE"}}
    found = await instance.call("POST", "/publicRooms", search, token=alice)
    await instance.call("PUT", path, {"visibility": "private"}, token=alice)
    gone = await instance.call("POST", "/publicRooms", search, token=alice)

    assert (before, after) == ({"visibility": "private"}, {"visibility": "public"})
    assert [room["room_id"] for room in found["chunk"]] == [room_id]
    assert gone["chunk"] == []


async def test_the_aliases_of_a_room_are_told_to_its_members(instance: Instance) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")
    room_id = await instance.room(alice, room_alias_name="tea")

    answer = await instance.call("GET", f"/rooms/{room_id}/aliases", token=alice)
    refused = await instance.call("GET", f"/rooms/{room_id}/aliases", token=bob, status=403)

    assert answer == {"aliases": ["#tea:one.test"]}
    assert refused["errcode"] == "M_FORBIDDEN"


async def test_people_who_share_a_room_are_found(instance: Instance) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")
    room_id = await instance.room(alice)
    await instance.call("POST", f"/join/{room_id}", {}, token=bob)

    found = await instance.call(
        "POST", "/user_directory/search", {"search_term": "bob"}, token=alice
    )

    assert [person["user_id"] for person in found["results"]] == [BOB]


async def test_relays_for_calls_are_told_with_credentials_for_them(instance: Instance) -> None:
    alice = await instance.register("alice")

    answer = await instance.call("GET", "/voip/turnServer", token=alice)

    assert answer["uris"] == ["turn:turn.example.com:3478"]
    assert answer["username"].endswith("@alice:one.test")


async def test_a_browser_is_led_to_a_provider(database: Database, tmp_path: Path) -> None:
    provider = Provider()
    async with serving(provider):
        settings = {
            "public_base_url": "http://chat.test",
            "oidc_providers": [provider.settings],
            "sso_redirect_urls": ["https://app.test/*"],
        }
        async with running(database, tmp_path, **settings) as instance:
            for path in ("/login/sso/redirect", "/login/sso/redirect/work"):
                url = f"/_matrix/client/v3{path}?redirectUrl=https://app.test/x"
                async with instance.client.get(url, allow_redirects=False) as response:
                    assert response.status == 302
                    assert response.headers["Location"].startswith(provider.issuer)
