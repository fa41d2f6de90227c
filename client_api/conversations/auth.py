"""Who calls the Conversations API, and what they may do."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from msgspec import Struct

from client_api.auth import access_token, origin
from client_api.conversations.keys import API_TOKENS, APPLICATIONS
from homeserver.app_keys import ACCOUNT_STANDING, SESSIONS, TERMS
from homeserver.errors import GuestForbidden, MissingToken, NotFound, UnknownToken, UserLocked
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.api_tokens import is_api_token
from homeserver.services.conversations.applications import Application
from homeserver.services.conversations.problems import Problem
from homeserver.services.requester import Requester
from homeserver.services.sessions import Origin

COMITY_USER = "Comity-User"
VOID = "This API token is not known here, was revoked or has expired"


class Caller(Struct, frozen=True):
    """The caller of an operation.

    ``acting``: the user for whom the caller acts; None: an application that named none.
    ``scopes``: what the token may be used for; None: everything that the user may.
    """

    acting: Requester | None
    scopes: frozenset[str] | None = None
    application: Application | None = None

    @property
    def requester(self) -> Requester:
        """The user for whom the caller acts.  Raises :class:`Problem` ``user_required``."""
        if self.acting is None:
            raise Problem(
                "user_required", f"Name the user for whom you act in the header '{COMITY_USER}'"
            )
        return self.acting

    @property
    def application_id(self) -> str | None:
        """The application that calls, if it is one."""
        return self.application.application_id if self.application is not None else None

    @property
    def owner(self) -> str:
        """Whose idempotency keys the caller's are."""
        if self.acting is not None:
            return self.acting.user_id
        return self.application_id or ""

    def require_scope(self, scope: str) -> None:
        """Raise :class:`Problem` ``insufficient_scope`` unless the token has the scope."""
        if self.scopes is not None and scope not in self.scopes:
            raise Problem(
                "insufficient_scope",
                f"The token lacks the scope '{scope}'",
                status=403,
                scope=scope,
            )

    def require_application(self) -> Application:
        """The application that calls.  Raises :class:`Problem` ``application_required``."""
        if self.application is None:
            raise Problem(
                "application_required", "This is for the tokens of applications", status=403
            )
        return self.application


async def authenticate(request: web.Request) -> Caller:
    """The caller, by the token in the ``Authorization`` header: a device's, an application's, or a
    user's personal one.

    Raises: :class:`~homeserver.errors.MissingToken`, :class:`~homeserver.errors.UnknownToken`, and
    for an application's what :meth:`Applications.act_for` raises.
    """
    token = access_token(request)
    if token is None:
        raise MissingToken("This needs an access token: log in first")
    user = request.headers.get(COMITY_USER)
    return await authenticate_token(request.app, token, user, lambda: origin(request))


async def authenticate_token(
    app: web.Application, token: str, user: str | None, origin: Callable[[], Origin]
) -> Caller:
    """The caller who bears a token.  ``user``: for whom an application acts.

    Raises what :func:`authenticate` raises.
    """
    caller = await _find_caller(app, token, user, origin)
    if caller.acting is not None:
        if app[ACCOUNT_STANDING].is_locked(caller.acting.user_id):
            raise UserLocked()
        if caller.acting.guest:
            raise GuestForbidden("This API is not for guests")
    return caller


async def _find_caller(
    app: web.Application, token: str, user: str | None, origin: Callable[[], Origin]
) -> Caller:
    if is_api_token(token):
        return await _by_api_token(app, token, user)
    if user is not None:
        raise Problem("application_required", f"'{COMITY_USER}' is for applications", status=403)
    return Caller(await app[SESSIONS].authenticate(token, origin))


async def _by_api_token(app: web.Application, text: str, user: str | None) -> Caller:
    token = await app[API_TOKENS].find(text)
    if token is None:
        raise UnknownToken(VOID)
    scopes = frozenset(token.scopes)
    if token.application_id is None:
        if user is not None:
            raise Problem(
                "application_required", f"'{COMITY_USER}' is for applications", status=403
            )
        return Caller(Requester(UserId(token.user_id or ""), None), scopes)
    applications = app[APPLICATIONS]
    try:
        application = await applications.get(token.application_id)
    except NotFound as error:  # another process has deleted it
        raise UnknownToken(VOID) from error
    scopes &= frozenset(application.row.scopes)
    if user is not None:
        return Caller(await applications.act_for(application, user), scopes, application)
    return Caller(await applications.bot(application), scopes, application)


async def authorise(request: web.Request, scope: str) -> Caller:
    """The caller, who may do what the scope names; who writes has accepted the terms.

    For the terms of an application's users the application answers.  Raises what
    :func:`authenticate` raises, :class:`Problem` ``insufficient_scope``, and
    :class:`~homeserver.errors.ConsentNotGiven`.
    """
    caller = await authenticate(request)
    await require(request.app, caller, scope)
    return caller


async def require(app: web.Application, caller: Caller, scope: str) -> None:
    """What :func:`authorise` asks of a caller who is known."""
    caller.require_scope(scope)
    if scope.endswith(":write") and caller.application is None:
        await app[TERMS].require(caller.requester.user_id)
