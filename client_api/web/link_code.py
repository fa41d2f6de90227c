"""The code that a mail's link shows in another browser than the one that has asked for the mail."""

from __future__ import annotations

from aiohttp import web

from homeserver.app_keys import RATE_LIMITS, THIRD_PARTY_IDS
from homeserver.callers import caller_key

NAME = "link_code"
FIELD = """<div class="field">
<label for="link_code">The code, if the link shows one</label>
<input id="link_code" name="link_code" maxlength="20" inputmode="numeric"
  autocomplete="one-time-code" aria-describedby="link-code-hint">
<p class="hint" id="link-code-hint">It does so when you open it in another browser,
such as on your telephone.</p>
</div>"""


async def enter(request: web.Request, sid: str, client_secret: str, code: str) -> None:
    """Take what somebody has typed for the code of a mail; nothing, if that is nothing.

    Raises: :class:`~homeserver.services.third_party_ids.ThirdPartyAuthFailed`,
    :class:`~homeserver.errors.Forbidden` for a wrong code,
    :class:`~homeserver.errors.LimitExceeded`.
    """
    if code.strip():
        request.app[RATE_LIMITS].check("email_link", caller_key(request))
        await request.app[THIRD_PARTY_IDS].enter_code(sid, client_secret, code)
