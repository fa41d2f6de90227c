"""One request to a push gateway, and what came of it.  Spec: push gateway API."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import orjson

DEADLINE_SECONDS = 20.0
MAX_ANSWER_BYTES = 64 * 1024
USER_AGENT = "Comity-Push/1"


@dataclass(frozen=True, slots=True)
class Outcome:
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
    """Follows no redirect, keeps no cookie, unpacks nothing."""

    def __init__(
        self,
        *,
        session: Callable[[], aiohttp.ClientSession],
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """``session``: of which no connection leads where it must not."""
        self._session = session
        self._deadline_seconds = deadline_seconds

    async def notify(self, url: str, body: bytes) -> Outcome:
        """Send a notification: it was taken if the answer's status is 2xx."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._post(url, body)
        except TimeoutError:
            return Outcome(f"no answer within {self._deadline_seconds:g} s")
        except (ssl.SSLError, aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            return Outcome("its certificate is not good")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(f"no answer: {type(error).__name__}")

    async def _post(self, url: str, body: bytes) -> Outcome:
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }
        async with self._session().post(
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            answer = await _read(response)
            status = response.status
            if not 200 <= status < 300:
                refused = 400 <= status < 500 and status not in (408, 429)
                return Outcome(f"it answered {status}", refused=refused)
            return Outcome(rejected=_rejected(answer))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """A small answer; nothing of a large one."""
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > MAX_ANSWER_BYTES:
            response.close()
            return b""
    return bytes(found)


def _rejected(answer: bytes) -> frozenset[str]:
    try:
        parsed = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return frozenset()
    listed = parsed.get("rejected") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        return frozenset()
    return frozenset(pushkey for pushkey in listed if isinstance(pushkey, str))
