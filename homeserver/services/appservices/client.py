"""Requests to application services, bounded in time and size.

Spec: application service API, homeserver to application service: authorisation, legacy routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import orjson
from msgspec import Struct

from homeserver.services.appservices.registration import AppService

V1 = "/_matrix/app/v1"
UNSTABLE = "/_matrix/app/unstable"
USER_AGENT = "Comity"
CONNECT_SECONDS = 10.0
TRANSACTION_SECONDS = 60.0
QUESTION_SECONDS = 10.0
MAX_ANSWER_BYTES = 1024 * 1024
OLD_ROUTES = (404, 405, 500, 501)  # how one answers that knows only the older paths


class Answer(Struct, frozen=True):
    """What an application service answered."""

    status: int
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether it took the request."""
        return 200 <= self.status < 300

    @property
    def json(self) -> Any:
        """The body, or None if it is not JSON."""
        try:
            return orjson.loads(self.content)
        except ValueError:
            return None

    @property
    def is_unknown_route(self) -> bool:
        """Whether the path means nothing there, rather than what was asked about."""
        if self.status not in OLD_ROUTES:
            return False
        body = self.json
        return not isinstance(body, dict) or body.get("errcode") == "M_UNRECOGNIZED"


class NoAnswer(Exception):
    """An application service did not answer; ``timed_out`` if it was only too slow."""

    def __init__(self, text: str, *, timed_out: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.timed_out = timed_out


class ServiceClient:
    """One HTTP session for all application services.  Follows no redirect, keeps no cookie."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, service: AppService, txn_id: str, body: bytes) -> Answer:
        """Send a transaction.  Raises :class:`NoAnswer`."""
        paths = (f"{V1}/transactions/{txn_id}", f"/transactions/{txn_id}")
        return await self._first(service, "PUT", paths, seconds=TRANSACTION_SECONDS, data=body)

    async def ping(self, service: AppService, transaction_id: str | None) -> Answer:
        """Have it show that it is there.  Raises :class:`NoAnswer`."""
        body = {"transaction_id": transaction_id} if transaction_id is not None else {}
        return await self._request(
            service, "POST", f"{V1}/ping", seconds=QUESTION_SECONDS, data=orjson.dumps(body)
        )

    async def ask(
        self,
        service: AppService,
        paths: Sequence[str],
        query: Mapping[str, str] | None = None,
        *,
        seconds: float = QUESTION_SECONDS,
    ) -> Answer:
        """GET the first of several spellings of a path that is known there.

        Raises :class:`NoAnswer`.
        """
        return await self._first(service, "GET", paths, seconds=seconds, params=query)

    async def _first(
        self, service: AppService, method: str, paths: Sequence[str], **request: Any
    ) -> Answer:
        answer = await self._request(service, method, paths[0], **request)
        for path in paths[1:] if answer.is_unknown_route else ():
            other = await self._request(service, method, path, **request)
            if not other.is_unknown_route:
                return other
        return answer

    async def _request(
        self, service: AppService, method: str, path: str, *, seconds: float, **request: Any
    ) -> Answer:
        if service.url is None:
            raise NoAnswer("it has no URL")
        headers = {
            "Authorization": f"Bearer {service.hs_token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        }
        try:
            async with (
                asyncio.timeout(seconds),
                self._open().request(
                    method, service.url + path, headers=headers, allow_redirects=False, **request
                ) as response,
            ):
                return Answer(response.status, await _read(response))
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {seconds:g} s", timed_out=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(f"no answer: {type(error).__name__}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The answer, or the first part of a large one."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            response.close()
            break
    return bytes(content[:MAX_ANSWER_BYTES])
