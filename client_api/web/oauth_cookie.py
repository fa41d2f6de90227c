"""The cookie by which a browser is known that comes back from a provider."""

from __future__ import annotations

from aiohttp import hdrs, web

from client_api.web import account_cookie
from homeserver.services.sign_in.oidc import LIFETIME_MS, Beginning

NAME = "comity_oauth"


def read(request: web.Request) -> str | None:
    """The browser's cookie, if it has one."""
    return account_cookie.read(request, NAME)


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
    account_cookie.give(request, response, beginning.browser, lifetime_ms=LIFETIME_MS, name=NAME)
    return response
