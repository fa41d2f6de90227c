"""One request to a webhook's address: signed, in time, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import aiohttp
from msgspec import Struct

from homeserver.services.conversations.webhooks.signing import headers
from homeserver.services.outside_post import OutsidePost

DEADLINE_SECONDS = 10.0
LONGEST_RETRY_AFTER_SECONDS = 3_600
USER_AGENT = "Comity-Webhooks/1"


class Attempt(Struct, frozen=True):
    """What came of a request.

    ``error``: None if it was accepted; else why not, in words of ours: nothing of the answer's.
    """

    error: str | None
    response_status: int | None
    latency_ms: int
    retry_after_ms: int | None = None  # as the endpoint asks
    unwanted: bool = False  # the endpoint wants no more: 410


class Sender:
    """Sends what was signed."""

    def __init__(
        self,
        *,
        session: Callable[[], aiohttp.ClientSession],
        clock_ms: Callable[[], int],
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """``session``: of which no connection leads where it must not."""
        self._clock_ms = clock_ms
        self._post = OutsidePost(
            session=session, user_agent=USER_AGENT, deadline_seconds=deadline_seconds
        )

    async def send(
        self, url: str, signing_secrets: Sequence[str], message_id: str, body: bytes
    ) -> Attempt:
        """Make one request.  It was accepted if the answer's status is 2xx."""
        began = time.monotonic()
        signed = headers(signing_secrets, message_id, self._clock_ms() // 1000, body)
        answer = await self._post.send(url, body, signed)
        return Attempt(
            answer.error,
            answer.status,
            int((time.monotonic() - began) * 1000),
            _milliseconds(answer.retry_after) if answer.status in (429, 503) else None,
            unwanted=answer.status == 410,
        )


def _milliseconds(text: str) -> int | None:
    """What ``Retry-After`` asks for."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    return min(int(text), LONGEST_RETRY_AFTER_SECONDS) * 1000
