"""What a summary says of a room, ours or another instance's, and who may see it.

Spec: client-server API, room summary, space hierarchy; server-server API, spaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.events import stripped_state as stripped_state_event
from homeserver.protocol.identifiers import InvalidIdentifier, RoomId, is_valid_server_name

SPACE = "m.space"
SPACE_CHILD = "m.space.child"
MEGOLM = "m.megolm.v1.aes-sha2"
KNOCKED_AT = ("knock", "knock_restricted")
RESTRICTED = ("restricted", "knock_restricted")
OPEN_TO_ALL = ("public", *KNOCKED_AT)
MOST_VIA = 20
MOST_CHILDREN = 1_000
LONGEST_ORDER = 50

TEXTS = ("name", "topic", "avatar_url", "canonical_alias", "join_rule", "room_type")


class Child(Struct, frozen=True):
    """A room that a space names, as its ``m.space.child`` event says."""

    room_id: str
    via: tuple[str, ...]
    suggested: bool
    order: str | None
    origin_server_ts: int
    event: JsonObject  # stripped, with origin_server_ts

    @property
    def place(self) -> tuple[bool, str, int, str]:
        """By which children are sorted.  Spec: ordering of children within a space."""
        return (self.order is None, self.order or "", self.origin_server_ts, self.room_id)


def child_of(event: Event) -> Child | None:
    """The child that a state event names; None if it names none.

    A child without ``via`` is one that was taken out.  Spec: ``m.space.child``.
    """
    return _child({**stripped_state_event(event), "origin_server_ts": event.origin_server_ts})


def remote_children(events: Any) -> list[Child]:
    """The children that another instance's ``children_state`` names, in their order."""
    found = {}
    for event in events[:MOST_CHILDREN] if isinstance(events, list) else ():
        child = _child(event) if isinstance(event, dict) else None
        if child is not None:
            found[child.room_id] = child
    return sorted(found.values(), key=lambda child: child.place)


def _child(event: JsonObject) -> Child | None:
    content, ts = event.get("content"), event.get("origin_server_ts")
    if event.get("type") != SPACE_CHILD or not isinstance(content, dict):
        return None
    if not isinstance(ts, int) or isinstance(ts, bool) or not isinstance(event.get("sender"), str):
        return None
    room_id, via = _room_id(event.get("state_key")), content.get("via")
    if room_id is None or not isinstance(via, list):
        return None
    servers = [s for s in via[:MOST_VIA] if isinstance(s, str) and is_valid_server_name(s)]
    if not servers:
        return None
    shown = {key: event[key] for key in ("type", "state_key", "sender", "content")}
    return Child(
        room_id,
        tuple(dict.fromkeys(servers)),
        content.get("suggested") is True,
        _order(content.get("order")),
        ts,
        {**shown, "origin_server_ts": ts},
    )


def _order(value: Any) -> str | None:
    """Spec: ASCII from space to tilde, at most 50 characters; anything else is as if absent."""
    valid = isinstance(value, str) and len(value) <= LONGEST_ORDER
    return value if valid and all(" " <= char <= "~" for char in value) else None


def _room_id(value: Any) -> str | None:
    try:
        return RoomId.parse(value)
    except InvalidIdentifier:
        return None


def room_ids(values: Any) -> list[str]:
    """The valid room IDs among what somebody sent."""
    named = values[:MOST_CHILDREN] if isinstance(values, list) else ()
    return [room_id for value in named if (room_id := _room_id(value)) is not None]


def allowed_room_ids(join_rules: Mapping[str, Any]) -> list[str]:
    """The rooms whose members a restricted join rule lets in.  Spec: ``m.room.join_rules``."""
    allow = join_rules.get("allow")
    return room_ids(
        [
            condition.get("room_id")
            for condition in (allow if isinstance(allow, list) else ())
            if isinstance(condition, dict) and condition.get("type") == "m.room_membership"
        ]
    )


def is_open(summary: JsonObject) -> bool:
    """Whether anybody may join, knock or read: those without an account may see it, too."""
    return summary.get("join_rule") in OPEN_TO_ALL or summary.get("world_readable") is True


class RemoteSpace(Struct, frozen=True):
    """A room and the rooms below it, as another instance tells."""

    room: JsonObject
    children_state: Sequence[Child]
    children: Mapping[str, JsonObject]
    inaccessible: frozenset[str]


def parse_remote_space(room_id: str, answer: JsonObject) -> RemoteSpace | None:
    """The answer of another instance; None if it says nothing of that room.

    Spec: server-server API, ``GET /hierarchy/{roomId}``.
    """
    given = answer.get("room")
    room = parse_summary(given)
    if room is None or room["room_id"] != room_id or not isinstance(given, dict):
        return None
    children = answer.get("children")
    summaries = [
        summary
        for item in (children[:MOST_CHILDREN] if isinstance(children, list) else ())
        if (summary := parse_summary(item)) is not None
    ]
    return RemoteSpace(
        room,
        remote_children(given.get("children_state")) if room.get("room_type") == SPACE else (),
        {summary["room_id"]: summary for summary in summaries},
        frozenset(room_ids(answer.get("inaccessible_children"))),
    )


def parse_summary(given: Any) -> JsonObject | None:
    """What another instance says of a room, as far as it has the right form; None if it has not."""
    if not isinstance(given, dict):
        return None
    room_id, members = _room_id(given.get("room_id")), given.get("num_joined_members")
    if room_id is None or not isinstance(members, int) or isinstance(members, bool):
        return None
    summary: JsonObject = {
        "room_id": room_id,
        "num_joined_members": max(members, 0),
        "world_readable": given.get("world_readable") is True,
        "guest_can_join": given.get("guest_can_join") is True,
    }
    summary.update({key: given[key] for key in TEXTS if isinstance(given.get(key), str)})
    # Older instances know the last two only by their names from before they were in the spec.
    encryption = given.get("encryption", given.get("im.nheko.summary.encryption"))
    if encryption == MEGOLM:
        summary["encryption"] = encryption
    version = given.get("room_version", given.get("im.nheko.summary.room_version"))
    if isinstance(version, str):
        summary["room_version"] = version
    allowed = room_ids(given.get("allowed_room_ids"))
    if allowed:
        summary["allowed_room_ids"] = allowed
    return summary
