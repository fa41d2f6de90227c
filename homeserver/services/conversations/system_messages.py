"""State events as messages of kind ``system``: what happened to the conversation.

The state before is not looked up: what an event says by itself must do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from homeserver.protocol.events import Event
from homeserver.services.conversations.reading import as_dict, as_text, person
from homeserver.services.conversations.shapes.media import media_id
from homeserver.services.conversations.shapes.messages import System
from homeserver.services.conversations.shapes.people import address

HISTORY = {
    "world_readable": "all",
    "shared": "all",
    "invited": "since_invitation",
    "joined": "since_joining",
}
JOIN = {
    "public": "open",
    "knock": "approval",
    "knock_restricted": "approval",
    "invite": "invite",
    "private": "invite",
    "restricted": "invite",
}
BY_OTHERS = {"leave": "removed", "ban": "banned", "invite": "invited", "join": "joined"}
BY_THEMSELVES = {"join": "joined", "leave": "left", "knock": "asked_to_join", "ban": "left"}


def read_system(event: Event) -> System:
    """What a state event says, for people."""
    read = READERS.get(event.type)
    if read is None:
        return System(what="changed", value=event.type)
    return read(event, event.content)


def _member(event: Event, content: Mapping[str, Any]) -> System:
    membership = content.get("membership")
    whats = BY_THEMSELVES if event.sender == event.state_key else BY_OTHERS
    what = whats.get(membership) if isinstance(membership, str) else None
    who = person(event.state_key)
    if what is None or who is None:
        return System(what="changed")
    if what == "removed" and event.sender == event.state_key:
        what = "left"
    return System(what=what, person=who, reason=as_text(content.get("reason")))


def _created(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="created", person=address(event.sender))


def _text(what: str, key: str) -> Callable[[Event, Mapping[str, Any]], System]:
    def read(event: Event, content: Mapping[str, Any]) -> System:
        return System(what=what, value=as_text(content.get(key)))

    return read


def _avatar(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="avatar_changed", value=media_id(content.get("url")))


def _named(
    what: str, key: str, names: Mapping[str, str]
) -> Callable[[Event, Mapping[str, Any]], System]:
    def read(event: Event, content: Mapping[str, Any]) -> System:
        value = content.get(key)
        return System(what=what, value=names.get(value) if isinstance(value, str) else None)

    return read


def _replaced(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="moved", value=as_text(content.get("replacement_room")))


def _invited_by_address(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="invited", value=as_text(content.get("display_name")))


def _encrypted(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="encryption_enabled")


def _plain(what: str) -> Callable[[Event, Mapping[str, Any]], System]:
    def read(event: Event, content: Mapping[str, Any]) -> System:
        return System(what=what)

    return read


READERS: dict[str, Callable[[Event, Mapping[str, Any]], System]] = {
    "m.room.create": _created,
    "m.room.member": _member,
    "m.room.name": _text("renamed", "name"),
    "m.room.topic": _text("described", "topic"),
    "m.room.avatar": _avatar,
    "m.room.encryption": _encrypted,
    "m.room.history_visibility": _named("history_changed", "history_visibility", HISTORY),
    "m.room.join_rules": _named("joining_changed", "join_rule", JOIN),
    "m.room.power_levels": _plain("permissions_changed"),
    "m.room.pinned_events": _plain("pinned_changed"),
    "m.room.canonical_alias": _plain("address_changed"),
    "m.room.server_acl": _plain("servers_changed"),
    "m.room.guest_access": _plain("guests_changed"),
    "m.room.tombstone": _replaced,
    "m.room.third_party_invite": _invited_by_address,
}


def member_change(previous: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What a member changed of themselves without joining anew: ``name_changed``, or
    ``avatar_changed``; None if nothing."""
    if as_dict(previous).get("membership") != now.get("membership"):
        return None
    if previous.get("displayname") != now.get("displayname"):
        return "name_changed"
    return "avatar_changed" if previous.get("avatar_url") != now.get("avatar_url") else None
