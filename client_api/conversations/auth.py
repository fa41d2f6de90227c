"""Who calls the Conversations API, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from client_api.auth import require_user
from homeserver.app_keys import TERMS
from homeserver.services.conversations.problems import Problem
from homeserver.services.requester import Requester


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of an operation.

    ``scopes``: what the token may be used for; None: everything that the user may.
    """

    requester: Requester
    scopes: frozenset[str] | None = None
    application_id: str | None = None

    def require_scope(self, scope: str) -> None:
        """Raise :class:`Problem` ``insufficient_scope`` unless the token has the scope."""
        if self.scopes is not None and scope not in self.scopes:
            raise Problem(
                "insufficient_scope",
                f"The token lacks the scope '{scope}'",
                status=403,
                scope=scope,
            )


async def authenticate(request: web.Request) -> Caller:
    """The caller, by the token in the ``Authorization`` header.

    Raises: :class:`~homeserver.errors.MissingToken`, :class:`~homeserver.errors.UnknownToken`.
    """
    return Caller(await require_user(request))


async def authorise(request: web.Request, scope: str) -> Caller:
    """The caller, who may do what the scope names; who writes has accepted the terms.

    Raises what :func:`authenticate` raises, :class:`Problem` ``insufficient_scope``, and
    :class:`~homeserver.errors.ConsentNotGiven`.
    """
    caller = await authenticate(request)
    caller.require_scope(scope)
    if scope.endswith(":write"):
        await request.app[TERMS].require(caller.requester.user_id)
    return caller
