"""Somebody who reads the page: opens it, walks through it by keyboard, and hears what is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.integration.single import Instance

PATH = "/_comity/me"
PATIENCE_MS = 30_000
RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}

expect.set_options(timeout=PATIENCE_MS)

NOTE_MISHAPS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error("CSP: " + event.violatedDirective + " " + event.blockedURI));
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


class Reader:
    """A browser's window on an instance's page."""

    def __init__(self, context: BrowserContext, page: Page, one: Instance) -> None:
        self.context = context
        self.page = page
        self.one = one
        self.mishaps: list[str] = []
        self.expected: tuple[str, ...] = ()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.mishaps.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._check_origin(request.url))

    @classmethod
    async def sit_down(cls, browser: Browser, one: Instance, **options: Any) -> Reader:
        """A reader with a window of their own; ``options`` are the browser context's."""
        settings = {"viewport": {"width": 1100, "height": 900}, "locale": "en-GB", **options}
        context = await browser.new_context(**settings)
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        await page.add_init_script(NOTE_MISHAPS)
        return cls(context, page, one)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(
            words in message.text for words in self.expected
        ):
            self.mishaps.append(message.text)

    def _check_origin(self, url: str) -> None:
        if not url.startswith((str(self.one.client.make_url("/")), "about:", "data:", "blob:")):
            self.mishaps.append(f"asked elsewhere: {url}")

    def expect_failure(self, *words: str) -> None:
        """The browser notes each answer that is not 2xx in its console: let these pass."""
        self.expected = words

    # ------------------------------------------------------------ going places

    def address(self, fragment: str = "") -> str:
        """The page's address."""
        return str(self.one.client.make_url(PATH)) + fragment

    async def open(self, token: str, view: str = "") -> None:
        """Come from a client that hands over its token."""
        await self.page.goto("about:blank")
        await self.page.goto(self.address(f"#token={token}&view={view}"))
        await expect(self.page.locator("main[aria-busy]")).to_have_count(0)
        await expect(self.page.get_by_role("heading", level=1)).to_be_visible()

    async def turn_to(self, view: str) -> None:
        """Go on to a view by the address bar."""
        await self.page.evaluate(
            "(view) => { document.querySelector('main h1').id = 'before'; location.hash = view; }",
            view,
        )
        await expect(self.page.locator("#before")).to_have_count(0)

    async def go(self, view: str) -> None:
        """Choose a section in the menu."""
        await (
            self.page.get_by_role("navigation", name="Sections")
            .get_by_role("link", name=view)
            .click()
        )
        await expect(self.page.get_by_role("heading", level=1, name=view)).to_be_focused()

    # ------------------------------------------------------------ by keyboard

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.page.keyboard.press(key)

    async def tab_to(self, name: str, *, most: int = 60) -> None:
        """Press Tab until the control of this accessible name has the focus, visibly."""
        for _ in range(most):
            await self.press("Tab")
            if await self.focused_name() == name:
                outline = await self.page.evaluate(
                    "getComputedStyle(document.activeElement).outlineStyle"
                )
                assert outline != "none", f"{name} does not show that it has the focus"
                return
        raise AssertionError(f"no control is named {name!r}")

    async def focused_name(self) -> str:
        """What a screen reader would call that which has the focus."""
        name: str = await self.page.evaluate(
            """() => {
              const e = document.activeElement;
              const labels = [...(e.labels ?? [])].map((l) => l.textContent).join(" ");
              return (e.getAttribute("aria-label") ?? (labels || e.textContent)).trim();
            }"""
        )
        return name

    # ------------------------------------------------------------ what is there

    async def hears(self, words: str) -> None:
        """The status line says this."""
        await expect(self.page.locator("#status")).to_contain_text(words)

    async def is_warned(self, words: str) -> None:
        """An alert says this."""
        await expect(self.page.get_by_role("alert").filter(has_text=words)).to_be_visible()

    async def barriers(self, *rules: str) -> list[str]:
        """What axe-core finds on the page as it is now, by all its rules or by these."""
        options = {**RULES, "runOnly": list(rules)} if rules else RULES
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(Axe().axe_script)
        found = await self.page.evaluate("(options) => axe.run(options)", options)
        return [
            f"{violation['id']}: {node['html'][:120]} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    async def shift(self) -> float:
        """How far the page's contents have moved on their own (cumulative layout shift)."""
        amount: float = await self.page.evaluate("window.shift")
        return amount

    async def overflow(self) -> int:
        """By how many pixels the page is wider than the window, or a card's contents than it."""
        pixels: int = await self.page.evaluate(
            """() => Math.max(...[document.documentElement, ...document.querySelectorAll(".card")]
              .map((box) => box.scrollWidth - box.clientWidth))"""
        )
        return pixels

    async def take_picture(self, name: str) -> None:
        """Save the whole page as a picture in ``$COMITY_PICTURES``, if that is set."""
        if directory := os.environ.get("COMITY_PICTURES"):
            path = Path(directory, name.replace("/", "-").replace(", ", "-") + ".png")
            await self.page.screenshot(path=path, full_page=True)
