"""The page on which a stage is completed by clients that do not know it.

Spec: client-server API, user-interactive authentication, fallback.
"""

from __future__ import annotations

import html

from aiohttp import web

from client_api.matrix import email_fallback
from client_api.routing import ClientRoutes
from client_api.web import account_cookie, oauth_cookie, plain_page
from homeserver.app_keys import (
    BROWSERS,
    CONFIG,
    INTERACTIVE_AUTH,
    OIDC_LOGINS,
    PROOFS,
    RATE_LIMITS,
    THIRD_PARTY_IDS,
)
from homeserver.app_keys import TERMS as TERMS_KEY
from homeserver.callers import caller_key
from homeserver.errors import MatrixError, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.services.interactive_auth import (
    DUMMY,
    EMAIL_IDENTITY,
    PASSWORD,
    REGISTRATION_TOKEN,
    SESSION_LIFETIME_MS,
    TERMS,
)
from homeserver.services.oauth import approvals
from homeserver.services.oauth.browsers import new_cookie
from homeserver.services.oauth.metadata import ACCOUNT, CROSS_SIGNING_RESET
from homeserver.services.sessions import hash_token
from homeserver.services.sign_in.proofs import SSO
from homeserver.storage.uia import UiaSession

routes = ClientRoutes()

OAUTH_STAGES = (approvals.STAGE, approvals.OLDER_STAGE)

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
OPERATION = """<p>An application wants to do this with your account:</p>
<p><strong>{operation}</strong></p>
<p>Go on only if you have just asked for it there. Otherwise close this page.</p>
"""
CONFIRM = """{operation}
<form method="post">
<input type="hidden" name="form_token" value="{token}">
<button>Continue</button>
</form>"""
ON_ACCOUNT_PAGE = """<p>You confirm this on the page of your account. Open it, confirm it there, and
come back.</p>
<p><a href="{url}" target="_blank" rel="noopener noreferrer">Open the page of your account</a></p>
<form method="post"><button>I have confirmed it</button></form>"""
COOKIE = "comity_confirm"
POLICY = "Content-Security-Policy"
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


async def _form(
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
    content = await _named(request) + FORM.format(error=notice, fields=fields)
    return _page(request, content, status)


@routes.get(PATH)
@plain_page.readable
async def show_auth_fallback(request: web.Request) -> web.Response:
    """Ask for what the stage needs."""
    if request.match_info["auth_type"] == SSO:
        return await _ask_before_provider(request)
    if request.match_info["auth_type"] in OAUTH_STAGES:
        await request.app[INTERACTIVE_AUTH].get_session(request.query.get("session", ""))
        url = f"{ACCOUNT}?action={CROSS_SIGNING_RESET}"
        return _page(request, await _named(request) + ON_ACCOUNT_PAGE.format(url=url))
    stage = _stage(request)
    session_id = request.query.get("session", "")
    await request.app[INTERACTIVE_AUTH].get_session_for(session_id, stage)
    return await _form(request, stage)


def _operation(session: UiaSession) -> str:
    """What a user is about to confirm: whoever has their token could send them a link to this."""
    return OPERATION.format(operation=html.escape(" ".join(session.operation.split(" ")[:2])))


async def _named(request: web.Request) -> str:
    """The operation of somebody who is logged in; nothing for a newcomer, or without a session."""
    try:
        session = await request.app[INTERACTIVE_AUTH].get_session(request.query.get("session", ""))
    except NotFound:
        return ""
    return _operation(session) if session.user_id is not None else ""


async def _ask_before_provider(request: web.Request) -> web.Response:
    """Name what the provider is to confirm, and ask for a press of the button.

    The provider may ask nothing of who is signed in there: a link would be all it takes.
    """
    session_id, _, operation = await _confirmable(request)
    cookie = new_cookie()
    token = request.app[BROWSERS].form_token(f"{cookie} {session_id}")
    content = CONFIRM.format(operation=operation, token=token)
    response = _page(request, content)
    # Browsers hold the redirection to the provider, and on from there, against the policy.
    response.headers[POLICY] = HEADERS[POLICY].replace("form-action 'self'", "form-action *")
    account_cookie.give(
        request, response, cookie, lifetime_ms=SESSION_LIFETIME_MS, name=COOKIE, strict=True
    )
    return response


async def _confirmable(request: web.Request) -> tuple[str, str, str]:
    """A session, the provider that can confirm it, and the operation, as HTML."""
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    session_id = request.query.get("session", "")
    session = await request.app[INTERACTIVE_AUTH].get_session(session_id)
    provider_id = await request.app[PROOFS].provider_of(session.user_id or "")
    if provider_id is None:
        raise NotFound("This user has no provider that could confirm it")
    return session_id, provider_id, _operation(session)


async def _redirect_to_provider(request: web.Request) -> web.Response:
    """Have the provider confirm it.  Spec: SSO during user-interactive authentication."""
    session_id, provider_id, _ = await _confirmable(request)
    cookie = account_cookie.read(request, COOKIE)
    token = (await plain_page.form_fields(request)).get("form_token", "")
    request.app[BROWSERS].check_form(f"{cookie} {session_id}" if cookie else None, token)
    to = request.app[OIDC_LOGINS].here()
    beginning = await request.app[OIDC_LOGINS].begin(
        provider_id, to, browser=oauth_cookie.read(request), uia_session=session_id
    )
    response = oauth_cookie.redirect(request, beginning)
    response.set_status(303)
    return response


@routes.post(PATH)
@plain_page.readable
async def complete_auth_fallback(request: web.Request) -> web.Response:
    """Check it, and have the page tell the client that the stage is completed."""
    if request.match_info["auth_type"] == SSO:
        return await _redirect_to_provider(request)
    if request.match_info["auth_type"] in OAUTH_STAGES:
        return done_page(request)  # whether it was confirmed, the request itself finds out
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
        return await _form(request, stage, error)
    return done_page(request)


async def _complete_by_mail(request: web.Request) -> web.Response:
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    fields = await plain_page.form_fields(request)
    known = account_cookie.read(request)
    cookie = known or new_cookie()
    session_id = request.query.get("session", "")
    try:
        following = await email_fallback.take(request, session_id, fields, hash_token(cookie))
    except MatrixError as error:
        again = email_fallback.fields_after(error, fields)
        return await _form(request, EMAIL_IDENTITY, error, again)
    if following is None:
        return done_page(request)
    page = await _form(request, EMAIL_IDENTITY, fields=following)
    if known is None:
        lifetime_ms = request.app[BROWSERS].lifetime_ms
        account_cookie.give(request, page, cookie, lifetime_ms=lifetime_ms)
    return page
