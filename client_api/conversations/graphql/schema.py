"""The GraphQL schema: what REST's operations are as fields, and what only GraphQL can say."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import strawberry
import structlog
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext
from strawberry.types.field import StrawberryField

from client_api.conversations.api import Api, Operation
from client_api.conversations.graphql import connections, operations, subscriptions
from client_api.conversations.graphql.limits import EXTENSIONS
from client_api.conversations.graphql.types import SCALARS, Types, value_of
from client_api.conversations.rest import ALL
from homeserver.errors import MatrixError
from homeserver.services.conversations.problems import problem_json

logger = structlog.get_logger(__name__)


class Schema(strawberry.Schema):
    """Tells failures as problems; only what is this server's fault goes to the log."""

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Turn what resolvers raised into what clients are told."""
        for error in errors:
            original = error.original_error
            if isinstance(original, MatrixError):
                error.message = original.text
                error.extensions = problem_json(original)
            elif original is not None and not isinstance(original, GraphQLError):
                logger.error("graphql failed", path=error.path, exc_info=original)
                told = MatrixError(
                    "Something went wrong on this server; it has been logged", status=500
                )
                error.message = told.text
                error.extensions = problem_json(told)
            elif not error.extensions:
                error.extensions = {"code": "invalid_query"}


@functools.cache
def schema() -> Schema:
    """The schema of this API."""
    types = Types()
    return make_schema(ALL, types, connections.extend(types), subscriptions.root(types))


def make_schema(
    apis: Iterable[Api],
    types: Types,
    more: Mapping[str, StrawberryField] | None = None,
    subscription: type | None = None,
) -> Schema:
    """The schema of some families of operations, with ``more`` to be read."""
    declared = [operation for api in apis for operation in api.operations]
    changes = _of(declared, {"POST", "PUT", "PATCH", "DELETE"})
    return Schema(
        query=_root("Query", "What can be read.", _of(declared, {"GET"}), types, more),
        mutation=_root("Mutation", "What can be done.", changes, types) if changes else None,
        subscription=subscription,
        extensions=EXTENSIONS,
        config=StrawberryConfig(default_resolver=value_of, scalar_map=SCALARS),
    )


def _of(declared: Iterable[Operation], methods: set[str]) -> list[Operation]:
    return [operation for operation in declared if operation.method in methods]


def _root(
    name: str,
    description: str,
    declared: list[Operation],
    types: Types,
    more: Mapping[str, StrawberryField] | None = None,
) -> type:
    made = {_field_name(key): field for key, field in operations.fields(declared, types).items()}
    body: dict[str, Any] = {**made, **(more or {})}
    return strawberry.type(type(name, (), body), description=description)


def _field_name(operation: str) -> str:
    """``list_conversations`` is ``conversations``, as GraphQL has it; changes keep their verb."""
    for verb in ("get_", "list_"):
        operation = operation.removeprefix(verb)
    return operation
