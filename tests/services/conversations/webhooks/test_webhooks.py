"""What webhooks are sent, when, and how often: by way of a real server that misbehaves."""

from __future__ import annotations

import pytest
import standardwebhooks

from homeserver.errors import InvalidParam, NotFound
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.webhooks.event_types import is_wanted
from homeserver.services.conversations.webhooks.registry import Owner
from homeserver.services.conversations.webhooks.service import MOST_WEBHOOKS, NewWebhook
from homeserver.services.conversations.webhooks.webhook import GIVE_UP_AFTER_MS, HOUR_MS
from homeserver.storage.database import Database
from tests.services.conversations.webhook_world import (
    DELIVERED,
    FAILED,
    GONE,
    HANG,
    MINE,
    PENDING,
    Receiver,
    World,
    receiving,
)

# ---------------------------------------------------------------- what is sent


async def test_what_happens_is_told_signed_as_standard_webhooks_says(
    world: World, receiver: Receiver
) -> None:
    row = await world.add(receiver)

    world.say("hello")
    (request,) = await receiver.wait_for(1)
    (delivery,) = await world.settled(row, [DELIVERED])

    payload = standardwebhooks.Webhook(row.secret).verify(request.body, request.headers)
    assert payload["data"] == {"type": "message.created", "text": "hello"}
    assert (payload["id"], payload["type"]) == (request.id, "message.created")
    assert delivery.delivery_id == request.id
    assert (delivery.response_status, delivery.attempts, delivery.error) == (204, 1, None)


async def test_a_forged_body_does_not_verify(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver)
    world.say("hello")
    (request,) = await receiver.wait_for(1)
    forged = request.body.replace(b"hello", b"hullo")

    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(row.secret).verify(forged, request.headers)


async def test_after_a_rotation_both_secrets_are_good_for_a_day(
    world: World, receiver: Receiver
) -> None:
    old = await world.add(receiver)
    new = await world.webhooks.rotate_secret(MINE, old.webhook_id)

    world.say("at once")
    await receiver.wait_for(1)
    await world.pass_time(24 * HOUR_MS)
    world.say("a day later")
    first, second = await receiver.wait_for(2)

    for secret in (old.secret, new.secret):
        standardwebhooks.Webhook(secret).verify(first.body, first.headers)
    assert len(first.headers["webhook-signature"].split()) == 2
    assert len(second.headers["webhook-signature"].split()) == 1


async def test_only_what_was_asked_for_is_told(world: World, receiver: Receiver) -> None:
    await world.add(receiver, "member.*", "message.deleted")

    for type_ in ("message.created", "member.updated", "typing", "message.deleted"):
        world.log.say(type_, type_)
    world.registry.wake()
    await receiver.wait_for(2)

    assert sorted(receiver.texts()) == ["member.updated", "message.deleted"]


@pytest.mark.parametrize(
    ("type_", "wanted", "told"),
    [
        ("message.created", ["message.created"], True),
        ("message.created", ["message.*"], True),
        ("message.created", ["*"], True),
        ("message.created", ["message.updated", "member.*"], False),
        ("messages.hidden", ["message.*"], False),
        ("typing", ["*"], False),
        ("draft.updated", ["*"], False),
    ],
)
def test_types_are_matched_by_name_and_family(type_: str, wanted: list[str], told: bool) -> None:
    assert is_wanted(type_, wanted) is told


async def test_what_happened_before_is_not_told(world: World, receiver: Receiver) -> None:
    world.say("before")
    await world.add(receiver)
    world.say("after")
    await receiver.wait_for(1)

    assert receiver.texts() == ["after"]


async def test_one_at_a_time_keeps_the_order(world: World, receiver: Receiver) -> None:
    await world.add(receiver, concurrency=1)
    texts = [f"{number}" for number in range(120)]

    world.say(*texts)
    await receiver.wait_for(120)

    assert receiver.texts() == texts
    assert receiver.most_under_way == 1


async def test_no_more_are_under_way_than_the_owner_says(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver, concurrency=3)

    world.say(*(f"{number}" for number in range(60)))
    await world.settled(row, [DELIVERED] * 60)

    assert sorted(receiver.texts(), key=int) == [f"{number}" for number in range(60)]
    assert receiver.most_under_way <= 3


async def test_one_that_hangs_does_not_hold_up_what_comes_after(
    world: World, receiver: Receiver
) -> None:
    await world.add(receiver, concurrency=2)
    receiver.answer = lambda request: HANG if b"stuck" in request.body else 200

    world.say("stuck")
    await receiver.wait_for(1)
    world.say("free")
    await receiver.wait_for(2)

    assert receiver.texts() == ["stuck", "free"]


async def test_what_was_deleted_meanwhile_is_not_sent(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver)
    world.log.say("secret")
    world.log.texts["$event1"] = None
    world.say("public")

    await world.settled(row, [GONE, DELIVERED])

    assert receiver.texts() == ["public"]


# ---------------------------------------------------------------- the log, replay, test


async def test_failed_deliveries_are_replayed(world: World, receiver: Receiver) -> None:
    receiver.answer = lambda request: 500 if b"poison" in request.body else 200
    row = await world.add(receiver)
    world.say("poison")
    await world.settled(row, [PENDING], attempts=1)
    world.say("fine")  # and so the webhook does not count as failing when the other is given up
    await world.settled(row, [PENDING, DELIVERED], attempts=2)
    await world.pass_time(GIVE_UP_AFTER_MS)
    await world.settled(row, [FAILED, DELIVERED])
    receiver.answer = lambda _: 200

    count = await world.webhooks.replay_since(MINE, row.webhook_id, 0, also_delivered=False)
    await world.settled(row, [DELIVERED, DELIVERED])

    assert count == 1
    assert receiver.texts().count("fine") == 1


async def test_everything_since_a_time_is_replayed_under_the_same_ids(
    world: World, receiver: Receiver
) -> None:
    row = await world.add(receiver, concurrency=1)
    world.say("old")
    await world.settled(row, [DELIVERED])
    await world.pass_time(HOUR_MS)
    since = world.clock_ms()
    world.say("new")
    await world.settled(row, [DELIVERED] * 2)

    count = await world.webhooks.replay_since(MINE, row.webhook_id, since, also_delivered=True)
    await receiver.wait_for(3)

    assert count == 1
    assert receiver.texts() == ["old", "new", "new"]
    assert receiver.received[1].id == receiver.received[2].id


async def test_one_delivery_is_replayed(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver)
    world.say("hello")
    (delivery,) = await world.settled(row, [DELIVERED])

    await world.webhooks.replay_one(MINE, row.webhook_id, delivery.delivery_id)
    await receiver.wait_for(2)

    with pytest.raises(NotFound):
        await world.webhooks.replay_one(MINE, row.webhook_id, "msg_none")
    with pytest.raises(NotFound):
        await world.webhooks.replay_one(
            Owner(user_id="@bob:one.test"), row.webhook_id, delivery.delivery_id
        )


async def test_a_test_tells_what_came_of_it(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver, "call.*")
    good = await world.webhooks.test(MINE, row.webhook_id)
    receiver.answer = lambda _: 500
    bad = await world.webhooks.test(MINE, row.webhook_id)

    assert (good.state, good.type, good.response_status) == (DELIVERED, "webhook.test", 204)
    assert (bad.state, bad.error) == (FAILED, "it answered 500")
    assert len(receiver.received) == 2
    for request in receiver.received:
        standardwebhooks.Webhook(row.secret).verify(request.body, request.headers)


async def test_the_log_has_no_text_of_messages(
    world: World, receiver: Receiver, database: Database
) -> None:
    row = await world.add(receiver)
    world.say("a very private matter")
    await world.settled(row, [DELIVERED])

    rows = await database.fetch("SELECT d::text AS text FROM webhook_deliveries d")

    assert rows
    assert not any("private" in row["text"] for row in rows)


async def test_the_log_is_pruned_after_a_while(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver)
    world.say("hello")
    (delivery,) = await world.settled(row, [DELIVERED])
    due = await world.webhooks.next_due()
    assert due == delivery.created_at + 7 * 24 * HOUR_MS
    assert not await world.webhooks.step()

    world.ahead_ms += 7 * 24 * HOUR_MS

    assert await world.webhooks.step()
    assert await world.log_of(row) == []


# ---------------------------------------------------------------- what owners may say


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://shop.example/hook",
        "https://",
        "https:///hook",
        "https://user:secret@shop.example/",
        "https://shop.example/#part",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://[::1/",
        "https://shöp.example/",
        "https://shop.example/\n",
        "https://shop.example/" + "x" * 2_000,
    ],
)
async def test_an_impossible_url_is_refused(world: World, url: str) -> None:
    with pytest.raises(InvalidParam):
        await world.webhooks.create(MINE, NewWebhook(url, ["*"]))


@pytest.mark.parametrize(
    "events", [[], ["message"], ["typing.*"], ["message."], ["*.created"], ["message.*.*"], [""]]
)
async def test_impossible_types_are_refused(
    world: World, receiver: Receiver, events: list[str]
) -> None:
    with pytest.raises(InvalidParam):
        await world.webhooks.create(MINE, NewWebhook(receiver.url, events))


async def test_there_are_only_so_many(world: World, receiver: Receiver) -> None:
    for _ in range(MOST_WEBHOOKS):
        await world.add(receiver)

    with pytest.raises(Problem, match="There are 20 webhooks"):
        await world.add(receiver)


async def test_a_deleted_webhook_is_told_nothing(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver)
    await world.webhooks.delete(MINE, row.webhook_id)
    async with receiving() as other:
        await world.add(other)
        world.say("hello")
        await other.wait_for(1)

    assert receiver.received == []
    with pytest.raises(NotFound):
        await world.webhooks.get(MINE, row.webhook_id)
