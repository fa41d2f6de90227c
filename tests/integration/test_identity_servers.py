"""Addresses that identity servers are told of, and forget again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.storage import accounts as account_storage
from homeserver.storage import third_party_ids as address_storage
from homeserver.storage.database import Database
from homeserver.storage.third_party_ids import ThirdPartyId
from homeserver.wiring import Wiring
from tests.harness.identity_server import TOKEN, IdentityServer
from tests.integration.single import running
from tests.integration.test_third_party_invites import BOB, Scene, identity, people, settings

__all__ = ["identity"]
ADDRESS = "bob@mail.example"
THREEPID = {"medium": "email", "address": "Bob@Mail.Example"}
AUTH = {"type": "m.login.password", "password": "sesame"}


@pytest.fixture
async def scene(
    database: Database, tmp_path: Path, identity: IdentityServer
) -> AsyncIterator[Scene]:
    """An instance that may use the identity server, at which Bob's address was validated."""
    async with running(database, tmp_path, **settings(tmp_path)) as one:
        identity.sessions[("sid", "secret")] = ADDRESS
        identity.homeserver_key = one.wiring.signing_key.verify_key
        yield await people(one, identity)


async def bind(scene: Scene, status: int = 200, **changes: Any) -> dict[str, Any]:
    """Bob binds his address."""
    session = {"sid": "sid", "client_secret": "secret"}
    body = {"id_server": scene.identity.name, "id_access_token": TOKEN, **session, **changes}
    return await scene.one.call("POST", "/account/3pid/bind", body, token=scene.bob, status=status)


async def test_an_address_is_bound_and_unbound(scene: Scene) -> None:
    await bind(scene)
    bound = dict(scene.identity.owners)

    answer = await scene.one.call("POST", "/account/3pid/unbind", THREEPID, token=scene.bob)

    assert bound == {("email", ADDRESS): BOB}
    assert answer == {"id_server_unbind_result": "success"}
    assert scene.identity.owners == {}
    again = await scene.one.call("POST", "/account/3pid/unbind", THREEPID, token=scene.bob)
    assert again == {"id_server_unbind_result": "no-support"}


async def test_what_is_bound_ends_with_the_account(scene: Scene) -> None:
    await bind(scene)

    answer = await scene.one.call("POST", "/account/deactivate", {"auth": AUTH}, token=scene.bob)

    assert answer == {"id_server_unbind_result": "success"}
    assert scene.identity.owners == {}


@pytest.mark.parametrize(
    ("named", "unbound"), [("its own", "success"), ("evil.test", "no-support"), (None, "success")]
)
async def test_who_ends_an_account_may_name_the_identity_server_that_is_to_forget_it(
    scene: Scene, named: str | None, unbound: str
) -> None:
    address = ThirdPartyId("email", ADDRESS, BOB, 1, 1)
    await address_storage.insert_id(scene.one.wiring.database, address)
    scene.identity.owners[("email", ADDRESS)] = BOB  # by a client, without a word to us
    id_server = scene.identity.name if named == "its own" else named
    body = {"auth": AUTH, **({"id_server": id_server} if id_server is not None else {})}

    answer = await scene.one.call("POST", "/account/deactivate", body, token=scene.bob)

    assert answer == {"id_server_unbind_result": unbound}
    assert (scene.identity.owners == {}) is (named == "its own")


async def by_an_admin(scene: Scene) -> None:
    root = await scene.one.register("root")
    await scene.one.wiring.accounts.set_admin("@root:one.test", True)
    await scene.one.call(
        "POST", f"/_comity/admin/v1/users/{BOB}/deactivate", {"erase": False}, token=root
    )


async def by_the_conversations_api(scene: Scene) -> None:
    headers = {"Authorization": f"Bearer {scene.bob}"}
    url = "/api/v1/me/delete"
    async with scene.one.client.post(url, json={"password": "sesame"}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def on_the_command_line(scene: Scene) -> None:
    mine = scene.one.wiring
    theirs = Wiring(mine.config, mine.database, [mine.signing_key])
    await theirs.log.start()
    try:
        await theirs.accounts.deactivate(UserId(BOB))
        await theirs.account_deletion.settle()
    finally:
        await theirs.log.close()
        await theirs.transport.connections.close()


async def after_a_crash(scene: Scene) -> None:
    await account_storage.deactivate_account(scene.one.wiring.database, BOB, 1, erase=False)
    await scene.one.wiring.accounts.resume()
    task = scene.one.wiring.accounts._task
    assert task is not None
    await task


@pytest.mark.parametrize(
    "end", [by_an_admin, by_the_conversations_api, on_the_command_line, after_a_crash]
)
async def test_what_is_bound_ends_with_the_account_whoever_ends_it(
    scene: Scene, end: Callable[[Scene], Awaitable[None]]
) -> None:
    await bind(scene)

    await end(scene)

    assert scene.identity.owners == {}


async def test_an_identity_server_that_refuses_is_told_of(scene: Scene) -> None:
    await bind(scene)
    scene.identity.refuses = True

    removed = await scene.one.call("POST", "/account/3pid/delete", THREEPID, token=scene.bob)
    ended = await scene.one.call("POST", "/account/deactivate", {"auth": AUTH}, token=scene.bob)

    assert removed == ended == {"id_server_unbind_result": "no-support"}


async def test_only_the_admins_identity_servers_are_asked(scene: Scene) -> None:
    refused = await bind(scene, 403, id_server="evil.test")
    unbound = await scene.one.call(
        "POST", "/account/3pid/unbind", {**THREEPID, "id_server": "evil.test"}, token=scene.bob
    )

    assert refused["errcode"] == "M_SERVER_NOT_TRUSTED"
    assert unbound == {"id_server_unbind_result": "no-support"}
    assert scene.identity.asked == []


async def test_what_was_not_validated_there_is_not_bound(scene: Scene) -> None:
    answer = await bind(scene, 400, sid="other")

    assert answer["errcode"] == "M_NO_VALID_SESSION"
    assert scene.identity.owners == {}
