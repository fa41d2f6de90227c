"""Rules of moderation policy lists, as they stand in a room's state.

Spec: client-server API, moderation policy lists.  The types and the recommendation that lists used
before they were in the spec are read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

USER, SERVER, ROOM = "user", "server", "room"
KINDS = (USER, SERVER, ROOM)
_PREFIXES = ("m.policy.rule.", "m.room.rule.", "org.matrix.mjolnir.rule.")
KIND_OF_TYPE: Mapping[str, str] = {prefix + kind: kind for kind in KINDS for prefix in _PREFIXES}
BAN = frozenset({"m.ban", "org.matrix.mjolnir.ban"})

MAX_ENTITY_BYTES = 255
MAX_REASON_LENGTH = 500


class PolicyRule(Struct, frozen=True):
    """Whom a list recommends to ban: a glob over user IDs, server names, room IDs and aliases."""

    kind: str
    entity: str
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What is one rule however many events say it."""
        return self.kind, self.entity


def parse_rule(event_type: str, content: Mapping[str, Any]) -> PolicyRule | None:
    """The rule that a state event stands for.

    None if it is none (any more): redacted or emptied, another recommendation than to ban, or an
    entity that can match nothing.
    """
    kind = KIND_OF_TYPE.get(event_type)
    recommendation = content.get("recommendation")
    if kind is None or not isinstance(recommendation, str) or recommendation not in BAN:
        return None
    return make_rule(kind, content.get("entity"), content.get("reason"))


def make_rule(kind: str, entity: object, reason: object = "") -> PolicyRule | None:
    """A rule with its entity checked and its reason cut; None if the entity can match nothing."""
    if not isinstance(entity, str):
        return None
    entity = entity.strip()
    if not entity or "\0" in entity or len(entity.encode("utf-8", "replace")) > MAX_ENTITY_BYTES:
        return None
    if kind == SERVER:
        entity = entity.lower()
    text = reason if isinstance(reason, str) else ""
    return PolicyRule(kind, entity, text.replace("\0", "")[:MAX_REASON_LENGTH])


def matches_everything(entity: str) -> bool:
    """Whether a glob has nothing of a name in it: ``*``, ``@*:*``, ``*.*``."""
    return not entity.strip("*?@:.#!")
