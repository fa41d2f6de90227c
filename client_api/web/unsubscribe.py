"""The page behind the link in mails about notifications: it ends them.  See ``docs/push.md``.

Whoever follows a link is asked first: programs that look into mails follow links, too.
"""

from __future__ import annotations

import html

from aiohttp import web

from client_api.web import plain_page
from homeserver.app_keys import PUSHERS, UNSUBSCRIBE_LINKS
from homeserver.services.push.addresses import UNSUBSCRIBE_PATH
from homeserver.storage.pushers import Pusher

routes = web.RouteTableDef()

TITLE = "Notifications by e-mail"
FORM = """<p>Should <strong>{address}</strong> get no more mails about what
<strong>{user}</strong> has not read?</p>
<form method="post"><button>Send no more</button></form>"""
DONE = '<p class="note" role="status">No more of these mails are sent to this address.</p>'


def _pushers(request: web.Request) -> list[Pusher]:
    query = request.query
    return request.app[UNSUBSCRIBE_LINKS].check(
        query.get("user", ""), query.get("address", ""), query.get("mac", "")
    )


@routes.get(UNSUBSCRIBE_PATH)
@plain_page.readable
async def ask(request: web.Request) -> web.Response:
    """Ask whether mails are to end."""
    pushers = _pushers(request)
    if not pushers:
        return plain_page.page(request, TITLE, DONE)
    address, user = html.escape(pushers[0].pushkey), html.escape(pushers[0].user_id)
    return plain_page.page(request, TITLE, FORM.format(address=address, user=user))


@routes.post(UNSUBSCRIBE_PATH)
@plain_page.readable
async def unsubscribe(request: web.Request) -> web.Response:
    """End them."""
    for pusher in _pushers(request):
        await request.app[PUSHERS].remove(pusher)
    return plain_page.page(request, TITLE, DONE)
