"""REST's operations as fields of ``Query`` and ``Mutation``."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Optional, cast

import msgspec
import strawberry
from aiohttp import web
from strawberry.types import Info
from strawberry.types.field import StrawberryField

from client_api.conversations.api import Call, Operation, invalid
from client_api.conversations.graphql.types import Types, as_builtins
from client_api.conversations.openapi import openapi_path
from homeserver.errors import InvalidParam
from homeserver.services.conversations.shapes.base import Empty

_PART = re.compile(r"\{(\w+)\}")


def fields(operations: Iterable[Operation], types: Types) -> dict[str, StrawberryField]:
    """A field for each operation that answers with JSON, by the operation's name.

    Its arguments are the parts of the path, the query's parameters, and ``input``: the body.
    """
    return {
        operation.name: _field(operation, types)
        for operation in operations
        if operation.media_type is None
    }


def _field(operation: Operation, types: Types) -> StrawberryField:
    resolver = _resolver(operation)
    answer = operation.answer
    nothing = answer in (None, type(None), Empty)
    returns = bool if nothing else types.output(answer)
    parameters = [_parameter("info", Info), *_arguments(operation, types)]
    signed = cast("Any", resolver)
    signed.__signature__ = inspect.Signature(parameters, return_annotation=returns)
    signed.__name__ = operation.name
    description = operation.summary.replace("``", "`")
    if operation.description:
        description += "\n\n" + operation.description.replace("``", "`")
    made: StrawberryField = strawberry.field(resolver=resolver, description=description)
    return made


def _arguments(operation: Operation, types: Types) -> Iterable[inspect.Parameter]:
    for part in _PART.findall(openapi_path(operation.path)):
        yield _parameter(part, str)
    if operation.query is not None:
        for field in msgspec.structs.fields(operation.query):
            kind = types.input(field.type)
            yield _parameter(field.encode_name, Optional[kind], default=strawberry.UNSET)  # noqa: UP045
    if operation.body is not None:
        kind = types.input(operation.body)
        needed = any(f.required for f in msgspec.structs.fields(operation.body))
        if needed:
            yield _parameter("input", kind)
        else:
            yield _parameter("input", Optional[kind], default=strawberry.UNSET)  # noqa: UP045


def _parameter(name: str, kind: Any, **default: Any) -> inspect.Parameter:
    if keyword.iskeyword(name):
        kind, name = Annotated[kind, strawberry.argument(name=name)], f"{name}_"
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, **default)


def _resolver(operation: Operation) -> Callable[..., Any]:
    parts = frozenset(_PART.findall(openapi_path(operation.path)))

    async def resolve(info: Info[Any, Any], **given: Any) -> Any:
        context = info.context
        check_texts(given[name] for name in given if name != "input")
        caller = await context.caller(operation.scope) if operation.scope is not None else None
        body = _decoded(as_builtins(_given(given, "input"), None), operation.body)
        query = _decoded(
            {
                name.removesuffix("_"): as_builtins(value, None)
                for name, value in given.items()
                if name not in parts and name != "input" and value not in (None, strawberry.UNSET)
            },
            operation.query,
        )
        call: Call[Any, Any] = Call(
            context.request,
            caller,
            body,
            query,
            parts={name: given[name] for name in parts},
        )
        value = await operation.handler(call)
        if isinstance(value, web.Response):  # an answer that was ready
            value = msgspec.json.decode(cast("bytes", value.body), type=operation.answer)
        return True if value is None or isinstance(value, Empty) else value

    return resolve


def check_texts(values: Iterable[object]) -> None:
    """Raise :class:`InvalidParam` for what cannot stand in an address of REST: U+0000."""
    for value in values:
        if isinstance(value, list):
            check_texts(value)
        elif isinstance(value, str) and "\0" in value:
            raise InvalidParam("U+0000 is nowhere allowed")


def _given(given: dict[str, Any], name: str) -> Any:
    value = given.get(name, strawberry.UNSET)
    return {} if value is strawberry.UNSET or value is None else value


def _decoded(value: Any, kind: Any) -> Any:
    if kind is None:
        return None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
