"""What another instance tells of a room to which it invites is kept within bounds."""

from __future__ import annotations

from typing import Any

import orjson

from federation.told_state import MAX_STRIPPED_BYTES, MAX_STRIPPED_EVENTS, stripped_events


def event(kind: str = "m.room.name", **content: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "sender": "@mallory:evil.example",
        "state_key": "",
        "content": content,
        "signatures": {},
    }


def test_events_are_cut_to_what_clients_get():
    assert stripped_events([event(name="Lair")]) == [
        {
            "type": "m.room.name",
            "sender": "@mallory:evil.example",
            "state_key": "",
            "content": {"name": "Lair"},
        }
    ]


def test_what_is_no_state_is_passed_over():
    assert stripped_events([None, 7, {}, {**event(), "state_key": None}]) == []
    assert stripped_events({"0": event()}) == []


def test_there_are_only_so_many():
    assert len(stripped_events([event()] * 10_000)) == MAX_STRIPPED_EVENTS


def test_together_they_are_only_so_large():
    large, small = event(topic="x" * 30_000), event("m.room.create")

    kept = stripped_events([large, large, large, {**large, "content": {"a": "x" * 99_999}}, small])

    assert [entry["type"] for entry in kept] == ["m.room.name", "m.room.name", "m.room.create"]
    assert sum(len(orjson.dumps(entry)) for entry in kept) <= MAX_STRIPPED_BYTES
