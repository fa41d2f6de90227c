"""Previews that are kept, and forgotten: after a while, beyond what may be kept, by order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage import url_previews as storage
from homeserver.storage.database import Database
from homeserver.storage.url_previews import KeptPreview, NewPreview, OldPreview, Totals

AT_ONCE = 50
HOUR_MS = 3_600_000
EVER = 2**63 - 1  # ms


class Files(Protocol):
    """Deletion of pictures."""

    async def delete_fetched(self, uri: MediaUri) -> None:
        """Delete what this server fetched by itself, unless a message refers to it."""


class Bounds(Struct, frozen=True):
    """How long previews are kept, how many, and how many bytes of pictures."""

    kept_ms: int
    previews: int
    bytes: int


class PreviewCache:
    """A job of the caretaker, too: deletes the oldest, in batches."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        files: Files,
        bounds: Bounds,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._files = files
        self._bounds = bounds
        self._wake = wake
        self._clock_ms = clock_ms
        self._next = 0
        self._previews = 0
        self._bytes = 0

    async def find(self, url_sha256: bytes, at: int) -> KeptPreview | None:
        """What was said of a URL at about a time (ms)."""
        after = self._clock_ms() - self._bounds.kept_ms
        return await storage.get_nearest(
            self._database, url_sha256, at, self._server_name, after=after
        )

    async def keep(self, preview: NewPreview) -> None:
        """Keep a preview."""
        await storage.insert_preview(self._database, preview)
        self._previews += 1
        self._bytes += preview.image_bytes
        if self._is_full():
            self._wake()

    async def totals(self) -> Totals:
        """How much is kept."""
        return await storage.get_totals(self._database)

    async def forget_url(self, url_sha256: bytes) -> int:
        """Forget what was said of a URL; how many previews that were."""
        return await self._forget_all(
            lambda: storage.get_of_url(self._database, url_sha256, AT_ONCE)
        )

    async def forget_host(self, host: str) -> int:
        """Forget what a host said; how many previews that were."""
        return await self._forget_all(lambda: storage.get_of_host(self._database, host, AT_ONCE))

    async def _forget_all(self, find: Callable[[], Awaitable[list[OldPreview]]]) -> int:
        count = 0
        while found := await find():
            await self._forget(found)
            count += len(found)
        return count

    # ------------------------------------------------------------ the caretaker's

    async def next_due(self) -> int | None:
        """Once an hour, and at once when there are too many (ms)."""
        return 0 if self._is_full() else self._next

    async def step(self) -> bool:
        """Forget some of the oldest."""
        now = self._clock_ms()
        if now >= self._next:
            await self._count()
        elif not self._is_full():
            return False
        if self._is_full():
            return await self._forget_excess()
        before = now - self._bounds.kept_ms
        found = await storage.get_oldest(self._database, before, AT_ONCE)
        await self._forget(found)
        self._next = now if len(found) == AT_ONCE else now + HOUR_MS
        return len(found) == AT_ONCE

    async def _forget_excess(self) -> bool:
        """False if there is nothing to forget: then less is kept than was counted."""
        found = await storage.get_oldest(self._database, EVER, AT_ONCE)
        await self._forget(self._too_many(found))
        if not found:
            await self._count()
        return bool(found)

    async def _count(self) -> None:
        totals = await self.totals()
        self._previews, self._bytes = totals.previews, totals.bytes

    def _is_full(self) -> bool:
        return self._previews > self._bounds.previews or self._bytes > self._bounds.bytes

    def _too_many(self, found: Sequence[OldPreview]) -> list[OldPreview]:
        """As many of the oldest as have to go."""
        going: list[OldPreview] = []
        previews = self._previews - self._bounds.previews
        size = self._bytes - self._bounds.bytes
        for preview in found:
            if previews <= 0 and size <= 0:
                break
            going.append(preview)
            previews -= 1
            size -= preview.image_bytes
        return going

    async def _forget(self, previews: Sequence[OldPreview]) -> None:
        """The pictures go first: should the process die here, it is done again."""
        if not previews:
            return
        for preview in previews:
            if preview.media_id is not None:
                await self._files.delete_fetched(MediaUri(self._server_name, preview.media_id))
        await storage.delete_previews(self._database, previews)
        self._previews -= len(previews)
        self._bytes -= sum(preview.image_bytes for preview in previews)
