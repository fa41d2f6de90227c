"""Filters that clients put on what they are sent.

Spec: client-server API, filtering.  A filter is parsed once, when it is uploaded or given inline,
and compiled so that a filter that filters nothing costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.globs import star_source
from homeserver.protocol.identifiers import InvalidIdentifier, RoomId, UserId
from homeserver.protocol.paths import get_path, set_path, split_path

MAX_LIST = 10_000
MAX_WILDCARDS = 100
MAX_WILDCARD_LENGTH = 255
MISSING = object()
RELATED_TYPES = "related_by_rel_types"
RELATED_SENDERS = "related_by_senders"


class BadFilter(ValueError):
    """A filter that is not as the spec has it; the text names the property."""


class TypeSet(Struct, frozen=True):
    """Event types, some of them with ``*`` as a wildcard."""

    exact: frozenset[str] = frozenset()
    wildcards: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def parse(cls, types: list[str], name: str) -> TypeSet:
        """The types that a filter names.  Raises :class:`BadFilter` for too many wildcards."""
        patterns = {item for item in types if "*" in item}
        if len(patterns) > MAX_WILDCARDS or any(
            len(pattern) > MAX_WILDCARD_LENGTH for pattern in patterns
        ):
            raise BadFilter(f"'{name}' must have at most {MAX_WILDCARDS} short wildcards")
        return cls(
            frozenset(types) - patterns,
            tuple(re.compile(star_source(pattern), re.DOTALL) for pattern in sorted(patterns)),
        )

    def __contains__(self, event_type: str) -> bool:
        if event_type in self.exact:
            return True
        return bool(self.wildcards) and any(pattern.match(event_type) for pattern in self.wildcards)

    @property
    def is_empty(self) -> bool:
        """Whether no type is among them."""
        return not self.exact and not self.wildcards


class EventFilter(Struct, frozen=True):
    """Which events to include, by sender and type, and how many.

    Spec: client-server API, ``EventFilter``.  ``None`` for a list means that it is absent, and then
    it excludes nothing; an empty list of what to include excludes all.
    """

    limit: int | None = None
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = frozenset()
    types: TypeSet | None = None
    not_types: TypeSet = TypeSet()

    def allows(self, sender: str | None, event_type: str) -> bool:
        """Whether it lets through an event of that sender and type.

        ``sender``: None where there is none, as in account data; then senders are not considered.
        """
        if sender is not None and (
            sender in self.not_senders or (self.senders is not None and sender not in self.senders)
        ):
            return False
        if event_type in self.not_types:
            return False
        return self.types is None or event_type in self.types

    @property
    def allows_nothing(self) -> bool:
        """Whether it cannot let anything through, so that nothing need be looked up for it."""
        return self.senders == frozenset() or (self.types is not None and self.types.is_empty)


class RelatedBy(Struct, frozen=True):
    """That an event is to have relations: of some types, by some senders; None: of any, by any.

    Not of the specification any more (MSC3856): clients of servers without a list of threads ask
    for these.  Spec: MSC3440, fetching thread roots.
    """

    types: frozenset[str] | None
    senders: frozenset[str] | None


class RoomEventFilter(EventFilter, frozen=True):
    """Which events of which rooms to include.

    Spec: client-server API, ``RoomEventFilter``.
    """

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    is_empty: bool = True  # it excludes no event
    related_by: RelatedBy | None = None  # looked at by ``/messages`` alone

    @classmethod
    def parse(cls, value: Any, name: str = "filter") -> RoomEventFilter:
        """A filter as ``/messages`` and ``/context`` take it, or as part of a sync filter.

        Raises: :class:`BadFilter`.
        """
        return _parse_room_event_filter(value, name)

    def allows_room(self, room_id: str) -> bool:
        """Whether it lets through anything of a room."""
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)

    def matches(self, event: Event) -> bool:
        """Whether it lets an event through."""
        return self.is_empty or (
            self.allows(event.sender, event.type)
            and self.allows_room(event.room_id)
            and (self.contains_url is None or ("url" in event.content) == self.contains_url)
        )


class SyncFilter(Struct, frozen=True):
    """What a client wants of ``/sync``.  Spec: client-server API, ``Filter``."""

    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    include_leave: bool = False
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    ephemeral: RoomEventFilter = RoomEventFilter()
    room_account_data: RoomEventFilter = RoomEventFilter()
    event_fields: tuple[tuple[str, ...], ...] | None = None
    event_format: str = "client"

    @classmethod
    def parse(cls, value: Any) -> SyncFilter:
        """A filter as a client uploads it or gives it inline.  Raises :class:`BadFilter`."""
        return _parse_sync_filter(value)

    def allows_room(self, room_id: str) -> bool:
        """Whether a room is to be in the response at all."""
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)

    @property
    def lazy_load_members(self) -> bool:
        """Whether only the members who matter for the response are to be sent."""
        return self.state.lazy_load_members

    @property
    def include_redundant_members(self) -> bool:
        """Whether members are to be sent again that the client was sent before."""
        return self.state.include_redundant_members

    @property
    def unread_thread_notifications(self) -> bool:
        """Whether unread counts are to be given per thread."""
        return self.timeline.unread_thread_notifications

    def select_fields(self, event: JsonObject) -> JsonObject:
        """The fields of a client event that the client asked for."""
        if self.event_fields is None:
            return event
        selected: JsonObject = {}
        for path in self.event_fields:
            found = get_path(event, path, MISSING)
            if found is not MISSING:
                set_path(selected, path, found)
        return selected


EMPTY_FILTER = SyncFilter()


# ---------------------------------------------------------------- parsing


def _parse_sync_filter(value: Any) -> SyncFilter:
    value = _object(value, "filter")
    room = _object(value.get("room"), "room")
    event_format = value.get("event_format", "client")
    if event_format not in ("client", "federation"):
        raise BadFilter("'event_format' must be 'client' or 'federation'")
    return SyncFilter(
        presence=EventFilter(**_event_filter(_object(value.get("presence"), "presence"))),
        account_data=EventFilter(
            **_event_filter(_object(value.get("account_data"), "account_data"))
        ),
        rooms=_ids(room, "rooms", RoomId.parse),
        not_rooms=_ids(room, "not_rooms", RoomId.parse) or frozenset(),
        include_leave=_boolean(room, "include_leave") or False,
        state=_parse_room_event_filter(room.get("state"), "room.state"),
        timeline=_parse_room_event_filter(room.get("timeline"), "room.timeline"),
        ephemeral=_parse_room_event_filter(room.get("ephemeral"), "room.ephemeral"),
        room_account_data=_parse_room_event_filter(room.get("account_data"), "room.account_data"),
        event_fields=_event_fields(value),
        event_format=event_format,
    )


def _parse_room_event_filter(value: Any, name: str) -> RoomEventFilter:
    value = _object(value, name)
    parts = _event_filter(value)
    parts["rooms"] = _ids(value, "rooms", RoomId.parse)
    parts["not_rooms"] = _ids(value, "not_rooms", RoomId.parse) or frozenset()
    parts["contains_url"] = _boolean(value, "contains_url")
    return RoomEventFilter(
        **parts,
        lazy_load_members=_boolean(value, "lazy_load_members") or False,
        include_redundant_members=_boolean(value, "include_redundant_members") or False,
        unread_thread_notifications=_boolean(value, "unread_thread_notifications") or False,
        is_empty=all(parts[name] == default for name, default in EXCLUDES_NOTHING.items()),
        related_by=_related_by(value),
    )


def _related_by(value: Mapping[str, Any]) -> RelatedBy | None:
    types, senders = _strings(value, RELATED_TYPES), _ids(value, RELATED_SENDERS, UserId.parse)
    if types is None and senders is None:
        return None
    return RelatedBy(None if types is None else frozenset(types), senders)


EXCLUDES_NOTHING: dict[str, Any] = {
    "senders": None,
    "not_senders": frozenset(),
    "types": None,
    "not_types": TypeSet(),
    "rooms": None,
    "not_rooms": frozenset(),
    "contains_url": None,
}


def _event_filter(value: Mapping[str, Any]) -> dict[str, Any]:
    limit = value.get("limit")
    if limit is not None and (type(limit) is not int or limit < 0):
        raise BadFilter("'limit' must be an integer greater than 0")
    return {
        "limit": limit,
        "senders": _ids(value, "senders", UserId.parse),
        "not_senders": _ids(value, "not_senders", UserId.parse) or frozenset(),
        "types": _types(value, "types"),
        "not_types": _types(value, "not_types") or TypeSet(),
    }


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadFilter(f"'{name}' must be an object")
    return value


def _boolean(value: Mapping[str, Any], name: str) -> bool | None:
    found = value.get(name)
    if found is not None and not isinstance(found, bool):
        raise BadFilter(f"'{name}' must be true or false")
    return found


def _strings(value: Mapping[str, Any], name: str) -> list[str] | None:
    found = value.get(name)
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise BadFilter(f"'{name}' must be an array of strings")
    if len(found) > MAX_LIST:
        raise BadFilter(f"'{name}' must have at most {MAX_LIST} entries")
    return found


def _ids(
    value: Mapping[str, Any], name: str, parse: Callable[[object], str]
) -> frozenset[str] | None:
    found = _strings(value, name)
    if found is None:
        return None
    try:
        return frozenset(parse(item) for item in found)
    except InvalidIdentifier as error:
        raise BadFilter(f"'{name}': {error}") from error


def _types(value: Mapping[str, Any], name: str) -> TypeSet | None:
    found = _strings(value, name)
    return None if found is None else TypeSet.parse(found, name)


def _event_fields(value: Mapping[str, Any]) -> tuple[tuple[str, ...], ...] | None:
    found = _strings(value, "event_fields")
    return None if found is None else tuple(split_path(item) for item in dict.fromkeys(found))
