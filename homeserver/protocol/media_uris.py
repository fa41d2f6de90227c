"""Which media an event's content refers to.  Spec: client-server API, Matrix Content (mxc) URIs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

SCHEME = "mxc://"
MAX_URI = 1_000
LISTED = "dev.comity.media"
MOST_LISTED = 20


class MediaUri(NamedTuple):
    """``mxc://origin/media_id``."""

    origin: str
    media_id: str


def parse_media_uri(text: object) -> MediaUri | None:
    """An ``mxc://`` URI in its parts; None for what is none."""
    if not isinstance(text, str) or not text.startswith(SCHEME) or len(text) > MAX_URI:
        return None
    origin, slash, media_id = text[len(SCHEME) :].partition("/")
    if not origin or not slash or not media_id or "/" in media_id or "\0" in text:
        return None
    return MediaUri(origin, media_id)


def media_uris(content: Mapping[str, Any]) -> list[MediaUri]:
    """The media of a message: its file, its thumbnail, an edit's too; each once.

    An encrypted message may name its media beside the ciphertext, so that it can be deleted with
    the message: ``dev.comity.media``, a list of URIs.
    """
    found = (parse_media_uri(text) for text in _texts(content))
    return list(dict.fromkeys(uri for uri in found if uri is not None))


def _texts(content: Mapping[str, Any]) -> Iterator[object]:
    listed = content.get(LISTED)
    if isinstance(listed, list):
        yield from listed[:MOST_LISTED]
    for part in (content, content.get("m.new_content")):
        if not isinstance(part, dict):
            continue
        info = part.get("info")
        info = info if isinstance(info, dict) else {}
        for holder, plain, encrypted in (
            (part, "url", "file"),
            (info, "thumbnail_url", "thumbnail_file"),
        ):
            yield holder.get(plain)
            file = holder.get(encrypted)
            if isinstance(file, dict):
                yield file.get("url")
