"""How far messages have come, on one instance, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.services.conversations import delivery
from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser, new_user
from tests.conversations.messages import a_group
from tests.integration.single import running
from tests.integration.test_policy_and_consent import rule


async def send(user: ApiUser, room_id: str, text: str = "hello") -> str:
    answer = await user.post(f"/conversations/{room_id}/messages", {"text": text}, status=201)
    message_id: str = answer["message"]["id"]
    return message_id


async def status(user: ApiUser, room_id: str, message_id: str, *, query: str = "") -> Any:
    return await user.get(f"/conversations/{room_id}/messages/{message_id}/status{query}")


async def sync(user: ApiUser) -> None:
    """Take all there is, and say so."""
    since = (await user.matrix("GET", "/sync"))["next_batch"]
    await user.matrix("GET", f"/sync?since={since}")


def of(report: Any, person: ApiUser) -> str:
    """The status of one recipient."""
    (found,) = [r["status"] for r in report["recipients"] if r["person"] == person.address]
    return str(found)


async def test_a_message_comes_to_an_instance_to_a_device_and_is_read(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    await sync(bob)
    message_id = await send(alice, room_id)

    reports = [await status(alice, room_id, message_id)]
    await sync(bob)
    reports.append(await status(alice, room_id, message_id))
    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})
    reports.append(await status(alice, room_id, message_id))

    assert [report["status"] for report in reports] == [
        "delivered_to_instance",
        "delivered_to_device",
        "read",
    ]
    assert [of(report, bob) for report in reports] == [report["status"] for report in reports]
    assert reports[-1]["counts"] == {
        "recipients": 1,
        "pending": 0,
        "sent": 0,
        "delivered_to_instance": 0,
        "delivered_to_device": 0,
        "read": 1,
    }
    assert reports[-1]["recipients"][0]["at"].endswith("Z")


async def test_a_message_that_came_later_is_not_read_with_the_one_before(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    first, second = await send(alice, room_id), await send(alice, room_id)

    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{first}", {})

    assert (await status(alice, room_id, first))["status"] == "read"
    assert (await status(alice, room_id, second))["status"] != "read"


async def test_the_least_of_all_recipients_is_the_messages_own(
    alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(alice.instance, "carol")
    room_id = await a_group(alice, bob, carol)
    message_id = await send(alice, room_id)
    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})

    report = await status(alice, room_id, message_id)

    assert report["status"] == "delivered_to_instance"
    assert (of(report, bob), of(report, carol)) == ("read", "delivered_to_instance")


async def test_who_was_asked_first_is_why_a_message_waits(alice: ApiUser, bob: ApiUser) -> None:
    sent = await alice.post("/messages", {"to": bob.address, "text": "hello"}, status=201)
    room_id, message_id = sent["conversation"]["id"], sent["message"]["id"]

    waiting = await status(alice, room_id, message_id)
    await bob.matrix("POST", f"/join/{room_id}", {})
    accepted = await status(alice, room_id, message_id)

    assert waiting["status"] == "pending"
    assert waiting["recipients"][0]["reason"] == {"code": "consent"}
    assert accepted["status"] == "delivered_to_instance"


async def test_who_came_later_is_no_recipient_and_who_left_still_is(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    message_id = await send(alice, room_id)
    carol = await new_user(alice.instance, "carol")
    await carol.matrix("POST", f"/join/{room_id}", {})
    await bob.matrix("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": "Bob"})
    await bob.matrix("POST", f"/rooms/{room_id}/leave", {})

    report = await status(alice, room_id, message_id)

    assert [recipient["person"] for recipient in report["recipients"]] == [bob.address]


async def test_who_does_not_show_receipts_is_seen_no_further_than_their_instance(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    await bob.matrix("PUT", "/_comity/client/v1/consent/receipts", {"preset": "closed"})
    message_id = await send(alice, room_id)
    await sync(bob)
    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})

    report = await status(alice, room_id, message_id)

    assert report["status"] == "delivered_to_instance"


async def test_where_nothing_is_under_way_there_is_nothing_to_retry(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    message_id = await send(alice, room_id)

    retried = await alice.post(f"/conversations/{room_id}/messages/{message_id}/retry")

    assert retried["instances"] == []


async def test_only_its_sender_sees_how_far_a_message_is(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await send(alice, room_id)
    mallory = await new_user(alice.instance, "mallory")
    path = f"/conversations/{room_id}/messages/{message_id}"

    await bob.get(f"{path}/status", status=403)
    await mallory.get(f"{path}/status", status=404)
    await bob.post(f"{path}/cancel", status=403)
    await bob.post(f"{path}/retry", status=403)
    await alice.get(f"/conversations/{room_id}/messages/$nothing/status", status=404)
    await alice.get(f"/conversations/!other:one.test/messages/{message_id}/status", status=404)


async def test_the_recipients_of_a_group_come_in_pages(alice: ApiUser) -> None:
    others = [await new_user(alice.instance, name) for name in ("b", "c", "d", "e", "f")]
    room_id = await a_group(alice, *others)
    message_id = await send(alice, room_id)

    found, query = [], "?limit=2"
    for _ in range(3):
        report = await status(alice, room_id, message_id, query=query)
        found += [recipient["person"] for recipient in report["recipients"]]
        query = f"?limit=2&cursor={report['next']}"

    assert found == [other.address for other in others]
    assert report["next"] is None
    assert report["counts"]["recipients"] == 5


async def test_a_message_that_everybody_has_cannot_be_cancelled(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    message_id = await send(alice, room_id)

    refused = await alice.post(f"/conversations/{room_id}/messages/{message_id}/cancel", status=409)

    assert refused["code"] == "already_delivered"
    assert await alice.instance.texts(bob.token, room_id) == ["hello"]


async def test_a_message_is_cancelled_while_its_recipient_is_asked(
    alice: ApiUser, bob: ApiUser
) -> None:
    sent = await alice.post("/messages", {"to": bob.address, "text": "a slip"}, status=201)
    room_id, message_id = sent["conversation"]["id"], sent["message"]["id"]
    path = f"/conversations/{room_id}/messages/{message_id}"

    cancelled = await alice.post(f"{path}/cancel")
    again = await alice.post(f"{path}/cancel", status=409)
    await bob.matrix("POST", f"/join/{room_id}", {})

    assert cancelled == {"message_id": message_id}
    assert again["code"] == "already_deleted"
    assert await alice.instance.texts(bob.token, room_id) == []
    stored = await alice.instance.wiring.database.fetchval(
        "SELECT pdu FROM events WHERE event_id = $1", message_id
    )
    assert b"a slip" not in stored


async def test_the_progress_of_devices_outlives_the_process(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await send(alice, room_id)
    await sync(bob)
    progress = alice.instance.wiring.device_parts.progress

    await progress.write()
    progress._positions.clear()

    assert (await status(alice, room_id, message_id))["status"] == "delivered_to_device"


async def test_lists_say_in_short_how_far_own_messages_have_come(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    await send(bob, room_id, "his")
    message_id = await send(alice, room_id, "hers")
    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})

    page = await alice.get(f"/conversations/{room_id}/messages?system=false")
    (conversation,) = (await alice.get("/conversations"))["items"]

    by_text = {message["text"]: message for message in page["items"]}
    assert by_text["hers"]["status"] == {
        "state": "read",
        "recipients": 1,
        "delivered": 1,
        "read": 1,
    }
    assert "status" not in by_text["his"]
    assert conversation["last_message"]["status"]["state"] == "read"


async def test_a_large_group_is_counted_and_not_listed(alice: ApiUser, monkeypatch: Any) -> None:
    others = [await new_user(alice.instance, name) for name in ("b", "c", "d", "e")]
    room_id = await a_group(alice, *others)
    monkeypatch.setattr(delivery, "MOST_IN_SHORT", 2)
    monkeypatch.setattr(delivery, "MOST_IN_FULL", 3)
    message_id = await send(alice, room_id)
    path = f"/conversations/{room_id}/messages/{message_id}"

    states, counts = [], []
    for reader in (None, *others):
        if reader is not None:
            await reader.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})
        states.append((await alice.get(path))["status"])
        counts.append((await status(alice, room_id, message_id, query="?limit=1"))["counts"])

    assert [state["read"] for state in states] == [0, 1, 2, 3, 4]
    assert [state["state"] for state in states] == ["delivered_to_instance"] * 4 + ["read"]
    assert {state["recipients"] for state in states} == {4}
    assert [count["read"] for count in counts] == [0, 1, 2, 3, 4]
    assert {count["recipients"] for count in counts} == {4}
    assert {count["read"] + count["delivered_to_instance"] for count in counts} == {4}


async def test_a_message_that_a_moderator_looks_at_waits_and_can_be_taken_back(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, policy=rule("hold", keywords=["casino"])) as instance:
        alice, bob = await new_user(instance, "alice"), await new_user(instance, "bob")
        room_id = await a_group(alice, bob)
        message_id = await send(alice, room_id, "casino")
        path = f"/conversations/{room_id}/messages/{message_id}"

        held = await status(alice, room_id, message_id)
        await alice.post(f"{path}/cancel")
        stored = await database.fetchval("SELECT pdu FROM events WHERE event_id = $1", message_id)
        item = await database.fetchrow("SELECT * FROM moderation_queue")

        assert held["status"] == "pending"
        assert held["recipients"][0]["reason"] == {"code": "policy"}
        assert b"casino" not in stored
        assert (item["state"], item["resolved_by"]) == ("dropped", alice.user_id)
