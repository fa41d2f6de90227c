"""GraphQL over HTTP and over WebSocket, on a whole instance."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from client_api.conversations.graphql.context import Context
from client_api.conversations.graphql.schema import schema
from client_api.conversations.graphql.view import MAX_SUBSCRIPTIONS

from .conftest import ApiUser
from .test_message_statements import Counting, counting

__all__ = ["counting"]  # a fixture

MOST_STATEMENTS = 20
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
        return await self.socket.receive_json(timeout=30)


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


# ---------------------------------------------------------------- connections


async def group(owner: ApiUser, guest: ApiUser, texts: list[str]) -> str:
    """A conversation of two with messages in it."""
    room_id = await owner.instance.room(owner.token, name="Tea")
    await guest.matrix("POST", f"/join/{room_id}", {})
    for text in texts:
        await owner.instance.say(owner.token, room_id, text)
    return room_id


async def data(user: ApiUser, query: str, **variables: Any) -> Any:
    """What a query yields; it must not fail."""
    answer = await graphql(user, query, **variables)
    assert "errors" not in answer, answer
    return answer["data"]


PAGE = """query ($id: String!, $after: String) {
    messages(conversationId: $id, first: 2, after: $after) {
        nodes { text sender { address name } } edges { cursor }
        pageInfo { hasNextPage endCursor }
    }
}"""


async def test_messages_are_read_page_by_page(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await group(alice, bob, ["1", "2", "3", "4"])

    first = (await data(bob, PAGE, id=room_id))["messages"]
    second = (await data(bob, PAGE, id=room_id, after=first["pageInfo"]["endCursor"]))["messages"]
    by_edge = (await data(bob, PAGE, id=room_id, after=first["edges"][0]["cursor"]))["messages"]

    assert [n["text"] for n in first["nodes"]] == ["4", "3"]
    assert [n["text"] for n in second["nodes"]] == ["2", "1"]
    assert [n["text"] for n in by_edge["nodes"]] == ["3", "2"]
    assert first["nodes"][0]["sender"] == {"address": alice.address, "name": "alice"}


LISTED = """{ conversations(limit: 50) { items {
    id lastMessage { text sender { name } }
    messages(first: 3) { nodes { text sender { name } reactions { key count mine } } }
} } }"""


async def executed(user: ApiUser, query: str) -> Any:
    """A query, carried out in this task, so that its statements can be told from others'."""
    headers = {"Authorization": f"Bearer {user.token}"}
    app = user.instance.client.app
    request = make_mocked_request("POST", "/api/graphql", headers=headers, app=app)
    result = await schema().execute(query, context_value=Context(request, web.Response()))
    assert result.errors is None
    return result.data


async def test_a_query_costs_as_many_statements_for_many_conversations_as_for_few(
    alice: ApiUser, bob: ApiUser, counting: Counting
) -> None:
    await group(alice, bob, ["1", "2"])
    counts = []
    for number in range(3):
        for _ in range(2 * number):
            await group(alice, bob, ["a", "b", "c", "d"])

        count, answer = await counting(executed(bob, LISTED))

        counts.append(count)
        assert all(len(c["messages"]["nodes"]) >= 2 for c in answer["conversations"]["items"])
    assert 0 < counts[2] <= counts[1] <= counts[0] + 2, counts
    assert counts[2] < MOST_STATEMENTS


async def test_nobody_reads_what_they_may_not(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token, preset="private_chat")

    answer = await graphql(bob, PAGE, id=room_id)

    assert answer["errors"][0]["extensions"]["code"] == "not_found"


# ---------------------------------------------------------------- subscriptions


async def subscribed(user: ApiUser, socket: Any, query: str, **variables: Any) -> Connection:
    """A connection with one subscription, which has begun."""
    connection = Connection(socket)
    await connection.say(type="connection_init", payload={"token": user.token})
    await connection.hear()
    await connection.say(type="subscribe", id="1", payload={"query": query, "variables": variables})
    return connection


PROTOCOLS = ["graphql-transport-ws"]
RECEIVED = """subscription ($since: Long) {
    messageReceived(since: $since) { text position sender { name } }
}"""


async def test_messages_are_received_from_a_position_on(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await group(alice, bob, ["missed"])
    since = alice.instance.wiring.log.position - 1
    async with bob.instance.client.ws_connect("/api/graphql", protocols=PROTOCOLS) as socket:
        connection = await subscribed(bob, socket, RECEIVED, since=since)

        missed = await connection.hear()
        await alice.instance.say(alice.token, room_id, "live")
        live = await connection.hear()

    assert missed["payload"]["data"]["messageReceived"]["text"] == "missed"
    assert live["payload"]["data"]["messageReceived"]["text"] == "live"
    assert live["payload"]["data"]["messageReceived"]["sender"] == {"name": "alice"}


async def test_a_position_that_never_was_is_a_problem(alice: ApiUser) -> None:
    async with alice.instance.client.ws_connect("/api/graphql", protocols=PROTOCOLS) as socket:
        connection = await subscribed(alice, socket, RECEIVED, since=10**12)

        answer = await connection.hear()

    errors = answer["payload"] if answer["type"] == "error" else answer["payload"]["errors"]
    assert errors[0]["extensions"]["code"] == "reset"


async def test_everything_that_happens_can_be_followed(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await group(alice, bob, [])
    since = alice.instance.wiring.log.position
    query = """subscription ($since: Long) {
        updates(types: ["message.created", "message.deleted"], since: $since) {
            type position conversationId data
        }
    }"""
    async with bob.instance.client.ws_connect("/api/graphql", protocols=PROTOCOLS) as socket:
        connection = await subscribed(bob, socket, query, since=since)
        sent = await alice.instance.say(alice.token, room_id, "Hello")
        created = (await connection.hear())["payload"]["data"]["updates"]

        await alice.matrix("PUT", f"/rooms/{room_id}/redact/{sent['event_id']}/t", {})
        deleted = (await connection.hear())["payload"]["data"]["updates"]

    assert (created["type"], created["conversationId"]) == ("message.created", room_id)
    assert created["data"]["message"]["text"] == "Hello"
    assert (deleted["type"], deleted["data"]["by"]) == ("message.deleted", alice.address)
    assert since < created["position"] < deleted["position"]


async def test_subscriptions_count_as_streams(alice: ApiUser) -> None:
    """Else one user's would fill the memory: each keeps what its reader has not taken."""
    limits = alice.instance.wiring.config.websocket
    async with AsyncExitStack() as stack:
        for _ in range(limits.sockets_per_user // MAX_SUBSCRIPTIONS + 1):
            socket = await stack.enter_async_context(
                alice.instance.client.ws_connect("/api/graphql", protocols=PROTOCOLS)
            )
            connection = Connection(socket)
            await connection.say(type="connection_init", payload={"token": alice.token})
            await connection.hear()
            for number in range(MAX_SUBSCRIPTIONS):
                query = "subscription { typing { typing } }"
                await connection.say(type="subscribe", id=str(number), payload={"query": query})

        refused = await connection.hear()

    assert "rate_limited" in str(refused["payload"])


async def test_what_was_read_over_a_websocket_is_read_anew(alice: ApiUser, bob: ApiUser) -> None:
    await group(alice, bob, ["first"])
    query = "{ conversations { items { messages(first: 1) { nodes { text } } } } }"
    async with alice.instance.client.ws_connect("/api/graphql", protocols=PROTOCOLS) as socket:
        connection = Connection(socket)
        await connection.say(type="connection_init", payload={"token": alice.token})
        await connection.hear()
        seen = []
        for number in ("1", "2"):
            await connection.say(type="subscribe", id=number, payload={"query": query})
            seen.append(str(await connection.hear()))
            await connection.hear()
            listed = await alice.get("/conversations")
            await alice.instance.say(alice.token, listed["items"][0]["id"], "second")

    assert "first" in seen[0]
    assert "second" in seen[1]


async def test_a_revoked_token_ends_a_subscription_at_once(alice: ApiUser, bob: ApiUser) -> None:
    await group(alice, bob, ["missed"])
    since = alice.instance.wiring.log.position - 1
    async with bob.instance.client.ws_connect("/api/graphql", protocols=PROTOCOLS) as socket:
        connection = await subscribed(bob, socket, RECEIVED, since=since)
        await connection.hear()
        await bob.matrix("POST", "/logout", {})

        answer = await connection.hear()

    errors = answer["payload"] if answer["type"] == "error" else answer["payload"]["errors"]
    assert errors[0]["extensions"]["code"] == "unauthenticated"
