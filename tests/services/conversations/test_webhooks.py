"""What webhooks are sent, when, and how often: by way of a real server that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import standardwebhooks

from homeserver.errors import InvalidParam, NotFound
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.webhooks.event_types import is_wanted
from homeserver.services.conversations.webhooks.registry import Owner
from homeserver.services.conversations.webhooks.service import (
    MOST_WEBHOOKS,
    NewWebhook,
    WebhookChanges,
)
from homeserver.services.conversations.webhooks.webhook import (
    DELAYS_MS,
    GIVE_UP_AFTER_MS,
    HOUR_MS,
    LONGEST_REST_MS,
    delay_ms,
    rest_ms,
)
from homeserver.storage.database import Database
from tests.services.conversations.webhook_world import (
    ALICE,
    HANG,
    Receiver,
    World,
    receiving,
    webhook_world,
)

MINE = Owner(user_id=ALICE)
DELIVERED, PENDING, FAILED, GONE = "delivered", "pending", "failed", "gone"


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with webhook_world(database) as world:
        yield world


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


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

    assert receiver.texts() == ["member.updated", "message.deleted"]


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


# ---------------------------------------------------------------- failures


async def failing(world: World, receiver: Receiver, text: str = "hello") -> Any:
    """A webhook, and the first failed attempt at a delivery."""
    row = await world.add(receiver)
    world.say(text)
    (delivery,) = await world.settled(row, [PENDING], attempts=1)
    return row, delivery


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, "it answered 500"),
        (404, "it answered 404"),
        (302, "it answered 302: redirects are not followed"),
    ],
)
async def test_what_is_refused_is_tried_again_under_the_same_id(
    world: World, receiver: Receiver, status: int, error: str
) -> None:
    receiver.answer = lambda _: status
    receiver.headers = {"Location": receiver.url}
    row, delivery = await failing(world, receiver)
    assert len(receiver.received) == 1

    receiver.answer = lambda _: 200
    await world.pass_time(2 * DELAYS_MS[0])
    (done,) = await world.settled(row, [DELIVERED])

    first, second = receiver.received
    assert (delivery.response_status, delivery.error) == (status, error)
    assert first.id == second.id == done.delivery_id
    assert first.body == second.body
    assert (done.attempts, done.response_status, done.error) == (2, 200, None)


async def test_who_does_not_answer_in_time_is_tried_again(world: World, receiver: Receiver) -> None:
    await world.stop()
    world.deadline_seconds = 0.3
    await world.begin()
    receiver.answer = lambda _: HANG

    _, delivery = await failing(world, receiver)

    assert delivery.error == "no answer within 0.3 s"
    assert delivery.response_status is None


@pytest.mark.parametrize("answer", [b"\x00\xff garbage\r\n\r\n", b"", b"HTTP/1.1 2000 OK\r\n\r\n"])
async def test_garbage_is_a_failure(world: World, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver = Receiver()
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"

    _, delivery = await failing(world, receiver)

    assert delivery.error.startswith("no answer: ")
    server.close()


async def test_an_endless_answer_is_cut_off(world: World) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except OSError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver = Receiver()
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    row = await world.add(receiver)

    world.say("hello")
    (delivery,) = await world.settled(row, [DELIVERED])

    assert delivery.response_status == 200
    server.close()


async def test_nobody_listening_is_a_failure(world: World) -> None:
    async with receiving() as receiver:
        pass

    _, delivery = await failing(world, receiver)

    assert delivery.error == "no answer: ClientConnectorError"


async def test_an_endpoint_says_itself_when_to_come_back(world: World, receiver: Receiver) -> None:
    receiver.answer = lambda _: 429
    receiver.headers = {"Retry-After": "1800"}
    row, delivery = await failing(world, receiver)

    assert delivery.due_at is not None
    assert delivery.attempted_at is not None
    assert delivery.due_at - delivery.attempted_at == 1_800_000
    rest_until = (await world.current(row)).rest_until
    assert rest_until is not None
    assert rest_until >= delivery.attempted_at + 1_800_000 - 1_000


def test_delays_grow_and_are_spread() -> None:
    for attempts, delay in enumerate(DELAYS_MS, 1):
        assert 0.89 * delay < delay_ms(attempts) < 1.11 * delay
    assert delay_ms(500) < 1.11 * DELAYS_MS[-1]


def test_an_endpoint_that_keeps_failing_is_left_alone_for_an_hour_at_most() -> None:
    assert [rest_ms(failures) for failures in (1, 4, 5, 6)] == [0, 0, 10_000, 20_000]
    assert rest_ms(500) == LONGEST_REST_MS


async def test_an_endpoint_that_keeps_failing_is_tried_with_one_request(
    world: World, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 500
    row = await world.add(receiver, concurrency=5)
    world.say(*(f"{number}" for number in range(5)))
    await world.settled(row, [PENDING] * 5, attempts=5)
    assert (await world.current(row)).rest_until is not None
    world.say(*(f"{number}" for number in range(5, 30)))
    await world.settled(row, [PENDING] * 30)
    assert len(receiver.received) == 5

    await world.pass_time(11_000)
    await receiver.wait_for(6)
    await world.settled(row, [PENDING] * 30, attempts=6)
    receiver.answer = lambda _: 200
    await world.pass_time(60_000)
    await world.settled(row, [DELIVERED] * 30)

    assert len(receiver.received) == 6 + 30
    assert (await world.current(row)).failures == 0


async def test_after_three_days_a_delivery_is_given_up(world: World, receiver: Receiver) -> None:
    receiver.answer = lambda request: 500 if b"poison" in request.body else 200
    row = await world.add(receiver)
    world.say("poison")
    await world.settled(row, [PENDING], attempts=1)
    world.say("fine")
    await world.settled(row, [PENDING, DELIVERED])

    await world.pass_time(GIVE_UP_AFTER_MS)
    await world.settled(row, [FAILED, DELIVERED])

    assert (await world.current(row)).state == "active"


async def test_an_endpoint_that_fails_for_three_days_is_disabled_and_its_owner_told(
    world: World, receiver: Receiver
) -> None:
    async with receiving() as other:
        receiver.answer = lambda _: 500
        row, _ = await failing(world, receiver)
        await world.add(other, "webhook.*")

        await world.pass_time(GIVE_UP_AFTER_MS)
        (notice,) = await other.wait_for(1)
        await world.settled(row, [FAILED])

        disabled = await world.current(row)
        assert disabled.state == "disabled"
        assert (
            disabled.reason == "nothing was accepted for three days; the last time: it answered 500"
        )
        assert notice.json["type"] == "webhook.disabled"
        assert notice.json["data"]["webhook_id"] == row.webhook_id


async def test_who_answers_gone_is_disabled_at_once(world: World, receiver: Receiver) -> None:
    receiver.answer = lambda _: 410
    row, _ = await failing(world, receiver)

    assert (await world.current(row)).state == "disabled"


async def test_what_came_while_it_was_disabled_is_told_once_it_is_active_again(
    world: World, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 410
    row, _ = await failing(world, receiver, "first")
    world.say("second", "third")
    receiver.answer = lambda _: 200

    await world.webhooks.change(MINE, row.webhook_id, WebhookChanges(state="active"))
    await world.settled(row, [DELIVERED] * 3)

    assert sorted(set(receiver.texts())) == ["first", "second", "third"]


async def test_a_paused_webhook_is_told_later(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver)
    await world.webhooks.change(MINE, row.webhook_id, WebhookChanges(state="paused"))
    world.say("meanwhile")
    await asyncio.sleep(0.1)
    assert receiver.received == []

    await world.webhooks.change(MINE, row.webhook_id, WebhookChanges(state="active"))
    await receiver.wait_for(1)

    assert receiver.texts() == ["meanwhile"]


# ---------------------------------------------------------------- a process that dies


async def test_what_happened_while_nobody_ran_is_told_after_the_start(
    world: World, receiver: Receiver
) -> None:
    row = await world.add(receiver)
    await world.stop()
    world.log.say("while nobody ran")
    await world.begin()

    await world.settled(row, [DELIVERED])

    assert receiver.texts() == ["while nobody ran"]


async def test_what_was_under_way_is_sent_again_under_the_same_id(
    world: World, receiver: Receiver
) -> None:
    row = await world.add(receiver)
    receiver.answer = lambda _: HANG
    world.say("hello")
    await receiver.wait_for(1)
    await world.stop()

    receiver.answer = lambda _: 200
    world.ahead_ms += 31_000  # the lease of the process that died
    await world.begin()
    await world.settled(row, [DELIVERED])

    first, second = receiver.received
    assert first.id == second.id
    assert first.body == second.body


async def test_however_often_the_process_dies_nothing_is_lost(
    world: World, receiver: Receiver
) -> None:
    row = await world.add(receiver)
    for number in range(8):
        world.say(*(f"{number}.{each}" for each in range(25)))
        await asyncio.sleep(0.005 * number)
        await world.stop()
        world.ahead_ms += 31_000
        await world.begin()

    await world.settled(row, [DELIVERED] * 200)

    assert set(receiver.texts()) == {f"{a}.{b}" for a in range(8) for b in range(25)}
    by_id: dict[str, bytes] = {}
    for request in receiver.received:
        assert by_id.setdefault(request.id, request.body) == request.body
    assert len(by_id) == 200


async def test_two_processes_send_nothing_twice(world: World, receiver: Receiver) -> None:
    row = await world.add(receiver)
    await world.begin()  # the other goes on

    world.say(*(f"{number}" for number in range(100)))
    for registry in world._registries:
        registry.wake()
    await world.settled(row, [DELIVERED] * 100)

    assert sorted(receiver.texts(), key=int) == [f"{number}" for number in range(100)]


async def test_webhooks_that_stand_far_apart_are_both_told_all(
    world: World, receiver: Receiver
) -> None:
    async with receiving() as other:
        late = await world.add(receiver)
        await world.webhooks.change(MINE, late.webhook_id, WebhookChanges(state="paused"))
        prompt = await world.add(other)
        texts = [f"{number}" for number in range(700)]
        world.say(*texts)
        await world.settled(prompt, [DELIVERED] * 700)

        await world.webhooks.change(MINE, late.webhook_id, WebhookChanges(state="active"))
        world.say("last")
        await receiver.wait_for(701)
        await other.wait_for(701)

        assert sorted(receiver.texts()) == sorted(other.texts()) == sorted([*texts, "last"])


async def test_who_comes_back_after_long_does_not_hold_up_others(
    world: World, receiver: Receiver
) -> None:
    async with receiving() as other:
        late = await world.add(other)
        await world.webhooks.change(MINE, late.webhook_id, WebhookChanges(state="paused"))
        prompt = await world.add(receiver)
        for number in range(3_000):
            world.log.say(f"{number}", "typing")
        world.say("meanwhile")
        await receiver.wait_for(1)

        world.log.say("now")
        await world.webhooks.change(MINE, late.webhook_id, WebhookChanges(state="active"))
        now = (await world.settled(prompt, [DELIVERED] * 2))[1]
        caught_up = await world.settled(late, [DELIVERED] * 2)

        assert receiver.texts() == ["meanwhile", "now"]
        assert sorted(other.texts()) == ["meanwhile", "now"]
        assert now.sequence < caught_up[0].sequence  # it was queued first


async def test_what_cannot_be_read_is_a_failure_and_holds_up_nothing(
    world: World, receiver: Receiver
) -> None:
    row = await world.add(receiver, concurrency=1)
    world.log.say("broken")
    del world.log.texts["$event1"]
    world.say("fine")

    broken, fine = await world.settled(row, [PENDING, DELIVERED])

    assert receiver.texts() == ["fine"]
    assert broken.error == "what happened could not be read"
    assert fine.error is None


async def test_where_nothing_is_of_interest_the_position_is_written_now_and_then(
    world: World, receiver: Receiver
) -> None:
    row = await world.add(receiver, "call.*")

    world.say(*("." for _ in range(2_100)))
    for _ in range(500):
        position = (await world.current(row)).position
        if position >= 2_000:
            break
        await asyncio.sleep(0.02)

    assert position >= 2_000
    assert receiver.received == []


# ---------------------------------------------------------------- the log, replay, test


async def test_failed_deliveries_are_replayed(world: World, receiver: Receiver) -> None:
    receiver.answer = lambda request: 500 if b"poison" in request.body else 200
    row = await world.add(receiver)
    world.say("poison", "fine")
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
