"""How much a user may upload: bytes and files in all, the largest file, and how often.

What the configuration says holds for all for whom an admin has said nothing else.  Spec:
client-server API, content repository, security considerations; ``M_USER_LIMIT_EXCEEDED``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from homeserver.errors import Forbidden
from homeserver.storage import media_limits as storage
from homeserver.storage.database import Database, Queryable
from homeserver.storage.media_limits import UNLIMITED, UsageRow

UPLOAD, CREATE, FETCH = "upload", "media_create", "media_fetch"


class QuotaExceeded(Forbidden):
    """The user has uploaded as much as they may, or would with this file.

    With ``info_uri``, a page that explains it, clients are told by the spec's code for that.
    """

    def __init__(self, text: str, info_uri: str | None = None) -> None:
        if info_uri is None:
            super().__init__(text)
        else:
            super().__init__(text, errcode="M_USER_LIMIT_EXCEEDED", info_uri=info_uri)


class Standing(Protocol):
    """Who is suspended."""

    def require_active(self, user_id: str) -> None:
        """Raises :class:`~homeserver.errors.UserSuspended` for who may not act."""


class Rates(Protocol):
    """Counts what users do."""

    def check(self, action: str, key: str) -> None:
        """Raises :class:`~homeserver.errors.LimitExceeded` for what comes too often."""


class Allowance(Struct, frozen=True):
    """What a user may have; None: any number."""

    quota_bytes: int | None
    max_files: int | None
    max_upload_bytes: int

    @property
    def largest(self) -> int:
        """How large a file can be at most (bytes)."""
        if self.quota_bytes is None:
            return self.max_upload_bytes
        return min(self.quota_bytes, self.max_upload_bytes)


class Usage(Struct, frozen=True):
    """What a user has uploaded, and may."""

    files: int
    bytes: int
    allowance: Allowance

    @property
    def left(self) -> int | None:
        """How many bytes they may still upload; None: any number."""
        quota = self.allowance.quota_bytes
        return None if quota is None else max(0, quota - self.bytes)

    @property
    def room(self) -> int:
        """How large the next file can be (bytes)."""
        left = self.left
        most = self.allowance.max_upload_bytes
        return most if left is None else min(left, most)


class MediaLimits:
    """What each user may upload."""

    def __init__(
        self,
        *,
        database: Database,
        default: Allowance,
        standing: Standing | None = None,
        rates: Rates | None = None,
        info_uri: str | None = None,
    ) -> None:
        """``info_uri``: a page about the limits."""
        self._database = database
        self.default = default
        self._standing = standing
        self._rates = rates
        self._info_uri = info_uri
        self.is_exempt: Callable[[str], bool] | None = None
        """For which users no quota holds unless an admin gave them one: application services'."""

    def require_active(self, user_id: str) -> None:
        """Raises :class:`~homeserver.errors.UserSuspended`."""
        if self._standing is not None:
            self._standing.require_active(user_id)

    def admit(self, user_id: str, action: str = UPLOAD) -> None:
        """Count a request to upload.

        Raises :class:`~homeserver.errors.UserSuspended`, :class:`~homeserver.errors.LimitExceeded`.
        """
        self.require_active(user_id)
        if self._rates is not None:
            self._rates.check(action, user_id)

    def count_fetch(self, user_id: str) -> None:
        """Count a file that is fetched from another instance for a user.

        Raises :class:`~homeserver.errors.LimitExceeded`.
        """
        if self._rates is not None:
            self._rates.check(FETCH, user_id)

    async def usage(self, user_id: str) -> Usage:
        """What a user has uploaded, and may."""
        return self.usage_by(user_id, await storage.get_usage(self._database, user_id))

    async def require_room(self, user_id: str) -> Usage:
        """What a user has uploaded, if they may upload more.  Raises :class:`QuotaExceeded`."""
        usage = await self.usage(user_id)
        if usage.left == 0:
            raise self.bytes_exceeded(usage)
        most = usage.allowance.max_files
        if most is not None and usage.files >= most:
            raise self._files_exceeded(most)
        return usage

    async def count_in(self, db: Queryable, user_id: str, size_bytes: int) -> None:
        """Count a file, in the transaction that notes it.

        Raises :class:`QuotaExceeded` if it is one too many: the transaction must not commit then.
        """
        usage = self.usage_by(user_id, await storage.count_in(db, user_id, size_bytes))
        allowance = usage.allowance
        if allowance.max_files is not None and usage.files > allowance.max_files:
            raise self._files_exceeded(allowance.max_files)
        if allowance.quota_bytes is not None and usage.bytes > allowance.quota_bytes:
            raise self.bytes_exceeded(usage)

    def bytes_exceeded(self, usage: Usage) -> QuotaExceeded:
        """What a user is told whose files have too many bytes."""
        return QuotaExceeded(
            f"Your files may have {usage.allowance.quota_bytes} bytes in all: delete some first",
            self._info_uri,
        )

    def _files_exceeded(self, most: int) -> QuotaExceeded:
        return QuotaExceeded(f"You may have {most} files: delete some first", self._info_uri)

    def usage_by(self, user_id: str, row: UsageRow) -> Usage:
        """What a user has uploaded, and may, given what is stored of them."""
        default = self.default
        exempt = self.is_exempt is not None and self.is_exempt(user_id)
        return Usage(
            row.files,
            row.bytes,
            Allowance(
                _limit(row.quota_bytes, None if exempt else default.quota_bytes),
                _limit(row.max_files, None if exempt else default.max_files),
                default.max_upload_bytes
                if row.max_upload_bytes is None
                else max(0, row.max_upload_bytes),
            ),
        )


def _limit(own: int | None, default: int | None) -> int | None:
    if own is None:
        return default
    return None if own == UNLIMITED else own
