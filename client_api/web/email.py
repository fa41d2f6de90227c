"""The page behind the link of a mail that asks whose an address is.

Opening it does nothing, as programs that look through mail open links, too: a person has to press
the button.
"""

from __future__ import annotations

import html
from urllib.parse import urlsplit

from aiohttp import web

from client_api.web import plain_page
from homeserver.app_keys import RATE_LIMITS, THIRD_PARTY_IDS
from homeserver.callers import caller_key
from homeserver.services.third_party_ids import LINK_PATH
from homeserver.services.third_party_mails import ADD, PASSWORD, REGISTER

routes = web.RouteTableDef()

TITLE = "Your e-mail address"
POLICY = "Content-Security-Policy"
WHAT = {
    REGISTER: "make an account with it",
    PASSWORD: "set a new password",
    ADD: "add it to your account",
}
FORM = """<p>Is <strong>{address}</strong> yours, and do you want to {what}?</p>
<form method="post">
<input type="hidden" name="token" value="{token}">
<button>Yes, go on</button>
</form>
<p>If you have not asked for this, close this page.</p>"""
DONE = '<p class="note" role="status">The address is confirmed. Go back to your app.</p>'
ONWARD = """<p><a href="{link}" rel="noopener noreferrer">Go on to {host}</a></p>"""


@routes.get(LINK_PATH)
@plain_page.readable
async def show_confirmation(request: web.Request) -> web.Response:
    """Ask whether the reader means it."""
    request.app[RATE_LIMITS].check("email_link", caller_key(request))
    token = request.query.get("token", "")
    session = await request.app[THIRD_PARTY_IDS].find_session(token)
    if session.validated_at is not None:
        return plain_page.page(request, TITLE, DONE)
    content = FORM.format(
        address=html.escape(session.address), what=WHAT[session.purpose], token=html.escape(token)
    )
    page = plain_page.page(request, TITLE, content)
    link = session.next_link
    if link is not None and request.app[THIRD_PARTY_IDS].leads_on(link):
        parts = urlsplit(link)
        allowed = f"form-action 'self' {parts.scheme}://{parts.netloc}"
        policy = page.headers[POLICY].replace("form-action 'self'", allowed)
        page.headers[POLICY] = policy  # browsers hold the redirection against it
    return page


@routes.post(LINK_PATH)
@plain_page.readable
async def confirm(request: web.Request) -> web.StreamResponse:
    """The address is the reader's; send them on, or tell them to go back."""
    request.app[RATE_LIMITS].check("email_link", caller_key(request))
    fields = await plain_page.form_fields(request)
    addresses = request.app[THIRD_PARTY_IDS]
    session = await addresses.confirm(fields.get("token", ""))
    link = session.next_link
    if link is None:
        return plain_page.page(request, TITLE, DONE)
    if addresses.leads_on(link):
        raise web.HTTPFound(link)
    host = urlsplit(link).hostname or ""
    onward = ONWARD.format(link=html.escape(link), host=html.escape(host))
    return plain_page.page(request, TITLE, DONE + onward)
