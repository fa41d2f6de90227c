"""The e-mail addresses of an account: seen, added and taken away.

Spec: client-server API, account management URL actions (``org.matrix.profile``).
"""

from __future__ import annotations

import html

from aiohttp import web

from client_api.oauth import emails, visits
from client_api.oauth.account import BACK, CONTACTS
from client_api.oauth.emails import Proof
from client_api.oauth.visits import Visit
from client_api.web import link_code, plain_page
from homeserver.app_keys import ACCOUNT_STANDING, THIRD_PARTY_BINDINGS, THIRD_PARTY_IDS
from homeserver.errors import LimitExceeded, MatrixError, NotFound
from homeserver.services.third_party_mails import ADD

routes = web.RouteTableDef()

TITLE = "E-mail addresses"
WHY = "With a further address:"
NONE = "<p>Your account has no e-mail address.</p>"
ADDRESS = """<form method="post" class="removal">
{token}
<p>{shown}</p>
<button name="remove" value="{address}">Take away <bdi>{address}</bdi></button>
</form>"""
CONFIRM = """{notice}
<form method="post">
{token}
{proof}
<button>Go on</button>
</form>
{back}"""


async def _list(visit: Visit, notice: str = "", error: MatrixError | None = None) -> web.Response:
    addresses = visit.request.app[THIRD_PARTY_IDS]
    entries = [e for e in await addresses.list_of(visit.user_id) if e.medium == "email"]
    parts = [notice] + [
        ADDRESS.format(
            token=visit.form_token(),
            shown=visits.escaped(entry.address),
            address=html.escape(entry.address),
        )
        for entry in entries
    ]
    if not entries:
        parts.append(NONE)
    if addresses.enabled:
        parts.append(emails.ask(WHY, visit.form_token(), error))
    elif error is not None:
        parts.insert(0, plain_page.alert(error.text))
    status = error.status if error is not None else 200
    return visits.page(visit, TITLE, "\n".join([*parts, BACK]), status=status)


def _confirm(visit: Visit, proof: Proof, error: MatrixError | None = None) -> web.Response:
    notice = plain_page.alert(error.text) if error is not None else emails.SENT
    content = CONFIRM.format(
        notice=notice, token=visit.form_token(), proof=proof.fields(), back=BACK
    )
    return visits.page(visit, TITLE, content, status=error.status if error is not None else 200)


@routes.get(CONTACTS)
@visits.pages
async def show_contacts(request: web.Request) -> web.StreamResponse:
    """All of them."""
    return await _list(await visits.require_session(request, recent=True))


@routes.post(CONTACTS)
@visits.pages
async def change_contacts(request: web.Request) -> web.StreamResponse:
    """Add one, in two steps, or take one away.

    Whoever has an address of the account can set its password, so the user is asked for theirs.
    """
    visit = await visits.require_session(request, recent=True)
    fields = await visits.read_form(visit)
    proof = emails.proof_of(fields)
    try:
        if "remove" in fields:
            await _remove(visit, fields["remove"])
            return await _list(visit, plain_page.STATUS.format(text="It is taken away."))
        if proof is None:
            return _confirm(visit, await emails.send(visit, ADD, fields.get("email", "")))
        await emails.confirmed(visit, proof, fields.get(link_code.NAME, ""))
        addresses = request.app[THIRD_PARTY_IDS]
        credentials = {"sid": proof.sid, "client_secret": proof.secret}
        await addresses.add(visit.user_id, await addresses.validated(credentials))
    except LimitExceeded:
        raise
    except MatrixError as error:
        return await _list(visit, error=error) if proof is None else _confirm(visit, proof, error)
    return await _list(visit, plain_page.STATUS.format(text="It is added."))


async def _remove(visit: Visit, address: str) -> None:
    app = visit.request.app
    app[ACCOUNT_STANDING].require_active(visit.user_id)
    known = await app[THIRD_PARTY_IDS].list_of(visit.user_id)
    if address not in [entry.address for entry in known]:
        raise NotFound("That is no address of your account")
    await app[THIRD_PARTY_BINDINGS].unbind(visit.user_id, "email", address, None)
    await app[THIRD_PARTY_IDS].remove(visit.user_id, "email", address)
