"""Messages to devices, and keys that run low, over the feed: each device hears its own."""

from __future__ import annotations

from typing import Any

from tests.services.conversations.feed.world import Ear, Person, World


async def another_device(person: Person) -> tuple[str, str]:
    """The ID of a second device, and its access token."""
    body = {"type": "m.login.password", "user": person.name, "password": "sesame"}
    answer = await person.world.instance.call("POST", "/login", body)
    return answer["device_id"], answer["access_token"]


async def first_device(person: Person) -> str:
    device_id: str = (await person.call("GET", "/account/whoami"))["device_id"]
    return device_id


async def hear(person: Person, device_id: str | None, since: int | None = None) -> Ear:
    ear = Ear()
    subscription = await person.world.feed.open(person.user_id, device_id, since, ear)
    person.world.subscriptions.append(subscription)
    return ear


async def send(
    sender: Person, to: Person, by_device: dict[str, dict[str, Any]], txn: str = "1"
) -> None:
    path = f"/sendToDevice/m.room.encrypted/{txn}"
    await sender.call("PUT", path, {"messages": {to.user_id: by_device}})


def contents(ear: Ear) -> list[Any]:
    return [u["content"] for u in ear.durable if u["type"] == "device.message"]


async def test_each_device_hears_what_is_for_it(world: World, alice: Person, bob: Person) -> None:
    first, (second, _) = await first_device(bob), await another_device(bob)
    ears = {name: await hear(bob, name) for name in (first, second)}
    others = [await hear(alice, await first_device(alice)), await hear(bob, None)]

    await send(alice, bob, {first: {"n": 1}})
    await send(alice, bob, {"*": {"n": 2}, second: {"n": 3}}, "2")
    await world.settled()

    assert contents(ears[first]) == [{"n": 1}, {"n": 2}]
    assert contents(ears[second]) == [{"n": 3}]
    assert [contents(ear) for ear in others] == [[], []]
    told = ears[first].durable[0]
    assert (told["sender"], told["kind"]) == (alice.address, "encrypted")


async def test_a_device_that_comes_back_hears_what_it_missed_as_it_was(
    world: World, alice: Person, bob: Person
) -> None:
    first, (second, _) = await first_device(bob), await another_device(bob)
    live, before = await hear(bob, first), world.position

    for number in range(5):
        await send(alice, bob, {first: {"n": number}}, str(number))
    await send(alice, bob, {second: {"n": "other"}}, "other")
    await world.settled()
    again = await hear(bob, first, before)
    half = await hear(bob, first, live.durable[2]["position"])

    assert [u["content"]["n"] for u in live.durable] == [0, 1, 2, 3, 4]
    assert again.durable == live.durable
    assert half.durable == live.durable[3:]


async def test_what_was_sent_twice_is_told_once(world: World, alice: Person, bob: Person) -> None:
    ear = await hear(bob, await first_device(bob))

    await send(alice, bob, {"*": {"n": 1}}, "same")
    await send(alice, bob, {"*": {"n": 1}}, "same")
    await world.settled()

    assert contents(ear) == [{"n": 1}]


async def test_what_is_acknowledged_is_not_told_again(
    world: World, alice: Person, bob: Person
) -> None:
    device, before = await first_device(bob), world.position
    await send(alice, bob, {"*": {"n": 1}})
    messages = world.instance.wiring.conversations.people.device_messages

    await messages.acknowledge(bob.user_id, device, world.position)

    assert contents(await hear(bob, device, before)) == []


async def test_a_device_is_told_that_its_keys_run_low(
    world: World, alice: Person, bob: Person
) -> None:
    device = await first_device(bob)
    signed = {"signatures": {bob.user_id: {f"ed25519:{device}": "sig"}}}
    keys = {f"signed_curve25519:{n}": {"key": str(n), **signed} for n in range(21)}
    await bob.call("POST", "/keys/upload", {"one_time_keys": keys})
    ear = await hear(bob, device)
    claim = {"one_time_keys": {bob.user_id: {device: "signed_curve25519"}}}

    await alice.call("POST", "/keys/claim", claim)
    await world.settled()
    enough = list(ear.told)
    await alice.call("POST", "/keys/claim", claim)
    await world.settled(lambda: bool(ear.told))

    assert enough == []
    assert ear.told == [{"type": "keys.low", "device_id": device, "remaining": 19}]
