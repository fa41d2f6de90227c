"""Two who may or may not hear of each other, on one instance."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

ALICE, BOB, CAROL = "@alice:one.test", "@bob:one.test", "@carol:one.test"
OURS = "/_comity/client/v1"


def with_defaults(
    database: Database, directory: Path, **defaults: Any
) -> AbstractAsyncContextManager[Instance]:
    """An instance with these answers for everybody."""
    return running(database, directory, consent={"defaults": defaults})


async def direct(one: Instance, token: str, *invite: str, status: int = 200) -> dict[str, Any]:
    """Somebody opens a direct chat."""
    body = {"is_direct": True, "preset": "trusted_private_chat", "invite": list(invite)}
    return await one.call("POST", "/createRoom", body, token=token, status=status)


async def invites(one: Instance, token: str, since: str = "") -> dict[str, Any]:
    """The invites that a client is shown."""
    path = "/sync" + (f"?since={since}" if since else "")
    answer = await one.call("GET", path, token=token)
    shown: dict[str, Any] = answer.get("rooms", {}).get("invite", {})
    return shown


async def settle(one: Instance, path: str, token: str, wanted: int) -> list[dict[str, Any]]:
    """The requests of a state, once there are so many; what changes them runs by itself."""
    for _ in range(200):
        found: list[dict[str, Any]] = (await one.call("GET", OURS + path, token=token))["requests"]
        if len(found) == wanted:
            return found
        await one.call("GET", "/sync", token=token)
    raise AssertionError(f"{path}: {found}")
