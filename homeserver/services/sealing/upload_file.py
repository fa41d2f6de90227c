"""The container of an upload that is not finished: a list of records, to which one can be added.

::

    "COMITYU1" | 1 if sealed, else 0 | key ID, 8 bytes | salt, 32 bytes            the header
    kind, 1 byte | length, 4 bytes | nonce, 12 bytes | content, encrypted | tag    a record, sealed
    kind, 1 byte | length, 4 bytes | CRC-32, 4 bytes | content                     a record, plain

AES-256-GCM with a key of its own, as in :mod:`.container`; the nonce is by chance, and the record's
kind and length and its place in the upload are authenticated.  A record that is cut off, or was
never fully written, ends the upload when it is opened again: what was acknowledged was synced.

Content that may still turn out wrong (its checksum comes at the end) is written as tentative; only
a record that confirms it makes it count.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from homeserver.services.aes_gcm import (
    NONCE_BYTES,
    TAG_BYTES,
    AesGcm,
    NotEncryptedSo,
    derived_cipher,
)
from homeserver.services.sealing.container import SALT_BYTES
from homeserver.services.sealing.errors import DamagedFile, UnknownKey
from homeserver.services.sealing.keys import ID_BYTES, Keys, SealingKey

MAGIC = b"COMITYU1"
HEADER_BYTES = len(MAGIC) + 1 + ID_BYTES + SALT_BYTES
MAX_RECORD_BYTES = 1024 * 1024
DATA, TENTATIVE, CONFIRM = 0, 1, 2
_HEAD = struct.Struct(">BI")
_CRC = struct.Struct(">I")
_PURPOSE = b"comity media upload 1"


class UploadFile:
    """An upload on disk.  All methods block; use them in one thread at a time."""

    def __init__(self, path: Path, keys: Keys | None, *, seal: bool) -> None:
        """``seal``: whether it is sealed, if it is not there yet.

        Raises :class:`DamagedFile`, for a header that is not one of an upload.
        """
        self._path = path
        self._keys = keys
        self._file: BinaryIO | None = None
        self._cipher: AesGcm | None = None
        self._end = 0  # of what counts, in the file
        self._tail = 0  # of what is written
        self.offset = 0
        """How many bytes of content count."""
        self._tentative = 0
        self._open(seal)

    # ------------------------------------------------------------ opening

    def _open(self, seal: bool) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "r+b")
        try:
            header = self._file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                self._begin(seal)
            else:
                self._take_header(header)
                self._scan()
        except BaseException:
            self.close()
            raise

    def _begin(self, seal: bool) -> None:
        file = self._opened()
        key = self._keys.newest() if seal and self._keys is not None else None
        salt = secrets.token_bytes(SALT_BYTES)
        key_id = key.key_id if key is not None else bytes(ID_BYTES)
        self._cipher = _cipher(key, salt)
        file.seek(0)
        file.truncate()
        file.write(MAGIC + bytes([key is not None]) + key_id + salt)
        self._end = self._tail = HEADER_BYTES
        self.sync()
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _take_header(self, header: bytes) -> None:
        start = len(MAGIC) + 1
        if not header.startswith(MAGIC) or header[len(MAGIC)] > 1:
            raise DamagedFile("its header is not that of an upload")
        if header[len(MAGIC)] == 0:
            return
        if self._keys is None:
            raise UnknownKey("this instance has no keys of media")
        key = self._keys.get(header[start : start + ID_BYTES])
        self._cipher = _cipher(key, header[start + ID_BYTES :])

    def _scan(self) -> None:
        """Find out how much counts, and cut off what does not."""
        self._end = self._tail = HEADER_BYTES
        for kind, content in self._records():
            self._tail += _HEAD.size + self._overhead + len(content)
            if kind == TENTATIVE:
                self._tentative += len(content)
                continue
            if kind == DATA:
                self.offset += len(content)
            self.offset += self._tentative
            self._tentative, self._end = 0, self._tail
        self.drop()
        self.sync()  # what is told to be there has to stay

    @property
    def _overhead(self) -> int:
        return NONCE_BYTES + TAG_BYTES if self._cipher is not None else _CRC.size

    def _opened(self) -> BinaryIO:
        assert self._file is not None
        return self._file

    # ------------------------------------------------------------ writing

    def append(self, content: bytes, *, tentative: bool = False) -> None:
        """Add content; ``tentative``: it counts once it is confirmed."""
        for start in range(0, len(content), MAX_RECORD_BYTES):
            part = content[start : start + MAX_RECORD_BYTES]
            self._write(TENTATIVE if tentative else DATA, part)
            if tentative:
                self._tentative += len(part)
            else:
                self.offset += len(part)
                self._end = self._tail

    def confirm(self) -> None:
        """What was tentative counts."""
        self._write(CONFIRM, b"")
        self.offset += self._tentative
        self._tentative, self._end = 0, self._tail

    def drop(self) -> None:
        """Forget what is tentative."""
        file = self._opened()
        self._tentative, self._tail = 0, self._end
        file.flush()
        os.ftruncate(file.fileno(), self._end)

    def sync(self) -> None:
        """Return once what was written is on disk for good."""
        file = self._opened()
        file.flush()
        os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: what was not synced does not count
                self._file.close()

    def _write(self, kind: int, content: bytes) -> None:
        head = _HEAD.pack(kind, len(content))
        place = head + (self.offset + self._tentative).to_bytes(8, "big")
        if self._cipher is None:
            record = head + _CRC.pack(zlib.crc32(content, zlib.crc32(place))) + content
        else:
            nonce = secrets.token_bytes(NONCE_BYTES)
            record = head + nonce + self._cipher.encrypt(nonce, content, place)
        file = self._opened()
        file.seek(self._tail)
        file.write(record)
        self._tail += len(record)

    # ------------------------------------------------------------ reading

    def chunks(self) -> Iterator[bytes]:
        """The content that counts, in order.  Raises :class:`DamagedFile`."""
        found = 0
        for kind, content in self._records():
            if kind != CONFIRM:
                found += len(content)
                yield content
        if found != self.offset:
            raise DamagedFile("a part of the upload is not as it was written")

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """Each record, up to the end of the file or the first that is not whole."""
        file = self._opened()
        file.flush()
        at, place = HEADER_BYTES, 0
        while True:
            head = os.pread(file.fileno(), _HEAD.size, at)
            if len(head) < _HEAD.size:
                return
            kind, length = _HEAD.unpack(head)
            if kind > CONFIRM or length > MAX_RECORD_BYTES:
                return
            size = self._overhead + length
            body = os.pread(file.fileno(), size, at + _HEAD.size)
            content = self._take(head, place, body) if len(body) == size else None
            if content is None:
                return
            at += _HEAD.size + size
            place += length
            yield kind, content

    def _take(self, head: bytes, place: int, body: bytes) -> bytes | None:
        associated = head + place.to_bytes(8, "big")
        if self._cipher is None:
            content = body[_CRC.size :]
            right = zlib.crc32(content, zlib.crc32(associated)) == _CRC.unpack_from(body)[0]
            return content if right else None
        try:
            return self._cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], associated)
        except NotEncryptedSo:
            return None


def _cipher(key: SealingKey | None, salt: bytes) -> AesGcm | None:
    return derived_cipher(key.secret, salt, _PURPOSE) if key is not None else None
