"""Rooms through the admin API: lists, blocks, purges, deletion."""

from __future__ import annotations

from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.admin_world import Admin
from tests.integration.single import Instance, running

BOB = "@bob:one.test"
CAROL = "@carol:one.test"


async def finished(one: Instance, admin: Admin, job: dict[str, object]) -> dict[str, object]:
    """A job once all that was due is done."""
    await one.wiring.ends.work_off()
    return await admin.call("GET", f"/jobs/{job['job_id']}")


async def test_rooms_are_listed_by_size_and_looked_at(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        bob, carol = await one.register("bob"), await one.register("carol")
        small = await one.room(bob, name="Attic")
        large = await one.room(bob, name="beach")
        await one.call("POST", f"/rooms/{large}/join", {}, token=carol)
        for number in range(9):
            await one.say(bob, small, str(number))

        by_name = await admin.call("GET", "/rooms?limit=1")
        rest = await admin.call("GET", f"/rooms?cursor={by_name['next']}")
        by_members = await admin.call("GET", "/rooms?order=members&limit=1")
        fewer = await admin.call("GET", f"/rooms?order=members&cursor={by_members['next']}")
        by_events = await admin.call("GET", "/rooms?order=events")
        found = await admin.call("GET", "/rooms?search=BEA&local=true")
        details = await admin.call("GET", f"/rooms/{large}")
        state = await admin.call("GET", f"/rooms/{large}/state?limit=2")
        more = await admin.call("GET", f"/rooms/{large}/state?cursor={state['next']}")
        members = await admin.call("GET", f"/rooms/{large}/members?membership=join&limit=1")
        others = await admin.call("GET", f"/rooms/{large}/members?cursor={members['next']}")

        assert [r["name"] for r in by_name["items"] + rest["items"]] == ["Attic", "beach"]
        assert [r["room_id"] for r in by_members["items"] + fewer["items"]] == [large, small]
        assert [r["room_id"] for r in by_events["items"]] == [small, large]
        assert [r["room_id"] for r in found["items"]] == [large]
        assert by_name["complete"] is True
        assert (details["name"], details["members"], details["creator"]) == ("beach", 2, BOB)
        assert len(details["forward_extremities"]) == 1
        assert details["state_events"] == len(state["items"] + more["items"])
        assert [m["user_id"] for m in members["items"] + others["items"]] == [BOB, CAROL]
        await admin.call("GET", "/rooms/!nothing:one.test", status=404)
        await admin.call("GET", "/rooms/nothing", status=400)


async def test_nobody_comes_to_a_blocked_room(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        bob, carol = await one.register("bob"), await one.register("carol")
        room = await one.room(bob)
        await admin.call("PUT", f"/blocked_rooms/{room}", {"reason": "spam"})
        member = f"/rooms/{room}/state/m.room.member/{CAROL}"

        await one.call("POST", f"/rooms/{room}/join", {}, token=carol, status=403)
        await one.call("PUT", member, {"membership": "join"}, token=carol, status=403)
        await one.call("POST", f"/rooms/{room}/invite", {"user_id": CAROL}, token=bob, status=403)
        await one.say(bob, room, "still here")
        await admin.call("PUT", "/blocked_rooms/!far:two.test", {})
        refused = await one.call(
            "POST", "/join/!far:two.test?via=two.test", {}, token=carol, status=403
        )

        assert "blocked" in refused["error"]
        listed = await admin.call("GET", "/blocked_rooms")
        assert {r["room_id"] for r in listed["rooms"]} == {room, "!far:two.test"}
        assert (await admin.call("GET", f"/rooms/{room}"))["blocked"]["reason"] == "spam"
        await admin.call("DELETE", f"/blocked_rooms/{room}")
        await admin.call("DELETE", f"/blocked_rooms/{room}", status=404)
        await one.call("POST", f"/rooms/{room}/join", {}, token=carol)


async def test_a_block_outlives_a_restart(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")
        room = await one.room(bob)
        await Admin(one).call("PUT", f"/blocked_rooms/{room}", {})

    async with running(database, tmp_path) as one:
        carol = await one.register("carol")
        await one.call("POST", f"/rooms/{room}/join", {}, token=carol, status=403)


async def test_a_purge_takes_messages_from_everywhere_and_leaves_a_room_that_works(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        bob, carol = await one.register("bob"), await one.register("carol")
        room = await one.room(bob)
        await one.call("POST", f"/rooms/{room}/join", {}, token=carol)
        old = (await one.say(bob, room, "zebra one"))["event_id"]
        relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": old}}
        await one.say(bob, room, "zebra two", **relation)
        kept = (await one.say(bob, room, "zebra three"))["event_id"]
        await one.say(bob, room, "zebra four")

        follower = one.wiring.conversations.finding.indexer.follower
        await follower.caught_up()
        job = await admin.call("POST", f"/rooms/{room}/purge", {"before_event": kept})
        done = await finished(one, admin, job)

        assert (done["state"], done["done"]) == ("done", 2)
        assert await one.texts(bob, room) == ["zebra three", "zebra four"]
        await one.call("GET", f"/rooms/{room}/event/{old}", token=bob, status=404)
        await follower.caught_up()
        criteria = {"room_events": {"search_term": "zebra"}}
        hits = await one.call("POST", "/search", {"search_categories": criteria}, token=bob)
        assert hits["search_categories"]["room_events"]["count"] == 2
        threads = await one.call("GET", f"/_matrix/client/v1/rooms/{room}/threads", token=bob)
        assert threads["chunk"] == []
        sync = await one.call("GET", "/sync", token=carol)
        unread = sync["rooms"]["join"][room]["unread_notifications"]
        assert unread["notification_count"] == 2
        await one.say(carol, room, "zebra five")
        before = await one.call("GET", f"/rooms/{room}/state", token=bob)
        assert {e["type"] for e in before} >= {"m.room.create", "m.room.power_levels"}
        await admin.call("POST", f"/rooms/{room}/purge", {}, status=400)
        unknown = {"before_event": "$nothing"}
        await admin.call("POST", f"/rooms/{room}/purge", unknown, status=404)
        await admin.call("POST", f"/jobs/{job['job_id']}/cancel", {}, status=409)


async def test_a_purge_by_time_goes_on_after_a_restart(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")
        room = await one.room(bob)
        for number in range(3):
            await one.say(bob, room, str(number))
        newest = (await one.say(bob, room, "newest"))["event_id"]
        stored = await one.wiring.store.get(newest)
        assert stored is not None
        await one.wiring.ends.close()
        before = {"before": stored.event.origin_server_ts + 1}
        job = await Admin(one).call("POST", f"/rooms/{room}/purge", before)
        await Admin(one).call("POST", f"/rooms/{room}/purge", before, status=409)

    async with running(database, tmp_path) as one:
        done = await finished(one, Admin(one), job)

        assert done["state"] == "done"
        assert await one.texts(bob, room) == ["newest"]
        assert [j["job_id"] for j in (await Admin(one).call("GET", "/jobs?state=done"))["items"]]


async def test_a_job_that_is_cancelled_does_nothing_more(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        bob = await one.register("bob")
        room = await one.room(bob)
        await one.say(bob, room, "stays")
        await one.wiring.ends.close()

        job = await admin.call("POST", f"/rooms/{room}/delete", {})
        await admin.call("POST", f"/jobs/{job['job_id']}/cancel")
        done = await finished(one, admin, job)

        assert done["state"] == "cancelled"
        assert await one.texts(bob, room) == ["stays"]


async def test_a_deleted_room_has_nobody_of_ours_and_no_messages(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        bob, carol = await one.register("bob"), await one.register("carol")
        room = await one.room(bob, room_alias_name="cellar", visibility="public")
        await one.call("POST", f"/rooms/{room}/invite", {"user_id": CAROL}, token=bob)
        event = (await one.say(bob, room, "secret"))["event_id"]
        since = (await one.call("GET", "/sync", token=bob))["next_batch"]
        await one.call(
            "PUT",
            f"/_matrix/client/v1/admin/suspend/{BOB}",
            {"suspended": True},
            token=one.wiring.admin_tokens.make(),
        )

        body = {"reason": "It broke the law", "block": True}
        job = await admin.call("POST", f"/rooms/{room}/delete", body)
        done = await finished(one, admin, job)

        assert done["state"] == "done"
        sync = await one.call("GET", f"/sync?since={since}", token=bob)
        (last,) = sync["rooms"]["leave"][room]["timeline"]["events"][-1:]
        assert last["content"] == {"membership": "leave", "reason": "It broke the law"}
        details = await admin.call("GET", f"/rooms/{room}")
        assert (details["members"], details["aliases"], details["published"]) == (0, [], False)
        await one.call("GET", f"/rooms/{room}/event/{event}", token=bob, status=404)
        assert "rooms" not in await one.call("GET", "/sync", token=carol)
        await one.call("POST", f"/rooms/{room}/join", {}, token=carol, status=403)
        stored = await one.wiring.store.get(event)
        assert stored is not None
        assert stored.event.content == {}
