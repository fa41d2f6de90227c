"""The directory of people: who gets into it, who is found, and that it is quick."""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.people_words import query_words, words_of
from homeserver.services.people_index import PeopleIndex
from homeserver.services.people_search import PeopleSearch
from homeserver.storage import people_directory as storage
from homeserver.storage.database import Database
from homeserver.storage.people_directory import Listed


class Hiding:
    """Who may not be looked up."""

    def __init__(self, *hidden: str) -> None:
        self.hidden = set(hidden)
        self.asked = 0

    async def hidden_from(self, owners: object, reader: str) -> set[str]:
        self.asked += 1
        return self.hidden & set(owners)  # type: ignore[call-overload, no-any-return]


async def membership(
    database: Database, room: str, user: str, state: str, position: int, name: str | None = None
) -> None:
    """A membership, and the event from which it is."""
    event_id = f"${room}{user}{position}"
    content = {"membership": state, "displayname": name} if name else {"membership": state}
    await database.execute(
        """INSERT INTO rooms (room_id, room_version, created_at) VALUES ($1, '12', 0)
        ON CONFLICT DO NOTHING""",
        room,
    )
    await database.execute(
        """INSERT INTO events (event_id, position, room_id, type, state_key, sender, depth,
            origin_server_ts, auth_event_ids, prev_event_ids, pdu)
        VALUES ($1, $2, $3, 'm.room.member', $4, $4, 1, 0, '{}', '{}', $5)""",
        event_id,
        position,
        room,
        user,
        json.dumps({"content": content}).encode(),
    )
    await database.execute(
        """INSERT INTO memberships (room_id, user_id, membership, event_id, sender, position, local)
        VALUES ($1, $2, $3, $4, $2, $5, $6) ON CONFLICT (room_id, user_id) DO UPDATE SET
            membership = EXCLUDED.membership, event_id = EXCLUDED.event_id,
            position = EXCLUDED.position""",
        room,
        user,
        state,
        event_id,
        position,
        user.endswith(":one.test"),
    )


async def caught_up(database: Database) -> None:
    index = PeopleIndex(database=database)
    await index.follower.start()
    await index.follower.caught_up()
    await index.follower.close()


async def found(database: Database, reader: str, query: str, *hidden: str) -> list[str]:
    search = PeopleSearch(database=database, look_ups=Hiding(*hidden))
    return [p.user_id for p in (await search.search(reader, query, limit=50)).people]


def test_words_are_folded_and_servers_marked() -> None:
    assert words_of("@zoe.m:Two.Test", "Zoë MÜLLER-Lüdenscheid") == [
        "zoe",
        "muller",
        "ludenscheid",
        "m",
        "@two.test",
    ]
    assert query_words("Zoë @bob:two.t carl@x") == ["zoe", "bob", "@two.t", "carl", "@x"]
    assert query_words("  !?  ") == []


@given(st.text(max_size=300))
async def test_whatever_is_asked_is_a_query(text: str) -> None:
    words = query_words(text)

    assert all(words)
    assert len(words) <= 24


@pytest.mark.parametrize("query", ["'", "a'b", "\\", "a & !b", "(", "x@'\\", "\N{SNOWMAN}", ":*"])
async def test_no_query_breaks_the_statement(database: Database, query: str) -> None:
    await storage.put_people(database, [Listed("@a:one.test", True, "a'b \\ c", None)])

    await found(database, "@me:one.test", query)


async def test_people_elsewhere_are_found_by_who_shares_a_room(database: Database) -> None:
    await membership(database, "!a", "@me:one.test", "join", 1)
    await membership(database, "!a", "@ann:two.test", "join", 2, "Ann Two")
    await membership(database, "!b", "@other:one.test", "join", 3)
    await membership(database, "!b", "@anton:two.test", "join", 4, "Anton\x00 Two")
    await caught_up(database)

    assert await found(database, "@me:one.test", "an") == ["@ann:two.test"]
    assert await found(database, "@other:one.test", "an") == ["@anton:two.test"]
    await database.execute("UPDATE rooms SET published = true WHERE room_id = '!b'")
    assert await found(database, "@me:one.test", "an two") == ["@ann:two.test", "@anton:two.test"]


@pytest.mark.parametrize(
    ("type_", "content", "later", "seen"),
    [
        ("m.room.join_rules", {"join_rule": "public"}, None, True),
        ("m.room.join_rules", {"join_rule": "invite"}, None, False),
        ("m.room.join_rules", {"join_rule": "public"}, {"join_rule": "invite"}, False),
        ("m.room.join_rules", {"join_rule": "invite"}, {"join_rule": "public"}, True),
        ("m.room.history_visibility", {"history_visibility": "world_readable"}, None, True),
        ("m.room.history_visibility", {"history_visibility": "shared"}, None, False),
    ],
)
async def test_people_elsewhere_are_found_by_all_where_their_room_is_open(
    database: Database,
    type_: str,
    content: dict[str, str],
    later: dict[str, str] | None,
    seen: bool,
) -> None:
    await membership(database, "!b", "@other:one.test", "join", 3)
    await membership(database, "!b", "@anton:two.test", "join", 4, "Anton")
    for depth, state in enumerate(filter(None, (content, later)), 5):
        await database.execute(
            """INSERT INTO events (event_id, position, room_id, type, state_key, sender, depth,
                origin_server_ts, auth_event_ids, prev_event_ids, pdu)
            VALUES ($1, $2, '!b', $3, '', '@anton:two.test', $2, 0, '{}', '{}', $4)""",
            f"$state{depth}",
            depth,
            type_,
            json.dumps({"content": state}).encode(),
        )
    await caught_up(database)

    people = await found(database, "@me:one.test", "anton")

    assert people == (["@anton:two.test"] if seen else [])


async def test_the_directory_goes_on_where_it_was_left(database: Database) -> None:
    await membership(database, "!a", "@me:one.test", "join", 1)
    await membership(database, "!a", "@ann:two.test", "join", 2, "Ann")
    await caught_up(database)
    await membership(database, "!a", "@ann:two.test", "join", 3, "Beatrix")
    await membership(database, "!a", "@carl:two.test", "join", 4, "Carl")
    await membership(database, "!a", "@carl:two.test", "leave", 5)
    await caught_up(database)

    assert await found(database, "@me:one.test", "beatrix") == ["@ann:two.test"]
    assert await storage.get_people(database, ["@carl:two.test"]) == {}
    assert await storage.get_state(database) == (5, True)


async def test_a_room_of_which_all_is_of_one_position_is_taken_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.people_index.PAGE", 3)
    await membership(database, "!a", "@me:one.test", "join", 1)
    for number in range(10):
        user = f"@p{number}:two.test"
        await membership(database, "!a", user, "join", 2 + number, f"Guest {number}")
    await database.execute("UPDATE memberships SET position = 2 WHERE NOT local")
    await caught_up(database)

    assert len(await found(database, "@me:one.test", "guest")) == 10


async def test_accounts_older_than_the_directory_get_into_it(database: Database) -> None:
    await database.execute(
        "INSERT INTO accounts (user_id, created_at) VALUES ('@old:one.test', 0), ('@b:one.test', 0)"
    )
    await database.execute(
        """INSERT INTO profiles (user_id, fields)
        VALUES ('@old:one.test', '{"displayname": "Olga"}')"""
    )
    await caught_up(database)

    assert await found(database, "@me:one.test", "olga") == ["@old:one.test"]
    assert await found(database, "@me:one.test", "b") == ["@b:one.test"]


async def test_who_is_hidden_leaves_no_gap(database: Database) -> None:
    people = [Listed(f"@p{n:02}:one.test", True, f"Person {n:02}", None) for n in range(30)]
    await storage.put_people(database, people)
    hidden = Hiding(*(f"@p{n:02}:one.test" for n in range(0, 30, 2)))
    search = PeopleSearch(database=database, look_ups=hidden)

    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        part = await search.search("@me:one.test", "person", limit=4, offset=offset)
        seen += [person.user_id for person in part.people]
        offset = part.next

    assert seen == [f"@p{n:02}:one.test" for n in range(1, 30, 2)]


async def test_the_index_answers_among_many(database: Database) -> None:
    """By the plan: a look at the index, not at everybody."""
    chance = random.Random(7)
    names = ["".join(chance.choices("abcdefghijklmnop", k=6)) for _ in range(400)]
    people = [
        Listed(f"@u{n}:one.test", True, f"{chance.choice(names)} {chance.choice(names)}", None)
        for n in range(20_000)
    ]
    for start in range(0, len(people), 5_000):
        await storage.put_people(database, people[start : start + 5_000])
    await database.execute("VACUUM ANALYZE people_directory")

    rows = await database.fetch(
        f"EXPLAIN {storage.SEARCH.replace('$1', chr(39) + names[0] + ':*' + chr(39))}".replace(
            "$2", "'@me:one.test'"
        )
        .replace("$3", "'x'")
        .replace("$4", "50")
        .replace("$5", "0")
        .replace("$6", "5000")
    )
    began = time.perf_counter()
    people_found = await found(database, "@me:one.test", names[0])
    print(f"searched 20,000 people in {(time.perf_counter() - began) * 1000:.1f} ms")

    assert people_found
    assert any("people_directory_words" in row[0] for row in rows)
