"""The files of unfinished uploads: each is used by one request at a time.

A request that comes while another one reads for the same upload takes over: the other's connection
is dead, mostly, and only its client knows that.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from homeserver.services.conversations.problems import Problem
from homeserver.services.media_files import MediaFiles
from homeserver.services.sealing.upload_file import UploadFile

P = ParamSpec("P")
T = TypeVar("T")

DIRECTORY = "uploads"
BUFFER_BYTES = 256 * 1024
MOST_OPEN = 256


class Interrupted(Problem):
    """Another request has taken over."""

    def __init__(self) -> None:
        super().__init__("upload_locked", "Another request goes on with this upload", status=423)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something in a thread, and wait for its end also if the caller is cancelled meanwhile."""
    task = asyncio.create_task(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


class Slot:
    """An upload's file, and who uses it."""

    def __init__(self, upload_id: str, open_file: Callable[[str], UploadFile]) -> None:
        self._upload_id = upload_id
        self._open_file = open_file
        self.lock = asyncio.Lock()
        self.users = 0
        self.interrupted = False
        self.opened: UploadFile | None = None
        self._reading: asyncio.Future[bool] | None = None

    async def file(self) -> UploadFile:
        """The file; made if it is not there.

        Raises :class:`~homeserver.services.sealing.errors.DamagedFile`, :class:`OSError`.
        """
        if self.opened is None:
            self.opened = await in_thread(self._open_file, self._upload_id)
        return self.opened

    async def read(self, source: AsyncIterator[bytes], buffer: bytearray) -> bool:
        """Read until the buffer is full; True at the end.  What came is in the buffer, whatever is
        raised.  Raises :class:`Interrupted`, and what the connection raises when it breaks.
        """
        if self.interrupted:
            raise Interrupted
        reading = self._reading = asyncio.ensure_future(_fill(source, buffer))
        try:
            return await reading
        except asyncio.CancelledError:
            if self.interrupted:
                raise Interrupted from None
            raise
        finally:
            self._reading = None

    def interrupt(self) -> None:
        """Have whoever reads stop."""
        self.interrupted = True
        if self._reading is not None:
            self._reading.cancel()

    async def forget(self) -> None:
        """Close the file; it is looked at anew when it is next wanted."""
        opened, self.opened = self.opened, None
        if opened is not None:
            await in_thread(opened.close)


class UploadSlots:
    """All of them.  A few stay open, so that going on costs no look through what is there."""

    def __init__(self, files: MediaFiles) -> None:
        self._files = files
        self._directory = files.root / DIRECTORY
        self._slots: OrderedDict[str, Slot] = OrderedDict()

    @asynccontextmanager
    async def hold(self, upload_id: str) -> AsyncIterator[Slot]:
        """An upload, for this request alone.  Raises :class:`Interrupted` if somebody waits."""
        slot = self._slots.get(upload_id)
        if slot is None:
            slot = self._slots[upload_id] = Slot(upload_id, self._open)
        if slot.users > 1:
            raise Interrupted
        slot.users += 1
        try:
            slot.interrupt()
            async with slot.lock:
                slot.interrupted = False
                try:
                    yield slot
                except BaseException as error:
                    if _may_concern_disk(error):
                        await slot.forget()  # what is there may not be what was meant
                    raise
        finally:
            slot.users -= 1
            await self._close_some(upload_id)

    def known_offset(self, upload_id: str) -> int | None:
        """How far an upload has come, if it is open."""
        slot = self._slots.get(upload_id)
        return slot.opened.offset if slot is not None and slot.opened is not None else None

    async def delete(self, upload_id: str, slot: Slot) -> None:
        """Delete the file of an upload that is held."""
        await slot.forget()
        path = self._directory / upload_id
        await in_thread(path.unlink, missing_ok=True)

    async def close(self) -> None:
        """Close all files that nobody uses."""
        for slot in [slot for slot in self._slots.values() if not slot.users]:
            await slot.forget()

    def _open(self, upload_id: str) -> UploadFile:
        self._directory.mkdir(parents=True, exist_ok=True)
        files = self._files
        return UploadFile(self._directory / upload_id, files.keys, seal=files.seal)

    async def _close_some(self, upload_id: str) -> None:
        slot = self._slots.get(upload_id)
        if slot is not None and slot.opened is None and not slot.users:
            del self._slots[upload_id]
        elif slot is not None:
            self._slots.move_to_end(upload_id)
        while len(self._slots) > MOST_OPEN:
            idle = next((name for name, slot in self._slots.items() if not slot.users), None)
            if idle is None:
                return
            await self._slots.pop(idle).forget()


def _may_concern_disk(error: BaseException) -> bool:
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and not isinstance(cause, ConnectionError)


async def _fill(source: AsyncIterator[bytes], buffer: bytearray) -> bool:
    while len(buffer) < BUFFER_BYTES:
        chunk = await anext(source, None)
        if chunk is None:
            return True
        buffer += chunk
    return False
