"""What a GraphQL request knows of itself: who calls, and what it has loaded so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web
from strawberry.dataloader import DataLoader

from client_api.auth import BEARER_TOKEN
from client_api.conversations.auth import Caller, authorise
from homeserver.errors import MissingToken


class Context:
    """One request, or one WebSocket connection, of GraphQL."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.request = request
        self.response = response
        self.connection_params: Any = None  # set by the view, of a WebSocket
        self.loaders: dict[str, DataLoader[Any, Any]] = {}
        self._callers: dict[str, Caller] = {}

    async def caller(self, scope: str) -> Caller:
        """The caller, who may do what the scope names.  Raises what ``authorise`` raises."""
        if self.connection_params is not None and BEARER_TOKEN not in self.request:
            token = self._token_of_connection()
            if token is not None:
                self.request[BEARER_TOKEN] = token
        known = self._callers.get(scope)
        if known is None:
            known = self._callers[scope] = await authorise(self.request, scope)
        return known

    def loader(
        self, name: str, load: Callable[[list[Any]], Awaitable[Sequence[Any]]]
    ) -> DataLoader[Any, Any]:
        """What loads many of a kind at once; one for each request."""
        known = self.loaders.get(name)
        if known is None:
            known = self.loaders[name] = DataLoader(load_fn=load)
        return known

    def forget(self) -> None:
        """Load anew: time has passed."""
        self.loaders.clear()

    def _token_of_connection(self) -> str | None:
        params = self.connection_params
        if not isinstance(params, dict):
            raise MissingToken("The connection's parameters must be an object with a 'token'")
        for name in ("token", "authorization", "Authorization"):
            if isinstance(params.get(name), str):
                return str(params[name]).removeprefix("Bearer ").strip()
        return None
