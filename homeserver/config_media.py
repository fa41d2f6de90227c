"""The section ``media`` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from homeserver.config_storage import S3Config, s3_config
from homeserver.durations import in_ms

DIRECTORY, MEDIA_KEYS = "media", "media.keys"


class UploadsConfig(Struct, frozen=True):
    """``media.uploads``: those that are not finished, of each user."""

    expire_after_ms: int
    max_unfinished: int
    max_unfinished_bytes: int


class CreateConfig(Struct, frozen=True):
    """``media.create``: media IDs given out before their content comes, of each user."""

    expire_after_ms: int
    max_pending: int


class RemoteConfig(Struct, frozen=True):
    """``media.remote``: copies of other servers' files; None: for ever, and any amount."""

    keep_ms: int | None
    max_bytes: int | None


class MediaConfig(Struct, frozen=True):
    """``media``; ``directory``: in ``data_dir``; ``quota_bytes``, ``max_files`` None: no limit."""

    directory: Path
    max_upload_bytes: int
    unauthenticated_downloads: bool
    delete_redacted_after_ms: int
    encryption_at_rest: bool
    encryption_key_file: Path
    quota_bytes: int | None
    max_files: int | None
    limits_info_uri: str | None
    limit_app_services: bool
    uploads: UploadsConfig
    create: CreateConfig
    remote: RemoteConfig
    storage: str
    s3: S3Config


def media_config(
    values: dict[str, Any], key_file: Path | None, data_dir: Path, base: Path
) -> MediaConfig:
    """The section, as the schema has checked it; ``base``: what relative paths are relative to."""
    values = {
        **values,
        "directory": data_dir / DIRECTORY,
        "encryption_key_file": key_file or data_dir / MEDIA_KEYS,
        "uploads": UploadsConfig(**in_ms(values["uploads"], "expire_after")),
        "create": CreateConfig(**in_ms(values["create"], "expire_after")),
        "remote": RemoteConfig(**in_ms(values["remote"], "keep")),
        "s3": s3_config(values["s3"], base),
    }
    return MediaConfig(**in_ms(values, "delete_redacted_after"))
