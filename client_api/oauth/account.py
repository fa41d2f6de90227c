"""The account page, and what clients lead to on it: password, identity, the end.

Spec: client-server API, account management (OAuth 2.0).
"""

from __future__ import annotations

import html
from urllib.parse import urlencode

from aiohttp import web

from client_api.oauth import visits
from client_api.oauth.sign_in import SIGN_OUT, enter
from client_api.oauth.visits import Visit
from client_api.web import plain_page
from homeserver.app_keys import (
    ACCOUNTS,
    APPROVALS,
    BROWSERS,
    DEVICES,
    PASSWORD_LOGIN,
    RATE_LIMITS,
    THIRD_PARTY_IDS,
)
from homeserver.callers import caller_key
from homeserver.errors import LimitExceeded, MatrixError, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.oauth import metadata
from homeserver.services.oauth.metadata import ACCOUNT

routes = web.RouteTableDef()

PROFILE, PASSWORD = visits.path_of("profile"), visits.path_of("password")
CONTACTS, ACCESS = visits.path_of("contacts"), visits.path_of("access")
DEVICE_LIST, DEVICE = visits.path_of("devices"), visits.path_of("device")
REMOVE_DEVICE = visits.path_of("remove-device")
END, RESET = visits.path_of("deactivate"), visits.path_of("reset-identity")
PAGE_OF = {
    metadata.PROFILE: PROFILE,
    metadata.DEVICES_LIST: DEVICE_LIST,
    metadata.DEVICE_VIEW: DEVICE,
    metadata.DEVICE_DELETE: REMOVE_DEVICE,
    metadata.DEACTIVATE: END,
    metadata.CROSS_SIGNING_RESET: RESET,
}
BACK = f'<p><a href="{ACCOUNT}">Back to your account</a></p>'
OVERVIEW = """<p>You are <strong>{user}</strong>.</p>
<ul>
<li><a href="{profile}">Profile</a>: your name and picture, as others see them</li>
<li><a href="{contacts}">E-mail addresses</a></li>
<li><a href="{devices}">Devices</a>: where you are logged in</li>
<li><a href="{access}">Browsers and programs</a>: what else can use your account</li>
<li><a href="{password}">Password</a></li>
<li><a href="{reset}">Encryption identity</a>: begin anew when you have lost all your devices</li>
<li><a href="/_comity/me">Privacy</a>: who may write to you, and your data (sign in there)</li>
<li><a href="{end}">Delete the account</a></li>
</ul>
<form method="post" action="{sign_out}">
{token}
<button>Sign out of this page</button>
</form>"""
PASSWORD_FORM = (
    """{notice}
<form method="post">
{token}
<input type="hidden" name="username" value="{user}" autocomplete="username">
<div class="field">
<label for="old">Your password now</label>
<input id="old" name="old" type="password" required autocomplete="current-password">
</div>
"""
    + plain_page.NEW_PASSWORD_FIELDS.format(
        label="The new one", label_again="The new one once more"
    )
    + plain_page.LOG_OUT_BOX
    + """
<button>Change the password</button>
</form>
{back}"""
)
END_FORM = """{notice}
<p>This ends <strong>{user}</strong> for ever: you are logged out everywhere, leave all rooms, and
nobody can have this user name again.</p>
<form method="post" class="removal">
{token}
<p class="tick"><label><input type="checkbox" name="sure" value="yes" required> I want to delete
my account</label></p>
<p class="tick"><label><input type="checkbox" name="erase" value="yes"> Also erase my messages and
files, as far as nobody else has a claim to them</label></p>
<button>Delete my account</button>
</form>
{back}"""
RESET_FORM = """<p>{device} asks to replace your encryption identity. Do this only if you have
<em>just</em> asked for it, and have no other device and no recovery key left.</p>
<ul>
<li>Messages that you cannot read now stay unreadable.</li>
<li>You will have to verify your other devices, and your contacts, again.</li>
</ul>
<form method="post">
{token}
<button>Let it replace my identity</button>
</form>
{back}"""
APPROVED = plain_page.STATUS.format(
    text="You have confirmed it. Go back to your application: it has ten minutes to go on."
)
ENDED = plain_page.STATUS.format(text="Your account has been deleted.")


@routes.get(ACCOUNT)
@visits.pages
async def show_account(request: web.Request) -> web.StreamResponse:
    """What there is; or, with ``action``, the page for it."""
    action = request.query.get("action", "")
    page = PAGE_OF.get(metadata.OLDER_ACTIONS.get(action, action))
    if page is not None:
        device_id = request.query.get("device_id")
        return visits.go(f"{page}?{urlencode({'device_id': device_id})}" if device_id else page)
    visit = await visits.require_session(request)
    content = OVERVIEW.format(
        user=visits.escaped(visit.user_id),
        profile=PROFILE,
        contacts=CONTACTS,
        devices=DEVICE_LIST,
        access=ACCESS,
        password=PASSWORD,
        reset=RESET,
        end=END,
        sign_out=SIGN_OUT,
        token=visit.form_token(),
    )
    return visits.page(visit, "Your account", content)


# ---------------------------------------------------------------- password


async def _password_form(visit: Visit, notice: str, status: int = 200) -> web.Response:
    account = await visit.request.app[ACCOUNTS].get(visit.user_id)
    if account.password_hash is None:
        raise NotFound("You have no password here: you sign in by another service")
    content = PASSWORD_FORM.format(
        notice=notice, token=visit.form_token(), user=html.escape(visit.user_id), back=BACK
    )
    return visits.page(visit, "Password", content, status=status)


@routes.get(PASSWORD)
@visits.pages
async def show_password(request: web.Request) -> web.StreamResponse:
    """Ask for the old one and a new one."""
    return await _password_form(await visits.require_session(request), "")


@routes.post(PASSWORD)
@visits.pages
async def change_password(request: web.Request) -> web.StreamResponse:
    """Change it; other browsers are signed out by that."""
    visit = await visits.require_session(request)
    fields = await visits.read_form(visit)
    try:
        await _change_password(request, visit.user_id, fields)
    except LimitExceeded:
        raise
    except MatrixError as error:
        return await _password_form(visit, plain_page.alert(error.text), error.status)
    return await enter(visit, visit.user_id, ACCOUNT)


async def _change_password(request: web.Request, user_id: UserId, fields: dict[str, str]) -> None:
    new = fields.get("password", "")
    plain_page.check_new_password(new, fields.get("repeated", ""))
    request.app[RATE_LIMITS].check("login", caller_key(request))
    await request.app[PASSWORD_LOGIN].sign_in(user_id, fields.get("old", ""))
    await request.app[ACCOUNTS].set_password(
        user_id, new, keep_device=None, logout_devices="log_out" in fields
    )
    await request.app[THIRD_PARTY_IDS].password_changed(user_id)


# ---------------------------------------------------------------- what is grave


@routes.get(RESET)
@visits.pages
async def show_reset(request: web.Request) -> web.StreamResponse:
    """Ask whether a device may replace the cross-signing keys."""
    visit = await visits.require_session(request, recent=True)
    device_id = request.query.get("device_id")
    device = "An application of yours"
    if device_id is not None:
        found = await request.app[DEVICES].get(visit.user_id, device_id.replace("\0", ""))
        name = visits.escaped(found.shown_name)
        device = f"Your device <strong>{name}</strong>"
    content = RESET_FORM.format(device=device, token=visit.form_token(), back=BACK)
    return visits.page(visit, "Replace your encryption identity?", content)


@routes.post(RESET)
@visits.pages
async def approve_reset(request: web.Request) -> web.StreamResponse:
    """Let it, once."""
    visit = await visits.require_session(request, recent=True)
    await visits.read_form(visit)
    device_id = request.query.get("device_id")
    if device_id is not None:
        await request.app[DEVICES].get(visit.user_id, device_id.replace("\0", ""))
    await request.app[APPROVALS].approve(visit.user_id, device_id)
    return visits.page(visit, "Replace your encryption identity?", APPROVED + BACK)


def _end_form(visit: Visit, notice: str = "", status: int = 200) -> web.Response:
    content = END_FORM.format(
        notice=notice,
        user=visits.escaped(visit.user_id),
        token=visit.form_token(),
        back=BACK,
    )
    return visits.page(visit, "Delete your account?", content, status=status)


@routes.get(END)
@visits.pages
async def show_end(request: web.Request) -> web.StreamResponse:
    """Ask whether the account is to end."""
    return _end_form(await visits.require_session(request, recent=True))


@routes.post(END)
@visits.pages
async def end_account(request: web.Request) -> web.StreamResponse:
    """End the account."""
    visit = await visits.require_session(request, recent=True)
    fields = await visits.read_form(visit)
    if "sure" not in fields:
        return _end_form(visit, plain_page.alert("Tick that you want to delete it"), 400)
    await request.app[ACCOUNTS].deactivate(visit.user_id, erase="erase" in fields)
    await request.app[BROWSERS].sign_out(visit.cookie)
    return visits.page(visit, "Goodbye", ENDED)
