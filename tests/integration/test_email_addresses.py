"""E-mail addresses of accounts, with a real SMTP server: registration, passwords."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.email_world import CANONICAL, SECRET, STAGE, World, world_with


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_with(database, tmp_path) as made:
        yield made


# ---------------------------------------------------------------- registration


async def test_an_account_is_made_with_an_address(world: World) -> None:
    sid = (await world.ask("/register"))["sid"]
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    offered = await world.one.call("POST", "/register", request, status=401)
    session = offered["session"]
    assert {"stages": [STAGE, "m.login.dummy"]} in offered["flows"]
    assert {"stages": ["m.login.dummy"]} in offered["flows"]
    creds = {"sid": sid, "client_secret": SECRET}
    auth = {"type": STAGE, "session": session, "threepid_creds": creds}

    early = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    await world.follow()
    confirmed = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    auth = {"type": "m.login.dummy", "session": session}
    made = await world.one.call("POST", "/register", {**request, "auth": auth})

    assert early["errcode"] == "M_UNAUTHORIZED"  # which Element keeps from its user
    assert confirmed["completed"] == [STAGE]
    assert await world.addresses(made["access_token"]) == [CANONICAL]
    assert (await world.log_in("sesame"))["user_id"] == "@alice:one.test"


async def test_an_address_may_be_required(database: Database, tmp_path: Path) -> None:
    async with world_with(database, tmp_path, {"require_email": True}) as world:
        request = {"username": "alice", "password": "sesame"}
        offered = await world.one.call("POST", "/register", request, status=401)

        auth = {"type": "m.login.dummy", "session": offered["session"]}
        refused = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)

    assert all(STAGE in flow["stages"] for flow in offered["flows"])
    assert {"stages": [STAGE, "m.login.dummy"]} in offered["flows"]
    assert refused["errcode"] == "M_FORBIDDEN"


async def test_a_mail_for_a_password_makes_no_account(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    creds = await world.credentials("/account/password")
    request: dict[str, Any] = {"username": "eve", "password": "sesame"}

    auth = {"type": STAGE, "threepid_creds": creds}
    session = (await world.one.call("POST", "/register", {**request, "auth": auth}, status=401))[
        "session"
    ]
    auth = {"type": "m.login.dummy", "session": session}
    refused = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)

    assert refused["errcode"] == "M_THREEPID_AUTH_FAILED"


# ---------------------------------------------------------------- one mail, one session


async def test_the_same_attempt_is_one_session_and_one_mail(world: World) -> None:
    first = await world.ask("/register")
    again = await world.ask("/register", email=CANONICAL)
    reminder = await world.ask("/register", send_attempt=2)
    other = await world.ask("/register", client_secret="other")

    assert first == again == reminder
    assert other != first
    assert len(world.box.mails) == 3
    assert world.box.link(0) == world.box.link(1) != world.box.link(2)


async def test_opening_the_link_alone_confirms_nothing(world: World) -> None:
    token = await world.one.register("alice")
    sid = (await world.ask("/account/3pid"))["sid"]
    link = world.box.link()

    async with world.one.client.get(link[link.index("/_comity") :]) as response:
        assert response.status == 200

    body = {"sid": sid, "client_secret": SECRET}
    answer = await world.one.call("POST", "/account/3pid/add", body, token=token, status=401)
    assert answer["errcode"] == "M_THREEPID_AUTH_FAILED"


async def test_a_link_is_good_for_a_time_only(world: World) -> None:
    await world.ask("/account/3pid")
    await world.one.wiring.database.execute("UPDATE third_party_sessions SET created_at = 1")

    link = world.box.link()
    async with world.one.client.get(link[link.index("/_comity") :]) as response:
        assert response.status == 404
    async with world.one.client.get("/_comity/email/confirm?token=guess") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"email": "alice"}, "M_INVALID_PARAM"),
        ({"email": "a@b.test\r\nBcc: c@d.test"}, "M_INVALID_PARAM"),
        ({"client_secret": "ä"}, "M_INVALID_PARAM"),
        ({"client_secret": ""}, "M_INVALID_PARAM"),
        ({"send_attempt": -1}, "M_INVALID_PARAM"),
        ({"send_attempt": "1"}, "M_BAD_JSON"),
        ({"next_link": "javascript:alert(1)"}, "M_INVALID_PARAM"),
        ({"next_link": "https://a.test/\r\nX: y"}, "M_INVALID_PARAM"),
        ({"next_link": "//a.test"}, "M_INVALID_PARAM"),
        ({"next_link": "https://app.test@evil.test/"}, "M_INVALID_PARAM"),
        ({"next_link": "https://evil.test\\@app.test/"}, "M_INVALID_PARAM"),
        ({"next_link": "https://app.test\\.evil.test/"}, "M_INVALID_PARAM"),
        ({"email": None}, "M_MISSING_PARAM"),
    ],
)
async def test_impossible_requests_are_refused(
    world: World, body: dict[str, Any], errcode: str
) -> None:
    for where in ("/register", "/account/password", "/account/3pid"):
        assert (await world.ask(where, 400, **body))["errcode"] == errcode
    assert world.box.mails == []


async def test_people_are_sent_on_by_themselves_only_where_the_admin_says(
    database: Database, tmp_path: Path
) -> None:
    listed = ["https://app.test/#/*"]
    async with world_with(database, tmp_path, next_link_urls=listed) as world:
        await world.ask("/register", next_link="https://app.test/#/done")
        known = await world.follow()
        await world.ask("/register", client_secret="2", next_link="https://evil.test/")
        unknown = await world.follow()

    assert known == (302, "https://app.test/#/done")
    assert unknown[0] == 200
    assert 'href="https://evil.test/"' in unknown[1]
    assert "Go on to evil.test" in unknown[1]


async def test_the_admin_says_which_domains(database: Database, tmp_path: Path) -> None:
    async with world_with(database, tmp_path, allowed_domains=["*.example.org"]) as world:
        refused = await world.ask("/register", 403)
        await world.ask("/register", email="alice@mail.example.org")

    assert refused["errcode"] == "M_THREEPID_DENIED"


async def test_a_mail_server_that_is_away_is_said(world: World) -> None:
    world.box.answers.append("451 come back later")

    answer = await world.ask("/register", 503)

    assert "try again" in answer["error"]


# ---------------------------------------------------------------- who has an account


async def test_who_asks_does_not_learn_who_has_an_account(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    sent = len(world.box.mails)

    taken = await world.ask("/register")
    free = await world.ask("/register", email="bob@example.org")
    known = await world.ask("/account/password")
    unknown = await world.ask("/account/password", email="bob@example.org")

    assert {*taken} == {*free} == {*known} == {*unknown} == {"sid"}
    texts = [world.box.text(number) for number in range(sent, sent + 4)]
    assert "belongs to the account @alice:one.test already" in texts[0]
    assert "confirm?token=" not in texts[0] and "confirm?token=" in texts[1]
    assert "new password for the account @alice:one.test" in texts[2]
    assert "no account there has this address" in texts[3].replace("\n", " ")


async def test_unless_the_admin_wants_it(database: Database, tmp_path: Path) -> None:
    async with world_with(database, tmp_path, reveal_accounts=True) as world:
        token = await world.one.register("alice")
        await world.add(token)

        taken = await world.ask("/register", 400)
        unknown = await world.ask("/account/password", 400, email="bob@example.org")

    assert (taken["errcode"], unknown["errcode"]) == ("M_THREEPID_IN_USE", "M_THREEPID_NOT_FOUND")


# ---------------------------------------------------------------- a new password


async def test_a_password_is_set_anew_by_mail(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    creds = await world.credentials("/account/password")
    auth = {"type": STAGE, "threepid_creds": creds}
    request = {"new_password": "open barley", "auth": auth}

    await world.one.call("POST", "/account/password", request)

    await world.one.call("GET", "/account/whoami", token=token, status=401)
    await world.log_in("sesame", 403)
    assert (await world.log_in("open barley"))["user_id"] == "@alice:one.test"
    mails = await world.box.wait_for(3)
    assert "was changed" in mails[-1]["Subject"]
    again = await world.one.call("POST", "/account/password", request, status=401)
    assert again["errcode"] == "M_UNAUTHORIZED"


async def test_devices_stay_logged_in_if_the_client_says_so(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    creds = await world.credentials("/account/password")
    auth = {"type": STAGE, "threepid_creds": creds}

    request = {"new_password": "open barley", "auth": auth, "logout_devices": False}
    await world.one.call("POST", "/account/password", request)

    await world.one.call("GET", "/account/whoami", token=token)


@pytest.mark.parametrize("purpose", ["/register", "/account/3pid"])
async def test_other_mails_set_no_password(world: World, purpose: str) -> None:
    token = await world.one.register("alice")
    creds = await world.credentials(purpose, email="bob@example.org")
    await world.add(token)
    auth = {"type": STAGE, "threepid_creds": creds}

    refused = await world.one.call(
        "POST", "/account/password", {"new_password": "open barley", "auth": auth}, status=401
    )

    assert refused["errcode"] == "M_THREEPID_AUTH_FAILED"
    await world.log_in("sesame")


async def test_a_secret_that_is_not_the_sessions_proves_nothing(world: World) -> None:
    token = await world.one.register("alice")
    creds = await world.credentials("/account/3pid")

    for wrong in ({"client_secret": "guess"}, {"sid": "guess"}, {"sid": "\0"}):
        body = {**creds, **wrong}
        answer = await world.one.call("POST", "/account/3pid/add", body, token=token, status=401)
        assert answer["errcode"] == "M_THREEPID_AUTH_FAILED"
