"""Server notices through a whole instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

BOB = "@bob:one.test"
ON = {"server_notices": {"account": "notices", "room_topic": "From your server"}}


async def tell(
    one: Instance, *users: str, status: int = 200, text: str = "Hello", **more: Any
) -> list[dict[str, Any]]:
    """Send a notice as an admin."""
    body = {"user_ids": list(users), "content": {"body": text}, **more}
    token = one.wiring.admin_tokens.make()
    answer = await one.call(
        "POST", "/_comity/admin/v1/server_notices", body, token=token, status=status
    )
    return answer.get("results", [answer])


async def rooms_of(one: Instance, token: str) -> dict[str, Any]:
    """What a first sync says of rooms."""
    found: dict[str, Any] = (await one.call("GET", "/sync", token=token))["rooms"]
    return found


async def test_a_notice_invites_the_user_into_a_room_of_their_own(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **ON) as one:
        bob = await one.register("bob")

        (first,) = await tell(one, BOB)
        (second,) = await tell(one, BOB, text="Again", pin=True)

        room_id = first["room_id"]
        assert second["room_id"] == room_id
        invited = (await rooms_of(one, bob))["invite"]
        names = [e["content"] for e in invited[room_id]["invite_state"]["events"]]
        assert {"name": "Server notices"} in names
        tags = await one.call("GET", f"/user/{BOB}/rooms/{room_id}/tags", token=bob)
        assert tags == {"tags": {"m.server_notice": {}}}
        refused = await one.call("POST", f"/rooms/{room_id}/leave", {}, token=bob, status=403)
        assert refused["errcode"] == "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
        path = f"/rooms/{room_id}/state/m.room.member/{BOB}"
        leave = {"membership": "leave"}
        refused = await one.call("PUT", path, leave, token=bob, status=403)
        assert refused["errcode"] == "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"

        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        assert await one.texts(bob, room_id) == ["Hello", "Again"]
        event = await one.call("GET", f"/rooms/{room_id}/event/{first['event_id']}", token=bob)
        assert event["content"] == {
            "msgtype": "m.server_notice",
            "server_notice_type": "dev.comity.notice",
            "body": "Hello",
        }
        pinned = await one.call("GET", f"/rooms/{room_id}/state/m.room.pinned_events", token=bob)
        assert pinned == {"pinned": [second["event_id"]]}
        await one.say(bob, room_id, "may I?", status=403)


async def test_who_has_left_is_invited_again(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, **ON) as one:
        bob = await one.register("bob")
        room_id = (await tell(one, BOB))[0]["room_id"]
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        await one.call("POST", f"/rooms/{room_id}/leave", {}, token=bob)

        (again,) = await tell(one, BOB, text="Come back")

        assert again["room_id"] == room_id
        assert list((await rooms_of(one, bob))["invite"]) == [room_id]


async def test_the_same_notice_is_told_once_and_everybody_in_their_own_room(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **ON) as one:
        for name in ("bob", "cat"):
            await one.register(name)
        users = (BOB, "@cat:one.test", "@nobody:one.test", "@far:two.test", "@notices:one.test")

        before = await tell(one, *users, txn_id="x")
        after = await tell(one, *users, txn_id="x")

        assert before == after
        assert len({result["room_id"] for result in before[:2]}) == 2
        assert [("error" in result) for result in before] == [False, False, True, True, True]


async def test_everybody_is_told_page_by_page_and_nobody_twice(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client_api.admin.server_notices.MOST_USERS", 2)
    async with running(database, tmp_path, **ON) as one:
        for name in ("ada", "bob", "cat"):
            await one.register(name)
        token, path = one.wiring.admin_tokens.make(), "/_comity/admin/v1/server_notices"
        request = {"everyone": True, "content": {"body": "All"}, "txn_id": "x"}

        async def everybody() -> list[str]:
            told, after = [], ""
            while True:
                body = {**request, "after": after}
                answer = await one.call("POST", path, body, token=token)
                told += [f"{r['user_id']} {r['event_id']}" for r in answer["results"]]
                if "next" not in answer:
                    return told
                after = answer["next"]

        first = await everybody()

        assert [line.split()[0] for line in first] == ["@ada:one.test", BOB, "@cat:one.test"]
        assert await everybody() == first
        del request["txn_id"]
        await one.call("POST", path, request, token=token, status=400)


async def test_notices_need_an_account_that_is_nobodys_and_an_admin(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")
        body = {"user_ids": [BOB], "content": {"body": "x"}}
        path = "/_comity/admin/v1/server_notices"

        off = await tell(one, BOB, status=400)
        assert "server_notices.account" in off[0]["error"]
        await one.call("POST", path, body, token=bob, status=403)
        await one.call("POST", path, body, status=401)
        for wrong in ({"content": {}}, {"user_ids": []}, {"content": {"body": 7}}, {"pin": "yes"}):
            await one.call(
                "POST", path, {**body, **wrong}, token=one.wiring.admin_tokens.make(), status=400
            )
    async with running(database, tmp_path, server_notices={"account": "bob"}) as one:
        assert "belongs to somebody" in (await tell(one, BOB))[0]["error"]


async def test_who_deactivates_their_account_is_not_held_back(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **ON) as one:
        bob = await one.register("bob")
        room_id = (await tell(one, BOB))[0]["room_id"]
        password = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "bob"},
            "password": "sesame",
        }

        await one.call("POST", "/account/deactivate", {"auth": password}, token=bob)
        await one.wiring.accounts.resume()

        row = await database.fetchrow(
            "SELECT membership FROM memberships WHERE room_id = $1 AND user_id = $2", room_id, BOB
        )
        assert row is None or row["membership"] == "leave"
        assert await database.fetchval("SELECT count(*) FROM server_notice_rooms") == 0
