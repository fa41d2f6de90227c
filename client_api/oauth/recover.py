"""A new password for who has forgotten theirs, by a mail to an address of the account."""

from __future__ import annotations

from aiohttp import web

from client_api.oauth import emails, visits
from client_api.oauth.emails import Proof
from client_api.oauth.sign_in import RECOVER, enter
from client_api.oauth.visits import Visit
from client_api.web import link_code, plain_page
from homeserver.app_keys import ACCOUNT_STANDING, ACCOUNTS, RATE_LIMITS, THIRD_PARTY_IDS
from homeserver.callers import caller_key
from homeserver.errors import LimitExceeded, MatrixError, NotFound, UserLocked
from homeserver.protocol.identifiers import UserId
from homeserver.services.third_party_mails import PASSWORD

routes = web.RouteTableDef()

TITLE = "A new password"
WHY = "We send a mail to an address that you have added to your account."
FORM = (
    """{notice}
<form method="post">
{token}
{proof}
"""
    + plain_page.NEW_PASSWORD_FIELDS.format(
        label="The new password", label_again="The new password once more"
    )
    + plain_page.LOG_OUT_BOX
    + """
<button>Set the password</button>
</form>"""
)


def _ask(visit: Visit, error: MatrixError | None = None) -> web.Response:
    if not visit.request.app[THIRD_PARTY_IDS].enabled:
        raise NotFound("This server sends no mail: ask its admin for a new password")
    content = emails.ask(WHY, visit.form_token(), error)
    return visits.page(visit, TITLE, content, status=error.status if error is not None else 200)


def _form(visit: Visit, proof: Proof, error: MatrixError | None = None) -> web.Response:
    notice = plain_page.alert(error.text) if error is not None else emails.SENT
    content = FORM.format(notice=notice, token=visit.form_token(), proof=proof.fields())
    return visits.page(visit, TITLE, content, status=error.status if error is not None else 200)


@routes.get(RECOVER)
@visits.pages
async def show_recovery(request: web.Request) -> web.StreamResponse:
    """Ask for an address."""
    return _ask(await visits.arrive(request))


@routes.post(RECOVER)
@visits.pages
async def recover(request: web.Request) -> web.StreamResponse:
    """Send the mail; once its link was followed, set the password and sign in."""
    visit = await visits.arrive(request)
    fields = await visits.read_form(visit)
    proof = emails.proof_of(fields)
    try:
        if proof is None:
            return _form(visit, await emails.send(visit, PASSWORD, fields.get("email", "")))
        user_id = await _set_password(visit, proof, fields)
    except LimitExceeded:
        raise
    except MatrixError as error:
        return _ask(visit, error) if proof is None else _form(visit, proof, error)
    return await enter(visit, user_id, visits.parse_then(request.query.get("then")))


async def _set_password(visit: Visit, proof: Proof, fields: dict[str, str]) -> UserId:
    request = visit.request
    password = fields.get("password", "")
    plain_page.check_new_password(password, fields.get("repeated", ""))
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    addresses = request.app[THIRD_PARTY_IDS]
    sid = await emails.confirmed(visit, proof, fields.get(link_code.NAME, ""))
    user_id = await addresses.owner_for_reset(sid)
    if request.app[ACCOUNT_STANDING].is_locked(user_id):
        raise UserLocked()
    await request.app[ACCOUNTS].set_password(
        user_id, password, keep_device=None, logout_devices="log_out" in fields
    )
    await addresses.password_changed(user_id)
    return user_id
