"""Thumbnails of files in a bucket."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from homeserver.services.media_files import MediaFiles
from homeserver.services.object_storage.bucket import Bucket, BucketSettings, Part
from homeserver.services.object_storage.cache import FileCache
from homeserver.services.object_storage.store import BucketStore
from homeserver.services.thumbnails import Thumbnails, ThumbnailSpec

from .servers import ObjectStorage


class DeletingBucket(Bucket):
    """In which a file is deleted just after it was read."""

    def get(self, key: str, start: int, end: int, tag: str | None = None) -> Part:
        """What was there."""
        part = super().get(key, start, end, tag)
        self.files.delete(self.sha256)
        return part

    files: MediaFiles
    sha256: bytes


async def test_no_thumbnail_stays_of_a_file_that_is_deleted_while_it_is_made(
    tmp_path: Path, storage: ObjectStorage, settings: BucketSettings
) -> None:
    bucket = DeletingBucket(settings)
    store = BucketStore(tmp_path, bucket, "", FileCache(tmp_path / "cache", 10**6))
    files = bucket.files = MediaFiles(tmp_path, store=store)
    files.prepare()
    content = io.BytesIO()
    Image.new("RGB", (300, 300), "teal").save(content, "PNG")
    bucket.sha256 = hashlib.sha256(content.getvalue()).digest()
    bucket.put(store.key(files.blob(bucket.sha256).path), content.getvalue())
    thumbnails = Thumbnails(files)

    with pytest.raises(FileNotFoundError):
        await thumbnails.get(bucket.sha256, ThumbnailSpec(32, 32))
    thumbnails.close()

    assert storage.objects(settings.bucket) == {}
