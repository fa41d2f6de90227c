"""What a person would read of an event: words, links, people who are named.

What is encrypted is not read.  Everything here is linear in the event's size.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from homeserver.protocol.character_references import unescape

ENCRYPTED = "m.room.encrypted"
# Where clients show text, at any depth: edits have m.new_content, polls and topics lists of bodies.
TEXT_FIELDS = frozenset(
    (
        "body",
        "name",
        "topic",
        "displayname",
        "reason",
        "filename",
        "alias",
        "org.matrix.msc1767.text",
    )
)
MARKUP = "formatted_body"
NESTED = (dict, list)
MAY_MENTION = frozenset({"m.mentions", "m.new_content"})
NONE: frozenset[str] = frozenset()
MAX_DEPTH = 12
LONGEST_HOST = 253  # characters

_WORDS = re.compile(r"\w+")
_ASCII_WORDS = bytes(
    ord(chr(c).lower()) if chr(c).isalnum() or chr(c) == "_" else 32 for c in range(128)
).ljust(256)
_TAGS_THAT_BREAK = re.compile(
    r"<(?:/?(?:p|div|li|ul|ol|h[1-6]|tr|td|th|table|blockquote|pre|details|summary|hr)|br)\b[^<>]*>",
    re.IGNORECASE,
)
_TAGS = re.compile(r"<[^<>]*>")
_HREFS = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_URLS = re.compile(r"\b(?:https?://|www\.)[^\s<>\"']+", re.IGNORECASE)
_BARE_HOSTS = re.compile(r"(?<![\w@:/.%-])[\w-]+(?:\.[\w-]+)+")
_DOTTED = re.compile(r"\.\w")
_AUTHORITY = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?(?://)?(?:[^/?#@]*@)?([^/?#:]+)", re.IGNORECASE)
_USER_IDS = re.compile(r"@[a-z0-9._=/+-]+:[\w.\[\]:-]*\w", re.IGNORECASE)
_USER_LINK = re.compile(r"(?:matrix\.to/#/(?:@|%40)|^matrix:u/)([^/?]+)", re.IGNORECASE)
# Drawn with no width or not at all, so put between letters to hide a word.
_INVISIBLE = dict.fromkeys((0xAD, 0x34F, 0x61C, 0x180E, *range(0x200B, 0x2010), 0x2060, 0xFEFF))
_OTHER_DOTS = dict.fromkeys((0x3002, 0xFF0E, 0xFF61), ".")


def text_parts(content: dict[str, Any]) -> tuple[str, list[str]]:
    """All that is shown as text, a line each, and the targets of the markup's links."""
    lines: list[str] = []
    hrefs: list[str] = []
    waiting: list[tuple[Any, int]] = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        for key, inner in value.items() if type(value) is dict else (("", v) for v in value):
            if type(inner) is str:
                if key in TEXT_FIELDS:
                    lines.append(inner)
                elif key == MARKUP:
                    text, targets = _from_markup(inner)
                    lines.append(text)
                    hrefs.extend(targets)
            elif type(inner) in NESTED and depth < MAX_DEPTH:
                waiting.append((inner, depth + 1))
    return lines[0] if len(lines) == 1 else "\n".join(lines), hrefs


def _from_markup(markup: str) -> tuple[str, list[str]]:
    """HTML as text; letters on both sides of ``<b>`` are one word, those around ``<p>`` are not."""
    if "<" not in markup:
        return unescape(markup), []
    hrefs = [unescape(one or other) for one, other in _HREFS.findall(markup)]
    return unescape(_TAGS.sub("", _TAGS_THAT_BREAK.sub("\n", markup))), hrefs


# ---------------------------------------------------------------- words


def fold(text: str) -> str:
    """A text for comparing: compatible characters made equal, case and invisible ones dropped."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", text).translate(_INVISIBLE)
    return unicodedata.normalize("NFKC", plain.casefold())


def words_of(folded: str) -> frozenset[str]:
    """The runs of letters, digits and underscores in a folded text.  ASCII it folds by itself."""
    if folded.isascii():  # three times as fast as the pattern
        return frozenset(folded.encode().translate(_ASCII_WORDS).decode().split())
    return frozenset(_WORDS.findall(folded))


def has_phrase(folded: str, phrase: str) -> bool:
    """Whether a text has a phrase that does not begin or end within a word; both folded."""
    start = folded.find(phrase)
    while start >= 0:
        end = start + len(phrase)
        before, after = folded[start - 1 : start], folded[end : end + 1]
        if not (_in_word(before) or _in_word(after) or _is_mark(phrase[0])):
            return True
        start = folded.find(phrase, start + 1)
    return False


def _in_word(character: str) -> bool:
    """Whether a character is part of the word beside it."""
    return character.isalnum() or character == "_" or _is_mark(character)


def _is_mark(character: str) -> bool:
    """Whether a character is an accent or vowel sign of the one before it."""
    return character != "" and unicodedata.category(character)[0] == "M"


def one_spaced(folded: str) -> str:
    """A text with each run of white space as one space."""
    return " ".join(folded.split())


# ---------------------------------------------------------------- links


def is_plain(text: str) -> bool:
    """Whether a text certainly has no link, no domain and names no user: most have none."""
    return (
        text.isascii()
        and "@" not in text
        and "://" not in text
        and ("." not in text or not (_DOTTED.search(text) or "www." in text.lower()))
    )


def links_of(text: str, hrefs: Sequence[str]) -> frozenset[str]:
    """The distinct addresses that a reader could follow, links to users aside."""
    may_have_urls = "://" in text or ("." in text and "www." in text.lower())
    if not (may_have_urls or hrefs):
        return NONE
    found: set[str] = set(_URLS.findall(text)) if may_have_urls else set()
    found.update(href for href in hrefs if ":" in href)
    return frozenset(link for link in found if not _USER_LINK.search(link))


def hosts_of(text: str, links: frozenset[str]) -> frozenset[str]:
    """The hosts of links, and what looks like a host in the text; normalised."""
    text = text if text.isascii() else fold(text.translate(_OTHER_DOTS))
    is_dotted = "." in text and _DOTTED.search(text) is not None
    if not (links or is_dotted):
        return NONE
    names = {match[1] for link in links if (match := _AUTHORITY.match(link))}
    if is_dotted:
        names.update(_BARE_HOSTS.findall(text))
    return frozenset(
        normal_host(name) for name in names if "." in name and len(name) <= LONGEST_HOST
    )


def normal_host(name: str) -> str:
    """A host name in the form in which two spellings of it are equal: lower case, punycode."""
    name = name.lower().strip(".")
    if name.isascii():
        return name
    name = fold(name.translate(_OTHER_DOTS))
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return name


def domains_of(hosts: frozenset[str]) -> frozenset[str]:
    """The hosts and all domains above them, the last label aside."""
    found: set[str] = set()
    for host in hosts:
        labels = host.split(".")
        found.update(".".join(labels[start:]) for start in range(len(labels) - 1))
    return frozenset(found)


# ---------------------------------------------------------------- people


def mentions_of(content: dict[str, Any], text: str, hrefs: Sequence[str]) -> frozenset[str]:
    """Who is mentioned: by ``m.mentions``, by user ID or by a link; ``@room`` is one more."""
    if not (hrefs or "@" in text or "matrix.to" in text or not MAY_MENTION.isdisjoint(content)):
        return NONE
    found: set[str] = set()
    for holder in (content, content.get("m.new_content")):
        mentions = holder.get("m.mentions") if isinstance(holder, dict) else None
        if isinstance(mentions, dict):
            user_ids = mentions.get("user_ids")
            if isinstance(user_ids, list):
                found.update(user_id for user_id in user_ids if isinstance(user_id, str))
            if mentions.get("room") is True:
                found.add("@room")
    if "@" in text:
        found.update(_USER_IDS.findall(text))
    for link in (*hrefs, *(_URLS.findall(text) if "matrix.to" in text else ())):
        match = _USER_LINK.search(link)
        if match:
            user = match[1].replace("%40", "@").replace("%3A", ":").replace("%3a", ":")
            found.add(user if user.startswith("@") else f"@{user}")
    return frozenset(found)
