"""What the account pages share: whose browser it is, forms that come from us, where to go on to."""

from __future__ import annotations

import functools
import html
from urllib.parse import quote, urlencode, urlsplit

from aiohttp import hdrs, web
from msgspec import Struct

from client_api.auth import origin
from client_api.web import account_cookie, plain_page
from client_api.web.static_files import CONTENT_SECURITY_POLICY
from homeserver.app_keys import ACCOUNT_STANDING, BROWSERS
from homeserver.errors import UserLocked
from homeserver.protocol.identifiers import UserId
from homeserver.services.oauth.browsers import new_cookie
from homeserver.services.oauth.metadata import ACCOUNT, LINK
from homeserver.storage.account_sessions import AccountSession
from homeserver.web import Handler, read_form_fields

MAX_THEN_LENGTH = 4_000
SIGN_IN, SIGN_UP = f"{ACCOUNT}/sign-in", f"{ACCOUNT}/sign-up"
FORM_TOKEN = "form_token"
FORM_TOKEN_FIELD = '<input type="hidden" name="form_token" value="{token}">'


class Visit(Struct, frozen=True):
    """A browser at a page of ours; ``fresh``: it has just been given its cookie."""

    request: web.Request
    cookie: str
    fresh: bool
    session: AccountSession | None

    @property
    def user_id(self) -> UserId:
        """Who is signed in."""
        if self.session is None:
            raise SignInNeeded(self.request.path_qs)
        return UserId(self.session.user_id)

    def form_token(self) -> str:
        """The hidden field that every form of ours has."""
        token = self.request.app[BROWSERS].form_token(self.cookie)
        return FORM_TOKEN_FIELD.format(token=token)


class SignInNeeded(Exception):
    """A page that only somebody who is signed in can see; ``then``: its own address."""

    def __init__(self, then: str) -> None:
        super().__init__("sign in first")
        self.then = then


async def arrive(request: web.Request) -> Visit:
    """Whose browser this is."""
    cookie = account_cookie.read(request)
    if cookie is None:
        return Visit(request, new_cookie(), True, None)
    session = await request.app[BROWSERS].find(cookie, lambda: origin(request))
    return Visit(request, cookie, False, session)


async def require_session(request: web.Request, *, recent: bool = False) -> Visit:
    """A browser in which somebody is signed in; ``recent``: and has been asked lately.

    Raises :class:`SignInNeeded`, with which :func:`pages` sends the browser to the sign-in page;
    :class:`~homeserver.errors.UserLocked`.
    """
    visit = await arrive(request)
    session = visit.session
    if session is None or (recent and not request.app[BROWSERS].is_recent(session)):
        raise SignInNeeded(request.path_qs)
    if request.app[ACCOUNT_STANDING].is_locked(session.user_id):
        raise UserLocked()
    return visit


async def read_form(visit: Visit) -> dict[str, str]:
    """A form's fields.

    Raises :class:`~homeserver.errors.Forbidden` for one that another site has sent.
    """
    return {key: values[0] for key, values in (await read_form_lists(visit)).items()}


async def read_form_lists(visit: Visit) -> dict[str, list[str]]:
    """Like :func:`read_form`, where fields may be there more than once."""
    fields = await read_form_fields(visit.request)
    cookie = None if visit.fresh else visit.cookie
    (token,) = fields.pop(FORM_TOKEN, [""])[:1]
    visit.request.app[BROWSERS].check_form(cookie, token)
    return fields


def page(visit: Visit, title: str, content: str, *, status: int = 200) -> web.Response:
    """A page; ``content`` is HTML, ``title`` is text."""
    response = plain_page.page(visit.request, title, content, status=status)
    if visit.fresh:
        set_cookie(visit.request, response, visit.cookie)
    return response


def let_form_lead_to(response: web.Response, uri: str) -> web.Response:
    """Browsers apply ``form-action`` to where a form's answer leads on to, and on from there."""
    scheme = urlsplit(uri).scheme
    policy = CONTENT_SECURITY_POLICY.replace("form-action 'self'", f"form-action 'self' {scheme}:")
    response.headers["Content-Security-Policy"] = policy
    return response


def set_cookie(request: web.Request, response: web.StreamResponse, cookie: str) -> None:
    """Give a browser its cookie."""
    account_cookie.give(request, response, cookie, lifetime_ms=request.app[BROWSERS].lifetime_ms)


def go(location: str, status: int = 303) -> web.Response:
    """Send the browser on, with a GET."""
    headers = {
        hdrs.LOCATION: location,
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.REFERRER_POLICY: "no-referrer",
    }
    return web.Response(status=status, headers=headers)


def pages(handler: Handler) -> Handler:
    """For handlers of pages: failures can be read, and who has to sign in is sent to do so."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except SignInNeeded as needed:
            return go(with_then(SIGN_IN, parse_then(needed.then)))

    return plain_page.readable(wrapped)


def parse_then(text: str | None) -> str:
    """Where to go on to after a sign-in: a page of ours, whatever the address bar says."""
    if (
        not text
        or len(text) > MAX_THEN_LENGTH
        or not (text == LINK or text.startswith((f"{ACCOUNT}/", f"{ACCOUNT}?", f"{LINK}?")))
        or not text.isascii()
        or not text.isprintable()
        or "\\" in text
    ):
        return ACCOUNT
    return text


def with_then(path: str, then: str, *, user: str = "") -> str:
    """A page's address, with where to go on to; ``user``: whose name is to be filled in there."""
    query = {"then": then if then != ACCOUNT else "", "user": user}
    given = {key: value for key, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def path_of(*parts: str) -> str:
    """The address of an account page."""
    return "/".join([ACCOUNT, *(quote(part, safe="") for part in parts)])


def escaped(text: object) -> str:
    """Text for HTML, in either direction of writing."""
    return f"<bdi>{html.escape(str(text))}</bdi>"
