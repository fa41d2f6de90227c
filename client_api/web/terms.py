"""The page behind ``consent_uri`` where there are new terms.  See ``docs/accounts.md``."""

from __future__ import annotations

import html

from aiohttp import web

from client_api.web import plain_page
from client_api.web.consent import ConsentLinks
from homeserver.app_keys import TERMS
from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import UserId

routes = web.RouteTableDef()

PATH = "/_comity/terms"
TITLE = "New terms"
FORM = """{notice}
<p>You are <strong>{user}</strong>. Please read what has changed; you can send again once you have
accepted it. What was sent to you goes on arriving meanwhile.</p>
<form method="post">
{boxes}
<button>Accept</button>
</form>"""
DONE = '<p class="note" role="status">Nothing is left to accept. Send your message again.</p>'

TERMS_LINKS = web.AppKey("TERMS_LINKS", ConsentLinks)


def _user(request: web.Request) -> UserId:
    query = request.query
    return request.app[TERMS_LINKS].check(
        query.get("user", ""), query.get("expires", ""), query.get("mac", "")
    )


async def _form(request: web.Request, user_id: UserId, notice: str = "") -> web.Response:
    missing = await request.app[TERMS].missing(user_id)
    if not missing:
        return plain_page.page(request, TITLE, DONE)
    boxes = plain_page.tick_boxes(request, missing)
    content = FORM.format(notice=notice, user=html.escape(user_id), boxes=boxes)
    return plain_page.page(request, TITLE, content, status=400 if notice else 200)


@routes.get(PATH)
@plain_page.readable
async def show_terms(request: web.Request) -> web.Response:
    """Show what is to be accepted."""
    return await _form(request, _user(request))


@routes.post(PATH)
@plain_page.readable
async def accept_terms(request: web.Request) -> web.Response:
    """Take the answer: only all that is missing, together."""
    user_id = _user(request)
    terms = request.app[TERMS]
    missing = await terms.missing(user_id)
    try:
        terms.check_ticked(await plain_page.ticked_boxes(request), missing)
    except MatrixError as error:
        return await _form(request, user_id, plain_page.alert(error.text))
    await terms.accept(user_id, {d.name: d.version for d in missing}, how="page")
    return await _form(request, user_id)
