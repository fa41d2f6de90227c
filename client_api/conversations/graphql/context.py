"""What a GraphQL request knows of itself: who calls, and what it has loaded so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web
from strawberry.dataloader import DataLoader

from client_api.auth import access_token, origin
from client_api.conversations.auth import (
    COMITY_USER,
    Caller,
    authenticate_token,
    authorise,
    require,
)
from homeserver.errors import MissingToken


class Context:
    """One request, or one WebSocket connection, of GraphQL."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.request = request
        self.response = response
        self.connection_params: Any = None  # set by the view, of a WebSocket
        self.loaders: dict[str, DataLoader[Any, Any]] = {}

    async def caller(self, scope: str) -> Caller:
        """The caller, who may do what the scope names.

        It is asked anew each time: on a WebSocket a token may be revoked meanwhile.  Raises what
        ``authorise`` raises.
        """
        if self.connection_params is None:
            return await authorise(self.request, scope)
        token, user = self._of_connection()
        request = self.request
        caller = await authenticate_token(request.app, token, user, lambda: origin(request))
        await require(request.app, caller, scope)
        return caller

    def loader(
        self, name: str, load: Callable[[list[Any]], Awaitable[Sequence[Any]]]
    ) -> DataLoader[Any, Any]:
        """What loads many of a kind at once; one for each request.

        On a WebSocket, which lives for long, nothing that was loaded is kept.
        """
        known = self.loaders.get(name)
        if known is None:
            known = self.loaders[name] = DataLoader(
                load_fn=load, cache=self.connection_params is None
            )
        return known

    def forget(self) -> None:
        """Load anew: time has passed."""
        self.loaders.clear()

    def credentials(self) -> tuple[str, str | None]:
        """The token, and for whom an application acts.  Raises :class:`MissingToken`."""
        if self.connection_params is not None:
            return self._of_connection()
        token = access_token(self.request)
        if token is None:
            raise MissingToken("This needs an access token: log in first")
        return token, self.request.headers.get(COMITY_USER)

    def _of_connection(self) -> tuple[str, str | None]:
        """The token, and for whom an application acts, of the connection's parameters, or else of
        the request that opened it."""
        params = self.connection_params if isinstance(self.connection_params, dict) else {}
        headers = self.request.headers
        token = _first_text(params, ("token", "authorization", "Authorization"))
        token = token.removeprefix("Bearer ").strip() if token else access_token(self.request)
        if token is None:
            raise MissingToken("Give a 'token' in the connection's parameters")
        return token, _first_text(params, ("user", COMITY_USER)) or headers.get(COMITY_USER)


def _first_text(params: dict[str, Any], names: Sequence[str]) -> str | None:
    return next((params[name] for name in names if isinstance(params.get(name), str)), None)
