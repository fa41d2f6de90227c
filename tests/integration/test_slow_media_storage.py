"""Where files are kept may hang: what else falls due by the clock does not wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from homeserver.services.media_stores import LocalStore
from homeserver.storage.database import Database
from tests.integration.admin_world import Admin
from tests.integration.single import Instance, running
from tests.integration.test_message_ends import SOON, eventually, redacted
from tests.integration.test_real_deletion import redact, upload


class HangingStore(LocalStore):
    """A directory in which a deletion takes until the test is over."""

    def __init__(self) -> None:
        self.deleting = threading.Event()
        self.go_on = threading.Event()

    def delete(self, places: Iterable[Path]) -> None:
        """Waits."""
        self.deleting.set()
        assert self.go_on.wait(60)
        super().delete(places)


@asynccontextmanager
async def hanging(
    database: Database, tmp_path: Path
) -> AsyncIterator[tuple[Instance, asyncio.Event]]:
    """An instance whose storage hangs when something is deleted, and what tells that it does."""
    media = {"delete_redacted_after": "0s"}
    async with running(database, tmp_path, media=media) as one:
        one.wiring.device_parts.media_files.store = store = HangingStore()
        hangs = asyncio.Event()

        async def wait() -> None:
            await asyncio.to_thread(store.deleting.wait, 30)
            hangs.set()

        waiting = asyncio.create_task(wait())
        try:
            yield one, hangs
        finally:
            store.go_on.set()
            await waiting


@pytest.mark.parametrize("way", ["a redaction", "an admin's job"])
async def test_a_message_ends_in_time_while_the_storage_hangs(
    database: Database, tmp_path: Path, way: str
) -> None:
    async with hanging(database, tmp_path) as (one, hangs):
        alice = await one.register("alice")
        room_id = await one.room(alice)
        uri = await upload(one, alice, b"a file")
        sent = await one.say(alice, room_id, "file", msgtype="m.file", url=uri)
        if way == "a redaction":
            await redact(one, alice, room_id, sent["event_id"])
        else:
            await Admin(one).call("POST", "/media/delete", {"user_id": "@alice:one.test"})
        await hangs.wait()

        ending = await one.say(alice, room_id, "a secret for a second", **SOON)

        assert await eventually(lambda: redacted(one, alice, room_id, ending["event_id"]))
