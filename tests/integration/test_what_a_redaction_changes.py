"""What a redaction changes besides the event itself: what was counted, bundled, found and listed.

Spec: client-server API, redactions; aggregations of child events; room version 11, redacts.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

V1 = "/_matrix/client/v1"


class Place:
    """A room of Ada's, in which Bob is."""

    def __init__(self, one: Instance, ada: str, bob: str, room_id: str) -> None:
        self.one, self.ada, self.bob, self.room_id = one, ada, bob, room_id

    async def say(self, text: str, target: str = "", rel_type: str = "", **more: Any) -> str:
        relation = {"m.relates_to": {"rel_type": rel_type, "event_id": target}} if target else {}
        sent = await self.one.say(self.ada, self.room_id, text, **relation, **more)
        return str(sent["event_id"])

    async def edit(self, target: str, text: str) -> str:
        new = {"m.new_content": {"msgtype": "m.text", "body": text}}
        return await self.say(f"* {text}", target, "m.replace", **new)

    async def react(self, token: str, target: str, key: str) -> str:
        path = f"/rooms/{self.room_id}/send/m.reaction/{secrets.token_hex(4)}"
        relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
        sent = await self.one.call("PUT", path, {"m.relates_to": relation}, token=token)
        return str(sent["event_id"])

    async def redact(self, event_id: str, token: str = "", *, status: int = 200) -> str:
        path = f"/rooms/{self.room_id}/redact/{quote(event_id, safe='')}/{secrets.token_hex(4)}"
        token = token or self.ada
        sent = await self.one.call("PUT", path, {"reason": "why"}, token=token, status=status)
        return str(sent.get("event_id", ""))

    async def get(self, path: str, token: str = "") -> dict[str, Any]:
        return await self.one.call("GET", path, token=token or self.bob)

    async def event(self, event_id: str) -> dict[str, Any]:
        return await self.get(f"/rooms/{self.room_id}/event/{quote(event_id, safe='')}")

    async def relations(self, event_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.event(event_id))["unsigned"].get("m.relations", {})
        return found

    async def children(self, event_id: str, rest: str = "") -> list[str]:
        answer = await self.get(
            f"{V1}/rooms/{self.room_id}/relations/{quote(event_id, safe='')}{rest}"
        )
        return [event["event_id"] for event in answer["chunk"]]


async def place(one: Instance, **request: Any) -> Place:
    ada, bob = await one.register("ada"), await one.register("bob")
    room_id = await one.room(ada, **request)
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
    return Place(one, ada, bob, room_id)


@pytest.fixture
async def here(database: Database, tmp_path: Path) -> AsyncIterator[Place]:
    async with running(database, tmp_path) as one:
        yield await place(one)


async def test_a_redacted_reply_leaves_its_thread(here: Place) -> None:
    root = await here.say("a root")
    first = await here.say("first", root, "m.thread")
    second = await here.say("second", root, "m.thread")
    both = (await here.relations(root))["m.thread"]

    await here.redact(second)
    alone = (await here.relations(root))["m.thread"]
    listed = await here.get(f"{V1}/rooms/{here.room_id}/threads")
    children = await here.children(root, "/m.thread")
    await here.redact(first)

    assert (both["count"], both["latest_event"]["event_id"]) == (2, second)
    assert (alone["count"], alone["latest_event"]["event_id"]) == (1, first)
    (shown,) = listed["chunk"]
    assert shown["unsigned"]["m.relations"]["m.thread"]["count"] == 1
    assert children == [first]
    assert "m.thread" not in await here.relations(root)
    assert (await here.get(f"{V1}/rooms/{here.room_id}/threads"))["chunk"] == []


async def test_a_redacted_edit_gives_way_to_the_one_before(here: Place) -> None:
    original = await here.say("one")
    first = await here.edit(original, "two")
    second = await here.edit(original, "three")
    path = f"/rooms/{here.room_id}/messages?dir=b"

    await here.redact(second)
    kept = (await here.relations(original))["m.replace"]
    pages = str(await here.get(path))
    await here.redact(first)

    assert kept["event_id"] == first
    assert "three" not in pages
    assert "m.replace" not in await here.relations(original)


async def test_a_redacted_message_has_no_edits(here: Place) -> None:
    original = await here.say("one")
    await here.edit(original, "two")

    await here.redact(original)
    late = await here.edit(original, "three")

    shown = await here.event(original)
    assert shown["content"] == {}
    assert "m.replace" not in shown["unsigned"].get("m.relations", {})
    api = f"/api/v1/conversations/{here.room_id}/messages/{original}"
    headers = {"Authorization": f"Bearer {here.bob}"}
    async with here.one.client.get(api, headers=headers) as response:
        text = await response.text()
    assert "two" not in text
    assert "three" not in text
    assert (await here.event(late))["event_id"] == late


async def test_references_and_reactions_that_are_redacted_count_no_more(here: Place) -> None:
    root = await here.say("a root")
    reference = await here.say("see", root, "m.reference")
    reaction = await here.react(here.bob, root, "+1")
    before = await here.relations(root)

    await here.redact(reference)
    await here.redact(reaction, here.bob)

    assert [each["event_id"] for each in before["m.reference"]["chunk"]] == [reference]
    assert "m.reference" not in await here.relations(root)
    assert await here.children(root) == []
    again = await here.react(here.bob, root, "+1")  # it was taken back: no duplicate
    assert await here.children(root, "/m.annotation") == [again]


@pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
async def test_clients_find_what_is_redacted_in_both_places(
    database: Database, tmp_path: Path, version: str
) -> None:
    async with running(database, tmp_path) as one:
        here = await place(one, room_version=version)
        said = await here.say("unwise")
        since = (await here.get("/sync"))["next_batch"]
        redaction = await here.redact(said)

        synced = (await here.get(f"/sync?since={since}"))["rooms"]["join"][here.room_id]
        page = (await here.get(f"/rooms/{here.room_id}/messages?dir=b"))["chunk"]
        because = (await here.event(said))["unsigned"]["redacted_because"]

        shown = [
            next(e for e in synced["timeline"]["events"] if e["event_id"] == redaction),
            next(e for e in page if e["event_id"] == redaction),
            await here.event(redaction),
            because,
        ]
        for event in shown:
            assert event["redacts"] == event["content"]["redacts"] == said
            assert event["content"]["reason"] == "why"


async def test_a_redaction_that_is_redacted_says_no_more_why(here: Place) -> None:
    said = await here.say("unwise")
    redaction = await here.redact(said)

    await here.redact(redaction)

    shown = await here.event(said)
    assert shown["content"] == {}
    assert "reason" not in shown["unsigned"]["redacted_because"]["content"]
    assert "why" not in str((await here.event(redaction))["content"])


async def test_who_may_not_redact_is_told_so_on_each_way(here: Place) -> None:
    said = await here.say("hers")
    path = f"/rooms/{here.room_id}/send/m.room.redaction/1"

    await here.redact(said, here.bob, status=403)
    await here.one.call("PUT", path, {"redacts": said}, token=here.bob, status=403)
    eve = await here.one.register("eve")
    await here.redact(said, eve, status=403)

    assert (await here.event(said))["content"]["body"] == "hers"
