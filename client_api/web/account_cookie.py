"""Our cookies; above all the one by which a browser is known at the account pages."""

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


def read(request: web.Request, name: str = NAME) -> str | None:
    """The browser's cookie, if it has one that can be ours."""
    cookie = request.cookies.get(guarded(request, name))
    return cookie if cookie and len(cookie) <= MAX_COOKIE_LENGTH else None


def read_hash(request: web.Request) -> bytes | None:
    """What is stored of the browser's account cookie, if it has one."""
    cookie = read(request)
    return hash_token(cookie) if cookie is not None else None


def give(
    request: web.Request,
    response: web.StreamResponse,
    cookie: str,
    *,
    lifetime_ms: int,
    name: str = NAME,
    strict: bool = False,
) -> None:
    """Give a browser a cookie; ``strict``: it is for our own pages, not for links to them."""
    response.set_cookie(
        guarded(request, name),
        cookie,
        max_age=lifetime_ms // 1000,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="Strict" if strict else "Lax",
    )
