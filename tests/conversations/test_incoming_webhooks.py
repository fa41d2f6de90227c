"""Messages that programs post to an address of a conversation's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.config import RateConfig
from homeserver.storage.database import Database
from tests.conversations.applications import administer, new_app
from tests.conversations.conftest import ApiUser, new_user
from tests.integration.single import Instance, running


async def group(owner: ApiUser, *people: ApiUser) -> str:
    body = {"preset": "private_chat", "invite": [person.user_id for person in people]}
    room_id: str = (await owner.matrix("POST", "/createRoom", body))["room_id"]
    for person in people:
        await person.matrix("POST", f"/join/{room_id}")
    return room_id


@pytest.fixture
async def room_id(alice: ApiUser, bob: ApiUser) -> str:
    return await group(alice, bob)


async def make(user: ApiUser, room_id: str, label: str = "Build server") -> Any:
    path = f"/conversations/{room_id}/incoming-webhooks"
    return await user.post(path, {"label": label}, status=201)


def path_of(made: Any) -> str:
    """The path under ``/api/v1`` of an address."""
    return "/hooks/" + made["url"].rpartition("/")[2]


async def test_what_is_posted_is_a_message_of_its_maker_with_the_label(
    alice: ApiUser, bob: ApiUser, nobody: ApiUser, room_id: str
) -> None:
    made = await make(bob, room_id)

    sent = await nobody.post(path_of(made), {"text": "All tests pass"}, status=201)

    read = (await alice.get(f"/conversations/{room_id}/messages"))["items"]
    (seen,) = [message for message in read if message["id"] == sent["message"]["id"]]
    assert (seen["text"], seen["sender"]) == ("All tests pass", bob.address)
    assert seen["label"] == sent["message"]["label"] == "Build server"
    assert "/api/v1/hooks/cth_" in made["url"]
    matrix = await alice.matrix("GET", f"/rooms/{room_id}/messages?dir=b&limit=1")
    assert matrix["chunk"][0]["content"]["body"] == "All tests pass"


async def test_everything_that_a_message_may_have_is_accepted(
    alice: ApiUser, nobody: ApiUser, room_id: str
) -> None:
    made = await make(alice, room_id)
    body = {
        "text": "**Build** 4711",
        "format": "markdown",
        "custom": {"build": 4711},
        "mentions_all": True,
    }

    message = (await nobody.post(path_of(made), body, status=201))["message"]

    assert "<strong>Build</strong>" in message["html"]
    assert message["custom"] == {"build": 4711}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "x", "to": "bob@one.test"},
        {"text": "x", "conversation_id": "!other:one.test"},
        {"text": "x", "client_id": "1"},
        {"text": "x", "label": "The Pope"},
        {"text": 1},
    ],
)
async def test_what_makes_no_sense_is_refused(
    alice: ApiUser, nobody: ApiUser, room_id: str, body: Any
) -> None:
    made = await make(alice, room_id)

    await nobody.post(path_of(made), body, status=422)


async def test_the_same_key_posts_once(alice: ApiUser, nobody: ApiUser, room_id: str) -> None:
    one, two = await make(alice, room_id), await make(alice, room_id, "Shop")
    key = {"Idempotency-Key": "order-1"}

    first = await nobody.post(path_of(one), {"text": "paid"}, status=201, headers=key)
    again, headers = await nobody.call_with_headers(
        "POST", path_of(one), {"text": "paid"}, status=201, headers=key
    )
    other = await nobody.post(path_of(two), {"text": "paid"}, status=201, headers=key)
    problem = await nobody.post(path_of(one), {"text": "lost"}, status=422, headers=key)

    assert again["message"]["id"] == first["message"]["id"]
    assert headers["Idempotency-Replayed"] == "true"
    assert other["message"]["id"] != first["message"]["id"]
    assert problem["code"] == "idempotency_mismatch"


async def test_addresses_are_listed_without_their_secret_and_revoked_at_once(
    alice: ApiUser, bob: ApiUser, nobody: ApiUser, room_id: str
) -> None:
    mine, theirs = await make(bob, room_id), await make(alice, room_id)
    path = f"/conversations/{room_id}/incoming-webhooks"
    await nobody.post(path_of(mine), {"text": "before"}, status=201)

    seen_by_bob = (await bob.get(path))["items"]
    seen_by_owner = (await alice.get(path))["items"]
    await bob.call("DELETE", f"{path}/{theirs['info']['id']}", status=404)
    await alice.call("DELETE", f"{path}/{mine['info']['id']}")

    assert [each["id"] for each in seen_by_bob] == [mine["info"]["id"]]
    assert len(seen_by_owner) == 2
    assert seen_by_bob[0]["last_used_at"] is not None
    assert path_of(mine).removeprefix("/hooks/") not in str(seen_by_owner)
    problem = await nobody.post(path_of(mine), {"text": "after"}, status=404)
    assert problem["code"] == "not_found"
    await nobody.post(path_of(theirs), {"text": "still good"}, status=201)


@pytest.mark.parametrize("secret", ["cth_none", "x", "cth_" + "a" * 200, "%C3%A4", "cth_%20"])
async def test_an_address_that_there_is_not_is_not_found(nobody: ApiUser, secret: str) -> None:
    await nobody.post(f"/hooks/{secret}", {"text": "hello"}, status=404)


async def test_who_is_not_in_a_conversation_makes_no_address(
    instance: Instance, bob: ApiUser, room_id: str
) -> None:
    mallory = await new_user(instance, "mallory")
    path = f"/conversations/{room_id}/incoming-webhooks"

    await mallory.post(path, {"label": "x"}, status=404)
    await mallory.get(path, status=404)
    for label in ("", "a\nb", "x" * 81):
        await bob.post(path, {"label": label}, status=400)


async def test_an_address_is_good_as_long_as_its_maker_may_write(
    alice: ApiUser, bob: ApiUser, nobody: ApiUser, room_id: str
) -> None:
    made = await make(bob, room_id)

    await alice.matrix("POST", f"/rooms/{room_id}/kick", {"user_id": bob.user_id})

    await nobody.post(path_of(made), {"text": "hello?"}, status=404)


async def test_an_ended_accounts_addresses_are_void(
    bob: ApiUser, nobody: ApiUser, room_id: str
) -> None:
    made = await make(bob, room_id)
    await nobody.post(path_of(made), {"text": "hello"}, status=201)
    accounts: Any = bob.instance.wiring.accounts

    await accounts.deactivate(bob.user_id)

    await nobody.post(path_of(made), {"text": "hello?"}, status=404)


async def test_an_applications_address_is_its_bots_and_ends_with_it(
    instance: Instance, alice: ApiUser, nobody: ApiUser
) -> None:
    app = await new_app(instance, bot="shop_bot")
    room_id = (await alice.matrix("POST", "/createRoom", {"invite": ["@shop_bot:one.test"]}))[
        "room_id"
    ]
    session = await app.post("/application/users/shop_bot/sessions", {}, status=201)
    bot = ApiUser(instance, "shop_bot", session["access_token"])
    await bot.matrix("POST", f"/join/{room_id}")
    made = await make(app, room_id, "Orders")

    sent = await nobody.post(path_of(made), {"text": "An order"}, status=201)
    await administer(instance, "DELETE", f"/applications/{app.application_id}")
    await nobody.post(path_of(made), {"text": "Another"}, status=404)

    assert sent["message"]["sender"] == "shop_bot@one.test"


async def test_no_secret_is_kept_in_the_clear(
    alice: ApiUser, room_id: str, database: Database
) -> None:
    made = await make(alice, room_id)

    (row,) = await database.fetch("SELECT i::text AS text FROM incoming_webhooks i")

    assert path_of(made).removeprefix("/hooks/")[10:] not in row["text"]


@pytest.fixture
async def limited(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(database, tmp_path, rate_limits={"enabled": True}) as instance:
        slow = RateConfig(per_second=0.01, burst=3)
        instance.wiring.rate_limits._rates |= {"incoming_webhook": slow, "incoming_guess": slow}
        yield instance


async def test_an_address_takes_only_so_many_messages(limited: Instance) -> None:
    alice = await new_user(limited, "alice")
    nobody, room_id = ApiUser(limited, "nobody", ""), await group(alice)
    made, other = await make(alice, room_id), await make(alice, room_id)

    for _ in range(3):
        await nobody.post(path_of(made), {"text": "x"}, status=201)
    problem = await nobody.post(path_of(made), {"text": "x"}, status=429)
    await nobody.post(path_of(other), {"text": "x"}, status=201)

    assert problem["code"] == "rate_limited"


async def test_addresses_cannot_be_guessed_for_long(limited: Instance) -> None:
    alice = await new_user(limited, "alice")
    nobody, room_id = ApiUser(limited, "nobody", ""), await group(alice)
    made = await make(alice, room_id)

    await asyncio.gather(
        *(nobody.post(f"/hooks/cth_{number}", {"text": "x"}, status=404) for number in range(3))
    )

    await nobody.post("/hooks/cth_4", {"text": "x"}, status=429)
    await nobody.post(path_of(made), {"text": "x"}, status=201)
