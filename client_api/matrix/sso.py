"""Logging in at a provider.  Spec: client-server API, SSO client login/authentication."""

from __future__ import annotations

import html

from aiohttp import web
from yarl import URL

from client_api.oauth import sso as account_pages
from client_api.routing import ClientRoutes
from client_api.web import oauth_cookie, plain_page
from homeserver.app_keys import CONFIG, OIDC_LOGINS, RATE_LIMITS
from homeserver.callers import caller_key
from homeserver.errors import MissingParam, NotFound
from homeserver.services.sign_in.oidc import Return

routes = ClientRoutes()

PATH = "/login/sso/redirect"
PARAMETER = "loginToken"
ACTION = ("action", "org.matrix.msc3824.action")


def _return(request: web.Request) -> Return:
    url = request.query.get("redirectUrl")
    if not url:
        raise MissingParam("'redirectUrl' is required")
    return request.app[OIDC_LOGINS].parse_return(url, PARAMETER)


@routes.get(PATH)
@plain_page.readable
async def redirect_to_sso(request: web.Request) -> web.StreamResponse:
    """Send the browser to the provider; where there are several, let the person choose.

    A client that knows of OAuth 2.0 says ``action``: it is sent to the account pages.
    """
    to, providers = _return(request), request.app[OIDC_LOGINS].providers
    action = next((request.query[name] for name in ACTION if name in request.query), None)
    if request.app[CONFIG].oauth.enabled and (action is not None or not providers):
        return account_pages.begin(to.url, register=action == "register")
    if not providers:
        raise NotFound("This server has no such way to log in")
    if len(providers) == 1:
        return await _redirect(request, next(iter(providers)), to)
    links = "\n".join(
        f'<p><a class="button" href="{html.escape(str(_link(request, provider_id)))}">'
        f"{html.escape(provider.settings.name)}</a></p>"
        for provider_id, provider in providers.items()
    )
    return plain_page.page(request, "Log in with", links)


def _link(request: web.Request, provider_id: str) -> URL:
    path = request.path.rstrip("/") + "/" + provider_id
    return URL.build(path=path, query={"redirectUrl": request.query["redirectUrl"]})


@routes.get(PATH + "/{idp_id}")
@plain_page.readable
async def redirect_to_idp(request: web.Request) -> web.StreamResponse:
    """Send the browser to a provider."""
    return await _redirect(request, request.match_info["idp_id"], _return(request))


async def _redirect(request: web.Request, provider_id: str, to: Return) -> web.StreamResponse:
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    beginning = await request.app[OIDC_LOGINS].begin(
        provider_id, to, browser=oauth_cookie.read(request)
    )
    return oauth_cookie.redirect(request, beginning)
