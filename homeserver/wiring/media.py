"""Media of the Conversations API, and what links lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver.services.conversations.media_links import MediaLinks
from homeserver.services.conversations.upload_slots import UploadSlots
from homeserver.services.conversations.uploads import UploadLimits, Uploads
from homeserver.services.daily import DailyPruning
from homeserver.services.remote_media_retention import RemoteMediaRetention
from homeserver.storage.media import delete_expired_pending
from homeserver.wiring.basics import clock_ms
from homeserver.wiring.previews import PreviewParts

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class MediaParts:
    """What gives files out, takes them in piece by piece, and deletes them."""

    def __init__(self, wiring: Wiring) -> None:
        self.deletion = wiring.ends.media_deletion
        self.links = MediaLinks(
            secret=bytes(wiring.signing_key.seed), database=wiring.database, clock_ms=clock_ms
        )
        limits = wiring.config.media.uploads
        self.uploads = Uploads(
            database=wiring.database,
            media=wiring.device_parts.media,
            slots=UploadSlots(wiring.device_parts.media_files),
            limits=UploadLimits(
                limits.max_unfinished, limits.max_unfinished_bytes, limits.expire_after_ms
            ),
            wake=wiring.ends.media_caretaker.wake,
            clock_ms=clock_ms,
        )
        never_filled = DailyPruning(
            delete_expired_pending, kept_ms=0, database=wiring.database, clock_ms=clock_ms
        )
        self.retention = RemoteMediaRetention(
            server_name=wiring.config.server_name,
            database=wiring.database,
            files=self.deletion,
            keep_ms=wiring.config.media.remote.keep_ms,
            max_bytes=wiring.config.media.remote.max_bytes,
            wake=wiring.ends.media_caretaker.wake,
            clock_ms=clock_ms,
        )
        wiring.device_parts.media.on_fetched.append(self.retention.fetched)
        wiring.ends.media_caretaker.add(self.uploads, never_filled, self.retention)
        wiring.account_deletion.also(self.uploads.forget)
        self.previews = PreviewParts(wiring)

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.MEDIA_DELETION] = self.deletion
        app[keys.MEDIA_LINKS] = self.links
        app[keys.UPLOADS] = self.uploads
        self.previews.provide(app)

    async def close(self) -> None:
        """Close the files of unfinished uploads, and stop fetching."""
        await self.previews.close()
        await self.uploads.close()
