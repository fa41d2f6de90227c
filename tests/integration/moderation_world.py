"""Messages and media for moderators on one instance."""

from __future__ import annotations

from typing import Any

from homeserver.storage.policy import VerdictRow, get_verdicts
from tests.integration.single import Instance

QUEUE = "/_comity/admin/v1/moderation/queue"
STRIPPED = "/_comity/admin/v1/moderation/stripped_media"
PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 32


async def items(one: Instance, moderator: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await one.call("GET", QUEUE + query, token=moderator))["items"]
    return found


async def decisions(one: Instance) -> list[VerdictRow]:
    """The moderators' rows in the audit trail."""
    return [v for v in await get_verdicts(one.wiring.database) if v.stage == "moderation"]


async def upload(one: Instance, token: str) -> str:
    """A picture's ID."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    async with one.client.post("/_matrix/media/v3/upload", data=PICTURE, headers=headers) as answer:
        uri: str = (await answer.json())["content_uri"]
    return uri.rpartition("/")[2]


async def download(one: Instance, token: str, media_id: str) -> tuple[int, bytes]:
    path = f"/_matrix/client/v1/media/download/one.test/{media_id}"
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.get(path, headers=headers) as answer:
        return answer.status, await answer.read()


def picture(media_id: str) -> dict[str, Any]:
    return {"msgtype": "m.image", "url": f"mxc://one.test/{media_id}"}
