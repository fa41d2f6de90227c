"""Logging in at an OpenID Connect provider, in a browser."""

from __future__ import annotations

import html

from aiohttp import hdrs, web

from client_api.conversations.api import Api, Call
from client_api.matrix.auth_fallback import done_page
from client_api.web import oauth_cookie, plain_page
from homeserver.app_keys import INTERACTIVE_AUTH, OIDC_LOGINS, RATE_LIMITS, SESSIONS
from homeserver.callers import caller_key
from homeserver.errors import InvalidParam, MatrixError
from homeserver.services.sign_in.oidc import Finished, LoginFailed
from homeserver.services.sign_in.proofs import SSO

api = Api("Providers", "Logging in with an account elsewhere, in a browser.")

PARAMETER = "login_token"
HTML = "text/html"
CONTINUE = (
    "<p>You have logged in. This sends your login on to <strong>{host}</strong>, which can then "
    "use your account. Go on only if you have just come from there.</p>"
    '<p><a class="button" href="{url}" rel="noreferrer">Continue to {host}</a></p>'
)


@api.raw("GET", "/sessions/oauth/{provider}", scope=None, media_type=HTML)
async def begin_oauth(call: Call) -> web.StreamResponse:
    """Log in at a provider: send the browser here.

    Query: `redirect_url`, an address of the application's that the instance's admin has listed
    (`sso_redirect_urls`), and `state`, which comes back unchanged. After the login the browser goes
    there with a `login_token`, good once and for two minutes: `POST /sessions` changes it for a
    session. If the login fails, with `error` and `error_description`.
    """
    request = call.request
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    logins = request.app[OIDC_LOGINS]
    to = logins.parse_return(
        request.query.get("redirect_url", ""), PARAMETER, state=request.query.get("state")
    )
    if not to.trusted:
        raise InvalidParam("'redirect_url' is none that the admin of this instance has listed")
    beginning = await logins.begin(call.path("provider"), to, browser=oauth_cookie.read(request))
    return oauth_cookie.redirect(request, beginning)


@api.raw("GET", "/sessions/oauth/{provider}/callback", scope=None, media_type=HTML)
async def finish_oauth(call: Call) -> web.StreamResponse:
    """Take the provider's answer: this is where providers send the browser back to."""
    request = call.request
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    try:
        finished = await request.app[OIDC_LOGINS].finish(
            call.path("provider"), request.query, browser=oauth_cookie.read(request)
        )
        if finished.uia_session is not None:
            return await _confirm(request, finished, finished.uia_session)
        return await _go_on(request, finished)
    except LoginFailed as error:
        if error.to is not None and error.to.trusted and error.to.parameter == PARAMETER:
            return _found(error.to.address(error="access_denied", error_description=error.text))
        return _failed(request, error)
    except MatrixError as error:
        return _failed(request, error)


async def _go_on(request: web.Request, finished: Finished) -> web.StreamResponse:
    token, _ = await request.app[SESSIONS].new_login_token(
        finished.user_id, authenticated_at=finished.authenticated_at
    )
    to = finished.to
    address = to.address(**{to.parameter: token})
    if to.trusted:
        return _found(address)
    text = CONTINUE.format(host=html.escape(_place(to.url)), url=html.escape(address))
    return plain_page.page(request, "Continue", text)


async def _confirm(request: web.Request, finished: Finished, session_id: str) -> web.Response:
    auth = request.app[INTERACTIVE_AUTH]
    session = await auth.get_session(session_id)
    if session.user_id != finished.user_id:
        raise LoginFailed("You have logged in as somebody else than who is to be confirmed")
    await auth.note(session_id, SSO, finished.user_id)
    return done_page(request)


def _place(url: str) -> str:
    """What a person is told of an address: its host, or an application's scheme."""
    scheme, _, rest = url.partition(":")
    host = rest[2:].partition("/")[0].partition("?")[0] if rest.startswith("//") else ""
    return host.rpartition("@")[2] or f"the application “{scheme}”"


def _found(address: str) -> web.Response:
    headers = {
        hdrs.LOCATION: address,
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.REFERRER_POLICY: "no-referrer",
    }
    return web.Response(status=302, headers=headers)


def _failed(request: web.Request, error: MatrixError) -> web.Response:
    return plain_page.page(
        request, "That did not work", plain_page.alert(error.text), status=error.status
    )
