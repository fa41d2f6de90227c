"""Previews of what links lead to, made by a whole instance of a site on the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from homeserver.protocol.identifiers import UserId
from homeserver.services.url_previews.keeping import Bounds, PreviewCache
from homeserver.storage.database import Database
from homeserver.wiring.basics import clock_ms
from tests.federation.network import Authority
from tests.services.pictures import encoded, picture

from .admin_world import Admin
from .preview_site import PREVIEW, Previewing, previewing

PNG = encoded(picture(size=(64, 48)))
PAGE = """<!DOCTYPE html><html><head>
<meta property="og:title" content="A &amp; B"><meta property="og:description" content="About both.">
<meta property="og:site_name" content="Letters"><meta property="og:type" content="article">
<meta property="og:image" content="/picture.png"><meta property="og:url" content="/page">
<title>Something else</title></head><body><p>Hello</p></body></html>"""


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[Previewing]:
    """An instance, and the site."""
    async with previewing(database, tmp_path) as world:
        yield world


async def test_a_page_is_shown_with_its_picture_as_media_of_this_server(world: Previewing) -> None:
    url = world.site.page("/page", PAGE)
    world.site.file("/picture.png", PNG, "image/png")

    preview = await world.preview(url)

    uri = preview.pop("og:image")
    assert preview == {
        "og:title": "A & B",
        "og:description": "About both.",
        "og:site_name": "Letters",
        "og:type": "article",
        "og:url": url,
        "og:image:type": "image/png",
        "og:image:width": 64,
        "og:image:height": 48,
        "matrix:image:size": len(PNG),
    }
    assert uri.startswith("mxc://one.test/")
    assert await world.picture({"og:image": uri}) == (200, PNG)
    assert (await world.picture({"og:image": uri}, "thumbnail"))[0] == 200


@pytest.mark.parametrize("version", ["r0", "v1", "v3"])
async def test_the_old_paths_answer_the_same(world: Previewing, version: str) -> None:
    url = world.site.page("/page", "<title>Old</title>")
    path = f"/_matrix/media/{version}/preview_url?url={url}"

    assert await world.instance.call("GET", path, token=world.token) == {"og:title": "Old"}
    await world.instance.call("GET", path, status=401)


async def test_what_was_looked_at_is_kept_and_asked_for_once_by_many(world: Previewing) -> None:
    url = world.site.page("/page", PAGE)
    world.site.file("/picture.png", PNG, "image/png")

    first = await asyncio.gather(*(world.preview(url) for _ in range(5)))
    later = await world.preview(url + "#elsewhere")

    assert all(preview == later for preview in first)
    assert world.site.count("/page") == world.site.count("/picture.png") == 1


async def test_a_link_that_is_sent_now_is_looked_at_anew_and_an_old_one_is_not(
    database: Database, tmp_path: Path
) -> None:
    async with previewing(database, tmp_path, refresh_after="1ms") as world:
        url = world.site.page("/page", "<title>Then</title>")
        await world.preview(url)
        then = await database.fetchval("SELECT fetched_at FROM url_previews")
        world.site.page("/page", "<title>Now</title>")
        await asyncio.sleep(0.01)

        assert await world.preview(url) == {"og:title": "Now"}
        assert await world.preview(url, query=f"&ts={then}") == {"og:title": "Then"}
        assert await world.preview(url, query="&ts=0") == {"og:title": "Then"}
        assert world.site.count("/page") == 2


async def test_an_old_preview_is_better_than_none(database: Database, tmp_path: Path) -> None:
    async with previewing(database, tmp_path, refresh_after="1ms") as world:
        url = world.site.page("/page", "<title>Then</title>")
        await world.preview(url)
        world.site.answers.clear()
        await asyncio.sleep(0.01)

        assert await world.preview(url) == {"og:title": "Then"}


async def test_a_site_that_failed_is_left_alone_for_a_while(world: Previewing) -> None:
    for _ in range(3):
        answer = await world.preview(world.site.url("/none"), status=502)

    assert answer["errcode"] == "M_UNKNOWN"
    assert world.site.count("/none") == 1


async def test_links_to_files_have_previews_too(world: Previewing) -> None:
    site = world.site
    picture_url = site.file("/a%20b.png", PNG, "image/png")
    site.answers["/a b.png"] = site.answers["/a%20b.png"]
    video = site.file("/film.mp4", b"x" * 1000, "video/mp4")
    text = site.file(
        "/notes.txt", "First line.\n\nSecond – line.".encode(), "text/plain; charset=utf-8"
    )
    archive = site.file("/all.zip", b"PK", "application/zip")

    shown = await world.preview(picture_url)

    assert (shown["og:title"], shown["og:image:width"]) == ("a b.png", 64)
    assert await world.picture(shown) == (200, PNG)
    assert await world.preview(video) == {
        "og:title": "film.mp4",
        "og:type": "video.other",
        "og:video": video,
        "og:video:type": "video/mp4",
    }
    assert (await world.preview(text))["og:description"] == "First line. Second – line."
    assert await world.preview(archive) == {"og:title": "all.zip"}


async def test_a_page_that_says_too_little_is_asked_for_its_oembed(world: Previewing) -> None:
    document = (
        b'{"type": "rich", "title": "Talk", "provider_name": "Tube", "thumbnail_url": "/t.png",'
        b' "html": "<blockquote><p>What is said there, at some length.</p></blockquote>"}'
    )
    world.site.file("/embed", document, "application/json")
    world.site.file("/t.png", PNG, "image/png")
    url = world.site.page(
        "/talk",
        '<link rel="alternate" type="application/json+oembed" href="/embed"><title>x</title>',
    )

    preview = await world.preview(url)

    assert preview["og:title"] == "Talk"
    assert preview["og:site_name"] == "Tube"
    assert preview["og:description"] == "What is said there, at some length."
    assert preview["og:image:type"] == "image/png"


async def test_sites_learn_nothing_of_who_asks(database: Database, tmp_path: Path) -> None:
    async with previewing(database, tmp_path, languages=["de", "en"], user_agent="Us/1") as world:

        async def with_cookie(_: web.Request) -> web.StreamResponse:
            headers = {"Location": "/page", "Set-Cookie": "who=alice"}
            return web.Response(status=302, headers=headers)

        world.site.answers["/in"] = with_cookie
        world.site.page("/page", "<title>Here</title>")

        assert await world.preview(world.site.url("/in")) == {"og:title": "Here"}

        headers = world.site.requests[-1].headers
        assert set(headers) == {
            "Host",
            "User-Agent",
            "Accept",
            "Accept-Encoding",
            "Accept-Language",
        }
        assert headers["User-Agent"] == "Us/1"
        assert headers["Accept-Language"] == "de, en;q=0.9, *;q=0.1"


async def test_logs_name_hosts_and_no_more(world: Previewing) -> None:
    with capture_logs() as lines:
        await world.preview(world.site.url("/private-matter?secret=1"), status=502)

    output = str(lines)
    assert "www.site.test" in output
    assert "private-matter" not in output


# ---------------------------------------------------------------- who may, and how often


async def test_guests_the_locked_and_those_who_are_gone_get_none(
    database: Database, tmp_path: Path
) -> None:
    settings = {"registration": {"mode": "open", "guests": True}}
    async with previewing(database, tmp_path, settings=settings) as world:
        url = world.site.page("/page", "<title>Here</title>")
        guest = await world.instance.call("POST", "/register?kind=guest", {})
        locked = await world.instance.register("locked")
        gone = await world.instance.register("gone")
        password = {"type": "m.login.password", "user": "gone", "password": "sesame"}
        await world.instance.call("POST", "/account/deactivate", {"auth": password}, token=gone)
        user_id = UserId.parse("@locked:one.test")
        await world.instance.wiring.standing.set_locked(user_id, True, by="command line")

        refusals = [
            await world.preview(url, token=token, status=status)
            for token, status in ((guest["access_token"], 403), (locked, 401), (gone, 401))
        ]

        assert [answer["errcode"] for answer in refusals] == [
            "M_GUEST_ACCESS_FORBIDDEN",
            "M_USER_LOCKED",
            "M_UNKNOWN_TOKEN",
        ]
        assert world.site.requests == []


async def test_one_user_can_have_so_many_links_looked_at(
    database: Database, tmp_path: Path
) -> None:
    rates = {"rate_limits": {"url_preview": {"per_second": 0.001, "burst": 2}}}
    async with previewing(database, tmp_path, settings=rates) as world:
        pages = [world.site.page(f"/{n}", f"<title>{n}</title>") for n in range(3)]
        await world.preview(pages[0])
        await world.preview(pages[1])

        assert (await world.preview(pages[2], status=429))["errcode"] == "M_LIMIT_EXCEEDED"
        assert await world.preview(pages[0]) == {"og:title": "0"}


async def test_where_previews_are_off_the_operation_is_not_there(
    database: Database, tmp_path: Path
) -> None:
    async with previewing(database, tmp_path, enabled=False) as world:
        answer = await world.preview(world.site.url("/page"), status=404)

        assert answer["errcode"] == "M_UNRECOGNIZED"


@pytest.mark.parametrize(
    ("url", "errcode"),
    [
        ("", "M_INVALID_PARAM"),
        ("nothing", "M_INVALID_PARAM"),
        ("http://", "M_INVALID_PARAM"),
        ("http://[::1", "M_INVALID_PARAM"),
        ("http://[]@", "M_INVALID_PARAM"),
        ("http://a.test:99999/", "M_INVALID_PARAM"),
        ("file:///etc/passwd", "M_INVALID_PARAM"),
        ("gopher://www.site.test/", "M_INVALID_PARAM"),
        ("javascript:alert(1)", "M_INVALID_PARAM"),
        ("http://user:pass@www.site.test/", "M_INVALID_PARAM"),
        ("http://www.site.test/\r\nHost: x", "M_INVALID_PARAM"),
        ("http://www.site.test/" + "x" * 3000, "M_INVALID_PARAM"),
    ],
)
async def test_what_is_no_web_address_is_refused(world: Previewing, url: str, errcode: str) -> None:
    assert (await world.preview(url, status=400))["errcode"] == errcode


async def test_the_url_must_be_there_and_the_time_a_number(world: Previewing) -> None:
    missing = await world.instance.call("GET", PREVIEW, token=world.token, status=400)
    strange = await world.preview("http://www.site.test/", status=400, query="&ts=now")

    assert (missing["errcode"], strange["errcode"]) == ("M_MISSING_PARAM", "M_INVALID_PARAM")


async def test_the_admin_says_which_hosts_and_ports(database: Database, tmp_path: Path) -> None:
    async with previewing(
        database, tmp_path, allow_hosts=["*.site.test"], deny_hosts=["bad.*"]
    ) as world:
        world.site.page("/page", "<title>Here</title>")

        assert await world.preview(world.site.url("/page")) == {"og:title": "Here"}
        for url in (
            world.site.url("/page", "bad.site.test"),
            world.site.url("/page", "BAD.site.test."),
            world.site.url("/page", "other.test"),
            "http://www.site.test:1/page",
        ):
            assert (await world.preview(url, status=403))["errcode"] == "M_FORBIDDEN"
        world.site.redirect("/away", world.site.url("/page", "bad.site.test"))
        await world.preview(world.site.url("/away"), status=502)
        assert world.site.count("/page") == 1


# ---------------------------------------------------------------- pictures


async def test_content_policy_judges_pictures(database: Database, tmp_path: Path) -> None:
    rule = {
        "name": "no-big-pictures",
        "match": {"direction": "in", "mime_type": "image/*"},
        "action": "reject",
    }
    async with previewing(database, tmp_path, settings={"policy": {"rules": [rule]}}) as world:
        url = world.site.page("/page", PAGE)
        world.site.file("/picture.png", PNG, "image/png")

        preview = await world.preview(url)

        assert preview["og:title"] == "A & B"
        assert "og:image" not in preview
        assert await database.fetchval("SELECT count(*) FROM media") == 0


async def test_a_picture_goes_with_its_preview_unless_a_message_refers_to_it(
    database: Database, tmp_path: Path
) -> None:
    async with previewing(database, tmp_path) as world:
        alone = world.site.page("/alone", "<meta property=og:image content=/alone.png>")
        sent = world.site.page("/sent", "<meta property=og:image content=/sent.png>")
        world.site.file("/alone.png", PNG, "image/png")
        world.site.file("/sent.png", encoded(picture(2)), "image/png")
        forgotten, kept = await world.preview(alone), await world.preview(sent)
        room_id = await world.instance.room(world.token)
        content = {"msgtype": "m.image", "url": kept["og:image"]}
        await world.instance.say(world.token, room_id, "look", **content)
        cache = PreviewCache(
            server_name="one.test",
            database=database,
            files=world.instance.wiring.ends.media_deletion,
            bounds=Bounds(1000, 10, 10**9),
            wake=lambda: None,
            clock_ms=lambda: clock_ms() + 5000,
        )

        while await cache.step():
            pass

        assert await database.fetchval("SELECT count(*) FROM url_previews") == 0
        assert (await world.picture(forgotten))[0] == 404
        assert (await world.picture(kept))[0] == 200


async def test_the_oldest_goes_when_there_is_too_much(database: Database, tmp_path: Path) -> None:
    async with previewing(database, tmp_path, max_cached=3, max_cached_bytes=3000) as world:
        for n in range(6):
            world.site.page(f"/{n}", f"<title>{n}</title>")
            await world.preview(world.site.url(f"/{n}"))
        await world.instance.wiring.ends.work_off()

        answers = await database.fetch("SELECT answer FROM url_previews ORDER BY fetched_at")
        assert [row["answer"] for row in answers] == [f'{{"og:title":"{n}"}}' for n in (3, 4, 5)]


async def test_pictures_have_only_so_many_bytes_in_all(database: Database, tmp_path: Path) -> None:
    files = [encoded(picture(n)) for n in range(3)]
    most = len(files[1]) + len(files[2])
    async with previewing(database, tmp_path, max_cached_bytes=most) as world:
        for n, content in enumerate(files):
            world.site.file(f"/{n}.png", content, "image/png")
        shown = [await world.preview(world.site.url(f"/{n}.png")) for n in range(3)]
        await world.instance.wiring.ends.work_off()

        assert [(await world.picture(preview))[0] for preview in shown] == [404, 200, 200]
        assert await database.fetchval("SELECT sum(size_bytes) FROM media") == most


@pytest.mark.parametrize(
    "quarantine",
    [
        "UPDATE media SET quarantined_by = 'admin'",
        "INSERT INTO quarantined_content SELECT sha256, 'admin', 1 FROM media",
    ],
)
async def test_a_picture_that_an_admin_quarantined_is_shown_no_more(
    world: Previewing, quarantine: str
) -> None:
    url = world.site.page("/page", PAGE)
    world.site.file("/picture.png", PNG, "image/png")
    await world.preview(url)
    await world.instance.wiring.database.execute(quarantine)

    assert "og:image" not in await world.preview(url)


async def test_an_admin_has_a_site_forgotten(database: Database, tmp_path: Path) -> None:
    async with previewing(database, tmp_path) as world:
        admin = Admin(world.instance)
        world.site.file("/picture.png", PNG, "image/png")
        one, two = world.site.page("/1", PAGE), world.site.page("/2", PAGE)
        other = one.replace("www.", "other.")
        preview = await world.preview(one)
        await world.preview(two)
        await world.preview(other)
        before = await admin.call("GET", "/url_previews")

        url = await admin.call("POST", "/url_previews/forget", {"what": one})
        host = await admin.call("POST", "/url_previews/forget", {"what": "WWW.site.test"})
        await admin.call("POST", "/url_previews/forget", {"what": "a b/"}, status=400)

        assert before == {"enabled": True, "previews": 3, "picture_bytes": 3 * len(PNG)}
        assert (url, host) == ({"previews": 1}, {"previews": 1})
        assert (await admin.call("GET", "/url_previews"))["previews"] == 1
        assert (await world.picture(preview))[0] == 404
        assert await world.preview(one) != preview


async def test_the_suspended_still_see_what_links_lead_to(world: Previewing) -> None:
    url = world.site.page("/page", "<title>Here</title>")
    token = await world.instance.register("suspended")
    user_id = UserId.parse("@suspended:one.test")
    await world.instance.wiring.standing.set_suspended(user_id, True, by="command line")

    assert await world.preview(url, token=token) == {"og:title": "Here"}


async def test_sites_are_spoken_to_over_tls_and_must_prove_their_name(
    database: Database, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    app = web.Application()
    app.router.add_get("/", answer_here)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    context = authority.context("www.site.test")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    port = runner.addresses[0][1]
    try:
        async with previewing(
            database, tmp_path, ports=[port], ca_file=str(authority.file)
        ) as world:
            good = await world.preview(f"https://www.site.test:{port}/")
            await world.preview(f"https://other.site.test:{port}/", status=502)

            assert good == {"og:title": "Here"}
    finally:
        await runner.cleanup()


async def answer_here(_: web.Request) -> web.StreamResponse:
    """A page."""
    return web.Response(text="<title>Here</title>", content_type="text/html")
