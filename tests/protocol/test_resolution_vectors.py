"""Vectors for state resolution: a fork made by hand for each sentence of the definitions.

Spec: room versions 1 (v1), 2 (v2) and 12 (v2.1), state resolution.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.state_resolution import resolve
from homeserver.protocol.state_resolution.v2 import is_power_event
from tests.protocol.room_builder import ALICE, BOB, CAROL, Room
from tests.protocol.test_state_resolution import LEVELS, TOPIC, V2, Fork

CREATE: StateKey = ("m.room.create", "")
NAME: StateKey = ("m.room.name", "")


def member(user_id: str) -> StateKey:
    return "m.room.member", user_id


def users(version: str, **levels: int) -> dict[str, int]:
    """Levels of users, by their names in small letters; Alice's is above all."""
    named = {
        user: levels[name] for name, user in (("bob", BOB), ("carol", CAROL)) if name in levels
    }
    return named if version == "12" else {ALICE: 100, **named}


def topic(fork: Fork, sender: str, **fields: Any) -> Event:
    return fork.room.event("m.room.topic", sender, "", {}, **fields)


# ---------------------------------------------------------------- power events


@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    ("kind", "key", "content", "power"),
    [
        ("m.room.power_levels", "", {}, True),
        ("m.room.join_rules", "", {}, True),
        ("m.room.member", BOB, {"membership": "leave"}, True),
        ("m.room.member", BOB, {"membership": "ban"}, True),
        ("m.room.member", BOB, {"membership": "invite"}, False),
        ("m.room.member", ALICE, {"membership": "leave"}, False),
        ("m.room.member", ALICE, {"membership": "join"}, False),
        ("m.room.topic", "", {"membership": "ban"}, False),
        ("m.room.third_party_invite", "t", {}, False),
    ],
)
def test_what_might_take_away_an_ability(
    version: str, kind: str, key: str, content: dict[str, Any], power: bool
) -> None:
    assert is_power_event(Room(version).event(kind, ALICE, key, content)) == power


# ---------------------------------------------------------------- mainline ordering


@pytest.mark.parametrize("version", V2)
def test_what_is_based_on_later_power_levels_goes_last_whatever_its_time(version: str) -> None:
    fork = Fork(version, users=users(version, bob=50, carol=50))
    old = topic(fork, BOB, origin_server_ts=9000)  # cites the first power levels
    before = fork.branch(old)
    later = fork.room.levels(ALICE, users=users(version, bob=50, carol=50), ban=60)
    fork.room.state[LEVELS] = later
    new = topic(fork, CAROL, origin_server_ts=1000)
    after = fork.branch(new)
    fork.events[later.event_id] = later

    resolved = fork.resolve({**before, LEVELS: later.event_id}, after)

    assert resolved[TOPIC] == new.event_id


@pytest.mark.parametrize("version", V2)
def test_what_cites_no_power_levels_goes_first(version: str) -> None:
    fork = Fork(version)
    bare = topic(fork, ALICE, origin_server_ts=9000)
    before = fork.branch(bare)
    levels = fork.room.levels(ALICE, users=users(version, bob=50))
    fork.room.state[LEVELS] = levels
    based = topic(fork, BOB, origin_server_ts=1000)
    after = fork.branch(based)
    fork.events[levels.event_id] = levels

    resolved = fork.resolve({**before, LEVELS: levels.event_id}, after)

    assert resolved[TOPIC] == based.event_id


@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(("first", "second"), [(5000, 6000), (6000, 5000), (5000, 5000)])
def test_of_equal_positions_the_later_wins_then_the_greater_id(
    version: str, first: int, second: int
) -> None:
    fork = Fork(version, users=users(version, bob=50, carol=50))
    one = topic(fork, BOB, origin_server_ts=first)
    two = topic(fork, CAROL, origin_server_ts=second)
    expected = max((one, two), key=lambda event: (event.origin_server_ts, event.event_id))

    assert fork.resolve(fork.branch(one), fork.branch(two))[TOPIC] == expected.event_id


# ---------------------------------------------------------------- power ordering


@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(("first", "second"), [(5000, 6000), (6000, 5000), (5000, 5000)])
def test_of_two_equals_who_change_the_levels_the_later_has_the_last_word(
    version: str, first: int, second: int
) -> None:
    levels = users(version, bob=75, carol=75)
    fork = Fork(version, users=levels)
    one = fork.room.levels(BOB, users=levels, ban=51)
    one.origin_server_ts = first
    two = fork.room.levels(CAROL, users=levels, ban=52)
    two.origin_server_ts = second
    expected = max((one, two), key=lambda event: (event.origin_server_ts, event.event_id))

    assert fork.resolve(fork.branch(one), fork.branch(two))[LEVELS] == expected.event_id


@pytest.mark.parametrize("version", V2)
def test_the_mightier_goes_first_whatever_the_time_and_may_forbid_the_other(version: str) -> None:
    levels = users(version, bob=75, carol=50)
    fork = Fork(version, users=levels)
    demotion = fork.room.levels(BOB, users=users(version, bob=75))
    demotion.origin_server_ts = 9000
    change = fork.room.levels(CAROL, users=levels, ban=49)
    change.origin_server_ts = 1000

    resolved = fork.resolve(fork.branch(demotion), fork.branch(change))

    assert resolved[LEVELS] == demotion.event_id


@pytest.mark.parametrize("version", V2)
def test_who_is_mightier_is_read_off_the_event_itself(version: str) -> None:
    """Carol's own branch made her mighty; the event that did so comes before hers."""
    fork = Fork(version, users=users(version, bob=75))
    raised = fork.room.levels(ALICE, users=users(version, bob=75, carol=90))
    raised.origin_server_ts = 1000
    fork.branch(raised)
    kick = fork.room.event(
        "m.room.member",
        CAROL,
        BOB,
        {"membership": "leave"},
        auths=[
            *([fork.room.create] if version != "12" else []),
            raised,
            fork.room.state[member(BOB)],
            fork.room.state[member(CAROL)],
        ],
        origin_server_ts=9000,
    )
    theirs = {**fork.branch(raised), member(BOB): kick.event_id}
    fork.events[kick.event_id] = kick
    rename = fork.room.event("m.room.name", BOB, "", {}, origin_server_ts=2000)

    resolved = fork.resolve(theirs, fork.branch(rename))

    assert resolved[LEVELS] == raised.event_id
    assert resolved[member(BOB)] == kick.event_id
    assert NAME not in resolved


# ---------------------------------------------------------------- iterative auth checks


@pytest.mark.parametrize("version", V2)
def test_version_12_starts_from_nothing_the_others_from_what_is_agreed(version: str) -> None:
    """All agree that Bob has left; one side has the topic that he set before."""
    fork = Fork(version, users=users(version, bob=50))
    was_there = topic(fork, BOB)
    left = fork.room.member(BOB, BOB, "leave")
    with_topic = {**fork.branch(was_there), member(BOB): left.event_id}
    without = fork.branch(left)

    resolved = fork.resolve(with_topic, without)

    assert resolved[member(BOB)] == left.event_id
    assert (TOPIC in resolved) == (version == "12")


@pytest.mark.parametrize("version", V2)
def test_an_auth_event_that_was_rejected_stands_for_nothing(version: str) -> None:
    fork = Fork(version, users=users(version, bob=50))
    joined = fork.room.state[member(BOB)]
    one, other = topic(fork, BOB), fork.room.event("m.room.name", BOB, "", {})
    with_topic, without = fork.branch(one), fork.branch(other)  # it is in both chains
    for state in (with_topic, without):
        del state[member(BOB)]  # only the events' own auth events know him

    known = resolve(fork.room.version, [with_topic, without], fork.events)
    rejected = resolve(
        fork.room.version, [with_topic, without], fork.events, rejected={joined.event_id}
    )

    assert known[TOPIC] == one.event_id
    assert TOPIC not in rejected


@pytest.mark.parametrize("version", V2)
def test_what_is_agreed_is_replaced_by_nothing(version: str) -> None:
    """An older topic is in only one side's chain; it does not come back."""
    fork = Fork(version, users=users(version, bob=50))
    older = fork.room.levels(ALICE, users=users(version, bob=50, carol=50))
    fork.branch(older)
    fork.room.state[LEVELS] = older
    agreed = fork.room.levels(ALICE, users=users(version, bob=50, carol=60))
    fork.room.state[LEVELS] = agreed
    fork.events[agreed.event_id] = agreed
    one, two = topic(fork, BOB), topic(fork, CAROL)

    resolved = fork.resolve(fork.branch(one), fork.branch(two))

    assert resolved[LEVELS] == agreed.event_id


@pytest.mark.parametrize("version", V2)
def test_an_event_of_one_state_alone_stays_if_it_is_allowed(version: str) -> None:
    fork = Fork(version, users=users(version, bob=50))
    fine, forbidden = topic(fork, BOB), fork.room.event("m.room.name", CAROL, "", {})

    resolved = fork.resolve(fork.branch(fine, forbidden), fork.branch())

    assert resolved[TOPIC] == fine.event_id
    assert NAME not in resolved


def test_in_version_12_the_create_event_authorises_though_nothing_cites_it() -> None:
    fork = Fork("12", users={BOB: 50})
    one, two = topic(fork, ALICE), topic(fork, BOB)

    resolved = fork.resolve(fork.branch(one), fork.branch(two))

    assert resolved[CREATE] == fork.room.create.event_id
    assert resolved[TOPIC] == two.event_id


# ---------------------------------------------------------------- v1


def hashed(event: Event) -> int:
    return int.from_bytes(hashlib.sha1(event.event_id.encode()).digest(), "big")


def test_version_1_takes_power_levels_by_depth_as_long_as_each_allows_the_next() -> None:
    fork = Fork("1", users={ALICE: 100, BOB: 75})
    mine = fork.room.levels(ALICE, users={ALICE: 100})
    his = fork.room.levels(BOB, users={ALICE: 100, BOB: 75}, ban=51)
    mine.depth, his.depth = 10, 20

    assert fork.resolve(fork.branch(mine), fork.branch(his))[LEVELS] == mine.event_id

    mine.depth, his.depth = 20, 10
    assert fork.resolve(fork.branch(mine), fork.branch(his))[LEVELS] == mine.event_id


def test_version_1_takes_of_equal_depth_the_lowest_hash() -> None:
    fork = Fork("1", users={ALICE: 100, BOB: 50, CAROL: 50})
    topics = [topic(fork, sender, depth=50) for sender in (ALICE, BOB, CAROL)]
    lowest = min(topics, key=hashed)

    resolved = fork.resolve(*(fork.branch(event) for event in topics))

    assert resolved[TOPIC] == lowest.event_id


def test_version_1_finds_no_conflict_where_a_state_lacks_a_key() -> None:
    fork = Fork("1")
    name = fork.room.event("m.room.name", CAROL, "", {})

    assert fork.resolve(fork.branch(name), fork.branch())[NAME] == name.event_id


def test_version_1_takes_members_after_power_levels_and_join_rules() -> None:
    fork = Fork("1", users={ALICE: 100, BOB: 75})
    demoted = fork.room.levels(ALICE, users={ALICE: 100})
    banned = fork.room.member(BOB, CAROL, "ban")
    renamed = fork.room.join(CAROL, displayname="Carol")
    demoted.depth, banned.depth, renamed.depth = 30, 50, 40
    theirs = fork.branch(demoted, renamed)
    levels = fork.room.levels(ALICE, users={ALICE: 100, BOB: 75}, ban=50)
    levels.depth = 20

    resolved = fork.resolve(theirs, fork.branch(levels, banned))

    assert resolved[LEVELS] == demoted.event_id
    assert resolved[member(CAROL)] == renamed.event_id


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_nothing_and_one_state_resolve_to_themselves(version: str) -> None:
    state = Fork(version).branch()

    assert resolve(ROOM_VERSIONS[version], [], {}) == {}
    assert resolve(ROOM_VERSIONS[version], [state], {}) == state
