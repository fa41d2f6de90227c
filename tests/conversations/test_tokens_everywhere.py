"""API tokens at every door: what they open, and that they stop when they are void."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from client_api.conversations.rest import ALL
from client_api.conversations.ws.session import UNAUTHENTICATED
from homeserver.services.conversations.scopes import SCOPES
from tests.conversations.applications import App, administer, new_app
from tests.conversations.conftest import ApiUser
from tests.conversations.sockets import ClientSocket
from tests.integration.single import Instance


@pytest.fixture
async def app(instance: Instance) -> App:
    return await new_app(instance)


async def personal(user: ApiUser, *scopes: str) -> tuple[ApiUser, str]:
    """A program of a user's, and its token's ID."""
    body = {"name": "program", "scopes": scopes or sorted(SCOPES.keys() - {"users:manage"})}
    made = await user.post("/tokens", body, status=201)
    return ApiUser(user.instance, user.name, made["token"]), made["info"]["id"]


async def test_an_application_does_for_its_user_what_the_user_does(
    app: App, alice: ApiUser
) -> None:
    ann = app.user("shop_ann")

    sent = await ann.post("/messages", {"to": alice.address, "text": "hello"}, status=201)
    conversation = sent["conversation"]["id"]
    await alice.matrix("POST", f"/join/{conversation}")
    path = f"/conversations/{conversation}/messages"
    answer = await alice.post(path, {"text": "hello yourself"}, status=201)

    messages = (await ann.get(path))["items"]
    listed = (await ann.get("/conversations"))["items"]
    assert sent["message"]["sender"] == "shop_ann@one.test"
    assert messages[0]["id"] == answer["message"]["id"]
    assert [each["id"] for each in listed] == [conversation]


async def test_the_same_key_for_two_users_is_two_messages(app: App, alice: ApiUser) -> None:
    key = {"Idempotency-Key": "order-1"}
    body = {"to": alice.address, "text": "hello"}

    first = await app.user("shop_ann").post("/messages", body, status=201, headers=key)
    again = await app.user("shop_ann").post("/messages", body, status=201, headers=key)
    other = await app.user("shop_ben").post("/messages", body, status=201, headers=key)

    assert first["message"]["id"] == again["message"]["id"] != other["message"]["id"]


@pytest.mark.parametrize("who", ["application", "personal"])
async def test_no_operation_fails_for_want_of_a_device(
    app: App, alice: ApiUser, bob: ApiUser, who: str
) -> None:
    program: ApiUser = app.user("shop_ann")
    if who == "personal":
        program, _ = await personal(alice)
    sent = await program.post("/messages", {"to": bob.address, "text": "hello"}, status=201)
    places = {
        "conversation_id": sent["conversation"]["id"],
        "message_id": sent["message"]["id"],
        "person": bob.address,
    }
    failed: dict[str, Any] = {}

    for operation in (operation for api in ALL for operation in api.operations):
        if operation.path.startswith(("/ws", "/events")) or operation.media_type is not None:
            continue
        path = operation.path
        for name in path.split("{")[1:]:
            part = name.partition("}")[0]
            path = path.replace("{" + part + "}", places.get(part, "none"))
        body = None if operation.method in ("GET", "DELETE") else {}
        if path.endswith((f"{places['conversation_id']}", "/account")):
            continue  # do not leave in the middle
        headers = {"Authorization": f"Bearer {program.token}"}
        if who == "application":
            headers["Comity-User"] = "shop_ann"
        async with program.instance.client.request(
            operation.method, f"/api/v1{path}", json=body, headers=headers
        ) as response:
            if response.status >= 500:
                failed[f"{operation.method} {operation.path}"] = await response.text()

    assert failed == {}


async def test_a_token_of_no_scope_opens_nothing(app: App, alice: ApiUser) -> None:
    for scope in SCOPES.keys() - {"users:manage"}:
        program, token_id = await personal(alice, scope)
        opened = []
        for operation in (operation for api in ALL for operation in api.operations):
            if operation.method != "GET" or operation.scope in (None, scope):
                continue
            path = operation.path.replace("{", "").replace("}", "")
            headers = {"Authorization": f"Bearer {program.token}"}
            async with program.instance.client.get(f"/api/v1{path}", headers=headers) as response:
                answer = await response.json(content_type=None)
                if response.status != 403 or answer.get("code") != "insufficient_scope":
                    opened.append((operation.path, response.status))
        await alice.call("DELETE", f"/tokens/{token_id}")

        assert opened == [], scope


# ---------------------------------------------------------------- sockets


async def listen(program: ApiUser, **headers: str) -> Any:
    """A socket of a program's, welcomed."""
    ws = await program.instance.client.ws_connect(
        "/api/v1/ws", headers={"Authorization": f"Bearer {program.token}", **headers}
    )
    socket = ClientSocket(ws)
    socket.welcome = await socket.next()
    return socket


async def test_an_application_listens_for_its_user(app: App, alice: ApiUser) -> None:
    await app.post("/application/users", {"localpart": "shop_ann"}, status=201)
    socket = await listen(app, **{"Comity-User": "shop_ann"})

    await alice.post("/messages", {"to": "shop_ann@one.test", "text": "hello"}, status=201)
    created = await socket.until("conversation.created")

    assert socket.welcome["person"] == "shop_ann@one.test"
    assert created["conversation"]["state"] in ("invited", "requested", "active")


async def test_a_socket_ends_with_its_token(alice: ApiUser) -> None:
    program, token_id = await personal(alice, "messages:read")
    socket = await listen(program)

    await alice.call("DELETE", f"/tokens/{token_id}")

    assert await socket.closed() == UNAUTHENTICATED


async def test_a_socket_ends_with_its_application(app: App) -> None:
    await app.post("/application/users", {"localpart": "shop_ann"}, status=201)
    socket = await listen(app, **{"Comity-User": "shop_ann"})

    await administer(app.instance, "DELETE", f"/applications/{app.application_id}")

    assert await socket.closed() == UNAUTHENTICATED


async def test_a_socket_ends_with_its_scope(app: App) -> None:
    await app.post("/application/users", {"localpart": "shop_ann"}, status=201)
    socket = await listen(app, **{"Comity-User": "shop_ann"})

    path = f"/applications/{app.application_id}"
    await administer(app.instance, "PUT", path, {"scopes": ["users:manage"]})

    assert await socket.closed() == UNAUTHENTICATED


async def streamed_by(program: ApiUser) -> Any:
    """A program's stream of events, which has begun."""
    headers = {"Authorization": f"Bearer {program.token}"}
    response = await program.instance.client.get("/api/v1/events", headers=headers)
    await response.content.readuntil(b"hello")
    return response


async def test_a_stream_ends_with_its_token(alice: ApiUser) -> None:
    program, token_id = await personal(alice, "messages:read")
    response = await streamed_by(program)

    await alice.call("DELETE", f"/tokens/{token_id}")

    await asyncio.wait_for(response.read(), 10)
    assert response.content.at_eof()


async def test_a_socket_takes_a_scope(alice: ApiUser) -> None:
    program, _ = await personal(alice, "media")

    async with program.instance.client.get(
        "/api/v1/ws",
        headers={
            "Authorization": f"Bearer {program.token}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    ) as response:
        problem = await response.json(content_type=None)

    assert (response.status, problem["code"]) == (403, "insufficient_scope")
