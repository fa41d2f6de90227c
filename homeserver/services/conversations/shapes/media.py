"""Files as messages, people and conversations name them.

A media ID is ``origin~name``: opaque to callers, and fit for a path.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from homeserver.errors import InvalidParam
from homeserver.protocol.media_uris import SCHEME, MediaUri, parse_media_uri
from homeserver.services.conversations.shapes.base import Sparse

PATH = "/api/v1/media/"
SEPARATOR = "~"


class Media(Sparse, frozen=True, kw_only=True):
    """A file.  ``encryption``: how to decrypt it, where its sender's device encrypted it."""

    id: str
    url: str
    thumbnail_url: str | None = None
    name: str | None = None
    mime_type: str | None = None
    size: int | None = None  # bytes
    width: int | None = None  # pixels
    height: int | None = None
    duration_ms: int | None = None
    waveform: list[int] | None = None  # of a voice message: loudness, 0..1024
    blurhash: str | None = None
    encryption: dict[str, Any] | None = None


def media_id(uri: object) -> str | None:
    """The ID of the media that an ``mxc://`` URI names; None for what is none."""
    parts = parse_media_uri(uri)
    return f"{parts.origin}{SEPARATOR}{parts.media_id}" if parts is not None else None


def media_url(identifier: str) -> str:
    """The path at which a medium is downloaded."""
    return _path(identifier) + "/content"


def thumbnail_url(identifier: str) -> str:
    """The path at which a thumbnail is."""
    return _path(identifier) + "/thumbnail"


def _path(identifier: str) -> str:
    return PATH + quote(identifier, safe="~:[]")


def parse_media_id(identifier: str, name: str = "media_id") -> MediaUri:
    """What a media ID names.  Raises :class:`InvalidParam`."""
    origin, _, rest = identifier.partition(SEPARATOR)
    parts = parse_media_uri(f"{SCHEME}{origin}/{rest}")
    if parts is None:
        raise InvalidParam(f"'{name}' is not the ID of a file")
    return parts


def media_uri(identifier: str, name: str = "media_id") -> str:
    """The ``mxc://`` URI of a media ID.  Raises :class:`InvalidParam`."""
    parts = parse_media_id(identifier, name)
    return f"{SCHEME}{parts.origin}/{parts.media_id}"
