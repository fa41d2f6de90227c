"""Where media lies, and the keys with which it is sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from homeserver.config import Config, ConfigError
from homeserver.services.media_blobs import SUFFIX
from homeserver.services.media_files import MediaFiles
from homeserver.services.media_stores import MediaStore, StorageUnavailable
from homeserver.services.sealing.keys import KeyFile
from homeserver.wiring.media_storage import media_store

if TYPE_CHECKING:
    from pathlib import Path

logger = structlog.get_logger(__name__)


def media_files(config: Config) -> MediaFiles:
    """The directory of media; the first key is made at the first start.

    Raises :class:`~homeserver.config.ConfigError` where there are sealed files and no keys: a new
    key would only hide that the old ones are lost.
    """
    root = config.media.directory
    keys = KeyFile(config.media.encryption_key_file)
    seal = config.media.encryption_at_rest
    store = media_store(config)
    try:
        if not keys.path.exists():
            _check_nothing_is_lost(keys, root, store if seal else None)
        if seal and keys.prepare():
            logger.info("made a key for the encryption of media", path=str(keys.path))
    except (OSError, ValueError) as error:
        raise ConfigError([f"media.encryption_key_file: {error}"]) from error
    return MediaFiles(root, keys, seal=seal, store=store)


def _check_nothing_is_lost(keys: KeyFile, root: Path, store: MediaStore | None) -> None:
    """``store``: where files are kept, if a new key would be made."""
    lost = next(root.rglob(f"*{SUFFIX}"), None) is not None
    try:
        lost = lost or (store is not None and store.has_any(SUFFIX))
    except StorageUnavailable as error:
        raise ConfigError(
            [
                f"media.encryption_key_file: {keys.path} is missing; bring it back, or, if this "
                "instance is new, see that the bucket of media.s3 can be used, since no key is "
                f"made before it is known to be empty: {error.reason}"
            ]
        ) from error
    if lost:
        raise ConfigError(
            [
                f"media.encryption_key_file: {keys.path} is missing, and there is media that "
                "is encrypted; bring the file back from a backup, or give it up with "
                "'comity media new-key'"
            ]
        )
