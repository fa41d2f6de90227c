"""What is redacted, or ends, leaves the database and the disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from homeserver.storage.database import Database
from tests.integration.single import Instance, running
from tests.integration.test_message_ends import SOON, eventually

HOUR_MS = 3_600_000
AT_ONCE = {
    "media": {"delete_redacted_after": "0s"},
    "retention": {"redacted_content_after": "0s"},
}


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


async def upload(one: Instance, token: str, content: bytes) -> str:
    """A file of a user's; its URI."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    async with one.client.post("/_matrix/media/v3/upload", data=content, headers=headers) as answer:
        uri: str = (await answer.json())["content_uri"]
        return uri


async def status(one: Instance, token: str, uri: str, what: str = "download") -> int:
    """What a client gets that wants a file."""
    path = f"/_matrix/client/v1/media/{what}/{uri.removeprefix('mxc://')}?width=32&height=32"
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.get(path, headers=headers) as answer:
        await answer.read()
        return answer.status


def files(tmp_path: Path) -> set[str]:
    """The names of all files of media, thumbnails among them."""
    root = tmp_path / "data" / "media"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


async def redact(one: Instance, token: str, room_id: str, event_id: str) -> None:
    await one.call("PUT", f"/rooms/{room_id}/redact/{event_id}/{event_id[1:9]}", {}, token=token)


async def all_settled(one: Instance) -> None:
    """What is due was done."""
    await one.wiring.ends.work_off()


async def test_a_redaction_deletes_the_picture_its_thumbnails_and_the_words(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **AT_ONCE) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        uri = await upload(one, alice, picture("red"))
        sent = await one.say(alice, room_id, "red.png", msgtype="m.image", url=uri)
        assert await status(one, alice, uri, "thumbnail") == 200
        assert files(tmp_path)

        await redact(one, alice, room_id, sent["event_id"])
        await all_settled(one)

        assert await status(one, alice, uri) == 404
        assert await status(one, alice, uri, "thumbnail") == 404
        assert files(tmp_path) == set()
        row = await database.fetchrow("SELECT * FROM events WHERE event_id = $1", sent["event_id"])
        assert row["erased"] == "redacted"
        assert b"red.png" not in row["pdu"]
        shown = await one.call("GET", f"/rooms/{room_id}/event/{sent['event_id']}", token=alice)
        assert shown["unsigned"]["redacted_because"]["type"] == "m.room.redaction"
        for table in ("media", "media_references", "media_deletions", "redacted_contents"):
            assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_what_something_else_needs_stays(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, **AT_ONCE) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        twice, avatar, icon, hers = [
            await upload(one, alice, picture(colour)) for colour in ("red", "blue", "lime", "teal")
        ]

        async def show(token: str, uri: str) -> str:
            sent = await one.say(token, room_id, "a.png", msgtype="m.image", url=uri)
            event_id: str = sent["event_id"]
            return event_id

        mine = [await show(alice, uri) for uri in (twice, avatar, icon)]
        await show(bob, twice)
        his = await show(bob, hers)
        profile = "/profile/@alice:one.test/avatar_url"
        await one.call("PUT", profile, {"avatar_url": avatar}, token=alice)
        await one.call("PUT", f"/rooms/{room_id}/state/m.room.avatar", {"url": icon}, token=alice)

        for event_id in mine:
            await redact(one, alice, room_id, event_id)
        await redact(one, bob, room_id, his)
        await all_settled(one)

        for uri in (twice, avatar, icon, hers):
            assert await status(one, alice, uri) == 200


async def test_the_same_bytes_under_another_name_stay_on_the_disk(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **AT_ONCE) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        first, second = [await upload(one, alice, picture("red")) for _ in range(2)]
        sent = await one.say(alice, room_id, "a.png", msgtype="m.image", url=first)

        await redact(one, alice, room_id, sent["event_id"])
        await all_settled(one)

        assert await status(one, alice, first) == 404
        assert await status(one, alice, second) == 200


async def test_an_expired_picture_is_deleted(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        uri = await upload(one, alice, picture("red"))
        content: dict[str, Any] = {"msgtype": "m.image", "url": uri, **SOON}
        await one.say(alice, room_id, "red.png", **content)

        async def gone() -> bool:
            return not files(tmp_path)

        await eventually(gone)
        assert await status(one, alice, uri) == 404


async def test_media_and_words_stay_until_their_time(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        uri = await upload(one, alice, picture("red"))
        sent = await one.say(alice, room_id, "red.png", msgtype="m.image", url=uri)

        await redact(one, alice, room_id, sent["event_id"])
        await all_settled(one)

        assert await status(one, alice, uri) == 200
        assert await database.fetchval(
            "SELECT erased IS NULL FROM events WHERE event_id = $1", sent["event_id"]
        )


async def test_a_rooms_policy_is_kept_to_and_clients_are_told(
    database: Database, tmp_path: Path
) -> None:
    retention = {"min": "1s", "max": "30d"}
    async with running(database, tmp_path, retention=retention) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        uri = await upload(one, alice, picture("red"))
        old = await one.say(alice, room_id, "old.png", msgtype="m.image", url=uri)
        await database.execute(
            "UPDATE events SET origin_server_ts = origin_server_ts - $2 WHERE event_id = $1",
            old["event_id"],
            2 * HOUR_MS,
        )
        await one.say(alice, room_id, "new")
        content = {"max_lifetime": HOUR_MS}
        await one.call("PUT", f"/rooms/{room_id}/state/m.room.retention", content, token=alice)

        async def purged() -> bool:
            return await one.texts(alice, room_id) == ["new"]

        await eventually(purged)
        await all_settled(one)

        path = f"/rooms/{room_id}/event/{old['event_id']}"
        assert (await one.call("GET", path, token=alice, status=404))["errcode"] == "M_NOT_FOUND"
        assert await status(one, alice, uri) == 404
        told = await one.call(
            "GET",
            "/_matrix/client/unstable/org.matrix.msc1763/retention/configuration",
            token=alice,
        )
        assert told == {
            "policies": {"*": {"max_lifetime": 30 * 24 * 3_600_000}},
            "limits": {"max_lifetime": {"min": 1000, "max": 30 * 24 * 3_600_000}},
        }
