"""How far messages come between two servers: told, tried again, taken back, sent later.

Alice's server is a Comity; she uses the Conversations API, and Bob a stock client.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp

from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339

from .conftest import Pair, meet, strangers
from .person import Person

PATIENCE_SECONDS = 60.0
VERSION = "12"


async def api(
    person: Person, method: str, path: str, body: Any = None, *, status: int = 200
) -> Any:
    """One call of the Conversations API."""
    headers = {"Authorization": f"Bearer {person.client.access_token}"}
    url = f"{person.server.client_url}/api/v1{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, json=body, headers=headers) as response,
    ):
        answer = await response.json(content_type=None)
        assert response.status == status, answer
        return answer


async def say(person: Person, room_id: str, text: str) -> str:
    path = f"/conversations/{room_id}/messages"
    message_id: str = (await api(person, "POST", path, {"text": text}, status=201))["message"]["id"]
    return message_id


async def reaches(person: Person, room_id: str, message_id: str, *statuses: str) -> Any:
    """The only recipient's part of the report, once it has one of the statuses."""
    path = f"/conversations/{room_id}/messages/{message_id}/status"
    report: Any = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                report = await api(person, "GET", path)
                if report["status"] in statuses:
                    (recipient,) = report["recipients"]
                    return recipient
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"never {statuses}: {report}") from None


async def test_a_message_reaches_the_other_server_and_is_read(pair: Pair) -> None:
    """Of devices only another Comity tells; of readers every server does."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)

    message_id = await say(alice, room_id, "hello")
    told = "delivered_to_device" if pair.name == "comity-comity" else "delivered_to_instance"
    recipient = await reaches(alice, room_id, message_id, told)
    await bob.sees_text(room_id, "hello")
    await bob.read(room_id, message_id)
    read = await reaches(alice, room_id, message_id, "read")

    assert recipient["person"] == address(bob.user_id)
    assert "reason" not in recipient
    assert read["at"].endswith("Z")


async def test_what_is_taken_back_while_the_other_server_is_down_never_gets_there(
    pair: Pair,
) -> None:
    """It waits, says why, is cancelled, and what the other server gets has no content."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    first = await say(alice, room_id, "before")
    await reaches(alice, room_id, first, "delivered_to_instance", "delivered_to_device")
    await bob.server.kill_async()

    message_id = await say(alice, room_id, "a slip")
    waiting = await reaches(alice, room_id, message_id, "pending")
    path = f"/conversations/{room_id}/messages/{message_id}"
    cancelled = await api(alice, "POST", f"{path}/cancel")
    await api(alice, "POST", f"{path}/cancel", status=409)
    after = await say(alice, room_id, "after")
    await bob.server.start_async()
    retried = await api(alice, "POST", f"/conversations/{room_id}/messages/{after}/retry")
    await bob.sees_text(room_id, "after", PATIENCE_SECONDS)

    assert waiting["reason"]["code"] == "unreachable"
    assert waiting["reason"]["instance"] == bob.server.server_name
    assert waiting["reason"]["since"].endswith("Z")
    assert cancelled == {"message_id": message_id}
    assert retried["instances"] in ([bob.server.server_name], [])
    event = await bob.event(room_id, message_id)
    assert event["content"] == {}
    assert "a slip" not in bob.texts(room_id)
    await reaches(alice, room_id, after, "delivered_to_instance", "delivered_to_device")
    first_path = f"/conversations/{room_id}/messages/{first}/cancel"
    refused = await api(alice, "POST", first_path, status=409)
    assert refused["code"] == "already_delivered"


async def test_who_is_asked_first_has_nothing_yet(pair: Pair, tmp_path: Path) -> None:
    """The message waits for the consent of the recipient, on another server."""
    async with strangers(pair, tmp_path) as (alice, bob):
        body = {"to": address(bob.user_id), "text": "may I?"}
        sent = await api(alice, "POST", "/messages", body, status=201)
        room_id, message_id = sent["conversation"]["id"], sent["message"]["id"]
        waiting = await reaches(alice, room_id, message_id, "pending")
        await bob.join(room_id)
        accepted = await reaches(
            alice, room_id, message_id, "sent", "delivered_to_instance", "delivered_to_device"
        )
        history = await bob.earlier(room_id)

    assert sent["outcome"] == "requested"
    assert waiting["reason"] == {"code": "consent"}
    assert "reason" not in accepted
    assert "may I?" in [event["content"].get("body") for event in history]


async def test_a_scheduled_message_is_sent_once_by_a_server_that_was_killed(pair: Pair) -> None:
    """Its time comes while the server is down: it is sent when it is back, and once."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    send_at = rfc3339(int(time.time() * 1000) + 1_500)
    body = {"message": {"conversation_id": room_id, "text": "later"}, "send_at": send_at}
    scheduled = await api(alice, "POST", "/scheduled", body, status=201)

    await alice.server.kill_async()
    await asyncio.sleep(2.0)
    await alice.server.start_async()
    await bob.sees_text(room_id, "later", PATIENCE_SECONDS)
    await say(alice, room_id, "the end")
    await bob.sees_text(room_id, "the end", PATIENCE_SECONDS)

    assert bob.texts(room_id, "later") == ["later"]
    found = await api(alice, "GET", f"/scheduled/{scheduled['id']}")
    assert found["state"] == "sent"
