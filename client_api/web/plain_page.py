"""The frame of pages that people reach by a link: quick, accessible, light or dark, no scripts."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Sequence

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError
from multidict import MultiDictProxy

from client_api.web.static_files import PAGE_HEADERS
from homeserver.app_keys import CONFIG
from homeserver.errors import InvalidParam, MatrixError
from homeserver.services.passwords import check_strength
from homeserver.services.terms import Document
from homeserver.web import Handler

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{title} - {server}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/_comity/me/page.css">
</head>
<body>
<main class="plain">
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
HEADERS = {**PAGE_HEADERS, hdrs.CACHE_CONTROL: "no-store"}
ALERT = '<p class="note bad" role="alert">{text}</p>'
STATUS = '<p class="note" role="status">{text}</p>'
NEW_PASSWORD_FIELDS = """<div class="field">
<label for="password">{label}</label>
<input id="password" name="password" type="password" required autocomplete="new-password">
</div>
<div class="field">
<label for="repeated">{label_again}</label>
<input id="repeated" name="repeated" type="password" required autocomplete="new-password">
</div>"""
LOG_OUT_BOX = """
<p class="tick"><label><input type="checkbox" name="log_out" value="yes"> Log out all my
devices</label></p>"""
# Of a form that makes an account; to be filled in: ``username`` and ``server``, both as HTML.
NEW_ACCOUNT_FIELDS = """<div class="field">
<label for="username">Choose a user name</label>
<input id="username" name="username" value="{username}" required maxlength="200"
  autocomplete="username" autocapitalize="none" spellcheck="false" aria-describedby="name-hint">
<p class="hint" id="name-hint">Small letters, digits and . _ = - / +. Others write to you at
@name:{server}. It cannot be changed later.</p>
</div>
""" + NEW_PASSWORD_FIELDS.format(label="Choose a password", label_again="The password once more")
TICK = (
    '<p class="tick"><label><input type="checkbox" name="accepted" value="{key}" required{ticked}>'
    ' I accept: <a href="{url}" target="_blank" rel="noopener noreferrer" lang="{lang}" '
    'hreflang="{lang}">{title}</a> (version {version}; opens in a new tab)</label></p>'
)
LANGUAGE = re.compile(r"\s*([a-zA-Z]{2,8}(?:-[a-zA-Z0-9]{1,8})*)\s*(?:;\s*q=([01](?:\.\d{0,3})?))?")
MOST_LANGUAGES = 20


def page(request: web.Request, title: str, content: str, *, status: int = 200) -> web.Response:
    """A page; ``content`` is HTML, ``title`` is text."""
    server = html.escape(request.app[CONFIG].server_name)
    text = FRAME.format(title=html.escape(title), server=server, content=content)
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


def alert(text: str) -> str:
    """A notice of what went wrong."""
    return ALERT.format(text=html.escape(text))


def check_new_password(password: str, repeated: str) -> None:
    """Refuse a new password that is not typed twice alike, or is not taken.

    Raises: :class:`InvalidParam`, :class:`~homeserver.services.passwords.WeakPassword`.
    """
    if password != repeated:
        raise InvalidParam("The two passwords are not the same")
    check_strength(password)


def readable(handler: Handler) -> Handler:
    """Let people read what is wrong: a page, where a client would get JSON."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except MatrixError as error:
            return page(request, "That did not work", alert(error.text), status=error.status)

    return wrapped


def languages(request: web.Request) -> list[str]:
    """The language tags that a browser asks for, the best first.  RFC 9110, section 12.5.4."""
    found = []
    for part in request.headers.get(hdrs.ACCEPT_LANGUAGE, "").split(",")[:MOST_LANGUAGES]:
        match = LANGUAGE.fullmatch(part)
        if match is not None and float(match[2] or 1) > 0:
            found.append((-float(match[2] or 1), match[1]))
    return [tag for _, tag in sorted(found, key=lambda item: item[0])]


def tick_boxes(
    request: web.Request, documents: Sequence[Document], ticked: Sequence[str] = ()
) -> str:
    """A box to tick for each document, with a link to it in the reader's language."""
    boxes = []
    for document in documents:
        tag, text = document.in_language(languages(request))
        boxes.append(
            TICK.format(
                key=html.escape(document.key),
                url=html.escape(text.url),
                lang=html.escape(tag),
                title=html.escape(text.title),
                version=html.escape(document.version),
                ticked=" checked" if document.key in ticked else "",
            )
        )
    return "\n".join(boxes)


async def _posted(request: web.Request) -> MultiDictProxy[str | bytes | bytearray | web.FileField]:
    """What a form says.  Raises :class:`InvalidParam` for what is none."""
    try:
        return await request.post()
    except (ValueError, AssertionError, HttpProcessingError) as error:
        raise InvalidParam("That is no form of this page") from error


async def form_fields(request: web.Request) -> dict[str, str]:
    """What a form says, files left out.  Raises :class:`InvalidParam` for what is no form."""
    return {key: value for key, value in (await _posted(request)).items() if isinstance(value, str)}


async def ticked_boxes(request: web.Request) -> list[str]:
    """Which boxes of :func:`tick_boxes` a form has ticked."""
    return [v for v in (await _posted(request)).getall("accepted", []) if isinstance(v, str)]
