"""How an operation of the admin API is declared: as those of the Conversations API are.

A handler says in its annotations what it takes and answers; from that come the parsing, the
checks, the answer, the entry in the audit trail and the OpenAPI document::

    api = AdminApi("Users")

    @api.post("/users/{user_id}/password")
    async def reset_password(call: AdminCall[NewPassword]) -> None:
        '''Give a user another password.'''
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic

import msgspec
from aiohttp import web
from typing_extensions import TypeVar

from client_api.admin.audit import audited, details_of
from client_api.admin.routing import PREFIX, require_admin
from client_api.conversations import answers
from client_api.conversations.api import (
    Operation,
    Options,
    declared,
    parse_query,
    read_shape,
    repeated_in,
)
from client_api.matrix import parsing
from homeserver.app_keys import CONFIG
from homeserver.errors import BadJson, InvalidParam, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes.base import Empty

B = TypeVar("B", default=None)
Q = TypeVar("Q", default=None)
AdminHandler = Callable[["AdminCall[Any, Any]"], Awaitable[Any]]

ADMIN = "admin"


class AdminCall(Generic[B, Q]):
    """One call.  ``body`` and ``query`` are as the handler's annotation says."""

    def __init__(self, request: web.Request, actor: str, body: B, query: Q) -> None:
        """``actor``: an admin's user ID, or the command line."""
        self.request = request
        self.app = request.app
        self.actor = actor
        self.body = body
        self.query = query

    def path(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    def number(self, name: str) -> int:
        """A part of the path that is an ID of digits.  Raises :class:`NotFound`."""
        text = self.path(name)
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise NotFound("There is nothing of that ID")
        return int(text)

    def user_id(self) -> UserId:
        """The user of this server in the path.  Raises :class:`InvalidParam`."""
        user_id = parsing.path_user_id(self.request)
        if user_id.server_name != self.app[CONFIG].server_name:
            raise InvalidParam("That user is not of this server")
        return user_id

    def room_id(self) -> str:
        """The room in the path.  Raises :class:`InvalidParam`."""
        return parsing.path_room_id(self.request)


class AdminApi:
    """The operations of one family, and their routes."""

    def __init__(self, tag: str, description: str = "") -> None:
        """``tag``, ``description``: the family's name and purpose in the reference."""
        self.tag = tag
        self.description = description
        self.operations: list[Operation] = []
        self.definitions: list[web.RouteDef] = []

    def get(self, path: str) -> Callable[[AdminHandler], AdminHandler]:
        """Answer GET, which changes nothing."""
        return self._add("GET", path, 200)

    def post(self, path: str, *, status: int = 200) -> Callable[[AdminHandler], AdminHandler]:
        """Answer POST."""
        return self._add("POST", path, status)

    def put(self, path: str) -> Callable[[AdminHandler], AdminHandler]:
        """Answer PUT."""
        return self._add("PUT", path, 200)

    def delete(self, path: str) -> Callable[[AdminHandler], AdminHandler]:
        """Answer DELETE."""
        return self._add("DELETE", path, 200)

    def _add(self, method: str, path: str, status: int) -> Callable[[AdminHandler], AdminHandler]:
        def register(handler: AdminHandler) -> AdminHandler:
            operation = declared(
                self.tag, method, path, handler, Options(ADMIN, status, False, None)
            )
            self.operations.append(operation)
            self.definitions.append(web.route(method, PREFIX + path, _endpoint(operation, handler)))
            return handler

        return register


def _endpoint(
    operation: Operation, handler: AdminHandler
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    decoder = msgspec.json.Decoder(operation.body) if operation.body is not None else None
    repeated = repeated_in(operation.query)

    async def endpoint(request: web.Request) -> web.StreamResponse:
        actor = await require_admin(request)
        body = await _read(request, decoder) if decoder is not None else None
        query = _query(request, operation.query, repeated)
        call: AdminCall[Any, Any] = AdminCall(request, actor, body, query)

        async def act() -> web.StreamResponse:
            value = await handler(call)
            return answers.json_answer(Empty() if value is None else value, status=operation.status)

        if operation.method == "GET":
            return await act()
        return await audited(request, actor, operation.name, details_of(body, query), act)

    return endpoint


async def _read(request: web.Request, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return await read_shape(request, decoder)
    except Problem as problem:
        raise BadJson(problem.text) from problem


def _query(request: web.Request, kind: Any, repeated: frozenset[str]) -> Any:
    try:
        return parse_query(request, kind, repeated)
    except Problem as problem:
        raise InvalidParam(problem.text) from problem
