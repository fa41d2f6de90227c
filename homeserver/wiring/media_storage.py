"""What keeps the files of media, as the configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.config_storage import S3
from homeserver.services.media_stores import LOCAL, MediaStore
from homeserver.services.media_strays import MediaStrays
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.config import Config
    from homeserver.services.media_files import MediaFiles
    from homeserver.storage.database import Database

CACHE = "media_cache"


def media_store(config: Config, *, copies: bool = True) -> MediaStore:
    """The directory of media, or a bucket.

    ``copies``: small files are kept on this machine too; by one process alone, the server.
    """
    if config.media.storage != S3:
        return LOCAL
    # The library takes some memory and time: only for those who need it.
    from homeserver.services.object_storage.bucket import Bucket, BucketSettings
    from homeserver.services.object_storage.cache import FileCache
    from homeserver.services.object_storage.store import BucketStore

    s3 = config.media.s3
    settings = BucketSettings(
        bucket=s3.bucket or "",
        endpoint=s3.endpoint,
        region=s3.region,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
        path_style=s3.path_style,
        ca=s3.ca_file.read_bytes() if s3.ca_file is not None else None,
        timeout_ms=s3.timeout_ms,
    )
    cache = FileCache(config.data_dir / CACHE, s3.cache_bytes if copies else 0)
    return BucketStore(config.media.directory, Bucket(settings), s3.prefix, cache)


def command_strays(database: Database, files: MediaFiles) -> MediaStrays:
    """What keeps contents from being deleted while a command works on them."""
    return MediaStrays(database=database, files=files, wake=lambda: None, clock_ms=clock_ms)
