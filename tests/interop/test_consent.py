"""A Comity that asks its users before anything of theirs goes to another server."""

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness import Comity, MatrixRefused, RawClient, World, raw_session

from .conftest import Pair

_serial = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def asking(world: World) -> AsyncIterator[Comity]:
    """A Comity with `consent.cross_instance: opt_in`."""
    server = world.comity("asking", overrides={"consent": {"cross_instance": "opt_in"}})
    await server.start_async()
    yield server
    await server.stop_async()


async def _answer(user: RawClient, uri: str, answer: str) -> None:
    """Open the page and press one of its buttons, as a browser does."""
    async with user.session.get(uri) as page:
        assert page.status == 200
        assert "text/html" in page.headers["Content-Type"]
        text = await page.text()
        assert user.user_id in text
        assert f'value="{answer}"' in text
    async with user.session.post(uri, data={"answer": answer}) as page:
        assert page.status == 200


async def test_nothing_leaves_before_the_user_agrees(asking: Comity, pair: Pair) -> None:
    """An invite is refused with a page; once agreed there, it and messages go out."""
    bob = pair.bob
    async with raw_session() as session:
        carol = RawClient(session, asking.client_url)
        await carol.register(f"carol{next(_serial)}")
        room_id = await carol.create_room(preset="private_chat")

        with pytest.raises(MatrixRefused) as refusal:
            await carol.invite(room_id, bob.user_id)

        assert refusal.value.errcode == "M_CONSENT_NOT_GIVEN"
        assert refusal.value.status == 403
        assert room_id not in bob.invites
        uri = refusal.value.body["consent_uri"]
        await _answer(carol, uri, "granted")
        await carol.invite(room_id, bob.user_id)
        await bob.wait(lambda: room_id in bob.invites, "the invite")
        await bob.join(room_id)
        await carol.send(room_id, "with my consent")
        await bob.sees_text(room_id, "with my consent")

        await _answer(carol, uri, "revoked")
        with pytest.raises(MatrixRefused) as refusal:
            await carol.send(room_id, "not any more")
        assert refusal.value.errcode == "M_CONSENT_NOT_GIVEN"
        assert bob.texts(room_id) == ["with my consent"]


@pytest.mark.usefixtures("pair")
async def test_what_stays_on_the_server_needs_no_consent(asking: Comity) -> None:
    """Two users of one Comity talk without being asked."""
    async with raw_session() as session:
        carol, dave = RawClient(session, asking.client_url), RawClient(session, asking.client_url)
        await carol.register(f"carol{next(_serial)}")
        await dave.register(f"dave{next(_serial)}")
        room_id = await carol.create_room(preset="private_chat")

        await carol.invite(room_id, dave.user_id)
        await dave.join(room_id)
        event_id = await carol.send(room_id, "between us")

        assert event_id in [event["event_id"] for event in await dave.history(room_id)]
