"""How long a room's messages are to be kept: ``m.room.retention``.  Spec: MSC1763."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

RETENTION_TYPES = ("m.room.retention", "org.matrix.msc1763.retention")
MOST_MS = 2**53 - 1


class RetentionPolicy(Struct, frozen=True):
    """What a room asks for, in ms; None: nothing."""

    max_lifetime: int | None = None
    min_lifetime: int | None = None


class RetentionLimits(Struct, frozen=True):
    """What the instance's admin allows, in ms.

    ``default``: for rooms that ask for nothing; ``least``, ``most``: for all.  None: no limit.
    """

    default: int | None = None
    least: int | None = None
    most: int | None = None

    def lifetime(self, policy: RetentionPolicy | None) -> int | None:
        """How long messages of a room with this policy stay; None: for ever."""
        wanted = self.default if policy is None else policy.max_lifetime
        if wanted is None:
            return self.most
        if self.least is not None:
            wanted = max(wanted, self.least)
        return wanted if self.most is None else min(wanted, self.most)


def parse_retention_policy(content: Mapping[str, Any]) -> RetentionPolicy | None:
    """A room's policy; None for what is no policy, as if there were none."""
    longest, shortest = content.get("max_lifetime"), content.get("min_lifetime")
    for value in (longest, shortest):
        if value is not None and (type(value) is not int or not 0 < value <= MOST_MS):
            return None
    if longest is not None and shortest is not None and shortest > longest:
        return None
    return RetentionPolicy(longest, shortest)
