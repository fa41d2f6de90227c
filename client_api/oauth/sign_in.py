"""Signing in to the account pages: with a password, or at a provider; and out again."""

from __future__ import annotations

import html
from urllib.parse import urlencode

from aiohttp import web

from client_api.auth import origin
from client_api.oauth import visits
from client_api.oauth.endpoints import can_sign_up
from client_api.oauth.visits import Visit
from client_api.web import oauth_cookie, plain_page
from homeserver.app_keys import (
    ACCOUNT_STANDING,
    BROWSERS,
    CONFIG,
    OIDC_LOGINS,
    PASSWORD_LOGIN,
    RATE_LIMITS,
    SESSIONS,
    THIRD_PARTY_IDS,
)
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, LimitExceeded, MatrixError, UserLocked
from homeserver.protocol.identifiers import UserId
from homeserver.services.oauth.metadata import ACCOUNT, LINK
from homeserver.services.sign_in.oidc import Return
from homeserver.services.usernames import identified_address

routes = web.RouteTableDef()

SIGN_OUT, RECOVER = visits.path_of("sign-out"), visits.path_of("recover")
PROVIDER, RETURN = visits.path_of("provider") + "/{provider}", visits.path_of("provider-return")
TOKEN_PARAMETER = "loginToken"
# Pages that ask whether a client may; for them it is enough to be logged in at a provider.
ASKING = (f"{visits.path_of('authorize')}/", LINK)
TITLE = "Sign in"
MAX_USER_LENGTH = 300
FORM = """{notice}
<p>{lead} <strong>{server}</strong>.</p>
<form method="post">
{token}
<div class="field">
<label for="user">{user_label}</label>
<input id="user" name="user" value="{user}" required maxlength="{longest}" autocomplete="username"
  autocapitalize="none" spellcheck="false">
</div>
<div class="field">
<label for="password">Password</label>
<input id="password" name="password" type="password" required maxlength="1000"
  autocomplete="current-password">
</div>
<button>Sign in</button>
</form>"""
LEAD = "With your account on"
LEAD_AGAIN = "Please prove again who you are, or use another account on"
PROVIDERS = "<h2>Or by another service</h2>\n{links}"
PROVIDER_LINK = '<p><a class="button" href="{url}">Sign in with {name}</a></p>'
FORGOTTEN = '<p class="quiet"><a href="{url}">I have forgotten my password</a></p>'
SIGN_UP = '<p class="quiet">No account yet? <a href="{url}">Make one</a></p>'


def _form(
    visit: Visit, then: str, user: str = "", error: MatrixError | None = None
) -> web.Response:
    request = visit.request
    mail = request.app[THIRD_PARTY_IDS].enabled
    parts = [
        FORM.format(
            notice=plain_page.alert(error.text) if error is not None else "",
            lead=LEAD if visit.session is None else LEAD_AGAIN,
            server=html.escape(request.app[CONFIG].server_name),
            token=visit.form_token(),
            user_label="User name or e-mail address" if mail else "User name",
            user=html.escape(user),
            longest=MAX_USER_LENGTH,
        )
    ]
    if mail:
        parts.append(FORGOTTEN.format(url=html.escape(visits.with_then(RECOVER, then))))
    links = [
        PROVIDER_LINK.format(
            url=html.escape(visits.with_then(PROVIDER.format(provider=provider_id), then)),
            name=html.escape(provider.settings.name),
        )
        for provider_id, provider in request.app[OIDC_LOGINS].providers.items()
    ]
    if links:
        parts.append(PROVIDERS.format(links="\n".join(links)))
    if can_sign_up(request):
        parts.append(SIGN_UP.format(url=html.escape(visits.with_then(visits.SIGN_UP, then))))
    status = error.status if error is not None else 200
    return visits.page(visit, TITLE, "\n".join(parts), status=status)


@routes.get(visits.SIGN_IN)
@visits.pages
async def show_sign_in(request: web.Request) -> web.StreamResponse:
    """Ask who it is."""
    visit = await visits.arrive(request)
    hinted = request.query.get("user", "")[:MAX_USER_LENGTH]
    user = visit.session.user_id if visit.session is not None and not hinted else hinted
    return _form(visit, visits.parse_then(request.query.get("then")), user)


@routes.post(visits.SIGN_IN)
@visits.pages
async def sign_in(request: web.Request) -> web.StreamResponse:
    """Check the password, and go on to where the browser was going."""
    visit = await visits.arrive(request)
    fields = await visits.read_form(visit)
    then = visits.parse_then(request.query.get("then"))
    name = fields.get("user", "").strip()
    try:
        request.app[RATE_LIMITS].check("login", caller_key(request))
        body = {"identifier": _identifier(name)}
        named = await request.app[THIRD_PARTY_IDS].identified(body)
        user_id = await request.app[PASSWORD_LOGIN].sign_in(
            named, fields.get("password", ""), address=identified_address(body)
        )
    except LimitExceeded:
        raise
    except MatrixError as error:
        return _form(visit, then, name, error)
    return await enter(visit, user_id, then)


def _identifier(name: str) -> dict[str, str]:
    """What somebody calls themselves: an e-mail address, or a user name in whatever spelling."""
    if "@" in name.lstrip("@"):
        return {"type": "m.id.thirdparty", "medium": "email", "address": name}
    return {"type": "m.id.user", "user": name}


async def enter(
    visit: Visit, user_id: UserId, then: str, *, authenticated_at: int | None = None
) -> web.Response:
    """Sign somebody in who has proved who they are: then (ms), or now.

    Raises: :class:`~homeserver.errors.UserLocked`.
    """
    if visit.request.app[ACCOUNT_STANDING].is_locked(user_id):
        raise UserLocked()
    cookie = await visit.request.app[BROWSERS].sign_in(
        user_id,
        None if visit.fresh else visit.cookie,
        origin(visit.request),
        authenticated_at=authenticated_at,
    )
    response = visits.go(then)
    visits.set_cookie(visit.request, response, cookie)
    return response


@routes.post(SIGN_OUT)
@visits.pages
async def sign_out(request: web.Request) -> web.StreamResponse:
    """Forget who it is."""
    visit = await visits.arrive(request)
    await visits.read_form(visit)
    await request.app[BROWSERS].sign_out(visit.cookie)
    return visits.go(visits.SIGN_IN)


# ---------------------------------------------------------------- at a provider


@routes.get(PROVIDER)
@visits.pages
async def begin_provider(request: web.Request) -> web.StreamResponse:
    """Send the browser to a provider; it comes back with a login token, for this browser only.

    Who is signed in, or goes on to what may be grave, has to prove there who they are.
    """
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    visit = await visits.arrive(request)
    then = visits.parse_then(request.query.get("then"))
    query = {
        "then": then,
        "browser": request.app[BROWSERS].form_token(visit.cookie),
    }
    base = request.app[CONFIG].public_base_url.rstrip("/")
    to = Return(f"{base}{RETURN}?{urlencode(query)}", TOKEN_PARAMETER, trusted=True)
    beginning = await request.app[OIDC_LOGINS].begin(
        request.match_info["provider"],
        to,
        browser=oauth_cookie.read(request),
        again=visit.session is not None or not (then == ACCOUNT or then.startswith(ASKING)),
    )
    response = oauth_cookie.redirect(request, beginning)
    if visit.fresh:
        visits.set_cookie(request, response, visit.cookie)
    return response


@routes.get(RETURN)
@visits.pages
async def finish_provider(request: web.Request) -> web.StreamResponse:
    """Sign in who comes back: a link with a login token of somebody else signs nobody in."""
    visit = await visits.arrive(request)
    cookie = None if visit.fresh else visit.cookie
    try:
        request.app[BROWSERS].check_form(cookie, request.query.get("browser", ""))
    except Forbidden as error:
        raise Forbidden("This sign-in was begun in another browser: begin again") from error
    login = await request.app[SESSIONS].take_login_token(request.query.get(TOKEN_PARAMETER, ""))
    then = visits.parse_then(request.query.get("then"))
    at = login.authenticated_at or 0  # where nobody knows, it is no proof
    return await enter(visit, UserId(login.user_id), then, authenticated_at=at)
