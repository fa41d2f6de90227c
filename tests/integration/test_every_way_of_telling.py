"""What must not be seen, or is gone, on every way by which the server itself tells somebody.

The kinds of events are those of :mod:`tests.integration.test_every_way_of_reading`.  Nobody
answers at first: the push gateway, the receiver of webhooks and the application service fail, and
mails wait.  Once what is not to be seen is withheld or gone, the server starts again, and all that
waits is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiohttp.test_utils import TestServer

from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser
from tests.conversations.sockets import connected
from tests.harness.mailbox import Mailbox, mailbox
from tests.harness.mailbox import settings as mail_settings
from tests.harness.push_gateway import PushGateway, push_gateway
from tests.integration.appservice_world import Service, registration
from tests.integration.push_world import pusher
from tests.integration.reading_world import END, SECRET, World, begin, instance
from tests.integration.test_message_ends import eventually
from tests.integration.test_push_mail import BOB, PUSHER, bind, taken_in
from tests.integration.withheld_events import KINDS, Kind
from tests.services.conversations.webhook_world import Receiver, receiving

OF_BOB = [name for name, kind in KINDS.items() if kind.reader == "bob"]
DOWN, UP = 503, 200
EVERYTHING = {"users": [], "aliases": [], "rooms": [{"exclusive": False, "regex": "!"}]}


@dataclass
class Outside:
    """Who is told, and the settings of a server that tells them."""

    gateway: PushGateway
    service: Service
    receiver: Receiver
    box: Mailbox
    directory: Path

    def settings(self, *, mails: bool) -> dict[str, Any]:
        config = {**registration(self.service.url), "namespaces": EVERYTHING}
        (self.directory / "service.yaml").write_text(yaml.safe_dump(config))
        when = "1ms" if mails else "1h"
        return {
            "push": {"allow_private_networks": True, "email_after": when, "email_every": "1ms"},
            "email": mail_settings(self.box),
            "webhooks": {"allow_private_networks": True},
            "app_services": [{"file": "service.yaml", "exempt_from_consent": True}],
        }

    def answer(self, status: int) -> None:
        self.gateway.status = self.service.status = status
        self.receiver.answer = lambda _: status

    def told(self) -> dict[str, str]:
        """Way -> all that was taken on it."""
        hooks = [each.body.decode() for each in self.receiver.received]
        pushes = [orjson.dumps(each).decode() for each in self.gateway.notifications]
        brief = [text for text in pushes if '"brief"' in text]
        return {
            "push": "".join(text for text in pushes if '"brief"' not in text),
            "push, event_id_only": "".join(brief),
            "mail": "".join(self.box.text(number) for number in range(len(self.box.mails))),
            "webhook": "".join(hooks),
            "application service": str(self.service.transactions),
        }


@asynccontextmanager
async def outside(directory: Path) -> AsyncIterator[Outside]:
    async with AsyncExitStack() as stack:
        service = Service()
        service.server = await stack.enter_async_context(TestServer(service.app()))
        yield Outside(
            await stack.enter_async_context(push_gateway()),
            service,
            await stack.enter_async_context(receiving()),
            await stack.enter_async_context(mailbox()),
            directory,
        )


async def ask_to_be_told(world: World, there: Outside) -> None:
    """Bob has an app, another for IDs only, mails, and a webhook."""
    url = there.gateway.url
    brief = {"url": url, "format": "event_id_only", "brief": True}
    await bind(world.one, "@bob:one.test", BOB)
    for body in (
        pusher(url),
        pusher(url, pushkey="other", data=brief, append=True),
        {**PUSHER, "append": True},
    ):
        await world.call("bob", "POST", "/pushers/set", body)
    hook = {"url": there.receiver.url, "events": ["*"], "concurrency": 1}
    await api_user(world).post("/webhooks", hook, status=201)


RECEIVED = "subscription ($since: Long) { messageReceived(since: $since) { id text } }"


async def received(world: World, since: int) -> str:
    """All messages that a GraphQL subscription brings since a position, up to the end."""
    path, protocols, frames = "/api/graphql", ["graphql-transport-ws"], ""
    async with world.one.client.ws_connect(path, protocols=protocols) as socket:
        await socket.send_json(
            {"type": "connection_init", "payload": {"token": world.tokens["bob"]}}
        )
        payload = {"query": RECEIVED, "variables": {"since": since}}
        await socket.send_json({"type": "subscribe", "id": "1", "payload": payload})
        while END not in frames:
            frames += str(await socket.receive_json(timeout=30))
    return frames


def api_user(world: World) -> ApiUser:
    return ApiUser(world.one, "bob", world.tokens["bob"])


async def forget_failures(database: Database) -> None:
    """All that was not taken is due."""
    await database.execute("UPDATE pushers SET retry_at = NULL, failures = 0")
    await database.execute(
        "UPDATE webhook_deliveries SET due_at = 0, created_at = created_at - 5000"
    )
    await database.execute("UPDATE webhooks SET failures = 0, rest_until = NULL")


async def all_are_told(world: World, there: Outside) -> None:
    """Wait until the end has come on every way."""

    async def has_come() -> bool:
        told = there.told()
        brief = told.pop("push, event_id_only")
        return world.around in brief and all(END in text for text in told.values())

    await eventually(has_come)


def wrong_with(kind: Kind, world: World, told: dict[str, str], when: str) -> list[str]:
    """Each way on which too much is told."""
    wrong = []
    for way, text in told.items():
        if way == "application service" and kind.elsewhere == "whole" and not kind.never:
            continue  # it may see what Bob may not
        if SECRET in text:
            place = text.find(SECRET)
            wrong.append(f"{when}: {way} tells {text[max(0, place - 300) : place + 100]}")
        if way.startswith("push"):
            wrong += [f"{when}: {way} tells of {i}" for i in world.secrets if i in text]
    return wrong


@pytest.mark.parametrize("name", OF_BOB)
async def test_what_is_not_for_a_reader_is_told_on_no_way(
    database: Database, tmp_path: Path, name: str
) -> None:
    kind = KINDS[name]
    wrong: list[str] = []
    async with outside(tmp_path) as there:
        there.answer(DOWN)
        async with instance(database, tmp_path, **there.settings(mails=False)) as one:
            world = await begin(one)
            await world.peer.join(world.room_id)
            await ask_to_be_told(world, there)
            bob = api_user(world)
            async with connected(bob) as socket:
                await kind.make(world, kind.who)
                world.around = await world.say("dora", END)
                frames = ""
                while END not in frames:
                    frames += str(await socket.next())
            start = socket.welcome["position"]
            await one.wiring.push_parts.following.follower.caught_up()
            if kind.never:
                wrong += wrong_with(kind, world, {"socket": frames}, "at once")
                failed = str(there.service.attempts) + str(there.receiver.received)
                wrong += wrong_with(kind, world, {"attempts": failed}, "at once")
        there.receiver.received.clear()
        there.answer(UP)
        await forget_failures(database)
        async with instance(database, tmp_path, **there.settings(mails=True)) as one:
            world.one = one
            async with connected(api_user(world), since=start) as socket:
                frames = ""
                while END not in frames:
                    frames += str(await socket.next())
            wrong += wrong_with(kind, world, {"socket, resumed": frames}, "late")
            subscribed = await received(world, start)
            wrong += wrong_with(kind, world, {"graphql, since": subscribed}, "late")
            await taken_in(one)
            await all_are_told(world, there)
            wrong += wrong_with(kind, world, there.told(), "late")
    assert not there.gateway.problems, there.gateway.problems

    assert not wrong, "\n".join(wrong)


LATER = "said afterwards"


@pytest.mark.parametrize("action", ["kick", "ban"])
async def test_who_was_put_out_is_told_nothing_of_what_came_after(
    database: Database, tmp_path: Path, action: str
) -> None:
    async with outside(tmp_path) as there:
        there.answer(DOWN)
        async with instance(database, tmp_path, **there.settings(mails=False)) as one:
            world = await begin(one)
            await ask_to_be_told(world, there)
            start = one.wiring.log.position
            said = await world.say("alice", "while he is there")
            path, bob = f"/rooms/{world.room_id}/{action}", {"user_id": "@bob:one.test"}
            await world.call("dora", "POST", path, bob)
            world.secrets = [said, await world.say("alice", LATER)]
            elsewhere = await one.room(world.tokens["dora"])
            await world.call("bob", "POST", f"/rooms/{elsewhere}/join", {})
            world.around = (await one.say(world.tokens["dora"], elsewhere, END))["event_id"]
            await one.wiring.push_parts.following.follower.caught_up()
        there.answer(UP)
        there.receiver.received.clear()
        await forget_failures(database)
        async with instance(database, tmp_path, **there.settings(mails=True)) as one:
            world.one = one
            subscribed = await received(world, start)
            await taken_in(one)
            await all_are_told(world, there)
            told = there.told()

    assert LATER in told.pop("application service")
    assert [way for way, text in told.items() if LATER in text] == []
    assert LATER not in subscribed
    pushed = told["push"] + told["push, event_id_only"]
    assert [event_id for event_id in world.secrets if event_id in pushed] == []
    assert "while he is there" not in told["mail"]
