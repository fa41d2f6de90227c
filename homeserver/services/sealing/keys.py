"""The keys with which media is sealed: a file in the data directory, one key a line.

``<key ID> <key, base64>``: both as :func:`new_key` makes them.  The last one seals what comes in;
all of them open.  The file is read again when it changes, so that a new key needs no restart.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from homeserver.services.sealing.errors import UnknownKey

KEY_BYTES = 32
ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A master key, from which each file's own key is derived."""

    key_id: bytes
    secret: bytes = field(repr=False)


class Keys(Protocol):
    """The keys to seal and to open with."""

    def newest(self) -> SealingKey:
        """The one that seals."""

    def get(self, key_id: bytes) -> SealingKey:
        """The one with an ID.  Raises :class:`UnknownKey`."""


class KeyFile:
    """The keys of a file.  Its methods may block for as long as a small file takes to read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[bytes, SealingKey] = {}

    def prepare(self) -> bool:
        """Make the file with a first key unless it is there; whether it was made.

        Raises :class:`OSError`, and :class:`ValueError` for a file that holds no key.
        """
        if self.path.exists():
            self.all()
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = _write(self.path.with_suffix(f".{secrets.token_hex(4)}"), [new_key()])
        try:
            os.link(partial, self.path)
        except FileExistsError:
            return False  # another process was faster
        finally:
            partial.unlink()
        _sync_directory(self.path.parent)
        return True

    def add(self) -> SealingKey:
        """Put a new key behind the others: from now on it seals."""
        key = new_key()
        partial = _write(self.path.with_suffix(".new"), [*self.all(), key])
        partial.rename(self.path)
        _sync_directory(self.path.parent)
        return key

    def drop(self, key_id: bytes) -> None:
        """Take a key out: what is sealed with it is lost.  Raises :class:`UnknownKey`."""
        self.get(key_id)
        kept = [key for key in self.all() if key.key_id != key_id]
        _write(self.path.with_suffix(".new"), kept).rename(self.path)
        _sync_directory(self.path.parent)

    def all(self) -> list[SealingKey]:
        """All keys, the newest last.

        Raises :class:`OSError`, and :class:`ValueError` for a file that holds no key.
        """
        status = self.path.stat()
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen != self._seen:
            try:
                keys = parse(self.path.read_text("ascii"))
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}") from error
            self._keys = {key.key_id: key for key in keys}
            self._seen = seen
        return list(self._keys.values())

    def newest(self) -> SealingKey:
        """The one that seals.  Raises what :meth:`all` raises."""
        return self.all()[-1]

    def get(self, key_id: bytes) -> SealingKey:
        """The one with an ID.  Raises :class:`UnknownKey`."""
        key = self._keys.get(key_id)
        if key is None:
            try:
                self.all()
            except (OSError, ValueError) as error:
                raise UnknownKey("the keys of media cannot be read") from error
            key = self._keys.get(key_id)
        if key is None:
            raise UnknownKey(f"the key {key_id.hex()} is not in {self.path.name}")
        return key


def new_key() -> SealingKey:
    """A key, by chance."""
    return SealingKey(secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES))


def parse(text: str) -> list[SealingKey]:
    """The keys of a file's text; lines that begin with ``#`` say nothing.

    Raises :class:`ValueError`, which never repeats what a line says.
    """
    keys = [
        _parse_line(number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not keys:
        raise ValueError("it holds no key")
    if len({key.key_id for key in keys}) < len(keys):
        raise ValueError("two keys have the same ID")
    return keys


def _parse_line(number: int, line: str) -> SealingKey:
    try:
        key_id, secret = line.split()
        key = SealingKey(bytes.fromhex(key_id), base64.b64decode(secret, validate=True))
    except (ValueError, binascii.Error):
        raise ValueError(f"line {number} is no key") from None
    if len(key.key_id) != ID_BYTES or len(key.secret) != KEY_BYTES:
        raise ValueError(f"line {number} is no key")
    return key


def _write(path: Path, keys: Iterable[SealingKey]) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(
            "# Without this file the media of this instance cannot be read. Keep it secret.\n"
        )
        for key in keys:
            file.write(f"{key.key_id.hex()} {base64.b64encode(key.secret).decode()}\n")
        file.flush()
        os.fsync(file.fileno())
    return path


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
