"""What a client leads its user to on the account pages."""

from __future__ import annotations

from typing import Any

from tests.integration.oauth_people import ACCOUNT, Browser

RESET = "/_matrix/client/v3/keys/device_signing/upload"
ACTION = "org.matrix."


async def manage(browser: Browser, action: str, **query: str) -> Any:
    """Open what a client leads to, and sign in."""
    page = await browser.open(ACCOUNT, action=ACTION + action, **query)
    return await browser.sign_in() if 'name="password"' in page.text else page
