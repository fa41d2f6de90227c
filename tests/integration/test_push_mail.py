"""E-mail pushers: mails about what is unread, through a real SMTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from homeserver.services.push.mail_bounds import MOST_OF_A_THREAD, TRIM_EVERY
from homeserver.storage.database import Database
from tests.harness.mailbox import Mailbox, mailbox, settings
from tests.integration.push_world import two_in_a_room
from tests.integration.single import Instance, running

BOB = "bob@mail.example"
PUSHER = {
    "kind": "email",
    "app_id": "m.email",
    "pushkey": BOB,
    "app_display_name": "Email Notifications",
    "device_display_name": BOB,
    "lang": "en",
    "data": {"brand": "x"},
}


@asynccontextmanager
async def mailing(
    database: Database, directory: Path, **push: Any
) -> AsyncIterator[tuple[Instance, Mailbox]]:
    """An instance that sends mail at once."""
    async with mailbox() as box:
        config = {"email_after": "1ms", "email_every": "1ms", **push}
        async with running(database, directory, email=settings(box), push=config) as one:
            yield one, box


async def bind(one: Instance, user_id: str, address: str) -> None:
    """Make an address an account's."""
    await one.wiring.database.execute(
        "INSERT INTO third_party_ids VALUES ('email', $2, $1, 0, 0)", user_id, address
    )


def said(box: Mailbox) -> str:
    """What the last mail says."""
    return box.text().replace("\r\n", "\n")


async def taken_in(one: Instance) -> None:
    """All that has happened is queued, and mailed if it is due."""
    await one.wiring.push_parts.following.follower.caught_up()
    await asyncio.sleep(0.005)
    await one.wiring.ends.work_off()


async def test_a_mail_says_who_wrote_what_and_where(database: Database, tmp_path: Path) -> None:
    async with mailing(database, tmp_path) as (one, box):
        alice, bob, room_id = await two_in_a_room(one, name="Mission <Control>")
        await bind(one, "@bob:one.test", BOB)
        await one.call("POST", "/pushers/set", PUSHER, token=bob)

        await one.say(alice, room_id, "Hello <b>Bob</b>")
        await taken_in(one)

        (mail,) = await box.wait_for(1)
        assert box.recipients == [[BOB]]
        assert mail["Subject"] == "[one.test] alice in Mission <Control>"
        assert "Mission <Control>\nalice: Hello <b>Bob</b>" in said(box)
        body = mail.get_body(("html",))
        assert body is not None
        assert "Hello &lt;b&gt;Bob&lt;/b&gt;" in body.get_content()


async def test_a_mail_can_be_silent_about_what_was_said(database: Database, tmp_path: Path) -> None:
    async with mailing(database, tmp_path, email_text=False) as (one, box):
        alice, bob, room_id = await two_in_a_room(one, name="Mission")
        await bind(one, "@bob:one.test", BOB)
        await one.call("POST", "/pushers/set", PUSHER, token=bob)

        await one.say(alice, room_id, "xylophone")
        await taken_in(one)

        (mail,) = await box.wait_for(1)
        assert "alice sent a message" in said(box)
        assert "xylophone" not in mail.as_string()


async def test_what_was_read_in_time_is_not_mailed(database: Database, tmp_path: Path) -> None:
    async with mailing(database, tmp_path, email_after="1h") as (one, box):
        alice, bob, room_id = await two_in_a_room(one)
        await bind(one, "@bob:one.test", BOB)
        await one.call("POST", "/pushers/set", PUSHER, token=bob)
        event_id = (await one.say(alice, room_id, "Hello"))["event_id"]
        await taken_in(one)
        await one.call("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}", {}, token=bob)

        await database.execute("UPDATE push_queue SET queued_at = 0")
        await taken_in(one)

        assert box.mails == []
        assert await database.fetchval("SELECT count(*) FROM push_queue") == 0


async def test_there_are_no_more_mails_than_was_said(database: Database, tmp_path: Path) -> None:
    async with mailing(database, tmp_path, email_every="1h") as (one, box):
        alice, bob, room_id = await two_in_a_room(one)
        await bind(one, "@bob:one.test", BOB)
        await one.call("POST", "/pushers/set", PUSHER, token=bob)

        await one.say(alice, room_id, "one")
        await taken_in(one)
        await box.wait_for(1)
        for text in ("two", "three"):
            await one.say(alice, room_id, text)
            await taken_in(one)
        before = len(box.mails)
        await database.execute("UPDATE pushers SET sent_at = 0")
        await taken_in(one)

        assert before == 1
        await box.wait_for(2)
        assert "alice: two\nalice: three" in said(box)


async def test_whoever_follows_the_link_gets_no_more(database: Database, tmp_path: Path) -> None:
    async with mailing(database, tmp_path) as (one, box):
        alice, bob, room_id = await two_in_a_room(one)
        await bind(one, "@bob:one.test", BOB)
        await one.call("POST", "/pushers/set", PUSHER, token=bob)
        await one.say(alice, room_id, "Hello")
        await taken_in(one)
        await box.wait_for(1)
        link = urlsplit(box.link())
        path = f"{link.path}?{link.query}"

        async with one.client.get(path) as asked:
            page = await asked.text()
        still = await one.call("GET", "/pushers", token=bob)
        async with one.client.post(f"{path}0") as forged:
            status = forged.status
        async with one.client.post(path) as done:
            text = await done.text()

        assert BOB in page
        assert len(still["pushers"]) == 1
        assert status == 403
        assert "No more of these mails" in text
        assert await one.call("GET", "/pushers", token=bob) == {"pushers": []}


async def test_an_address_that_is_not_ones_own_is_refused_and_forgotten(
    database: Database, tmp_path: Path
) -> None:
    async with mailing(database, tmp_path) as (one, box):
        alice, bob, room_id = await two_in_a_room(one)
        refused = await one.call("POST", "/pushers/set", PUSHER, token=bob, status=400)
        await bind(one, "@bob:one.test", BOB)
        await one.call("POST", "/pushers/set", PUSHER, token=bob)
        body = {"medium": "email", "address": BOB}
        await one.call("POST", "/account/3pid/delete", body, token=bob)
        after = await one.call("GET", "/pushers", token=bob)

        await one.say(alice, room_id, "Hello")
        await taken_in(one)

        assert refused["errcode"] == "M_INVALID_PARAM"
        assert after == {"pushers": []}
        assert [mail["Subject"] for mail in await box.wait_for(1)] == [
            "An address was taken away from your account on one.test"
        ]


async def test_what_waits_for_a_mail_is_bounded_and_the_mail_comes_in_time(
    database: Database, tmp_path: Path
) -> None:
    async with mailing(database, tmp_path, email_after="1h") as (one, box):
        alice, bob, room_id = await two_in_a_room(one)
        other = await one.room(alice)
        await one.call("POST", f"/join/{other}", {}, token=bob)
        await bind(one, "@bob:one.test", BOB)
        await one.call("POST", "/pushers/set", PUSHER, token=bob)
        await one.say(alice, other, "first")
        await taken_in(one)
        await database.execute("UPDATE push_queue SET queued_at = queued_at - 3590000")
        for number in range(TRIM_EVERY):
            await one.say(alice, room_id, f"message {number}")
            if number % 20 == 0:
                await taken_in(one)
        await taken_in(one)
        waiting = await database.fetchval("SELECT count(*) FROM push_queue")

        await database.execute("UPDATE push_queue SET queued_at = queued_at - 10000")
        await taken_in(one)

        await box.wait_for(1)
        assert waiting <= MOST_OF_A_THREAD + 2
        assert "alice: first" in said(box)
        assert f"alice: message {TRIM_EVERY - 10}" in said(box)
        assert await database.fetchval("SELECT count(*) FROM push_queue") == 0


async def test_a_mail_that_finds_no_place_in_the_queue_is_written_later(
    database: Database, tmp_path: Path
) -> None:
    async with mailing(database, tmp_path) as (one, box):
        alice, bob, room_id = await two_in_a_room(one)
        await bind(one, "@bob:one.test", BOB)
        await one.call("POST", "/pushers/set", PUSHER, token=bob)
        full = one.wiring.mailer._max_queued
        one.wiring.mailer._max_queued = 0
        await one.say(alice, room_id, "Hello")
        await taken_in(one)
        kept = await database.fetchval("SELECT count(*) FROM push_queue")
        sent_at = await database.fetchval("SELECT sent_at FROM pushers")

        one.wiring.mailer._max_queued = full
        await database.execute("UPDATE pushers SET retry_at = 0")
        await taken_in(one)

        assert (kept, sent_at) == (1, None)
        assert len(await box.wait_for(1)) == 1
        assert "alice: Hello" in said(box)
