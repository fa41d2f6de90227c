"""The container of a sealed file: AES-256-GCM in frames, so that any part can be read by itself.

::

    "COMITYM1" | key ID, 8 bytes | salt, 32 bytes        the header
    64 KiB of content, encrypted | tag, 16 bytes         a frame, as often as needed
    0 .. 64 KiB of content, encrypted | tag, 16 bytes    the last frame; empty only of empty files

Each file has a key of its own: HKDF-SHA-256 of the master key and the salt.  A frame's nonce is its
number (8 bytes, big-endian), three zero bytes, and 1 in the last frame, 0 in all others; the header
is authenticated with every frame.  So frames can be neither changed, nor moved, left out, added,
cut off, or taken from another file without that being found (this is the STREAM construction of
Hoang, Reyhanitabar, Rogaway and Vizár, 2015).
"""

from __future__ import annotations

import io
import secrets
from typing import TYPE_CHECKING, BinaryIO

from homeserver.services.aes_gcm import TAG_BYTES, NotEncryptedSo, derived_cipher
from homeserver.services.random_access import RandomAccess
from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.sealing.keys import ID_BYTES, Keys, SealingKey

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC = b"COMITYM1"
SALT_BYTES = 32
HEADER_BYTES = len(MAGIC) + ID_BYTES + SALT_BYTES
FRAME_BYTES = 64 * 1024
SEALED_FRAME_BYTES = FRAME_BYTES + TAG_BYTES
_PURPOSE = b"comity media file 1"


def sealed_size(size: int) -> int:
    """How many bytes a file of so many bytes takes once it is sealed."""
    frames = max(1, -(-size // FRAME_BYTES))
    return HEADER_BYTES + size + frames * TAG_BYTES


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(8, "big") + (b"\0\0\0\1" if last else b"\0\0\0\0")


class SealingWriter:
    """Seals what is written, in order.  Call :meth:`finish` at the end: without it, it is damaged.

    Blocks: use it in a thread.
    """

    def __init__(self, file: BinaryIO, key: SealingKey) -> None:
        salt = secrets.token_bytes(SALT_BYTES)
        self._file = file
        self._header = MAGIC + key.key_id + salt
        self._cipher = derived_cipher(key.secret, salt, _PURPOSE)
        self._frames = 0
        self._rest = bytearray()
        file.write(self._header)

    def write(self, content: bytes) -> None:
        """Add content."""
        rest = self._rest
        rest += content
        if len(rest) <= FRAME_BYTES:
            return
        with memoryview(rest) as view:
            done = 0
            while len(rest) - done > FRAME_BYTES:  # the last frame may be a full one
                self._write_frame(view[done : done + FRAME_BYTES], False)
                done += FRAME_BYTES
        del rest[:done]

    def finish(self) -> None:
        """Write the last frame."""
        self._write_frame(self._rest, True)
        self._rest = bytearray()

    def _write_frame(self, content: memoryview | bytearray, last: bool) -> None:
        nonce = _nonce(self._frames, last)
        self._file.write(self._cipher.encrypt(nonce, content, self._header))
        self._frames += 1


class SealedReader(RandomAccess):
    """Reads a sealed file as if it were plain; only the frames that are asked for are opened.

    Takes over ``file``.  The last frame is checked at once, so that the size is right.  Blocks: use
    it in a thread, and in one at a time.  Raises :class:`DamagedFile`, here and when reading.
    """

    def __init__(self, file: BinaryIO, keys: Keys) -> None:
        super().__init__()
        self._file = file
        self._kept = (-1, b"")  # a frame that was opened, and its number
        try:
            self._open(keys)
        except BaseException:
            self.close()
            raise

    def _open(self, keys: Keys) -> None:
        sealed = self._file.seek(0, io.SEEK_END) - HEADER_BYTES
        self._file.seek(0)
        self._header = self._file.read(HEADER_BYTES)
        if not self._header.startswith(MAGIC) or sealed < TAG_BYTES:
            raise DamagedFile("its header is not that of a sealed file")
        self._last = -(-sealed // SEALED_FRAME_BYTES) - 1
        self.size = sealed - (self._last + 1) * TAG_BYTES
        start = len(MAGIC)
        key = keys.get(self._header[start : start + ID_BYTES])
        salt = self._header[start + ID_BYTES :]
        self._cipher = derived_cipher(key.secret, salt, _PURPOSE)
        if self.size < self._last * FRAME_BYTES or (self.size == self._last * FRAME_BYTES > 0):
            raise DamagedFile("its length is impossible")
        self._frame(self._last)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read the content from the place on."""
        with memoryview(buffer).cast("B") as target:
            wanted = min(len(target), self.size - self._place)
            done = 0
            while done < wanted:
                number, skip = divmod(self._place, FRAME_BYTES)
                part = memoryview(self._frame(number))[skip : skip + wanted - done]
                target[done : done + len(part)] = part
                done += len(part)
                self._place += len(part)
        return max(done, 0)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()

    def _frame(self, number: int) -> bytes:
        if self._kept[0] == number:
            return self._kept[1]
        last = number == self._last
        at = HEADER_BYTES + number * SEALED_FRAME_BYTES
        length = self.size - number * FRAME_BYTES if last else FRAME_BYTES
        self._file.seek(at)
        sealed = self._file.read(length + TAG_BYTES)
        try:
            content = self._cipher.decrypt(_nonce(number, last), sealed, self._header)
        except NotEncryptedSo as error:
            raise DamagedFile(f"frame {number} is not as it was written") from error
        self._kept = (number, content)
        return content
