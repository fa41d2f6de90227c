"""What a page says of itself, read in one pass that no page can make long.

libxml2 (through lxml) tells of tags and text as it goes along and builds no tree.  That takes time
in proportion to the page, for it is stopped where elements are nested deeper than any browser
shows: parsers that build the tree which HTML 5 prescribes take minutes for some pages of a
megabyte.  No entity is expanded but HTML's own, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

MAX_DEPTH = 400
MAX_STEPS = 250_000
CHUNK = 16_384
MAX_PROPERTIES = 100
MAX_VALUE = 4_096
MAX_IMAGES = 10
MAX_TITLE = 1_000
MAX_PARAGRAPHS = 20
MAX_PARAGRAPH = 1_000
LEAST_PARAGRAPH = 30
LEAST_IMAGE = 50  # pixels; what says that it is smaller decorates

_UNREAD = (
    "script style noscript template nav footer aside header form button select svg math iframe "
    "object canvas textarea option title"
)
_BLOCKS = (
    "address article blockquote body br dd div dl dt figcaption figure h1 h2 h3 h4 h5 h6 hr li "
    "main ol p pre section table td th tr ul"
)
UNREAD = frozenset(_UNREAD.split())
BLOCKS = frozenset(_BLOCKS.split())


class Page(Struct):
    """What was found.  Nothing is checked yet, but for its size."""

    properties: dict[str, str] = field(default_factory=dict)
    """``og:title`` and so on, ``twitter:title``, ``description``: the first of each name."""
    title: str = ""
    heading: str = ""
    base: str = ""
    links: list[tuple[frozenset[str], str, str]] = field(default_factory=list)
    """Their relations, types and references."""
    images: list[str] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)


class _Enough(Exception):
    """There is nothing to be found any more, or the page is not one to go on with."""


def parse_page(text: str) -> Page:
    """Read a page.  Never fails.  Blocks: call it in a thread."""
    from lxml import etree  # large, and only needed where previews are made

    reader = _Reader()
    parser = etree.HTMLParser(target=reader, encoding="utf-8", recover=True, no_network=True)
    # what is no character in XML either is none that anybody wants to read
    content = text.replace("\0", "\ufffd").encode("utf-8", "replace")
    try:
        for start in range(0, len(content), CHUNK):
            parser.feed(content[start : start + CHUNK])
        parser.close()
    except (_Enough, etree.LxmlError, ValueError):
        pass  # what was found until then is the page
    reader.finish()
    return reader.page


class _Reader:
    """Is told of a page's tags and text, one after the other."""

    def __init__(self) -> None:
        self.page = Page()
        self._open: list[str] = []
        self._unread = 0  # how many elements that are not to be read are open
        self._steps = 0
        self._title: list[str] | None = None
        self._title_length = 0
        self._text: list[str] = []
        self._text_length = 0

    # ------------------------------------------------------------ called by the parser

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """A tag begins."""
        self._step()
        if len(self._open) >= MAX_DEPTH:
            raise _Enough
        self._open.append(tag)
        if tag in BLOCKS:
            self._flush(tag)
        if tag == "title" and not self.page.title and "svg" not in self._open:
            self._title = []
        self._unread += tag in UNREAD
        if tag == "meta":
            self._meta(attributes)
        elif tag == "link":
            self._link(attributes)
        elif tag == "img":
            self._image(attributes)
        elif tag == "base" and not self.page.base:
            self.page.base = attributes.get("href", "")[:MAX_VALUE]
        elif tag == "body" and {"og:title", "og:image", "og:description"} <= set(
            self.page.properties
        ):
            raise _Enough

    def end(self, tag: str) -> None:
        """A tag ends."""
        self._step()
        if tag not in self._open:
            return
        if tag in BLOCKS:
            self._flush(tag)
        if tag == "title" and self._title is not None:
            self.page.title, self._title = "".join(self._title), None
        while True:
            closed = self._open.pop()
            self._unread -= closed in UNREAD
            if closed == tag:
                return

    def data(self, text: str) -> None:
        """Text between tags."""
        self._step()
        if self._title is not None:
            if self._title_length < MAX_TITLE:
                self._title.append(text[:MAX_TITLE])
                self._title_length += len(text)
        elif not self._unread and self._text_length < MAX_PARAGRAPH:
            self._text.append(text[:MAX_PARAGRAPH])
            self._text_length += len(text)

    def comment(self, text: str) -> None:
        """A comment."""
        self._step()

    def pi(self, target: str, data: str | None = None) -> None:
        """A processing instruction."""
        self._step()

    def close(self) -> None:
        """The page is at its end."""

    # ------------------------------------------------------------ what is made of it

    def finish(self) -> None:
        """Take what was begun."""
        if self._title is not None:
            self.page.title = "".join(self._title)
        self._flush("")

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _Enough

    def _flush(self, tag: str) -> None:
        """A block of text has ended."""
        if not self._text:
            return
        text = " ".join("".join(self._text).split())
        self._text.clear()
        self._text_length = 0
        if tag == "h1" and not self.page.heading:
            self.page.heading = text
        elif len(text) >= LEAST_PARAGRAPH and len(self.page.paragraphs) < MAX_PARAGRAPHS:
            self.page.paragraphs.append(text)

    def _meta(self, attributes: Mapping[str, str]) -> None:
        content = attributes.get("content", "")
        names = f"{attributes.get('property', '')} {attributes.get('name', '')} "
        for name in (names + attributes.get("itemprop", "")).lower().split()[:8]:
            known = self.page.properties
            if content and name not in known and len(name) <= 100 and len(known) < MAX_PROPERTIES:
                known[name] = content[:MAX_VALUE]

    def _link(self, attributes: Mapping[str, str]) -> None:
        relations = frozenset(attributes.get("rel", "").lower().split()[:8])
        reference = attributes.get("href", "")
        if relations and 0 < len(reference) <= MAX_VALUE and len(self.page.links) < MAX_PROPERTIES:
            self.page.links.append((relations, attributes.get("type", "").lower(), reference))

    def _image(self, attributes: Mapping[str, str]) -> None:
        source = attributes.get("src", "")
        small = any(
            attributes.get(side, "").strip().isdecimal()
            and int(attributes[side].strip()[:6]) < LEAST_IMAGE
            for side in ("width", "height")
        )
        wanted = not small and not self._unread and not source.startswith("data:")
        if wanted and 0 < len(source) <= MAX_VALUE and len(self.page.images) < MAX_IMAGES:
            self.page.images.append(source)
