"""Hashing and checking passwords: argon2id, off the event loop, so many at a time and no more."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from homeserver.errors import LimitExceeded, MatrixError

T = TypeVar("T")

MAX_PASSWORD_BYTES = 1024
MAX_WAITING = 256
# RFC 9106 allows less memory where more passes are made; OWASP's least for argon2id.
MEMORY_KIB = 19 * 1024
PASSES = 2


class WeakPassword(MatrixError):
    """The password is empty or far too long."""

    errcode, status = "M_WEAK_PASSWORD", 400


def check_strength(password: str) -> None:
    """Raise :class:`WeakPassword` for one that is not taken."""
    size = len(password.encode())
    if size == 0:
        raise WeakPassword("Choose a password that is not empty")
    if size > MAX_PASSWORD_BYTES:
        raise WeakPassword(f"Choose a password of at most {MAX_PASSWORD_BYTES} bytes")


class Passwords:
    """Hashes and checks passwords in threads; for a user who does not exist it takes as long."""

    def __init__(
        self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES, workers: int | None = None
    ) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._executor = ThreadPoolExecutor(
            max_workers=workers or min(4, os.cpu_count() or 1), thread_name_prefix="argon2"
        )
        self._waiting = 0
        self._nobodys_hash: str | None = None

    def close(self) -> None:
        """Stop the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """The hash to store.  Raises :class:`WeakPassword`."""
        check_strength(password)
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether a password is right.  Without a hash it never is, and takes as long to say."""
        if len(password.encode()) > MAX_PASSWORD_BYTES:
            return False
        if password_hash is not None:
            return await self._run(lambda: self._matches(password, password_hash))
        if self._nobodys_hash is None:
            self._nobodys_hash = await self.hash(secrets.token_hex())
        nobodys_hash = self._nobodys_hash
        await self._run(lambda: self._matches(password, nobodys_hash))
        return False

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether a hash was made with other parameters than are used now."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise LimitExceeded(1000)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._waiting -= 1
