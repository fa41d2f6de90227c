"""Other servers' media, as a download brings them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from homeserver.errors import NotFound

CHUNK_BYTES = 1000


@dataclass
class RemoteFile:
    """Another server's file on its way."""

    content: bytes
    content_type: str | None = "image/png"
    upload_name: str | None = None

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes, a few at a time."""
        return self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), CHUNK_BYTES):
            yield self.content[start : start + CHUNK_BYTES]


@dataclass
class OtherServers:
    """What other servers have, and what they were asked for, by server name and media ID."""

    files: dict[str, RemoteFile] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    pause_seconds: float = 0.0

    @asynccontextmanager
    async def download(
        self, origin: str, media_id: str, timeout_ms: int
    ) -> AsyncIterator[RemoteFile]:
        """A file."""
        path = f"{origin}/{media_id}"
        self.asked.append(path)
        await asyncio.sleep(self.pause_seconds)
        if path not in self.files:
            raise NotFound("None")
        yield self.files[path]
