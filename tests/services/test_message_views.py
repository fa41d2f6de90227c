"""Messages that end once they are read, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.errors import NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.hidden_events import HiddenEvents
from homeserver.services.message_views import GRACE_MS, MessageViews
from homeserver.services.requester import Requester
from homeserver.services.rooms import Draft
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow, put_media
from homeserver.storage.receipts import READ, READ_PRIVATE, ReceiptRecord
from tests.conftest import TestPostgres
from tests.services.reading_world import Client, ReadingWorld
from tests.services.room_world import RoomWorld
from tests.services.test_message_ends import MINUTE, Ends, lasting, say
from tests.services.test_sync_remote import carry, enter
from tests.services.test_timeline import messages

ONCE = {"dev.comity.view_once": True}
DAY = 24 * 60 * MINUTE
PICTURE = MediaUri("one.example", "picture")


class Views(Ends):
    """A world whose messages end once they are read."""

    def __init__(self, world: ReadingWorld) -> None:
        super().__init__(world)
        database: Any = world.database
        self.reading = world
        self.views = MessageViews(
            server_name=world.server_name,
            database=database,
            log=world.log,
            wake=lambda: None,
            clock_ms=lambda: self.now,
        )
        self.caretaker.add(self.views)
        timeline: Any = world.reading.timeline
        self.hidden = HiddenEvents(
            database=database,
            log=world.log,
            store=world.store,
            others=timeline._reader_filter,
            clock_ms=lambda: self.now,
        )
        timeline._reader_filter = self.hidden

    async def read(self, reader: Client, room_id: str, event_id: str, kind: str = READ) -> None:
        """A reader's receipt."""
        await self.reading.receipts.send(room_id, reader.user_id, kind, event_id)
        await self.caretaker.work_off()

    async def is_whole(self, event_id: str) -> bool:
        return b'"body"' in await self.pdu(event_id)


@pytest.fixture
async def theirs(postgres: TestPostgres) -> AsyncIterator[RoomWorld]:
    database = await Database.connect(await postgres.create_database(), min_size=1, max_size=4)
    world = RoomWorld(database, "two.example")
    await world.start()
    yield world
    await world.close()
    await database.close()


async def three(world: ReadingWorld) -> tuple[Client, Client, Client, str]:
    """Alice, Bob and Carol in a room."""
    alice, bob, carol = [await world.client(name) for name in ("alice", "bob", "carol")]
    room_id = await world.room(alice.user_id, preset="public_chat")
    for guest in (bob, carol):
        await world.membership.join(guest.user_id, room_id)
    return alice, bob, carol, room_id


async def texts(reader: Client, room_id: str) -> list[str]:
    page = await messages(reader, room_id, limit=100)
    return [e["content"]["body"] for e in reversed(page["chunk"]) if "body" in e["content"]]


async def ids(reader: Client, room_id: str) -> list[str]:
    page = await messages(reader, room_id, limit=100)
    return [e["event_id"] for e in page["chunk"]]


async def test_the_timer_starts_with_the_first_reader(world: ReadingWorld) -> None:
    alice, bob, carol, room_id = await three(world)
    views = Views(world)
    sent = (await alice.say(room_id, "a secret", **lasting(MINUTE, "read"))).event.event_id

    await views.pass_time(DAY)
    await views.read(alice, room_id, sent)  # who has sent it does not count
    assert await views.is_whole(sent)
    views.now = views.now - DAY  # receipts bear the time of the wall
    await views.read(bob, room_id, sent, READ_PRIVATE)
    await views.pass_time(MINUTE // 2)
    await views.read(carol, room_id, sent)
    assert await views.is_whole(sent)
    await views.pass_time(MINUTE // 2 + 1000)

    assert not await views.is_whole(sent)


async def test_a_later_receipt_covers_what_is_before_it(world: ReadingWorld) -> None:
    alice, bob, _, room_id = await three(world)
    views = Views(world)
    sent = (await alice.say(room_id, "a secret", **lasting(MINUTE, "read"))).event.event_id
    later = (await alice.say(room_id, "later")).event.event_id

    await views.read(bob, room_id, later)
    await views.pass_time(MINUTE + 1000)

    assert not await views.is_whole(sent)
    assert await views.is_whole(later)


async def test_what_each_has_seen_once_is_gone_for_them_and_in_the_end_for_all(
    world: ReadingWorld,
) -> None:
    alice, bob, carol, room_id = await three(world)
    views = Views(world)
    sent = (await alice.say(room_id, "a secret", **ONCE)).event.event_id
    assert await texts(bob, room_id) == ["a secret"]

    await views.read(bob, room_id, sent)

    assert await texts(bob, room_id) == []
    assert await texts(carol, room_id) == ["a secret"]
    assert await texts(alice, room_id) == ["a secret"]
    assert await views.is_whole(sent)
    await views.read(carol, room_id, sent)
    assert not await views.is_whole(sent)
    stored = await world.store.get(sent)
    assert stored is not None
    assert stored.redacted_by is not None
    assert stored.erased == "viewed"


async def test_what_was_seen_once_is_shown_again_when_it_is_redacted(world: ReadingWorld) -> None:
    """Another instance may redact it before this one's own copy has ended."""
    alice, bob, _, room_id = await three(world)
    views = Views(world)
    sent = (await alice.say(room_id, "a secret", **ONCE)).event.event_id
    await views.read(bob, room_id, sent)
    assert sent not in await ids(bob, room_id)

    await world.rooms.send(room_id, Draft(alice.user_id, "m.room.redaction", {"redacts": sent}))

    assert sent in await ids(bob, room_id)
    assert await texts(bob, room_id) == []


async def test_a_later_edit_of_what_was_seen_is_hidden_as_well(world: ReadingWorld) -> None:
    alice, bob, carol, room_id = await three(world)
    views = Views(world)
    sent = (await alice.say(room_id, "a secret", **ONCE)).event.event_id
    await views.read(bob, room_id, sent)
    assert await texts(bob, room_id) == []
    relation = {"rel_type": "m.replace", "event_id": sent}
    new = {"msgtype": "m.text", "body": "a better secret"}

    await alice.say(room_id, "* better", **{"m.relates_to": relation, "m.new_content": new})

    assert await texts(bob, room_id) == []
    assert await texts(carol, room_id) == ["a secret", "* better"]


async def test_who_leaves_is_waited_for_no_longer(world: ReadingWorld) -> None:
    alice, bob, carol, room_id = await three(world)
    views = Views(world)
    sent = (await alice.say(room_id, "a secret", **ONCE)).event.event_id
    await views.read(bob, room_id, sent)

    await world.membership.leave(carol.user_id, room_id)
    await views.caretaker.work_off()

    assert not await views.is_whole(sent)


async def test_what_nobody_sees_ends_after_a_month(world: ReadingWorld) -> None:
    alice, _, _, room_id = await three(world)
    views = Views(world)
    sent = (await alice.say(room_id, "a secret", **ONCE)).event.event_id

    await views.pass_time(29 * DAY)
    assert await views.is_whole(sent)
    await views.pass_time(2 * DAY)

    assert not await views.is_whole(sent)


async def test_a_picture_can_be_fetched_once_and_by_one_device(world: ReadingWorld) -> None:
    alice, bob, _, room_id = await three(world)
    views = Views(world)
    uri = f"mxc://{PICTURE.origin}/{PICTURE.media_id}"
    await alice.say(room_id, "cat.png", msgtype="m.image", url=uri, **ONCE)
    phone, tablet = Requester(bob.user_id, "PHONE"), Requester(bob.user_id, "TABLET")

    await views.views.check_download(phone, PICTURE)
    await views.views.downloaded(phone, PICTURE)

    assert await texts(bob, room_id) == []
    await views.views.check_download(phone, PICTURE)
    with pytest.raises(NotFound):
        await views.views.check_download(tablet, PICTURE)
    views.now += GRACE_MS
    with pytest.raises(NotFound):
        await views.views.check_download(phone, PICTURE)
    await views.views.check_download(Requester(alice.user_id, "PHONE"), PICTURE)
    with pytest.raises(NotFound):
        await views.views.check_download(None, PICTURE)
    assert views.views.is_once(PICTURE)


async def test_the_last_to_see_a_picture_has_a_while_for_it(world: ReadingWorld) -> None:
    alice, bob, carol, room_id = await three(world)
    views = Views(world)
    uri = f"mxc://{PICTURE.origin}/{PICTURE.media_id}"
    event = (await alice.say(room_id, "cat.png", msgtype="m.image", url=uri, **ONCE)).event
    await views.read(bob, room_id, event.event_id)
    await views.read(carol, room_id, event.event_id)

    await views.views.check_download(Requester(carol.user_id, "PHONE"), PICTURE)
    assert await views.is_whole(event.event_id)
    await views.pass_time(GRACE_MS)

    assert not await views.is_whole(event.event_id)
    assert not views.views.is_once(PICTURE)


async def test_a_picture_that_an_ordinary_message_shows_too_is_free(world: ReadingWorld) -> None:
    alice, bob, _, room_id = await three(world)
    views = Views(world)
    uri = f"mxc://{PICTURE.origin}/{PICTURE.media_id}"
    await alice.say(room_id, "cat.png", msgtype="m.image", url=uri, **ONCE)
    await alice.say(room_id, "cat.png", msgtype="m.image", url=uri)

    await views.views.downloaded(Requester(bob.user_id, "PHONE"), PICTURE)

    assert len(await texts(bob, room_id)) == 2


async def test_naming_anothers_file_does_not_take_it_from_anybody(world: ReadingWorld) -> None:
    alice, bob, carol, room_id = await three(world)
    views = Views(world)
    database: Any = world.database
    avatar = MediaRow(*PICTURE, carol.user_id, "image/png", None, 1, b"1", 0)
    await put_media(database, avatar)
    far = MediaUri("three.example", "picture")
    for uri in (PICTURE, far):
        url = f"mxc://{uri.origin}/{uri.media_id}"
        await alice.say(room_id, "cat.png", msgtype="m.image", url=url, **ONCE)

    for uri in (PICTURE, far):
        await views.views.downloaded(Requester(bob.user_id, "PHONE"), uri)
        await views.views.check_download(Requester(bob.user_id, "TABLET"), uri)

    assert len(await texts(bob, room_id)) == 2


async def test_receipts_from_before_a_crash_count_after_it(world: ReadingWorld) -> None:
    alice, bob, carol, room_id = await three(world)
    once = (await alice.say(room_id, "seen once", **ONCE)).event.event_id
    timed = (await alice.say(room_id, "timed", **lasting(MINUTE, "read"))).event.event_id
    for reader in (bob, carol):
        await world.receipts.send(room_id, reader.user_id, READ, timed)

    views = Views(world)  # it was not there when they came
    await views.views.start()
    await views.hidden.start()
    await views.pass_time(MINUTE + 1000)

    assert not await views.is_whole(once)
    assert not await views.is_whole(timed)


async def test_a_receipt_that_comes_before_its_message_counts(
    world: ReadingWorld, theirs: RoomWorld
) -> None:
    bob, room_id = await bob_at_alices(world, theirs)
    views = Views(world)
    content = {"msgtype": "m.text", "body": "a secret", **lasting(MINUTE, "read")}
    sent = await theirs.rooms.send(room_id, Draft(theirs.user("alice"), "m.room.message", content))
    receipt = ReceiptRecord(room_id, READ, bob.user_id, "", sent.event.event_id, None, views.now)
    await world.log.append(receipt)
    await views.caretaker.work_off()

    await carry(theirs, world, room_id)
    await views.caretaker.work_off()
    await views.pass_time(MINUTE + 1000)

    assert not await views.is_whole(sent.event.event_id)


async def bob_at_alices(ours: ReadingWorld, theirs: RoomWorld) -> tuple[Client, str]:
    """Bob of ours in a room of Alice's of theirs."""
    room_id = await theirs.room(theirs.user("alice"), preset="public_chat")
    bob = await ours.client("bob")
    whole: Any = ours
    await enter(whole, theirs, bob, room_id)
    return bob, room_id


async def test_an_instance_forgets_what_all_of_its_own_have_seen(
    world: ReadingWorld, theirs: RoomWorld
) -> None:
    bob, room_id = await bob_at_alices(world, theirs)
    await theirs.membership.join(theirs.user("carol"), room_id)
    sent = await say(theirs, room_id, theirs.user("alice"), "a secret", **ONCE)
    await carry(theirs, world, room_id)
    views = Views(world)
    await views.views.start()

    await views.read(bob, room_id, sent.event.event_id)

    assert not await views.is_whole(sent.event.event_id)


async def test_encrypted_messages_name_their_media_beside_the_ciphertext(
    world: ReadingWorld,
) -> None:
    alice, bob, _, room_id = await three(world)
    views = Views(world)
    content: JsonObject = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "ciphertext": "...",
        "dev.comity.media": [f"mxc://{PICTURE.origin}/{PICTURE.media_id}"],
        **ONCE,
    }

    await world.rooms.send(room_id, Draft(alice.user_id, "m.room.encrypted", content))

    assert views.views.is_once(PICTURE)
    await views.views.downloaded(Requester(bob.user_id, "PHONE"), PICTURE)
    with pytest.raises(NotFound):
        await views.views.check_download(Requester(bob.user_id, "TABLET"), PICTURE)


async def test_a_room_without_such_messages_is_not_looked_at(world: ReadingWorld) -> None:
    alice, bob, _, room_id = await three(world)
    views = Views(world)
    sent = (await alice.say(room_id, "plain")).event.event_id
    asked = world.queries.count
    await world.receipts.send(room_id, bob.user_id, READ, sent)
    for_the_receipt = world.queries.count - asked

    await views.views.step()

    assert world.queries.count - asked == for_the_receipt
    assert await views.views.next_due() is None
