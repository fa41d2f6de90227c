"""One request to a webhook's address: signed, in time, and what came of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from homeserver.services.conversations.webhooks.signing import headers

DEADLINE_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
LONGEST_RETRY_AFTER_SECONDS = 3_600
USER_AGENT = "Comity-Webhooks/1"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a request.

    ``error``: None if it was accepted; else why not, in words of ours: nothing of the answer's.
    """

    error: str | None
    response_status: int | None
    latency_ms: int
    retry_after_ms: int | None = None  # as the endpoint asks
    unwanted: bool = False  # the endpoint wants no more: 410


class Sender:
    """Sends what was signed.  Follows no redirect, keeps no cookie, unpacks nothing."""

    def __init__(
        self,
        *,
        session: Callable[[], aiohttp.ClientSession],
        clock_ms: Callable[[], int],
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """``session``: of which no connection leads where it must not."""
        self._session = session
        self._clock_ms = clock_ms
        self._deadline_seconds = deadline_seconds

    async def send(
        self, url: str, signing_secrets: Sequence[str], message_id: str, body: bytes
    ) -> Attempt:
        """Make one request.  It was accepted if the answer's status is 2xx."""
        began = time.monotonic()
        signed = headers(signing_secrets, message_id, self._clock_ms() // 1000, body)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._post(url, signed, body, began)
        except TimeoutError:
            return Attempt(f"no answer within {self._deadline_seconds:g} s", None, _since(began))
        except (ssl.SSLError, aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            return Attempt("its certificate is not good", None, _since(began))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Attempt(_reason(error), None, _since(began))

    async def _post(self, url: str, signed: dict[str, str], body: bytes, began: float) -> Attempt:
        sent = {
            **signed,
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }
        async with self._session().post(
            url,
            data=body,
            headers=sent,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            await _drain(response)
            status = response.status
            error = None if 200 <= status < 300 else f"it answered {status}"
            if 300 <= status < 400:
                error = f"it answered {status}: redirects are not followed"
            after = _retry_after_ms(response) if status in (429, 503) else None
            return Attempt(error, status, _since(began), after, unwanted=status == 410)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a small answer, so that its connection can be used again; give up on a large one."""
    length = 0
    async for chunk in response.content.iter_any():
        length += len(chunk)
        if length > MAX_ANSWER_BYTES:
            response.close()
            return


def _retry_after_ms(response: aiohttp.ClientResponse) -> int | None:
    text = response.headers.get("Retry-After", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    return min(int(text), LONGEST_RETRY_AFTER_SECONDS) * 1000


def _reason(error: Exception) -> str:
    """Why there was no answer, without what the other side said."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ == "AddressRefused":
            return "its address lies in a network to which nothing is sent"
        cause = cause.__cause__ or (cause.__context__ if cause is not cause.__context__ else None)
    return f"no answer: {type(error).__name__}"


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
