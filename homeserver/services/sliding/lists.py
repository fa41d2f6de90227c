"""The order of a user's rooms, and what of it a list's ranges show.  Nothing here waits.

Spec: MSC4186, lists, activity ordering.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence, Set

from msgspec import Struct

from homeserver.services.sliding.request import Range


class RoomOrder:
    """Rooms by when something happened in them last: what happens costs one move, not a sort."""

    def __init__(self, activity: Mapping[str, int] | None = None) -> None:
        """``activity``: room ID -> position of what happened last."""
        self._rooms: OrderedDict[str, int] = OrderedDict()
        self._newest = 0
        self.version = 0
        """Changes whenever a room comes or goes; not when one moves."""
        self.reset(activity or {})

    def __len__(self) -> int:
        return len(self._rooms)

    def __contains__(self, room_id: str) -> bool:
        return room_id in self._rooms

    def reset(self, activity: Mapping[str, int]) -> None:
        """Begin anew with these rooms."""
        if self._rooms.keys() != activity.keys():
            self.version += 1
        self._rooms = OrderedDict(sorted(activity.items(), key=lambda item: (item[1], item[0])))
        self._newest = next(reversed(self._rooms.values()), 0)

    def touch(self, room_id: str, position: int) -> None:
        """Something happened in a room, which is added if it is not here yet."""
        known = self._rooms.get(room_id)
        if known is None:
            self.version += 1
        elif known >= position:
            return
        self._rooms[room_id] = position
        if position >= self._newest:
            self._rooms.move_to_end(room_id)
            self._newest = position
        else:  # older than the newest: rare, so it may cost a sort
            self.reset(self._rooms)

    def remove(self, room_id: str) -> None:
        """A room is not the user's any more."""
        if self._rooms.pop(room_id, None) is not None:
            self.version += 1

    def newest_first(self) -> Iterator[str]:
        """The rooms, the one in which something happened last first."""
        return reversed(self._rooms)

    def position(self, room_id: str) -> int:
        """When something happened in a room last; 0 for a room that is not here."""
        return self._rooms.get(room_id, 0)


class Window(Struct, frozen=True):
    """What a list shows: how many rooms it has in all, and those in its ranges."""

    count: int
    rooms: Set[str]


def window(order: RoomOrder, matching: frozenset[str], ranges: Sequence[Range] | None) -> Window:
    """The rooms at some places among those of ``matching``.

    ``ranges``: ascending, both ends included; None for all.  Costs no more than the rooms before
    the last place; nothing where a range covers all.
    """
    count = len(matching)
    if ranges is None or any(first == 0 and last >= count - 1 for first, last in ranges):
        return Window(count, matching)
    end = max((last for _, last in ranges), default=-1)
    found: set[str] = set()
    place = 0
    for room_id in order.newest_first():
        if place > end:
            break
        if room_id in matching:
            if any(first <= place <= last for first, last in ranges):
                found.add(room_id)
            place += 1
    return Window(count, found)
