"""One door each of what one person does: REST, WebSocket, GraphQL, a Matrix client."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from homeserver.services.conversations.shapes.people import address

from .person import Person
from .test_delivery import api

POLL = {"question": "When?", "choices": [{"id": "a", "text": "Now"}, {"id": "b", "text": "Later"}]}
PATIENCE_SECONDS = 40.0
RESPONSE = "org.matrix.msc3381.poll.response"
SHOWN = """query ($room: String!, $id: String!) {
  message(conversationId: $room, messageId: $id) {
    id kind text sender { address } replyTo thread
    reactions { key count } deleted { by } poll { voters choices { id votes } } } }"""
HEARD = "subscription { updates { type conversationId data } }"

_serial = itertools.count(1)


def snake(value: Any) -> Any:
    """What GraphQL answers, spelt and pruned as REST does."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if isinstance(value, dict):
        return {
            re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name): snake(item)
            for name, item in value.items()
            if item not in (None, [])
        }
    return value


def includes(told: Any, wanted: Any) -> bool:
    """Whether an answer has at least what is wanted."""
    if isinstance(wanted, dict):
        return isinstance(told, dict) and all(
            name in told and includes(told[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(told, list) and all(
            includes(*both) for both in itertools.zip_longest(told, wanted)
        )
    return bool(told == wanted)


class Api:
    """Somebody's three doors, of one device: calls, a socket, and a subscription."""

    def __init__(self, person: Person, session: aiohttp.ClientSession) -> None:
        self.person, self.session = person, session
        self.url = person.server.client_url
        self.token = person.client.access_token
        self.updates: dict[str, list[Any]] = {"websocket": [], "graphql": []}
        self.answers: dict[str, asyncio.Future[Any]] = {}
        self.changed = asyncio.Condition()
        self.socket: aiohttp.ClientWebSocketResponse

    async def listen(self, ready: asyncio.Event) -> None:
        """The WebSocket."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.session.ws_connect(f"{self.url}/api/v1/ws", headers=headers) as self.socket:
            async for message in self.socket:
                frame = message.json()
                if frame["type"] == "hello":
                    ready.set()
                elif frame["type"] in ("ok", "problem"):
                    self.answers[frame["client_id"]].set_result(frame)
                else:
                    await self._note("websocket", frame)

    async def subscribe(self, ready: asyncio.Event) -> None:
        """GraphQL's subscription."""
        async with self.session.ws_connect(
            f"{self.url}/api/graphql", protocols=["graphql-transport-ws"]
        ) as socket:
            await socket.send_json({"type": "connection_init", "payload": {"token": self.token}})
            await socket.receive_json()
            frame = {"type": "subscribe", "id": "1", "payload": {"query": HEARD}}
            await socket.send_json(frame)
            ready.set()
            async for message in socket:
                told = message.json()
                if told["type"] == "next":
                    assert "errors" not in told["payload"], told
                    update = told["payload"]["data"]["updates"]
                    named = {"type": update["type"], "conversation_id": update["conversationId"]}
                    await self._note("graphql", {**named, **update["data"]})

    async def _note(self, door: str, update: Any) -> None:
        async with self.changed:
            self.updates[door].append(update)
            self.changed.notify_all()

    async def frame(self, kind: str, **fields: Any) -> Any:
        """A frame of the socket, and its answer."""
        client_id = f"f{next(_serial)}"
        self.answers[client_id] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"type": kind, "client_id": client_id, **fields})
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await self.answers[client_id]
        assert answer["type"] == "ok", answer
        return answer

    async def rest(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """A call of REST."""
        return await api(self.person, method, path, body, status=status)

    async def graphql(self, query: str, **variables: Any) -> Any:
        """A query or a mutation; its data."""
        headers = {"Authorization": f"Bearer {self.token}"}
        body = {"query": query, "variables": variables}
        async with self.session.post(
            f"{self.url}/api/graphql", json=body, headers=headers
        ) as response:
            answer = await response.json()
        assert "errors" not in answer, answer
        return answer["data"]

    async def mutate(self, field: str, selected: str = "", **arguments: str) -> Any:
        """A mutation; what it answers.  ``input`` is spelt as GraphQL has it."""
        given = ", ".join(
            f"{name}: {value if name == 'input' else json.dumps(value)}"
            for name, value in arguments.items()
        )
        return (await self.graphql(f"mutation {{ done: {field}({given}) {selected} }}"))["done"]

    # ------------------------------------------------------------ what they tell

    async def hears(self, kind: str, **fields: Any) -> None:
        """The socket and the subscription tell of it."""
        wanted = {"type": kind, **fields}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self.changed:
                await self.changed.wait_for(
                    lambda: all(
                        any(includes(update, wanted) for update in updates)
                        for updates in self.updates.values()
                    )
                )
        except TimeoutError:
            told = {
                door: [u for u in updates if u["type"] == kind]
                for door, updates in self.updates.items()
            }
            raise AssertionError(f"not told everywhere: {wanted}: {told}") from None

    async def shows(self, room_id: str, message_id: str, **wanted: Any) -> None:
        """REST and GraphQL answer so when they are asked for a message."""

        async def by_rest() -> Any:
            return await self.rest("GET", f"/conversations/{room_id}/messages/{message_id}")

        async def by_graphql() -> Any:
            told = snake((await self.graphql(SHOWN, room=room_id, id=message_id))["message"])
            return {**told, "sender": told["sender"]["address"]}

        for door in (by_rest, by_graphql):
            await becomes(door, wanted)


async def becomes(ask: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Ask until the answer includes what is wanted."""
    told: Any = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                told = await ask()
                if includes(told, wanted):
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{ask.__qualname__} never had {wanted}: {told}") from None


# ---------------------------------------------------------------- doing it through one door


class Rest:
    """REST."""

    def __init__(self, alice: Api, room_id: str) -> None:
        self.alice, self.room_id = alice, room_id
        self.here = f"/conversations/{room_id}"

    async def send(self, text: str, **more: str) -> str:
        body = {"text": text, **more}
        sent = await self.alice.rest("POST", f"{self.here}/messages", body, 201)
        return str(sent["message"]["id"])

    async def edit(self, message_id: str, text: str) -> None:
        await self.alice.rest("PATCH", f"{self.here}/messages/{message_id}", {"text": text})

    async def react(self, message_id: str, key: str) -> None:
        await self.alice.rest("PUT", f"{self.here}/messages/{message_id}/reactions/{key}")

    async def vote(self, message_id: str, choice: str) -> None:
        body = {"choices": [choice]}
        await self.alice.rest("PUT", f"{self.here}/messages/{message_id}/vote", body)

    async def delete(self, message_id: str) -> None:
        await self.alice.rest("DELETE", f"{self.here}/messages/{message_id}")

    async def read(self, message_id: str) -> None:
        await self.alice.rest("POST", f"{self.here}/read", {"message_id": message_id})

    async def type(self) -> None:
        await self.alice.rest("PUT", f"{self.here}/typing", {})

    async def rename(self, name: str) -> None:
        await self.alice.rest("PATCH", self.here, {"name": name})

    async def remove(self, whom: Person) -> None:
        await self.alice.rest("DELETE", f"{self.here}/members/{address(whom.user_id)}")


class Socket(Rest):
    """The WebSocket; what it has no frame for goes over REST."""

    async def frame(self, kind: str, **fields: Any) -> Any:
        return await self.alice.frame(kind, conversation_id=self.room_id, **fields)

    async def send(self, text: str, **more: str) -> str:
        return str((await self.frame("send", text=text, **more))["message_id"])

    async def edit(self, message_id: str, text: str) -> None:
        await self.frame("edit", message_id=message_id, text=text)

    async def react(self, message_id: str, key: str) -> None:
        await self.frame("react", message_id=message_id, key=key)

    async def delete(self, message_id: str) -> None:
        await self.frame("delete", message_id=message_id)

    async def read(self, message_id: str) -> None:
        await self.frame("read", message_id=message_id)

    async def type(self) -> None:
        await self.frame("typing")


class GraphQl(Rest):
    """GraphQL's mutations."""

    async def mutate(self, field: str, selected: str = "", **arguments: str) -> Any:
        return await self.alice.mutate(field, selected, conversationId=self.room_id, **arguments)

    async def send(self, text: str, **more: str) -> str:
        names = {"reply_to": "replyTo"}
        parts = {"text": text, **{names.get(name, name): value for name, value in more.items()}}
        given = ", ".join(f"{name}: {json.dumps(value)}" for name, value in parts.items())
        field = "sendMessageToConversation"
        sent = await self.mutate(field, "{ message { id } }", input=f"{{ {given} }}")
        return str(sent["message"]["id"])

    async def edit(self, message_id: str, text: str) -> None:
        given = f"{{ text: {json.dumps(text)} }}"
        await self.mutate("editMessage", "{ id }", messageId=message_id, input=given)

    async def react(self, message_id: str, key: str) -> None:
        await self.mutate("addReaction", messageId=message_id, key=key)

    async def vote(self, message_id: str, choice: str) -> None:
        given = f"{{ choices: [{json.dumps(choice)}] }}"
        await self.mutate("vote", "{ id }", messageId=message_id, input=given)

    async def delete(self, message_id: str) -> None:
        await self.mutate("deleteMessage", messageId=message_id)

    async def read(self, message_id: str) -> None:
        given = f"{{ messageId: {json.dumps(message_id)} }}"
        await self.mutate("markRead", "{ messageId }", input=given)

    async def type(self) -> None:
        await self.mutate("setTyping", input="{ typing: true }")

    async def rename(self, name: str) -> None:
        given = f"{{ name: {json.dumps(name)} }}"
        await self.mutate("updateConversation", "{ id }", input=given)

    async def remove(self, whom: Person) -> None:
        await self.mutate("removeMember", person=address(whom.user_id))


class Matrix:
    """A stock client."""

    def __init__(self, person: Person, room_id: str) -> None:
        self.person, self.room_id = person, room_id

    async def send(self, text: str, reply_to: str = "", thread: str = "") -> str:
        content: dict[str, Any] = {"msgtype": "m.text", "body": text}
        if reply_to:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
        if thread:
            content["m.relates_to"] = {"rel_type": "m.thread", "event_id": thread}
        return await self.person.send(self.room_id, content)

    async def edit(self, message_id: str, text: str) -> None:
        new = {"msgtype": "m.text", "body": text}
        relation = {"rel_type": "m.replace", "event_id": message_id}
        content = {**new, "body": f"* {text}", "m.new_content": new, "m.relates_to": relation}
        await self.person.send(self.room_id, content)

    async def react(self, message_id: str, key: str) -> None:
        relation = {"rel_type": "m.annotation", "event_id": message_id, "key": key}
        await self.person.send_event(self.room_id, "m.reaction", {"m.relates_to": relation})

    async def vote(self, message_id: str, choice: str) -> None:
        relation = {"rel_type": "m.reference", "event_id": message_id}
        content = {RESPONSE: {"answers": [choice]}, "m.relates_to": relation}
        await self.person.send_event(self.room_id, RESPONSE, content)

    async def delete(self, message_id: str) -> None:
        await self.person.redact(self.room_id, message_id)

    async def read(self, message_id: str) -> None:
        await self.person.read(self.room_id, message_id)

    async def type(self) -> None:
        await self.person.start_typing(self.room_id)

    async def rename(self, name: str) -> None:
        await self.person.set_state(self.room_id, "m.room.name", {"name": name})

    async def remove(self, whom: Person) -> None:
        await self.person.kick(self.room_id, whom)


Door = Rest | Matrix
DOORS: dict[str, Callable[[Api, Person, str], Door]] = {
    "rest": lambda alice, _, room_id: Rest(alice, room_id),
    "websocket": lambda alice, _, room_id: Socket(alice, room_id),
    "graphql": lambda alice, _, room_id: GraphQl(alice, room_id),
    "matrix": lambda alice, _, room_id: Matrix(alice.person, room_id),
    "elsewhere": lambda _, bob, room_id: Matrix(bob, room_id),
}
