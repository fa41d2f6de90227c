"""Making an account on a page, as the instance's registration lets newcomers do.

Clients lead here with ``prompt=create``.  Spec: client-server API, user registration.
"""

from __future__ import annotations

import html

from aiohttp import web
from msgspec import Struct

from client_api.oauth import emails, visits
from client_api.oauth.emails import Proof
from client_api.oauth.sign_in import enter
from client_api.oauth.visits import Visit
from client_api.web import link_code, plain_page
from homeserver.app_keys import CONFIG, RATE_LIMITS, REGISTRATION, TERMS
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, InvalidParam, LimitExceeded, MatrixError
from homeserver.protocol.identifiers import UserId
from homeserver.services import interactive_auth as stages
from homeserver.services.interactive_auth import Flows
from homeserver.services.third_party_mails import REGISTER

routes = web.RouteTableDef()

TITLE = "Make an account"
KNOWN = frozenset({stages.DUMMY, stages.REGISTRATION_TOKEN, stages.TERMS})
WHY = "An account here needs an e-mail address."
FORM = (
    """{notice}
<p>Your account will be on <strong>{server}</strong>.</p>
<form method="post" autocomplete="on">
{token}
{proof}
"""
    + plain_page.NEW_ACCOUNT_FIELDS
    + """
{code}
{boxes}
<button>Make my account</button>
</form>
<p class="quiet">You have an account already? <a href="{sign_in}">Sign in</a></p>"""
)
CODE = """<div class="field">
<label for="code">{label}</label>
<input id="code" name="code" value="{value}" maxlength="64" autocomplete="off"
  autocapitalize="none" spellcheck="false"{required}>
</div>"""


class _Choice(Struct, frozen=True):
    """What a newcomer has filled in."""

    username: str = ""
    password: str = ""
    repeated: str = ""
    code: str = ""
    ticked: tuple[str, ...] = ()
    proof: Proof | None = None
    link_code: str = ""


class _Rules(Struct, frozen=True):
    """What a newcomer needs here: whether a code can, or must, be given; an e-mail address."""

    code_possible: bool
    code_needed: bool
    email_needed: bool


def _rules(request: web.Request) -> _Rules:
    """Raises :class:`Forbidden` where nobody can make an account on this page."""
    flows: Flows = request.app[REGISTRATION].flows()
    plain = [flow for flow in flows if stages.EMAIL_IDENTITY not in flow]
    email_needed = not plain
    known = KNOWN | {stages.EMAIL_IDENTITY} if email_needed else KNOWN
    flows = [flow for flow in plain or flows if known.issuperset(flow)]
    if not flows:
        raise Forbidden("Accounts here are made in Matrix clients")
    with_code = [stages.REGISTRATION_TOKEN in flow for flow in flows]
    return _Rules(any(with_code), all(with_code), email_needed)


def _form(
    visit: Visit, then: str, choice: _Choice, error: MatrixError | None = None
) -> web.Response:
    request = visit.request
    rules = _rules(request)
    status = error.status if error is not None else 200
    if rules.email_needed and choice.proof is None:
        content = emails.ask(WHY, visit.form_token(), error)
        return visits.page(visit, TITLE, content, status=status)
    label = "Registration token, or the code of an invitation"
    code = CODE.format(
        label=label if rules.code_needed else f"{label} (if you have one)",
        value=html.escape(choice.code),
        required=" required" if rules.code_needed else "",
    )
    notice = emails.SENT if choice.proof is not None else ""
    if error is not None:
        notice = plain_page.alert(error.text)
    content = FORM.format(
        notice=notice,
        proof=choice.proof.fields() if choice.proof is not None else "",
        server=html.escape(request.app[CONFIG].server_name),
        token=visit.form_token(),
        username=html.escape(choice.username),
        code=code if rules.code_possible else "",
        boxes=plain_page.tick_boxes(request, request.app[TERMS].documents, choice.ticked),
        sign_in=html.escape(visits.with_then(visits.SIGN_IN, then)),
    )
    return visits.page(visit, TITLE, content, status=status)


@routes.get(visits.SIGN_UP)
@visits.pages
async def show_sign_up(request: web.Request) -> web.StreamResponse:
    """Ask for a user name and a password."""
    visit = await visits.arrive(request)
    return _form(visit, visits.parse_then(request.query.get("then")), _Choice())


@routes.post(visits.SIGN_UP)
@visits.pages
async def sign_up(request: web.Request) -> web.StreamResponse:
    """Make the account, sign in, and go on; what is wrong with the form is said above it."""
    visit = await visits.arrive(request)
    fields = await visits.read_form_lists(visit)
    then = visits.parse_then(request.query.get("then"))
    choice = _Choice(
        username=fields.get("username", [""])[0],
        password=fields.get("password", [""])[0],
        repeated=fields.get("repeated", [""])[0],
        code=fields.get("code", [""])[0],
        ticked=tuple(fields.get("accepted", ())),
        proof=emails.proof_of({key: values[0] for key, values in fields.items()}),
        link_code=fields.get(link_code.NAME, [""])[0],
    )
    try:
        if _rules(request).email_needed and choice.proof is None:
            proof = await emails.send(visit, REGISTER, fields.get("email", [""])[0])
            return _form(visit, then, _Choice(proof=proof))
        user_id = await _register(visit, choice)
    except LimitExceeded:
        raise
    except MatrixError as error:
        return _form(visit, then, choice, error)
    return await enter(visit, user_id, then)


async def _register(visit: Visit, choice: _Choice) -> UserId:
    request = visit.request
    registration, terms, rules = request.app[REGISTRATION], request.app[TERMS], _rules(request)
    username, code = choice.username.strip(), choice.code.strip()
    if not username:
        raise InvalidParam("Choose a user name")
    plain_page.check_new_password(choice.password, choice.repeated)
    terms.check_ticked(list(choice.ticked))
    request.app[RATE_LIMITS].check("registration", caller_key(request))
    proof: dict[str, object] = {stages.TERMS: terms.versions} if terms.documents else {}
    if rules.code_needed or (code and rules.code_possible):
        proof[stages.REGISTRATION_TOKEN] = await registration.token_stage({"token": code}, None)
    if rules.email_needed and choice.proof is not None:
        proof[stages.EMAIL_IDENTITY] = await emails.confirmed(visit, choice.proof, choice.link_code)
    user_id = await registration.check_available(username)
    await registration.register(user_id, choice.password, proof, how="page")
    return user_id
