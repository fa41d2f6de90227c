"""Paths as clients spell them: unstable names, old versions, trailing slashes, HEAD and OPTIONS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.storage.database import Database

from .single import Instance, running

ROOM, EVENT = "!room:one.test", "$event"
# Client, method, path.  What is asked for is not there, or not allowed: but it is recognised.
CALLED = [
    ("matrix-js-sdk", "POST", "/keys/device_signing/upload"),
    ("matrix-js-sdk", "GET", f"/org.matrix.msc3030/rooms/{ROOM}/timestamp_to_event?ts=1&dir=f"),
    ("matrix-js-sdk", "GET", f"/org.matrix.msc3856/rooms/{ROOM}/threads"),
    ("matrix-js-sdk", "GET", f"/org.matrix.msc2946/rooms/{ROOM}/hierarchy"),
    ("matrix-js-sdk", "GET", f"/im.nheko.summary/summary/{ROOM}"),
    ("matrix-js-sdk", "GET", "/uk.tcpip.msc4133/profile/@x:one.test/displayname"),
    ("matrix-js-sdk", "PUT", "/uk.tcpip.msc4133/profile/@x:one.test/displayname"),
    ("matrix-js-sdk", "DELETE", "/uk.tcpip.msc4133/profile/@x:one.test/displayname"),
    ("matrix-js-sdk", "GET", "/uk.half-shot.msc2666/user/mutual_rooms?user_id=@x:one.test"),
    ("matrix-js-sdk", "POST", "/org.matrix.simplified_msc3575/sync"),
    ("matrix-js-sdk", "POST", "/org.matrix.msc4140/delayed_events/x"),
    ("matrix-js-sdk", "GET", "/org.matrix.msc3814.v1/dehydrated_device"),
    ("matrix-js-sdk", "GET", "/org.matrix.msc1763/retention/configuration"),
    ("matrix-rust-sdk", "GET", "/org.matrix.msc3916/media/config"),
    ("matrix-rust-sdk", "GET", "/org.matrix.msc3916/media/download/one.test/x"),
    ("matrix-rust-sdk", "POST", f"/org.matrix.msc4151/rooms/{ROOM}/report"),
    ("matrix-rust-sdk", "POST", "/org.matrix.msc4260/users/@x:one.test/report"),
    ("Element Android", "POST", "/keys/upload"),
    ("Element Android", "POST", "/keys/query"),
    ("Element Android", "POST", "/keys/claim"),
    ("Element Android", "GET", "/keys/changes?from=s1_1_1&to=s1_1_1"),
    ("Element Android", "POST", "/keys/signatures/upload"),
    ("Element Android", "GET", "/room_keys/version"),
    ("Element Android", "GET", "/room_keys/keys?version=1"),
    ("Element Android", "POST", "/account/3pid/bind"),
    ("Element Android", "POST", "/account/3pid/unbind"),
    ("Element Android", "GET", f"/rooms/{ROOM}/relations/{EVENT}/m.thread/m.room.message"),
    ("Element Android", "GET", f"/im.nheko.summary/rooms/{ROOM}/summary"),
    ("Element iOS", "GET", "/devices"),
    ("Element iOS", "PUT", "/sendToDevice/m.dummy/1"),
    ("Element iOS", "GET", f"/org.matrix.msc2432/rooms/{ROOM}/aliases"),
    ("nheko", "GET", f"/im.nheko.summary/rooms/{ROOM}/summary"),
    ("commet", "GET", f"/rooms/{ROOM}/relations/{EVENT}/m.thread"),
    ("FluffyChat", "POST", "/delete_devices"),
    ("FluffyChat", "GET", "/account/3pid"),
]


@pytest.fixture
async def instance(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """One instance."""
    async with running(database, tmp_path) as instance:
        yield instance


async def test_what_clients_call_by_unstable_names_is_recognised(instance: Instance) -> None:
    alice = await instance.register("alice")
    headers = {"Authorization": f"Bearer {alice}"}

    unrecognised = []
    for client, method, path in CALLED:
        body = None if method in ("GET", "DELETE") else {}
        url = f"/_matrix/client/unstable{path}"
        async with instance.client.request(method, url, json=body, headers=headers) as response:
            answer = await response.json()
            if response.status == 405 or answer.get("errcode") == "M_UNRECOGNIZED":
                unrecognised.append((client, method, path))

    assert unrecognised == []


async def test_an_unstable_spelling_answers_as_the_stable_one(instance: Instance) -> None:
    alice = await instance.register("alice")

    for path in ("/devices", "/keys/changes?from=s1_1_1&to=s2_1_1"):
        stable = await instance.call("GET", path, token=alice)
        unstable = await instance.call("GET", f"/_matrix/client/unstable{path}", token=alice)

        assert unstable.keys() == stable.keys()


@pytest.mark.parametrize("version", ["r0", "v3"])
async def test_old_versions_are_answered_as_the_new_one(instance: Instance, version: str) -> None:
    alice = await instance.register("alice")

    answer = await instance.call("GET", f"/_matrix/client/{version}/account/whoami", token=alice)

    assert answer["user_id"] == "@alice:one.test"


async def test_a_token_in_the_query_is_taken(instance: Instance) -> None:
    alice = await instance.register("alice")

    answer = await instance.call("GET", f"/account/whoami?access_token={alice}")
    refused = await instance.call("GET", "/account/whoami?access_token=nonsense", status=401)

    assert (answer["user_id"], refused["errcode"]) == ("@alice:one.test", "M_UNKNOWN_TOKEN")


async def test_the_header_goes_before_the_query(instance: Instance) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")

    answer = await instance.call("GET", f"/account/whoami?access_token={bob}", token=alice)

    assert answer["user_id"] == "@alice:one.test"


async def test_push_rules_are_read_with_the_slash_at_the_end_and_without(
    instance: Instance,
) -> None:
    alice = await instance.register("alice")

    for path in ("/pushrules", "/pushrules/global"):
        without = await instance.call("GET", path, token=alice)
        with_slash = await instance.call("GET", f"{path}/", token=alice)

        assert with_slash == without


async def test_a_state_key_may_be_left_out_with_its_slash_or_without(instance: Instance) -> None:
    alice = await instance.register("alice")
    room_id = await instance.room(alice, name="Tea")

    for path in (f"/rooms/{room_id}/state/m.room.name", f"/rooms/{room_id}/state/m.room.name/"):
        assert await instance.call("GET", path, token=alice) == {"name": "Tea"}


async def test_whoever_asks_for_the_head_alone_gets_it(instance: Instance) -> None:
    alice = await instance.register("alice")
    headers = {"Authorization": f"Bearer {alice}"}

    for path, status in (("/account/whoami", 200), ("/nothing", 404), ("/joined_rooms", 200)):
        url = f"/_matrix/client/v3{path}"
        async with instance.client.head(url, headers=headers) as response:
            assert (response.status, await response.read()) == (status, b"")
            assert response.content_type == "application/json"


@pytest.mark.parametrize(
    "path", ["/client/v3/sync", "/client/v3/nothing", "/media/v3/upload", "/client/unstable/x/y"]
)
async def test_browsers_may_call_from_anywhere(instance: Instance, path: str) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    async with instance.client.options(f"/_matrix{path}", headers=asked) as response:
        allowed = response.headers

        assert response.status in (200, 204)
        assert allowed["Access-Control-Allow-Origin"] == "*"
        assert "PUT" in allowed["Access-Control-Allow-Methods"]
        assert "Authorization" in allowed["Access-Control-Allow-Headers"]


async def test_errors_can_be_read_by_browsers_of_any_origin(instance: Instance) -> None:
    async with instance.client.get("/_matrix/client/v3/account/whoami") as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_what_there_is_not_is_unrecognised(instance: Instance) -> None:
    nothing = await instance.call("GET", "/nothing", status=404)
    wrong_method = await instance.call("DELETE", "/sync", status=405)

    assert (nothing["errcode"], wrong_method["errcode"]) == ("M_UNRECOGNIZED", "M_UNRECOGNIZED")
