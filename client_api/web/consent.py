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

from homeserver.app_keys import CONFIG, CONSENT
from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.consent import EVERYONE, Scope

routes = web.RouteTableDef()

PATH = "/_comity/consent"
VALID_SECONDS = 24 * 3600

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Messages to other servers - {server}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto;
  padding: 0 1rem; }}
button {{ font: inherit; padding: .6rem 1.2rem; margin: .3rem .3rem .3rem 0; cursor: pointer; }}
.done {{ border-inline-start: .3rem solid currentColor; padding-inline-start: 1rem; }}
</style>
<main>
<h1>Messages to other servers</h1>
{notice}
<p>You are <strong>{user}</strong> on <strong>{server}</strong>. When you write to somebody on
another server, your message, your user name and your display name are sent to that server and kept
there; this server cannot take them back.</p>
<form method="post">
<button name="answer" value="granted">I agree: let me write to other servers</button>
<button name="answer" value="revoked">I do not agree: keep me to this server</button>
</form>
</main>
</html>
"""
NOTICES = {
    "granted": '<p class="done" role="status">You have agreed. Send your message again.</p>',
    "revoked": '<p class="done" role="status">You keep to this server.</p>',
}


class ConsentLinks:
    """Makes and checks signed addresses of the page."""

    def __init__(self, *, base_url: str, secret: bytes, clock: Callable[[], float] = time.time):
        self._base_url = base_url.rstrip("/")
        self._key = hashlib.blake2b(secret, person=b"comity-consent").digest()
        self._clock = clock

    def make(self, user_id: str) -> str:
        """The page's address for a user."""
        expires = int(self._clock()) + VALID_SECONDS
        query = {"user": user_id, "expires": expires, "mac": self._mac(user_id, expires)}
        return f"{self._base_url}{PATH}?{urlencode(query)}"

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


def _page(request: web.Request, user_id: UserId, notice: str = "") -> web.Response:
    text = PAGE.format(
        server=html.escape(request.app[CONFIG].server_name),
        user=html.escape(user_id),
        notice=notice,
    )
    return web.Response(
        text=text,
        content_type="text/html",
        headers={
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
            "form-action 'self'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


@routes.get(PATH)
async def show_consent(request: web.Request) -> web.Response:
    """Ask."""
    return _page(request, _user(request))


@routes.post(PATH)
async def set_consent(request: web.Request) -> web.Response:
    """Take the answer; the row says that it came by the page."""
    user_id = _user(request)
    form = await request.post()
    answer = str(form.get("answer"))
    if answer not in NOTICES:
        raise Forbidden("Choose one of the two answers")

    await request.app[CONSENT].set(user_id, EVERYONE, Scope.FEDERATION, answer, how="page")
    return _page(request, user_id, NOTICES[answer])
