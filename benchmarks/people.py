"""Accounts and rooms for the load: made with a few requests at a time."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from tests.harness import Homeserver

from .http import Connection, RequestRefused

SETUP_CONCURRENCY = 8
ATTEMPTS = 3

_numbers = itertools.count(1)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class User:
    """An account with an access token."""

    server: Homeserver
    user_id: str
    token: str

    def connection(self) -> Connection:
        """A new connection that speaks for the user."""
        identity = self.server.identity
        return Connection(identity.address, identity.client_port, self.token)

    async def call(self, method: str, target: str, body: object = None) -> dict[str, Any]:
        """One request on a connection of its own, repeated when the server is in trouble."""
        for attempt in range(ATTEMPTS):
            connection = self.connection()
            try:
                answer: dict[str, Any] = await connection.json(method, target, body)
                return answer
            except (RequestRefused, ConnectionError):
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.5)
            finally:
                connection.close()
        raise AssertionError("unreachable")


@dataclass(frozen=True)
class Room:
    """A room and its members, the one who made it first."""

    room_id: str
    members: Sequence[User]


async def register(server: Homeserver) -> User:
    """Make an account through `m.login.dummy`."""
    body = {
        "username": f"user{next(_numbers)}",
        "password": "correct horse battery staple",
        "auth": {"type": "m.login.dummy"},
    }
    anonymous = User(server, "", "").connection()
    target = "/_matrix/client/v3/register"
    try:
        status, answer = await anonymous.request("POST", target, orjson.dumps(body))
        if status == 401:
            session = orjson.loads(answer)["session"]
            body["auth"] = {"type": "m.login.dummy", "session": session}
            status, answer = await anonymous.request("POST", target, orjson.dumps(body))
    finally:
        anonymous.close()
    if status != 200:
        raise RequestRefused(f"register: {status} {answer[:300]!r}")
    account = orjson.loads(answer)
    return User(server, account["user_id"], account["access_token"])


async def register_many(server: Homeserver, count: int) -> list[User]:
    """Make accounts."""
    return await in_batches(range(count), lambda _: register(server))


async def open_room(members: Sequence[User]) -> Room:
    """Make a public room with these members, who may be on several servers."""
    host = members[0]
    answer = await host.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
    room = Room(answer["room_id"], members)
    remote = {m.server: m for m in members if m.server is not host.server}
    # The first one from a server brings the room there; the others find it in place.
    for guest in remote.values():
        await join_room(room, guest)
    await in_batches(
        [m for m in members[1:] if m not in remote.values()], lambda member: join_room(room, member)
    )
    return room


async def join_room(room: Room, member: User) -> None:
    """Join through the server of the room's maker."""
    via = quote(room.members[0].server.server_name)
    target = f"/_matrix/client/v3/join/{quote(room.room_id)}?server_name={via}&via={via}"
    await member.call("POST", target)


async def in_batches(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]]
) -> list[Result]:
    """Do the work for every item, a few at a time."""
    gate = asyncio.Semaphore(SETUP_CONCURRENCY)

    async def one(item: Item) -> Result:
        async with gate:
            return await work(item)

    return list(await asyncio.gather(*(one(item) for item in items)))
