"""A web site on the loopback for previews: pages at paths, some of them hostile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from homeserver.storage.database import Database

from .single import Instance, running

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
ALLOWED, FORBIDDEN = "127.0.0.1", "127.0.0.2"
PREVIEW = "/_matrix/client/v1/media/preview_url"


@dataclass
class Site:
    """What it answers by path, and what it was asked, on an address and on one that is taboo."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)
    taboo: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        assert request.transport is not None
        if request.transport.get_extra_info("sockname")[0] != ALLOWED:
            self.taboo.append(request.path)
            return html("<title>Secrets of the local network</title>")
        self.requests.append(request)
        answer = self.answers.get(request.path)
        return await answer(request) if answer is not None else web.Response(status=404)

    def url(self, path: str, host: str = "www.site.test") -> str:
        """Where it is."""
        return f"http://{host}:{self.port}{path}"

    def page(self, path: str, text: str) -> str:
        """Have a page; its URL."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return html(text)

        self.answers[path] = answer
        return self.url(path)

    def file(self, path: str, content: bytes, content_type: str, **headers: str) -> str:
        """Have a file; its URL."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(body=content, headers={"Content-Type": content_type, **headers})

        self.answers[path] = answer
        return self.url(path)

    def redirect(self, path: str, target: str, status: int = 302) -> str:
        """Lead elsewhere; its URL."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": target})

        self.answers[path] = answer
        return self.url(path)

    def count(self, path: str) -> int:
        """How often it was asked for something."""
        return sum(request.path == path for request in self.requests)


def html(text: str) -> web.Response:
    """A page."""
    return web.Response(text=text, content_type="text/html")


@dataclass
class Previewing:
    """An instance that makes previews, the site, and somebody who asks."""

    instance: Instance
    site: Site
    token: str

    async def preview(
        self, url: str, *, status: int = 200, token: str | None = None, query: str = ""
    ) -> dict[str, Any]:
        """Ask for a preview."""
        path = f"{PREVIEW}?url={quote(url, safe='')}{query}"
        return await self.instance.call(
            "GET", path, token=self.token if token is None else token, status=status
        )

    async def picture(self, preview: dict[str, Any], kind: str = "download") -> tuple[int, bytes]:
        """The picture of a preview: the status, and the content."""
        query = "?width=32&height=32&method=crop" if kind == "thumbnail" else ""
        path = preview["og:image"].removeprefix("mxc://")
        url = f"/_matrix/client/v1/media/{kind}/{path}{query}"
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.instance.client.get(url, headers=headers) as response:
            return response.status, await response.read()


@asynccontextmanager
async def site_running() -> AsyncIterator[Site]:
    """The site on a free port, of both addresses."""
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, auto_decompress=False)
    await runner.setup()
    try:
        for address in (ALLOWED, FORBIDDEN):
            await web.TCPSite(runner, address, site.port, reuse_address=True).start()
            site.port = runner.addresses[0][1]
        yield site
    finally:
        await runner.cleanup()


@asynccontextmanager
async def previewing(
    database: Database,
    directory: Path,
    *,
    zones: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    ca_file: str | None = None,
    **previews: Any,
) -> AsyncIterator[Previewing]:
    """An instance whose previews may be made of the site."""
    async with site_running() as site:
        section = {
            "enabled": True,
            "ports": [site.port],
            "allow_networks": [ALLOWED],
            "timeout": "5s",
            **previews,
        }
        names = {"*.site.test": ALLOWED, "*.taboo.test": FORBIDDEN, **(zones or {})}
        async with running(
            database,
            directory,
            url_previews=section,
            federation={"private_zones": names, "extra_ca_file": ca_file},
            **(settings or {}),
        ) as instance:
            yield Previewing(instance, site, await instance.register("alice"))
