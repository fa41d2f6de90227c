"""Where media lies, and the keys with which it is sealed."""

from __future__ import annotations

import structlog

from homeserver.config import Config, ConfigError
from homeserver.services.media_blobs import SUFFIX
from homeserver.services.media_files import MediaFiles
from homeserver.services.sealing.keys import KeyFile
from homeserver.wiring.media_storage import media_store

logger = structlog.get_logger(__name__)

MEDIA = "media"


def media_files(config: Config) -> MediaFiles:
    """The directory of media; the first key is made at the first start.

    Raises :class:`~homeserver.config.ConfigError` where there are sealed files and no keys: a new
    key would only hide that the old ones are lost.
    """
    root = config.data_dir / MEDIA
    keys = KeyFile(config.media.encryption_key_file)
    seal = config.media.encryption_at_rest
    try:
        if not keys.path.exists() and next(root.rglob(f"*{SUFFIX}"), None) is not None:
            raise ConfigError(
                [
                    f"media.encryption_key_file: {keys.path} is missing, and there is media that "
                    "is encrypted; bring the file back from a backup, or give it up with "
                    "'comity media new-key'"
                ]
            )
        if seal and keys.prepare():
            logger.info("made a key for the encryption of media", path=str(keys.path))
    except (OSError, ValueError) as error:
        raise ConfigError([f"media.encryption_key_file: {error}"]) from error
    return MediaFiles(root, keys, seal=seal, store=media_store(config, root))
