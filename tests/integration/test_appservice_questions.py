"""Application services are asked for users, rooms and networks; they ping, and list rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from homeserver.storage.database import Database
from tests.integration.appservice_world import BOT, bridged
from tests.integration.single import running

PING = "/_matrix/client/v1/appservice/bridge/ping"
IRC = {
    "user_fields": ["network", "nickname"],
    "location_fields": ["network", "channel"],
    "icon": "mxc://one.test/icon",
    "field_types": {"nickname": {"regexp": ".*", "placeholder": "ann"}},
    "instances": [{"network_id": "libera", "desc": "Libera", "fields": {"network": "libera"}}],
}


async def test_an_invited_user_is_made_by_the_service_that_knows_them(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:

        async def make(user_id: str) -> int:
            if "ann" not in user_id:
                return 404
            await world.ghost("ann")
            return 200

        world.service.on_user = make
        alice = await world.one.register("alice")
        room_id = await world.one.room(alice)
        for user_id in ("@_irc_ann:one.test", "@_irc_nobody:one.test", "@bob:one.test"):
            path = f"/rooms/{room_id}/invite"
            await world.one.call("POST", path, {"user_id": user_id}, token=alice)
        await world.one.room(alice, invite=["@_irc_ann:one.test"])

        who = await world.call("GET", "/account/whoami", user="@_irc_ann:one.test")

        assert who["user_id"] == "@_irc_ann:one.test"
        assert world.service.asked == [
            f"/_matrix/app/v1/users/{quote(name, safe='@:')}"
            for name in ("@_irc_ann:one.test", "@_irc_nobody:one.test")
        ]


async def test_a_room_is_made_when_its_alias_is_looked_for(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:

        async def make(alias: str) -> int:
            if "rust" not in alias:
                return 404
            await world.call(
                "POST", "/createRoom", {"room_alias_name": "_irc_rust", "preset": "public_chat"}
            )
            return 200

        world.service.on_alias = make
        alice = await world.one.register("alice")

        joined = await world.one.call("POST", "/join/%23_irc_rust:one.test", {}, token=alice)
        await world.one.call("GET", "/directory/room/%23_irc_other:one.test", status=404)
        await world.one.call("GET", "/directory/room/%23other:one.test", status=404)

        assert joined["room_id"].startswith("!")
        assert len(world.service.asked) == 2


async def test_who_does_not_answer_is_given_up_on(database: Database, tmp_path: Path) -> None:
    changes = {"url": "http://127.0.0.1:9"}
    async with bridged(database, tmp_path, changes=changes) as world:
        answer = await world.one.call("GET", "/directory/room/%23_irc_x:one.test", status=408)

        assert "try again later" in answer["error"]


async def test_a_ping_says_whether_the_service_is_reached(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        alice = await world.one.register("alice")

        good = await world.call("POST", PING, {"transaction_id": "meow"})
        by_a_person = await world.one.call("POST", PING, {}, token=alice, status=403)
        of_another = await world.call("POST", PING.replace("bridge", "other"), {}, status=403)
        world.service.status = 418
        bad = await world.call("POST", PING, {}, status=502)

        assert good["duration_ms"] >= 0
        assert by_a_person["errcode"] == of_another["errcode"] == "M_FORBIDDEN"
        assert (bad["errcode"], bad["status"], bad["body"]) == ("M_BAD_STATUS", 418, "{}")


async def test_a_ping_of_what_cannot_be_reached_says_why(
    database: Database, tmp_path: Path
) -> None:
    for url, status, errcode in (
        (None, 400, "M_URL_NOT_SET"),
        ("http://127.0.0.1:9", 502, "M_CONNECTION_FAILED"),
    ):
        async with bridged(database, tmp_path, changes={"url": url}) as world:
            answer = await world.call("POST", PING, {}, status=status)

            assert answer["errcode"] == errcode


async def test_networks_are_described_and_looked_up(database: Database, tmp_path: Path) -> None:
    base = "/_matrix/app/v1/thirdparty"
    user = {"userid": "@_irc_ann:one.test", "protocol": "irc", "fields": {"nickname": "ann"}}
    room = {"alias": "#_irc_rust:one.test", "protocol": "irc", "fields": {"channel": "#rust"}}
    async with bridged(database, tmp_path) as world:
        world.service.answers = {
            f"{base}/protocol/irc": IRC,
            f"{base}/user/irc": [user, {"not": "a result"}],
            f"{base}/location/irc": [room],
            f"{base}/user": [user],
            f"{base}/location": [room],
        }
        alice = await world.one.register("alice")

        async def get(path: str, status: int = 200) -> Any:
            path = f"/thirdparty/{path}"
            return await world.one.call("GET", path, token=alice, status=status)

        described = {
            **IRC,
            "instances": [{**IRC["instances"][0], "instance_id": "bridge|libera"}],
        }
        assert await get("protocols") == {"irc": described}
        assert await get("protocol/irc") == described
        assert await get("user/irc?nickname=ann") == [user]
        assert await get("location/irc?channel=%23rust") == [room]
        assert await get("user?userid=@_irc_ann:one.test") == [user]
        assert await get("location?alias=%23_irc_rust:one.test") == [room]
        assert (await get("user", 400))["errcode"] == "M_MISSING_PARAM"
        assert (await get("protocol/xmpp", 404))["errcode"] == "M_NOT_FOUND"
        assert (await get("user/xmpp", 404))["errcode"] == "M_NOT_FOUND"
        asked = [path for path in world.service.asked if "nickname" in path]
        assert asked == [f"{base}/user/irc?nickname=ann"]


async def test_networks_of_a_service_that_is_away_are_left_out(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path, changes={"url": "http://127.0.0.1:9"}) as world:
        alice = await world.one.register("alice")

        assert await world.one.call("GET", "/thirdparty/protocols", token=alice) == {}
        await world.one.call("GET", "/thirdparty/user?userid=@a:b", token=alice, status=404)


async def test_an_instance_without_services_has_no_networks(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")

        assert await one.call("GET", "/thirdparty/protocols", token=alice) == {}
        await one.call("GET", "/thirdparty/protocols", status=401)


async def test_a_service_lists_rooms_for_its_network(database: Database, tmp_path: Path) -> None:
    async with bridged(database, tmp_path) as world:
        alice = await world.one.register("alice")
        room_id = await world.one.room(alice)
        path = f"/directory/list/appservice/libera/{room_id}"
        statement = "SELECT appservice_id, network_id, room_id FROM appservice_room_lists"

        await world.call("PUT", path, {"visibility": "public"})
        await world.call("PUT", path, {"visibility": "public"})
        listed = [tuple(row) for row in await database.fetch(statement)]
        shown = [
            [
                room["room_id"]
                for room in (await world.one.call("POST", "/publicRooms", query, token=alice))[
                    "chunk"
                ]
            ]
            for query in (
                {},
                {"third_party_instance_id": "bridge|libera"},
                {"third_party_instance_id": "other|libera"},
                {"include_all_networks": True},
            )
        ]
        await world.call("PUT", path, {"visibility": "private"})

        assert listed == [("bridge", "libera", room_id)]
        assert shown == [[], [room_id], [], [room_id]]
        assert await database.fetch(statement) == []
        await world.call("PUT", path, {"visibility": "maybe"}, status=400)
        await world.call("PUT", path, {}, status=400)
        await world.call("PUT", f"{path}x", {"visibility": "public"}, status=404)
        body = {"visibility": "public"}
        refused = await world.one.call("PUT", path, body, token=alice, status=403)
        assert refused["errcode"] == "M_FORBIDDEN"


async def test_the_admin_sees_how_a_service_fares_and_no_token(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        admin = await world.one.register("root")
        await world.one.wiring.accounts.set_admin("@root:one.test", True)
        room_id = await world.one.room(admin, invite=[BOT])
        await world.service.until(world.service.told)
        world.service.status = 500
        await world.call("POST", f"/join/{room_id}", {})
        await world.service.until(lambda: len(world.service.attempts) > 2)

        path = "/_comity/admin/v1/app_services"
        (state,) = (await world.one.call("GET", path, token=admin))["app_services"]
        pinged = await world.one.call("POST", f"{path}/bridge/ping", {}, token=admin, status=502)
        world.service.status = 200
        await world.one.call("POST", f"{path}/bridge/ping", {}, token=admin)
        await world.service.until(lambda: len(world.service.transactions) == 2)

        assert (state["id"], state["sender"]) == ("bridge", BOT)
        assert state["delivery"]["last_error"] == "it answered 500"
        assert state["delivery"]["failing_since"] is not None
        assert state["delivery"]["accepted"] == 1
        assert "token" not in str(state).replace("registration", "")
        assert pinged["error"] == "bridge answered 500"
        await world.one.call("POST", f"{path}/other/ping", {}, token=admin, status=404)
        await world.call("GET", path, status=403)


async def test_the_admin_leaves_out_what_a_service_cannot_take(
    database: Database, tmp_path: Path
) -> None:
    names = {"rooms": [{"exclusive": False, "regex": "!"}]}
    async with bridged(database, tmp_path, changes={"namespaces": names}) as world:
        admin = await world.one.register("root")
        await world.one.wiring.accounts.set_admin("@root:one.test", True)
        world.service.status = 400
        room_id = await world.one.room(admin)
        await world.one.say(admin, room_id, "cannot be taken")
        await world.service.until(lambda: world.service.attempts)
        path = "/_comity/admin/v1/app_services/bridge/skip"

        await world.one.call("POST", path, {}, token=admin)
        world.service.status = 200
        await world.one.say(admin, room_id, "can be")
        await world.service.until(world.service.texts)

        assert world.service.texts() == ["can be"]
        await world.one.call("POST", path.replace("bridge", "x"), {}, token=admin, status=404)
