"""``POST /search``.  Spec: client-server API, server-side search."""

from __future__ import annotations

from typing import Any

from tests.conversations.conftest import ApiUser, alice, bob, instance
from tests.conversations.matrix import make_room, say

__all__ = ["alice", "bob", "instance"]


async def search(
    person: ApiUser, term: str, *, next_batch: str = "", status: int = 200, **more: Any
) -> Any:
    """The category of room events, once all that was sent is indexed."""
    await person.instance.wiring.conversations.finding.indexer.follower.caught_up()
    path = f"/search?next_batch={next_batch}" if next_batch else "/search"
    body = {"search_categories": {"room_events": {"search_term": term, **more}}}
    answer = await person.matrix("POST", path, body, status=status)
    return answer["search_categories"]["room_events"] if status == 200 else answer


def bodies(found: Any) -> list[str]:
    return [result["result"]["content"]["body"] for result in found["results"]]


async def test_messages_names_and_topics_are_found_by_their_keys(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await make_room(alice, bob, name="Martians", topic="men and martians")
    event_id = await say(alice, room_id, "Martians are coming")

    everything = await search(bob, "martians")
    said = await search(bob, "martians", keys=["content.body"])
    names = await search(bob, "martians", keys=["content.name"])
    topics = await search(bob, "martians", keys=["content.topic"])

    assert everything["count"] == 3
    assert [r["result"]["event_id"] for r in said["results"]] == [event_id]
    assert said["highlights"] == ["Martians"]
    assert said["results"][0]["result"]["room_id"] == room_id
    assert [r["result"]["type"] for r in names["results"]] == ["m.room.name"]
    assert [r["result"]["type"] for r in topics["results"]] == ["m.room.topic"]


async def test_filters_groups_and_pages(alice: ApiUser, bob: ApiUser) -> None:
    first, second = await make_room(alice, bob), await make_room(alice, bob)
    for number in range(3):
        await say(alice, first, f"word {number}")
    await say(bob, second, "word elsewhere")

    grouping = {"groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]}}
    in_one = await search(bob, "word", filter={"rooms": [second]}, **grouping)
    not_bob = await search(bob, "word", filter={"not_senders": [bob.user_id]}, order_by="recent")
    page: dict[str, Any] = {"filter": {"limit": 3}, "order_by": "recent"}
    newest = await search(alice, "word", **page)
    older = await search(alice, "word", next_batch=newest["next_batch"], **page)
    by_rank = await search(alice, "word", filter={"limit": 3})
    rest = await search(alice, "word", next_batch=by_rank["next_batch"], filter={"limit": 3})

    assert bodies(in_one) == ["word elsewhere"]
    assert list(in_one["groups"]["room_id"]) == [second]
    assert in_one["groups"]["sender"][bob.user_id]["results"] == [
        in_one["results"][0]["result"]["event_id"]
    ]
    assert bodies(not_bob) == ["word 2", "word 1", "word 0"]
    assert bodies(newest) + bodies(older) == ["word elsewhere", "word 2", "word 1", "word 0"]
    assert "next_batch" not in older
    assert older["count"] == 4
    assert sorted(bodies(by_rank) + bodies(rest)) == sorted(bodies(newest) + bodies(older))


async def test_encrypted_rooms_are_left_out(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob, name="Quincunx")
    await say(alice, room_id, "quincunx, said in clear")
    open_id = await make_room(alice, bob)
    await say(alice, open_id, "quincunx elsewhere")
    path = f"/rooms/{room_id}/state/m.room.encryption"
    await alice.matrix("PUT", path, {"algorithm": "m.megolm.v1.aes-sha2"})

    found = await search(bob, "quincunx")
    there = await search(bob, "quincunx", filter={"rooms": [room_id]})

    assert bodies(found) == ["quincunx elsewhere"]
    assert there["results"] == []


async def test_the_count_is_of_all_pages(alice: ApiUser) -> None:
    room_id = await make_room(alice)
    for number in range(7):
        await say(alice, room_id, f"quincunx {number}")

    for order in ("rank", "recent"):
        first = await search(alice, "quincunx", filter={"limit": 2}, order_by=order)
        assert (len(first["results"]), first["count"]) == (2, 7)


async def test_results_come_with_what_surrounds_them(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob)
    for text in ("one", "two", "needle", "four", "five"):
        await say(alice, room_id, text)

    context = {"before_limit": 1, "after_limit": 2, "include_profile": True}
    found = await search(bob, "needle", event_context=context, include_state=True)

    around = found["results"][0]["context"]
    assert [event["content"]["body"] for event in around["events_before"]] == ["two"]
    assert [event["content"]["body"] for event in around["events_after"]] == ["four", "five"]
    assert around["profile_info"] == {alice.user_id: {"displayname": "alice"}}
    assert {"start", "end"} <= around.keys()
    types = {event["type"] for event in found["state"][room_id]}
    assert "m.room.create" in types


async def test_what_is_no_search_is_refused(alice: ApiUser) -> None:
    nothing = await search(alice, "")
    refused = [
        await search(alice, "x", status=400, order_by="age"),
        await search(alice, "x", status=400, keys=["content.url"]),
        await search(alice, "x", status=400, next_batch="bad"),
        await search(alice, "x", status=400, groupings={"group_by": [{"key": "age"}]}),
        await search(alice, "x", status=400, filter={"rooms": 1}),
        await alice.matrix("POST", "/search", {}, status=400),
    ]

    assert nothing == {"count": 0, "highlights": [], "results": []}
    assert {answer["errcode"] for answer in refused} <= {
        "M_INVALID_PARAM",
        "M_BAD_JSON",
        "M_MISSING_PARAM",
    }
