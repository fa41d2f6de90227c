"""The cookie by which a browser is known that comes back from a provider."""

from __future__ import annotations

from aiohttp import hdrs, web

from client_api.web import account_cookie
from homeserver.services.sign_in.oidc import LIFETIME_MS, Beginning

NAME = "comity_oauth"
MAX_LENGTH = 100


def read(request: web.Request) -> str | None:
    """The browser's cookie, if it has one."""
    value = request.cookies.get(account_cookie.guarded(request, NAME))
    return value if value and len(value) <= MAX_LENGTH else None


def redirect(request: web.Request, beginning: Beginning) -> web.Response:
    """Send the browser to the provider, with the cookie for its way back."""
    response = web.Response(
        status=302,
        headers={
            hdrs.LOCATION: beginning.url,
            hdrs.CACHE_CONTROL: "no-store",
            hdrs.REFERRER_POLICY: "no-referrer",
        },
    )
    response.set_cookie(
        account_cookie.guarded(request, NAME),
        beginning.browser,
        max_age=LIFETIME_MS // 1000,
        path="/",
        secure=account_cookie.is_secure(request),
        httponly=True,
        samesite="Lax",
    )
    return response
