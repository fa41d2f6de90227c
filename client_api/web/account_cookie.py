"""The cookie by which a browser is known at the account pages; and how our cookies are called."""

from __future__ import annotations

from aiohttp import web

from homeserver.app_keys import CONFIG
from homeserver.services.oauth.browsers import MAX_COOKIE_LENGTH
from homeserver.services.sessions import hash_token

NAME = "comity_account"


def is_secure(request: web.Request) -> bool:
    """Whether browsers reach us by TLS."""
    return request.app[CONFIG].public_base_url.startswith("https:")


def guarded(request: web.Request, name: str) -> str:
    """A cookie's name; with TLS one that no other host, and no page without TLS, can set.

    Its path has to be ``/`` then.
    """
    return f"__Host-{name}" if is_secure(request) else name


def name(request: web.Request) -> str:
    """What the cookie is called."""
    return guarded(request, NAME)


def read(request: web.Request) -> str | None:
    """The browser's cookie, if it has one that can be ours."""
    cookie = request.cookies.get(name(request))
    return cookie if cookie and len(cookie) <= MAX_COOKIE_LENGTH else None


def read_hash(request: web.Request) -> bytes | None:
    """What is stored of the browser's cookie, if it has one."""
    cookie = read(request)
    return hash_token(cookie) if cookie is not None else None
