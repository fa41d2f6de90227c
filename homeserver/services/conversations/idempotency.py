"""Requests that may be repeated: the same Idempotency-Key, the same answer, done once.

What a request was answered is kept for 24 h in the database, so that it is known after a restart
and to every process.  An attempt that was cut off (the server died) is taken over by the next one
with the same request, after :data:`TAKEN_OVER_AFTER_MS`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from homeserver.storage import idempotency as storage
from homeserver.storage.database import Database

KEPT_MS = 24 * 60 * 60 * 1_000
TAKEN_OVER_AFTER_MS = 60_000
MAX_KEY_LENGTH = 255
PRUNED_PER_STEP = 500


class Answer(Struct, frozen=True):
    """An answer as it went out."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Replay(Struct, frozen=True):
    """It was done before; this was the answer."""

    answer: Answer


class Mismatch(Struct, frozen=True):
    """The key was used for something else."""


class InProgress(Struct, frozen=True):
    """The same request is being worked on."""

    retry_after_ms: int


class Fresh(Struct, frozen=True):
    """Do it, and then say so: :meth:`Idempotency.finish` or :meth:`Idempotency.give_up`."""

    owner: str
    key: str
    attempt: int  # a random number: only the last attempt may finish


Outcome = Replay | Mismatch | InProgress | Fresh


def fingerprint(method: str, path: str, body: bytes) -> bytes:
    """What tells one request from another."""
    digest = hashlib.sha256(f"{method} {path}\n".encode())
    digest.update(body)
    return digest.digest()


def is_key(key: str) -> bool:
    """Whether a text may be an Idempotency-Key: 1 to 255 visible ASCII characters."""
    return 0 < len(key) <= MAX_KEY_LENGTH and all("!" <= letter <= "~" for letter in key)


class Idempotency:
    """Says which requests were made before; a job of the caretaker forgets them in time."""

    def __init__(self, *, secret: bytes, database: Database, clock_ms: Callable[[], int]) -> None:
        """``secret``: without it nobody can try what a kept request said, such as a password."""
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"comity-idem").digest()
        self._database = database
        self._clock_ms = clock_ms

    async def begin(self, owner: str, key: str, asked: bytes) -> Outcome:
        """Ask before a request is carried out.

        ``owner``: whose key it is, for two people may use the same; ``asked``: the request's
        :func:`fingerprint`.
        """
        now, attempt = self._clock_ms(), secrets.randbits(63)
        asked = hashlib.blake2b(asked, digest_size=32, key=self._key).digest()
        while True:
            if await storage.claim(
                self._database,
                owner,
                key,
                asked,
                attempt,
                now=now,
                forgotten_before=now - KEPT_MS,
                abandoned_before=now - TAKEN_OVER_AFTER_MS,
            ):
                return Fresh(owner, key, attempt)
            stored = await storage.get(self._database, owner, key)
            if stored is not None:  # else it was given up in between
                return self._known(stored, asked, now)

    def _known(self, stored: storage.StoredRequest, asked: bytes, now: int) -> Outcome:
        if stored.fingerprint != asked:
            return Mismatch()
        if stored.status is None:
            return InProgress(max(1, stored.begun_at + TAKEN_OVER_AFTER_MS - now))
        return Replay(Answer(stored.status, stored.body or b"", stored.headers or {}))

    async def finish(self, request: Fresh, answer: Answer) -> None:
        """Keep the answer for those who ask again.  No effect if another attempt has taken over."""
        await storage.finish(
            self._database,
            request.owner,
            request.key,
            request.attempt,
            status=answer.status,
            headers=dict(answer.headers),
            body=answer.body,
        )

    async def give_up(self, request: Fresh) -> None:
        """Nothing was done, and to ask again may help (429, 5xx): the key is free again."""
        await storage.give_up(self._database, request.owner, request.key, request.attempt)

    # ------------------------------------------------------------ the caretaker's job

    async def step(self) -> bool:
        """Forget some of what is too old; False if nothing was."""
        before = self._clock_ms() - KEPT_MS
        return await storage.delete_old(self._database, before, PRUNED_PER_STEP) > 0

    async def next_due(self) -> int | None:
        """When the oldest key is to be forgotten (ms)."""
        oldest = await storage.oldest(self._database)
        return oldest + KEPT_MS if oldest is not None else None
