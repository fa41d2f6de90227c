"""Messages that end by themselves, on one instance; across instances: tests/interop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

SOON = {"dev.comity.expires": {"after_ms": 1000, "from": "sent"}}


async def eventually(check: Callable[[], Awaitable[Any]]) -> Any:
    """What a check yields, once it is true."""
    async with asyncio.timeout(20):
        while True:
            found = await check()
            if found:
                return found
            await asyncio.sleep(0.05)


async def redacted(one: Instance, token: str, room_id: str, event_id: str) -> dict[str, Any] | None:
    """An event, once it is shown redacted."""
    event = await one.call("GET", f"/rooms/{room_id}/event/{event_id}", token=token)
    return event if "redacted_because" in event["unsigned"] else None


async def test_an_expired_message_is_redacted_and_its_content_deleted(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        since = (await one.call("GET", "/sync", token=alice))["next_batch"]
        sent = await one.say(alice, room_id, "a secret for a second", **SOON)
        await one.say(alice, room_id, "this stays")

        event = await eventually(lambda: redacted(one, alice, room_id, sent["event_id"]))

        assert event["content"] == {}
        because = event["unsigned"]["redacted_because"]
        assert (because["sender"], because["content"]["reason"]) == ("@alice:one.test", "expired")

        async def erased() -> bool:
            row = await database.fetchrow(
                "SELECT erased, pdu FROM events WHERE event_id = $1", sent["event_id"]
            )
            assert row["erased"] is None or b"secret" not in row["pdu"]
            return row["erased"] == "expired"

        await eventually(erased)
        assert await one.texts(alice, room_id) == ["this stays"]
        synced = await one.call("GET", f"/sync?since={since}", token=alice)
        events = synced["rooms"]["join"][room_id]["timeline"]["events"]
        assert [e["redacts"] for e in events if e["type"] == "m.room.redaction"] == [
            sent["event_id"]
        ]
        assert "secret" not in str(synced)
        assert await database.fetchval("SELECT count(*) FROM message_ends") == 0


async def test_an_edit_ends_with_its_message(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        sent = await one.say(alice, room_id, "a secret", **SOON)
        relation = {"rel_type": "m.replace", "event_id": sent["event_id"]}
        new = {"msgtype": "m.text", "body": "a better secret"}
        edit = await one.say(
            alice, room_id, "* a better secret", **{"m.relates_to": relation, "m.new_content": new}
        )

        event = await eventually(lambda: redacted(one, alice, room_id, edit["event_id"]))

        assert event["content"] == {}
        assert await one.texts(alice, room_id) == []


async def test_the_field_stands_beside_the_ciphertext(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        path = f"/rooms/{room_id}/send/m.room.encrypted/1"
        content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "abc", **SOON}
        sent = await one.call("PUT", path, content, token=alice)

        event = await eventually(lambda: redacted(one, alice, room_id, sent["event_id"]))

        assert event["content"] == {}


@pytest.mark.parametrize(
    "field",
    [
        {"dev.comity.expires": {"after_ms": 999}},
        {"dev.comity.expires": {"after_ms": 366 * 24 * 3_600_000}},
        {"dev.comity.expires": {"after_ms": "soon"}},
        {"dev.comity.expires": {"after_ms": 1000, "from": "now"}},
        {"dev.comity.expires": 1000},
        {"dev.comity.view_once": "yes"},
        {"expires": {"after_ms": 0}},
    ],
)
async def test_a_field_that_says_nothing_possible_is_refused(
    database: Database, tmp_path: Path, field: dict[str, Any]
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)

        refused = await one.say(alice, room_id, "hello", status=400, **field)

        assert refused["errcode"] == "M_INVALID_PARAM"


async def test_another_applications_short_field_is_passed_over(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)

        await one.say(alice, room_id, "hello", expires="2030-01-01", view_once=3)

        assert await one.texts(alice, room_id) == ["hello"]


async def test_the_schedule_outlives_a_restart(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        sent = await one.say(alice, room_id, "a secret", **SOON)
        await one.wiring.ends.close()

    await asyncio.sleep(1.1)

    async with running(database, tmp_path) as one:
        assert await eventually(lambda: redacted(one, alice, room_id, sent["event_id"]))


async def test_a_picture_to_be_viewed_once(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        headers = {"Authorization": f"Bearer {alice}", "Content-Type": "text/plain"}
        async with one.client.post(
            "/_matrix/media/v3/upload", data=b"a secret", headers=headers
        ) as answer:
            uri = (await answer.json())["content_uri"]
        content = {"msgtype": "m.file", "url": uri, "dev.comity.view_once": True}
        sent = (await one.say(alice, room_id, "secret.txt", **content))["event_id"]
        login = {"type": "m.login.password", "user": "bob", "password": "sesame"}
        tablet = (await one.call("POST", "/login", login))["access_token"]

        async def fetch(token: str) -> tuple[int, str]:
            path = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
            headers = {"Authorization": f"Bearer {token}"}
            async with one.client.get(path, headers=headers) as answer:
                await answer.read()
                return answer.status, answer.headers.get("Cache-Control", "")

        assert await fetch(bob) == (200, "no-store")
        assert (await fetch(bob))[0] == 200
        assert (await fetch(tablet))[0] == 404
        assert (await fetch(alice))[0] == 200
        await one.call("GET", f"/rooms/{room_id}/event/{sent}", token=bob, status=404)
        assert await one.texts(bob, room_id) == []
        assert await one.texts(alice, room_id) == ["secret.txt"]


async def test_what_all_have_read_once_is_redacted(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        once = {"dev.comity.view_once": True}
        sent = (await one.say(alice, room_id, "a secret", **once))["event_id"]

        await one.call("POST", f"/rooms/{room_id}/receipt/m.read/{sent}", {}, token=bob)

        assert await eventually(lambda: redacted(one, alice, room_id, sent))
