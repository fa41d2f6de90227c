"""A whole instance whose files are asked for by every way, with other servers' files behind it."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidict import CIMultiDictProxy
from PIL import Image

from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.admin_world import Admin
from tests.integration.single import Instance, running
from tests.integration.test_lying_peer import DAY_MS, KEY, PEER, LyingPeer
from tests.services.remote_media import OtherServers

UPLOAD = "/_matrix/media/v3/upload"
DOWNLOAD, THUMBNAIL = "/_matrix/client/v1/media/download", "/_matrix/client/v1/media/thumbnail"
SIZE = "width=32&height=32&method=crop"


@dataclass(frozen=True)
class Answer:
    """What was answered to a request for a file."""

    status: int
    headers: CIMultiDictProxy[str]
    content: bytes


class MediaWorld:
    """The instance, Alice and Bob, an admin, and another server."""

    def __init__(self, one: Instance, alice: str, bob: str) -> None:
        self.one, self.alice, self.bob = one, alice, bob
        self.admin = Admin(one)
        self.others = OtherServers()
        self.peer = LyingPeer(one)
        vars(one.wiring.device_parts.media)["_remote"] = self.others

    async def upload(
        self, content: bytes, content_type: str = "image/png", *, name: str | None = None
    ) -> str:
        """Alice uploads a file; its server name and media ID, as a path."""
        answer = await self.ask(
            "POST",
            UPLOAD if name is None else f"{UPLOAD}?filename={name}",
            {"Content-Type": content_type},
            token=self.alice,
            data=content,
        )
        assert answer.status == 200, answer.content
        return answer.content.decode().partition("mxc://")[2].partition('"')[0]

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
        data: Any = None,
    ) -> Answer:
        """A request; by Bob, unless there is another token, or none of any use (empty)."""
        token = self.bob if token is None else token
        own = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.one.client.request(
            method, path, headers={**own, **(headers or {})}, data=data
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def signed(self, path: str) -> Answer:
        """What another server gets."""
        return await self.ask("GET", path, {"Authorization": self.peer.signed("GET", path)})

    def ways(self, path: str) -> dict[str, str]:
        """All addresses of a file that a user's token opens, or none; federation's not."""
        ours = path.replace("/", "~")
        return {
            "download": f"{DOWNLOAD}/{path}",
            "named": f"{DOWNLOAD}/{path}/x.png",
            "old": f"/_matrix/media/v3/download/{path}",
            "oldest": f"/_matrix/media/r0/download/{path}",
            "content": f"/api/v1/media/{ours}/content",
        }

    def thumbnails(self, path: str) -> dict[str, str]:
        """All addresses of its thumbnail."""
        ours = path.replace("/", "~")
        return {
            "thumbnail": f"{THUMBNAIL}/{path}?{SIZE}",
            "old thumbnail": f"/_matrix/media/v3/thumbnail/{path}?{SIZE}",
            "our thumbnail": f"/api/v1/media/{ours}/thumbnail?{SIZE}",
        }

    def federation(self, path: str) -> dict[str, str]:
        """All addresses for other servers."""
        media_id = path.rpartition("/")[2]
        base = "/_matrix/federation/v1/media"
        return {
            "federation": f"{base}/download/{media_id}",
            "federation thumbnail": f"{base}/thumbnail/{media_id}?{SIZE}",
        }

    async def link(self, path: str) -> str:
        """The address of a link that Bob made."""
        answer = await self.ask(
            "POST",
            f"/api/v1/media/{path.replace('/', '~')}/link",
            {"Content-Type": "application/json"},
            data=b"{}",
        )
        assert answer.status == 200, answer.content
        token = answer.content.decode().partition("/media-links/")[2].partition('"')[0]
        return f"/api/v1/media-links/{token}"


@asynccontextmanager
async def media_world(
    database: Database, directory: Path, **settings: Any
) -> AsyncIterator[MediaWorld]:
    """An instance on which old clients get files too."""
    media = {"unauthenticated_downloads": True, **settings.pop("media", {})}
    settings = {"consent": {"cross_instance": "implied"}, **settings}
    async with running(database, directory, media=media, **settings) as one:
        now = time.time_ns() // 1_000_000
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        yield MediaWorld(one, await one.register("alice"), await one.register("bob"))


def picture(size: tuple[int, int] = (100, 80), colour: tuple[int, int, int] = (1, 2, 3)) -> bytes:
    """An image."""
    output = io.BytesIO()
    Image.new("RGB", size, colour).save(output, "PNG")
    return output.getvalue()


def moving_picture(image_format: str = "GIF", size: tuple[int, int] = (100, 80)) -> bytes:
    """An image that moves."""
    output = io.BytesIO()
    first, *others = [Image.new("RGB", size, (50 * number, 0, 0)) for number in range(4)]
    first.save(output, image_format, save_all=True, append_images=others, duration=50, loop=0)
    return output.getvalue()
