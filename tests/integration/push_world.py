"""An instance beside a push gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.harness.push_gateway import PushGateway, push_gateway
from tests.integration.single import Instance, running

SETTINGS: dict[str, Any] = {"push": {"allow_private_networks": True}}


def pusher(url: str, **changes: Any) -> dict[str, Any]:
    """The body of ``/pushers/set``."""
    return {
        "kind": "http",
        "app_id": "test.app",
        "pushkey": "key",
        "app_display_name": "App",
        "device_display_name": "Telephone",
        "lang": "en",
        "data": {"url": url},
        **changes,
    }


@asynccontextmanager
async def pushing(
    database: Database, directory: Path, **settings: Any
) -> AsyncIterator[tuple[Instance, PushGateway]]:
    """An instance beside a gateway."""
    async with push_gateway() as gateway:
        async with running(database, directory, **{**SETTINGS, **settings}) as one:
            yield one, gateway
        assert not gateway.problems, gateway.problems


async def two_in_a_room(one: Instance, **request: Any) -> tuple[str, str, str]:
    """Alice, Bob, and the room in which both are."""
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice, **request)
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
    return alice, bob, room_id


async def two_and_an_app(one: Instance, gateway: PushGateway) -> tuple[str, str, str]:
    """Alice, Bob, whose app is told what happens, and the room in which both are."""
    alice, bob, room_id = await two_in_a_room(one)
    await one.call("POST", "/pushers/set", pusher(gateway.url), token=bob)
    return alice, bob, room_id


async def settled(one: Instance) -> None:
    """All that has happened is queued, and sent."""
    await one.wiring.push_parts.following.follower.caught_up()
    await one.wiring.push_parts.sending.idle()
