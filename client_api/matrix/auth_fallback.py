"""The page on which a stage is completed by clients that do not know it.

Spec: client-server API, user-interactive authentication, fallback.
"""

from __future__ import annotations

import html

from aiohttp import web

from client_api.matrix import email_fallback
from client_api.routing import ClientRoutes
from client_api.web import oauth_cookie, plain_page
from homeserver.app_keys import (
    CONFIG,
    INTERACTIVE_AUTH,
    OIDC_LOGINS,
    PROOFS,
    RATE_LIMITS,
    THIRD_PARTY_IDS,
)
from homeserver.app_keys import TERMS as TERMS_KEY
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, MatrixError, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.services.interactive_auth import (
    DUMMY,
    EMAIL_IDENTITY,
    PASSWORD,
    REGISTRATION_TOKEN,
    TERMS,
)
from homeserver.services.sign_in.proofs import SSO

routes = ClientRoutes()

PATH = "/auth/{auth_type}/fallback/web"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - {server}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 28rem; margin: 3rem auto;
    padding: 0 1rem; }}
input:not([type=checkbox]), button, label[for] {{ display: block; font: inherit; }}
input:not([type=checkbox]) {{ inline-size: 100%; box-sizing: border-box;
    margin-block-end: 1rem; padding: .4rem; }}
button {{ padding: .6rem 1.2rem; cursor: pointer; }}
</style>
<main>
<h1>{title}</h1>
{content}
</main>
</html>
"""
FORM = '<form method="post">{error}{fields}<button>Continue</button></form>'
ERROR = '<p role="alert">{text}</p>'
# The script is the spec's, word for word.
DONE = """<p>You may close this window and return to your client.</p>
<script>
if (window.onAuthDone) {
    window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
    window.opener.postMessage("authDone", "*");
}
</script>"""
FIELDS = {
    DUMMY: "<p>Nothing more is asked of you.</p>",
    REGISTRATION_TOKEN: (
        '<label for="token">The registration token you were given</label>'
        '<input id="token" name="token" required maxlength="64" autocomplete="off">'
    ),
    PASSWORD: (
        '<label for="user">Your user name</label>'
        '<input id="user" name="user" required autocomplete="username">'
        '<label for="password">Your password</label>'
        '<input id="password" name="password" type="password" required '
        'autocomplete="current-password">'
    ),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _page(request: web.Request, content: str, status: int = 200) -> web.Response:
    text = PAGE.format(
        title="Confirm that it is you",
        server=html.escape(request.app[CONFIG].server_name),
        content=content,
    )
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


def done_page(request: web.Request) -> web.Response:
    """The page that tells the client that a stage is completed."""
    return _page(request, DONE)


def _stage(request: web.Request) -> str:
    stage = request.match_info["auth_type"]
    known = stage in FIELDS or stage == TERMS
    if stage == EMAIL_IDENTITY:
        known = request.app[THIRD_PARTY_IDS].enabled
    if not known:
        raise NotFound("This server does not know that kind of authentication")
    return stage


def _form(
    request: web.Request,
    stage: str,
    error: MatrixError | None = None,
    fields: str | None = None,
) -> web.Response:
    if fields is not None:
        pass
    elif stage == EMAIL_IDENTITY:
        fields = email_fallback.ASK
    elif stage == TERMS:
        fields = plain_page.tick_boxes(request, request.app[TERMS_KEY].documents)
    else:
        fields = FIELDS[stage]
    notice = ERROR.format(text=html.escape(error.text)) if error is not None else ""
    status = error.status if error is not None else 200
    return _page(request, FORM.format(error=notice, fields=fields), status)


@routes.get(PATH)
async def show_auth_fallback(request: web.Request) -> web.Response:
    """Ask for what the stage needs."""
    if request.match_info["auth_type"] == SSO:
        return await _redirect_to_provider(request)
    stage = _stage(request)
    session_id = request.query.get("session", "")
    try:
        await request.app[INTERACTIVE_AUTH].get_session_for(session_id, stage)
    except Forbidden as error:
        return _page(request, ERROR.format(text=html.escape(error.text)), error.status)
    return _form(request, stage)


async def _redirect_to_provider(request: web.Request) -> web.Response:
    """Have the provider confirm it.  Spec: SSO during user-interactive authentication."""
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    session_id = request.query.get("session", "")
    session = await request.app[INTERACTIVE_AUTH].get_session(session_id)
    provider_id = await request.app[PROOFS].provider_of(session.user_id or "")
    if provider_id is None:
        raise NotFound("This user has no provider that could confirm it")
    to = request.app[OIDC_LOGINS].here()
    beginning = await request.app[OIDC_LOGINS].begin(
        provider_id, to, browser=oauth_cookie.read(request), uia_session=session_id
    )
    return oauth_cookie.redirect(request, beginning)


@routes.post(PATH)
async def complete_auth_fallback(request: web.Request) -> web.Response:
    """Check it, and have the page tell the client that the stage is completed."""
    stage = _stage(request)
    if stage == EMAIL_IDENTITY:
        return await _complete_by_mail(request)
    request.app[RATE_LIMITS].check("login", caller_key(request))
    auth: JsonObject = {**await plain_page.form_fields(request)}
    try:
        if stage == TERMS:
            request.app[TERMS_KEY].check_ticked(await plain_page.ticked_boxes(request))
        await request.app[INTERACTIVE_AUTH].complete(request.query.get("session", ""), stage, auth)
    except MatrixError as error:
        return _form(request, stage, error)
    return done_page(request)


async def _complete_by_mail(request: web.Request) -> web.Response:
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    fields = await plain_page.form_fields(request)
    try:
        following = await email_fallback.take(request, request.query.get("session", ""), fields)
    except MatrixError as error:
        again = email_fallback.fields_after(error, fields)
        return _form(request, EMAIL_IDENTITY, error, again)
    if following is None:
        return done_page(request)
    return _form(request, EMAIL_IDENTITY, fields=following)
