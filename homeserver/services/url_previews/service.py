"""Previews of what links lead to.  Spec: client-server API, ``GET /media/preview_url``."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import orjson
import structlog
from msgspec import Struct
from yarl import URL

from homeserver.errors import LimitExceeded, MatrixError
from homeserver.services.media import ReceivedMedia
from homeserver.services.media_facts import MediaFacts, sniff
from homeserver.services.shared_tasks import SharedTasks
from homeserver.services.url_previews.charsets import decode
from homeserver.services.url_previews.composing import (
    Composed,
    Properties,
    compose_file,
    compose_page,
    compose_text,
)
from homeserver.services.url_previews.fetching import PAGE_TYPES, Fetched, Fetcher, NoPreview
from homeserver.services.url_previews.keeping import PreviewCache
from homeserver.services.url_previews.oembed import MAX_BYTES as MAX_EMBED_BYTES
from homeserver.services.url_previews.oembed import TYPE as EMBED_TYPE
from homeserver.services.url_previews.oembed import Embed, link_of, parse_embed
from homeserver.services.url_previews.pages import Page, parse_page
from homeserver.services.url_previews.urls import UrlRules, host_of, parse_url
from homeserver.storage.url_previews import NewPreview

logger = structlog.get_logger(__name__)

ACTION = "url_preview"
WORKERS = 2
MAX_WAITING = 50  # previews under way at a time
BUSY_MS = 5_000
EMBED_SHARE = 0.3  # of the time that a preview may take
FAILED_FOR_MS = 60_000
MAX_FAILED = 5_000
IMAGE = "image/"
IMAGE_KEYS = ("og:image", "og:image:type", "og:image:width", "og:image:height", "og:image:alt")
SIZE_KEY = "matrix:image:size"


Picture = tuple[ReceivedMedia, MediaFacts]


class Rates(Protocol):
    """Rate limits."""

    def check(self, action: str, key: str) -> None:
        """Count one request.  Raises :class:`~homeserver.errors.LimitExceeded`."""


class Store(Protocol):
    """Takes pictures in."""

    @property
    def server_name(self) -> str:
        """This server."""

    async def receive(
        self,
        uploader: str | None,
        chunks: AsyncIterator[bytes],
        content_type: str | None,
        upload_name: str | None,
    ) -> ReceivedMedia:
        """Store a file; content policy judges it.  Raises :class:`MatrixError`."""

    async def keep(self, row: ReceivedMedia) -> None:
        """Make it a medium."""


class Limits(Struct, frozen=True):
    """How much of a page is read, how large pictures may be, and how long all may take."""

    page_bytes: int
    image_bytes: int
    timeout_ms: int
    refresh_after_ms: int


class UrlPreviews:
    """Makes previews, one at a time of each URL, and keeps them."""

    def __init__(
        self,
        *,
        enabled: bool,
        rules: UrlRules,
        fetcher: Fetcher,
        cache: PreviewCache,
        store: Store,
        rates: Rates,
        limits: Limits,
        clock_ms: Callable[[], int],
    ) -> None:
        self.enabled = enabled
        self.rules = rules
        self.cache = cache
        self._fetcher = fetcher
        self._store = store
        self._rates = rates
        self._limits = limits
        self._clock_ms = clock_ms
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="url-previews")
        self._running: SharedTasks[bytes, Properties] = SharedTasks("url preview")
        self._failed: OrderedDict[bytes, int] = OrderedDict()  # until when (ms)

    async def close(self) -> None:
        """Stop fetching."""
        await self._running.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def preview(self, user_id: str, text: str, ts: int | None = None) -> Properties:
        """What clients are told of a URL; it may be nothing.

        ``ts``: of about which time (ms); None: now.  Raises :class:`~homeserver.errors.
        InvalidParam`, :class:`~homeserver.errors.Forbidden`, :class:`LimitExceeded`, and
        :class:`NoPreview` where the site gives nothing.
        """
        url = self.rules.parse(text)
        key, now = url_key(url), self._clock_ms()
        at = now if ts is None else min(ts, now)
        kept = await self.cache.find(key, at)
        answer = None if kept is None else _answer(kept.answer, kept.picture_is_here)
        if answer is not None and kept and kept.fetched_at >= at - self._limits.refresh_after_ms:
            return answer
        try:
            return await self._make_once(user_id, key, url)
        except (NoPreview, LimitExceeded):
            if answer is None:
                raise
            return answer  # better an old one than none

    async def forget(self, text: str) -> int:
        """Forget what a URL led to, or all of a host; how many previews that were.

        Raises :class:`~homeserver.errors.InvalidParam`.
        """
        if "/" in text:
            return await self.cache.forget_url(url_key(parse_url(text)))
        return await self.cache.forget_host(host_of(parse_url(f"http://{text}/")))

    async def _make_once(self, user_id: str, key: bytes, url: URL) -> Properties:
        """One preview serves all who ask at the same time; what failed is not tried at once."""

        def begin() -> Coroutine[Any, Any, Properties]:
            if self._failed.get(key, 0) > self._clock_ms():
                raise NoPreview("it has just failed")
            self._rates.check(ACTION, user_id)
            if len(self._running) >= MAX_WAITING:
                raise LimitExceeded(BUSY_MS)
            return self._make(key, url)

        return await self._running.run(key, begin)

    # ------------------------------------------------------------ making one

    async def _make(self, key: bytes, url: URL) -> Properties:
        deadline = asyncio.get_running_loop().time() + self._limits.timeout_ms / 1000
        try:
            async with asyncio.timeout_at(deadline):
                composed, picture_itself = await self._look_at(url)
        except (NoPreview, TimeoutError) as error:
            reason = error.reason if isinstance(error, NoPreview) else "it took too long"
            logger.info("no preview", host=url.raw_host, reason=reason)
            self._note_failure(key)
            raise NoPreview(reason) from error
        if picture_itself is not None:
            picture = await self._take(picture_itself)
        else:
            picture = await self._picture(composed, deadline)
        return await self._keep(key, url, composed.properties, picture)

    async def _keep(
        self, key: bytes, url: URL, properties: Properties, picture: Picture | None
    ) -> Properties:
        """Keep what was found.

        The picture becomes a medium last: should the process die between, no picture stays that no
        preview has.
        """
        if picture is not None:
            properties |= _picture_properties(self._store.server_name, *picture)
        else:
            properties.pop("og:image:alt", None)
        await self.cache.keep(
            NewPreview(
                url_sha256=key,
                fetched_at=self._clock_ms(),
                host=host_of(url),
                answer=orjson.dumps(properties).decode(),
                media_id=picture[0].media_id if picture is not None else None,
                image_bytes=picture[0].size_bytes if picture is not None else 0,
            )
        )
        if picture is not None:
            await self._store.keep(picture[0])
        return properties

    def _note_failure(self, key: bytes) -> None:
        self._failed[key] = self._clock_ms() + FAILED_FOR_MS
        self._failed.move_to_end(key)
        if len(self._failed) > MAX_FAILED:
            self._failed.popitem(last=False)

    def _wanted(self, content_type: str) -> int:
        """How many bytes are read of what a link leads to."""
        if content_type in PAGE_TYPES or content_type == "text/plain":
            return self._limits.page_bytes
        return self._limits.image_bytes if content_type.startswith(IMAGE) else 0

    async def _look_at(self, url: URL) -> tuple[Composed, Fetched | None]:
        """What is said of a URL, and the picture, if it leads to one."""
        fetched = await self._fetcher.get(url, self._wanted)
        is_picture = fetched.content_type.startswith(IMAGE)
        return await self._compose(fetched), fetched if is_picture else None

    async def _compose(self, fetched: Fetched) -> Composed:
        if fetched.content_type == "text/plain":
            text = decode(fetched.content[:65_536], fetched.charset)
            return compose_text(fetched.url, text)
        if fetched.content_type not in PAGE_TYPES:
            return compose_file(fetched.url, fetched.content_type)
        page = await self._run(_read_page, fetched)
        embed = await self._embed(page, fetched.url)
        composed: Composed = await self._run(compose_page, page, fetched.url, self.rules, embed)
        return composed

    async def _embed(self, page: Page, url: URL) -> Embed | None:
        """What the site says of it in another document, if the page itself says too little."""
        reference = link_of(page)
        if reference is None or {"og:title", "og:image"} <= set(page.properties):
            return None
        where = self.rules.join(url, reference)
        if where is None:
            return None
        try:
            async with asyncio.timeout(self._limits.timeout_ms / 1000 * EMBED_SHARE):
                document = await self._fetcher.get(
                    where, lambda _: MAX_EMBED_BYTES, accept=EMBED_TYPE
                )
        except (NoPreview, TimeoutError):
            return None
        embed: Embed = await self._run(parse_embed, document.content)
        return embed

    # ------------------------------------------------------------ pictures

    async def _picture(self, composed: Composed, deadline: float) -> Picture | None:
        """The first picture that can be had; None if none can."""
        for url in composed.pictures:
            try:
                async with asyncio.timeout_at(deadline):
                    found = await self._fetcher.get(
                        url, lambda _: self._limits.image_bytes, accept="image/*"
                    )
            except (NoPreview, TimeoutError):
                continue
            taken = await self._take(found)
            if taken is not None:
                return taken
        return None

    async def _take(self, fetched: Fetched) -> Picture | None:
        """Take a picture in; None for what is none, or may not be here."""
        if not fetched.whole:
            return None
        facts: MediaFacts = await self._run(_look, fetched.content)
        if not facts.mime_type.startswith(IMAGE) or not facts.width or not facts.height:
            return None
        try:
            row = await self._store.receive(None, _once(fetched.content), facts.mime_type, None)
        except MatrixError as error:
            logger.info("a preview goes without its picture", reason=error.errcode)
            return None
        return row, facts

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Parse in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def url_key(url: URL) -> bytes:
    """By what a URL is known: what it says is not kept."""
    return hashlib.sha256(str(url).encode()).digest()


def _read_page(fetched: Fetched) -> Page:
    return parse_page(decode(fetched.content, fetched.charset))


def _look(content: bytes) -> MediaFacts:
    return sniff(content, decode=False)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _picture_properties(server_name: str, row: ReceivedMedia, facts: MediaFacts) -> Properties:
    return {
        "og:image": f"mxc://{server_name}/{row.media_id}",
        "og:image:type": facts.mime_type,
        "og:image:width": facts.width or 0,
        "og:image:height": facts.height or 0,
        SIZE_KEY: row.size_bytes,
    }


def _answer(text: str, picture_is_here: bool) -> Properties:
    """What was kept, without a picture that is gone."""
    answer: Properties = orjson.loads(text)
    if not picture_is_here:
        for key in (*IMAGE_KEYS, SIZE_KEY):
            answer.pop(key, None)
    return answer
