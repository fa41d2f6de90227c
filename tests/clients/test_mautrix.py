"""A bridge made with mautrix works with Comity as it is: ghosts, rooms, relaying both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from mautrix.types import EventType, PresenceState

from homeserver.storage.database import Database
from tests.clients.mautrix_bridge import BOT, Bridge, Remote
from tests.harness.ports import free_port
from tests.integration.single import Instance, running

ALICE = "@alice:one.test"
TOKENS = ("as-token-of-net", "hs-token-of-net")


@asynccontextmanager
async def serving(database: Database, directory: Path, port: int) -> AsyncIterator[Instance]:
    registration = {
        "id": "net",
        "url": f"http://127.0.0.1:{port}",
        "as_token": TOKENS[0],
        "hs_token": TOKENS[1],
        "sender_localpart": "_net_bot",
        "namespaces": {
            "users": [{"exclusive": True, "regex": "@_net_.+:one.test"}],
            "aliases": [{"exclusive": True, "regex": "#_net_.+:one.test"}],
        },
        "rate_limited": False,
        "receive_ephemeral": True,
        "de.sorunome.msc2409.push_ephemeral": True,
    }
    (directory / "net.yaml").write_text(yaml.safe_dump(registration))
    limits = {"enabled": True, "message": {"per_second": 1, "burst": 5}}
    async with running(
        database, directory, app_services=["net.yaml"], rate_limits=limits
    ) as instance:
        yield instance


class Stage:
    """An instance with Alice, and a bridge that can come and go."""

    def __init__(self, one: Instance, directory: Path, port: int) -> None:
        self.one = one
        self._directory = directory
        self._port = port
        self.remote = Remote()
        self.alice = ""

    @asynccontextmanager
    async def bridge(self) -> AsyncIterator[Bridge]:
        url = str(self.one.client.make_url("/")).rstrip("/")
        bridge = Bridge(url, TOKENS, self.remote, self._directory / "state.json")
        await bridge.az.start("127.0.0.1", self._port)
        try:
            yield bridge
        finally:
            await bridge.az.stop()

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return await self.one.call(method, path, body, token=self.alice)


@pytest.fixture
async def stage(database: Database, tmp_path: Path) -> AsyncIterator[Stage]:
    port = free_port()
    async with serving(database, tmp_path, port) as one:
        stage = Stage(one, tmp_path, port)
        stage.alice = await one.register("alice")
        yield stage


async def test_the_bridge_comes_up(stage: Stage) -> None:
    async with stage.bridge() as bridge:
        versions = await bridge.az.intent.versions()
        who = await bridge.az.intent.whoami()
        milliseconds = await bridge.az.ping_self("first")
        await bridge.az.intent.ensure_registered()
        await bridge.az.intent.set_displayname("Bridge")

    assert str(versions.latest_version) == "v1.19"
    assert who.user_id == BOT
    assert milliseconds > 0


async def test_messages_go_both_ways(stage: Stage) -> None:
    async with stage.bridge() as bridge:
        room_id = await bridge.portal("general", ALICE)
        await stage.call("POST", f"/join/{room_id}", {})
        await bridge.from_there("general", "bob", "hello from there")
        await bridge.ghost("bob").set_displayname("Bob (net)")
        for number in range(3):
            await stage.one.say(stage.alice, room_id, f"hello from here {number}")

        await bridge.until(lambda: len(stage.remote.said) == 3)

        assert await stage.one.texts(stage.alice, room_id) == [
            "hello from there",
            *(f"hello from here {number}" for number in range(3)),
        ]
        assert stage.remote.said == [
            ("general", ALICE, f"hello from here {number}") for number in range(3)
        ]
        members = await stage.call("GET", f"/rooms/{room_id}/joined_members")
        assert members["joined"]["@_net_bob:one.test"]["display_name"] == "Bob (net)"


async def test_history_is_brought_with_its_dates_and_without_limits(stage: Stage) -> None:
    async with stage.bridge() as bridge:
        room_id = await bridge.portal("archive", ALICE)
        await stage.call("POST", f"/join/{room_id}", {})

        for number in range(30):
            await bridge.from_there("archive", "bob", f"old {number}", 1_000_000 + number)

        chunk = (await stage.call("GET", f"/rooms/{room_id}/messages?dir=b&limit=30"))["chunk"]
        times = [event["origin_server_ts"] for event in reversed(chunk)]
        assert times == [1_000_000 + number for number in range(30)]


async def test_reactions_redactions_states_and_files_go_over(stage: Stage) -> None:
    async with stage.bridge() as bridge:
        room_id = await bridge.portal("general", ALICE)
        await stage.call("POST", f"/join/{room_id}", {})
        bob = bridge.ghost("bob")
        first = await bridge.from_there("general", "bob", "first")
        await bob.react(room_id, first, "👍")
        uri = await bob.upload_media(b"\x89PNG\r\n\x1a\n", mime_type="image/png", filename="a.png")
        await bob.send_image(room_id, uri, file_name="a.png")
        await bridge.az.intent.set_room_topic(room_id, "Bridged")
        sent = await stage.one.say(stage.alice, room_id, "to be redacted")
        path = f"/rooms/{room_id}/redact/{sent['event_id']}/1"
        await stage.call("PUT", path, {"reason": "typo"})

        await bridge.until(lambda: EventType.ROOM_REDACTION in [each.type for each in bridge.seen])

        topic = await stage.call("GET", f"/rooms/{room_id}/state/m.room.topic")
        relations = await stage.one.call(
            "GET",
            f"/_matrix/client/v1/rooms/{room_id}/relations/{first}/m.annotation",
            token=stage.alice,
        )
        assert topic["topic"] == "Bridged"
        assert relations["chunk"][0]["content"]["m.relates_to"]["key"] == "👍"
        kinds = [each.type for each in bridge.seen]
        assert EventType.REACTION in kinds
        redaction = next(each for each in bridge.seen if each.type == EventType.ROOM_REDACTION)
        assert redaction.redacts == sent["event_id"]


async def test_typing_reading_and_presence_go_over(stage: Stage) -> None:
    async with stage.bridge() as bridge:
        room_id = await bridge.portal("general", ALICE)
        await stage.call("POST", f"/join/{room_id}", {})
        event_id = await bridge.from_there("general", "bob", "read this")
        bob = bridge.ghost("bob")
        await bob.set_typing(room_id, 9_000)
        await bob.mark_read(room_id, event_id)
        await bob.set_presence(PresenceState.ONLINE)
        typing = f"/rooms/{room_id}/typing/{ALICE}"
        await stage.call("PUT", typing, {"typing": True, "timeout": 9_000})
        await stage.call("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}", {})

        def heard(kind: EventType) -> list[Any]:
            return [each for each in bridge.seen if each.type == kind]

        await bridge.until(
            lambda: any(ALICE in each.content.user_ids for each in heard(EventType.TYPING))
        )
        await bridge.until(lambda: heard(EventType.RECEIPT))
        await bridge.until(lambda: heard(EventType.PRESENCE))

        synced = await stage.call("GET", "/sync")
        kinds = {e["type"] for e in synced["rooms"]["join"][room_id]["ephemeral"]["events"]}
        assert kinds == {"m.typing", "m.receipt"}


async def test_users_and_rooms_are_made_when_they_are_looked_for(stage: Stage) -> None:
    async with stage.bridge() as bridge:
        joined = await stage.call("POST", "/join/%23_net_random:one.test", {})
        mine = await stage.one.room(stage.alice, invite=["@_net_carol:one.test"])
        carol = bridge.ghost("carol")
        await bridge.until(lambda: any(each.type == EventType.ROOM_MEMBER for each in bridge.seen))
        await carol.ensure_joined(mine)
        await carol.send_text(mine, "I was invited")

        assert joined["room_id"] == stage.remote.channels["random"]
        assert await stage.one.texts(stage.alice, mine) == ["I was invited"]
        await stage.one.call("GET", "/directory/room/%23_net_nowhere:one.test", status=404)


async def test_what_was_said_while_the_bridge_was_down_goes_over_later(stage: Stage) -> None:
    async with stage.bridge() as bridge:
        room_id = await bridge.portal("general", ALICE)
        await stage.call("POST", f"/join/{room_id}", {})
        await stage.one.say(stage.alice, room_id, "before")
        await bridge.until(lambda: len(stage.remote.said) == 1)
    await stage.one.say(stage.alice, room_id, "while it was down")
    await stage.one.say(stage.alice, room_id, "and again")

    async with stage.bridge() as bridge:
        await bridge.az.ping_self()
        await bridge.until(lambda: len(stage.remote.said) == 3)

    assert [text for _, _, text in stage.remote.said] == [
        "before",
        "while it was down",
        "and again",
    ]
