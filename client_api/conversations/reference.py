"""The reference as a page: the OpenAPI document, readable, without scripts."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any

from homeserver.protocol.events import JsonObject

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/_comity/me/page.css">
<link rel="stylesheet" href="/api/v1/reference.css">
</head>
<body class="reference">
<nav aria-label="Contents">{menu}</nav>
<main>
<h1>{title}</h1>
{intro}
{sections}
<h2 id="objects">Objects</h2>
{objects}
</main>
</body>
</html>
"""
METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
MOST_EXAMPLE_DEPTH = 3


def reference(document: JsonObject) -> str:
    """The page of an OpenAPI document that :mod:`client_api.conversations.openapi` made."""
    info, schemas = document["info"], document["components"]["schemas"]
    by_tag: dict[str, list[tuple[str, str, JsonObject]]] = {t["name"]: [] for t in document["tags"]}
    for path, entry in document["paths"].items():
        for method in METHODS:
            if method in entry:
                by_tag[entry[method]["tags"][0]].append((method, path, entry[method]))
    about = {tag["name"]: tag.get("description", "") for tag in document["tags"]}
    base_url = document["servers"][0]["url"]
    return FRAME.format(
        title=html.escape(info["title"]),
        intro=_text(info["description"]),
        menu="".join(_menu(tag, found) for tag, found in by_tag.items()) + _objects_menu(schemas),
        sections="".join(
            f'<h2 id="{_anchor(tag)}">{html.escape(tag)}</h2>{_text(about[tag])}'
            + "".join(_operation(*operation, schemas, base_url) for operation in found)
            for tag, found in by_tag.items()
        ),
        objects="".join(_object(name, schema) for name, schema in sorted(schemas.items())),
    )


def _menu(tag: str, operations: Iterable[tuple[str, str, JsonObject]]) -> str:
    items = "".join(
        f'<li><a href="#{o["operationId"]}">{html.escape(o["summary"])}</a></li>'
        for _, _, o in operations
    )
    return f"<h2>{html.escape(tag)}</h2><ul>{items}</ul>"


def _objects_menu(schemas: JsonObject) -> str:
    items = "".join(
        f'<li><a href="#{_anchor(name)}">{html.escape(name)}</a></li>' for name in sorted(schemas)
    )
    return f"<h2>Objects</h2><ul>{items}</ul>"


def _anchor(name: str) -> str:
    return "object-" + re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _text(text: str) -> str:
    """Paragraphs, with `code` in them."""
    paragraphs = (" ".join(part.split()) for part in text.replace("``", "`").split("\n\n"))
    return "".join(
        "<p>" + re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(part)) + "</p>"
        for part in paragraphs
        if part
    )


def _operation(
    method: str, path: str, operation: JsonObject, schemas: JsonObject, base_url: str
) -> str:
    name = operation["operationId"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    answer = next(iter(operation["responses"].values()))
    parts = [
        f'<section class="operation" id="{name}" aria-labelledby="{name}-title">'
        f'<h3 id="{name}-title">{html.escape(operation["summary"])}</h3>'
        f'<p class="route"><span class="method">{method.upper()}</span>{html.escape(path)}</p>',
        _text(operation.get("description", "")),
        _rows((p["name"], p, p.get("required", False)) for p in operation["parameters"]),
    ]
    if body:
        parts.append(f"<h4>Body</h4><p>{_kind(body['schema'])}</p>")
    parts.append(f"<h4>Answer</h4><p>{_answer(answer)}</p>")
    if "x-scope" in operation:
        parts.append(f"<p>Scope: <code>{html.escape(operation['x-scope'])}</code></p>")
    parts.append(
        f"<pre>{html.escape(_curl(method, path, operation, body, schemas, base_url))}</pre>"
    )
    return "".join(parts) + "</section>"


def _answer(answer: JsonObject) -> str:
    described = [
        _kind(content["schema"]) if "schema" in content else f"<code>{html.escape(kind)}</code>"
        for kind, content in answer.get("content", {}).items()
    ]
    return ", ".join(described) or "nothing"


def _curl(
    method: str, path: str, operation: JsonObject, body: Any, schemas: JsonObject, base_url: str
) -> str:
    lines = [f"curl -X {method.upper()} {base_url}{path}"]
    if operation.get("security") != []:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    if body:
        example = json.dumps(_example(body["schema"], schemas, 0), ensure_ascii=False)
        lines += ["-H 'Content-Type: application/json'", f"-d '{example}'"]
    return " \\\n  ".join(lines)


def _example(schema: JsonObject, schemas: JsonObject, depth: int) -> Any:
    """A value of a schema: of objects what is required, or their first field."""
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _example(schema[several][0], schemas, depth)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        wanted = schema.get("required") or list(properties)[:1]
        if depth >= MOST_EXAMPLE_DEPTH:
            return {}
        return {name: _example(properties[name], schemas, depth + 1) for name in wanted}
    examples = {"array": [], "integer": 1, "number": 1.5, "boolean": True, "null": None}
    return examples.get(schema.get("type", "string"), "...")


def _object(name: str, schema: JsonObject) -> str:
    needed = schema.get("required", ())
    fields = ((f, s, f in needed) for f, s in schema.get("properties", {}).items())
    return (
        f'<section class="operation" id="{_anchor(name)}"><h3>{html.escape(name)}</h3>'
        f"{_text(schema.get('description', ''))}{_rows(fields)}</section>"
    )


def _rows(fields: Iterable[tuple[str, JsonObject, bool]]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code>"
        f"{' <span class=needed>required</span>' if needed else ''}</td>"
        f"<td>{_kind(field.get('schema', field))}</td>"
        f"<td>{html.escape(field.get('description', ''))}</td></tr>"
        for name, field, needed in fields
    )
    if not rows:
        return ""
    head = "<tr><th scope=col>Name</th><th scope=col>Type</th><th scope=col>Meaning</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _kind(schema: JsonObject) -> str:
    """A type in words, with a link to the object that it is."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_anchor(name)}">{html.escape(name)}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_kind(part) for part in schema[several])
    if "enum" in schema:
        return ", ".join(f"<code>{html.escape(json.dumps(v))}</code>" for v in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return html.escape(str(schema.get("type", "anything")))
