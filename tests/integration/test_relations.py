"""Relations through a whole instance: what is refused, and what is bundled where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

V1 = "/_matrix/client/v1"


async def relate(
    one: Instance,
    token: str,
    room_id: str,
    target: str,
    rel_type: str,
    *,
    kind: str = "m.room.message",
    txn: str = "",
    status: int = 200,
    **more: Any,
) -> Any:
    """Send an event that relates to another; its ID."""
    relation = {"rel_type": rel_type, "event_id": target, **more}
    body = {"msgtype": "m.text", "body": rel_type, "m.relates_to": relation}
    if rel_type == "m.replace":
        body["m.new_content"] = {"msgtype": "m.text", "body": "new"}
    relate.count += 1  # type: ignore[attr-defined]
    path = f"/rooms/{room_id}/send/{kind}/{txn or relate.count}"  # type: ignore[attr-defined]
    answer = await one.call("PUT", path, body, token=token, status=status)
    return answer.get("event_id", answer)


relate.count = 0  # type: ignore[attr-defined]


async def two_in_a_room(one: Instance) -> tuple[str, str, str]:
    """Ada, Bob, and her room, in which both are."""
    ada, bob = await one.register("ada"), await one.register("bob")
    room_id = await one.room(ada)
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
    return ada, bob, room_id


async def test_an_event_is_annotated_once_with_the_same_key(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob, room_id = await two_in_a_room(one)
        target = (await one.say(ada, room_id, "hello"))["event_id"]
        how: dict[str, Any] = {"kind": "m.reaction", "key": "👍"}

        first = await relate(one, ada, room_id, target, "m.annotation", txn="t", **how)
        again = await relate(one, ada, room_id, target, "m.annotation", txn="t", **how)
        refused = await relate(one, ada, room_id, target, "m.annotation", status=400, **how)
        await relate(one, bob, room_id, target, "m.annotation", **how)
        await relate(one, ada, room_id, target, "m.annotation", kind="m.reaction", key="👎")
        await relate(one, ada, room_id, target, "m.annotation", kind="org.example.x", key="👍")
        await one.call("PUT", f"/rooms/{room_id}/redact/{first}/r", {}, token=ada)
        await relate(one, ada, room_id, target, "m.annotation", **how)

        assert again == first
        assert refused["errcode"] == "M_DUPLICATE_ANNOTATION"


async def test_no_thread_starts_from_an_event_that_relates_to_another(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada = await one.register("ada")
        room_id = await one.room(ada)
        root = (await one.say(ada, room_id, "root"))["event_id"]
        reply = await relate(one, ada, room_id, root, "m.thread")
        reference = {"m.relates_to": {"m.in_reply_to": {"event_id": root}}}
        rich_reply = (await one.say(ada, room_id, "reply", **reference))["event_id"]

        refused = await relate(one, ada, room_id, reply, "m.thread", status=400)

        assert refused["errcode"] == "M_UNKNOWN"
        await relate(one, ada, room_id, rich_reply, "m.thread")


async def test_what_another_rooms_events_say_of_an_event_does_not_count(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, eve = await one.register("ada"), await one.register("eve")
        room_id, elsewhere = await one.room(ada), await one.room(eve)
        root = (await one.say(ada, room_id, "root"))["event_id"]
        for rel_type in ("m.thread", "m.reference", "m.replace"):
            await relate(one, eve, elsewhere, root, rel_type)
        path = f"/rooms/{room_id}/event/{root}"

        alone = await one.call("GET", path, token=ada)
        reply = await relate(one, ada, room_id, root, "m.thread")
        await relate(one, eve, elsewhere, root, "m.thread")
        event = await one.call("GET", path, token=ada)

        assert "m.relations" not in alone.get("unsigned", {})
        thread = event["unsigned"]["m.relations"]["m.thread"]
        assert (thread["count"], thread["latest_event"]["event_id"]) == (1, reply)
        threads = await one.call("GET", f"{V1}/rooms/{room_id}/threads", token=ada)
        assert [e["event_id"] for e in threads["chunk"]] == [root]


async def test_aggregations_are_bundled_wherever_the_spec_says(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada = await one.register("ada")
        room_id = await one.room(ada)
        root = (await one.say(ada, room_id, "a very rare word: quincunx"))["event_id"]
        reply = await relate(one, ada, room_id, root, "m.thread")
        edit = await relate(one, ada, room_id, reply, "m.replace")
        await relate(one, ada, room_id, root, "m.reference")
        rooms = f"{V1}/rooms/{room_id}"

        def bundled(events: list[dict[str, Any]]) -> None:
            (found,) = [e for e in events if e["event_id"] == root]
            relations = found["unsigned"]["m.relations"]
            thread = relations["m.thread"]
            assert (thread["count"], thread["current_user_participated"]) == (1, True)
            latest = thread["latest_event"]
            assert latest["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit
            assert len(relations["m.reference"]["chunk"]) == 1

        async def get(path: str) -> Any:
            return await one.call("GET", path, token=ada)

        bundled((await get(f"/rooms/{room_id}/messages?dir=b&limit=20"))["chunk"])
        bundled([(await get(f"/rooms/{room_id}/context/{root}"))["event"]])
        bundled((await get(f"/rooms/{room_id}/context/{edit}"))["events_before"])
        bundled([await get(f"/rooms/{room_id}/event/{root}")])
        bundled((await get(f"{rooms}/threads"))["chunk"])
        bundled((await get(f"{rooms}/threads?include=participated"))["chunk"])
        sync = await get('/sync?filter={"room":{"timeline":{"limit":5}}}')
        bundled(sync["rooms"]["join"][room_id]["timeline"]["events"])
        children = await get(f"{rooms}/relations/{root}")
        (first,) = [e for e in children["chunk"] if e["event_id"] == reply]
        assert first["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit
        for query, depth in (("", None), ("?recurse=false", 1), ("?recurse=true", 3)):
            found = await get(f"{rooms}/relations/{root}{query}")
            assert (edit in {e["event_id"] for e in found["chunk"]}) is (depth == 3)
            assert found.get("recursion_depth") == depth
        forwards = await get(f"{rooms}/relations/{root}?dir=f&limit=1")
        assert [e["event_id"] for e in forwards["chunk"]] == [reply]
        rest = await get(f"{rooms}/relations/{root}?dir=f&limit=1&from={forwards['next_batch']}")
        assert len(rest["chunk"]) == 1
        assert "next_batch" not in rest


async def test_the_root_of_a_thread_by_somebody_ignored_is_listed_without_what_it_says(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob, room_id = await two_in_a_room(one)
        root = (await one.say(ada, room_id, "unwanted"))["event_id"]
        await relate(one, ada, room_id, root, "m.thread")
        reply = await relate(one, bob, room_id, root, "m.thread")
        await relate(one, ada, room_id, root, "m.thread")
        silent = (await one.say(ada, room_id, "a thread of her own"))["event_id"]
        await relate(one, ada, room_id, silent, "m.thread")
        ignored = {"ignored_users": {"@ada:one.test": {}}}
        path = "/user/@bob:one.test/account_data/m.ignored_user_list"
        await one.call("PUT", path, ignored, token=bob)

        threads = await one.call("GET", f"{V1}/rooms/{room_id}/threads", token=bob)

        (found,) = threads["chunk"]
        assert (found["event_id"], found["content"]) == (root, {})
        thread = found["unsigned"]["m.relations"]["m.thread"]
        assert (thread["count"], thread["latest_event"]["event_id"]) == (1, reply)


async def test_who_took_back_their_reply_has_no_part_in_the_thread(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob, room_id = await two_in_a_room(one)
        root = (await one.say(ada, room_id, "root"))["event_id"]
        reply = await relate(one, bob, room_id, root, "m.thread")
        await relate(one, ada, room_id, root, "m.thread")
        path = f"{V1}/rooms/{room_id}/threads?include=participated"
        before = await one.call("GET", path, token=bob)

        await one.call("PUT", f"/rooms/{room_id}/redact/{reply}/r", {}, token=bob)
        after = await one.call("GET", path, token=bob)

        assert [len(answer["chunk"]) for answer in (before, after)] == [1, 0]
