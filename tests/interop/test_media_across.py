"""Files between servers: uploads whose content comes later, and thumbnails that move."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.harness import eventually
from tests.integration.media_world import moving_picture

from .conftest import Pair
from .person import Person


async def ask(
    session: aiohttp.ClientSession, person: Person, method: str, path: str, data: Any = None
) -> tuple[int, bytes]:
    """A request about media."""
    headers = {"Authorization": f"Bearer {person.client.access_token}", "Content-Type": "image/gif"}
    async with session.request(
        method, f"{person.server.client_url}/_matrix/{path}", data=data, headers=headers
    ) as response:
        return response.status, await response.read()


async def uri_of(answer: tuple[int, bytes]) -> str:
    """The server name and media ID of an answer with a URI."""
    status, content = answer
    assert status == 200, content
    return content.decode().partition("mxc://")[2].partition('"')[0]


def sides(pair: Pair, side: int) -> tuple[Person, Person]:
    """Who uploads, and who reads on the other server."""
    return (pair.alice, pair.bob) if side == 0 else (pair.bob, pair.alice)


@pytest.mark.parametrize("side", [0, 1])
async def test_who_asks_for_a_file_of_another_server_before_it_came_gets_it(
    pair: Pair, side: int
) -> None:
    sender, reader = sides(pair, side)
    async with aiohttp.ClientSession() as session:
        path = await uri_of(await ask(session, sender, "POST", "media/v1/create"))
        download = f"client/v1/media/download/{path}"
        early = await ask(session, reader, "GET", f"{download}?timeout_ms=10")

        waiting = asyncio.create_task(ask(session, reader, "GET", f"{download}?timeout_ms=15000"))
        await asyncio.sleep(0.5)
        filled = await ask(session, sender, "PUT", f"media/v3/upload/{path}", b"GIF89a later")
        got = await waiting
        ours = pair.name.split("-")[1 - side] == "comity"

        async def has_it() -> bool:
            nonlocal got
            if got[0] == 502:
                got = await ask(session, reader, "GET", download)
            return got[0] != 502

        if not ours:  # to Synapse a server that says 504 is down: it asks no more for a while
            await eventually(has_it, "the reader's server asks again, and has the file")

    assert filled[0] == 200
    assert got == (200, b"GIF89a later")
    if ours:  # Synapse says no more than 502
        assert (early[0], b"M_NOT_YET_UPLOADED" in early[1]) == (504, True)
    else:
        assert early[0] in (502, 504)


@pytest.mark.parametrize("side", [0, 1])
async def test_a_picture_of_another_server_moves_where_that_is_asked_for(
    pair: Pair, side: int
) -> None:
    sender, reader = sides(pair, side)
    if pair.name.split("-")[1 - side] != "comity":
        pytest.skip("the reader's server makes the thumbnail, and it is not ours")
    async with aiohttp.ClientSession() as session:
        path = await uri_of(
            await ask(session, sender, "POST", "media/v3/upload", moving_picture("GIF"))
        )
        thumbnail = f"client/v1/media/thumbnail/{path}?width=32&height=32&method=crop"

        still = await ask(session, reader, "GET", thumbnail)
        moving = await ask(session, reader, "GET", f"{thumbnail}&animated=true")

    assert (still[0], moving[0]) == (200, 200)
    with Image.open(io.BytesIO(still[1])) as image:
        assert getattr(image, "n_frames", 1) == 1
    with Image.open(io.BytesIO(moving[1])) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("WEBP", 4)
