"""A user's devices on the account page: all, one, and logging one out.

Spec: client-server API, account management URL actions.
"""

from __future__ import annotations

import html
from urllib.parse import urlencode

from aiohttp import web

from client_api.oauth import visits
from client_api.oauth.account import ACCESS, BACK, DEVICE, DEVICE_LIST, REMOVE_DEVICE
from client_api.oauth.origins import when
from client_api.oauth.visits import Visit
from client_api.web import plain_page
from homeserver.app_keys import DEVICES
from homeserver.errors import NotFound
from homeserver.storage.devices import Device

routes = web.RouteTableDef()

ITEM = '<li><a href="{url}">{name}</a><br><span class="quiet">{seen}</span></li>'
LIST = """<p>You are logged in with {count}.</p>
<ul>
{items}
</ul>
<p><a href="{access}">Browsers and programs that can use your account</a></p>
{back}"""
DETAILS = """<dl>
<dt>Device ID</dt><dd><code>{device_id}</code></dd>
<dt>Last seen</dt><dd>{seen}</dd>
<dt>From</dt><dd>{ip}</dd>
</dl>
{more}
<p><a href="{devices}">All your devices</a></p>"""
REMOVE_LINK = '<p><a class="button" href="{url}">Log this device out</a></p>'
REMOVE_FORM = """<p>Its encryption keys go as well: what only this device can read cannot be read
any more.</p>
<form method="post" class="removal">
{token}
<button>Log it out</button>
</form>"""
GONE = plain_page.STATUS.format(text="The device is logged out.")


def _seen(device: Device) -> str:
    return "never seen" if device.last_seen_at is None else when(device.last_seen_at)


def _address(path: str, device: Device) -> str:
    return html.escape(f"{path}?{urlencode({'device_id': device.device_id})}")


async def _list(visit: Visit, notice: str = "") -> web.Response:
    devices = await visit.request.app[DEVICES].list_devices(visit.user_id)
    devices.sort(key=lambda device: device.last_seen_at or 0, reverse=True)
    items = "\n".join(
        ITEM.format(url=_address(DEVICE, d), name=visits.escaped(d.shown_name), seen=_seen(d))
        for d in devices
    )
    count = "1 device" if len(devices) == 1 else f"{len(devices) or 'no'} devices"
    content = notice + LIST.format(count=count, items=items, access=ACCESS, back=BACK)
    return visits.page(visit, "Your devices", content)


async def _device(request: web.Request, visit: Visit) -> Device:
    device_id = request.query.get("device_id", "")
    if not device_id or "\0" in device_id:
        raise NotFound("You have no device with that ID")
    return await request.app[DEVICES].get(visit.user_id, device_id)


def _details(visit: Visit, device: Device, title: str, more: str) -> web.Response:
    content = DETAILS.format(
        device_id=html.escape(device.device_id),
        seen=_seen(device),
        ip=html.escape(device.last_seen_ip or "unknown"),
        more=more,
        devices=DEVICE_LIST,
    )
    return visits.page(visit, title, content)


@routes.get(DEVICE_LIST)
@visits.pages
async def show_devices(request: web.Request) -> web.StreamResponse:
    """All of them, the latest first."""
    return await _list(await visits.require_session(request))


@routes.get(DEVICE)
@visits.pages
async def show_device(request: web.Request) -> web.StreamResponse:
    """One of them; without ``device_id`` all."""
    visit = await visits.require_session(request)
    if not request.query.get("device_id"):
        return visits.go(DEVICE_LIST)
    device = await _device(request, visit)
    link = REMOVE_LINK.format(url=_address(REMOVE_DEVICE, device))
    return _details(visit, device, device.shown_name, link)


@routes.get(REMOVE_DEVICE)
@visits.pages
async def ask_removal(request: web.Request) -> web.StreamResponse:
    """Ask whether to log one out.

    As with the legacy API, by who has just proved who they are.  MSC4191, security considerations.
    """
    visit = await visits.require_session(request, recent=True)
    if not request.query.get("device_id"):
        return visits.go(DEVICE_LIST)
    device = await _device(request, visit)
    form = REMOVE_FORM.format(token=visit.form_token())
    return _details(visit, device, f"Log out {device.shown_name}?", form)


@routes.post(REMOVE_DEVICE)
@visits.pages
async def remove_device(request: web.Request) -> web.StreamResponse:
    """Log one out."""
    visit = await visits.require_session(request, recent=True)
    await visits.read_form(visit)
    device = await _device(request, visit)
    await request.app[DEVICES].remove(visit.user_id, [device.device_id])
    return await _list(visit, GONE)
