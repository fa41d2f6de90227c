"""Files between two Comities, of which the guest's has rules about files and a virus scanner.

The scanner speaks clamd's protocol and finds EICAR's test file; it is not ClamAV's.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from tests.harness import Comity, RawClient, World, raw_session
from tests.harness.comity import executable
from tests.services.external_checks.scanners import FakeClamd, clamd
from tests.services.pictures import EICAR, encoded, picture

PROGRAM = b"\x7fELF\2\1\1" + bytes(60)
RULES = [
    {
        "name": "no-programs",
        "match": {"mime_type": "application/x-executable", "direction": "in"},
        "action": "reject",
        "message": "No programs from elsewhere.",
    },
    {"name": "look", "match": {"mime_type": "image/gif"}, "action": "hold"},
]
_serial = itertools.count(1)


@dataclass
class Duo:
    """Where Alice and Bob are; Bob's server is the strict one."""

    home: Comity
    strict: Comity
    scanner: FakeClamd
    session: aiohttp.ClientSession

    async def person(self, name: str, server: Comity) -> RawClient:
        """A new account."""
        client = RawClient(self.session, server.client_url)
        await client.register(f"{name}{next(_serial)}")
        return client

    async def upload(self, person: RawClient, content: bytes) -> str:
        """Upload a file; its address."""
        url = f"{person.base_url}/_matrix/media/v3/upload"
        headers = {"Authorization": f"Bearer {person.access_token}", "Content-Type": "image/png"}
        async with self.session.post(url, data=content, headers=headers) as response:
            assert response.status == 200, await response.text()
            uri: str = (await response.json())["content_uri"]
            return uri.removeprefix("mxc://")

    async def download(self, person: RawClient, path: str) -> tuple[int, bytes]:
        """Download a file."""
        url = f"{person.base_url}/_matrix/client/v1/media/download/{path}"
        headers = {"Authorization": f"Bearer {person.access_token}"}
        async with self.session.get(url, headers=headers) as response:
            return response.status, await response.read()

    async def command(self, *arguments: str) -> str:
        """What ``comity media ...`` prints on the strict server's machine."""
        process = await asyncio.create_subprocess_exec(
            executable(),
            "media",
            *arguments,
            "--config",
            self.strict.config_file,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def duo(world: World) -> AsyncIterator[Duo]:
    """Two Comities and a scanner."""
    async with clamd() as scanner, raw_session() as session:
        check = {"name": "av", "kind": "clamav", "address": scanner.address}
        check |= {"on_failure": "closed", "message": "Malware."}
        policy = {"rules": RULES, "checks": [{**check, "timeout_seconds": 20}]}
        home, strict = world.comity("lax"), world.comity("strict", overrides={"policy": policy})
        for server in (home, strict):
            await server.start_async()
        yield Duo(home, strict, scanner, session)
        for server in (home, strict):
            await server.stop_async()


@pytest.mark.parametrize(
    ("content", "words"), [(PROGRAM, b"No programs from elsewhere."), (EICAR, b"Malware.")]
)
async def test_a_bad_file_from_elsewhere_is_refused(duo: Duo, content: bytes, words: bytes) -> None:
    """Alice's server has it; Bob is told why he cannot have it, and it is not asked for twice."""
    alice, bob = await duo.person("alice", duo.home), await duo.person("bob", duo.strict)
    path = await duo.upload(alice, content)
    assert (await duo.download(alice, path)) == (200, content)

    answers = [await duo.download(bob, path) for _ in range(2)]

    assert [status for status, _ in answers] == [403, 403]
    assert all(words in body and b"M_FORBIDDEN" in body for _, body in answers)


async def test_a_good_file_from_elsewhere_is_scanned_once_and_served(duo: Duo) -> None:
    alice, bob = await duo.person("alice", duo.home), await duo.person("bob", duo.strict)
    content = encoded(picture(11))
    path = await duo.upload(alice, content)
    before = len(duo.scanner.scanned)

    answers = [await duo.download(bob, path) for _ in range(3)]

    assert answers == [(200, content)] * 3
    assert duo.scanner.scanned[before:] == [len(content)]


async def test_a_held_file_leaves_for_no_other_server(duo: Duo) -> None:
    """Bob uploads what a moderator is to look at; until then Alice's server does not get it."""
    alice, bob = await duo.person("alice", duo.home), await duo.person("bob", duo.strict)
    content = encoded(picture(12), "GIF")
    path = await duo.upload(bob, content)

    status, body = await duo.download(alice, path)

    assert status != 200
    assert not body.startswith(b"GIF")
    held = await duo.command("held")
    assert f"mxc://{path}" in held
    assert f"{bob.user_id}  hold: look" in held

    await duo.command("release", f"mxc://{path}")

    assert await duo.download(alice, path) == (200, content)
    assert path not in await duo.command("held")
