"""State events as messages of kind ``system``: what happened to the conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from homeserver.protocol.events import Event
from homeserver.services.conversations.reading import as_text, person
from homeserver.services.conversations.shapes.media import media_id
from homeserver.services.conversations.shapes.messages import System
from homeserver.services.conversations.shapes.people import address

MEMBER = "m.room.member"
BY_OTHERS = {"leave": "removed", "ban": "banned", "invite": "invited", "join": "joined"}
BY_THEMSELVES = {"join": "joined", "leave": "left", "knock": "asked_to_join"}
# Who leaves from there: by themselves, by others.
FORMER = {
    "invite": ("declined", "uninvited"),
    "knock": ("withdrew", "not_admitted"),
    "ban": ("left", "unbanned"),
}


def read_system(event: Event, previous: Event | None = None) -> System:
    """What a state event says, for people.

    ``previous``: of a member event, the one that it replaced: without it, a member who changes
    their name seems to join.
    """
    if event.type == MEMBER:
        return _member(event, event.content, previous.content if previous is not None else {})
    read = READERS.get(event.type)
    return read(event, event.content) if read is not None else System(what="changed")


def _member(event: Event, content: Mapping[str, Any], before: Mapping[str, Any]) -> System:
    membership, former = content.get("membership"), before.get("membership")
    by_self = event.sender == event.state_key
    whats = BY_THEMSELVES if by_self else BY_OTHERS
    what = whats.get(membership) if isinstance(membership, str) else None
    who = person(event.state_key)
    if what is None or who is None:
        return System(what="changed")
    if membership == former == "join":
        return _profile(who, content, before)
    if membership == "leave" and former in FORMER:
        what = FORMER[former][0 if by_self else 1]
    return System(what=what, person=who, reason=as_text(content.get("reason")))


def _profile(who: str, content: Mapping[str, Any], before: Mapping[str, Any]) -> System:
    name, former = as_text(content.get("displayname")), as_text(before.get("displayname"))
    if name != former:
        return System(what="name_changed", person=who, value=name, previous=former)
    if content.get("avatar_url") != before.get("avatar_url"):
        return System(what="picture_changed", person=who, value=media_id(content.get("avatar_url")))
    return System(what="joined", person=who)


def _created(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="created", person=address(event.sender))


def _text(what: str, key: str) -> Callable[[Event, Mapping[str, Any]], System]:
    def read(event: Event, content: Mapping[str, Any]) -> System:
        return System(what=what, value=as_text(content.get(key)))

    return read


def _avatar(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="avatar_changed", value=media_id(content.get("url")))


def _replaced(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="moved", value=as_text(content.get("replacement_room")))


def _encrypted(event: Event, content: Mapping[str, Any]) -> System:
    return System(what="encryption_enabled")


READERS: dict[str, Callable[[Event, Mapping[str, Any]], System]] = {
    "m.room.create": _created,
    "m.room.name": _text("renamed", "name"),
    "m.room.topic": _text("described", "topic"),
    "m.room.avatar": _avatar,
    "m.room.encryption": _encrypted,
    "m.room.tombstone": _replaced,
}
