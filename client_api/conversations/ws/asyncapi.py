"""The AsyncAPI 3 document of the WebSocket, made of the types of its frames.

Spec: AsyncAPI 3.0.0.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec

from client_api.conversations.api import PREFIX
from client_api.conversations.ws import client_frames, server_frames
from homeserver.protocol.events import JsonObject
from homeserver.services.conversations.shapes.updates import AnyUpdate

TITLE = "Comity Conversations API: updates"
DESCRIPTION = """\
What happens, as it happens: one connection per device. Each durable update has a `position`; who
comes back with the last one as `since` misses nothing and sees nothing twice. What is sent with a
`client_id` is answered with `ok` once it is durable, or with `problem`. Frames are JSON in text
frames (`comity.v1.json`, also without a subprotocol) or MessagePack in binary ones
(`comity.v1.msgpack`)."""
REF = "#/components/schemas/{name}"
CHANNEL = "session"


def updates() -> list[type[AnyUpdate]]:
    """All kinds of updates."""
    return _leaves(AnyUpdate)


def _leaves(kind: type[AnyUpdate]) -> list[type[AnyUpdate]]:
    found: list[type[AnyUpdate]] = []
    for child in kind.__subclasses__():
        found.extend(_leaves(child) or [child])
    return found


def document(base_url: str) -> JsonObject:
    """The document for an instance at an address."""
    asked, told = get_args(client_frames.ClientFrame), get_args(server_frames.ServerFrame)
    answers = [*told, *updates()]
    schemas, components = msgspec.json.schema_components([*asked, *answers], ref_template=REF)
    payloads = dict(zip([*asked, *answers], schemas, strict=True))
    messages = {kind.__name__: _message(kind, payloads[kind]) for kind in payloads}
    url = urlsplit(base_url)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": TITLE, "version": "1", "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "instance": {
                "host": url.netloc,
                "pathname": url.path.rstrip("/") or "/",
                "protocol": "wss" if url.scheme == "https" else "ws",
                "security": [
                    {"$ref": "#/components/securitySchemes/header"},
                    {"$ref": "#/components/securitySchemes/query"},
                ],
            }
        },
        "channels": {CHANNEL: _channel(messages)},
        "operations": {
            "listen": _operation("receive", "Frames that clients send", asked),
            "tell": _operation("send", "Frames that the server sends", answers),
        },
        "components": {
            "messages": messages,
            "schemas": components,
            "securitySchemes": {
                "header": {"type": "http", "scheme": "bearer"},
                "query": {"type": "httpApiKey", "in": "query", "name": "access_token"},
            },
        },
    }


def _channel(messages: Iterable[str]) -> JsonObject:
    since = {
        "type": "integer",
        "minimum": 0,
        "description": "The last position that the client has",
    }
    return {
        "address": f"{PREFIX}/ws",
        "title": "A session of a device",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {
                    "type": "object",
                    "properties": {"since": since, "access_token": {"type": "string"}},
                },
                "bindingVersion": "0.1.0",
            }
        },
    }


def _operation(action: str, summary: str, kinds: Iterable[type]) -> JsonObject:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{CHANNEL}/messages/{k.__name__}"} for k in kinds],
    }


def _message(kind: Any, payload: JsonObject) -> JsonObject:
    text = " ".join((inspect.getdoc(kind) or "").split())
    return {
        "name": kind.__struct_config__.tag,
        "title": kind.__name__,
        "summary": text.replace("``", "`"),
        "contentType": "application/json",
        "payload": payload,
    }
