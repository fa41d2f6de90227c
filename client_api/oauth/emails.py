"""Proving on a page that an e-mail address is one's own: a mail, its link, and on with the form.

What was asked for goes along in the form, as it does with clients.  The link counts for the browser
that has asked for it; opened in another one it shows a code, which is entered here.
Spec: client-server API, email-based (identity / homeserver).
"""

from __future__ import annotations

import html
import secrets

from msgspec import Struct

from client_api.oauth.visits import Visit
from client_api.web import link_code, plain_page
from homeserver.app_keys import RATE_LIMITS, THIRD_PARTY_IDS
from homeserver.callers import caller_key
from homeserver.errors import MatrixError
from homeserver.services.sessions import hash_token
from homeserver.services.third_party_ids import ThirdPartyAuthFailed, TokenRequest

ASK = """{notice}
<p>{why}</p>
<form method="post">
{token}
<div class="field">
<label for="email">Your e-mail address</label>
<input id="email" name="email" type="email" required maxlength="500" autocomplete="email">
</div>
<button>Send me a mail</button>
</form>"""
HIDDEN = (
    """<input type="hidden" name="sid" value="{sid}">
<input type="hidden" name="client_secret" value="{secret}">
"""
    + link_code.FIELD
)
SENT = plain_page.STATUS.format(
    text="We have sent you a mail. Follow its link first; then go on here."
)


class Proof(Struct, frozen=True):
    """A session of validating an address, as a form has it."""

    sid: str
    secret: str

    def fields(self) -> str:
        """The fields of the next form: hidden ones, and that of a code."""
        return HIDDEN.format(sid=html.escape(self.sid), secret=html.escape(self.secret))


def ask(why: str, token: str, error: MatrixError | None = None) -> str:
    """The form that asks for an address; ``why`` is HTML, ``token`` the form's own."""
    notice = plain_page.alert(error.text) if error is not None else ""
    return ASK.format(notice=notice, why=why, token=token)


def proof_of(fields: dict[str, str]) -> Proof | None:
    """The session that a form goes on with; None where a mail is yet to be asked for."""
    sid, secret = fields.get("sid"), fields.get("client_secret")
    return Proof(sid, secret) if sid and secret else None


async def send(visit: Visit, purpose: str, address: str) -> Proof:
    """Send a mail with a link that is for this browser.

    Raises what :meth:`~homeserver.services.third_party_ids.ThirdPartyIds.request_token` raises.
    """
    request = visit.request
    request.app[RATE_LIMITS].check("email_request", caller_key(request))
    secret = secrets.token_urlsafe(24)
    browser = hash_token(visit.cookie)
    asked = TokenRequest(purpose, secret, address.strip(), 1, browser_hash=browser)
    return Proof(await request.app[THIRD_PARTY_IDS].request_token(asked), secret)


async def confirmed(visit: Visit, proof: Proof, code: str) -> str:
    """The ID of a session whose link was followed; ``code``: what it has shown, if it did.

    Raises: :class:`NotFollowed`, :class:`~homeserver.errors.Forbidden` for a wrong code.
    """
    credentials = {"sid": proof.sid, "client_secret": proof.secret}
    try:
        await link_code.enter(visit.request, proof.sid, proof.secret, code)
        return await visit.request.app[THIRD_PARTY_IDS].stage({"threepid_creds": credentials}, None)
    except ThirdPartyAuthFailed as error:
        raise NotFollowed("Follow the link in the mail first, or ask for another one") from error


class NotFollowed(MatrixError):
    """The link in the mail was not followed, or no longer counts."""

    errcode, status = "M_THREEPID_AUTH_FAILED", 400
