"""State resolution by hand-made forks; the simulation does the rest (tests/simulation)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.state_resolution import (
    auth_chain,
    needed_auth_chain_roots,
    needed_unconflicted,
    resolve,
)
from homeserver.protocol.state_resolution.v2 import conflicted_state_subgraph
from tests.protocol.room_builder import ALICE, BOB, CAROL, Room
from tests.simulation.test_convergence import simulate

V2 = ["2", "5", "11", "12"]
TOPIC: StateKey = ("m.room.topic", "")
LEVELS: StateKey = ("m.room.power_levels", "")


class Fork:
    """A room and branches of its state."""

    def __init__(self, version: str, **levels: Any) -> None:
        self.room = Room(version)
        self.events: dict[str, Event] = {}
        if levels:
            self.room.with_levels(**levels)
        self.room.with_join_rule("public").with_member(BOB, "join").with_member(CAROL, "join")
        for event in self.room.state.values():
            self.events[event.event_id] = event

    def branch(self, *events: Event) -> dict[StateKey, str]:
        """The room's state with some events on top."""
        self.events.update((event.event_id, event) for event in events)
        state = {key: event.event_id for key, event in self.room.state.items()}
        return {**state, **{event.key: event.event_id for event in events}}

    def resolve(self, *states: dict[StateKey, str]) -> dict[StateKey, str]:
        return resolve(self.room.version, states, self.events)


def moderators() -> dict[str, Any]:
    return {"users": {BOB: 75, CAROL: 50}}


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_states_that_agree_are_the_answer(version: str) -> None:
    fork = Fork(version)
    state = fork.branch()

    assert fork.resolve(state, dict(state)) == state
    assert fork.resolve() == {}


@pytest.mark.parametrize("version", V2)
def test_a_ban_beats_what_the_banned_does_meanwhile(version: str) -> None:
    fork = Fork(version, **moderators())
    ban = fork.room.member(BOB, CAROL, "ban")
    topic = fork.room.event("m.room.topic", CAROL, "", {"topic": "revenge"})

    resolved = fork.resolve(fork.branch(ban), fork.branch(topic))

    assert resolved[ban.key] == ban.event_id
    assert TOPIC not in resolved


@pytest.mark.parametrize("version", V2)
def test_a_demotion_beats_what_the_demoted_does_meanwhile(version: str) -> None:
    fork = Fork(version, **moderators())
    demotion = fork.room.levels(BOB, users={BOB: 75, CAROL: 0})
    kick = fork.room.member(CAROL, ALICE if version != "12" else "@dave:x.test", "ban")

    resolved = fork.resolve(fork.branch(demotion), fork.branch(kick))

    assert resolved[LEVELS] == demotion.event_id
    assert resolved.get(kick.key) != kick.event_id


@pytest.mark.parametrize("version", V2)
def test_of_two_topics_the_later_one_stays(version: str) -> None:
    fork = Fork(version, **moderators())
    first = fork.room.event("m.room.topic", BOB, "", {"topic": "first"})
    second = fork.room.event("m.room.topic", CAROL, "", {"topic": "second"})

    assert fork.resolve(fork.branch(first), fork.branch(second))[TOPIC] == second.event_id
    assert fork.resolve(fork.branch(second), fork.branch(first))[TOPIC] == second.event_id


@pytest.mark.parametrize("version", V2)
def test_the_mightier_sender_of_power_levels_goes_first(version: str) -> None:
    fork = Fork(version, **moderators())
    by_bob = fork.room.levels(BOB, users={BOB: 75, CAROL: 0})
    by_carol = fork.room.levels(CAROL, users={BOB: 75, CAROL: 40})

    resolved = fork.resolve(fork.branch(by_carol), fork.branch(by_bob))

    assert resolved[LEVELS] == by_bob.event_id  # after it, Carol may not change levels


@pytest.mark.parametrize("version", V2)
def test_what_is_in_one_state_only_is_judged_too(version: str) -> None:
    fork = Fork(version, **moderators())
    topic = fork.room.event("m.room.topic", BOB, "", {"topic": "tea"})

    assert fork.resolve(fork.branch(topic), fork.branch())[TOPIC] == topic.event_id


def test_version_1_takes_the_topic_of_the_highest_depth() -> None:
    fork = Fork("1", users={ALICE: 100, BOB: 75, CAROL: 50})
    first = fork.room.event("m.room.topic", BOB, "", {"topic": "first"})
    second = fork.room.event("m.room.topic", CAROL, "", {"topic": "second"})

    assert fork.resolve(fork.branch(second), fork.branch(first))[TOPIC] == second.event_id


def test_the_conflicted_subgraph_is_what_lies_between() -> None:
    room = Room("12")
    base = room.levels(ALICE, users={BOB: 50})
    middle = room.event("m.room.member", BOB, BOB, {"membership": "join"}, auths=[base])
    top = room.event("m.room.topic", BOB, "", {}, auths=[middle])
    aside = room.event("m.room.name", BOB, "", {}, auths=[base])
    events = {e.event_id: e for e in (base, middle, top, aside)}

    between = conflicted_state_subgraph({base.event_id, top.event_id}, events)

    assert between == {base.event_id, middle.event_id, top.event_id}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["1", "2", "12"]))
def test_what_resolve_asks_for_is_all_that_it_needs(seed: int, version: str) -> None:
    """With the roots' auth chains, and the agreed memberships, the answer is the same."""
    server = simulate(ROOM_VERSIONS[version], seed)[0]
    rng = random.Random(seed)
    states = rng.sample(list(server.after.values()), k=min(3, len(server.after)))
    everything = server.events

    roots = needed_auth_chain_roots(states)
    few = {i: everything[i] for i in roots | auth_chain(roots, everything)}
    few.update((i, everything[i]) for i in needed_unconflicted(states, few))
    agreed = {
        state for state in states[0].items() if all(s.get(state[0]) == state[1] for s in states)
    }
    chain = auth_chain([event_id for _, event_id in agreed], everything)

    expected = resolve(server.version, states, everything)
    assert resolve(server.version, states, few, unconflicted_chain=chain) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["1", "2", "12"]))
def test_the_order_of_the_states_does_not_matter(seed: int, version: str) -> None:
    server = simulate(ROOM_VERSIONS[version], seed)[0]
    rng = random.Random(seed)
    states = [dict(s) for s in rng.sample(list(server.after.values()), k=min(4, len(server.after)))]
    shuffled = [dict(rng.sample(list(state.items()), k=len(state))) for state in states]
    rng.shuffle(shuffled)

    expected = resolve(server.version, states, server.events)
    assert resolve(server.version, shuffled, server.events) == expected
