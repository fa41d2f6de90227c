"""Queries of every shape that the schema allows: each is answered, and none takes long."""

from __future__ import annotations

import random
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    get_introspection_query,
    is_composite_type,
)

from client_api.conversations.graphql.schema import schema

from .conftest import ApiUser
from .fuzzing import SEED, watched_log

QUERIES = 120
TEXTS = ['"x"', '""', '"a\\u0000b"', '"!x:one.test"', '"@"', '"\\ud83d\\ude00"', '"%2f"', '"9999"']
HARMFUL = {"deleteAccount", "deleteCurrentSession", "signOutOthers", "signOutDevice"}


class Writer:
    """Writes operations that are valid by the schema."""

    def __init__(self, chance: random.Random, texts: list[str]) -> None:
        self.chance = chance
        self.texts = texts

    def value(self, kind: Any, depth: int = 0) -> str:
        """A literal of a type, valid by the schema alone."""
        chance = self.chance
        if isinstance(kind, GraphQLNonNull):
            kind = kind.of_type
        elif chance.random() < 0.2:
            return "null"
        if isinstance(kind, GraphQLList):
            count = chance.randrange(3) if depth < 4 else 0
            return f"[{' '.join(self.value(kind.of_type, depth + 1) for _ in range(count))}]"
        if isinstance(kind, GraphQLEnumType):
            return chance.choice(list(kind.values))
        if isinstance(kind, GraphQLInputObjectType):
            given = [
                f"{name}: {self.value(field.type, depth + 1)}"
                for name, field in kind.fields.items()
                if isinstance(field.type, GraphQLNonNull) or (depth < 3 and chance.random() < 0.3)
            ]
            return "{" + " ".join(given) + "}"
        assert isinstance(kind, GraphQLScalarType)
        numbers = ["0", "-1", "1", "2147483647", "100"]
        if kind.name == "Boolean":
            return chance.choice(["true", "false"])
        if kind.name in ("Int", "Long", "Float"):
            return chance.choice(numbers)
        return chance.choice(self.texts)

    def field(self, name: str, field: Any, depth: int) -> str:
        """A field with arguments, an alias, and what it is asked for."""
        chance = self.chance
        given = [
            f"{argument}: {self.value(asked.type)}"
            for argument, asked in field.args.items()
            if isinstance(asked.type, GraphQLNonNull) or chance.random() < 0.4
        ]
        kind = field.type
        while hasattr(kind, "of_type"):
            kind = kind.of_type
        inner = self.selection(kind, depth + 1) if is_composite_type(kind) else ""
        alias = f"a{chance.randrange(10**9)}: "
        return f"{alias}{name}{'(' + ' '.join(given) + ')' if given else ''}{inner}"

    def selection(self, kind: Any, depth: int) -> str:
        """Some of a type's fields, plainly or in a fragment."""
        if not isinstance(kind, GraphQLObjectType):
            return " { __typename }"
        names = self.chance.sample(sorted(kind.fields), min(len(kind.fields), 4))
        written = [
            self.field(name, kind.fields[name], depth)
            for name in names
            if depth < 6 or not is_composite_type(getattr(kind.fields[name].type, "of_type", None))
        ]
        if self.chance.random() < 0.2:
            written = [f"... on {kind.name} {{ {' '.join(written)} __typename }}"]
        return f" {{ __typename {' '.join(written)} }}"


async def ask(user: ApiUser, query: str) -> dict[str, Any]:
    """The answer, which is one of GraphQL's whatever it says."""
    async with user.instance.client.post(
        "/api/graphql", json={"query": query}, headers={"Authorization": f"Bearer {user.token}"}
    ) as response:
        assert response.status == 200, query
        answer: dict[str, Any] = await response.json(content_type=None)
        return answer


@pytest.mark.parametrize("kind", ["query", "mutation"])
async def test_valid_queries_never_fail_on_the_server(
    alice: ApiUser, bob: ApiUser, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    room_id = await alice.instance.room(alice.token, name="Tea")
    await bob.matrix("POST", f"/join/{room_id}", {})
    message_id = (await alice.instance.say(alice.token, room_id, "hello"))["event_id"]
    chance = random.Random(SEED)
    known = [f'"{text}"' for text in (room_id, message_id, bob.address)]
    writer, built = Writer(chance, [*TEXTS, *known * 3]), schema()._schema
    root = built.query_type if kind == "query" else built.mutation_type
    assert root is not None
    answered = 0

    with watched_log(caplog):
        for _ in range(QUERIES):
            name = chance.choice(sorted(root.fields.keys() - HARMFUL))
            written = writer.field(name, root.fields[name], 0)
            answer = await ask(alice, f"{kind} {{ {written} }}")
            answered += "data" in answer
            told = answer.get("errors", [])
            assert not [e for e in told if e.get("extensions", {}).get("status") == 500], written

    assert answered > QUERIES / 4


@pytest.mark.parametrize(
    "query",
    [
        "{" + " ".join(f"a{i}: conversations {{ next }}" for i in range(390)) + "}",
        "{ ...A } fragment A on Query { ...B ...B } fragment B on Query { ...A ...A }",
        "{ server { serverName @skip(if: $no) } }",
        "{" * 3_000,
        "{ a" * 600,
        "query ($a: [[[[[[String]]]]]] = [[[[[[]]]]]]) { server { serverName } }",
        '{ person(person: "\\ud800") { isBlocked } }',
        "{ messages(conversationId: 1e999) { nodes { id } } }",
        "{ conversations(limit: 99999999999999999999) { next } }",
        "\0",
        '{ server { serverName } } """',
    ],
)
async def test_odd_queries_are_answered(
    alice: ApiUser, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    with watched_log(caplog):
        answer = await ask(alice, query)

    assert {"data", "errors"} & answer.keys()


async def test_tools_can_read_the_schema_but_not_many_times_in_one_query(nobody: ApiUser) -> None:
    part = "types { fields { args { type { fields { name } } } } }"
    many = f"{{ __schema {{ {' '.join(f'a{i}: {part}' for i in range(100))} }} }}"

    usual = await ask(nobody, get_introspection_query(input_value_deprecation=True))
    refused = await ask(nobody, many)

    assert usual["data"]["__schema"]["types"]
    assert refused["errors"][0]["extensions"]["code"] == "query_too_large"
