"""Search: messages by what they say, over HTTP, whoever sent them and however."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from homeserver.protocol.search_words import Term
from homeserver.storage import message_index as storage
from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser, new_user
from tests.conversations.matrix import make_room, say
from tests.integration.moderation_world import QUEUE
from tests.integration.single import running
from tests.integration.test_policy_and_consent import rule


async def search(reader: ApiUser, status: int = 200, /, **query: Any) -> Any:
    """What somebody finds, once all that was sent is indexed."""
    await reader.instance.wiring.conversations.finding.indexer.follower.caught_up()
    return await reader.get(f"/search/messages?{urlencode(query)}", status=status)


async def found(reader: ApiUser, /, **query: Any) -> list[str]:
    """The texts that somebody finds."""
    page = await search(reader, **query)
    return [item["message"].get("text") for item in page["items"]]


async def test_words_are_found_whatever_their_case_accents_and_language(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await make_room(alice, bob, name="Friends")
    texts = ["Ein schöner GRÜNER Apfel", "今日は東京に行きます", "здравствуй мир", "नमस्ते हिन्दी"]
    for text in texts:
        await say(alice, room_id, text)

    assert await found(bob, query="gruner SCHONER") == [texts[0]]
    assert await found(bob, query="東京") == [texts[1]]
    assert await found(bob, query="京に行") == [texts[1]]
    assert await found(bob, query="МИР") == [texts[2]]
    assert await found(bob, query="हिन्दी") == [texts[3]]
    assert await found(bob, query="apfel birne") == []
    assert await found(bob, query="?!") == []


async def test_the_last_word_may_be_unfinished(alice: ApiUser) -> None:
    room_id = await make_room(alice)
    await say(alice, room_id, "The quick brown fox")

    assert await found(alice, query="brown qui") == ["The quick brown fox"]
    assert await found(alice, query="qui brown") == []
    assert await found(alice, query="qui ") == []


async def test_a_hit_names_its_conversation_and_its_places(alice: ApiUser, bob: ApiUser) -> None:
    sent = await alice.post(
        "/messages", {"to": bob.address, "text": "💡 an idea, Ideas"}, status=201
    )

    page = await search(alice, query="idea")

    assert page == {
        "items": [
            {
                "message": page["items"][0]["message"],
                "conversation": {"id": sent["conversation"]["id"], "name": "bob"},
                "highlights": [{"offset": 5, "length": 4}, {"offset": 11, "length": 5}],
            }
        ],
        "next": None,
    }
    assert page["items"][0]["message"]["id"] == sent["message"]["id"]


async def test_person_kind_date_and_conversation_narrow_it(alice: ApiUser, bob: ApiUser) -> None:
    first = await make_room(alice, bob)
    second = await make_room(alice, bob)
    await say(alice, first, "report one")
    await say(bob, first, "report two")
    await say(bob, second, "report three")
    await say(bob, second, "report.pdf", msgtype="m.file", url="mxc://x/y")
    page = await search(alice, query="report")
    times = {i["message"].get("text"): i["message"]["sent_at"] for i in page["items"]}

    assert await found(alice, query="report", person=bob.address, kind="text") == [
        "report three",
        "report two",
    ]
    assert await found(alice, query="report", conversation_id=first) == ["report two", "report one"]
    assert await found(alice, kind="file") == [None]
    assert await found(alice, person=alice.user_id) == ["report one"]
    assert await found(alice, query="report", until=times["report one"]) == ["report one"]
    assert "report one" not in await found(alice, query="report", since=times["report three"])


async def test_pages_follow_each_other_without_gaps(alice: ApiUser) -> None:
    room_id = await make_room(alice)
    for number in range(7):
        await say(alice, room_id, f"page {number}")

    for order in ("newest", "rank"):
        texts, cursor = [], {}
        while True:
            page = await search(alice, query="page", limit=3, order=order, **cursor)
            texts += [item["message"]["text"] for item in page["items"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert texts == [f"page {number}" for number in range(6, -1, -1)], order


async def test_what_fits_best_comes_first_by_rank(alice: ApiUser) -> None:
    room_id = await make_room(alice)
    await say(alice, room_id, "tea tea tea tea")
    await say(alice, room_id, "tea, and much else that has to do with nothing at all")

    assert (await found(alice, query="tea", order="rank"))[0] == "tea tea tea tea"
    assert (await found(alice, query="tea"))[0].startswith("tea, and")


async def test_an_edit_is_found_in_place_of_what_was_said(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob)
    event_id = await say(alice, room_id, "the wrong word")
    path = f"/conversations/{room_id}/messages/{event_id}"
    assert await found(bob, query="wrong") == ["the wrong word"]

    await alice.call("PATCH", path, {"text": "the right word"})

    assert await found(bob, query="wrong") == []
    assert await found(bob, query="right") == ["the right word"]
    edits = (await bob.get(f"{path}/edits"))["items"]
    await alice.matrix("PUT", f"/rooms/{room_id}/redact/{edits[1]['id']}/1", {})
    assert await found(bob, query="right") == []
    assert await found(bob, query="wrong") == ["the wrong word"]


async def test_what_is_deleted_leaves_the_index_in_the_same_moment(
    database: Database, alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await make_room(alice, bob)
    event_id = await say(alice, room_id, "a secret")
    assert await found(bob, query="secret") == ["a secret"]

    await alice.matrix("PUT", f"/rooms/{room_id}/redact/{event_id}/1", {})

    rows = await database.fetchval(
        "SELECT count(*) FROM message_index WHERE event_id = $1", event_id
    )
    assert rows == 0
    assert await found(bob, query="secret") == []


async def test_what_is_deleted_for_one_reader_is_found_by_the_other(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await make_room(alice, bob)
    event_id = await say(alice, room_id, "for some")

    await bob.call("DELETE", f"/conversations/{room_id}/messages/{event_id}?for=me")

    assert await found(bob, query="some") == []
    assert await found(alice, query="some") == ["for some"]


async def test_nobody_finds_what_they_may_not_read(
    instance: Any, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    state = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    room_id = await make_room(alice, bob, initial_state=state)
    await say(alice, room_id, "needle before")
    await alice.matrix("POST", f"/rooms/{room_id}/invite", {"user_id": carol.user_id})
    await carol.matrix("POST", f"/rooms/{room_id}/join", {})
    await say(alice, room_id, "needle between")
    await carol.matrix("POST", f"/rooms/{room_id}/leave", {})
    await say(alice, room_id, "needle after")
    elsewhere = await make_room(alice)
    await say(alice, elsewhere, "needle elsewhere")

    assert await found(carol, query="needle") == ["needle between"]
    assert await found(bob, query="needle") == ["needle after", "needle between", "needle before"]
    problem = await search(bob, 404, query="needle", conversation_id=elsewhere)
    assert problem["code"] == "not_found"


async def test_whom_a_reader_ignores_is_not_found(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob)
    await say(bob, room_id, "noise")
    assert await found(alice, query="noise") == ["noise"]

    path = f"/user/{alice.user_id}/account_data/m.ignored_user_list"
    await alice.matrix("PUT", path, {"ignored_users": {bob.user_id: {}}})

    assert await found(alice, query="noise") == []


async def test_nothing_encrypted_or_to_be_viewed_once_is_indexed(
    database: Database, alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await make_room(alice, bob)
    await alice.post(
        f"/conversations/{room_id}/messages",
        {"text": "glance", "view_once": True},
        status=201,
    )
    await alice.matrix(
        "PUT",
        f"/rooms/{room_id}/send/m.room.encrypted/1",
        {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "glance", "body": "glance"},
    )

    assert await found(bob, query="glance") == []
    assert await database.fetchval("SELECT count(*) FROM message_index") == 0


async def test_what_has_expired_is_gone_from_the_index(
    database: Database, alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await make_room(alice, bob)
    body = {"text": "short lived", "expires": {"after_ms": 60_000}}
    await alice.post(f"/conversations/{room_id}/messages", body, status=201)
    assert await found(bob, query="lived") == ["short lived"]

    await database.execute("UPDATE message_ends SET due_at = 1")
    await alice.instance.wiring.ends.work_off()

    assert await database.fetchval("SELECT count(*) FROM message_index") == 0
    assert await found(bob, query="lived") == []


async def test_each_search_is_planned_for_its_rooms(database: Database, alice: ApiUser) -> None:
    """A plan made once for all searches reads the whole index."""
    spans = [storage.Span(await make_room(alice), -1, 1)]
    wanted = storage.Wanted(terms=[Term("x")])
    async with database.pool.acquire() as connection:
        for _ in range(8):
            async with connection.transaction():
                await storage.newest(connection, spans, wanted, (1, ""), 10)
                await storage.best(connection, spans, wanted, offset=0, limit=10)
        rows = await connection.fetch(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements "
            "WHERE statement LIKE '%JOIN LATERAL%FROM message_index i%' "
            "AND statement NOT LIKE '%pg_prepared%'"
        )

    assert sorted(tuple(row) for row in rows) == [(0, 8), (0, 8)]


async def test_what_is_held_is_found_once_it_is_released(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, policy=rule("hold", keywords=["casino"])) as instance:
        alice, bob = await new_user(instance, "alice"), await new_user(instance, "bob")
        await instance.wiring.accounts.set_admin(alice.user_id, True)
        room_id = await make_room(alice, bob)
        await say(bob, room_id, "casino night")
        before = await found(alice, query="casino")
        headers = {"Authorization": f"Bearer {alice.token}"}
        async with instance.client.get(QUEUE, headers=headers) as response:
            (item,) = (await response.json())["items"]

        url = f"{QUEUE}/{item['item_id']}/release"
        async with instance.client.post(url, json={}, headers=headers) as response:
            assert response.status == 200

        assert before == []
        assert await found(alice, query="casino") == ["casino night"]


async def test_a_crash_loses_nothing(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as instance:
        alice = await new_user(instance, "alice")
        room_id = await make_room(alice)
        await instance.wiring.conversations.finding.close()
        for number in range(3):
            await say(alice, room_id, f"while nobody indexed {number}")
        token = alice.token
    async with running(database, tmp_path) as instance:
        alice = ApiUser(instance, "alice", token)

        texts = await found(alice, query="nobody")

    assert len(texts) == 3


async def test_words_too_common_to_sort_are_found_newest_first(
    alice: ApiUser, monkeypatch: Any
) -> None:
    monkeypatch.setattr(storage, "MOST_MATCHES", 3)
    room_id, other = await make_room(alice), await make_room(alice)
    for number in range(6):
        await say(alice, room_id, f"common {number}")
    await say(alice, other, "common elsewhere")

    texts = await found(alice, query="common", limit=4)

    assert texts == ["common elsewhere", "common 5", "common 4", "common 3"]


async def test_polls_events_and_names_of_conversations_are_found(alice: ApiUser) -> None:
    room_id = await make_room(alice, name="Gardening club")
    path = f"/conversations/{room_id}/messages"
    poll = {"question": "Which seeds?", "choices": [{"text": "Radish"}, {"text": "Carrot"}]}
    await alice.post(path, {"kind": "poll", "poll": poll}, status=201)
    event = {"title": "Harvest", "starts_at": "2030-01-01T10:00:00Z", "place": "Allotment"}
    await alice.post(path, {"kind": "event", "event": event}, status=201)

    polls = (await search(alice, query="radish"))["items"]
    events = (await search(alice, query="allotment"))["items"]
    names = (await search(alice, query="gardening", kind="system"))["items"]

    assert [item["message"]["kind"] for item in polls] == ["poll"]
    assert [item["message"]["kind"] for item in events] == ["event"]
    assert [item["message"]["kind"] for item in names] == ["system"]
    assert await found(alice, query="gardening") == []


async def test_a_search_for_nothing_is_a_problem(alice: ApiUser) -> None:
    problem = await search(alice, 400)
    bad = await search(alice, 400, query="x", cursor="nonsense")

    assert problem["code"] == bad["code"] == "invalid_parameter"
