"""Fetching what a link leads to from a site that may be hostile.

Redirects are followed by hand, each judged like the link itself.  No cookie, no credentials, no
proxy; to which address a connection goes is judged where the socket is made (the session's own
business, see ``federation.connections``).  How long all of it may take is the caller's to say.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import hdrs
from msgspec import Struct
from yarl import URL

from homeserver.errors import PeerFailed
from homeserver.services.url_previews.urls import UrlRules

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECT_SECONDS = 5.0
PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", ""})
ACCEPT = "text/html,application/xhtml+xml,image/*;q=0.9,*/*;q=0.5"
FAILED = "No preview could be made: the site could not be reached, or gave no answer to use"


class NoPreview(PeerFailed):
    """The site gave nothing to make a preview of.

    The text never tells why: it would tell callers what answers in the local network.
    """

    def __init__(self, reason: str) -> None:
        """``reason``: for the log, without a word of the URL's."""
        super().__init__(FAILED)
        self.reason = reason


class Fetched(Struct, frozen=True):
    """What a link led to."""

    url: URL  # where it was in the end
    content_type: str  # lower case, without parameters; empty: not said
    charset: str | None
    content: bytes
    whole: bool  # False: it was cut


class Slots:
    """How much is fetched at a time: in all, and from one host."""

    def __init__(self, most: int, most_per_host: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._most_per_host = most_per_host
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def taken(self, host: str) -> AsyncIterator[None]:
        """Wait for the host's turn, and then for one's own: a slow host holds up only its own."""
        turn = self._hosts.setdefault(host, asyncio.Semaphore(self._most_per_host))
        self._users[host] += 1
        try:
            async with turn, self._all:
                yield
        finally:
            self._users[host] -= 1
            if not self._users[host]:
                del self._users[host], self._hosts[host]


class Fetcher:
    """Gets pages, pictures and documents."""

    def __init__(
        self,
        *,
        session: Callable[[], aiohttp.ClientSession],
        rules: UrlRules,
        slots: Slots,
        user_agent: str,
        languages: Sequence[str],
    ) -> None:
        """``session``: of which no connection leads where it must not."""
        self._session = session
        self._rules = rules
        self._slots = slots
        self._headers = {
            hdrs.USER_AGENT: user_agent,
            hdrs.ACCEPT_ENCODING: "gzip",
            hdrs.ACCEPT_LANGUAGE: _by_preference(languages),
        }

    async def get(self, url: URL, wanted: Callable[[str], int], *, accept: str = ACCEPT) -> Fetched:
        """What a URL leads to.

        ``wanted``: how many bytes are read at most of each content type.  Raises
        :class:`NoPreview`.
        """
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = await self._request(url, wanted, accept)
                if isinstance(answer, Fetched):
                    return answer
                url = answer
        except (aiohttp.ClientError, OSError, ssl.SSLError, zlib.error, ValueError) as error:
            raise NoPreview(type(error).__name__) from error
        raise NoPreview("too many redirects")

    async def _request(self, url: URL, wanted: Callable[[str], int], accept: str) -> Fetched | URL:
        """One request: the content, or where it redirects to."""
        async with (
            self._slots.taken(url.raw_host or ""),
            self._session().get(
                url,
                headers={**self._headers, hdrs.ACCEPT: accept},
                allow_redirects=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            ) as response,
        ):
            if response.status in REDIRECTS:
                following = self._rules.join(url, response.headers.get(hdrs.LOCATION, ""))
                if following is None:
                    raise NoPreview("a redirect that is not followed")
                return following
            if response.status != 200:
                raise NoPreview(f"status {response.status}")
            content_type = _content_type(response)
            most = wanted(content_type)
            content, whole = await _read(response, most) if most else (b"", False)
            return Fetched(url, content_type, response.charset, content, whole)


def _content_type(response: aiohttp.ClientResponse) -> str:
    if hdrs.CONTENT_TYPE not in response.headers:
        return ""
    return response.headers[hdrs.CONTENT_TYPE].partition(";")[0].strip().lower()[:127]


async def _read(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """The body, and whether it is whole.  What comes compressed is counted as it is unpacked.

    Raises :class:`zlib.error` and :class:`ValueError` for what cannot be unpacked.
    """
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise ValueError("an encoding that was not asked for")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding not in ("", "identity") else None
    content = bytearray()
    async for chunk in response.content.iter_any():
        left = most + 1 - len(content)
        content += chunk[:left] if unpack is None else unpack.decompress(chunk, left)
        if len(content) > most:
            return bytes(content[:most]), False
        if unpack is not None and unpack.eof:
            break
    return bytes(content), unpack is None or unpack.eof


def _by_preference(languages: Sequence[str]) -> str:
    """A value of ``Accept-Language``."""
    weights = [max(1, 10 - place) for place in range(len(languages))]
    wanted = [
        language if weight == 10 else f"{language};q=0.{weight}"
        for language, weight in zip(languages, weights, strict=True)
    ]
    return ", ".join([*wanted, "*;q=0.1"] if languages else ["*"])
