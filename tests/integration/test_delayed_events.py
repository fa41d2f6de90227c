"""Delayed events through the Client-Server API (MSC4140)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"
STABLE = "/_matrix/client/v1"
LONG_MS = 600_000
PATIENCE_SECONDS = 20.0


class Timer:
    """Alice in a room of hers, where she has things sent later."""

    def __init__(self, instance: Instance, token: str, room_id: str) -> None:
        self.instance = instance
        self.token = token
        self.room_id = room_id

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        return await self.instance.call(method, path, body, token=self.token, status=status)

    async def schedule(
        self, text: str, delay_ms: int, *, txn: str | None = None, status: int = 200, **more: Any
    ) -> Any:
        path = f"/_matrix/client/v3/rooms/{self.room_id}/delayed_event/m.room.message/{txn or text}"
        body = {"delay_ms": delay_ms, "content": {"msgtype": "m.text", "body": text}, **more}
        answer = await self.call("PUT", path, body, status=status)
        return answer.get("delay_id", answer)

    async def act(self, delay_id: str, action: str, *, status: int = 200) -> Any:
        return await self.call(
            "POST", f"{STABLE}/delayed_events/{delay_id}/{action}", {}, status=status
        )

    async def look(self, delay_id: str, *, status: int = 200) -> Any:
        return await self.call("GET", f"{STABLE}/delayed_events/{delay_id}", status=status)

    async def ended(self, delay_id: str) -> Any:
        """The delayed event, once it has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = await self.look(delay_id)
                if "finalised" in found:
                    return found
                await asyncio.sleep(0.02)

    async def texts(self) -> list[str]:
        return await self.instance.texts(self.token, self.room_id)


@pytest.fixture
async def timer(database: Database, tmp_path: Path) -> AsyncIterator[Timer]:
    async with running(database, tmp_path) as instance:
        token = await instance.register("alice")
        yield Timer(instance, token, await instance.room(token))


async def test_an_event_is_sent_when_its_delay_is_over(timer: Timer) -> None:
    delay_id = await timer.schedule("later", 100)

    found = await timer.ended(delay_id)

    event = await timer.call(
        "GET", f"/rooms/{timer.room_id}/event/{found['finalised']['event_id']}"
    )
    assert event["content"]["body"] == "later"
    assert event["origin_server_ts"] >= found["delayed_since_ts"] + found["delay_ms"]
    assert found["finalised"]["finalised_ts"] >= event["origin_server_ts"]


async def test_it_is_described_as_it_was_scheduled(timer: Timer) -> None:
    delay_id = await timer.schedule("later", LONG_MS)

    found = await timer.look(delay_id)
    listed = await timer.call("GET", f"{UNSTABLE}/delayed_events")

    assert listed == {"delayed_events": [found]}
    assert found.pop("delayed_since_ts") > 0
    assert found == {
        "delay_id": delay_id,
        "room_id": timer.room_id,
        "type": "m.room.message",
        "delay_ms": LONG_MS,
        "content": {"msgtype": "m.text", "body": "later"},
    }


async def test_others_do_not_find_it(timer: Timer) -> None:
    delay_id = await timer.schedule("later", LONG_MS)
    other = Timer(timer.instance, await timer.instance.register("mallory"), timer.room_id)

    refusals = [await other.look(delay_id, status=404)]
    refusals += [await other.act(delay_id, action, status=404) for action in ("send", "cancel")]

    assert {refusal["errcode"] for refusal in refusals} == {"M_NOT_FOUND"}
    assert await timer.texts() == []


async def test_only_its_sender_is_told_its_delay_id(timer: Timer) -> None:
    token = await timer.instance.register("bob")
    await timer.instance.call("POST", f"/join/{timer.room_id}", {}, token=token)
    bob = Timer(timer.instance, token, timer.room_id)
    since = (await timer.call("GET", "/sync"))["next_batch"]
    delay_id = await timer.schedule("later", 50)
    await timer.ended(delay_id)

    seen = []
    for person in (timer, bob):
        chunk = (await person.call("GET", f"/rooms/{timer.room_id}/messages?dir=b&limit=1"))[
            "chunk"
        ]
        seen.append(chunk[0]["unsigned"].get("org.matrix.msc4140.delay_id"))
    synced = await timer.call("GET", f"/sync?since={since}")

    assert seen == [delay_id, None]
    (event,) = synced["rooms"]["join"][timer.room_id]["timeline"]["events"]
    assert event["unsigned"]["delay_id"] == delay_id
    assert "transaction_id" not in event["unsigned"]


async def test_it_is_cancelled_sent_and_restarted(timer: Timer) -> None:
    cancelled, sent, restarted = [
        await timer.schedule(text, LONG_MS) for text in ("cancelled", "sent", "restarted")
    ]
    since = (await timer.look(restarted))["delayed_since_ts"]

    await timer.act(cancelled, "cancel")
    await timer.act(sent, "send")
    await timer.act(restarted, "restart")

    assert await timer.texts() == ["sent"]
    assert (await timer.look(cancelled))["finalised"].keys() == {"finalised_ts"}
    assert (await timer.look(sent))["finalised"].keys() == {"finalised_ts", "event_id"}
    assert (await timer.look(restarted))["delayed_since_ts"] >= since
    assert [
        e["delay_id"]
        for e in (await timer.call("GET", f"{STABLE}/delayed_events"))["delayed_events"]
    ] == [restarted]


async def test_the_same_action_again_is_no_error_and_another_is_a_conflict(timer: Timer) -> None:
    cancelled, sent = await timer.schedule("a", LONG_MS), await timer.schedule("b", LONG_MS)
    await timer.act(cancelled, "cancel")
    await timer.act(sent, "send")

    await timer.act(cancelled, "cancel")
    await timer.act(sent, "send")
    conflicts = [
        await timer.act(delay_id, action, status=409)
        for delay_id, action in (
            (cancelled, "send"), (cancelled, "restart"), (sent, "cancel"), (sent, "restart"),
        )
    ]  # fmt: skip

    assert {conflict["errcode"] for conflict in conflicts} == {"M_UNKNOWN"}
    assert await timer.texts() == ["b"]


async def test_an_action_that_there_is_not_is_not_found(timer: Timer) -> None:
    delay_id = await timer.schedule("a", LONG_MS)

    await timer.act(delay_id, "explode", status=404)
    await timer.call("POST", f"{UNSTABLE}/delayed_events/{delay_id}", {"action": "x"}, status=400)
    await timer.call("POST", f"{UNSTABLE}/delayed_events/{delay_id}", {"action": "cancel"})


async def test_what_may_not_be_sent_when_its_time_comes_says_why(timer: Timer) -> None:
    delay_id = await timer.schedule("later", 200)
    await timer.call("POST", f"/rooms/{timer.room_id}/leave", {})

    found = await timer.ended(delay_id)

    assert found["finalised"]["error"]["errcode"] == "M_FORBIDDEN"
    assert "event_id" not in found["finalised"]


async def test_a_state_event_is_delayed_by_the_query_too(timer: Timer) -> None:
    path = f"/rooms/{timer.room_id}/state/m.room.topic?org.matrix.msc4140.delay=100"
    delay_id = (await timer.call("PUT", path, {"topic": "later"}))["delay_id"]

    found = await timer.ended(delay_id)

    topic = await timer.call("GET", f"/rooms/{timer.room_id}/state/m.room.topic")
    assert topic["topic"] == "later"
    assert found["state_key"] == ""


async def test_a_message_is_delayed_by_the_query_and_once_per_transaction(timer: Timer) -> None:
    path = f"/rooms/{timer.room_id}/send/m.room.message/t1?org.matrix.msc4140.delay={LONG_MS}"
    body = {"msgtype": "m.text", "body": "later"}

    answers = [await timer.call("PUT", path, body) for _ in range(2)]
    refused = await timer.call("PUT", path.replace(str(LONG_MS), "soon"), body, status=400)

    assert answers[0] == answers[1]
    assert refused["errcode"] == "M_INVALID_PARAM"
    assert len((await timer.call("GET", f"{STABLE}/delayed_events"))["delayed_events"]) == 1


@pytest.mark.parametrize("body", [{}, {"delay_ms": 5}, {"delay_ms": "5", "content": {}},
    {"delay_ms": 0, "content": {}}, {"delay_ms": -1, "content": {}},
    {"delay_ms": 5, "content": []}, {"delay_ms": 5, "content": {}, "state_key": 1}])  # fmt: skip
async def test_what_makes_no_sense_is_refused(timer: Timer, body: Any) -> None:
    path = f"{UNSTABLE}/rooms/{timer.room_id}/delayed_event/m.room.message/t"

    await timer.call("PUT", path, body, status=400)


async def test_the_limits_are_told_and_kept(database: Database, tmp_path: Path) -> None:
    limits = {"max_delay": "1h", "max_per_user": 2}
    async with running(database, tmp_path, scheduling=limits) as instance:
        token = await instance.register("alice")
        timer = Timer(instance, token, await instance.room(token))
        await timer.schedule("a", LONG_MS)
        await timer.schedule("b", LONG_MS)

        too_many = await timer.schedule("c", 1_000, status=429)
        too_long = await timer.schedule("d", 3_600_001, status=403)
        told = (await timer.call("GET", "/capabilities"))["capabilities"]["m.delayed_events"]
        features = (await instance.call("GET", "/_matrix/client/versions"))["unstable_features"]

    assert too_many["errcode"] == "M_LIMIT_EXCEEDED"
    assert 0 < too_many["retry_after_ms"] <= LONG_MS
    assert too_long["errcode"] == "M_FORBIDDEN"
    assert told == {"max_delay_ms": 3_600_000, "max_scheduled": 2}
    assert features["org.matrix.msc4140"] is features["org.matrix.msc4140.stable"] is True


async def test_what_fell_due_while_the_server_was_down_is_sent_at_the_start(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as instance:
        token = await instance.register("alice")
        room_id = await instance.room(token)
        delay_id = await Timer(instance, token, room_id).schedule("later", 300)
    await asyncio.sleep(0.3)

    async with running(database, tmp_path) as instance:
        timer = Timer(instance, token, room_id)
        await timer.ended(delay_id)

        assert await timer.texts() == ["later"]
