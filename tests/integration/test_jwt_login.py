"""Logging in with an application's own tokens, through the Client-Server API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from homeserver.config import ConfigError
from homeserver.services.sign_in.settings import parse_issuers
from homeserver.storage.database import Database
from tests.integration.single import Instance, running
from tests.services.sign_in.signed import SECRET, signed

ISSUER: dict[str, Any] = {
    "name": "shop",
    "issuer": "https://shop.test",
    "audience": "https://one.test",
    "secret": SECRET,
    "localpart": "shop-{sub}",
}


def config(**changes: Any) -> dict[str, Any]:
    return {"jwt": {"issuers": [{**ISSUER, **changes}]}}


def token(**claims: Any) -> str:
    now = int(time.time())
    return signed(**{"exp": now + 300, "iat": now, **claims})


async def log_in(
    instance: Instance, token: str, *, status: int = 200, **more: Any
) -> dict[str, Any]:
    body = {"type": "org.matrix.login.jwt", "token": token, **more}
    return await instance.call("POST", "/login", body, status=status)


async def test_an_account_is_made_at_first_sight(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, **config()) as instance:
        first = await log_in(instance, token())
        again = await log_in(instance, token(), device_id="PHONE")

        assert first["user_id"] == again["user_id"] == "@shop-alice.1:one.test"
        assert again["device_id"] == "PHONE"
        profile = await instance.call("GET", f"/profile/{first['user_id']}")
        assert profile["displayname"] == "Alice Archer"
        flows = (await instance.call("GET", "/login"))["flows"]
        assert {"type": "org.matrix.login.jwt"} in flows


async def test_two_first_logins_at_once_make_one_account(
    database: Database, tmp_path: Path
) -> None:
    import asyncio

    async with running(database, tmp_path, **config()) as instance:
        answers = await asyncio.gather(*(log_in(instance, token()) for _ in range(8)))

        assert {answer["user_id"] for answer in answers} == {"@shop-alice.1:one.test"}
        assert len({answer["access_token"] for answer in answers}) == 8


async def test_without_permission_no_account_is_made(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, **config(create_accounts=False)) as instance:
        await log_in(instance, token(), status=403)

        assert not await instance.wiring.accounts.exists("@shop-alice.1:one.test")


async def test_an_account_that_is_there_is_not_handed_over(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **config(localpart="{sub}")) as instance:
        await instance.register("carol")

        refused = await log_in(instance, token(sub="carol"), status=400)

        assert refused["errcode"] == "M_USER_IN_USE"


async def test_an_account_is_adopted_where_that_is_allowed_but_no_admins(
    database: Database, tmp_path: Path
) -> None:
    settings = config(localpart="{sub}", adopt_accounts=True)
    async with running(database, tmp_path, **settings) as instance:
        await instance.register("carol")
        await instance.wiring.accounts.create("root", "a good password", admin=True)

        adopted = await log_in(instance, token(sub="carol"))
        await log_in(instance, token(sub="root"), status=403)

        assert adopted["user_id"] == "@carol:one.test"


async def test_one_name_is_not_two_persons(database: Database, tmp_path: Path) -> None:
    """Subjects that differ in case have one user name: the second does not get the first's."""
    settings = config(localpart="{sub}", adopt_accounts=True)
    async with running(database, tmp_path, **settings) as instance:
        await log_in(instance, token(sub="dora"))

        await log_in(instance, token(sub="Dora"), status=403)


async def test_a_person_keeps_the_account_under_another_name(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **config(localpart="{nick}")) as instance:
        first = await log_in(instance, token(sub="7", nick="eve"))
        renamed = await log_in(instance, token(sub="7", nick="mallory"))

        assert first["user_id"] == renamed["user_id"] == "@eve:one.test"


async def test_an_account_that_ended_stays_ended(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, **config()) as instance:
        first = await log_in(instance, token())
        await instance.wiring.accounts.deactivate(
            (await instance.wiring.sessions.authenticate(first["access_token"], _origin)).user_id
        )

        refused = await log_in(instance, token(), status=403)

        assert refused["errcode"] == "M_USER_DEACTIVATED"


async def test_bad_tokens_are_refused(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, **config()) as instance:
        for bad in (token(exp=1), token(aud="x"), token(iss="https://x"), token() + "x", "", "a.b"):
            await log_in(instance, bad, status=403)
        await log_in(instance, token(sub=None), status=403)


async def test_without_issuers_there_is_no_such_login(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as instance:
        answer = await log_in(instance, token(), status=400)

        assert answer["errcode"] == "M_UNKNOWN"


def _origin() -> Any:
    from homeserver.services.sessions import Origin

    return Origin()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"secret": "short"}, "32 bytes"),
        ({"jwks_url": "https://x.test/keys"}, "give one of"),
        ({"algorithms": ["RS256"]}, "RS256 does not go with secret"),
        ({"localpart": "everybody"}, "must name a claim"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as refused:
        parse_issuers([{**ISSUER, **changes}], Path())

    assert SECRET not in str(refused.value)
