"""Sessions that nobody goes on with end by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.oauth_people import (
    Browser,
    Client,
    password_login,
    scope,
    somebody,
)
from tests.integration.single import Instance, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def devices(one: Instance, token: str) -> set[str]:
    """The IDs of a user's devices."""
    listed = await one.call("GET", "/devices", token=token)
    return {device["device_id"] for device in listed["devices"]}


async def make_old(database: Database, device_id: str) -> None:
    """Let a device have been logged in, and refreshed, long ago."""
    for table in ("oauth_sessions", "refresh_tokens"):
        await database.execute(f"UPDATE {table} SET created_at = 1 WHERE device_id = $1", device_id)


async def log_in(one: Instance, client: Client, browser: Browser) -> str:
    """Log in with two devices by OAuth 2.0 and one by the legacy API, whose token it is."""
    for device_id in ("LAPSED", "REFRESHED"):
        await client.log_in(browser, scope=scope(device_id))
    body = {**password_login(browser.user), "device_id": "LEGACY", "refresh_token": True}
    token: str = (await one.call("POST", "/login", body))["access_token"]
    await one.call("PUT", "/devices/LEGACY", {"display_name": "old"}, token=token)
    return token


async def test_a_session_that_has_lapsed_ends_and_no_other(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    database = await Database.connect(await postgres.create_database(), min_size=1, max_size=8)
    settings = {"public_base_url": "http://one.test"}
    async with running(database, tmp_path, **settings) as one, somebody(one) as browser:
        token = await log_in(one, await Client.register(one), browser)
        before = await devices(one, token)
    for device_id in ("LAPSED", "LEGACY"):
        await make_old(database, device_id)
    await database.execute("UPDATE oauth_sessions SET created_at = 1")

    async with running(database, tmp_path, **settings) as one:
        await one.wiring.ends.caretaker.work_off()
        after = await devices(one, token)

    assert before - after == {"LAPSED"}
    assert await database.fetchval("SELECT count(*) FROM oauth_sessions") == 1
    await database.close()


async def test_where_sessions_do_not_lapse_none_ends(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    database = await Database.connect(await postgres.create_database(), min_size=1, max_size=8)
    settings = {"public_base_url": "http://one.test", "oauth": {"refresh_token_lifetime": None}}
    async with running(database, tmp_path, **settings) as one, somebody(one) as browser:
        token = await log_in(one, await Client.register(one), browser)
        before = await devices(one, token)
    await make_old(database, "LAPSED")

    async with running(database, tmp_path, **settings) as one:
        await one.wiring.ends.caretaker.work_off()
        after = await devices(one, token)

    assert after == before
    await database.close()
