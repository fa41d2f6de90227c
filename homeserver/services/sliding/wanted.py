"""What a client wants to know of a room: how much of its timeline, and which state.

Spec: MSC4186, ``RequiredStateRequest``, combining and changing room configs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from homeserver.protocol.events import StateKey

MEMBER = "m.room.member"


class StatePattern(Struct, frozen=True):
    """State events by type and key; None stands for all of them."""

    type: str | None = None
    state_key: str | None = None

    def matches(self, key: StateKey) -> bool:
        """Whether a state event is among them."""
        return self.type in (None, key[0]) and self.state_key in (None, key[1])

    @property
    def exact(self) -> StateKey | None:
        """The one key that it stands for, if it is one."""
        if self.type is None or self.state_key is None:
            return None
        return (self.type, self.state_key)


class RequiredState(Struct, frozen=True):
    """Which state one rule asks for.

    ``lazy_members``: members only as they appear in the timeline; then what stands for many keys
    stands for no member.
    """

    include: frozenset[StatePattern] = frozenset()
    exclude: frozenset[StatePattern] = frozenset()
    lazy_members: bool = False

    def matches(self, key: StateKey) -> bool:
        """Whether it asks for a state event, lazy members aside."""
        if not any(self._includes(pattern, key) for pattern in self.include):
            return False
        return not any(pattern.matches(key) for pattern in self.exclude)

    def _includes(self, pattern: StatePattern, key: StateKey) -> bool:
        if self.lazy_members and key[0] == MEMBER and pattern.exact is None:
            return False
        return pattern.matches(key)


class RoomConfig(Struct, frozen=True):
    """What is wanted of a room: the union of what each of its rules asks for."""

    timeline_limit: int
    required: frozenset[RequiredState]

    def matches(self, key: StateKey) -> bool:
        """Whether a state event is wanted, lazy members aside."""
        return any(required.matches(key) for required in self.required)

    @property
    def lazy_members(self) -> bool:
        """Whether members that appear in the timeline are wanted."""
        return any(required.lazy_members for required in self.required)

    @property
    def exact_keys(self) -> set[StateKey]:
        """The keys that are asked for by name."""
        patterns = (pattern for required in self.required for pattern in required.include)
        return {pattern.exact for pattern in patterns if pattern.exact is not None}

    @property
    def whole_types(self) -> set[str]:
        """The types of which more than single keys are asked for."""
        return {
            pattern.type
            for required in self.required
            for pattern in required.include
            if pattern.type is not None
            and pattern.state_key is None
            and not (required.lazy_members and pattern.type == MEMBER)
        }

    @property
    def wants_any_type(self) -> bool:
        """Whether something is asked for whatever its type."""
        return any(
            pattern.type is None for required in self.required for pattern in required.include
        )

    def adds_state_to(self, before: RoomConfig) -> bool:
        """Whether it may ask for state that another config does not ask for."""
        return not self.required <= before.required


def combined(configs: Sequence[RoomConfig]) -> RoomConfig:
    """What all of some rules together ask for."""
    if len(configs) == 1:
        return configs[0]
    return RoomConfig(
        max(config.timeline_limit for config in configs),
        frozenset().union(*(config.required for config in configs)),
    )


def required_state(
    include: Iterable[StatePattern],
    exclude: Iterable[StatePattern] = (),
    *,
    lazy_members: bool = False,
) -> frozenset[RequiredState]:
    """What one rule asks for; nothing, if it includes nothing."""
    required = RequiredState(frozenset(include), frozenset(exclude), lazy_members)
    return frozenset((required,)) if required.include or lazy_members else frozenset()
