"""The list of notifications.  Spec: client-server API, ``GET /notifications``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.integration.push_world import two_in_a_room
from tests.integration.single import Instance, running


def said(answer: dict[str, Any]) -> list[str]:
    """What the notifications' messages say."""
    return [each["event"]["content"]["body"] for each in answer["notifications"]]


async def listed(one: Instance, token: str, query: str = "") -> dict[str, Any]:
    """A page of the list."""
    return await one.call("GET", f"/notifications{query}", token=token)


async def test_the_newest_come_first_and_say_whether_they_were_read(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        other = await one.room(alice)
        await one.call("POST", f"/rooms/{other}/join", {}, token=bob)
        first = await one.say(alice, room_id, "one")
        mention = {"m.mentions": {"user_ids": ["@bob:one.test"]}}
        await one.say(alice, other, "two", **mention)
        await one.say(alice, room_id, "three")
        await one.say(bob, other, "what one says oneself is not listed, and reads the rest")
        path = f"/rooms/{room_id}/receipt/m.read.private/{first['event_id']}"
        await one.call("POST", path, {}, token=bob)

        answer = await listed(one, bob)

        assert said(answer) == ["three", "two", "one"]
        assert [each["read"] for each in answer["notifications"]] == [False, True, True]
        assert [each["room_id"] for each in answer["notifications"]] == [room_id, other, room_id]
        sound = {"set_tweak": "sound", "value": "default"}
        highlight = {"set_tweak": "highlight"}
        actions = [each["actions"] for each in answer["notifications"]]
        assert actions == [["notify", sound], ["notify", sound, highlight], ["notify", sound]]
        event = answer["notifications"][2]["event"]
        assert (event["event_id"], event["sender"]) == (first["event_id"], "@alice:one.test")
        assert answer["notifications"][2]["ts"] == event["origin_server_ts"]
        assert "next_token" not in answer


async def test_pages_follow_each_other_without_gaps(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        for number in range(5):
            await one.say(alice, room_id, str(number))

        pages, query = [], "?limit=2"
        while True:
            answer = await listed(one, bob, query)
            pages.append(said(answer))
            if "next_token" not in answer:
                break
            query = f"?limit=2&from={answer['next_token']}"

        assert pages == [["4", "3"], ["2", "1"], ["0"]]


async def test_only_highlights_can_be_asked_for(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        await one.say(alice, room_id, "plain")
        await one.say(alice, room_id, "@room", **{"m.mentions": {"room": True}})

        answer = await listed(one, bob, "?only=highlight")

        assert said(answer) == ["@room"]


async def test_pages_of_highlights_follow_each_other_without_gaps(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        for number in range(21):
            mentions = {"user_ids": ["@bob:one.test"]} if number % 3 == 0 else {}
            await one.say(alice, room_id, str(number), **{"m.mentions": mentions})
        first = await listed(one, bob, "?only=highlight&limit=3")
        second = await listed(one, bob, f"?only=highlight&limit=3&from={first['next_token']}")
        third = await listed(one, bob, f"?only=highlight&limit=3&from={second['next_token']}")

        assert said(first) == ["18", "15", "12"]
        assert said(second) == ["9", "6", "3"]
        assert said(third) == ["0"]
        assert "next_token" not in third


async def test_what_a_user_may_not_see_is_not_listed(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        await one.say(alice, room_id, "before bob came")
        bob, carol = await one.register("bob"), await one.register("carol")
        for token in (bob, carol):
            await one.call("POST", f"/rooms/{room_id}/join", {}, token=token)
        await one.say(carol, room_id, "from somebody who is ignored")
        redacted = (await one.say(alice, room_id, "redacted"))["event_id"]
        await one.say(alice, room_id, "the end")
        await one.call("PUT", f"/rooms/{room_id}/redact/{redacted}/1", {}, token=alice)
        ignored = {"ignored_users": {"@carol:one.test": {}}}
        path = "/user/@bob:one.test/account_data/m.ignored_user_list"
        await one.call("PUT", path, ignored, token=bob)

        answer = await listed(one, bob)
        await one.call("POST", f"/rooms/{room_id}/leave", {}, token=bob)
        after = await listed(one, bob)

        assert [each["event"]["content"].get("body") for each in answer["notifications"]] == [
            "the end",
            None,
        ]
        assert after == {"notifications": []}


async def test_a_token_of_somewhere_else_is_refused(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")

        for query in ("?from=s12_3", "?from=-1", "?limit=0", "?limit=x"):
            refused = await one.call("GET", f"/notifications{query}", token=alice, status=400)
            assert refused["errcode"] == "M_INVALID_PARAM"
