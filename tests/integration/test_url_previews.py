"""Previews of what links lead to, made by a whole instance of a site on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.storage.database import Database
from tests.services.pictures import encoded, picture

from .preview_site import Previewing, previewing

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
