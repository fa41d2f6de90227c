"""Asks a service over HTTP.  ``docs/external-checks.md`` has the contract."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import aiohttp

from homeserver.services.external_checks.answers import (
    VERDICTS,
    Answer,
    CheckFailed,
    clean_reason,
)

MAX_ANSWER_BYTES = 64 * 1024
TIMESTAMP_HEADER = "X-Comity-Timestamp"
SIGNATURE_HEADER = "X-Comity-Signature"


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What the signature header says of a request."""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"


class Webhook:
    """One service that is asked."""

    def __init__(
        self,
        *,
        url: str,
        secret: str,
        session: Callable[[], aiohttp.ClientSession],
        clock_ms: Callable[[], int],
    ) -> None:
        self._url = url
        self._secret = secret
        self._session = session
        self._clock_ms = clock_ms

    async def ask(self, question: dict[str, Any]) -> Answer:
        """Ask about an event or a file.  Raises :class:`CheckFailed`; the caller has the clock."""
        body = json.dumps(question).encode()
        timestamp = str(self._clock_ms() // 1000)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._secret, timestamp, body),
        }
        try:
            async with self._session().post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise CheckFailed(f"it answered {response.status}")
                return _parse(await _read(response))
        except (aiohttp.ClientError, OSError) as error:
            raise CheckFailed(f"no answer: {type(error).__name__}") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise CheckFailed(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
    return bytes(content)


def _parse(content: bytes) -> Answer:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckFailed("its answer is not JSON") from error
    verdict = answer.get("verdict") if isinstance(answer, dict) else None
    if not isinstance(verdict, str) or verdict not in VERDICTS:
        raise CheckFailed("its answer has no verdict that is known")
    return Answer(verdict, clean_reason(answer.get("reason")))


def new_session() -> aiohttp.ClientSession:
    """A session for all webhooks: no cookies, and nothing unpacked."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    )
