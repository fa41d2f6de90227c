"""A Comity follows a policy room on another server: drafted, applied by hand, followed live."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.harness import Comity, MatrixRefused, RawClient, World, raw_session
from tests.harness.comity import executable

from .conftest import Pair
from .person import PATIENCE_SECONDS, Person

RULE = "m.policy.rule.user"


async def _comity(server: Comity, *arguments: str) -> str:
    """What `comity policy ...` prints."""
    process = await asyncio.create_subprocess_exec(
        executable(),
        "policy",
        *arguments,
        "--config",
        server.config_file,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def _until(server: Comity, condition: Callable[[str], bool]) -> str:
    """Wait until `comity policy lists` says something."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            text = await _comity(server, "lists")
            if condition(text):
                return text
            await asyncio.sleep(0.2)


async def _rule(bob: Person, room_id: str, content: dict[str, Any]) -> None:
    """Set the one rule of the list."""
    await bob.ask("PUT", "rooms", room_id, "state", RULE, "rule", body=content)


@asynccontextmanager
async def _follower(world: World, pair: Pair, room_id: str) -> AsyncIterator[Comity]:
    """A Comity that follows the room, for this pair alone."""
    item = {"room": room_id, "via": [pair.bob.server.server_name], "approve": "first"}
    server = world.comity(f"following-{pair.name}", overrides={"policy": {"lists": [item]}})
    await server.start_async()
    try:
        yield server
    finally:
        await server.stop_async()


async def test_a_policy_room_elsewhere_is_followed(world: World, pair: Pair) -> None:
    """Its rule is a draft, then cuts Bob off; withdrawn, he is heard again."""
    bob = pair.bob
    list_id = await bob.create_room("11")
    await bob.set_state(list_id, "m.room.join_rules", {"join_rule": "public"})
    async with _follower(world, pair, list_id) as server, raw_session() as session:
        carol = RawClient(session, server.client_url)
        await carol.register("carol")
        room_id = await carol.create_room(preset="private_chat")
        await carol.invite(room_id, bob.user_id)
        await bob.wait(lambda: room_id in bob.invites, "the invite")
        await bob.join(room_id)
        await bob.send(room_id, "before")

        ban = {"entity": bob.user_id, "recommendation": "m.ban", "reason": "for the test"}
        await _rule(bob, list_id, ban)
        await _until(server, lambda text: "draft: 1 to come" in text)
        preview = await _comity(server, "lists", "preview", list_id)
        assert f"+ block user {bob.user_id}: 1 of your users in 1 rooms" in preview
        await _comity(server, "lists", "apply", list_id, "--yes")

        await bob.send(room_id, "unheard")
        other = await bob.create_room("11")
        with pytest.raises(MatrixRefused) as refusal:
            await bob.ask("POST", "rooms", other, "invite", body={"user_id": carol.user_id})
        assert refusal.value.errcode == "M_FORBIDDEN"

        await _rule(bob, list_id, {})
        await _until(server, lambda text: "0 in effect" in text and "draft" not in text)
        await bob.send(room_id, "after")
        texts = await _sees(carol, room_id, "after")
        assert sorted(texts) == ["after", "before"]


async def test_a_server_is_blocked_with_one_command_and_heard_again(
    world: World, pair: Pair
) -> None:
    """While it is blocked nothing comes or goes; afterwards what waited arrives."""
    bob = pair.bob
    bobs = bob.server.server_name
    server = world.comity(f"blocking-{pair.name}")
    await server.start_async()
    async with raw_session() as session:
        carol = RawClient(session, server.client_url)
        await carol.register("carol")
        room_id = await carol.create_room(preset="private_chat")
        await carol.invite(room_id, bob.user_id)
        await bob.wait(lambda: room_id in bob.invites, "the invite")
        await bob.join(room_id)

        blocked = await _comity(server, "block", bobs, "--reason", "a flood", "--for", "1h")
        listed = await _comity(server, "blocks")
        await carol.send(room_id, "not yet")
        await bob.send(room_id, "let me in")
        with pytest.raises(MatrixRefused) as refusal:
            await carol.invite(await carol.create_room(), bob.user_id)
        await asyncio.sleep(2)
        unheard = bob.texts(room_id)
        await _comity(server, "unblock", bobs)

        await bob.sees_text(room_id, "not yet")
        await bob.send(room_id, "thank you")
        await _sees(carol, room_id, "thank you")
        assert "a flood" in blocked
        assert bobs in listed
        assert refusal.value.errcode == "M_FORBIDDEN"
        assert "a flood" in str(refusal.value.body["error"])
        assert unheard == ["let me in"]
    await server.stop_async()


async def _sees(user: RawClient, room_id: str, text: str) -> list[str]:
    """Wait for a message; all that the user sees by then."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            texts = [
                event["content"]["body"]
                for event in await user.history(room_id)
                if event["type"] == "m.room.message"
            ]
            if text in texts:
                return texts
            await asyncio.sleep(0.1)
