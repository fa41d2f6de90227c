"""Every answer in these tests is held against what the OpenAPI document says of it."""

from __future__ import annotations

import functools
import re
from typing import Any

from jsonschema import Draft202012Validator

from client_api.conversations.openapi import document
from client_api.conversations.rest import ALL

JSON_TYPES = ("application/json", "application/problem+json")


class Contract:
    """What each operation may answer."""

    def __init__(self) -> None:
        self.document = document(ALL, "https://chat.example")
        self._routes = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), entry)
            for path, entry in sorted(
                self.document["paths"].items(), key=lambda item: item[0].count("{")
            )
        ]
        self.exercised: set[str] = set()

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The description of the operation that a call is of."""
        plain = path.partition("?")[0]
        for pattern, entry in self._routes:
            if pattern.fullmatch(plain) and method.lower() in entry:
                found: dict[str, Any] = entry[method.lower()]
                return found
        return None

    def check(self, method: str, path: str, status: int, content_type: str, answer: Any) -> None:
        """Fail unless the answer is one that is described.  ``path`` begins with ``/api``."""
        operation = self.operation(method, path)
        if operation is None or content_type not in JSON_TYPES:
            return
        if status < 400:
            self.exercised.add(operation["operationId"])
            assert str(status) in operation["responses"] or status == 304, (method, path, status)
        described = operation["responses"].get(str(status), operation["responses"]["default"])
        schema = described["content"].get(content_type, {}).get("schema")
        if schema is not None:
            errors = list(self._validator(schema).iter_errors(answer))
            assert not errors, (method, path, [error.message for error in errors[:3]], answer)

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        return Draft202012Validator({**schema, "components": self.document["components"]})


@functools.cache
def contract() -> Contract:
    """The contract of the whole API."""
    return Contract()
