"""The page behind the link of a mail that asks whose an address is.

Opening it does nothing, as programs that look through mail open links, too: a person has to press
the button.  Where another browser has asked for the mail on our pages, that shows a code to enter
there, so that nobody gets anywhere by a link that they have had sent to somebody else.
"""

from __future__ import annotations

import html
from datetime import UTC, datetime
from urllib.parse import urlsplit

from aiohttp import web

from client_api.web import account_cookie, plain_page
from homeserver.app_keys import RATE_LIMITS, THIRD_PARTY_IDS
from homeserver.callers import caller_key
from homeserver.services.third_party_ids import LINK_PATH, is_of
from homeserver.services.third_party_mails import ADD, PASSWORD, REGISTER
from homeserver.storage.third_party_ids import ValidationSession

routes = web.RouteTableDef()

TITLE = "Your e-mail address"
POLICY = "Content-Security-Policy"
WHAT = {
    REGISTER: "make an account with it",
    PASSWORD: "set a new password",
    ADD: "add it to your account",
}
HERE, ELSEWHERE, CLIENT = "here", "elsewhere", "client"
FORM = """<p>Is <strong>{address}</strong> yours, and do you want to {what}?</p>
<p>{whence}</p>
<form method="post">
<input type="hidden" name="token" value="{token}">
<button>Yes, go on</button>
</form>
<p>If you have not asked for this, close this page.</p>"""
WHENCE = {
    HERE: "You have asked for this mail in this browser{when}.",
    ELSEWHERE: "This mail was asked for in another browser{when}.",
    CLIENT: "This mail was asked for by an app{when}. Go on only if that was you: what it is for "
    "is done by whoever has asked.",
}
CODE = """<p role="status">Enter this code at the page where you have asked for the mail:</p>
<p class="code"><strong>{code}</strong></p>
<p>It is good for ten minutes. Tell it to nobody: whoever has it can {what}. If you have not asked
for this, close this page.</p>"""
DONE = plain_page.STATUS.format(
    text="The address is confirmed. Go back to where you have asked for the mail."
)
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
        address=html.escape(session.address),
        what=WHAT[session.purpose],
        whence=_whence(request, session),
        token=html.escape(token),
    )
    page = plain_page.page(request, TITLE, content)
    link = session.next_link
    if link is not None and request.app[THIRD_PARTY_IDS].leads_on(link):
        parts = urlsplit(link)
        allowed = f"form-action 'self' {parts.scheme}://{parts.netloc}"
        policy = page.headers[POLICY].replace("form-action 'self'", allowed)
        page.headers[POLICY] = policy  # browsers hold the redirection against it
    return page


def _whence(request: web.Request, session: ValidationSession) -> str:
    """Where and when the mail was asked for."""
    place = CLIENT
    if session.browser_hash is not None:
        here = is_of(session, account_cookie.read_hash(request))
        place = HERE if here else ELSEWHERE
    when = datetime.fromtimestamp(session.created_at / 1000, UTC)
    return WHENCE[place].format(when=f", at {when:%H:%M} UTC on {when:%Y-%m-%d}")


@routes.post(LINK_PATH)
@plain_page.readable
async def confirm(request: web.Request) -> web.StreamResponse:
    """The address is the reader's; send them on, or tell them to go back."""
    request.app[RATE_LIMITS].check("email_link", caller_key(request))
    fields = await plain_page.form_fields(request)
    addresses = request.app[THIRD_PARTY_IDS]
    browser = account_cookie.read_hash(request)
    session, code = await addresses.confirm(fields.get("token", ""), browser)
    if code is not None:
        half = len(code) // 2
        shown = CODE.format(code=f"{code[:half]} {code[half:]}", what=WHAT[session.purpose])
        return plain_page.page(request, TITLE, shown)
    link = session.next_link
    if link is None:
        return plain_page.page(request, TITLE, DONE)
    if addresses.leads_on(link):
        raise web.HTTPFound(link)
    host = urlsplit(link).hostname or ""
    onward = ONWARD.format(link=html.escape(link), host=html.escape(host))
    return plain_page.page(request, TITLE, DONE + onward)
