"""The example page: Alice and Bob chat with it, served from another origin than the instance."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, WebSocketRoute, expect

from tests.browser.reader import PATIENCE_MS, RULES
from tests.integration.single import Instance

CHAT = Path(__file__).parents[2] / "examples" / "chat"
MOST_LINES = 300
SIZE = {"width": 1000, "height": 700}


@pytest_asyncio.fixture(loop_scope="session")
async def address() -> AsyncIterator[str]:
    """Where the page is served, as its README says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"),
        cwd=CHAT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    yield line[line.index("(") + 1 : line.index(")")]
    process.terminate()
    await process.wait()


class Talker:
    """Somebody before the page."""

    def __init__(self, context: BrowserContext, page: Page, address: str, one: Instance) -> None:
        self.context, self.page, self.address, self.one = context, page, address, one
        self.mishaps: list[str] = []
        self.sockets: list[WebSocketRoute] = []
        page.on("pageerror", lambda error: self.mishaps.append(str(error)))
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))

    @classmethod
    async def sit_down(cls, browser: Browser, address: str, one: Instance, **options: Any) -> Any:
        """A window of their own."""
        context = await browser.new_context(viewport=SIZE, locale="en-GB", **options)
        context.set_default_timeout(PATIENCE_MS)
        talker = cls(context, await context.new_page(), address, one)
        await talker.page.route_web_socket("**/api/v1/ws", talker.pass_on)
        return talker

    def pass_on(self, socket: WebSocketRoute) -> None:
        """Let a socket through, and be able to cut it."""
        self.sockets.append(socket)
        socket.connect_to_server()

    async def sign_in(self, name: str) -> None:
        """By name and password."""
        await self.page.goto(self.address)
        await self.page.get_by_label("Instance").fill(str(self.one.client.make_url("")))
        await self.page.get_by_label("User name").fill(name)
        await self.page.get_by_label("Password").fill("sesame")
        await self.page.get_by_role("button", name="Sign in").click()
        await self.hears("Connected")

    async def hears(self, words: str) -> None:
        """The status line says this."""
        await expect(self.page.locator("#status")).to_have_text(words)

    async def writes(self, text: str) -> None:
        """Send a message."""
        await self.page.get_by_label("Message", exact=True).fill(text)
        await self.page.get_by_role("button", name="Send").click()

    async def reads(self, text: str) -> None:
        """A message is there, once."""
        bubbles = self.page.get_by_role("log").get_by_text(text, exact=True)
        await expect(bubbles).to_have_count(1)

    async def barriers(self) -> list[str]:
        """What axe-core finds."""
        await self.page.evaluate(Axe().axe_script)
        found = await self.page.evaluate("(options) => axe.run(options)", RULES)
        return [f"{v['id']}: {n['html'][:120]}" for v in found["violations"] for n in v["nodes"]]

    async def take_picture(self, name: str) -> None:
        """Save the window in ``$COMITY_PICTURES``, if that is set."""
        if directory := os.environ.get("COMITY_PICTURES"):
            await self.page.screenshot(path=Path(directory, f"{name}.png"))


@pytest_asyncio.fixture(loop_scope="session")
async def talkers(
    browser: Browser, one: Instance, address: str
) -> AsyncIterator[tuple[Talker, Talker]]:
    """Alice, in the light, and Bob, in the dark; signed in."""
    found = []
    for name, scheme in (("alice", "light"), ("bob", "dark")):
        await one.register(name)
        talker = await Talker.sit_down(browser, address, one, color_scheme=scheme)
        await talker.sign_in(name)
        found.append(talker)
    alice, bob = found
    yield alice, bob
    for talker in found:
        await talker.context.close()
        assert talker.mishaps == []


async def begin(alice: Talker, bob: Talker) -> None:
    """Alice writes to Bob, who lets her."""
    await alice.page.get_by_label("Address of a person").fill("bob@one.test")
    await alice.page.get_by_role("button", name="Start").click()
    await expect(alice.page.get_by_role("heading", name="bob")).to_be_visible()
    await alice.writes("Hello Bob")
    await expect(bob.page.get_by_text("alice@one.test wants to write to you")).to_be_visible()
    await bob.take_picture("chat-request")
    await bob.page.get_by_role("button", name="Accept").click()
    await bob.reads("Hello Bob")


async def test_a_conversation_by_address_a_request_and_answers(
    talkers: tuple[Talker, Talker],
) -> None:
    alice, bob = talkers

    await begin(alice, bob)
    await bob.writes("Hello Alice")
    await alice.reads("Hello Alice")
    await alice.writes("Shall we sail on Sunday?")
    await bob.reads("Shall we sail on Sunday?")

    own = alice.page.locator("#log .mine").last
    await expect(own).to_contain_text("Read")
    await expect(alice.page.locator("#list .last")).to_have_text("You: Shall we sail on Sunday?")
    await bob.page.get_by_label("Message", exact=True).press_sequentially("Yes")
    await expect(alice.page.locator("#typing")).not_to_be_empty()
    for talker, name in ((alice, "light"), (bob, "dark")):
        await talker.take_picture(f"chat-{name}")
    assert (await alice.barriers(), await bob.barriers()) == ([], [])


async def test_typing_is_seen_and_ends_with_the_message(talkers: tuple[Talker, Talker]) -> None:
    alice, bob = talkers
    await begin(alice, bob)

    await bob.page.get_by_label("Message", exact=True).press_sequentially("Wind is fine")
    await expect(alice.page.locator("#typing")).to_have_text("bob@one.test is typing …")
    await bob.page.get_by_role("button", name="Send").click()

    await alice.reads("Wind is fine")
    await expect(alice.page.locator("#typing")).to_have_text("")


async def test_what_comes_while_another_conversation_is_open_is_counted(
    talkers: tuple[Talker, Talker],
) -> None:
    alice, bob = talkers
    await begin(alice, bob)
    await alice.page.reload()
    await alice.hears("Connected")

    for number in range(3):
        await bob.writes(f"message {number}")

    await expect(alice.page.locator(".count")).to_contain_text("3")
    await expect(alice.page).to_have_title("(3) Chat")
    await alice.page.get_by_role("button", name="bob").click()
    await expect(alice.page.locator(".count")).to_have_count(0)


async def test_a_lost_connection_loses_nothing(talkers: tuple[Talker, Talker]) -> None:
    alice, bob = talkers
    await begin(alice, bob)

    await alice.sockets[-1].close(code=1012)
    await alice.hears("Connecting …")
    await alice.writes("said while away")
    await bob.writes("heard while away")
    await alice.hears("Connected")

    for text in ("said while away", "heard while away"):
        await alice.reads(text)
        await bob.reads(text)


async def test_a_refusal_is_said_in_words(talkers: tuple[Talker, Talker]) -> None:
    alice, _ = talkers

    await alice.page.get_by_label("Address of a person").fill("nonsense")
    await alice.page.get_by_role("button", name="Start").click()

    await expect(alice.page.locator("#status.bad")).not_to_be_empty()


async def test_signing_out_forgets_the_session(talkers: tuple[Talker, Talker]) -> None:
    alice, _ = talkers

    await alice.page.get_by_role("button", name="Sign out").click()

    await alice.hears("You are signed out")
    await expect(alice.page.get_by_label("Password")).to_be_visible()
    assert await alice.page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize("width", [360, 1000])
async def test_it_fits_into_a_telephone(talkers: tuple[Talker, Talker], width: int) -> None:
    alice, bob = talkers
    await begin(alice, bob)

    await bob.page.set_viewport_size({"width": width, "height": 640})
    await bob.take_picture(f"chat-{width}")

    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await bob.page.evaluate(overflow) == 0


async def test_it_is_short() -> None:
    assert len((CHAT / "index.html").read_text("utf-8").splitlines()) < MOST_LINES
