"""Sites that want a preview to reach the local network, to take long, or to break the server."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from homeserver.storage.database import Database
from tests.federation.network import DnsServer
from tests.services.pictures import encoded, picture

from .preview_site import ALLOWED, FORBIDDEN, PREVIEW, Previewing, previewing

A, AAAA = 1, 28
PNG = encoded(picture(size=(64, 48)))
UNREACHABLE = "No preview could be made: the site could not be reached, or gave no answer to use"
ELSEWHERE = [
    "http://127.0.0.2:{port}/",
    "http://127.2:{port}/",
    "http://2130706434:{port}/",
    "http://0x7f000002:{port}/",
    "http://0177.0.0.2:{port}/",
    "http://[::ffff:127.0.0.2]:{port}/",
    "http://[::ffff:7f00:2]:{port}/",
    "http://[64:ff9b::7f00:2]:{port}/",
    "http://[2002:7f00:2::]:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://www.taboo.test:{port}/",
    "http://127.0.0.2.:{port}/",
    "http://１２７.0.0.2:{port}/",
    "http://169.254.169.254:{port}/latest/meta-data/",
]


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[Previewing]:
    """An instance, and the site."""
    async with previewing(database, tmp_path) as world:
        yield world


# ---------------------------------------------------------------- into the local network


async def test_no_link_leads_into_the_local_network(world: Previewing) -> None:
    for number, form in enumerate(ELSEWHERE):
        url = form.format(port=world.site.port)
        redirecting = world.site.redirect(f"/{number}", url)

        direct = await world.instance.client.get(
            PREVIEW, params={"url": url}, headers={"Authorization": f"Bearer {world.token}"}
        )
        redirected = await world.preview(redirecting, status=502)

        assert direct.status in (400, 502), url
        assert redirected == {"errcode": "M_UNKNOWN", "error": UNREACHABLE}, url
    assert len(world.site.requests) == len(ELSEWHERE)
    assert world.site.taboo == []


async def test_redirects_lead_to_web_addresses_alone(world: Previewing) -> None:
    targets = [
        "file:///etc/passwd",
        "ftp://www.site.test/",
        "data:,x",
        "",
        "//",
        "http://[",
        "http://[]@",
    ]
    for number, target in enumerate(targets):
        await world.preview(world.site.redirect(f"/{number}", target), status=502)


async def test_refused_and_dead_sites_look_the_same(world: Previewing) -> None:
    dead = await world.preview(world.site.url("/", "www.none.test"), status=502)
    refused = await world.preview(world.site.url("/", "www.taboo.test"), status=502)

    assert dead == refused


async def test_no_part_of_a_page_leads_into_the_local_network(world: Previewing) -> None:
    taboo = world.site.url("/x", "www.taboo.test")
    url = world.site.page(
        "/page",
        f'<base href="{taboo}"><title>Here</title><link rel=icon href="{taboo}">'
        f'<link rel=alternate type="application/json+oembed" href="{taboo}">'
        f'<meta property="og:image" content="{taboo}"><img src="{taboo}">',
    )

    assert await world.preview(url) == {"og:title": "Here"}
    assert world.site.taboo == []


async def test_of_the_addresses_of_a_name_only_those_allowed_are_used(
    database: Database, tmp_path: Path
) -> None:
    dns = DnsServer()
    resolver = await dns.start()
    dns.records[("both.zone", A)] = [FORBIDDEN, ALLOWED]
    dns.records[("bad.zone", A)] = [FORBIDDEN]
    dns.records[("bad.zone", AAAA)] = ["::1", "::ffff:127.0.0.2"]
    zones = {"*.zone": {"resolvers": [resolver]}}
    try:
        async with previewing(database, tmp_path, zones=zones) as world:
            world.site.page("/page", "<title>Here</title>")

            good = await world.preview(world.site.url("/page", "both.zone"))
            await world.preview(world.site.url("/page", "bad.zone"), status=502)

            assert good == {"og:title": "Here"}
            assert world.site.taboo == []
    finally:
        dns.close()


# ---------------------------------------------------------------- without end


async def test_redirects_end(world: Previewing) -> None:
    world.site.redirect("/a", world.site.url("/b"), 301)
    loop = world.site.redirect("/b", world.site.url("/a"), 308)
    for number in range(5):
        world.site.redirect(f"/{number}", f"/{number + 1}", 307)
    world.site.page("/5", "<title>Here</title>")

    await world.preview(loop, status=502)

    assert len(world.site.requests) == 6
    assert await world.preview(world.site.url("/0")) == {"og:title": "Here"}


@pytest.mark.parametrize("headers_first", [True, False])
async def test_a_site_that_drips_is_given_up(
    database: Database, tmp_path: Path, headers_first: bool
) -> None:
    async with previewing(database, tmp_path, timeout="500ms") as world:

        async def drip(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/html"})
            if headers_first:
                await response.prepare(request)
            for _ in range(3000):
                await asyncio.sleep(0.05)
                if headers_first:
                    await response.write(b"<")
            return response

        world.site.answers["/drip"] = drip

        async with asyncio.timeout(20):
            await world.preview(world.site.url("/drip"), status=502)


async def test_what_belongs_to_a_page_and_drips_does_not_cost_the_preview(
    database: Database, tmp_path: Path
) -> None:
    async with previewing(database, tmp_path, timeout="3s") as world:

        async def drip(request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(3000)
            return web.Response()

        world.site.answers["/drip"] = drip
        embed = '<link rel=alternate type="application/json+oembed" href="/drip?embed">'
        url = world.site.page("/page", f"<title>Here</title>{embed}<img src=/drip>")

        assert await world.preview(url) == {"og:title": "Here"}


async def test_one_host_that_hangs_does_not_keep_others_waiting(
    database: Database, tmp_path: Path
) -> None:
    async with previewing(
        database, tmp_path, max_concurrent=3, max_per_host=2, timeout="5s"
    ) as world:
        both = asyncio.Semaphore(0)

        async def hang(_: web.Request) -> web.StreamResponse:
            both.release()
            await asyncio.sleep(3000)
            return web.Response()

        for number in range(10):
            world.site.answers[f"/hang/{number}"] = hang
        other = world.site.page("/page", "<title>Here</title>").replace("www.", "other.")
        hanging = [
            asyncio.create_task(world.preview(world.site.url(f"/hang/{n}"), status=502))
            for n in range(10)
        ]
        await both.acquire()
        await both.acquire()

        assert await world.preview(other) == {"og:title": "Here"}
        assert len(world.site.requests) == 3
        await asyncio.gather(*hanging)


async def test_of_a_long_page_the_beginning_is_read(world: Previewing) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        await response.write(b"<title>Here</title>")
        while sent < 1 << 30:
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    world.site.answers["/endless"] = endless

    assert (await world.preview(world.site.url("/endless")))["og:title"] == "Here"
    assert sent < 100_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_what_unpacks_without_end_is_cut(world: Previewing, encoding: str) -> None:
    text = b"<title>Here</title>" + b" " * 100_000_000
    packed = gzip.compress(text, 6) if encoding == "gzip" else zlib.compress(text, 6)
    headers = {"Content-Encoding": encoding}
    page = world.site.file("/bomb", packed, "text/html", **headers)
    image = world.site.file("/bomb.png", packed, "image/png", **headers)

    assert await world.preview(page) == {"og:title": "Here"}
    assert await world.preview(image) == {"og:title": "bomb.png"}


@pytest.mark.parametrize(
    ("encoding", "content"), [("gzip", b"no gzip"), ("br", b"x"), ("gzip, gzip", b"x")]
)
async def test_what_cannot_be_unpacked_gives_no_preview(
    world: Previewing, encoding: str, content: bytes
) -> None:
    url = world.site.file("/page", content, "text/html", **{"Content-Encoding": encoding})

    await world.preview(url, status=502)


# ---------------------------------------------------------------- strange content

NESTED = "<title>Here</title>" + "<div>" * 100_000
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + '<!ENTITY f SYSTEM "file:///etc/passwd">]><html><title>&i;&f;</title></html>'
)


async def test_a_page_that_is_nested_deeply_is_read_as_far_as_it_makes_sense(
    world: Previewing,
) -> None:
    for number, end in enumerate(["", "</p>" * 100_000, "</div>" * 100_000]):
        url = world.site.page(f"/{number}", NESTED + end)

        assert await world.preview(url) == {"og:title": "Here"}


async def test_entities_are_not_expanded(world: Previewing) -> None:
    for kind in ("text/html", "application/xhtml+xml", "application/xml"):
        preview = await world.preview(world.site.file(f"/{kind}", BOMB.encode(), kind))

        assert len(str(preview)) < 500
        assert "root:" not in str(preview)


async def test_whatever_a_page_is_written_in_it_is_read(world: Previewing) -> None:
    pages = [
        ("<title>Größe</title>".encode(), "text/html", "Größe"),
        ("<title>Größe</title>".encode("latin-1"), "text/html; charset=ISO-8859-1", "Größe"),
        ("<title>Größe</title>".encode(), "text/html; charset=zlib", "Größe"),
        ("<title>Größe</title>".encode(), "text/html; charset=" + "x" * 5000, "Größe"),
        ("<meta charset=koi8-r><title>Привет</title>".encode("koi8-r"), "text/html", "Привет"),
        (b"<title>a\0b\x01c&#0;&#xD800;\xf0\x9f</title>", "text/html", None),
        (b"<title>Here</title>", "", "Here"),
        (b"<title>Here</title>", "text/html; charset", "Here"),
        (b"", "text/html", ""),
        (b"\0" * 1000, "text/html", ""),
    ]
    for number, (content, kind, title) in enumerate(pages):
        preview = await world.preview(world.site.file(f"/{number}", content, kind))

        if title is not None:
            assert preview.get("og:title", "") == title
        assert "\0" not in str(preview)


async def test_what_only_says_that_it_is_a_picture_is_left_out(world: Previewing) -> None:
    contents = [b"", b"<html>", PNG[:20], b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"GIF89a", b"BM"]
    for number, content in enumerate(contents):
        world.site.file(f"/{number}.png", content, "image/png")
        url = world.site.page(f"/{number}", f"<title>Here</title><img src=/{number}.png>")

        assert await world.preview(url) == {"og:title": "Here"}


async def test_addresses_of_pictures_are_never_passed_on(world: Previewing) -> None:
    names = ("og:image", "og:image:url", "og:image:secure_url", "og:image:width", "twitter:image")
    metas = "".join(f'<meta property="{name}" content="/none.png">' for name in names)

    preview = await world.preview(world.site.page("/page", f"{metas}<title>Here</title>"))

    assert preview == {"og:title": "Here"}


async def test_a_page_says_only_so_much(world: Previewing) -> None:
    metas = "".join(f'<meta property="og:x{n}" content="{"y" * 5000}">' for n in range(1000))
    url = world.site.page("/page", f"<title>{'long ' * 5000}</title>{metas}")

    preview = await world.preview(url)

    assert len(str(preview)) < 20_000
    assert 200 < len(preview["og:title"]) <= 300


async def test_an_answer_that_is_no_http_gives_no_preview(
    database: Database, tmp_path: Path
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.test ready\r\n" * 100)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, ALLOWED, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, previewing(database, tmp_path, ports=[port]) as world:
        await world.preview(f"http://www.site.test:{port}/", status=502)
        await world.preview(f"https://www.site.test:{port}/", status=502)


async def test_endless_headers_give_no_preview(world: Previewing) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={f"X-{n}": "y" * 8_000 for n in range(500)})

    world.site.answers["/page"] = answer

    await world.preview(world.site.url("/page"), status=502)
