"""Who gets into the admin API, and what it says to nonsense; the command line against a server."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from click.testing import CliRunner

from client_api.admin import FAMILIES, MODULES
from client_api.admin.routing import PREFIX
from client_api.conversations.openapi import openapi_path
from homeserver.cli import main
from homeserver.protocol.signing import format_signing_key
from homeserver.storage.database import Database
from tests.harness.ports import free_port
from tests.integration.single import Instance, running
from tests.integration.test_real_deletion import status, upload

BOB = "@bob:one.test"
PARTS = {
    "user_id": BOB,
    "action": "release",
    "room_id": "!room:one.test",
    "server_name": "one.test",
}
BODIES = (b"[]", b'"x"', b"{", b'{"\\ud800": 1}', b'{"nothing": 1}', b"\xff", b"[" * 500, b"null")
QUERIES = (
    "limit=0",
    "limit=99999999999999999999",
    "cursor=%00",
    "cursor=W10",
    "search=%00",
    "search=%ED%A0%80",
    "order=x",
    "nothing=1",
)


def operations() -> list[tuple[str, str]]:
    """All operations, with something for each part of their paths."""
    declared = [(o.method, o.path) for family in FAMILIES for o in family.api.operations]
    older = [
        (route.method, route.path.removeprefix(PREFIX))
        for module in MODULES
        for route in module.routes.definitions
    ]
    return [
        (
            method,
            re.sub(
                r"\{(\w+)\}", lambda part: PARTS.get(part[1], "12"), openapi_path(PREFIX + path)
            ),
        )
        for method, path in declared + older
    ]


async def test_strangers_users_and_former_admins_do_not_get_in_anywhere(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")
        await one.wiring.accounts.set_admin(BOB, True)
        await one.call("GET", f"{PREFIX}/users", token=bob)
        await one.wiring.accounts.set_admin(BOB, False)

        for method, path in operations():
            stranger = await one.call(method, path, {}, status=401)
            forged = await one.call(method, path, {}, token="comity-admin.9999999999.x", status=401)
            user = await one.call(method, path, {}, token=bob, status=403)
            assert stranger["errcode"] == "M_MISSING_TOKEN"
            assert forged["errcode"] == "M_UNKNOWN_TOKEN"
            assert user["errcode"] == "M_FORBIDDEN"


async def test_nonsense_is_refused_and_nothing_fails(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        token = one.wiring.admin_tokens.make()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        declared = [o for family in FAMILIES for o in family.api.operations]
        taking = {(o.method, o.path) for o in declared if o.body is not None}
        listing = {(o.method, o.path) for o in declared if o.query is not None}

        failed = []
        for method, path in sorted(taking | listing):
            url = PREFIX + re.sub(r"\{(\w+)\}", lambda p: PARTS.get(p[1], "12"), path)
            if (method, path) in taking:
                for body in BODIES:
                    async with one.client.request(method, url, data=body, headers=headers) as got:
                        if not 400 <= got.status < 500:
                            failed.append((method, url, body[:20], got.status))
            else:
                for query in QUERIES:
                    async with one.client.request(method, f"{url}?{query}", headers=headers) as got:
                        if got.status >= 500:
                            failed.append((method, url, query, got.status))

        assert failed == []


async def command(one: Instance, directory: Path, *arguments: str, code: int = 0) -> str:
    """What a command says that succeeds, or ends with a ``code``."""
    config = str(directory / "comity.yaml")
    result = await asyncio.to_thread(
        CliRunner().invoke, main, [*arguments, "--config", config], None
    )
    assert result.exit_code == code, result.output
    return result.output


@asynccontextmanager
async def commanded(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance that the command line finds."""
    port = free_port()
    listen = {"client": f"127.0.0.1:{port}", "federation": f"127.0.0.1:{port}"}
    async with running(database, tmp_path, port=port, listen=listen) as one:
        config = one.wiring.config
        config.signing_key_file.write_text(format_signing_key(one.wiring.signing_key))
        yield one


async def test_the_command_line_administers_a_running_server(
    database: Database, tmp_path: Path
) -> None:
    async with commanded(database, tmp_path) as one:
        bob = await one.register("bob")
        room = await one.room(bob, name="Attic")
        await one.say(bob, room, "hello")

        async def run(*arguments: str) -> str:
            return await command(one, tmp_path, *arguments)

        assert BOB in await run("user", "find", "BO")
        assert "joined_rooms: 1" in await run("user", "show", "bob")
        assert room in await run("user", "rooms", "bob")
        assert "Attic" in await run("room", "list", "--by", "events")
        assert "name: Attic" in await run("room", "show", room, "--state")
        assert f"{BOB} join\n" in await run("room", "members", room)
        assert "blocked\n" in await run("room", "block", room, "--reason", "spam")
        assert room in await run("room", "list", "--blocked")
        assert "unblocked\n" in await run("room", "unblock", room)
        assert "has begun" in await run("room", "delete", room, "--yes")
        await one.wiring.ends.work_off()
        assert "done" in await run("job", "list")
        assert "state: done" in await run("job", "show", "1")
        assert "server" in await run("federation", "list")
        assert "report" in await run("report", "list")
        assert "file" in await run("media", "of-user", "bob")
        assert "quarantined\n" in await run("media", "quarantine", BOB)
        assert "quarantined\n" in await run("media", "quarantine", "ab" * 32)
        assert "quarantined\n" in await run("media", "quarantine", "mxc://two.test/never")
        assert "mxc://" not in await run("media", "quarantined", "ab" * 32)
        shown = await run("media", "quarantined")
        assert "ab" * 32 in shown
        assert "mxc://two.test/never" in shown
        assert "no longer quarantined" in await run("media", "unquarantine", "ab" * 32)
        assert "largest file" in await run("media", "limits", "bob")
        shown = await run("media", "limits", "bob", "--quota-bytes", "none", "--max-files", "7")
        assert "files: 0 of 7" in shown
        assert "their own: max_files, quota_bytes" in shown
        assert "their own: none" in await run(
            "media", "limits", "bob", "--quota-bytes", "configured", "--max-files", "configured"
        )
        assert "has begun" in await run("media", "purge-cache", "--days", "30")
        assert "previews: 0" in await run("media", "previews")
        assert "0 forgotten" in await run("media", "previews", "--forget", "site.test")
        assert "users.active_accounts: 1" in await run("statistics")
        assert "signed out; 0 left" in await run("user", "sign-out", "bob", "--all")
        assert "block_room" in await run("audit", "--actor", "command line")


async def test_the_command_line_spares_files_a_quarantine_of_many(
    database: Database, tmp_path: Path
) -> None:
    async with commanded(database, tmp_path) as one:
        bob = await one.register("bob")
        emoji, bad = await upload(one, bob, b"emoji"), await upload(one, bob, b"bad")

        async def run(*arguments: str, code: int = 0) -> str:
            return await command(one, tmp_path, "media", *arguments, code=code)

        async def found() -> list[int]:
            return [await status(one, bob, uri) for uri in (emoji, bad)]

        assert "protected\n" in await run("protect", emoji)
        await run("quarantine", BOB)
        assert await found() == [200, 404]
        assert "protected" in await run("quarantine", emoji, code=1)
        assert "release it first" in await run("protect", bad, code=1)
        assert "no longer protected\n" in await run("unprotect", emoji)
        await run("quarantine", BOB)
        assert await found() == [404, 404]

        digest = hashlib.sha256(b"bad").hexdigest()
        await run("quarantine", digest)
        assert digest in await run("unquarantine", bad)
        assert await found() == [404, 404]
        await run("unquarantine", digest)
        await run("unquarantine", BOB)
        assert await found() == [200, 200]

        assert "no such file" in await run("protect", "mxc://one.test/none", code=1)
        for name in ("protect", "unprotect"):
            assert "is no file" in await run(name, BOB, code=1)
        assert "is no file" in await run("delete", BOB, "--yes", code=1)
