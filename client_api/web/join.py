"""The page behind an invitation's link: who invites, and a form that makes an account.

It works without scripts, so on any browser.  See ``docs/accounts.md``.
"""

from __future__ import annotations

import html

from aiohttp import web
from msgspec import Struct

from client_api.web import plain_page
from homeserver.app_keys import CONFIG, INVITATIONS, PROFILES, RATE_LIMITS, REGISTRATION, TERMS
from homeserver.callers import caller_key
from homeserver.errors import InvalidParam, LimitExceeded, MatrixError, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services import interactive_auth
from homeserver.storage.invitations import Invitation

routes = web.RouteTableDef()

PATH = "/_comity/join/{code}"
TITLE = "You are invited"
CLIENTS = (
    ("Element X", "telephones and tablets"),
    ("Element", "browser and desktop: app.element.io"),
    ("FluffyChat", "telephones, browser and desktop"),
    ("Cinny", "browser and desktop: app.cinny.in"),
    ("Nheko", "desktop"),
)
FORM = (
    """<p><strong><bdi>{inviter_name}</bdi></strong> (<bdi>{inviter}</bdi>) invites you to
<strong>{server}</strong>, a server for messages over Matrix. With an account here you can write to
people on this server and, if you want to, on others.</p>
{notice}
<form method="post" autocomplete="on">
"""
    + plain_page.NEW_ACCOUNT_FIELDS
    + """
{boxes}
<button>Make my account</button>
</form>
<h2>You have an account here already?</h2>
<p>Then you need no invitation: open your Matrix client and write to <bdi>{inviter}</bdi>.</p>"""
)
DONE = """<p class="note" role="status">Your account is ready. You and
<strong><bdi>{inviter_name}</bdi></strong> are in touch already.</p>
<p>Now sign in with any Matrix client:</p>
<dl>
<dt>Server (homeserver)</dt><dd><code>{address}</code></dd>
<dt>User name</dt><dd><code>{user_id}</code></dd>
<dt>Password</dt><dd>the one that you have just chosen</dd>
</dl>
<h2>Clients that many people use</h2>
<ul>
{clients}
</ul>
<p>Keep the password in a safe place.</p>"""
CLIENT = "<li><strong>{name}</strong>: {where}</li>"
VOID = {
    "used": "This invitation has been used. Ask whoever sent it to you for another one.",
    "expired": "This invitation has expired. Ask whoever sent it to you for another one.",
    "revoked": "This invitation was taken back. Ask whoever sent it to you for another one.",
}


class Void(MatrixError):
    """An invitation that is used up, expired or revoked."""

    errcode, status = "M_FORBIDDEN", 410


class _Choice(Struct, frozen=True):
    """What a newcomer has filled in."""

    username: str = ""
    password: str = ""
    repeated: str = ""
    ticked: tuple[str, ...] = ()


async def _invitation(request: web.Request) -> Invitation:
    """The open invitation of the address.  Raises: :class:`NotFound`, :class:`Void`."""
    invitations = request.app[INVITATIONS]
    invitation = await invitations.find(request.match_info["code"])
    if invitation is None:
        request.app[RATE_LIMITS].check("registration_token", caller_key(request))
        raise NotFound("There is no such invitation. Was the whole link opened?")
    state = invitations.state(invitation)
    if state != "open":
        raise Void(VOID[state])
    return invitation


async def _name(request: web.Request, user_id: UserId) -> str:
    fields = await request.app[PROFILES].member_fields(user_id)
    name = fields.get("displayname")
    return name if isinstance(name, str) and name.strip() else user_id.localpart


async def _form(
    request: web.Request,
    invitation: Invitation,
    choice: _Choice,
    error: MatrixError | None = None,
) -> web.Response:
    inviter = UserId(invitation.inviter)
    content = FORM.format(
        inviter=html.escape(inviter),
        inviter_name=html.escape(await _name(request, inviter)),
        server=html.escape(request.app[CONFIG].server_name),
        notice=plain_page.alert(error.text) if error is not None else "",
        username=html.escape(choice.username),
        boxes=plain_page.tick_boxes(request, request.app[TERMS].documents, choice.ticked),
    )
    status = error.status if error is not None else 200
    return plain_page.page(request, TITLE, content, status=status)


@routes.get(PATH)
@plain_page.readable
async def show_invitation(request: web.Request) -> web.Response:
    """Say who invites, and ask for a user name and password."""
    return await _form(request, await _invitation(request), _Choice())


@routes.post(PATH)
@plain_page.readable
async def accept_invitation(request: web.Request) -> web.Response:
    """Make the account; what is wrong with the form is said above it."""
    invitation = await _invitation(request)
    fields = await plain_page.form_fields(request)
    choice = _Choice(
        fields.get("username", "").strip(),
        fields.get("password", ""),
        fields.get("repeated", ""),
        tuple(await plain_page.ticked_boxes(request)),
    )
    try:
        user_id = await _register(request, invitation, choice)
    except LimitExceeded:
        raise
    except MatrixError as error:
        return await _form(request, await _invitation(request), choice, error)
    return await _done(request, invitation, user_id)


async def _register(request: web.Request, invitation: Invitation, choice: _Choice) -> UserId:
    registration, terms = request.app[REGISTRATION], request.app[TERMS]
    if not choice.username:
        raise InvalidParam("Choose a user name")
    plain_page.check_new_password(choice.password, choice.repeated)
    terms.check_ticked(choice.ticked)
    request.app[RATE_LIMITS].check("registration", caller_key(request))
    user_id = await registration.check_available(choice.username)
    proof: dict[str, object] = {interactive_auth.REGISTRATION_TOKEN: invitation.code}
    if terms.documents:
        proof[interactive_auth.TERMS] = terms.versions
    await registration.register(user_id, choice.password, proof, how="invitation")
    return user_id


async def _done(request: web.Request, invitation: Invitation, user_id: UserId) -> web.Response:
    clients = (
        CLIENT.format(name=html.escape(name), where=html.escape(where)) for name, where in CLIENTS
    )
    content = DONE.format(
        inviter_name=html.escape(await _name(request, UserId(invitation.inviter))),
        address=html.escape(request.app[CONFIG].public_base_url),
        user_id=html.escape(user_id),
        clients="\n".join(clients),
    )
    return plain_page.page(request, "Welcome", content)
