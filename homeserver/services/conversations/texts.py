"""Texts of messages: plain, Markdown or HTML in; a body and safe HTML out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.safe_html import escaped, safe_html, text_of_html

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MAX_MARKDOWN = 10_000  # characters: parsing costs more than their number, at worst
MATRIX_TO = "https://matrix.to/#/"


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt  # large, and not needed before there is Markdown

    options = {"html": False, "breaks": True, "maxNesting": 20}
    return MarkdownIt("commonmark", options).enable(["table", "strikethrough"])


class WrittenText(NamedTuple):
    """What every client shows, and what those show that know formatting."""

    body: str
    html: str | None


class PlacedMention(NamedTuple):
    """A person named at a place of a text, in code points."""

    offset: int
    length: int
    user_id: str


def write(text: str, format: str, html: str | None) -> WrittenText:
    """A text in one of the formats; ``html`` beside a plain one.  Raises :class:`Problem`."""
    if format == "plain":
        if html is None:
            return WrittenText(text, None)
        clean = _clean(html)
        return WrittenText(text or text_of_html(clean), clean)
    if html is not None:
        raise _invalid("html", "'html' goes beside a plain 'text'")
    if format == "html":
        clean = _clean(text)
        return WrittenText(text_of_html(clean), clean)
    if len(text) > MAX_MARKDOWN:
        raise _invalid("text", f"Markdown may have {MAX_MARKDOWN} characters")
    return WrittenText(text, _of_markdown(text))


def _clean(html: str) -> str:
    clean = safe_html(html)
    if clean is None and html:
        raise _invalid("html", "There is nothing in that HTML that may be shown, or too much")
    return clean or ""


def _of_markdown(text: str) -> str | None:
    """Markdown as HTML; None where it formats nothing."""
    html = safe_html(_markdown().render(text).rstrip("\n"))
    if html is None:
        return None
    if html.startswith("<p>") and html.endswith("</p>") and html.count("<p>") == 1:
        html = html[3:-4]
    return html if "<" in html.replace("<br>\n", "") else None


def with_mentions(body: str, mentions: Sequence[PlacedMention]) -> str:
    """A plain text as HTML with links to those whom it names, as Matrix clients show them.

    Spec: client-server API, user and room mentions.  Mentions are in order, and do not overlap.
    """
    parts, end = [], 0
    for offset, length, user_id in mentions:
        named = body[offset : offset + length]
        parts.append(escaped(body[end:offset]))
        parts.append(f'<a href="{MATRIX_TO}{quote(user_id, safe="@:")}">{escaped(named)}</a>')
        end = offset + length
    parts.append(escaped(body[end:]))
    return "".join(parts)


def _invalid(field: str, detail: str) -> Problem:
    return Problem("invalid_body", detail, status=422, field=field)
