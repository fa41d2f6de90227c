"""How an operation of the Conversations API is declared.

A handler says in its annotations what it takes and answers, in its docstring what it does; from
that come the parsing, the checks, the answer, and the OpenAPI document::

    api = Api("Messages")

    @api.post("/conversations/{conversation_id}/messages", scope="messages:write", status=201)
    async def send_message(call: Call[NewMessage]) -> Sent:
        '''Send a message.

        What it does, at length.
        '''
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, cast, get_args, get_type_hints

import msgspec
from aiohttp import web
from msgspec import Struct
from typing_extensions import TypeVar

from client_api.conversations import answers
from client_api.conversations.auth import Caller, authorise
from client_api.conversations.idempotency import IDEMPOTENCY_KEY, once
from homeserver.errors import MissingToken, Unrecognized
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.idempotency import MAX_KEY_LENGTH, is_key
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes.base import Empty
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.people import parse_person
from homeserver.services.requester import Requester
from homeserver.web import parse_json, read_body

PREFIX = "/api/v1"

B = TypeVar("B", default=None)
Q = TypeVar("Q", default=None)
Handler = Callable[["Call[Any, Any]"], Awaitable[Any]]


class Call(Generic[B, Q]):
    """One call of an operation.  ``body`` and ``query`` are as the handler's annotation says."""

    def __init__(
        self,
        request: web.Request,
        caller: Caller | None,
        body: B,
        query: Q,
        *,
        parts: Mapping[str, str] | None = None,
    ) -> None:
        """``parts``: of the path, where the operation was not called by its path."""
        self.request = request
        self._parts = request.match_info if parts is None else parts
        self.app = request.app
        self.body = body
        self.query = query
        self._caller = caller

    @property
    def caller(self) -> Caller:
        """Who calls.  Raises :class:`MissingToken` in operations that are open to all."""
        if self._caller is None:
            raise MissingToken("This needs an access token")
        return self._caller

    @property
    def requester(self) -> Requester:
        """The user for whom the caller acts, and their device."""
        return self.caller.requester

    @property
    def user_id(self) -> UserId:
        """The user for whom the caller acts."""
        return self.caller.requester.user_id

    @property
    def idempotency_key(self) -> str | None:
        """The caller's ``Idempotency-Key``.  Raises :class:`Problem` for an impossible one."""
        key = self.request.headers.get(IDEMPOTENCY_KEY)
        if key is not None and not is_key(key):
            raise Problem(
                "invalid_parameter",
                f"'{IDEMPOTENCY_KEY}' must be 1 to {MAX_KEY_LENGTH} visible characters",
            )
        return key

    def path(self, name: str) -> str:
        """A part of the path."""
        return self._parts[name]

    def person(self, name: str = "person") -> UserId:
        """A part of the path that is an address or a user ID."""
        return parse_person(self._parts[name], name)


class Operation(Struct, frozen=True):
    """What the OpenAPI document says of a route.

    ``scope`` None: open to all.  ``answer`` None: raw, of ``media_type``.
    """

    method: str
    path: str
    tag: str
    name: str
    summary: str
    description: str
    scope: str | None
    body: Any
    query: Any
    answer: Any
    status: int
    handler: Handler
    media_type: str | None = None
    takes: str | None = None  # the type of a body that is not JSON, which the handler reads itself


class Options(Struct, frozen=True):
    """How an operation is answered."""

    scope: str | None
    status: int
    idempotent: bool  # by the generic store; else by the handler, or by nature
    media_type: str | None
    takes: str | None = None


class Api:
    """The operations of one family, and their routes."""

    def __init__(self, tag: str, description: str = "") -> None:
        """``tag``, ``description``: the family's name and purpose in the reference."""
        self.tag = tag
        self.description = description
        self.operations: list[Operation] = []
        self.definitions: list[web.RouteDef] = []

    def get(
        self, path: str, *, scope: str | None, media_type: str | None = None
    ) -> Callable[[Handler], Handler]:
        """Answer GET; what is no list, and no raw answer, gets an ETag."""
        return self._add("GET", path, Options(scope, 200, False, media_type))

    def post(
        self,
        path: str,
        *,
        scope: str | None,
        status: int = 200,
        idempotent: bool = True,
        media_type: str | None = None,
        takes: str | None = None,
    ) -> Callable[[Handler], Handler]:
        """Answer POST, once for each idempotency key.  Not ``idempotent``: the handler sees to it,
        or nothing is changed.  ``takes``: the type of a body that the handler reads itself."""
        return self._add("POST", path, Options(scope, status, idempotent, media_type, takes))

    def put(self, path: str, *, scope: str | None) -> Callable[[Handler], Handler]:
        """Answer PUT."""
        return self._add("PUT", path, Options(scope, 200, False, None))

    def patch(self, path: str, *, scope: str | None) -> Callable[[Handler], Handler]:
        """Answer PATCH."""
        return self._add("PATCH", path, Options(scope, 200, False, None))

    def delete(self, path: str, *, scope: str | None) -> Callable[[Handler], Handler]:
        """Answer DELETE."""
        return self._add("DELETE", path, Options(scope, 200, False, None))

    def raw(
        self,
        method: str,
        path: str,
        *,
        scope: str | None,
        media_type: str,
        takes: str | None = None,
        status: int = 200,
    ) -> Callable[[Handler], Handler]:
        """Answer with the ``web.StreamResponse`` that the handler makes; the body is not read.
        ``media_type``: the answer's, ``""`` for none; ``takes``: the body's."""
        return self._add(method, path, Options(scope, status, False, media_type, takes))

    def _add(self, method: str, path: str, options: Options) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            operation = declared(self.tag, method, path, handler, options)
            self.operations.append(operation)
            route = web.route(method, PREFIX + path, _endpoint(operation, handler, options))
            self.definitions.append(route)
            return handler

        return register


def declared(
    tag: str, method: str, path: str, handler: Callable[..., Any], options: Options
) -> Operation:
    """What a handler's annotations and docstring say of its operation."""
    hints = get_type_hints(handler, include_extras=True)
    answer = hints.pop("return")
    (call,) = hints.values()
    body, query = get_args(call) or (None, None)
    summary, _, description = (inspect.getdoc(handler) or "").partition("\n\n")
    return Operation(
        method,
        path,
        tag,
        cast("Any", handler).__name__,
        " ".join(summary.split()),
        description.strip(),
        options.scope,
        _given(body),
        _given(query),
        None if options.media_type is not None else answer,
        options.status,
        handler,
        options.media_type,
        options.takes,
    )


def _given(kind: Any) -> Any:
    return None if kind in (None, type(None)) else kind


def _endpoint(
    operation: Operation, handler: Handler, options: Options
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    decoder = msgspec.json.Decoder(operation.body) if operation.body is not None else None
    repeated = repeated_in(operation.query)
    has_tag = operation.method == "GET" and not _is_page(operation.answer)
    scope = operation.scope

    async def endpoint(request: web.Request) -> web.StreamResponse:
        caller = await authorise(request, scope) if scope is not None else None
        body = await read_shape(request, decoder) if decoder is not None else None
        query = parse_query(request, operation.query, repeated)
        call: Call[Any, Any] = Call(request, caller, body, query)
        if not options.idempotent:
            return await answered(call)
        key = call.idempotency_key
        if key is None or caller is None:
            return await answered(call)
        return await once(request, caller.owner, key, lambda: answered(call))

    async def answered(call: Call[Any, Any]) -> web.StreamResponse:
        value = await handler(call)
        if isinstance(value, web.StreamResponse):
            return value
        if has_tag:
            return answers.tagged_answer(call.request, value)
        return answers.json_answer(Empty() if value is None else value, status=options.status)

    return endpoint


def _is_page(answer: Any) -> bool:
    return getattr(answer, "__origin__", answer) is Page


async def read_shape(request: web.Request, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The body as its shape.  Raises :class:`Problem`, and what :func:`parse_json` raises."""
    body = await read_body(request)
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        parse_json(body or b"{}")
        raise invalid(error) from error
    except msgspec.DecodeError:
        parse_json(body)  # says what is wrong with it
        raise
    except (RecursionError, UnicodeDecodeError):
        parse_json(body)
        raise


def invalid(error: msgspec.ValidationError) -> Problem:
    """What is wrong with a body or a query, and where."""
    text, _, place = str(error).partition(" - at `")
    field = place.rstrip("`").removeprefix("$").removeprefix(".") or None
    detail = text if field is None else f"{text} in '{field}'"
    return Problem("invalid_body", detail, status=422, **({"field": field} if field else {}))


def repeated_in(query: Any) -> frozenset[str]:
    """The parameters of a query that may be given several times."""
    if query is None:
        return frozenset()
    hints = get_type_hints(query)
    return frozenset(name for name, kind in hints.items() if "list" in str(kind))


def parse_query(request: web.Request, kind: Any, repeated: frozenset[str]) -> Any:
    """The query as its shape.  Raises :class:`Problem`."""
    if kind is None:
        return None
    given = request.query
    values: dict[str, Any] = {
        name: given.getall(name) if name in repeated else given[name]
        for name in given
        if name != "access_token"
    }
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error) from error


async def no_such_operation(request: web.Request) -> web.StreamResponse:
    """What is not declared."""
    raise Unrecognized("No such endpoint: see /api/v1/openapi.json")
