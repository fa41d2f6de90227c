"""What one door can do is seen through the others: REST, WebSocket, GraphQL, Matrix clients.

Alice's server is a Comity; Bob, elsewhere, has a stock client.  Each test does all that can be done
through one door; after each deed Alice's three doors and both Matrix clients have to show it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from homeserver.services.conversations.shapes.people import address
from tests.interop.door_clients import (
    DOORS,
    POLL,
    RESPONSE,
    Api,
    _serial,
    becomes,
    includes,
)

from .conftest import Pair, meet
from .person import Person

VERSION = "12"


# ---------------------------------------------------------------- seeing it through all


@asynccontextmanager
async def listening(person: Person) -> AsyncIterator[Api]:
    """Somebody's doors, open."""
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        doors = Api(person, session)
        ready = [asyncio.Event(), asyncio.Event()]
        running = [
            tasks.create_task(doors.listen(ready[0])),
            tasks.create_task(doors.subscribe(ready[1])),
        ]
        await asyncio.gather(*(event.wait() for event in ready))
        yield doors
        for task in running:
            task.cancel()


class Scene:
    """Alice and Bob in a conversation, and one of their doors."""

    def __init__(self, alice: Api, bob: Person, room_id: str, door: str) -> None:
        self.alice, self.bob, self.room_id = alice, bob, room_id
        self.door = DOORS[door](alice, bob, room_id)
        self.actor, self.other = alice.person, bob
        if door == "elsewhere":
            self.actor, self.other = bob, alice.person
        self.address = address(self.actor.user_id)

    async def hears(self, kind: str, **fields: Any) -> None:
        await self.alice.hears(kind, conversation_id=self.room_id, **fields)

    async def shows(self, message_id: str, **wanted: Any) -> None:
        await self.alice.shows(self.room_id, message_id, **wanted)

    async def in_clients(self, what: str, check: Callable[[Any], object]) -> None:
        """Both people's Matrix clients see an event."""
        for person in (self.alice.person, self.bob):
            await person.sees(self.room_id, check, what)

    async def theirs(self, text: str) -> str:
        """A message of the other one, which everybody has."""
        message_id = await self.other.send(self.room_id, text)
        await self.hears("message.created", message={"id": message_id})
        await self.actor.sees_event(self.room_id, message_id)
        return message_id


async def sends(scene: Scene) -> None:
    message_id = await scene.door.send("hello")
    await scene.hears("message.created", message={"id": message_id, "text": "hello"})
    await scene.shows(message_id, text="hello", sender=scene.address)
    await scene.in_clients("hello", lambda e: e["event_id"] == message_id)


async def replies(scene: Scene) -> None:
    question = await scene.theirs("question")
    answer = await scene.door.send("answer", reply_to=question)
    await scene.hears("message.created", message={"id": answer, "reply_to": question})
    await scene.shows(answer, reply_to=question)
    relation = {"m.in_reply_to": {"event_id": question}}
    await scene.in_clients(
        "answer",
        lambda e: e["event_id"] == answer and includes(e["content"]["m.relates_to"], relation),
    )


async def writes_in_a_thread(scene: Scene) -> None:
    root = await scene.theirs("root")
    leaf = await scene.door.send("leaf", thread=root)
    await scene.hears("message.created", message={"id": leaf, "thread": root})
    await scene.shows(leaf, thread=root)
    relation = {"rel_type": "m.thread", "event_id": root}
    await scene.in_clients(
        "leaf", lambda e: e["event_id"] == leaf and includes(e["content"]["m.relates_to"], relation)
    )


async def edits(scene: Scene) -> None:
    message_id = await scene.door.send("helo")
    await scene.door.edit(message_id, "hello, edited")
    await scene.hears("message.updated", message={"id": message_id, "text": "hello, edited"})
    await scene.shows(message_id, text="hello, edited")
    new = {"m.new_content": {"body": "hello, edited"}}
    await scene.in_clients("the edit", lambda e: includes(e["content"], new))


async def reacts(scene: Scene) -> None:
    message_id = await scene.theirs("news")
    await scene.door.react(message_id, "🎉")
    await scene.hears("reaction.added", message_id=message_id, person=scene.address, key="🎉")
    await scene.shows(message_id, reactions=[{"key": "🎉", "count": 1}])
    relation = {"event_id": message_id, "key": "🎉"}
    await scene.in_clients(
        "the reaction",
        lambda e: e["type"] == "m.reaction" and includes(e["content"]["m.relates_to"], relation),
    )


async def votes(scene: Scene) -> None:
    here = f"/conversations/{scene.room_id}/messages"
    asked = await scene.alice.rest("POST", here, {"kind": "poll", "poll": POLL}, 201)
    poll_id = asked["message"]["id"]
    await scene.bob.sees_event(scene.room_id, poll_id)
    await scene.door.vote(poll_id, "b")
    await scene.hears("poll.voted", message_id=poll_id, person=scene.address, choices=["b"])
    choices = [{"id": "a", "votes": 0}, {"id": "b", "votes": 1}]
    await scene.shows(poll_id, poll={"voters": 1, "choices": choices})
    await scene.in_clients(
        "the vote",
        lambda e: e["type"] == RESPONSE and e["content"]["m.relates_to"]["event_id"] == poll_id,
    )


async def deletes(scene: Scene) -> None:
    message_id = await scene.door.send("a slip")
    await scene.hears("message.created", message={"id": message_id})
    await scene.door.delete(message_id)
    await scene.hears("message.deleted", message_id=message_id, by=scene.address)
    await scene.shows(message_id, deleted={"by": scene.address})
    await scene.in_clients(
        "the deletion",
        lambda e: (
            e["type"] == "m.room.redaction"
            and message_id in (e.get("redacts"), e["content"].get("redacts"))
        ),
    )


async def reads(scene: Scene) -> None:
    message_id = await scene.theirs("read me")
    await scene.door.read(message_id)
    await scene.hears("receipt.read", person=scene.address, message_id=message_id)
    for person in (scene.alice.person, scene.bob):
        await person.sees_receipt(scene.room_id, scene.actor, message_id)


async def types(scene: Scene) -> None:
    await scene.door.type()
    await scene.other.sees_typing(scene.room_id, scene.actor, True)
    if scene.actor is scene.bob:  # nobody is told of their own typing
        await scene.hears("typing", person=scene.address, typing=True)


async def renames(scene: Scene) -> None:
    name = f"Sailing {next(_serial)}"
    await scene.door.rename(name)
    await scene.hears("conversation.updated", changed="name")

    async def by_rest() -> Any:
        return await scene.alice.rest("GET", f"/conversations/{scene.room_id}")

    async def by_graphql() -> Any:
        query = "query ($id: String!) { conversation(conversationId: $id) { name } }"
        return (await scene.alice.graphql(query, id=scene.room_id))["conversation"]

    for ask in (by_rest, by_graphql):
        await becomes(ask, {"name": name})
    await scene.in_clients(name, lambda e: e["content"].get("name") == name)


async def removes(scene: Scene) -> None:
    await scene.door.remove(scene.bob)
    gone = address(scene.bob.user_id)
    await scene.hears("member.updated", member={"person": gone, "state": "removed"})
    await scene.alice.person.sees_membership(scene.room_id, scene.bob, "leave")
    await scene.bob.sees_membership(scene.room_id, scene.bob, "leave")


DEEDS = (sends, replies, writes_in_a_thread, edits, reacts, votes, deletes, reads, types)
OF_THE_HOST = (renames, removes)


@pytest.mark.parametrize("door", DOORS)
async def test_what_one_door_does_is_seen_through_all(pair: Pair, door: str) -> None:
    room_id = await meet(pair.alice, pair.bob, VERSION)

    async with listening(pair.alice) as alice:
        scene = Scene(alice, pair.bob, room_id, door)
        for deed in DEEDS if door == "elsewhere" else DEEDS + OF_THE_HOST:
            await deed(scene)
