"""An admin of a whole instance, whose answers are held against the API's own document."""

from __future__ import annotations

import re
from typing import Any

import jsonschema

from client_api.admin.openapi import document
from homeserver.protocol.events import JsonObject
from tests.integration.single import Instance

PREFIX = "/_comity/admin/v1"
BASE = "https://one.test"
exercised: set[tuple[str, str]] = set()


def operation_of(method: str, path: str) -> tuple[str, JsonObject]:
    """The template of a path, and what the document says of the operation."""
    for template, entry in document(BASE)["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if method.lower() in entry and re.fullmatch(pattern, path):
            return template, entry[method.lower()]
    raise AssertionError(f"{method} {path} is not in the document")


class Admin:
    """Calls the admin API."""

    def __init__(self, one: Instance, token: str | None = None) -> None:
        self.one = one
        self.token = token

    async def call(
        self, method: str, path: str, body: Any = None, *, status: int = 200
    ) -> dict[str, Any]:
        """One call; its status is checked, and its answer against the document."""
        plain = path.partition("?")[0]
        template, operation = operation_of(method, PREFIX + plain)
        token = self.token or self.one.wiring.admin_tokens.make()
        answer = await self.one.call(method, PREFIX + path, body, token=token, status=status)
        responses = operation["responses"]
        described = responses.get(str(status), responses["default"])
        schema = described["content"]["application/json"]["schema"]
        whole = {**schema, "components": document(BASE)["components"]}
        jsonschema.Draft202012Validator(whole).validate(answer)
        if status < 400:
            exercised.add((method, template))
        return answer
