"""Which media an event's content refers to.  Spec: client-server API, Matrix Content (mxc) URIs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from homeserver.protocol.character_references import unescape

SCHEME = "mxc://"
MAX_URI = 1_000
LISTED = "dev.comity.media"
MOST_LISTED = 20
MARKUP = "formatted_body"
TEXTS = ("body", MARKUP)
# What of a content may name media, besides a text.
NAMING = frozenset({LISTED, "m.new_content", "url", "file", "info", MARKUP, "images"})
MOST_INLINE = 100  # of each text
MOST_IN_PACK = 1_000
_IN_TEXT = re.compile(r"""mxc://[^\s/"'<>()&]{1,255}/[A-Za-z0-9_-]{1,255}""")


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
    """The media to which an event of any type but ``m.room.member`` refers, each once.

    That is a file and its thumbnail; images and links in the text (custom emoticons are such
    images, spoilers may be such links); an edit's; the images of a pack, and the pack's own.  How
    many each event can have is bounded.

    An encrypted message may name its media beside the ciphertext, so that it can be deleted with
    the message: ``dev.comity.media``, a list of URIs.
    """
    if NAMING.isdisjoint(content) and SCHEME not in str(content.get("body")):
        return []  # as most messages
    found = (parse_media_uri(text) for text in _texts(content))
    return list(dict.fromkeys(uri for uri in found if uri is not None))


def _texts(content: Mapping[str, Any]) -> Iterator[object]:
    listed = content.get(LISTED)
    if isinstance(listed, list):
        yield from listed[:MOST_LISTED]
    for part in (content, content.get("m.new_content")):
        if isinstance(part, dict):
            yield from _files(part)
            yield from _inline(part)
    if "images" in content:
        yield from _pack(content)


def _files(part: Mapping[str, Any]) -> Iterator[object]:
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


def _inline(part: Mapping[str, Any]) -> Iterator[str]:
    """Spec: ``m.room.message`` msgtypes (``img``), spoiler messages, sending custom emotes."""
    for key in TEXTS:
        text = part.get(key)
        if isinstance(text, str):
            text = unescape(text) if key == MARKUP else text
            if SCHEME in text:
                yield from (found[0] for found in islice(_IN_TEXT.finditer(text), MOST_INLINE))


def _pack(content: Mapping[str, Any]) -> Iterator[object]:
    """Spec: ``m.room.image_pack``."""
    images, pack = content["images"], content.get("pack")
    if isinstance(images, dict):
        for image in islice(images.values(), MOST_IN_PACK):
            if isinstance(image, dict):
                yield from _files(image)
    if isinstance(pack, dict):
        yield pack.get("avatar_url")
