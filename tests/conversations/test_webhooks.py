"""What applications are told of real conversations, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from homeserver.storage.database import Database
from homeserver.storage.erasures import ErasureRecord
from tests.conversations.applications import App, administer, new_app
from tests.conversations.conftest import ApiUser, new_user
from tests.integration.single import Instance, running
from tests.integration.test_message_ends import eventually
from tests.services.conversations.webhook_world import Receiver, receiving

LOCAL = {"webhooks": {"allow_private_networks": True}}


@pytest.fixture
async def instance(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(database, tmp_path, **LOCAL) as instance:
        yield instance


@pytest.fixture
async def app(instance: Instance) -> App:
    return await new_app(instance)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def hook(owner: ApiUser, receiver: Receiver, *events: str, **options: Any) -> Any:
    """A webhook that is told one thing after the other."""
    body = {"url": receiver.url, "events": events or ["*"], "concurrency": 1, **options}
    return await owner.post("/webhooks", body, status=201)


async def group(owner: ApiUser, *people: ApiUser) -> str:
    """A conversation that everybody has joined."""
    body = {"preset": "private_chat", "invite": [person.user_id for person in people]}
    room_id: str = (await owner.matrix("POST", "/createRoom", body))["room_id"]
    for person in people:
        await person.matrix("POST", f"/join/{room_id}")
    return room_id


async def own(app: App, name: str) -> ApiUser:
    """A user of an application's, on a device of their own."""
    made = await app.post(f"/application/users/{name}/sessions", {}, status=201)
    return ApiUser(app.instance, name, made["access_token"])


def told(receiver: Receiver) -> list[tuple[str, Any]]:
    return [(each.json["type"], each.json["data"]) for each in receiver.received]


def types(receiver: Receiver) -> list[str]:
    return [type_ for type_, _ in told(receiver)]


async def say(user: ApiUser, conversation_id: str, text: str) -> Any:
    body = {"text": text}
    path = f"/conversations/{conversation_id}/messages"
    return (await user.post(path, body, status=201))["message"]


async def test_an_application_is_told_of_its_users_conversations_and_of_no_others(
    app: App, receiver: Receiver, alice: ApiUser, bob: ApiUser
) -> None:
    ann = await own(app, "shop_ann")
    mine = await group(alice, ann)
    others = await group(alice, bob)
    made = await hook(app, receiver, "message.*")

    await say(alice, others, "not for the shop")
    message = await say(alice, mine, "for the shop")
    (request,) = await receiver.wait_for(1)

    payload = standardwebhooks.Webhook(made["secret"]).verify(request.body, request.headers)
    assert payload["type"] == payload["data"]["type"] == "message.created"
    assert payload["data"]["conversation_id"] == mine
    assert payload["data"]["position"] == message["position"]
    assert payload["data"]["message"]["id"] == message["id"]
    assert payload["data"]["message"]["text"] == "for the shop"
    assert payload["data"]["message"]["sender"] == alice.address


async def test_a_message_to_two_of_its_users_is_told_once(
    app: App, receiver: Receiver, alice: ApiUser
) -> None:
    ann, ben = await own(app, "shop_ann"), await own(app, "shop_ben")
    room_id = await group(alice, ann, ben)
    await hook(app, receiver, "message.*")

    await say(alice, room_id, "one")
    await say(ann, room_id, "two")
    await receiver.wait_for(2)

    assert [data["message"]["text"] for _, data in told(receiver)] == ["one", "two"]


async def test_what_becomes_of_a_message_is_told(
    app: App, receiver: Receiver, alice: ApiUser
) -> None:
    ann = await own(app, "shop_ann")
    room_id = await group(alice, ann)
    await hook(app, receiver, "message.*", "reaction.*")
    message = await say(alice, room_id, "first")
    content = {
        "msgtype": "m.text",
        "body": "* second",
        "m.new_content": {"msgtype": "m.text", "body": "second"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": message["id"]},
    }
    path = f"/rooms/{room_id}"

    await alice.matrix("PUT", f"{path}/send/m.room.message/1", content)
    annotation = {"rel_type": "m.annotation", "event_id": message["id"], "key": "+1"}
    await ann.matrix("PUT", f"{path}/send/m.reaction/2", {"m.relates_to": annotation})
    await receiver.wait_for(3)
    await alice.matrix("PUT", f"{path}/redact/{message['id']}/3", {"reason": "typo"})
    await receiver.wait_for(4)

    assert types(receiver) == [
        "message.created",
        "message.updated",
        "reaction.added",
        "message.deleted",
    ]
    assert told(receiver)[1][1]["message"]["text"] == "second"
    assert told(receiver)[3][1]["message_id"] == message["id"]


async def test_its_users_comings_and_goings_are_told_with_their_name(
    app: App, receiver: Receiver, alice: ApiUser
) -> None:
    ann = await own(app, "shop_ann")
    await hook(app, receiver, "conversation.created", "conversation.removed", "member.*")

    room_id = await group(alice, ann)
    await ann.matrix("POST", f"/rooms/{room_id}/leave")
    await say(alice, room_id, "now she is gone")
    other = await group(alice, ann)
    seen = await receiver.wait_for(3)
    while seen[-1].json["data"]["conversation_id"] != other or len(types(receiver)) < 5:
        await receiver.wait_for(len(receiver.received) + 1)

    first = [each.json for each in seen if each.json["data"]["conversation_id"] == room_id]
    by_name = [(each["type"], each["user"]) for each in first if "user" in each]
    assert ("conversation.created", ann.address) in by_name
    assert ("conversation.removed", ann.address) in by_name
    joined = [e for e in first if e["type"] == "member.updated"]
    assert [e["data"]["member"]["state"] for e in joined] == ["joined"]


async def test_what_was_said_while_its_user_was_away_is_not_told(
    app: App, receiver: Receiver, alice: ApiUser
) -> None:
    ann = await own(app, "shop_ann")
    room_id = await group(alice, ann)
    await hook(app, receiver, "message.created")

    await say(alice, room_id, "with her")
    await ann.matrix("POST", f"/rooms/{room_id}/leave")
    await say(alice, room_id, "without her")
    await alice.matrix("POST", f"/rooms/{room_id}/invite", {"user_id": ann.user_id})
    await say(alice, room_id, "invited")
    await ann.matrix("POST", f"/join/{room_id}")
    await say(alice, room_id, "with her again")
    await receiver.wait_for(2)

    texts = [data["message"]["text"] for _, data in told(receiver)]
    assert texts == ["with her", "with her again"]


async def test_whoever_is_blocked_is_not_heard_through_a_webhook_either(
    app: App, receiver: Receiver, alice: ApiUser, bob: ApiUser
) -> None:
    ann = await own(app, "shop_ann")
    room_id = await group(alice, ann, bob)
    await hook(app, receiver, "message.created")
    ignored = {"ignored_users": {bob.user_id: {}}}
    path = f"/user/{ann.user_id}/account_data/m.ignored_user_list"
    await ann.matrix("PUT", path, ignored)

    await say(bob, room_id, "can you hear me?")
    await say(alice, room_id, "she cannot")
    await receiver.wait_for(1)

    assert [data["message"]["text"] for _, data in told(receiver)] == ["she cannot"]


async def test_a_user_is_told_what_is_theirs(
    receiver: Receiver, alice: ApiUser, bob: ApiUser, instance: Instance
) -> None:
    body = {"name": "bridge", "scopes": ["webhooks"]}
    token = (await alice.post("/tokens", body, status=201))["token"]
    await hook(ApiUser(instance, "alice", token), receiver, "message.created")
    room_id, others = await group(alice, bob), await group(bob)

    await say(bob, others, "to myself")
    await say(bob, room_id, "to alice")
    await receiver.wait_for(1)

    assert [data["message"]["text"] for _, data in told(receiver)] == ["to alice"]


async def test_accounts_that_come_and_go_are_told(
    app: App, receiver: Receiver, instance: Instance
) -> None:
    wide = await new_app(instance, user_patterns=[], name="Wide")
    await hook(app, receiver, "account.*")
    await hook(wide, receiver, "account.*")

    await own(app, "shop_ann")
    await wide.post("/application/users", {"localpart": "carol"}, status=201)
    await new_user(instance, "dave")
    await receiver.wait_for(2)
    await app.call("DELETE", "/application/users/shop_ann")
    await receiver.wait_for(3)
    await wide.call("DELETE", "/application/users/carol")
    await receiver.wait_for(4)

    assert sorted((type_, data["person"]) for type_, data in told(receiver)) == [
        ("account.created", "carol@one.test"),
        ("account.created", "shop_ann@one.test"),
        ("account.deleted", "carol@one.test"),
        ("account.deleted", "shop_ann@one.test"),
    ]


async def test_what_happened_while_the_server_was_down_is_told(
    database: Database, tmp_path: Path, receiver: Receiver
) -> None:
    async with running(database, tmp_path, **LOCAL) as instance:
        app = await new_app(instance)
        alice, ann = await new_user(instance, "alice"), await own(app, "shop_ann")
        room_id = await group(alice, ann)
        made = await hook(app, receiver, "message.created", "conversation.*")
        parts = instance.wiring.conversations.application_parts
        await parts.registry.close()  # as if the process died before it got to it
        for number in range(5):
            await say(alice, room_id, f"{number}")
        await ann.matrix("POST", f"/rooms/{room_id}/leave")

    async with running(database, tmp_path, **LOCAL) as instance:
        await receiver.wait_for(6)
        app.instance = instance
        log = await app.get(f"/webhooks/{made['info']['id']}/deliveries?limit=4")
        rest = await app.get(f"/webhooks/{made['info']['id']}/deliveries?cursor={log['next']}")

    assert [data["message"]["text"] for _, data in told(receiver)[:5]] == list("01234")
    assert types(receiver)[5] == "conversation.removed"
    assert len(log["items"]) + len(rest["items"]) == 6
    assert {each["state"] for each in log["items"][1:]} == {"delivered"}


async def test_a_strangers_request_is_told_and_its_answer(
    database: Database, tmp_path: Path, receiver: Receiver
) -> None:
    asking = {"consent": {"defaults": {"message": "ask", "group": "ask"}}}
    async with running(database, tmp_path, **LOCAL, **asking) as instance:
        app, alice = await new_app(instance), await new_user(instance, "alice")
        ann = await own(app, "shop_ann")
        await hook(app, receiver, "request.*", "conversation.created", "message.*")

        body = {"to": ann.address, "text": "a secret offer"}
        await alice.post("/messages", body, status=201)
        await receiver.wait_for(1)
        while "request.created" not in types(receiver):
            await receiver.wait_for(len(receiver.received) + 1)
        before = [request.body for request in receiver.received]
        await ann.post(f"/requests/{alice.address}/accept")
        while "request.updated" not in types(receiver):
            await receiver.wait_for(len(receiver.received) + 1)

    asked = [each.json for each in receiver.received if each.json["type"] == "request.created"]
    assert [(each["user"], each["data"]["request"]["person"]) for each in asked] == [
        (ann.address, alice.address)
    ]
    assert not any(b"secret offer" in body for body in before)


async def test_a_message_that_ends_is_told(
    app: App, receiver: Receiver, alice: ApiUser, instance: Instance
) -> None:
    ann = await own(app, "shop_ann")
    room_id = await group(alice, ann)
    await hook(app, receiver, "message.*")
    body = {"text": "soon gone", "expires": {"after_ms": 1_000}}

    sent = await alice.post(f"/conversations/{room_id}/messages", body, status=201)
    await receiver.wait_for(2)

    assert types(receiver) == ["message.created", "message.deleted"]
    assert told(receiver)[1][1]["message_id"] == sent["message"]["id"]


async def test_what_ends_without_anybody_saying_so_is_told(
    app: App, receiver: Receiver, alice: ApiUser, instance: Instance
) -> None:
    ann = await own(app, "shop_ann")
    room_id, others = await group(alice, ann), await group(alice)
    await hook(app, receiver, "message.expired")

    for conversation in (others, room_id):
        record = ErasureRecord(conversation, (), "retention", 0, ("$long-ago",))
        await instance.wiring.log.append(record)
    await receiver.wait_for(1)

    assert [(data["conversation_id"], data["message_ids"]) for _, data in told(receiver)] == [
        (room_id, ["$long-ago"])
    ]


# ---------------------------------------------------------------- the endpoints


async def test_a_webhook_is_made_read_changed_and_deleted(app: App, receiver: Receiver) -> None:
    made = await hook(app, receiver, "message.*", description="orders")
    path = f"/webhooks/{made['info']['id']}"

    changed = await app.call("PATCH", path, {"events": ["call.*"], "state": "paused"})
    read = await app.get(path)
    (listed,) = (await app.get("/webhooks"))["items"]
    await app.call("DELETE", path)

    assert made["secret"].startswith("whsec_")
    assert changed == read == listed
    assert (read["events"], read["state"], read["description"]) == (["call.*"], "paused", "orders")
    assert "secret" not in read
    await app.get(path, status=404)


async def test_webhooks_are_their_owners(
    app: App, receiver: Receiver, instance: Instance, alice: ApiUser
) -> None:
    made = await hook(app, receiver)
    other = await new_app(instance, user_patterns=["other_*"])
    path = f"/webhooks/{made['info']['id']}"

    for stranger in (other, alice, app.user("shop_ann")):
        mine = (await stranger.get("/webhooks"))["items"]
        assert len(mine) == (1 if stranger.token == app.token else 0)
    for stranger in (other, alice):
        await stranger.get(path, status=404)
        await stranger.call("PATCH", path, {"url": receiver.url}, status=404)
        await stranger.call("DELETE", path, status=404)
        await stranger.get(f"{path}/deliveries", status=404)
        await stranger.post(f"{path}/test", status=404)
        await stranger.post(f"{path}/rotate-secret", status=404)
        await stranger.post(f"{path}/replay", {"since": "2020-01-01T00:00:00Z"}, status=404)
        await stranger.post(f"{path}/deliveries/x/replay", status=404)


async def test_a_test_and_the_log_over_http(app: App, receiver: Receiver) -> None:
    made = await hook(app, receiver)
    path = f"/webhooks/{made['info']['id']}"

    tested = await app.post(f"{path}/test")
    log = await app.get(f"{path}/deliveries?state=delivered")
    replayed = await app.post(
        f"{path}/replay", {"since": "2020-01-01T00:00:00Z", "delivered": True}
    )
    await receiver.wait_for(2)
    await app.post(f"{path}/deliveries/{tested['id']}/replay")
    await receiver.wait_for(3)

    assert (tested["state"], tested["response_status"]) == ("delivered", 204)
    assert tested["latency_ms"] is not None
    assert log["items"] == [tested]
    assert replayed == {"count": 1}
    assert {request.id for request in receiver.received} == {tested["id"]}


async def test_a_deleted_applications_webhooks_are_silent(
    app: App, receiver: Receiver, alice: ApiUser
) -> None:
    ann = await own(app, "shop_ann")
    room_id = await group(alice, ann)
    await hook(app, receiver, "message.*")
    async with receiving() as other:
        await hook(alice, other, "message.*")

        await administer(app.instance, "DELETE", f"/applications/{app.application_id}")
        await say(alice, room_id, "nobody hears that")
        await other.wait_for(1)

    assert receiver.received == []


async def test_nothing_is_sent_into_private_networks(database: Database, tmp_path: Path) -> None:
    urls = (
        "https://127.0.0.1:9/hook",
        "https://localhost:9/hook",
        "https://[::1]:9/hook",
        "https://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/",
    )
    async with running(database, tmp_path) as instance:
        alice = await new_user(instance, "alice")
        body = {"url": "http://shop.example/hook", "events": ["*"]}
        problem = await alice.post("/webhooks", body, status=400)
        answers = []
        for url in urls:
            made = await alice.post("/webhooks", {"url": url, "events": ["*"]}, status=201)
            answers.append(await alice.post(f"/webhooks/{made['info']['id']}/test"))

    assert problem["code"] == "invalid_parameter"
    for answer in answers:
        assert answer["error"] == "its address lies in a network to which nothing is sent"
        assert answer["response_status"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"url": "https://shop.example/"}, 422),
        ({"url": 1, "events": ["*"]}, 422),
        ({"url": "https://shop.example/", "events": ["typing"]}, 400),
        ({"url": "https://shop.example/", "events": ["*"], "concurrency": 0}, 400),
        ({"url": "https://shop.example/", "events": ["*"], "description": "\n"}, 400),
        ({"url": "https://shop.example/", "events": ["*"], "secret": "mine"}, 422),
    ],
)
async def test_an_impossible_webhook_is_refused(app: App, body: Any, status: int) -> None:
    await app.post("/webhooks", body, status=status)

    assert (await app.get("/webhooks"))["items"] == []


async def test_webhooks_take_a_scope(instance: Instance) -> None:
    app = await new_app(instance, token_scopes=["messages:read"])

    problem = await app.get("/webhooks", status=403)

    assert problem["scope"] == "webhooks"


async def test_a_new_secret_signs_beside_the_old_one(app: App, receiver: Receiver) -> None:
    made = await hook(app, receiver, "message.created")

    rotated = await app.post(f"/webhooks/{made['info']['id']}/rotate-secret")
    await app.post(f"/webhooks/{made['info']['id']}/test")

    assert rotated["secret"] != made["secret"]
    (request,) = await receiver.wait_for(1)
    for secret in (made["secret"], rotated["secret"]):
        standardwebhooks.Webhook(secret).verify(request.body, request.headers)


@pytest.mark.parametrize("own_webhook", [True, False])
async def test_what_was_hidden_meanwhile_is_not_told_again(
    app: App, receiver: Receiver, alice: ApiUser, own_webhook: bool
) -> None:
    ann = await own(app, "shop_ann")
    room_id = await group(alice, ann)
    owner = ann if own_webhook else app
    made = await hook(owner, receiver, "message.created")
    secret = await say(alice, room_id, "embarrassing")
    await say(alice, room_id, "harmless")
    await receiver.wait_for(2)
    path = f"/webhooks/{made['info']['id']}"

    async def settled() -> bool:
        return "pending" not in {each["state"] for each in await deliveries(owner, path)}

    await eventually(settled)
    hide = f"/_comity/client/v1/rooms/{room_id}/hide"
    await ann.matrix("POST", hide, {"event_ids": [secret["id"]]})

    body = {"since": "2020-01-01T00:00:00Z", "delivered": True}
    await owner.post(f"{path}/replay", body)
    await receiver.wait_for(3)
    await eventually(settled)

    texts = [data["message"]["text"] for _, data in told(receiver)]
    assert texts == ["embarrassing", "harmless", "harmless"]
    assert [each["state"] for each in await deliveries(owner, path)] == ["delivered", "gone"]


async def deliveries(owner: ApiUser, path: str) -> list[dict[str, Any]]:
    """The log of a webhook, the newest first."""
    items: list[dict[str, Any]] = (await owner.get(f"{path}/deliveries"))["items"]
    return items
