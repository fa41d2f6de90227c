"""Relations: edits, reactions, threads, replies."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.relations import (
    Relation,
    can_be_thread_root,
    is_edit,
    is_valid_replacement,
    latest_replacement,
    relation_of,
    reply_target,
    thread_root,
)
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.protocol.sample_events import BOB, make_event

V12 = ROOM_VERSIONS["12"]
ORIGINAL = make_event(V12)


def relates(**relation: Any) -> dict[str, Any]:
    """Content that relates to something."""
    return {"body": "x", "m.relates_to": relation}


def edit(original: Event = ORIGINAL, **changes: Any) -> Event:
    """A good edit but for the changes."""
    content = {
        "body": "* Hi",
        "m.new_content": {"body": "Hi"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": original.event_id},
    }
    return make_event(V12, **{"content": content, "depth": 8, **changes})


@pytest.mark.parametrize(
    ("content", "relation"),
    [
        (relates(rel_type="m.reference", event_id="$x"), Relation("m.reference", "$x")),
        (
            relates(rel_type="m.annotation", event_id="$x", key="👍"),
            Relation("m.annotation", "$x", "👍"),
        ),
        (relates(rel_type="org.example", event_id="$x", key=1), Relation("org.example", "$x")),
        ({}, None),
        ({"m.relates_to": None}, None),
        ({"m.relates_to": "x"}, None),
        (relates(), None),
        (relates(rel_type="m.thread"), None),
        (relates(event_id="$x"), None),
        (relates(rel_type=1, event_id="$x"), None),
        (relates(rel_type="m.thread", event_id=["$x"]), None),
        (relates(rel_type="m.thread", event_id="x"), None),
        (relates(rel_type="m.thread", event_id="$" + "x" * 255), None),
        (relates(**{"m.in_reply_to": {"event_id": "$x"}}), None),
    ],
)
def test_a_relation_is_read_if_it_is_well_formed(
    content: dict[str, Any], relation: Relation | None
) -> None:
    assert relation_of(content) == relation


@pytest.mark.parametrize(
    ("content", "root"),
    [
        (relates(rel_type="m.thread", event_id="$root"), "$root"),
        (relates(rel_type="m.reference", event_id="$root"), None),
        ({}, None),
    ],
)
def test_a_message_of_a_thread_names_its_root(content: dict[str, Any], root: str | None) -> None:
    assert thread_root(content) == root


@pytest.mark.parametrize(
    ("relation", "target"),
    [
        ({"m.in_reply_to": {"event_id": "$x"}}, "$x"),
        ({"rel_type": "m.thread", "event_id": "$r", "m.in_reply_to": {"event_id": "$x"}}, "$x"),
        (
            {
                "rel_type": "m.thread",
                "event_id": "$r",
                "is_falling_back": True,
                "m.in_reply_to": {"event_id": "$x"},
            },
            None,
        ),
        ({"m.in_reply_to": {"event_id": 1}}, None),
        ({"m.in_reply_to": "$x"}, None),
        ({}, None),
    ],
)
def test_a_reply_names_its_target_unless_it_is_a_fallback(
    relation: dict[str, Any], target: str | None
) -> None:
    assert reply_target({"m.relates_to": relation}) == target


def test_an_edit_by_the_sender_takes_effect() -> None:
    assert is_edit(edit().content)
    assert is_valid_replacement(edit(), ORIGINAL)


# Spec: event replacements, validity of replacement events.
@pytest.mark.parametrize(
    "broken",
    [
        edit(sender=BOB),
        edit(type="m.room.other"),
        edit(state_key=""),
        edit(room_id="!another"),
        edit(make_event(V12, depth=1)),
        edit(content=relates(rel_type="m.replace", event_id=ORIGINAL.event_id)),
        edit(
            content={
                **relates(rel_type="m.replace", event_id=ORIGINAL.event_id),
                "m.new_content": "x",
            }
        ),
        edit(
            content={
                **relates(rel_type="m.reference", event_id=ORIGINAL.event_id),
                "m.new_content": {},
            }
        ),
    ],
)
def test_an_edit_that_breaks_a_rule_does_not(broken: Event) -> None:
    assert not is_valid_replacement(broken, ORIGINAL)


def test_neither_a_state_event_nor_an_edit_can_be_edited() -> None:
    state = make_event(V12, state_key="")
    first = edit()

    assert not is_valid_replacement(edit(state), state)
    assert not is_valid_replacement(edit(first), first)


def test_of_an_encrypted_edit_only_clients_see_the_new_content() -> None:
    original = make_event(V12, type="m.room.encrypted", content={"ciphertext": "x"})
    content = {
        "ciphertext": "y",
        "m.relates_to": {"rel_type": "m.replace", "event_id": original.event_id},
    }

    assert is_valid_replacement(edit(original, type="m.room.encrypted", content=content), original)


def test_the_latest_valid_edit_counts() -> None:
    older = edit(origin_server_ts=1)
    newer = edit(origin_server_ts=2)
    forged = edit(origin_server_ts=3, sender=BOB)

    assert latest_replacement(ORIGINAL, [older, newer, forged]) is newer
    assert latest_replacement(ORIGINAL, [forged]) is None


def test_of_edits_of_one_moment_the_largest_id_counts() -> None:
    edits = [edit(origin_server_ts=1, depth=depth) for depth in range(5)]

    assert latest_replacement(ORIGINAL, edits) is max(edits, key=lambda one: one.event_id)


def test_a_thread_starts_from_an_event_that_relates_to_nothing() -> None:
    reply = make_event(V12, content=relates(**{"m.in_reply_to": {"event_id": "$x"}}))
    reaction = make_event(V12, content=relates(rel_type="m.annotation", event_id="$x"))

    assert can_be_thread_root(ORIGINAL)
    assert can_be_thread_root(reply)
    assert not can_be_thread_root(reaction)
    assert not can_be_thread_root(edit())
