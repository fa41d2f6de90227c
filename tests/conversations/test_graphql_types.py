"""Operations and shapes as GraphQL: what is generated says the same as REST."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from msgspec import UNSET, UnsetType

from client_api.conversations.api import Api, Call
from client_api.conversations.graphql.context import Context
from client_api.conversations.graphql.schema import Schema, make_schema
from client_api.conversations.graphql.types import Types
from homeserver.errors import NotFound
from homeserver.services.conversations.shapes.base import Input, Shape, Sparse
from homeserver.services.conversations.shapes.pages import Page


class Lid(Sparse, frozen=True, kw_only=True):
    colour: Literal["red", "blue"] = "red"


class Cup(Shape, frozen=True, kw_only=True):
    """A cup."""

    name: str
    from_place: str | None = msgspec.field(default=None, name="from")
    size_ml: int = 0
    lid: Lid | None = None
    mine: bool | UnsetType = UNSET
    until: bool | str = False
    more: dict[str, Any] | None = None


class NewLid(Input, frozen=True, kw_only=True):
    colour: Literal["red", "blue"] = "red"


class NewCup(Input, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(max_length=5)]
    from_place: str | None = msgspec.field(default=None, name="from")
    size_ml: int = 0
    lid: NewLid | None = None
    more: dict[str, Any] | None = None


class Which(Input, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


api = Api("Cups")


@api.get("/cups/{name}", scope=None)
async def get_cup(call: Call) -> Cup:
    """Read a cup."""
    if call.path("name") == "none":
        raise NotFound("There is no such cup")
    if call.path("name") == "broken":
        raise ZeroDivisionError
    return Cup(name=call.path("name"), until="later", size_ml=2**40)


@api.get("/cups", scope=None)
async def list_cups(call: Call[None, Which]) -> Page[Cup]:
    """List cups."""
    return Page(items=[Cup(name=f"cup{call.query.limit}")], next="more")


@api.post("/cups", scope=None, status=201)
async def make_cup(call: Call[NewCup]) -> Cup:
    """Make a cup."""
    body = call.body
    return Cup(
        name=body.name,
        from_place=body.from_place,
        size_ml=body.size_ml,
        lid=Lid(colour=body.lid.colour) if body.lid is not None else None,
        more=body.more,
    )


@api.delete("/cups/{name}", scope=None)
async def break_cup(call: Call) -> None:
    """Break a cup."""


@pytest.fixture(scope="module")
def schema() -> Schema:
    return make_schema([api], Types())


async def ask(schema: Schema, query: str, **variables: Any) -> Any:
    context = Context(make_mocked_request("POST", "/api/graphql"), web.Response())
    return await schema.execute(query, variable_values=variables, context_value=context)


async def test_a_shape_is_read_field_by_field(schema: Schema) -> None:
    result = await ask(
        schema, '{ cup(name: "blue") { name from sizeMl lid { colour } mine until more } }'
    )

    assert result.errors is None
    assert result.data["cup"] == {
        "name": "blue",
        "from": None,
        "sizeMl": 2**40,
        "lid": None,
        "mine": None,
        "until": "later",
        "more": None,
    }


async def test_a_page_is_read_with_its_query(schema: Schema) -> None:
    result = await ask(schema, "{ cups(limit: 7) { items { name } next } }")

    assert result.data["cups"] == {"items": [{"name": "cup7"}], "next": "more"}


async def test_a_body_is_an_input(schema: Schema) -> None:
    result = await ask(
        schema,
        """mutation ($new: NewCupInput!) {
            makeCup(input: $new) { name from sizeMl lid { colour } more }
        }""",
        new={
            "name": "tea",
            "from": "Meissen",
            "sizeMl": 200,
            "lid": {"colour": "blue"},
            "more": {"a_b": [1]},
        },
    )

    assert result.errors is None
    assert result.data["makeCup"] == {
        "name": "tea",
        "from": "Meissen",
        "sizeMl": 200,
        "lid": {"colour": "blue"},
        "more": {"a_b": [1]},
    }


async def test_what_answers_nothing_answers_true(schema: Schema) -> None:
    result = await ask(schema, 'mutation { breakCup(name: "tea") }')

    assert result.data == {"breakCup": True}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ('{ cup(name: "none") { name } }', "not_found"),
        ('{ cup(name: "broken") { name } }', "internal_error"),
        ('mutation { makeCup(input: {name: "too long"}) { name } }', "invalid_body"),
        ("{ cups(limit: 1000) { next } }", "invalid_body"),
        ("{ nothing }", "invalid_query"),
        ("{", "invalid_query"),
        ("{ cups(limit: 100) { items { name a: name b: name } } }", None),
    ],
)
async def test_failures_are_problems(schema: Schema, query: str, code: str | None) -> None:
    result = await ask(schema, query)

    codes = [error.extensions["code"] for error in result.errors or ()]
    assert codes == ([code] if code is not None else [])


async def test_a_query_that_asks_for_too_much_is_refused(schema: Schema) -> None:
    many = " ".join(f"c{n}: cups(limit: 100) {{ items {{ name from sizeMl }} }}" for n in range(28))

    result = await ask(schema, f"{{ {many} }}")

    assert result.errors is not None
    assert result.errors[0].extensions["code"] == "query_too_large"


async def test_fragments_within_fragments_do_not_hide_the_cost(schema: Schema) -> None:
    chain = " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(60))
    last = 'fragment f60 on Query { cup(name: "x") { name } }'

    result = await ask(schema, f"{{ ...f0 }} {chain} {last}")

    assert result.errors is not None
