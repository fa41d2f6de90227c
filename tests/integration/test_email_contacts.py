"""E-mail addresses as contacts of an account: adding, removing, proving who one is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.config import RateConfig
from homeserver.storage.database import Database
from tests.integration.email_world import ADDRESS, CANONICAL, SECRET, STAGE, World, world_with
from tests.integration.single import running


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_with(database, tmp_path) as made:
        yield made


async def test_adding_asks_who_one_is(world: World) -> None:
    token = await world.one.register("alice")
    creds = await world.credentials("/account/3pid")

    for path, body in (
        ("/account/3pid/add", creds),
        ("/account/3pid", {"three_pid_creds": creds}),
    ):
        answer = await world.one.call("POST", path, body, token=token, status=401)
        assert "m.login.password" in str(answer["flows"])
    assert await world.addresses(token) == []


async def test_an_address_belongs_to_one_account(world: World) -> None:
    alice, bob = await world.one.register("alice"), await world.one.register("bob")
    theirs = await world.credentials("/account/3pid")
    auth = {"type": "m.login.password", "password": "sesame"}
    await world.one.call("POST", "/account/3pid/add", {**theirs, "auth": auth}, token=alice)

    second = {"sid": theirs["sid"], "client_secret": SECRET, "auth": auth}
    used = await world.one.call("POST", "/account/3pid/add", second, token=bob, status=401)

    assert used["errcode"] == "M_THREEPID_AUTH_FAILED"
    assert await world.addresses(bob) == []


async def test_two_who_confirmed_the_same_address_do_not_share_it(world: World) -> None:
    alice, bob = await world.one.register("alice"), await world.one.register("bob")
    first = await world.credentials("/account/3pid")
    sid = (await world.ask("/account/3pid", client_secret="other"))["sid"]
    await world.follow()
    auth = {"type": "m.login.password", "password": "sesame"}
    await world.one.call("POST", "/account/3pid/add", {**first, "auth": auth}, token=alice)

    body = {"sid": sid, "client_secret": "other", "auth": auth}
    answer = await world.one.call("POST", "/account/3pid/add", body, token=bob, status=400)

    assert answer["errcode"] == "M_THREEPID_IN_USE"
    assert await world.addresses(alice) == [CANONICAL]


async def test_a_removed_address_logs_nobody_in(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    body = {"medium": "email", "address": ADDRESS}

    answer = await world.one.call("POST", "/account/3pid/delete", body, token=token)

    assert answer == {"id_server_unbind_result": "no-support"}
    assert await world.addresses(token) == []
    await world.log_in("sesame", 403)


async def test_addresses_end_with_the_account(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    auth = {"type": "m.login.password", "password": "sesame"}

    answer = await world.one.call("POST", "/account/deactivate", {"auth": auth}, token=token)
    await world.one.wiring.account_deletion.settle()

    assert answer == {"id_server_unbind_result": "success"}
    bob = await world.one.register("bob")
    await world.add(bob, client_secret="bobs")
    assert await world.addresses(bob) == [CANONICAL]


async def test_an_address_proves_who_one_is_beside_the_user_name(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    identifier = {"type": "m.id.thirdparty", "medium": "email", "address": CANONICAL}
    auth = {"type": "m.login.password", "identifier": identifier, "password": "sesame"}

    await world.one.call("POST", "/account/deactivate", {"auth": auth}, token=token)


async def test_telephone_numbers_are_not_supported(world: World) -> None:
    body = {"client_secret": "a", "country": "GB", "phone_number": "07700900001", "send_attempt": 1}

    for where, status, errcode in [
        ("/register", 403, "M_THREEPID_DENIED"),
        ("/account/password", 403, "M_THREEPID_DENIED"),
        ("/account/3pid", 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
    ]:
        answer = await world.one.call("POST", f"{where}/msisdn/requestToken", body, status=status)
        assert answer["errcode"] == errcode


async def test_without_mail_there_are_no_addresses(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        token = await one.register("alice")
        body = {"client_secret": "a", "email": ADDRESS, "send_attempt": 1}
        answer = await one.call("POST", "/register/email/requestToken", body, status=403)
        told = await one.call("GET", "/capabilities", token=token)

    assert answer["errcode"] == "M_THREEPID_DENIED"
    assert told["capabilities"]["m.3pid_changes"] == {"enabled": False}


async def test_a_client_may_ask_again_with_the_session_alone(world: World) -> None:
    sid = (await world.ask("/register"))["sid"]
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    creds = {"sid": sid, "client_secret": SECRET}
    auth: dict[str, Any] = {"type": STAGE, "threepid_creds": creds}
    first = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    alone = {"session": first["session"]}

    early = await world.one.call("POST", "/register", {**request, "auth": alone}, status=401)
    await world.follow()
    later = await world.one.call("POST", "/register", {**request, "auth": alone}, status=401)

    assert "completed" not in early and "errcode" not in early
    assert later["completed"] == [STAGE]


async def test_of_a_proof_that_is_waited_for_only_what_is_needed_is_kept_and_not_for_ever(
    world: World,
) -> None:
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    interactive = world.one.wiring.interactive_auth
    creds = {"sid": "guess", "client_secret": "guess", "more": "x" * 10_000}
    auth: dict[str, Any] = {"type": STAGE, "threepid_creds": creds, "more": "x" * 10_000}
    long = {**auth, "threepid_creds": {"sid": "guess", "client_secret": "x" * 10_000}}

    first = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    await world.one.call("POST", "/register", {**request, "auth": long}, status=401)

    kept = {session: waiting.proof for session, waiting in interactive._pending.items()}
    assert kept == {
        first["session"]: {"threepid_creds": {"sid": "guess", "client_secret": "guess"}}
    }
    interactive._pending[first["session"]].created_at -= 31 * 60_000
    second = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    assert list(interactive._pending) == [second["session"]]


async def test_who_signs_in_at_a_provider_alone_is_given_no_password_by_mail(
    world: World,
) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    await world.one.wiring.database.execute("UPDATE accounts SET password_hash = NULL")
    request: dict[str, Any] = {"new_password": "another"}

    async def reset(secret: str, status: int) -> dict[str, Any]:
        creds = await world.credentials("/account/password", client_secret=secret)
        auth = {"type": STAGE, "threepid_creds": creds}
        body = {**request, "auth": auth}
        return await world.one.call("POST", "/account/password", body, status=status)

    await world.one.wiring.database.execute(
        "INSERT INTO external_identities (provider, subject_hash, user_id, created_at) "
        "VALUES ('oidc:work', 'x', '@alice:one.test', 1)"
    )
    refused = await reset("1", 403)
    await world.log_in("another", 403)
    await world.one.wiring.database.execute("DELETE FROM external_identities")
    await reset("2", 200)

    assert "no password" in refused["error"]
    await world.log_in("another")


@pytest.mark.parametrize("by_authentication", [False, True])
async def test_refusals_do_not_tell_whether_an_address_is_an_accounts(
    world: World, by_authentication: bool
) -> None:
    await world.add(await world.one.register("alice"))
    limits = world.one.wiring.rate_limits
    limits._rates["login"] = RateConfig(per_second=1_000, burst=1_000)
    limits._rates["login_account"] = RateConfig(per_second=0.001, burst=2)
    limits._enabled = True

    async def guess(address: str) -> int:
        identifier = {"type": "m.id.thirdparty", "medium": "email", "address": address}
        proof = {"type": "m.login.password", "identifier": identifier, "password": "wrong"}
        body: dict[str, Any] = {"new_password": "other", "auth": proof}
        where, request = ("account/password", body) if by_authentication else ("login", proof)
        path = f"/_matrix/client/v3/{where}"
        async with world.one.client.post(path, json=request) as response:
            return response.status

    known = [await guess(spelling) for spelling in (ADDRESS, CANONICAL, ADDRESS)]
    unknown = [await guess(f"{name}@example.org") for name in ("nobody", "Nobody", "nobody")]

    refused = 401 if by_authentication else 403
    assert known == unknown == [refused, refused, 429]


async def test_logging_in_by_address_is_not_counted_as_a_guess(world: World) -> None:
    await world.add(await world.one.register("alice"))
    limits = world.one.wiring.rate_limits
    limits._rates["login"] = RateConfig(per_second=1_000, burst=1_000)
    limits._rates["login_account"] = RateConfig(per_second=0.001, burst=2)
    limits._enabled = True

    answers = [await world.log_in("sesame") for _ in range(4)]

    assert {answer["user_id"] for answer in answers} == {"@alice:one.test"}


# ---------------------------------------------------------------- pages


async def test_a_mail_from_the_page_sets_no_password_for_whoever_sent_the_link(
    world: World,
) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    request = {"new_password": "stolen"}
    session = (await world.one.call("POST", "/account/password", request, status=401))["session"]
    path = f"/_matrix/client/v3/auth/{STAGE}/fallback/web?session={session}"
    mails = len(world.box.mails)

    async with world.one.client.post(path, data={"email": ADDRESS}) as response:
        assert response.status == 403

    assert len(world.box.mails) == mails


async def test_a_client_that_does_not_know_the_stage_opens_a_page(world: World) -> None:
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    session = (await world.one.call("POST", "/register", request, status=401))["session"]
    path = f"/_matrix/client/v3/auth/{STAGE}/fallback/web?session={session}"

    async def post(**fields: str) -> str:
        async with world.one.client.post(path, data=fields) as response:
            return await response.text()

    async with world.one.client.get(path) as response:
        assert 'type="email"' in await response.text()
    waiting = await post(email="<alice>")
    assert "That is not an e-mail address" in waiting
    waiting = await post(email=ADDRESS)
    sid = waiting.partition('name="sid" value="')[2].partition('"')[0]
    early = await post(sid=sid, email=ADDRESS)
    assert "has not been confirmed" in early and sid in early
    await world.follow()
    assert "onAuthDone" in await post(sid=sid, email=ADDRESS)
    auth = {"type": "m.login.dummy", "session": session}
    made = await world.one.call("POST", "/register", {**request, "auth": auth})

    assert await world.addresses(made["access_token"]) == [CANONICAL]


async def test_a_link_from_the_page_counts_for_the_browser_that_has_asked(world: World) -> None:
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    session = (await world.one.call("POST", "/register", request, status=401))["session"]
    path = f"/_matrix/client/v3/auth/{STAGE}/fallback/web?session={session}"

    async def post(**fields: str) -> str:
        async with world.one.client.post(path, data=fields) as response:
            return await response.text()

    waiting = await post(email=ADDRESS)
    sid = waiting.partition('name="sid" value="')[2].partition('"')[0]
    world.one.client.session.cookie_jar.clear()  # whoever reads the mail has another browser
    _, page = await world.follow()
    code = page.partition("<strong>")[2].partition("</strong>")[0]
    not_yet = await post(sid=sid, email=ADDRESS)
    wrong = await post(sid=sid, email=ADDRESS, link_code="x")
    done = await post(sid=sid, email=ADDRESS, link_code=code)

    assert "Enter this code" in page
    assert "has not been confirmed" in not_yet and sid in not_yet
    assert "not the code" in wrong and sid in wrong
    assert "onAuthDone" in done


async def test_the_older_spelling_adds_an_address_too(world: World) -> None:
    token = await world.one.register("alice")
    creds = await world.credentials("/account/3pid")
    auth = {"type": "m.login.password", "password": "sesame"}
    body = {"three_pid_creds": creds, "auth": auth}

    await world.one.call("POST", "/account/3pid", body, token=token)

    assert await world.addresses(token) == [CANONICAL]


async def test_what_no_identity_server_knows_stays_the_accounts(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    body = {"medium": "email", "address": ADDRESS}

    answer = await world.one.call("POST", "/account/3pid/unbind", body, token=token)

    assert answer["id_server_unbind_result"] in ("success", "no-support")
    assert await world.addresses(token) == [CANONICAL]
