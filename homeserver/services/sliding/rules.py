"""The rules of a request, which rooms each shows, and what is wanted of a room that several show.

Spec: MSC4186, lists and subscriptions, combining room configs.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from msgspec import Struct, field

from homeserver.services.sliding.wanted import RoomConfig, combined


class Rule(Struct, frozen=True):
    """One rule: a list, or, with an empty name, the subscription to a room."""

    name: str
    config: RoomConfig
    rooms: Set[str]
    count: int = 0


class Rules(Struct):
    """All rules of a request."""

    rules: Sequence[Rule]
    _combined: dict[tuple[int, ...], RoomConfig] = field(default_factory=dict)

    def config(self, room_id: str) -> RoomConfig | None:
        """What is wanted of a room; None if no rule shows it."""
        places = tuple([n for n, rule in enumerate(self.rules) if room_id in rule.rooms])
        if not places:
            return None
        found = self._combined.get(places)
        if found is None:
            found = self._combined[places] = combined([self.rules[n].config for n in places])
        return found

    def lists(self, room_id: str) -> list[str]:
        """The lists that show a room."""
        return [rule.name for rule in self.rules if rule.name and room_id in rule.rooms]

    @property
    def rooms(self) -> Set[str]:
        """All rooms that some rule shows."""
        parts = [rule.rooms for rule in self.rules if rule.rooms]
        return parts[0] if len(parts) == 1 else frozenset().union(*parts)

    @property
    def key(self) -> tuple[tuple[RoomConfig, Set[str]], ...]:
        """What the rules come to: the same key asks for the same of the same rooms."""
        return tuple((rule.config, rule.rooms) for rule in self.rules)
