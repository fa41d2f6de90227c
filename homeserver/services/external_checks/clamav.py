"""Has clamd scan files: its INSTREAM command, over TCP or a Unix socket.

The protocol (clamd(8)): ``zINSTREAM\\0``, then chunks, each after its length as four bytes in
network order, an empty one at the end; the answer is ``stream: OK``, ``stream: <name> FOUND`` or an
error, ended by a zero byte.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

from homeserver.services.external_checks.answers import (
    ALLOW,
    Answer,
    CannotCheck,
    CheckFailed,
    clean_reason,
)
from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.media_threads import in_media_thread

CHUNK_BYTES = 256 * 1024
MAX_REPLY_BYTES = 4_096
UNIX = "unix:"
RECENT_RESULTS = 10_000
RESULT_SECONDS = 3_600.0  # then it is scanned again, perhaps with newer signatures
OPENING_FAILED = "cannot connect to clamd"


class ClamAv:
    """A clamd."""

    def __init__(
        self, *, address: str, action: str, max_bytes: int, clock_seconds: Callable[[], float]
    ) -> None:
        self._address = address
        self._action = action
        self._max_bytes = max_bytes
        self._clock_seconds = clock_seconds
        self._recent: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()

    def known(self, sha256: bytes) -> Answer | None:
        """What it said of this content within the last hour."""
        at, answer = self._recent.get(sha256, (0.0, None))
        if answer is None or self._clock_seconds() - at > RESULT_SECONDS:
            return None
        return answer

    async def ask(self, blob: MediaBlob, sha256: bytes, size_bytes: int) -> Answer:
        """Scan a file.

        Raises :class:`CheckFailed`, and :class:`CannotCheck` for a file that is too large.
        """
        if size_bytes > self._max_bytes:
            raise CannotCheck(f"it has more than {self._max_bytes} bytes")
        answer = self._parse(await self._scan(blob))
        self._recent[sha256] = (self._clock_seconds(), answer)
        self._recent.move_to_end(sha256)
        if len(self._recent) > RECENT_RESULTS:
            self._recent.popitem(last=False)
        return answer

    def _parse(self, reply: str) -> Answer:
        if reply == "stream: OK":
            return Answer(ALLOW)
        if reply.startswith("stream: ") and reply.endswith(" FOUND"):
            name = reply.removeprefix("stream: ").removesuffix(" FOUND")
            return Answer(self._action, clean_reason(name))
        if "size limit exceeded" in reply:
            raise CannotCheck("it is larger than clamd's StreamMaxLength")
        raise CheckFailed("clamd reported an error" if "ERROR" in reply else "no reply of clamd's")

    async def _scan(self, blob: MediaBlob) -> str:
        try:
            file = await in_media_thread(blob.open)
        except (OSError, StorageUnavailable) as error:
            raise CheckFailed("the file cannot be read") from error
        with file:
            async with self._connected() as (reader, writer):
                # Too large a stream is refused while it is being sent: so listen all the time.
                sending = asyncio.create_task(_send(file, writer))
                sending.add_done_callback(lambda done: _stop_if_failed(done, writer))
                try:
                    reply = await reader.readuntil(b"\0")
                except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
                    raise CheckFailed("clamd broke off") from error
                finally:
                    sending.cancel()
                    await asyncio.wait({sending})
        return reply.rstrip(b"\0\n").decode("utf-8", "replace")

    @contextlib.asynccontextmanager
    async def _connected(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            if self._address.startswith(UNIX):
                path = self._address.removeprefix(UNIX)
                reader, writer = await asyncio.open_unix_connection(path, limit=MAX_REPLY_BYTES)
            else:
                host, _, port = self._address.rpartition(":")
                reader, writer = await asyncio.open_connection(
                    host.strip("[]"), int(port), limit=MAX_REPLY_BYTES
                )
        except OSError as error:
            raise CheckFailed(OPENING_FAILED) from error
        try:
            yield reader, writer
        finally:
            writer.transport.abort()  # all is read, or nothing more is wanted


async def _send(file: BinaryIO, writer: asyncio.StreamWriter) -> None:
    writer.write(b"zINSTREAM\0")
    while chunk := await in_media_thread(file.read, CHUNK_BYTES):
        writer.write(len(chunk).to_bytes(4, "big"))
        writer.write(chunk)
        await writer.drain()
    writer.write(bytes(4))
    await writer.drain()


def _stop_if_failed(sending: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
    """Who waits for the reply need wait no longer."""
    if not sending.cancelled() and sending.exception() is not None:
        writer.transport.abort()
