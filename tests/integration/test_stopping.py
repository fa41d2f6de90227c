"""What a stopped instance leaves in its process: nothing."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from homeserver.storage.database import Database
from tests.conftest import forget_applications

from .single import running


async def test_a_stopped_instance_leaves_nothing_in_memory(
    database: Database, tmp_path: Path
) -> None:
    left: list[weakref.ref[object]] = []
    for number in range(2):
        async with running(database, tmp_path) as one:
            alice = await one.register(f"alice{number}")
            room_id = await one.room(alice)
            await one.say(alice, room_id, "hello")
            await one.call("GET", "/sync", token=alice)
            left += [weakref.ref(one.wiring), weakref.ref(one.wiring.store)]
        del one

    forget_applications()
    gc.collect()

    assert [ref() for ref in left] == [None] * len(left)
