"""What else can use an account than its devices: browsers at these pages, and programs.

All of it can be ended, without a proof of who it is: that can only take access away.
"""

from __future__ import annotations

import html

from aiohttp import web

from client_api.conversations.keys import API_TOKENS
from client_api.oauth import visits
from client_api.oauth.account import ACCESS, BACK
from client_api.oauth.origins import browser_name, when
from client_api.oauth.visits import Visit
from client_api.web import plain_page
from homeserver.app_keys import BROWSERS
from homeserver.errors import InvalidParam, NotFound
from homeserver.services.sessions import hash_token
from homeserver.storage.account_sessions import AccountSession
from homeserver.storage.api_tokens import ApiToken

routes = web.RouteTableDef()

TITLE = "Browsers and programs"
PAGE = """{notice}
<h2>Browsers</h2>
<p>In these you are signed in to the pages of your account.</p>
{browsers}
{others}
<h2>Programs</h2>
<p>Each of these has an API token of yours, and acts in your name.</p>
{programs}
{back}"""
ENTRY = """<form method="post" class="removal">
{token}
<p><strong>{name}</strong><br><span class="quiet">{details}</span></p>
<button name="{kind}" value="{id}">{label}</button>
</form>"""
OTHERS = """<form method="post" class="removal">
{token}
<button name="others" value="yes">Sign all other browsers out</button>
</form>"""
NO_PROGRAMS = "<p>There are none.</p>"


def _is_this(visit: Visit, session: AccountSession) -> bool:
    return session.token_hash == hash_token(visit.cookie)


def _browser(visit: Visit, session: AccountSession) -> str:
    name = browser_name(session.user_agent)
    return ENTRY.format(
        token=visit.form_token(),
        name=f"{name} (this one)" if _is_this(visit, session) else name,
        details=f"Signed in {when(session.created_at)}, last seen {when(session.last_seen_at)} "
        f"from {html.escape(session.last_seen_ip or 'an unknown address')}",
        kind="browser",
        id=visit.request.app[BROWSERS].public_id(session),
        label=f"Sign {name} out",
    )


def _program(visit: Visit, token: ApiToken) -> str:
    until = f", good until {when(token.expires_at)}" if token.expires_at is not None else ""
    scopes = html.escape(", ".join(token.scopes))
    return ENTRY.format(
        token=visit.form_token(),
        name=visits.escaped(token.name),
        details=f"May: {scopes}. Made {when(token.created_at)}, last used "
        f"{when(token.last_used_at)}{until}",
        kind="program",
        id=html.escape(token.token_id),
        label=f"Revoke the token of {visits.escaped(token.name)}",
    )


async def _page(visit: Visit, notice: str = "") -> web.Response:
    app = visit.request.app
    browsers = await app[BROWSERS].list_of(visit.user_id)
    programs = await app[API_TOKENS].list_of(user_id=visit.user_id)
    content = PAGE.format(
        notice=notice,
        browsers="\n".join(_browser(visit, session) for session in browsers),
        others=OTHERS.format(token=visit.form_token()) if len(browsers) > 1 else "",
        programs="\n".join(_program(visit, token) for token in programs) or NO_PROGRAMS,
        back=BACK,
    )
    return visits.page(visit, TITLE, content)


@routes.get(ACCESS)
@visits.pages
async def show_access(request: web.Request) -> web.StreamResponse:
    """All of them."""
    return await _page(await visits.require_session(request))


@routes.post(ACCESS)
@visits.pages
async def end_access(request: web.Request) -> web.StreamResponse:
    """Sign a browser out, or all but this; or revoke a program's token."""
    visit = await visits.require_session(request)
    fields = await visits.read_form(visit)
    if "program" in fields:
        await request.app[API_TOKENS].revoke(fields["program"], user_id=visit.user_id)
        return await _page(visit, plain_page.STATUS.format(text="Its token is revoked."))
    browsers = request.app[BROWSERS]
    known = await browsers.list_of(visit.user_id)
    if "others" in fields:
        ended = [session for session in known if not _is_this(visit, session)]
    elif "browser" in fields:
        ended = [s for s in known if browsers.public_id(s) == fields["browser"]]
        if not ended:
            raise NotFound("That browser is not signed in any more")
    else:
        raise InvalidParam("That is no form of this page")
    await browsers.end(visit.user_id, ended)
    if any(_is_this(visit, session) for session in ended):
        return visits.go(visits.SIGN_IN)
    return await _page(visit, plain_page.STATUS.format(text="Signed out."))
