"""Locked and suspended accounts, on a whole instance.  Spec: account moderation."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client_api.conversations.ws.session import UNAUTHENTICATED
from homeserver.storage.database import Database
from tests.conversations.sockets import ClientSocket
from tests.integration.single import Instance, running

ROOT, ALICE, BOB = "@root:one.test", "@alice:one.test", "@bob:one.test"
LOCK, SUSPEND = "/_matrix/client/v1/admin/lock/", "/_matrix/client/v1/admin/suspend/"


@dataclass
class World:
    """An instance with an admin, and with Alice and Bob in a room of hers."""

    one: Instance
    root: str
    alice: str
    bob: str
    room_id: str

    async def lock(self, user_id: str = ALICE, locked: bool = True) -> None:
        await self.one.call("PUT", LOCK + user_id, {"locked": locked}, token=self.root)

    async def suspend(self, user_id: str = ALICE, suspended: bool = True) -> None:
        await self.one.call("PUT", SUSPEND + user_id, {"suspended": suspended}, token=self.root)

    async def refused(self, method: str, path: str, body: Any = None, *, token: str = "") -> None:
        """The request is refused because the account is suspended."""
        answer = await self.one.call(method, path, body, token=token or self.alice, status=403)
        assert answer["errcode"] == "M_USER_SUSPENDED"


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with running(database, tmp_path) as one:
        tokens = [await one.register(name) for name in ("root", "alice", "bob")]
        await one.wiring.accounts.set_admin(ROOT, True)
        room_id = await one.room(tokens[1])
        await one.call("POST", f"/join/{room_id}", {}, token=tokens[2])
        yield World(one, *tokens, room_id)


async def test_a_locked_user_can_only_log_out(world: World) -> None:
    await world.lock()

    for method, path in [("GET", "/sync"), ("GET", "/account/whoami"), ("POST", "/createRoom")]:
        answer = await world.one.call(method, path, {}, token=world.alice, status=401)
        assert answer["errcode"] == "M_USER_LOCKED"
        assert answer["soft_logout"] is True
    login = {"type": "m.login.password", "user": "alice", "password": "sesame"}
    answer = await world.one.call("POST", "/login", login, status=401)
    assert answer["errcode"] == "M_USER_LOCKED"
    headers = {"Authorization": f"Bearer {world.alice}"}
    async with world.one.client.get("/api/v1/me", headers=headers) as response:
        assert response.status == 401

    await world.one.call("POST", "/logout", {}, token=world.alice)
    answer = await world.one.call("GET", "/account/whoami", token=world.alice, status=401)
    assert answer["errcode"] == "M_UNKNOWN_TOKEN"


async def test_sessions_outlive_the_lock(world: World) -> None:
    await world.lock()
    await world.lock(locked=False)

    answer = await world.one.call("GET", "/account/whoami", token=world.alice)

    assert answer["user_id"] == ALICE


async def test_what_another_process_locks_is_locked_here(world: World) -> None:
    await world.one.call("GET", "/account/whoami", token=world.alice)
    await world.one.wiring.database.execute(
        "UPDATE accounts SET locked_at = 1 WHERE user_id = $1", ALICE
    )

    await world.one.wiring.standing.reload()

    await world.one.call("GET", "/account/whoami", token=world.alice, status=401)


async def test_a_locked_users_socket_ends(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.alice}"}
    async with world.one.client.ws_connect("/api/v1/ws", headers=headers) as ws:
        socket = ClientSocket(ws)
        await socket.until("hello")

        await world.lock()

        assert await socket.closed() == UNAUTHENTICATED


async def test_a_suspended_user_neither_writes_nor_comes_to_rooms(world: World) -> None:
    other = await world.one.room(world.bob)
    token, room = world.alice, f"/rooms/{world.room_id}"
    await world.suspend()

    txn = secrets.token_hex(4)
    content = {"msgtype": "m.text", "body": "hello"}
    await world.refused("PUT", f"{room}/send/m.room.message/{txn}", content)
    delayed = f"{room}/send/m.room.message/later?org.matrix.msc4140.delay=1000"
    await world.refused("PUT", delayed, content)
    await world.refused("PUT", f"{room}/state/m.room.topic", {"topic": "mine"})
    await world.refused("POST", f"/join/{other}", {})
    await world.refused("POST", f"/knock/{other}", {})
    await world.refused("POST", f"{room}/invite", {"user_id": ROOT})
    await world.refused("POST", f"{room}/kick", {"user_id": BOB})
    await world.refused("POST", "/createRoom", {})
    await world.refused("PUT", f"/profile/{ALICE}/displayname", {"displayname": "A"})
    await world.refused("DELETE", f"/profile/{ALICE}/displayname")
    await world.refused("PUT", "/directory/room/%23a:one.test", {"room_id": world.room_id})
    await world.refused("DELETE", "/directory/room/%23b:one.test")
    by_mail = {"medium": "email", "address": "a@b.test", "id_server": "c", "id_access_token": "d"}
    await world.refused("POST", f"{room}/invite", by_mail)
    async with world.one.client.post(
        "/_matrix/media/v3/upload", data=b"x", headers={"Authorization": f"Bearer {token}"}
    ) as response:
        assert (response.status, (await response.json())["errcode"]) == (403, "M_USER_SUSPENDED")


async def test_a_suspended_user_reads_takes_back_their_words_and_leaves(world: World) -> None:
    mine = (await world.one.say(world.alice, world.room_id, "mine"))["event_id"]
    theirs = (await world.one.say(world.bob, world.room_id, "theirs"))["event_id"]
    room = f"/rooms/{world.room_id}"
    await world.suspend()

    login = {"type": "m.login.password", "user": "alice", "password": "sesame"}
    token = (await world.one.call("POST", "/login", login))["access_token"]
    await world.one.say(world.bob, world.room_id, "later")
    await world.refused("PUT", f"{room}/redact/{theirs}/1", {}, token=token)
    await world.one.call("PUT", f"{room}/redact/{mine}/2", {}, token=token)

    assert await world.one.texts(token, world.room_id) == ["theirs", "later"]
    await world.one.call("GET", "/sync", token=token)
    await world.one.call("POST", f"{room}/leave", {}, token=token)
    await world.one.call("POST", "/logout", {}, token=token)


async def test_what_was_scheduled_before_a_suspension_is_not_sent(world: World) -> None:
    path = f"/rooms/{world.room_id}/send/m.room.message/later?org.matrix.msc4140.delay=60000"
    body = {"msgtype": "m.text", "body": "later"}
    delay_id = (await world.one.call("PUT", path, body, token=world.alice))["delay_id"]
    await world.suspend()

    base = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
    await world.refused("POST", f"{base}/{delay_id}", {"action": "send"})
    await world.one.wiring.scheduling.scheduler.settle()

    assert await world.one.texts(world.bob, world.room_id) == []


async def test_a_suspension_ends(world: World) -> None:
    await world.suspend()
    await world.suspend(suspended=False)

    await world.one.say(world.alice, world.room_id, "back")

    assert await world.one.texts(world.bob, world.room_id) == ["back"]


async def test_a_suspended_user_is_told_so_by_the_conversations_api(world: World) -> None:
    await world.suspend()

    headers = {"Authorization": f"Bearer {world.alice}", "Idempotency-Key": "1"}
    url = f"/api/v1/conversations/{world.room_id}/messages"
    async with world.one.client.post(url, json={"text": "hello"}, headers=headers) as response:
        problem = await response.json()

    assert (response.status, problem["code"]) == (403, "account_suspended")


async def test_admins_see_and_set_the_standing_of_others_than_admins(world: World) -> None:
    one, root = world.one, world.root
    await one.register("other")
    await one.wiring.accounts.set_admin("@other:one.test", True)

    for path, key in ((LOCK, "locked"), (SUSPEND, "suspended")):
        assert await one.call("GET", path + ALICE, token=root) == {key: False}
        assert await one.call("PUT", path + ALICE, {key: True}, token=root) == {key: True}
        assert await one.call("GET", path + ALICE, token=root) == {key: True}
        await one.call("PUT", path + ALICE, {key: False}, token=root)
        for user_id, token, status, errcode in [
            (ALICE, world.bob, 403, "M_FORBIDDEN"),
            ("@nobody:one.test", world.bob, 403, "M_FORBIDDEN"),
            ("@nobody:one.test", root, 404, "M_NOT_FOUND"),
            ("@alice:two.test", root, 400, "M_INVALID_PARAM"),
            ("@other:one.test", root, 403, "M_FORBIDDEN"),
        ]:
            for method in ("GET", "PUT"):
                body = {key: True} if method == "PUT" else None
                answer = await one.call(method, path + user_id, body, token=token, status=status)
                assert answer["errcode"] == errcode
        await one.call("PUT", path + ROOT, {key: True}, token=root, status=403)
        await one.call("PUT", path + ALICE, {}, token=root, status=400)


async def test_admins_are_told_that_they_can(world: World) -> None:
    mine = (await world.one.call("GET", "/capabilities", token=world.root))["capabilities"]
    theirs = (await world.one.call("GET", "/capabilities", token=world.bob))["capabilities"]

    assert mine["m.account_moderation"] == {"lock": True, "suspend": True}
    assert "m.account_moderation" not in theirs


async def test_whois_is_for_admins_and_oneself(world: World) -> None:
    await world.one.wiring.sessions.write_sightings()

    for token in (world.root, world.alice):
        answer = await world.one.call("GET", f"/admin/whois/{ALICE}", token=token)
        assert answer["user_id"] == ALICE
        (device,) = answer["devices"].values()
        (connection,) = device["sessions"][0]["connections"]
        assert connection["ip"] == "127.0.0.1"
        assert connection["last_seen"] > 0
    await world.one.call("GET", f"/admin/whois/{ALICE}", token=world.bob, status=403)
    await world.one.call("GET", "/admin/whois/@no:one.test", token=world.bob, status=403)
    await world.one.call("GET", "/admin/whois/@no:one.test", token=world.root, status=404)
