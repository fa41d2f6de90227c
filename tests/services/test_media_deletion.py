"""Which media goes when nothing refers to it, and which stays."""

from __future__ import annotations

import time
from typing import Any

import pytest

from homeserver.protocol.media_uris import MediaUri
from homeserver.services.media_strays import AGAIN_MS
from homeserver.storage.media import MediaRow, get_media, put_media
from tests.services.deleting import Deleting
from tests.services.reading_world import SERVER, ReadingWorld

OURS = MediaUri(SERVER, "ours")
COPY = MediaUri("two.example", "theirs")


class Disk:
    """A world's media, with a clock that the test moves."""

    def __init__(self, world: ReadingWorld) -> None:
        self.world = world
        self.now = time.time_ns() // 1_000_000
        self.deleting = Deleting(world, lambda: self.now)

    async def put(self, uri: MediaUri, sha256: bytes, uploader: str | None, **more: Any) -> None:
        """A file."""
        database: Any = self.world.database
        row = MediaRow(uri.origin, uri.media_id, uploader, "text/plain", None, 1, sha256, 0, **more)
        await put_media(database, row)

    async def has(self, uri: MediaUri) -> bool:
        database: Any = self.world.database
        return await get_media(database, *uri) is not None

    async def give_up(self, uri: MediaUri, owner: str) -> None:
        """The owner needs it no more."""
        await self.deleting.deletion.delete_media_if_unreferenced([uri], owner=owner)
        await self.work_off()

    async def work_off(self) -> None:
        while await self.deleting.media.step():
            pass


async def test_the_owners_file_goes_and_nobody_elses(world: ReadingWorld) -> None:
    disk = Disk(world)
    alice, mallory = world.user("alice"), world.user("mallory")
    await disk.put(OURS, b"1", alice)

    await disk.give_up(OURS, mallory)
    assert await disk.has(OURS)
    await disk.give_up(OURS, alice)

    assert not await disk.has(OURS)
    assert disk.deleting.files.deleted == [b"1"]


async def test_a_copy_of_anothers_file_goes_for_anybody(world: ReadingWorld) -> None:
    disk = Disk(world)
    await disk.put(COPY, b"1", None)

    await disk.give_up(COPY, "@alice:two.example")

    assert not await disk.has(COPY)


async def test_what_a_message_refers_to_stays(world: ReadingWorld) -> None:
    disk = Disk(world)
    alice = await world.client("alice")
    room_id = await world.room(alice.user_id)
    await disk.put(OURS, b"1", alice.user_id)
    await alice.say(room_id, "a", msgtype="m.image", url=f"mxc://{SERVER}/ours")

    await disk.give_up(OURS, alice.user_id)

    assert await disk.has(OURS)


@pytest.mark.parametrize(
    "content",
    [
        {"formatted_body": f'<img data-mx-emoticon src="mxc://{SERVER}/ours" alt="cat">'},
        {"m.new_content": {"formatted_body": f'<img src="mxc://{SERVER}/ours">'}},
    ],
)
async def test_an_emoticon_that_a_message_shows_stays(
    world: ReadingWorld, content: dict[str, Any]
) -> None:
    disk = Disk(world)
    alice = await world.client("alice")
    room_id = await world.room(alice.user_id)
    await disk.put(OURS, b"1", alice.user_id)
    await alice.say(room_id, "a", **content)

    await disk.give_up(OURS, alice.user_id)

    assert await disk.has(OURS)


@pytest.mark.parametrize("referring", [True, False])  # False: of before they were noted
@pytest.mark.parametrize(
    ("type_", "content"),
    [
        ("m.room.image_pack", {"images": {"cat": {"url": f"mxc://{SERVER}/ours"}}}),
        ("m.room.image_pack", {"images": {}, "pack": {"avatar_url": f"mxc://{SERVER}/ours"}}),
        ("m.room.avatar", {"url": f"mxc://{SERVER}/ours"}),
    ],
)
async def test_what_a_rooms_state_shows_stays(
    world: ReadingWorld, type_: str, content: dict[str, Any], referring: bool
) -> None:
    disk = Disk(world)
    alice = await world.client("alice")
    room_id = await world.room(alice.user_id)
    await disk.put(OURS, b"1", alice.user_id)
    await alice.set_state(room_id, type_, content, "" if type_ == "m.room.avatar" else "pets")
    if not referring:
        database: Any = world.database
        await database.execute("DELETE FROM media_references")

    await disk.give_up(OURS, alice.user_id)

    assert await disk.has(OURS)


async def test_an_image_that_anothers_pack_has_stays(world: ReadingWorld) -> None:
    disk = Disk(world)
    bob = await world.client("bob")
    room_id = await world.room(bob.user_id)
    await disk.put(OURS, b"1", world.user("alice"))
    pack = {"images": {"cat": {"url": f"mxc://{SERVER}/ours"}}}
    await bob.set_state(room_id, "m.room.image_pack", pack)

    await disk.give_up(OURS, world.user("alice"))

    assert await disk.has(OURS)


async def test_a_picture_of_the_profile_stays_whatever_it_is_called(world: ReadingWorld) -> None:
    disk = Disk(world)
    alice = world.user("alice")
    database: Any = world.database
    await disk.put(OURS, b"1", alice)
    await database.execute(
        "INSERT INTO profiles (user_id, fields) VALUES ($1, $2)"
        " ON CONFLICT (user_id) DO UPDATE SET fields = EXCLUDED.fields",
        alice,
        {"org.example.banner": f"mxc://{SERVER}/ours"},
    )

    await disk.give_up(OURS, alice)

    assert await disk.has(OURS)


async def test_a_sticker_stays(world: ReadingWorld) -> None:
    disk = Disk(world)
    alice = await world.client("alice")
    await disk.put(OURS, b"1", alice.user_id)
    pack = {"images": {"cat": {"url": f"mxc://{SERVER}/ours"}}}
    await world.account_data.put(alice.user_id, "im.ponies.user_emotes", pack)

    await disk.give_up(OURS, alice.user_id)

    assert await disk.has(OURS)


async def test_what_is_quarantined_stays(world: ReadingWorld) -> None:
    disk = Disk(world)
    database: Any = world.database
    await disk.put(COPY, b"1", None)
    await database.execute("UPDATE media SET quarantined_by = '@admin:one.example'")

    await disk.give_up(COPY, "@alice:two.example")

    assert await disk.has(COPY)


async def test_bytes_that_could_not_be_deleted_are_deleted_later(world: ReadingWorld) -> None:
    disk = Disk(world)
    alice = world.user("alice")
    await disk.put(OURS, b"1", alice)
    disk.deleting.files.failing = True

    await disk.give_up(OURS, alice)
    assert not await disk.has(OURS)
    disk.deleting.files.failing = False
    assert not await disk.deleting.strays.step()
    disk.now += AGAIN_MS
    assert await disk.deleting.strays.next_due() == disk.now
    await disk.deleting.strays.step()

    assert disk.deleting.files.deleted == [b"1"]
    assert await disk.deleting.strays.next_due() is None
