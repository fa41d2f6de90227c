"""The OpenAPI 3.1 document, made of what the operations declare.  Spec: OpenAPI 3.1.1."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from client_api.conversations.api import PREFIX, Operation
from client_api.conversations.idempotency import IDEMPOTENCY_KEY
from homeserver.protocol.events import JsonObject
from homeserver.services.conversations.shapes.base import Shape, Sparse

TITLE = "Comity Conversations API"
DESCRIPTION = """\
Messaging for applications: people, conversations, messages, across instances.

People are written as addresses, such as `bob@other.example`. Times are RFC 3339 in UTC. Lists
come in pages: `next` is the `cursor` of the page that follows. Every POST takes an
`Idempotency-Key`. Failures are problem details (RFC 9457) whose `code` says what went wrong."""
PATH_PARTS = {
    "conversation_id": "a conversation's ID",
    "message_id": "a message's ID",
    "person": "an address, such as bob@other.example",
    "media_id": "a file's ID",
    "device_id": "a device's ID",
}
REF = "#/components/schemas/{name}"
PAGE_PREFIX = "Page_"
_PART = re.compile(r"\{(\w+)(?::[^}]*)?\}")


class ProblemDetails(Sparse, frozen=True, kw_only=True):
    """What went wrong (RFC 9457).  Some codes come with more members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    consent_url: str | None = None
    retry_after_ms: int | None = None


def openapi_path(path: str) -> str:
    """A route's path as OpenAPI writes it: without patterns."""
    return _PART.sub(r"{\1}", path)


class Family(Protocol):
    """Operations that belong together."""

    tag: str
    description: str
    operations: list[Operation]


class About(Struct, frozen=True):
    """What a document says of the whole API."""

    prefix: str
    title: str
    description: str
    problem: type[msgspec.Struct]
    problem_type: str  # its media type
    token: str  # what tokens it takes
    idempotent: bool  # a POST takes an idempotency key


CONVERSATIONS = About(
    PREFIX,
    TITLE,
    DESCRIPTION,
    ProblemDetails,
    "application/problem+json",
    "An access token of a session, or an application's token",
    idempotent=True,
)


def document(apis: Sequence[Family], base_url: str, about: About = CONVERSATIONS) -> JsonObject:
    """The whole document of these APIs, for an instance at an address."""
    operations = [operation for api in apis for operation in api.operations]
    kinds = [kind for o in operations for kind in (o.body, o.query, o.answer) if kind is not None]
    kinds.append(about.problem)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    _require_what_is_always_there(components)
    by_kind = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, JsonObject] = {}
    for operation in operations:
        entry = paths.setdefault(openapi_path(about.prefix + operation.path), {})
        entry[operation.method.lower()] = _operation(operation, by_kind, components, about)
    queries = {
        schema["$ref"].rpartition("/")[2]
        for o in operations
        if o.query is not None
        for schema in (by_kind[id(o.query)],)
    }
    made = {
        "openapi": "3.1.1",
        "info": {"title": about.title, "version": "1", "description": about.description},
        "servers": [{"url": base_url}],
        "security": [{"token": []}],
        "tags": [{"name": tag, "description": about} for tag, about in _tags(apis).items()],
        "paths": paths,
        "components": {
            "schemas": {name: s for name, s in components.items() if name not in queries},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": about.token,
                }
            },
        },
    }
    return _with_readable_names(made)


def _tags(apis: Sequence[Family]) -> dict[str, str]:
    """The families; one may be in several modules."""
    tags: dict[str, str] = {}
    for api in apis:
        tags[api.tag] = tags.get(api.tag) or api.description
    return tags


def _require_what_is_always_there(components: dict[str, Any]) -> None:
    """Shapes and pages leave nothing out: what has a default is there, too."""
    whole = {shape.__name__ for shape in _shapes(Shape)}
    for name, schema in components.items():
        if name in whole or name.startswith(PAGE_PREFIX):
            schema["required"] = list(schema.get("properties", ()))


def _shapes(kind: type[Shape]) -> Iterator[type[Shape]]:
    for shape in kind.__subclasses__():
        yield shape
        yield from _shapes(shape)


def _with_readable_names(made: JsonObject) -> JsonObject:
    """``Page_Thing_``, as msgspec names it, is ``PageOfThing``."""
    text = json.dumps(made)
    renamed: JsonObject = json.loads(re.sub(rf'{PAGE_PREFIX}(\w+)_"', r'PageOf\1"', text))
    return renamed


def _operation(
    operation: Operation,
    by_kind: dict[int, JsonObject],
    components: dict[str, Any],
    about: About,
) -> JsonObject:
    made: JsonObject = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary.rstrip("."),
        "parameters": [
            *_path_parameters(operation.path),
            *_query_parameters(operation, by_kind, components),
        ],
        "responses": {
            str(operation.status): _answer(operation, by_kind),
            "default": {
                "description": "A problem",
                "content": {about.problem_type: {"schema": by_kind[id(about.problem)]}},
            },
        },
    }
    if operation.description:
        made["description"] = operation.description
    if operation.scope is None:
        made["security"] = []
    else:
        made["x-scope"] = operation.scope
    takes_key = about.idempotent and operation.method == "POST" and operation.scope
    if takes_key and operation.media_type is None:
        made["parameters"].append(
            {
                "name": IDEMPOTENCY_KEY,
                "in": "header",
                "schema": {"type": "string", "maxLength": 255},
                "description": "Repeat the request with the same key, and it is done once",
            }
        )
    if operation.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_kind[id(operation.body)]}},
        }
    elif operation.takes is not None:
        made["requestBody"] = {"content": {operation.takes: {}}}
    return made


def _answer(operation: Operation, by_kind: dict[int, JsonObject]) -> JsonObject:
    if operation.media_type == "":
        return {"description": "Done"}
    if operation.media_type is not None:
        return {"description": "The answer", "content": {operation.media_type: {}}}
    if operation.answer in (None, type(None)):
        return {
            "description": "Done",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    return {
        "description": "The answer",
        "content": {"application/json": {"schema": by_kind[id(operation.answer)]}},
    }


def _path_parameters(path: str) -> Iterable[JsonObject]:
    for name in _PART.findall(path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": PATH_PARTS.get(name, name.replace("_", " ")),
        }


def _query_parameters(
    operation: Operation, by_kind: dict[int, JsonObject], components: dict[str, Any]
) -> Iterable[JsonObject]:
    if operation.query is None:
        return
    name = by_kind[id(operation.query)]["$ref"].rpartition("/")[2]
    schema = components[name]
    for field, described in schema.get("properties", {}).items():
        rest = {key: value for key, value in described.items() if key != "description"}
        yield {
            "name": field,
            "in": "query",
            "required": field in schema.get("required", ()),
            "schema": rest,
            **({"description": described["description"]} if "description" in described else {}),
        }
