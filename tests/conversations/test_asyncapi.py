"""The description of the WebSocket is complete, and what is sent is as it says."""

from __future__ import annotations

from typing import Any, get_args

import jsonschema
import pytest

from client_api.conversations.ws.asyncapi import updates
from client_api.conversations.ws.client_frames import ClientFrame
from client_api.conversations.ws.server_frames import ServerFrame

from .conftest import ApiUser
from .sockets import connected


@pytest.fixture
async def described(nobody: ApiUser) -> Any:
    return await nobody.get("/asyncapi.json")


def pointed_at(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


async def test_every_frame_is_described(described: Any) -> None:
    told = {message["name"] for message in described["components"]["messages"].values()}
    kinds = [*get_args(ClientFrame), *get_args(ServerFrame), *updates()]

    assert {kind.__struct_config__.tag for kind in kinds} <= told
    assert {"send", "ok", "problem", "message.created", "reset"} <= told
    listed = [len(described["operations"][name]["messages"]) for name in ("listen", "tell")]
    assert sum(listed) == len(kinds) == len(described["components"]["messages"])


async def test_what_is_referred_to_is_there(described: Any) -> None:
    for reference in references(described):
        assert pointed_at(described, reference)


async def test_it_says_where_to_connect(described: Any) -> None:
    assert described["asyncapi"] == "3.0.0"
    assert described["channels"]["session"]["address"] == "/api/v1/ws"
    assert described["servers"]["instance"]["protocol"] in ("ws", "wss")


async def test_what_is_told_is_as_described(described: Any, alice: ApiUser, bob: ApiUser) -> None:
    by_name = {m["name"]: m for m in described["components"]["messages"].values()}
    # Frames of clients and of the server may have the same name.
    told = {
        pointed_at(described, pointed_at(described, m["$ref"])["$ref"])["name"]: m
        for m in described["operations"]["tell"]["messages"]
    }
    room_id = await alice.instance.room(alice.token)
    frames = []
    async with connected(alice) as socket:
        frames.append(socket.welcome)
        await bob.matrix("POST", f"/join/{room_id}", {})
        frames.append(await socket.until("member.updated"))
        await socket.send(type="send", client_id="a", conversation_id=room_id, text="hello")
        frames += [await socket.next(), await socket.next()]
        await socket.send(type="send", client_id="a", conversation_id=room_id, text="other")
        frames.append(await socket.until("problem"))

    assert [frame["type"] for frame in frames[:2]] == ["hello", "member.updated"]
    for frame in frames:
        message = pointed_at(described, pointed_at(described, told[frame["type"]]["$ref"])["$ref"])
        schema = {**message["payload"], "components": described["components"]}
        jsonschema.validate(frame, schema, cls=jsonschema.Draft202012Validator)
    assert by_name["ping"]["payload"]
