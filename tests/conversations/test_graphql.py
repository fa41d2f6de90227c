"""GraphQL over HTTP and over WebSocket, on a whole instance."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import ApiUser

WHO = "{ server { serverName } }"


async def graphql(user: ApiUser, query: str, *, status: int = 200, **variables: Any) -> Any:
    """The whole answer to a query."""
    headers = {"Authorization": f"Bearer {user.token}"} if user.token else {}
    body = {"query": query, "variables": variables}
    async with user.instance.client.post("/api/graphql", json=body, headers=headers) as response:
        assert response.status == status
        return await response.json(content_type=None)


async def test_a_query_is_answered(nobody: ApiUser) -> None:
    answer = await graphql(nobody, WHO)

    assert answer == {"data": {"server": {"serverName": "one.test"}}}


async def test_who_has_no_token_is_told_so(nobody: ApiUser) -> None:
    answer = await graphql(nobody, "{ conversations { next } }")

    assert answer["errors"][0]["extensions"]["code"] == "unauthenticated"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"query": 1}', b'{"query": {}}'])
async def test_what_is_no_query_is_a_problem(nobody: ApiUser, body: bytes) -> None:
    async with nobody.instance.client.post(
        "/api/graphql", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        told = await response.json(content_type=None)

    assert (response.status, response.content_type) == (400, "application/problem+json")
    assert told["code"] in ("invalid_json", "invalid_body")


async def test_the_schema_can_be_read(nobody: ApiUser) -> None:
    async with nobody.instance.client.get("/api/graphql") as response:
        text = await response.text()

    assert "type Query {" in text
    assert "type Mutation {" in text


class Connection:
    """A client of graphql-transport-ws."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def say(self, **frame: Any) -> None:
        await self.socket.send_json(frame)

    async def hear(self) -> Any:
        return await self.socket.receive_json(timeout=10)


async def test_a_query_is_answered_on_a_websocket(alice: ApiUser) -> None:
    client = alice.instance.client
    async with client.ws_connect("/api/graphql", protocols=["graphql-transport-ws"]) as socket:
        connection = Connection(socket)
        await connection.say(type="connection_init", payload={"token": alice.token})
        assert (await connection.hear())["type"] == "connection_ack"

        await connection.say(
            type="subscribe", id="1", payload={"query": "{ conversations { next } }"}
        )

        answer = await connection.hear()
        assert answer == {
            "type": "next",
            "id": "1",
            "payload": {"data": {"conversations": {"next": None}}},
        }
        assert await connection.hear() == {"type": "complete", "id": "1"}
