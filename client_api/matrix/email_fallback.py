"""The stage ``m.login.email.identity`` on its fallback page: an address, a mail, and the proof.

The mail's link counts for the browser that has asked for it; in another one it shows a code, which
is entered here: else a link that somebody has had sent to another would be all they need of them.
Spec: client-server API, email-based authentication; fallback.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from aiohttp import web

from client_api.web import link_code
from homeserver.app_keys import INTERACTIVE_AUTH, RATE_LIMITS, THIRD_PARTY_IDS
from homeserver.callers import caller_key
from homeserver.errors import MatrixError, NotFound
from homeserver.services.interactive_auth import EMAIL_IDENTITY
from homeserver.services.third_party_ids import TokenRequest
from homeserver.services.third_party_mails import PASSWORD, REGISTER

ASK = (
    '<label for="email">Your e-mail address: a mail is sent there</label>'
    '<input id="email" name="email" type="email" required maxlength="254" autocomplete="email">'
)
WAIT = (
    "<p>A mail is on its way to {address}. Follow the link in it, then come back here.</p>"
    '<input type="hidden" name="sid" value="{sid}">'
    '<input type="hidden" name="email" value="{address}">' + link_code.FIELD
)


async def take(
    request: web.Request, session_id: str, fields: Mapping[str, str], browser_hash: bytes
) -> str | None:
    """Go one step on with what a form says: the next form's fields; None once it is done.

    ``browser_hash``: of the cookie by which the browser is known.

    Raises: what asking for a mail and :func:`~client_api.web.link_code.enter` raise;
    :class:`~homeserver.errors.NotFound` for a session that is over;
    :class:`~homeserver.errors.Forbidden` for one that nobody may complete here.
    """
    session = await request.app[INTERACTIVE_AUTH].get_session_for(session_id, EMAIL_IDENTITY)
    if "sid" not in fields:
        request.app[RATE_LIMITS].check("email_request", caller_key(request))
        purpose = REGISTER if "/register" in session.operation else PASSWORD
        email = fields.get("email", "")
        asked = TokenRequest(purpose, session_id, email, 1, browser_hash=browser_hash)
        sid = await request.app[THIRD_PARTY_IDS].request_token(asked)
        return WAIT.format(address=html.escape(email), sid=html.escape(sid))
    await link_code.enter(request, fields["sid"], session_id, fields.get(link_code.NAME, ""))
    credentials = {"sid": fields["sid"], "client_secret": session_id}
    auth = {"threepid_creds": credentials}
    await request.app[INTERACTIVE_AUTH].complete(session_id, EMAIL_IDENTITY, auth)
    return None


def fields_after(error: MatrixError, fields: Mapping[str, str]) -> str:
    """The form again, after an error: still waiting, or from the beginning."""
    if "sid" in fields and not isinstance(error, NotFound):
        address, sid = html.escape(fields.get("email", "")), html.escape(fields["sid"])
        return WAIT.format(address=address, sid=sid)
    return ASK
