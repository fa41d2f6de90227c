"""The page behind ``consent_uri``: a user agrees to contact other instances, or takes it back.

The address is signed, so that it works in any browser without logging in again, and bound to one
user and a day.  See ``docs/architecture.md``, consent.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import time
from collections.abc import Callable
from urllib.parse import urlencode

from aiohttp import web

from client_api.web import plain_page
from homeserver.app_keys import CONFIG, CONSENT
from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.consent import EVERYONE, Scope
from homeserver.web import read_form_fields

routes = web.RouteTableDef()

PATH = "/_comity/consent"
VALID_SECONDS = 24 * 3600

TITLE = "Messages to other servers"
QUESTION = """{notice}
<p>You are <strong><bdi>{user}</bdi></strong> on <strong><bdi>{server}</bdi></strong>. When you
write to somebody on another server, your message, your user name and your display name are sent to
that server and kept there; this server cannot take them back.</p>
<form method="post" class="answers">
<button class="primary" name="answer" value="granted">I agree: let me write to other
servers</button>
<button name="answer" value="revoked">I do not agree: keep me to this server</button>
</form>
<p class="quiet"><a href="/_comity/me">See and change all your choices</a> (sign in there)</p>"""
NOTICES = {
    "granted": '<p class="note" role="status">You have agreed. Send your message again.</p>',
    "revoked": '<p class="note" role="status">You keep to this server.</p>',
}


class ConsentLinks:
    """Makes and checks signed addresses of a page."""

    def __init__(
        self,
        *,
        base_url: str,
        secret: bytes,
        path: str = PATH,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._path = path
        self._key = hashlib.blake2b(secret, person=b"comity-consent").digest()
        self._clock = clock

    def make(self, user_id: str) -> str:
        """The page's address for a user."""
        expires = int(self._clock()) + VALID_SECONDS
        query = {"user": user_id, "expires": expires, "mac": self._mac(user_id, expires)}
        return f"{self._base_url}{self._path}?{urlencode(query)}"

    def _mac(self, user_id: str, expires: int) -> str:
        text = f"{user_id}\n{expires}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def check(self, user_id: str, expires: str, mac: str) -> UserId:
        """The user of a valid address.  Raises :class:`Forbidden`."""
        valid = (
            expires.isascii()
            and expires.isdigit()
            and hmac.compare_digest(mac.encode(), self._mac(user_id, int(expires)).encode())
        )
        if not valid:
            raise Forbidden("This link is not valid: send your message again to get a new one")
        if int(expires) < self._clock():
            raise Forbidden("This link has expired: send your message again to get a new one")
        try:
            return UserId.parse(user_id)
        except InvalidIdentifier as error:
            raise Forbidden("This link is not valid") from error


CONSENT_LINKS = web.AppKey("CONSENT_LINKS", ConsentLinks)


def _user(request: web.Request) -> UserId:
    query = request.query
    return request.app[CONSENT_LINKS].check(
        query.get("user", ""), query.get("expires", ""), query.get("mac", "")
    )


def _question(request: web.Request, user_id: UserId, notice: str = "") -> web.Response:
    server = html.escape(request.app[CONFIG].server_name)
    content = QUESTION.format(notice=notice, user=html.escape(user_id), server=server)
    return plain_page.page(request, TITLE, content)


@routes.get(PATH)
@plain_page.readable
async def show_consent(request: web.Request) -> web.Response:
    """Ask."""
    return _question(request, _user(request))


@routes.post(PATH)
@plain_page.readable
async def set_consent(request: web.Request) -> web.Response:
    """Take the answer; the row says that it came by the page."""
    user_id = _user(request)
    (answer,) = (await read_form_fields(request)).get("answer", [""])[:1]
    if answer not in NOTICES:
        raise Forbidden("Choose one of the two answers")

    await request.app[CONSENT].set(user_id, EVERYONE, Scope.FEDERATION, answer, how="page")
    return _question(request, user_id, NOTICES[answer])
