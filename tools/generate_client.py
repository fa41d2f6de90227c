"""Writes what the Python client says of the API: ``python -m tools.generate_client``.

From the OpenAPI document come the types (``shapes.py``) and a method for each operation
(``operations.py``).  A test checks that they are as this writes them.
"""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from client_api.conversations.openapi import document
from client_api.conversations.rest import ALL

DIRECTORY = Path(__file__).parents[1] / "comity" / "client"
PREFIX = "/api/v1"
SHAPES_HEAD = '''"""The API's objects.  Made by ``python -m tools.generate_client``: do not edit."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

'''
OPERATIONS_HEAD = '''"""The API's operations.

Made by ``python -m tools.generate_client``: do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, cast
from urllib.parse import quote

from comity.client.shapes import {shapes}


def _path(template: str, *parts: str) -> str:
    return template.format(*(quote(part, safe="") for part in parts))


class Operations:
    """A method for each operation.  Each raises :class:`~comity.client.errors.Problem`."""

    call: Any

'''


def shapes(schemas: dict[str, Any]) -> str:
    """The module of types."""
    return SHAPES_HEAD + "\n\n".join(_shape(n, s) for n, s in sorted(schemas.items())) + "\n"


def _shape(name: str, schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    fields = {
        field: _kind(kind) if field in needed else f"NotRequired[{_kind(kind)}]"
        for field, kind in schema.get("properties", {}).items()
    }
    doc = _doc(schema.get("description", name), 4)
    if any(keyword.iskeyword(field) for field in fields):
        items = ", ".join(f'"{field}": {_quoted(kind)}' for field, kind in fields.items())
        return f'{name} = TypedDict("{name}", {{{items}}})\n"""{_words(schema, name)}"""\n'
    lines = [f"    {field}: {kind}" for field, kind in fields.items()]
    return "\n".join([f"class {name}(TypedDict):", doc, "", *lines]) + "\n"


def _words(schema: dict[str, Any], name: str) -> str:
    return " ".join(schema.get("description", name).split())[:90]


def _quoted(kind: str) -> str:
    """An annotation that is evaluated only by type checkers."""
    return repr(kind)


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(_kind(part) for part in schema[several]))
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    match schema.get("type"):
        case "array":
            return f"list[{_kind(schema.get('items', {}))}]"
        case "object":
            inner = schema.get("additionalProperties")
            return f"dict[str, {_kind(inner) if isinstance(inner, dict) else 'Any'}]"
        case str() as name:
            kinds = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
            return kinds.get(name, "None")
    return "Any"


def operations(made: dict[str, Any]) -> str:
    """The module of methods."""
    methods = [
        _method(path, method, entry[method])
        for path, entry in made["paths"].items()
        for method in entry
        if _answers_json(entry[method])
    ]
    text = "\n\n".join(methods)
    used = sorted(n for n in made["components"]["schemas"] if re.search(rf"\b{n}\b", text))
    return OPERATIONS_HEAD.format(shapes=f"({', '.join(used)})") + text + "\n"


def _answers_json(operation: dict[str, Any]) -> bool:
    answer = next(iter(operation["responses"].values()))
    content = answer.get("content", {})
    return "schema" in content.get("application/json", {})


def _method(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = operation["parameters"]
    parts = [p["name"] for p in parameters if p["in"] == "path"]
    queries = [p for p in parameters if p["in"] == "query"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    answer = next(iter(operation["responses"].values()))["content"]["application/json"]["schema"]
    kind = _kind(answer)
    nothing = kind.startswith("dict") or kind == "Empty"
    arguments = ["self", *(f"{part}: str" for part in parts)]
    if body is not None:
        arguments.append(f"body: {_kind(body['schema'])}")
    keyed = method == "post" and operation.get("security") != []
    options = [*(_query(q) for q in queries), *(["key: str | None = None"] if keyed else [])]
    if options:
        arguments += ["*", *options]
    url = re.sub(r"\{\w+\}", "{}", path.removeprefix(PREFIX))
    given = [f'"{method.upper()}"', f'_path("{url}", {", ".join(parts)})' if parts else f'"{url}"']
    if body is not None:
        given.append("body=body")
    if queries:
        pairs = ", ".join(f'"{q["name"]}": {_python_name(q["name"])}' for q in queries)
        given.append(f"query={{{pairs}}}")
    if keyed:
        given.append("key=key")
    call = f"await self.call({', '.join(given)})"
    returns = "None" if nothing else kind
    return "\n".join(
        [
            f"    async def {operation['operationId']}({', '.join(arguments)}) -> {returns}:",
            _doc(f"{operation['summary']}.\n\n{operation.get('description', '')}", 8),
            f"        {call}" if nothing else f'        return cast("{returns}", {call})',
        ]
    )


def _query(parameter: dict[str, Any]) -> str:
    kind = _kind(parameter["schema"])
    return f"{_python_name(parameter['name'])}: {kind.removesuffix(' | None')} | None = None"


def _python_name(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _doc(text: str, indent: int) -> str:
    paragraphs = [
        textwrap.fill(" ".join(part.split()), 96 - indent - 3)
        for part in text.strip().split("\n\n")
        if part.strip()
    ]
    body = "\n\n".join(paragraphs).replace("\\", "\\\\")
    end = '\n"""' if "\n" in body else '"""'
    return textwrap.indent(f'"""{body}{end}', " " * indent)


def formatted(code: str) -> str:
    """Code in the project's style."""
    for command in (["check", "-q", "-e", "--select", "I,F401", "--fix"], ["format", "-q"]):
        code = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", "made.py", "-"],
            input=code,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return code


def generated() -> dict[str, str]:
    """File name -> contents."""
    made = document(ALL, "")
    return {
        "shapes.py": formatted(shapes(made["components"]["schemas"])),
        "operations.py": formatted(operations(made)),
    }


def write(files: Iterable[tuple[str, str]]) -> None:
    """Write the files."""
    for name, text in files:
        (DIRECTORY / name).write_text(text)


if __name__ == "__main__":
    write(generated().items())
