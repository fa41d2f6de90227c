"""What policy asks of other parts of the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from homeserver.protocol.media_uris import MediaUri
from homeserver.services.judgement import Judgement
from homeserver.services.media_facts import MediaFacts
from homeserver.services.policy.subject import Subject


class Standing(Protocol):
    """Whether a sender is a stranger to those who would read the event."""

    async def is_known(self, subject: Subject) -> bool:
        """Known to the readers; for an invite, to the invited user."""


class Ages(Protocol):
    """How old accounts are."""

    async def created_at(self, user_id: str) -> int | None:
        """When an account was made, or first seen here; ms.  None if nothing is known."""


class MediaLookup(Protocol):
    """What files are."""

    async def facts_of(self, uris: Sequence[MediaUri]) -> Sequence[MediaFacts]:
        """The facts of those files that are here."""


class EventChecks(Protocol):
    """Services outside, asked about what the rules accepted."""

    async def check(self, subject: Subject) -> Judgement | None:
        """What they say; None where they have nothing to say."""


class ServerThrottle(Protocol):
    """Asks other instances to slow down."""

    def slow_down(self, server: str, seconds: int) -> None:
        """Take only few requests of an instance for so long."""


class ServerBlocks(Protocol):
    """Instances that this one does not deal with."""

    async def block(
        self, server: str, *, reason: str, source: str, expires_at: int | None = None
    ) -> object:
        """Deal with an instance no more, or not until then (ms)."""


class Ports(Struct):
    """The other parts, each as far as it is there; filled in as they are built."""

    standing: Standing | None = None
    ages: Ages | None = None
    media: MediaLookup | None = None
    throttle: ServerThrottle | None = None
    blocks: ServerBlocks | None = None
    checks: EventChecks | None = None
