"""kill -9 in the middle of a resumable upload loses no byte that was acknowledged."""

import asyncio
import os
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from tests.harness import RawClient, World

ROUNDS = int(os.environ.get("COMITY_CRASH_ROUNDS", "5"))
SEED = int(os.environ.get("COMITY_CRASH_SEED", str(random.randrange(1_000_000))))
SIZE = 4_000_000
BYTES = "application/offset+octet-stream"


class Upload:
    """An upload, and how much of it was acknowledged."""

    def __init__(self, session: aiohttp.ClientSession, token: str, content: bytes) -> None:
        self.session = session
        self.content = content
        self.headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
        self.acknowledged = 0
        self.media_id: str | None = None
        self.url = URL()

    async def begin(self, endpoint: str) -> None:
        """Make it."""
        headers = {**self.headers, "Upload-Length": str(len(self.content))}
        async with self.session.post(endpoint, headers=headers) as response:
            assert response.status == 201, await response.text()
            self.url = URL(response.headers["Location"])

    async def resume(self) -> None:
        """Ask how far it is: never less than was acknowledged."""
        async with self.session.head(self.url, headers=self.headers) as response:
            assert response.status == 200
            offset = int(response.headers["Upload-Offset"])
            assert offset >= self.acknowledged, f"{self.acknowledged - offset} bytes are lost"
            self.acknowledged = offset
            self.media_id = response.headers.get("Comity-Media-Id")

    async def send(self, size: int) -> None:
        """Send some bytes, slowly."""
        start = self.acknowledged
        headers = {**self.headers, "Upload-Offset": str(start), "Content-Type": BYTES}
        body = self._slowly(self.content[start : start + size])
        async with self.session.patch(self.url, data=body, headers=headers) as response:
            if response.status == 204:
                self.acknowledged = int(response.headers["Upload-Offset"])
                self.media_id = response.headers.get("Comity-Media-Id")

    async def _slowly(self, content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 20_000):
            yield content[start : start + 20_000]
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", [SEED])
async def test_kill_9_in_the_middle_of_an_upload_loses_nothing(seed: int) -> None:
    """Whatever was acknowledged is there after each kill, and the whole is what was sent."""
    print(f"\nseed {seed}, rounds {ROUNDS} (COMITY_CRASH_SEED={seed})", flush=True)
    rng = random.Random(seed)
    with World() as world:
        server = world.comity("one")
        await server.start_async()
        async with aiohttp.ClientSession() as session:
            client = RawClient(session, server.client_url)
            await client.register("alice")
            upload = Upload(session, client.access_token, rng.randbytes(SIZE))
            await upload.begin(f"{server.client_url}/api/v1/uploads")

            for _ in range(ROUNDS):
                sending = asyncio.create_task(_send_all(upload, rng))
                await asyncio.sleep(rng.uniform(0.05, 0.6))
                await server.kill_async()
                await asyncio.gather(sending, return_exceptions=True)
                await server.start_async()
                await upload.resume()
            await _send_all(upload, rng)

            url = f"{server.client_url}/api/v1/media/{upload.media_id}/content"
            async with session.get(url, headers=upload.headers) as response:
                assert await response.read() == upload.content


async def _send_all(upload: Upload, rng: random.Random) -> None:
    while upload.media_id is None:
        await upload.send(rng.randrange(1, 500_000))
