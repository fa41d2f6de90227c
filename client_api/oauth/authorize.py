"""Where a client sends people: may it use their account?  And where they enter a device's code.

Spec: client-server API, authorisation code flow, device authorisation flow.
"""

from __future__ import annotations

import html
from collections import defaultdict
from urllib.parse import urlencode, urlsplit

from aiohttp import web
from authlib.oauth2.rfc6749 import OAuth2Error

from client_api.oauth import visits
from client_api.oauth.endpoints import form_parameters
from client_api.oauth.origins import program_name, when
from client_api.oauth.visits import Visit
from client_api.web import plain_page
from homeserver.app_keys import (
    ACCOUNTS,
    AUTHORIZATIONS,
    CONFIG,
    DEVICE_CODES,
    DEVICES,
    RATE_LIMITS,
)
from homeserver.callers import caller_address, caller_key, network_of
from homeserver.errors import Forbidden, InvalidParam, MatrixError
from homeserver.services.oauth.authorizations import CREATE, LOGIN, Refused
from homeserver.services.oauth.clients import Client
from homeserver.services.oauth.metadata import ENDPOINTS, LINK
from homeserver.services.usernames import parse_user
from homeserver.storage.oauth_grants import DeviceCode

routes = web.RouteTableDef()

AUTHORIZE = f"{ENDPOINTS}/authorize"
MAX_ADDRESS_LENGTH = 8_000  # what a request line can have in it, nearly
CONSENT = visits.path_of("authorize") + "/{grant_id}"
ALLOW, REFUSE = "allow", "refuse"
SELECT_ACCOUNT = "select_account"
QUESTION = """<p>The application <strong>{name}</strong> asks to use your account
<strong>{user}</strong>.</p>
<p>It will be able to read your messages, to write in your name, and to do everything else that a
Matrix client can do{admin}. You can end this at any time on the page of your account.</p>
<dl>
<dt>Its page</dt><dd>{page}</dd>
<dt>{to_label}</dt><dd>{to}</dd>
<dt>As your device</dt><dd><code>{device}</code></dd>
{asked}
</dl>
{taken}
<p class="hint">It says itself what it is called. {caution}{more}</p>
<form method="post" class="answers">
{token}{fields}
<button class="primary" name="answer" value="allow">Allow</button>
<button name="answer" value="refuse">Do not allow</button>
</form>
<p class="quiet"><a href="{other}">Use another account</a></p>"""
TAKEN = """<p class="note bad">You have a device with this ID already: <strong>{name}</strong>. It
will be logged out, and the application takes its place.</p>"""
ADMIN = ", and, since you are an admin here, to administer this server"
CAUTION = "Go on only if you have just come from there."
DEVICE_CAUTION = (
    "Go on only if a device that is before you shows this very code, and you have just begun to "
    "log in there. Whoever has sent you the code, or a link with it, wants to get into your "
    "account."
)
ASKED = """<dt>The code was asked for</dt><dd>{when}</dd>
<dt>From</dt><dd>{ip} ({here})</dd>
<dt>By</dt><dd>{program}</dd>"""
MORE = ' It has <a href="{url}" target="_blank" rel="noopener noreferrer">{title}</a>.'
FAILED = "That did not work"
REFUSED = """{notice}
<p><a class="button" href="{url}" rel="noreferrer">Back to {place}</a></p>"""
ENTER = """{notice}
<p>A device that you want to use with your account shows a code. Enter it here.</p>
<form method="get">
<div class="field">
<label for="user_code">The code</label>
<input id="user_code" name="user_code" value="{code}" required maxlength="20" autocomplete="off"
  autocapitalize="characters" spellcheck="false" aria-describedby="code-hint">
<p class="hint" id="code-hint">Eight letters, such as WDJB-MJHT.</p>
</div>
<button>Continue</button>
</form>"""
DONE = {
    ALLOW: "Done: go back to your device. You can close this page.",
    REFUSE: "The device was not allowed. You can close this page.",
}


# ---------------------------------------------------------------- the authorization endpoint


@routes.post(AUTHORIZE)
@visits.pages
async def authorize_by_form(request: web.Request) -> web.StreamResponse:
    """Take an authorization request that comes as a form.  OpenID Connect Core, section 3.1.2.1.

    It goes on as an address: with a form of another site browsers send no cookie of ours.
    """
    try:
        fields = await form_parameters(request)
    except OAuth2Error as error:
        return _invalid(request, error)
    address = f"{AUTHORIZE}?{urlencode(fields, doseq=True)}"
    if len(address) > MAX_ADDRESS_LENGTH:
        raise InvalidParam("The application's request is too long")
    return visits.go(address)


@routes.get(AUTHORIZE)
@visits.pages
async def authorize(request: web.Request) -> web.StreamResponse:
    """Take an authorization request, and ask the user; who is told of errors, and can go back."""
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    parameters: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in request.query.items():
        if value:  # RFC 6749, section 3.1: an empty one counts as absent
            parameters[key].append(value)
    try:
        grant_id = await request.app[AUTHORIZATIONS].begin(dict(parameters))
    except Refused as refused:
        # Anybody can register a client, so nobody is sent on unasked.  RFC 9700, section 4.11.2.
        content = REFUSED.format(
            notice=plain_page.alert(f"The application's request is not valid: {refused.text}"),
            url=html.escape(refused.address),
            place=visits.escaped(_place(refused.address)[1]),
        )
        return plain_page.page(request, FAILED, content, status=400)
    except OAuth2Error as error:
        return _invalid(request, error)
    then = CONSENT.format(grant_id=grant_id)
    prompts = " ".join(parameters["prompt"]).split()
    if CREATE in prompts:
        return visits.go(visits.with_then(visits.SIGN_UP, then))
    hint = _hinted(request, " ".join(parameters["login_hint"]))
    visit = await visits.arrive(request)
    other = hint and (visit.session is None or visit.session.user_id != hint)
    if LOGIN in prompts or SELECT_ACCOUNT in prompts or other:
        return visits.go(visits.with_then(visits.SIGN_IN, then, user=hint))
    return visits.go(then)


def _invalid(request: web.Request, error: OAuth2Error) -> web.Response:
    text = f"The application's request is not valid: {error.get_error_description()}"
    return plain_page.page(request, FAILED, plain_page.alert(text), status=400)


def _hinted(request: web.Request, text: str) -> str:
    """Whom a client expects to sign in, to be filled in; nobody, where it cannot be somebody here.

    OpenID Connect Core, section 3.1.2.1; MSC4198, which writes ``mxid:@user:server``.
    """
    name, here = text.strip().removeprefix("mxid:"), request.app[CONFIG].server_name
    user_id = parse_user(name, here) if name else None
    return user_id if user_id is not None and user_id.server_name == here else ""


async def _question(
    visit: Visit,
    client: Client,
    *,
    device_id: str,
    to: tuple[str, str],
    caution: str = CAUTION,
    asked: str = "",
    fields: str = "",
) -> web.Response:
    app = visit.request.app
    account = await app[ACCOUNTS].get(visit.user_id)
    taken = await app[DEVICES].find(visit.user_id, device_id)
    content = QUESTION.format(
        name=visits.escaped(client.name),
        user=visits.escaped(visit.user_id),
        admin=ADMIN if account.admin else "",
        page=_link(client.metadata["client_uri"], client.host),
        to_label=to[0],
        to=visits.escaped(to[1]),
        device=html.escape(device_id),
        taken=TAKEN.format(name=visits.escaped(taken.shown_name)) if taken is not None else "",
        asked=asked,
        caution=caution,
        more=_documents(client),
        token=visit.form_token(),
        fields=fields,
        other=html.escape(visits.with_then(visits.SIGN_IN, visit.request.path_qs)),
    )
    return visits.page(visit, f"Allow {client.name}?", content)


def _link(url: str, text: str) -> str:
    return (
        f'<a href="{html.escape(url)}" target="_blank" rel="noopener noreferrer">'
        f"{html.escape(text)}</a>"
    )


def _documents(client: Client) -> str:
    pages = {"tos_uri": "terms of service", "policy_uri": "a privacy policy"}
    return "".join(
        MORE.format(url=html.escape(client.metadata[key]), title=title)
        for key, title in pages.items()
        if client.metadata.get(key)
    )


def _place(uri: str) -> tuple[str, str]:
    """Where an answer goes to, as a person is told."""
    parts = urlsplit(uri)
    label = "Sends you back to"
    if parts.scheme == "https":
        return label, parts.hostname or ""
    if parts.scheme == "http":
        return label, "an application on this device"
    return label, f"the application {parts.scheme} on this device"


@routes.get(CONSENT)
@visits.pages
async def show_consent(request: web.Request) -> web.StreamResponse:
    """Ask."""
    visit = await visits.require_session(request)
    asked = await request.app[AUTHORIZATIONS].find(request.match_info["grant_id"])
    uri = asked.request.redirect_uri
    response = await _question(visit, asked.client, device_id=asked.scope.device_id, to=_place(uri))
    return visits.let_form_lead_to(response, uri)


@routes.post(CONSENT)
@visits.pages
async def answer_consent(request: web.Request) -> web.StreamResponse:
    """Take the answer, and tell the client."""
    visit = await visits.require_session(request)
    answer = (await visits.read_form(visit)).get("answer")
    authorizations = request.app[AUTHORIZATIONS]
    asked = await authorizations.find(request.match_info["grant_id"])
    if answer == REFUSE:
        return visits.go(await authorizations.refuse(asked))
    if answer != ALLOW:
        raise Forbidden("Choose one of the two answers")
    return visits.go(await authorizations.grant(asked, visit.user_id))


# ---------------------------------------------------------------- devices without a browser


@routes.get(LINK)
@visits.pages
async def show_link(request: web.Request) -> web.StreamResponse:
    """Ask for a device's code; and with it, whether the device may."""
    visit = await visits.require_session(request)
    user_code = request.query.get("user_code", "")
    if not user_code:
        return visits.page(visit, "Link a device", ENTER.format(notice="", code=""))
    request.app[RATE_LIMITS].check("device_code", visit.user_id)
    try:
        waiting = await request.app[DEVICE_CODES].find(user_code)
    except MatrixError as error:
        content = ENTER.format(notice=plain_page.alert(error.text), code=html.escape(user_code))
        return visits.page(visit, "Link a device", content, status=error.status)
    return await _question(
        visit,
        waiting.client,
        device_id=waiting.scope.device_id,
        to=("The device shows", waiting.user_code),
        caution=DEVICE_CAUTION,
        asked=_asked(request, waiting.code),
        fields=f'<input type="hidden" name="user_code" value="{waiting.user_code}">',
    )


def _asked(request: web.Request, code: DeviceCode) -> str:
    """Who has asked for a code: somebody who is elsewhere may have sent it."""
    ip, yours = code.ip or "", caller_address(request)
    same = ip and network_of(ip) == network_of(yours)
    return ASKED.format(
        when=when(code.created_at),
        ip=html.escape(ip) or "an unknown address",
        here="you come from there, too" if same else f"you come from {html.escape(yours)}",
        program=visits.escaped(program_name(code.user_agent)),
    )


@routes.post(LINK)
@visits.pages
async def answer_link(request: web.Request) -> web.StreamResponse:
    """Take the answer; the device asks for it."""
    visit = await visits.require_session(request)
    fields = await visits.read_form(visit)
    request.app[RATE_LIMITS].check("device_code", visit.user_id)
    codes, answer = request.app[DEVICE_CODES], fields.get("answer", "")
    if answer not in DONE:
        raise Forbidden("Choose one of the two answers")
    waiting = await codes.find(fields.get("user_code", ""))
    await codes.answer(waiting, visit.user_id, answer == ALLOW)
    return visits.page(visit, "Link a device", plain_page.STATUS.format(text=DONE[answer]))
