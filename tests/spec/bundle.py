"""The bundled specification, its own mistakes put right, and validators of its schemas."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs

from .mistakes import MISTAKES

FILE = Path(__file__).parent / "matrix.json"
URI = "urn:matrix"
VERSIONED = re.compile(r"/_matrix/(client|media|identity)/(?:r0|v1|v3)(/.*)")
PARAMETER = re.compile(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of the specification."""

    name: str
    """The operationId; operations of other servers have ``federation:`` before it."""
    api: str
    method: str
    path: str
    responses: dict[str, dict[str, Any]]
    entry: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """By what a route is known to be this operation's."""
        return self.method, plain_path(self.path)


def plain_path(path: str) -> str:
    """A path whose parameters have no names; the client API's without its version.

    (A client may spell each of them with r0 or v3: they do not differ in anything else.)
    """
    if versioned := VERSIONED.fullmatch(path):
        path = f"/_matrix/{versioned[1]}{versioned[2]}"
    return PARAMETER.sub("{}", path)


@functools.cache
def document() -> dict[str, Any]:
    """The bundle."""
    bundle: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    for mistake in MISTAKES:
        mistake.mend(bundle)
    return bundle


@functools.cache
def operations() -> list[Operation]:
    """The operations that a homeserver answers."""
    return [
        Operation(
            ("" if entry["api"] == "client-server" else "federation:") + entry["id"],
            entry["api"],
            entry["method"],
            entry["path"],
            entry["responses"],
            entry,
        )
        for entry in document()["operations"]
        if entry["api"] in ("client-server", "server-server")
    ]


@functools.cache
def _registry() -> jsonschema_rs.Registry:
    return jsonschema_rs.Registry([(URI, {"components": document()["components"]})])


def validator(schema: dict[str, Any]) -> Any:
    """What validates a schema of the bundle."""
    return jsonschema_rs.validator_for(
        _absolute(schema), registry=_registry(), validate_formats=True
    )


def _absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: URI + item if key == "$ref" and isinstance(item, str) else _absolute(item)
        for key, item in value.items()
    }


@functools.cache
def validator_of(name: str) -> Any:
    """What validates a named schema of the bundle."""
    return validator({"$ref": f"#/components/schemas/{name}"})


def openapi(api: str) -> dict[str, Any]:
    """An API as an OpenAPI document of its own, for tools that read one."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations():
        if operation.api != api:
            continue
        described: dict[str, Any] = {
            "operationId": operation.name,
            "parameters": operation.entry["parameters"],
            "responses": {
                status: {"description": "", **({"content": content} if content else {})}
                for status, content in operation.responses.items()
            },
        }
        if operation.entry["request"]:
            described["requestBody"] = {
                "required": operation.entry["required"],
                "content": operation.entry["request"],
            }
        entry = paths.setdefault(operation.path, {})
        if operation.method.lower() in entry:  # two at one path: the bodies of both are tried
            path = operation.path + "{nothing}"
            described["parameters"] = [*described["parameters"], NOTHING]
            entry = paths.setdefault(path, {})
        entry[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": api, "version": "1.19"},
        "paths": paths,
        "components": document()["components"],
    }


NOTHING = {"name": "nothing", "in": "path", "required": True, "schema": {"const": ""}}
