"""What becomes of webhooks whose receiver fails, or whose sender dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from homeserver.services.conversations.webhooks.service import WebhookChanges
from homeserver.services.conversations.webhooks.webhook import (
    DELAYS_MS,
    GIVE_UP_AFTER_MS,
    LONGEST_REST_MS,
    delay_ms,
    rest_ms,
)
from tests.services.conversations.webhook_world import (
    DELIVERED,
    FAILED,
    HANG,
    MINE,
    PENDING,
    Receiver,
    World,
    receiving,
)


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
