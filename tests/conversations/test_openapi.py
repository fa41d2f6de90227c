"""The API's own description: complete, valid, readable."""

from __future__ import annotations

import re
from typing import Any

import openapi_spec_validator
import pytest

from client_api.conversations.api import PREFIX
from client_api.conversations.openapi import document, openapi_path
from client_api.conversations.rest import ALL

from .conftest import ApiUser

OPERATIONS = [operation for api in ALL for operation in api.operations]


@pytest.fixture
async def described(nobody: ApiUser) -> Any:
    return await nobody.get("/openapi.json")


def refs(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(refs, value.values()))
    return set().union(*map(refs, value)) if isinstance(value, list) else set()


async def test_every_operation_is_described(described: Any) -> None:
    for operation in OPERATIONS:
        path = openapi_path(PREFIX + operation.path)

        assert operation.method.lower() in described["paths"][path]


def test_every_operation_says_what_it_does() -> None:
    for operation in OPERATIONS:
        assert operation.summary.endswith("."), operation.name
        assert operation.tag


def test_names_of_operations_are_unique() -> None:
    names = [operation.name for operation in OPERATIONS]

    assert len(names) == len(set(names))


async def test_what_is_referred_to_is_there(described: Any) -> None:
    named = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}

    assert refs(described) <= named
    assert all(re.fullmatch(r"\w+", name) for name in described["components"]["schemas"])


async def test_the_document_is_valid(described: Any) -> None:
    """By the validator of the OpenAPI community."""
    openapi_spec_validator.validate(described)


async def test_the_reference_page_shows_every_operation(nobody: ApiUser) -> None:
    async with nobody.instance.client.get("/api/v1/") as response:
        page = await response.text()

    assert response.content_type == "text/html"
    for operation in OPERATIONS:
        assert f'id="{operation.name}"' in page


async def test_the_reference_page_has_its_style(nobody: ApiUser) -> None:
    async with nobody.instance.client.get("/api/v1/reference.css") as response:
        assert (response.status, response.content_type) == (200, "text/css")


def test_the_document_can_be_made_for_any_address() -> None:
    made = document(ALL, "https://chat.example")

    assert made["servers"] == [{"url": "https://chat.example"}]
