"""A bucket, by its S3 API: whole objects go in, ranges come out, every call ends in bounded time.

The library retries what may be retried; a storage that is away altogether is not asked again for a
few seconds, so that nobody waits in vain.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import structlog
from msgspec import Struct
from obstore.exceptions import BaseError
from obstore.store import S3Store

from homeserver.services.media_stores import StorageUnavailable

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, S3Config, S3Credential

logger = structlog.get_logger(__name__)

PART_BYTES = 8 * 1024 * 1024  # larger files go in such parts
PARTS_AT_ONCE = 2
RETRIES = 2
CONNECT_SECONDS = 5.0
FAILURES = 3  # in a row, and the storage counts as away
AWAY_SECONDS = 5.0
ROLES = "http://169.254.169.254/"  # where a machine of Amazon's asks for its role's key
CHECK_NAME = "comity-check"
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]{1,40})")
_KIND = re.compile(r"kind: (\w{1,32})")
_MESSAGES = {
    "NoSuchBucket": "there is no such bucket",
    "SignatureDoesNotMatch": "the secret access key is not the right one",
    "InvalidAccessKeyId": "there is no such access key ID",
    "XAdminUserNotFound": "there is no such access key ID",
    "AccessDenied": "the key may not do this",
    "AuthorizationHeaderMalformed": "it is in another region",
    "PermanentRedirect": "it is in another region, or at another endpoint",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "Connect": "it cannot be connected to",
    "Timeout": "it did not answer in time",
}


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """Where a bucket is, and how to get in.

    ``endpoint`` None: Amazon's; ``access_key_id`` None: keys as the library finds them in the
    environment (``AWS_*``, or the machine's own identity).  ``timeout_ms``: of one request.
    """

    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    path_style: bool = True
    ca: bytes | None = field(default=None, repr=False)
    timeout_ms: int = 20_000


class Part(Struct, frozen=True):
    """A part of an object, its size, and what tells it from another one of the same name."""

    content: bytes
    size: int
    tag: str | None


class Entry(Struct, frozen=True):
    """An object in a list."""

    key: str
    size: int  # bytes
    modified_at: float  # seconds


class Bucket:
    """One bucket.  All methods block, and raise :class:`StorageUnavailable`.

    May be used by several threads.
    """

    def __init__(
        self, settings: BucketSettings, clock_seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = settings.bucket
        self.where = f"{settings.endpoint or 'Amazon S3'}, bucket {settings.bucket}"
        self._store = _store(settings)
        self._clock_seconds = clock_seconds
        self._lock = threading.Lock()
        self._failures = 0
        self._away_until = 0.0

    def get(self, key: str, start: int, end: int, tag: str | None = None) -> Part:
        """The bytes from ``start`` to before ``end``, as many as there are.

        Raises :class:`FileNotFoundError`; with a ``tag``, :class:`StorageUnavailable` if the object
        has become another one.
        """
        options: GetOptions = {"range": (start, end)}
        if tag is not None:
            options["if_match"] = tag
        with self._asking("read", key):
            try:
                found = obstore.get(self._store, key, options=options)
                return Part(bytes(found.bytes()), found.meta["size"], found.meta["e_tag"])
            except BaseError as error:
                if _code(error) != "InvalidRange" or start:
                    raise
                return Part(b"", 0, None)  # no range of an empty object can be had

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        with self._asking("look for", key):
            try:
                obstore.head(self._store, key)
            except FileNotFoundError:
                return False
            return True

    def put(self, key: str, source: Path | bytes) -> None:
        """Store an object, over another one of that name: whole or not at all."""
        with self._asking("write", key):
            try:
                obstore.put(
                    self._store, key, source, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
                )
            except FileNotFoundError as error:
                if isinstance(source, Path) and not source.exists():
                    raise
                raise _NoBucket(str(error)) from None

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, those that are there."""
        if not keys:
            return
        with self._asking("delete", keys[0]):
            try:
                obstore.delete(self._store, list(keys))
            except FileNotFoundError as error:
                if _code(error) not in (None, "NoSuchKey"):
                    raise _NoBucket(str(error)) from None

    def list(self, prefix: str) -> list[str]:
        """The names of all objects in a directory, beneath it too."""
        return [entry.key for entry in self.walk(prefix)]

    def walk(self, prefix: str) -> Iterator[Entry]:
        """All objects in a directory, beneath it too."""
        with self._asking("list", prefix):
            for entries in obstore.list(self._store, prefix or None, chunk_size=1000):
                for entry in entries:
                    modified_at = entry["last_modified"].timestamp()
                    yield Entry(entry["path"], entry["size"], modified_at)

    def check(self, prefix: str) -> None:
        """Write, list, read and delete an object, to see whether that can be done."""
        key = f"{prefix}{CHECK_NAME}/{secrets.token_hex(8)}"
        content = secrets.token_bytes(64)
        self.put(key, content)
        try:
            if self.get(key, 0, len(content)).content != content:
                raise StorageUnavailable("what was written is not what is read")
            if key not in self.list(prefix + CHECK_NAME):
                raise StorageUnavailable("what was written is not listed")
        finally:
            self.delete([key])

    # ------------------------------------------------------------ what goes wrong

    @contextmanager
    def _asking(self, doing: str, key: str) -> Iterator[None]:
        with self._lock:
            if self._failures >= FAILURES and self._clock_seconds() < self._away_until:
                raise StorageUnavailable("it did not answer a moment ago")
        try:
            yield
        except FileNotFoundError as error:
            if _code(error) in (None, "NoSuchKey"):
                self._answered()
                raise
            raise self._failed(doing, key, error) from None
        except (BaseError, _NoBucket, ValueError) as error:
            raise self._failed(doing, key, error) from None
        else:
            self._answered()

    def _answered(self) -> None:
        with self._lock:
            self._failures = 0

    def _failed(self, doing: str, key: str, error: Exception) -> StorageUnavailable:
        reason = explain(error)
        if _is_away(error):
            with self._lock:
                self._failures += 1
                self._away_until = self._clock_seconds() + AWAY_SECONDS
        logger.warning(
            "object storage failed", operation=doing, file=key, bucket=self.name, reason=reason
        )
        return StorageUnavailable(reason)


class _NoBucket(Exception):
    """What was to be written was not found."""


def explain(error: Exception) -> str:
    """What is wrong, for the admin: nothing of requests and their signatures."""
    text = str(error)
    if ROLES in text:
        return "no access key is configured or in the environment, and the machine has no role"
    code, status, kind = (found.search(text) for found in (_CODE, _STATUS, _KIND))
    what = _MESSAGES.get(code[1] if code else "") or _MESSAGES.get(kind[1] if kind else "")
    details = ", ".join(found[1].strip() for found in (status, code) if found is not None)
    if what is None:
        return details or (kind[1] if kind else type(error).__name__)
    return f"{what} ({details})" if details else what


def _is_away(error: Exception) -> bool:
    """Whether nobody answered, or somebody who has troubles of his own."""
    status = _STATUS.search(str(error))
    return status is None or status[1].startswith("5")


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return found[1] if found is not None else None


def _store(settings: BucketSettings) -> S3Store:
    timeout = timedelta(milliseconds=settings.timeout_ms)
    config: S3Config = {
        "region": settings.region,
        "virtual_hosted_style_request": not settings.path_style,
        "disable_bulk_delete": True,  # not every storage has it, or wants the same checksum
    }
    endpoint = settings.endpoint
    client: ClientConfig = {
        "timeout": timeout,
        "connect_timeout": min(timeout, timedelta(seconds=CONNECT_SECONDS)),
        "user_agent": "comity",
    }
    if endpoint is not None:
        config["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    if settings.ca is not None:
        client["root_certificate"] = settings.ca
    return S3Store(
        settings.bucket,
        config=config,
        client_options=client,
        retry_config={
            "max_retries": RETRIES,
            "retry_timeout": timeout,
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        },
        credential_provider=_credentials(settings),
    )


def _credentials(settings: BucketSettings) -> Callable[[], S3Credential] | None:
    """Keys that are configured, whatever there is in the environment."""
    key_id, secret = settings.access_key_id, settings.secret_access_key
    if key_id is None or secret is None:
        return None
    return lambda: {
        "access_key_id": key_id,
        "secret_access_key": secret,
        "token": None,
        "expires_at": None,
    }
