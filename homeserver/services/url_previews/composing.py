"""From what a page says of itself to what clients are told: OpenGraph, bounded and cleaned.

Spec: client-server API, ``GET /media/preview_url``; https://ogp.me.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

from msgspec import Struct, field
from yarl import URL

from homeserver.services.url_previews.oembed import Embed
from homeserver.services.url_previews.pages import Page
from homeserver.services.url_previews.urls import UrlRules

Properties = dict[str, str | int]

MAX_SHORT = 300
MAX_LONG = 1_000
MAX_OTHERS = 20
MAX_PICTURES = 3
# Pictures are given out as media of this server: the page's own addresses of them would have
# clients show readers to the site.
REPLACED = ("og:image", "og:title", "og:description", "og:site_name")
KEPT = re.compile(r"(og|article|book|profile|music|video):[a-z][a-z0-9_:.-]{0,60}")
ADDRESS = re.compile(r"(og:url|og:see_also|.*:url|.*:secure_url|og:video|og:audio)")
ICONS = ("apple-touch-icon", "icon")
# Format characters that words and emoji need; others hide, or turn the direction of what follows.
JOINERS = frozenset("\u200c\u200d") | {chr(tag) for tag in range(0xE0020, 0xE0080)}
DROPPED = frozenset({"Cc", "Cf", "Cs", "Co"})


class Composed(Struct):
    """What clients are told, and which pictures may go with it, the best first."""

    properties: Properties = field(default_factory=dict)
    pictures: list[URL] = field(default_factory=list)


def compose_page(page: Page, url: URL, rules: UrlRules, embed: Embed | None = None) -> Composed:
    """What clients are told of a page.  ``url``: where it was found in the end."""
    base = rules.join(url, page.base) or url
    said, embed = page.properties, embed or Embed()
    properties: Properties = {}
    texts = {
        "og:title": [
            *(said.get(name, "") for name in ("og:title", "twitter:title")),
            *(embed.title, page.title, said.get("title", ""), page.heading),
        ],
        "og:description": [
            *(said.get(name, "") for name in ("og:description", "twitter:description")),
            *(said.get("description", ""), embed.text, " ".join(page.paragraphs[:3])),
        ],
        "og:site_name": [
            *(said.get(name, "") for name in ("og:site_name", "application-name")),
            embed.provider,
        ],
    }
    for name, candidates in texts.items():
        most = MAX_LONG if name == "og:description" else MAX_SHORT
        text = next((t for c in candidates if (t := clean(c, most))), "")
        if text:
            properties[name] = text
    properties.update(_others(page, base, rules))
    return Composed(properties, _pictures(page, base, rules, embed))


def compose_file(url: URL, content_type: str) -> Composed:
    """What clients are told of a file that is no page."""
    name = clean(unquote(url.raw_name), MAX_SHORT)
    properties: Properties = {"og:title": name} if name else {}
    kind = content_type.partition("/")[0]
    if kind in ("video", "audio"):
        properties |= {
            "og:type": "video.other" if kind == "video" else "music.song",
            f"og:{kind}": str(url),
            f"og:{kind}:type": clean(content_type, MAX_SHORT),
        }
    return Composed(properties)


def compose_text(url: URL, text: str) -> Composed:
    """What clients are told of a plain text."""
    composed = compose_file(url, "text/plain")
    beginning = clean(text[: MAX_LONG * 4], MAX_LONG)
    if beginning:
        composed.properties["og:description"] = beginning
    return composed


def clean(text: str, most: int) -> str:
    """A text in one line without control characters, cut at a word's end if it is too long."""
    kept = (
        " " if c.isspace() else c
        for c in text[: most * 4]
        if c.isspace() or c in JOINERS or unicodedata.category(c) not in DROPPED
    )
    text = " ".join("".join(kept).split())
    if len(text) <= most:
        return text
    head = text[: most - 1]
    whole, _, rest = head.rpartition(" ")
    return (whole if whole and len(rest) < 40 else head).rstrip(" ,;:-") + "…"


def _others(page: Page, base: URL, rules: UrlRules) -> Iterator[tuple[str, str]]:
    """The rest of what a page says in OpenGraph."""
    kept = [
        (name, value)
        for name, value in page.properties.items()
        if KEPT.fullmatch(name) and name not in REPLACED and not name.startswith("og:image:")
    ]
    for name, value in kept[:MAX_OTHERS]:
        if ADDRESS.fullmatch(name):
            address = rules.join(base, value)
            text = str(address) if address is not None else ""
        else:
            text = clean(value, MAX_SHORT)
        if text:
            yield name, text
    alternative = clean(page.properties.get("og:image:alt", ""), MAX_SHORT)
    if alternative:
        yield "og:image:alt", alternative


def _pictures(page: Page, base: URL, rules: UrlRules, embed: Embed) -> list[URL]:
    said = page.properties
    references = [
        said.get("og:image:secure_url"),
        said.get("og:image"),
        said.get("og:image:url"),
        said.get("twitter:image"),
        said.get("twitter:image:src"),
        embed.picture,
        *_linked(page, "image_src"),
        said.get("image"),
        *page.images[:1],
        *(icon for relation in ICONS for icon in _linked(page, relation)[:1]),
    ]
    found = dict.fromkeys(url for r in references if r and (url := rules.join(base, r)) is not None)
    return list(found)[:MAX_PICTURES]


def _linked(page: Page, relation: str) -> list[str]:
    return [reference for relations, _, reference in page.links if relation in relations]
