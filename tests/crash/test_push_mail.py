"""kill -9 under load: each acknowledged message is written of in one mail, and in one only."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter

import asyncpg
import yaml

from tests.harness import World, eventually, raw_session
from tests.harness.mailbox import Mailbox, mailbox, settings
from tests.integration.test_push_mail import BOB, PUSHER

from .members import Member, writer_and_reader

ROUNDS = int(os.environ.get("COMITY_CRASH_ROUNDS", "4"))
SEED = int(os.environ.get("COMITY_CRASH_SEED", str(random.randrange(1_000_000))))
SETTLE_SECONDS = 120.0
PAUSE_SECONDS = 0.15  # so that a mail shows all that it is about


async def test_kill_9_under_load_loses_no_mail_and_writes_none_twice() -> None:
    print(f"\nseed {SEED}, rounds {ROUNDS} (COMITY_CRASH_SEED={SEED})", flush=True)
    rng = random.Random(SEED)
    async with mailbox() as box, raw_session() as session:
        with World() as world:
            push = {"email_after": "1ms", "email_every": "1ms"}
            server = world.comity("one", overrides={"email": settings(box), "push": push})
            await server.start_async()
            dsn = yaml.safe_load(server.config_file.read_text())["database"]["dsn"]
            database = await asyncpg.connect(dsn)
            writer, reader = await writer_and_reader(server, session)
            await database.execute(
                "INSERT INTO third_party_ids VALUES ('email', $2, $1, 0, 0)", reader.user_id, BOB
            )
            await reader.call("POST", "pushers", "set", body=PUSHER)

            stop = asyncio.Event()
            writing = asyncio.create_task(write(writer, stop))
            for _ in range(ROUNDS):
                await asyncio.sleep(rng.uniform(0.5, 2.0))
                await server.kill_async()
                await server.start_async()
            await asyncio.sleep(0.5)
            stop.set()
            await writing

            async def all_mailed() -> bool:
                return set(writer.acknowledged.values()) <= (await written(box, database)).keys()

            try:
                await eventually(all_mailed, "every message in a mail", SETTLE_SECONDS)
                mails = await written(box, database)
                print(f"{len(writer.acknowledged)} messages, {len(box.mails)} mails arrived")
                assert max(mails.values()) == 1
            finally:
                await database.close()


async def write(writer: Member, stop: asyncio.Event) -> None:
    """Send a message now and then."""
    number = 0
    while not stop.is_set():
        text = f"message {number}."
        event_id = await writer._send_until_answered(text, f"crash{number}")
        writer.acknowledged[event_id] = text
        number += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def written(box: Mailbox, database: asyncpg.Connection[asyncpg.Record]) -> Counter[str]:
    """In how many mails each message is, whether they have arrived or wait.

    A mail that the SMTP server took as the server was killed waits to be sent once more: it is one.
    """
    waiting = await database.fetch("SELECT text_body, attempts FROM mail_queue")
    bodies = [_plain(box.text(number)) for number in range(len(box.mails))]
    bodies += [
        body
        for row in waiting
        if (body := _plain(row["text_body"])) not in bodies or row["attempts"] == 0
    ]
    return Counter(text for body in bodies for text in set(re.findall(r"message \d+\.", body)))


def _plain(text: str) -> str:
    return " ".join(text.split())
