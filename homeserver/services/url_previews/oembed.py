"""What a page's site says of it in a document of its own: oEmbed, as JSON.  See oembed.com."""

from __future__ import annotations

from typing import Any

import orjson
from msgspec import Struct

from homeserver.services.url_previews.pages import MAX_VALUE, Page, parse_page

TYPE = "application/json+oembed"
MAX_BYTES = 256 * 1024
MAX_HTML = 65_536


class Embed(Struct, frozen=True):
    """What was found.  Nothing is checked yet, but for its size."""

    title: str = ""
    provider: str = ""
    text: str = ""
    picture: str = ""


def link_of(page: Page) -> str | None:
    """Where such a document is, if the page says so."""
    for relations, kind, reference in page.links:
        if "alternate" in relations and kind.partition(";")[0].strip() == TYPE:
            return reference
    return None


def parse_embed(content: bytes) -> Embed:
    """Read a document.  Never fails.  Blocks: call it in a thread."""
    try:
        document = orjson.loads(content)
    except ValueError:
        return Embed()
    if not isinstance(document, dict):
        return Embed()
    photo = _text(document, "url") if document.get("type") == "photo" else ""
    inner = parse_page(_text(document, "html", MAX_HTML))
    return Embed(
        title=_text(document, "title") or _text(document, "author_name"),
        provider=_text(document, "provider_name"),
        text=" ".join(inner.paragraphs),
        picture=photo or _text(document, "thumbnail_url"),
    )


def _text(document: dict[str, Any], key: str, most: int = MAX_VALUE) -> str:
    value = document.get(key)
    return value[:most] if isinstance(value, str) else ""
