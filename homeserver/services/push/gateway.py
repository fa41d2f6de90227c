"""One request to a push gateway, and what came of it.  Spec: push gateway API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import aiohttp
import orjson
from msgspec import Struct

from homeserver.services.outside_post import OutsidePost

DEADLINE_SECONDS = 20.0
USER_AGENT = "Comity-Push/1"


class Outcome(Struct, frozen=True):
    """What came of a request.

    ``error``: None if the gateway took it; else why not, without a word of the gateway's.
    ``rejected``: the pushkeys that it wants no more of.  ``refused``: the gateway says that the
    request itself is not good, so that to repeat it is of little use.
    """

    error: str | None = None
    rejected: frozenset[str] = frozenset()
    refused: bool = False


class Gateway(Protocol):
    """Where notifications are sent."""

    async def notify(self, url: str, body: bytes) -> Outcome:
        """Send one."""


class HttpGateway:
    """Sends notifications as HTTP requests."""

    def __init__(
        self,
        *,
        session: Callable[[], aiohttp.ClientSession],
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """``session``: of which no connection leads where it must not."""
        self._post = OutsidePost(
            session=session, user_agent=USER_AGENT, deadline_seconds=deadline_seconds
        )

    async def notify(self, url: str, body: bytes) -> Outcome:
        """Send a notification: it was taken if the answer's status is 2xx."""
        answer = await self._post.send(url, body)
        if answer.error is None:
            return Outcome(rejected=_rejected(answer.body))
        status = answer.status
        refused = status is not None and 400 <= status < 500 and status not in (408, 429)
        return Outcome(answer.error, refused=refused)


def _rejected(answer: bytes) -> frozenset[str]:
    try:
        parsed = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return frozenset()
    listed = parsed.get("rejected") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        return frozenset()
    return frozenset(pushkey for pushkey in listed if isinstance(pushkey, str))
