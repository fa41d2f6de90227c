"""JSON documents of issuers and providers, over HTTP: key sets, discovery, tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiohttp
import orjson

from homeserver.errors import PeerFailed

TIMEOUT_SECONDS = 10.0
MAX_DOCUMENT_BYTES = 512 * 1024


class Documents(Protocol):
    """How issuers and providers are reached."""

    async def get(self, url: str, *, bearer: str | None = None) -> Any:
        """A JSON document.  Raises :class:`PeerFailed`."""

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """The JSON answer to a form, also to one that was refused.  Raises :class:`PeerFailed`."""


class HttpDocuments:
    """Documents over HTTP: bounded in time and size, no redirects, no cookies."""

    def __init__(
        self,
        *,
        new_session: Callable[[], aiohttp.ClientSession] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._new_session = new_session or _new_session
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, url: str, *, bearer: str | None = None) -> Any:
        """A JSON document.  Raises :class:`PeerFailed`."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
        return await self._ask("GET", url, {200}, headers=headers)

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """The JSON answer to a form: 200, or the 400 and 401 of OAuth.

        Raises :class:`PeerFailed`.
        """
        return await self._ask("POST", url, {200, 400, 401}, data=dict(form), headers=headers)

    async def _ask(self, method: str, url: str, expected: set[int], **request: Any) -> Any:
        if self._session is None:
            self._session = self._new_session()
        headers = {"Accept": "application/json", **request.pop("headers")}
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout,
                **request,
            ) as response:
                content = await _read(response)
                if response.status not in expected:
                    raise PeerFailed(f"{_host(url)} answered {response.status}")
                return orjson.loads(content)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PeerFailed(f"{_host(url)} does not answer: {type(error).__name__}") from error
        except ValueError as error:
            raise PeerFailed(f"{_host(url)} did not answer with JSON") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_DOCUMENT_BYTES:
            raise PeerFailed(f"{response.url.host} answered with too large a document")
    return bytes(content)


def _host(url: str) -> str:
    return url.split("/")[2] if url.count("/") >= 2 else url


def _new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
