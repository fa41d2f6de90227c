"""HTML that may be shown anywhere: what the Matrix specification lets clients show, and no more.

Spec: client-server API, ``m.room.message`` msgtypes, the allowed tags and attributes.
"""

from __future__ import annotations

import html as entities
import re
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote

from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.conversations.shapes.people import address

if TYPE_CHECKING:
    from nh3 import Cleaner

TAGS = {
    *("del", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "p", "a", "ul", "ol", "sup", "sub"),
    *("li", "b", "i", "u", "strong", "em", "s", "code", "hr", "br", "div", "table", "thead"),
    *("tbody", "tr", "th", "td", "caption", "pre", "span", "details", "summary"),
}
ATTRIBUTES = {
    "a": {"href", "target"},
    "ol": {"start"},
    "code": {"class"},
    "span": {"data-mx-bg-color", "data-mx-color", "data-mx-spoiler"},
    "div": {"data-mx-maths"},
}
SCHEMES = {"https", "http", "ftp", "mailto", "magnet"}
GONE_WITH_CONTENT = {"script", "style", "mx-reply"}
MAX_HTML = 65_536
MOST_TAGS = 4_000  # cleaning costs their square, at worst
BLOCKS = frozenset(
    {"p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "table"}
)


def _attribute(tag: str, name: str, value: str) -> str | None:
    if tag == "code" and name == "class":
        classes = [part for part in value.split() if part.startswith("language-")]
        return " ".join(classes) or None
    return value


@cache
def _cleaner() -> Cleaner:
    import nh3  # large, and not needed before there is HTML

    return nh3.Cleaner(
        tags=TAGS,
        clean_content_tags=GONE_WITH_CONTENT,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer",
    )


def safe_html(html: str) -> str | None:
    """HTML without anything that could run, load or disguise itself; None if nothing is left."""
    if len(html) > MAX_HTML or html.count("<") > MOST_TAGS:
        return None
    return _cleaner().clean(html) or None


PERSON_LINK = re.compile(r'<a href="https://matrix\.to/#/(@[^"?]+)(?:\?[^"]*)?"[^>]*>')


def shown_html(html: str) -> str | None:
    """Safe HTML as the API gives it: links to people name their addresses."""
    clean = safe_html(html)
    if clean is None or "matrix.to/#/@" not in clean:
        return clean
    return PERSON_LINK.sub(_person_link, clean)


def _person_link(match: re.Match[str]) -> str:
    try:
        user_id = UserId.parse(unquote(entities.unescape(match[1])))
    except InvalidIdentifier:
        return "<a>"
    return f'<a data-person="{entities.escape(address(user_id))}">'


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.parts.append("\n")
        elif tag in BLOCKS:
            self._new_line()
        if tag == "li":
            self.parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self._new_line()
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def _new_line(self) -> None:
        if self.parts and not self.parts[-1].endswith(("\n", "- ")):
            self.parts.append("\n")


def text_of_html(html: str) -> str:
    """What clean HTML says, as plain text."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    return "".join(parser.parts).strip()


def escaped(text: str) -> str:
    """Plain text as HTML."""
    return entities.escape(text, quote=False).replace("\n", "<br>")
