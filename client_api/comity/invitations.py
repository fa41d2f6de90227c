"""Invitations that the caller hands out.  See ``docs/accounts.md``."""

from __future__ import annotations

import io

from aiohttp import web

from client_api.auth import require_user
from client_api.comity.routing import ComityRoutes
from homeserver.app_keys import INVITATIONS, RATE_LIMITS
from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.storage.invitations import Invitation, InvitationUse
from homeserver.web import json_response, optional, read_json

routes = ComityRoutes()

QR_TYPES = {"svg": "image/svg+xml", "png": "image/png"}
QR_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}


def _shown(
    request: web.Request, invitation: Invitation, uses: list[InvitationUse] | None = None
) -> JsonObject:
    invitations = request.app[INVITATIONS]
    return {
        "code": invitation.code,
        "link": invitations.link(invitation.code),
        "state": invitations.state(invitation),
        "uses": invitation.uses_allowed,
        "used": invitation.uses_completed,
        "used_by": [{"user_id": use.user_id, "used_at": use.used_at} for use in uses or ()],
        "note": invitation.note,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    }


@routes.post("/invitations")
async def create_invitation(request: web.Request) -> web.Response:
    """Make a link by which somebody can make an account."""
    requester = await require_user(request)
    body = await read_json(request, optional=True)
    request.app[RATE_LIMITS].check("invite", requester.user_id)

    made = await request.app[INVITATIONS].create(
        requester.user_id,
        uses=optional(body, "uses", int, 1) or 0,
        days=optional(body, "expires_in_days", int, 7) or 0,
        note=optional(body, "note", str),
    )
    return json_response(_shown(request, made))


@routes.get("/invitations")
async def get_invitations(request: web.Request) -> web.Response:
    """The caller's invitations, the newest first, with who came by each."""
    requester = await require_user(request)
    invitations = request.app[INVITATIONS]
    limits = invitations.limits
    mine = await invitations.mine(requester.user_id)
    return json_response(
        {
            "enabled": limits.enabled,
            "per_member": limits.per_member,
            "max_days": limits.max_days,
            "invitations": [_shown(request, invitation, uses) for invitation, uses in mine],
        }
    )


@routes.delete("/invitations/{code}")
async def revoke_invitation(request: web.Request) -> web.Response:
    """Make an invitation void."""
    requester = await require_user(request)
    await request.app[INVITATIONS].revoke(requester.user_id, request.match_info["code"])
    return json_response({})


@routes.get("/invitations/{code}/qr")
async def get_invitation_qr(request: web.Request) -> web.Response:
    """The link as a QR code: SVG, or PNG with ``?format=png``."""
    requester = await require_user(request)
    kind = request.query.get("format", "svg")
    if kind not in QR_TYPES:
        raise InvalidParam("'format' must be svg or png")
    invitations = request.app[INVITATIONS]
    invitation = await invitations.get_own(requester.user_id, request.match_info["code"])

    import segno  # seldom needed

    picture = io.BytesIO()
    code = segno.make(invitations.link(invitation.code), error="m", micro=False)
    # a light ground of its own, so that it can be scanned on a dark page
    code.save(picture, kind=kind, scale=8, border=4, light="#fff", dark="#000")
    return web.Response(body=picture.getvalue(), content_type=QR_TYPES[kind], headers=QR_HEADERS)
