"""A POST to an address that somebody else has named: a push gateway's, a webhook's.

It follows no redirect, keeps no cookie, unpacks nothing, reads a small answer only, and is over in
time.  What is said of a failure are words of ours: nothing of the other side's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping

import aiohttp
from msgspec import Struct

MAX_ANSWER_BYTES = 64 * 1024
CERTIFICATE_ERRORS = (
    ssl.SSLError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientSSLError,
)


class Answer(Struct, frozen=True):
    """What came of a request.

    ``error``: None if the status is 2xx; else what failed.  ``status``: None without an answer.
    ``body``: empty if it is too large.  ``retry_after``: the header, as it was sent.
    """

    error: str | None
    status: int | None = None
    body: bytes = b""
    retry_after: str = ""


class OutsidePost:
    """Makes such requests."""

    def __init__(
        self,
        *,
        session: Callable[[], aiohttp.ClientSession],
        user_agent: str,
        deadline_seconds: float,
    ) -> None:
        """``session``: of which no connection leads where it must not."""
        self._session = session
        self._user_agent = user_agent
        self._deadline_seconds = deadline_seconds

    async def send(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send JSON, and say what came of it.  Raises nothing."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._send(url, body, headers or {})
        except TimeoutError:
            return Answer(f"no answer within {self._deadline_seconds:g} s")
        except CERTIFICATE_ERRORS:
            return Answer("its certificate is not good")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(_reason(error))

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        sent = {
            **headers,
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": self._user_agent,
        }
        async with self._session().post(
            url,
            data=body,
            headers=sent,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            answer, status = await _read(response), response.status
            error = None if 200 <= status < 300 else f"it answered {status}"
            if 300 <= status < 400:
                error = f"it answered {status}: redirects are not followed"
            return Answer(error, status, answer, response.headers.get("Retry-After", "").strip())


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """A small answer, so that its connection can be used again; nothing of a large one."""
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > MAX_ANSWER_BYTES:
            response.close()
            return b""
    return bytes(found)


def _reason(error: Exception) -> str:
    """Why there was no answer, without what the other side said."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ == "AddressRefused":
            return "its address lies in a network to which nothing is sent"
        cause = cause.__cause__ or (cause.__context__ if cause is not cause.__context__ else None)
    return f"no answer: {type(error).__name__}"
