"""The API's shapes as GraphQL types.

A shape's GraphQL type has the shape's fields in camel case.  Values stay what they are: resolvers
answer with shapes, and each field is the shape's attribute of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NewType, Optional

import strawberry
from msgspec import NODEFAULT, UNSET, inspect
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

Long = NewType("Long", int)
LONG: ScalarDefinition = strawberry.scalar(
    name="Long",
    description="An integer of up to 53 bits, as JSON writes it",
    serialize=int,
    parse_value=int,
)
SCALARS: Mapping[object, ScalarDefinition] = {Long: LONG}

_PAGE = re.compile(r"\w+\[(?:.*\.)?(\w+)\]")


def value_of(shape: Any, name: str) -> Any:
    """A shape's field; None for what this reader is not told."""
    value = getattr(shape, name)
    return None if value is UNSET else value


class Types:
    """Makes the GraphQL types of shapes, each once."""

    def __init__(self) -> None:
        self._outputs: dict[str, type] = {}
        self._inputs: dict[str, type] = {}
        self._extra: dict[str, Mapping[str, Any]] = {}

    def extend(self, name: str, fields: Mapping[str, Any]) -> None:
        """More fields for a type, as ``strawberry.field``s by name; before it is made."""
        self._extra[name] = fields

    # ------------------------------------------------------------ what is answered

    def output(self, shape: Any) -> Any:
        """The type annotation for what an operation answers."""
        return self._output(inspect.type_info(shape))

    def _output(self, info: inspect.Type) -> Any:
        match info:
            case inspect.Metadata():
                return self._output(info.type)
            case inspect.StructType():
                return self._output_struct(info)
            case inspect.UnionType():
                return self._union(info, self._output)
            case inspect.CollectionType():
                return list[self._output(info.item_type)]  # type: ignore[misc]
            case _:
                return _scalar(info)

    def _output_struct(self, info: inspect.StructType) -> type:
        name = type_name(info.cls)
        if name in self._outputs:
            return self._outputs[name]
        made = self._outputs[name] = type(name, (), {"__doc__": info.cls.__doc__})
        fields: dict[str, Any] = {}
        annotations: dict[str, Any] = {}
        for field in info.fields:
            kind = self._output(field.type)
            annotations[field.name] = Optional[kind] if _may_be_unset(field) else kind  # noqa: UP045
            fields[field.name] = strawberry.field(name=_camel(field.encode_name))
        for key, extra in self._extra.get(name, {}).items():
            annotations.pop(key, None)
            fields[key] = extra
        for key, value in fields.items():
            setattr(made, key, value)
        made.__annotations__ = annotations
        described = _paragraph(getattr(info.cls, "__origin__", info.cls).__doc__)
        return strawberry.type(made, name=name, description=described)

    # ------------------------------------------------------------ what is taken

    def input(self, shape: Any) -> Any:
        """The type annotation for what an operation takes."""
        return self._input(inspect.type_info(shape))

    def _input(self, info: inspect.Type) -> Any:
        match info:
            case inspect.Metadata():
                return self._input(info.type)
            case inspect.StructType():
                return self._input_struct(info)
            case inspect.UnionType():
                return self._union(info, self._input)
            case inspect.CollectionType():
                return list[self._input(info.item_type)]  # type: ignore[misc]
            case _:
                return _scalar(info)

    def _input_struct(self, info: inspect.StructType) -> type:
        name = f"{type_name(info.cls)}Input"
        if name in self._inputs:
            return self._inputs[name]
        made = self._inputs[name] = type(name, (), {})
        annotations: dict[str, Any] = {}
        for field in info.fields:
            kind = self._input(field.type)
            annotations[field.name] = kind if field.required else Optional[kind]  # noqa: UP045
            default = {} if field.required else {"default": strawberry.UNSET}
            setattr(made, field.name, strawberry.field(name=_camel(field.encode_name), **default))
        made.__annotations__ = annotations
        described = _paragraph(info.cls.__doc__)
        return strawberry.input(made, name=name, description=described)

    def _union(self, info: inspect.UnionType, convert: Any) -> Any:
        parts = [part for part in info.types if not isinstance(part, inspect.NoneType)]
        converted = [convert(part) for part in parts]
        kind = converted[0] if all(k == converted[0] for k in converted) else JSON
        return Optional[kind] if len(parts) < len(info.types) else kind  # noqa: UP045


def type_name(kind: Any) -> str:
    """The name of a shape's GraphQL type; ``Page[Thing]`` is ``PageOfThing``."""
    if isinstance(kind, type):
        return kind.__name__
    match = _PAGE.fullmatch(f"Page[{kind.__args__[0].__name__}]")
    assert match is not None
    return f"PageOf{match[1]}"


def as_builtins(value: Any, shape: Any) -> Any:
    """What came in as a shape's input type, as JSON that decodes into the shape."""
    if value is None or isinstance(value, str | int | float | bool | dict):
        return value
    if isinstance(value, list):
        return [as_builtins(item, None) for item in value]
    definition = value.__strawberry_definition__
    return {
        field.python_name if field.graphql_name is None else _snake(field.graphql_name): (
            as_builtins(getattr(value, field.python_name), None)
        )
        for field in definition.fields
        if getattr(value, field.python_name) is not strawberry.UNSET
    }


def _may_be_unset(field: inspect.Field) -> bool:
    """``UNSET`` is no default in msgspec's eyes, though it makes a field one that may be absent."""
    return not field.required and field.default is NODEFAULT and field.default_factory is NODEFAULT


def _scalar(info: inspect.Type) -> Any:
    match info:
        case inspect.BoolType():
            return bool
        case inspect.IntType():
            return Long
        case inspect.FloatType():
            return float
        case inspect.StrType() | inspect.DateTimeType():
            return str
        case inspect.LiteralType():
            return str if all(isinstance(value, str) for value in info.values) else JSON
        case _:
            return JSON


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1].lower()}", name)


def _paragraph(text: str | None) -> str | None:
    return " ".join(text.split()).replace("``", "`") if text else None
