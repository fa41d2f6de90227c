"""Requests of sliding sync, in both of their spellings.

The accepted text (``v4``) has everything in the body, ``range``, and an object for
``required_state``; clients of before (``unstable/org.matrix.simplified_msc3575``) have ``pos`` and
``timeout`` in the query, ``ranges``, and pairs with ``*``, ``$ME`` and ``$LAZY``.  Both are taken
at either address.

Nothing is remembered from one request to the next.  A ``txn_id`` is not sent back: matrix-rust-sdk
takes it for the word of a server that does remember, and leaves its extensions out from then on.

Spec: MSC4186, request body; MSC4508, common extension semantics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from homeserver.errors import BadJson, InvalidParam
from homeserver.services.requester import Requester
from homeserver.services.sliding.wanted import (
    MEMBER,
    RequiredState,
    RoomConfig,
    StatePattern,
    required_state,
)

MOST_LISTS = 100
MOST_SUBSCRIPTIONS = 100
MOST_PATTERNS = 500
MOST_IN_FILTER = 500
MOST_TIMELINE = 100
MOST_RANGES = 100
LONGEST_NAME = 255
LONGEST_TIMEOUT_MS = 300_000
MOST_TO_DEVICE = 100
MOST_THREADS = 100
PRESENCES = ("online", "offline", "unavailable")
# The names of extensions while their proposals are open.
UNSTABLE_NAMES = {
    "org.matrix.msc4508.typing": "typing",
    "org.matrix.msc4538.to_device": "to_device",
    "org.matrix.msc4543.e2ee": "e2ee",
    "io.element.msc4308.thread_subscriptions": "thread_subscriptions",
}
EXTENSIONS = (
    "to_device",
    "e2ee",
    "account_data",
    "receipts",
    "typing",
    "thread_subscriptions",
    "dev.comity.ended",
)

Range = tuple[int, int]


class RoomFilter(Struct, frozen=True):
    """Which rooms a list is of.  Spec: MSC4186, ``SlidingRoomFilter``."""

    is_dm: bool | None = None
    is_encrypted: bool | None = None
    is_invited: bool | None = None
    spaces: frozenset[str] | None = None
    room_types: frozenset[str | None] | None = None
    not_room_types: frozenset[str | None] = frozenset()
    tags: frozenset[str] | None = None
    not_tags: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether it lets every room through."""
        return self == NO_FILTER


NO_FILTER = RoomFilter()


class ListRequest(Struct, frozen=True):
    """A list: a filter, and the places in it (both ends included) that the client looks at.

    ``ranges``: None for the whole list.
    """

    config: RoomConfig
    filter: RoomFilter = NO_FILTER
    ranges: tuple[Range, ...] | None = None


class ExtensionRequest(Struct, frozen=True):
    """An extension that is wanted.

    ``name``: as the client spells it.  ``lists``, ``rooms``: whose rooms it is about; None for all.
    """

    name: str
    lists: frozenset[str] | None = None
    rooms: frozenset[str] | None = None
    since: str | None = None
    limit: int = MOST_TO_DEVICE


class SlidingRequest(Struct, frozen=True):
    """One request."""

    requester: Requester
    conn_id: str = ""
    pos: str | None = None
    timeout_ms: int = 0
    set_presence: str = "online"
    lists: Mapping[str, ListRequest] = field(default_factory=dict)
    subscriptions: Mapping[str, RoomConfig] = field(default_factory=dict)
    extensions: Mapping[str, ExtensionRequest] = field(default_factory=dict)
    legacy: bool = False
    is_gone: Callable[[], bool] = lambda: False  # whether nobody is there for the answer


def parse_request(
    requester: Requester,
    body: dict[str, Any],
    query: Mapping[str, str],
    *,
    legacy: bool,
    is_gone: Callable[[], bool] = lambda: False,
) -> SlidingRequest:
    """A request as it came.  Raises :class:`BadJson`, :class:`InvalidParam`."""
    pos = query.get("pos") or _text(body, "pos", most=1_000)
    conn_id = _text(body, "conn_id") or ""
    set_presence = query.get("set_presence") or _text(body, "set_presence") or "online"
    if set_presence not in PRESENCES:
        raise InvalidParam("'set_presence' must be online, offline or unavailable")
    lists = _object(body, "lists")
    if len(lists) > MOST_LISTS:
        raise InvalidParam(f"There can be at most {MOST_LISTS} lists")
    rooms = _object(body, "room_subscriptions")
    if len(rooms) > MOST_SUBSCRIPTIONS:
        raise InvalidParam(f"There can be at most {MOST_SUBSCRIPTIONS} room subscriptions")
    me = requester.user_id
    return SlidingRequest(
        requester=requester,
        conn_id=conn_id,
        pos=pos or None,
        timeout_ms=_timeout(body, query),
        set_presence=set_presence,
        lists={_list_name(name): _list(name, value, me) for name, value in lists.items()},
        subscriptions={
            room_id: _config(f"room_subscriptions.{room_id}", value, me)
            for room_id, value in rooms.items()
        },
        extensions=dict(_extensions(_object(body, "extensions"))),
        legacy=legacy,
        is_gone=is_gone,
    )


def _timeout(body: dict[str, Any], query: Mapping[str, str]) -> int:
    text = query.get("timeout")
    if text is not None:
        if not text.isascii() or not text.isdigit():
            raise InvalidParam("'timeout' must be a number of milliseconds")
        return min(int(text[:12]), LONGEST_TIMEOUT_MS)
    return min(_integer(body, "timeout", 0), LONGEST_TIMEOUT_MS)


# ---------------------------------------------------------------- lists


def _list_name(name: str) -> str:
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidParam(f"A list's key has between 1 and {LONGEST_NAME} characters")
    return name


def _list(name: str, value: Any, me: str) -> ListRequest:
    where = f"lists.{name[:LONGEST_NAME]}"
    config = _config(where, value, me)
    return ListRequest(config, _filter(_object(value, "filters")), _ranges(where, value))


def _ranges(where: str, value: dict[str, Any]) -> tuple[Range, ...] | None:
    ranges = value.get("ranges")
    if ranges is None:
        if value.get("range") is None:
            return None
        ranges = [value["range"]]
    if not isinstance(ranges, list) or len(ranges) > MOST_RANGES:
        raise BadJson(f"'{where}': the ranges must be up to {MOST_RANGES} pairs of integers")
    found: list[Range] = []
    for item in ranges:
        if not isinstance(item, list) or len(item) != 2 or not all(map(_is_place, item)):
            raise BadJson(f"'{where}': a range is a pair of integers, the first and the last place")
        if item[0] > item[1]:
            raise InvalidParam(f"'{where}': a range ends before it begins")
        found.append((item[0], item[1]))
    return tuple(sorted(found))


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _filter(value: dict[str, Any]) -> RoomFilter:
    if not value:
        return NO_FILTER
    is_invited = _flag(value, "is_invited")
    return RoomFilter(
        is_dm=_flag(value, "is_dm"),
        is_encrypted=_flag(value, "is_encrypted"),
        is_invited=_flag(value, "is_invite") if is_invited is None else is_invited,
        spaces=_names(value, "spaces"),
        room_types=_types(value, "room_types"),
        not_room_types=_types(value, "not_room_types") or frozenset(),
        tags=_names(value, "tags"),
        not_tags=_names(value, "not_tags") or frozenset(),
    )


def _types(value: dict[str, Any], key: str) -> frozenset[str | None] | None:
    items = _items(value, key)
    if items is None:
        return None
    if not all(item is None or isinstance(item, str) for item in items):
        raise BadJson(f"'filters.{key}' must be an array of strings and nulls")
    return frozenset(items)


def _names(value: dict[str, Any], key: str) -> frozenset[str] | None:
    items = _items(value, key)
    if items is None:
        return None
    if not all(isinstance(item, str) for item in items):
        raise BadJson(f"'{key}' must be an array of strings")
    return frozenset(items)


def _items(value: dict[str, Any], key: str) -> list[Any] | None:
    items = value.get(key)
    if items is None:
        return None
    if not isinstance(items, list) or len(items) > MOST_IN_FILTER:
        raise BadJson(f"'{key}' must be an array of up to {MOST_IN_FILTER} items")
    return items


# ---------------------------------------------------------------- what is wanted of rooms


def _config(where: str, value: Any, me: str) -> RoomConfig:
    if not isinstance(value, dict):
        raise BadJson(f"'{where}' must be an object")
    limit = min(_integer(value, "timeline_limit", 0), MOST_TIMELINE)
    required = value.get("required_state")
    if required is None:
        return RoomConfig(limit, frozenset())
    if isinstance(required, list):
        return RoomConfig(limit, _pairs(where, required, me))
    if not isinstance(required, dict):
        raise BadJson(f"'{where}.required_state' must be an object")
    return RoomConfig(
        limit,
        required_state(
            _patterns(where, required, "include"),
            _patterns(where, required, "exclude"),
            lazy_members=_flag(required, "lazy_members") or False,
        ),
    )


def _patterns(where: str, required: dict[str, Any], key: str) -> Iterator[StatePattern]:
    items = required.get(key)
    if items is None:
        return
    if not isinstance(items, list) or len(items) > MOST_PATTERNS:
        raise BadJson(f"'{where}.{key}' must be an array of up to {MOST_PATTERNS} objects")
    for item in items:
        if not isinstance(item, dict):
            raise BadJson(f"'{where}.{key}' must be an array of objects")
        yield StatePattern(
            _text(item, "type", blank=True), _text(item, "state_key", blank=True, most=1_000)
        )


def _pairs(where: str, pairs: list[Any], me: str) -> frozenset[RequiredState]:
    if len(pairs) > MOST_PATTERNS:
        raise InvalidParam(f"'{where}.required_state' has more than {MOST_PATTERNS} items")
    patterns: list[StatePattern] = []
    lazy = False
    for pair in pairs:
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(p, str) for p in pair)
        ):
            raise BadJson(f"'{where}.required_state' must be pairs of a type and a state key")
        event_type, state_key = pair
        if state_key == "$LAZY":
            lazy = lazy or event_type in (MEMBER, "*")
            continue
        patterns.append(
            StatePattern(
                None if event_type == "*" else event_type,
                None if state_key == "*" else me if state_key == "$ME" else state_key,
            )
        )
    return required_state(patterns, lazy_members=lazy)


# ---------------------------------------------------------------- extensions


def _extensions(value: dict[str, Any]) -> Iterator[tuple[str, ExtensionRequest]]:
    """The extensions that are wanted and known, by their stable names."""
    for name, config in value.items():
        known = UNSTABLE_NAMES.get(name, name)
        if known not in EXTENSIONS or config is None:
            continue
        if not isinstance(config, dict):
            raise BadJson(f"'extensions.{known}' must be an object")
        if not _flag(config, "enabled"):
            continue
        rooms = _names(config, "rooms")
        limit = _integer(config, "limit", MOST_TO_DEVICE)
        if limit < 1:
            raise InvalidParam(f"'extensions.{known}.limit' must be at least 1")
        yield (
            known,
            ExtensionRequest(
                name,
                _names(config, "lists"),
                None if rooms is not None and "*" in rooms else rooms,
                _text(config, "since"),
                min(limit, MOST_TO_DEVICE if known == "to_device" else MOST_THREADS),
            ),
        )


# ---------------------------------------------------------------- values


def _object(body: Any, key: str) -> dict[str, Any]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadJson(f"'{key}' must be an object")
    return value


def _flag(body: dict[str, Any], key: str) -> bool | None:
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadJson(f"'{key}' must be true or false")
    return value


def _integer(body: dict[str, Any], key: str, default: int) -> int:
    value = body.get(key)
    if value is None:
        return default
    if not _is_place(value):
        raise BadJson(f"'{key}' must be an integer, and not negative")
    number: int = value
    return number


def _text(
    body: dict[str, Any], key: str, *, blank: bool = False, most: int = LONGEST_NAME
) -> str | None:
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise BadJson(f"'{key}' must be a string of up to {most} characters")
    return value if value or blank else None
