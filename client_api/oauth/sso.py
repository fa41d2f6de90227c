"""Single sign-on by the account pages, for clients of the legacy API that know of OAuth 2.0.

Spec: client-server API, OAuth 2.0 aware clients, SSO client login.
"""

from __future__ import annotations

import html
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from client_api.oauth import visits
from homeserver.app_keys import OIDC_LOGINS, SESSIONS
from homeserver.protocol.identifiers import UserId
from homeserver.services.sign_in.oidc import Return

routes = web.RouteTableDef()

PATH = visits.path_of("sso")
PARAMETER = "loginToken"
QUESTION = """<p>You are <strong>{user}</strong>. This sends a login on to <strong>{place}</strong>,
which can then use your account. Go on only if you have just come from there.</p>
<form method="post">
{token}
<button>Continue to {place}</button>
</form>
<p class="quiet"><a href="{other}">Use another account</a></p>"""


def begin(redirect_url: str, *, register: bool) -> web.Response:
    """Send the browser to the account pages; from there it goes on to the client."""
    then = f"{PATH}?{urlencode({'redirectUrl': redirect_url})}"
    page = visits.SIGN_UP if register else visits.SIGN_IN
    return visits.go(visits.with_then(page, then), status=302)  # the spec's


def _return(request: web.Request) -> Return:
    url = request.query.get("redirectUrl", "")
    return request.app[OIDC_LOGINS].parse_return(url, PARAMETER)


@routes.get(PATH)
@visits.pages
async def show_sso(request: web.Request) -> web.StreamResponse:
    """Ask whether to go on; not for places that the admin has listed.

    The login that comes of it is a proof of who the user is: so they are asked for one.
    """
    visit = await visits.require_session(request, recent=True)
    to = _return(request)
    if to.trusted:
        return await _go_on(request, visit.user_id, to)
    parts = urlsplit(to.url)
    content = QUESTION.format(
        user=visits.escaped(visit.user_id),
        place=visits.escaped(parts.hostname or f"an application ({parts.scheme}:)"),
        token=visit.form_token(),
        other=html.escape(visits.with_then(visits.SIGN_IN, request.path_qs)),
    )
    response = visits.page(visit, "Continue", content)
    return visits.let_form_lead_to(response, to.url)


@routes.post(PATH)
@visits.pages
async def answer_sso(request: web.Request) -> web.StreamResponse:
    """Go on."""
    visit = await visits.require_session(request, recent=True)
    await visits.read_form(visit)
    return await _go_on(request, visit.user_id, _return(request))


async def _go_on(request: web.Request, user_id: UserId, to: Return) -> web.Response:
    token, _ = await request.app[SESSIONS].new_login_token(user_id)
    return visits.go(to.address(**{to.parameter: token}))
